"""How does Envoy read requests? The HTTP connection manager: limits, safe paths, whose word about the client is believed."""

from envoy.config.common.mutation_rules.v3.mutation_rules_pb2 import HeaderMutation
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.config.core.v3.protocol_pb2 import HttpProtocolOptions
from envoy.config.rbac.v3.rbac_pb2 import RBAC as Rules
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager as Manager,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter, ResponseMapper
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import HeaderMutation as EarlyMutation
from envoy.extensions.http.original_ip_detection.xff.v3.xff_pb2 import XffConfig
from envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from msgspec import Struct

from mooring.routing.slashes import CLIMBS
from mooring.routing.table import ClientCertificates, FrontDoor, Verify
from mooring.routing.xds import access_log, filters, script
from mooring.routing.xds.clusters import over_ads
from mooring.routing.xds.wire import packed, seconds, split

STREAM_WINDOW = 64 * 1024
CONNECTION_WINDOW = 1024 * 1024
"""Octets, as Envoy's guide for edge proxies advises."""

CLIENT_CERTIFICATES = "mooring.client_certificates"
CLIMBING = "mooring.climbing"

_CLAIMS = (
    "ssl-client-verify",
    "ssl-client-subject-dn",
    "ssl-client-issuer-dn",
    "ssl-client-cert",
    "x-envoy-attempt-count",
    "x-envoy-is-timeout-retry",
    "proxy",
)
"""Only this proxy may say them; `Proxy` nobody (CGI programs take it for the address of a proxy). They are dropped as those
that only come from within, where nobody is, before anything looks at the request. Envoy itself drops the rest of x-envoy-* and
x-forwarded-client-cert."""

_OWN_WORDS = 'response.code_details != "direct_response" && response.code_details != "lua_response"'
"""Answers that Envoy makes, but for those that a route or its authentication server wrote."""

_ABOUT_CLIENT = ("x-forwarded-for", "forwarded")
"""Only a proxy that is trusted may say these."""

LONGEST_ID = 128
"""Octets of a client's request id that are handed on."""


class Door(Struct, frozen=True):
    """What tells one connection manager from another. `believes`: the peer is a proxy whose X-Forwarded-* count."""

    routes: str
    port: int
    is_tls: bool
    believes: bool = False
    is_quic: bool = False
    clients: ClientCertificates | None = None


def manager(door: Door, front: FrontDoor) -> Manager:
    out = Manager(
        stat_prefix="quic" if door.is_quic else ("https" if door.is_tls else "http"),
        codec_type=Manager.HTTP3 if door.is_quic else (Manager.AUTO if front.http2 else Manager.HTTP1),
        preserve_external_request_id=True,
        path_with_escaped_slashes_action=Manager.KEEP_UNCHANGED if front.keeps_encoded_slashes else Manager.REJECT_REQUEST,
        merge_slashes=True,
        strip_trailing_host_dot=True,
        # about_client() does; Envoy itself would call a client on loopback by another address.
        skip_xff_append=True,
        server_header_transformation=Manager.OVERWRITE if front.server_header else Manager.PASS_THROUGH,
        server_name=front.server_header,
    )
    out.generate_request_id.value = True
    out.normalize_path.value = True
    out.rds.route_config_name = door.routes
    out.rds.config_source.CopyFrom(over_ads())
    # The client's request id is handed on as it is, not marked for tracing.
    out.request_id_extension.typed_config.CopyFrom(packed(_request_id()))
    first = [*_climbing(front), *_judge(door.clients)]
    out.http_filters.extend([*first, *filters.chain()])
    out.upgrade_configs.add(upgrade_type="websocket").filters.extend([*first, *filters.upgrade_chain()])
    if front.keeps_encoded_slashes:
        # Before the next one: the first that takes an answer changes it.
        refusal = out.local_reply_config.mappers.add()
        _when(refusal, f'response.code_details.startsWith("rbac_access_denied_matched_policy[{CLIMBING}]")')
        refusal.status_code.value = 400
        refusal.body.inline_string = ""
    # They would tell what it is and what it knows.
    silent = out.local_reply_config.mappers.add()
    _when(silent, _OWN_WORDS)
    silent.body.inline_string = ""
    if front.access_log:
        out.access_log.append(access_log.to_stdout())
    _limits(out, front, door.is_quic)
    _client(out, door, front)
    return out


def _when(mapper: ResponseMapper, expression: str) -> None:
    mapper.filter.extension_filter.name = "envoy.access_loggers.extension_filters.cel"
    mapper.filter.extension_filter.typed_config.CopyFrom(packed(ExpressionFilter(expression=expression)))


def _climbing(front: FrontDoor) -> list[HttpFilter]:
    """Refuses paths that would climb; RBAC says 403, which is mapped to 400. Only where there can be such paths."""
    if not front.keeps_encoded_slashes:
        return []
    permission = Permission()
    permission.url_path.path.safe_regex.regex = f"(?is).*{CLIMBS}.*"
    policy = Policy(permissions=[permission], principals=[Principal(any=True)])
    return [HttpFilter(name=CLIMBING, typed_config=packed(RBAC(rules=Rules(action=Rules.DENY, policies={CLIMBING: policy}))))]


def _request_id() -> UuidRequestIdConfig:
    out = UuidRequestIdConfig()
    out.pack_trace_reason.value = False
    out.use_request_id_for_trace_sampling.value = False
    return out


def _judge(clients: ClientCertificates | None) -> list[HttpFilter]:
    if clients is None:
        return []
    program = script.clients(
        clients.error_page,
        clients.verify is Verify.REQUIRED,
        clients.verify is Verify.OPTIONAL_UNVERIFIED,
        clients.hand_on,
    )
    return [
        HttpFilter(name=CLIENT_CERTIFICATES, typed_config=packed(filters.scripted(program))),
        HttpFilter(name=f"{CLIENT_CERTIFICATES}.judged", typed_config=packed(filters.marked("certified"))),
    ]


def _limits(out: Manager, front: FrontDoor, is_quic: bool) -> None:
    out.max_request_headers_kb.value = min(max(front.header_octets // 1024, 1), 8192)
    out.request_headers_timeout.CopyFrom(seconds(front.header_timeout))
    out.stream_idle_timeout.CopyFrom(seconds(front.stream_idle_timeout))
    common = out.common_http_protocol_options
    common.idle_timeout.CopyFrom(seconds(front.idle_timeout))
    common.max_headers_count.value = front.header_count
    # As NGINX does: a backend that reads `_` as `-` must not be told two things.
    common.headers_with_underscores_action = HttpProtocolOptions.DROP_HEADER
    out.http_protocol_options.accept_http_10 = True
    out.http_protocol_options.default_host_for_http_10 = "_"
    if is_quic:
        out.http3_protocol_options.quic_protocol_options.max_concurrent_streams.value = front.streams
        return
    http2 = out.http2_protocol_options
    http2.max_concurrent_streams.value = front.streams
    http2.initial_stream_window_size.value = STREAM_WINDOW
    http2.initial_connection_window_size.value = CONNECTION_WINDOW
    http2.allow_connect = True


def _client(out: Manager, door: Door, front: FrontDoor) -> None:
    """Who the client is, and what the backend is told about it, in the words of ingress-nginx."""
    if front.trusted_proxies and door.believes:
        # The right-most address of X-Forwarded-For that is no trusted proxy is the client.
        detection = XffConfig()
        for cidr in front.trusted_proxies:
            network = detection.xff_trusted_cidrs.cidrs.add()
            network.address_prefix, network.prefix_len.value = split(cidr)
        detection.skip_xff_append.value = True
        extension = out.original_ip_detection_extensions.add(name="envoy.http.original_ip_detection.xff")
        extension.typed_config.CopyFrom(packed(detection))
        out.use_remote_address.value = False
    else:
        out.use_remote_address.value = True
        out.xff_num_trusted_hops = front.trusted_hops if not front.trusted_proxies else 0
    # Nobody is internal: x-envoy-* headers of clients count for nothing, wherever they are.
    nobody = out.internal_address_config.cidr_ranges.add(address_prefix="255.255.255.255")
    nobody.prefix_len.value = 32
    early = EarlyMutation(mutations=_forwarded(door, front))
    extension = out.early_header_mutation_extensions.add(name="envoy.http.early_header_mutation.header_mutation")
    extension.typed_config.CopyFrom(packed(early))


def believes_all(front: FrontDoor) -> bool:
    return front.trusted_hops > 0 and not front.trusted_proxies


def trusts(front: FrontDoor) -> bool:
    """Whether there can be a proxy whose word counts. Doors then drop what others may not say; else their routes do it for all,
    which costs a third."""
    return front.trusted_hops > 0 or bool(front.trusted_proxies)


def claims(front: FrontDoor) -> tuple[str, ...]:
    """What a route configuration drops of each request."""
    return _CLAIMS if trusts(front) else (*_CLAIMS, *_ABOUT_CLIENT)


def about_client(front: FrontDoor) -> list[HeaderValueOption]:
    """What the backend is told about the client's address; it is known once the route is. The peer of a connection with a PROXY
    header is whom that names."""
    client = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
    peer = client if front.proxy_protocol else "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
    return [
        option("x-forwarded-for", peer, HeaderValueOption.APPEND_IF_EXISTS_OR_ADD),
        option("x-real-ip", client, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD),
    ]


def option(name: str, value: str, action: HeaderValueOption.HeaderAppendAction) -> HeaderValueOption:
    out = HeaderValueOption(append_action=action)
    out.header.key = name
    out.header.value = value
    return out


def _forwarded(door: Door, front: FrontDoor) -> list[HeaderMutation]:
    believed = door.believes or believes_all(front)
    scheme = "https" if door.is_tls else "http"
    # As it came, whoever said so.
    out = [HeaderMutation(remove="x-original-forwarded-for"), _set("x-original-forwarded-for", "%REQ(X-FORWARDED-FOR)%")]
    if trusts(front):
        # Whoever is believed may say any address, the internal one too (a PROXY header may not: only unicast is taken).
        out += [HeaderMutation(remove=name) for name in (*_CLAIMS, *(() if believed else _ABOUT_CLIENT))]
        out.append(HeaderMutation(remove_on_match=_begins("x-envoy-")))
    if believed:
        out.append(_set("x-forwarded-proto", scheme, if_absent=True))
        scheme = "%REQ(X-FORWARDED-PROTO)%"
    # Else Envoy itself sets x-forwarded-proto, whatever it was, before it looks for a route.
    out += [
        _set("x-request-id", f"%REQ(X-REQUEST-ID):{LONGEST_ID}%"),
        _set("x-forwarded-host", "%REQ(:AUTHORITY)%", if_absent=believed),
        _set("x-forwarded-port", str(door.port), if_absent=believed),
        _set("x-forwarded-scheme", scheme),
        _set("x-scheme", scheme),
    ]
    return out


def _begins(prefix: str) -> HeaderMutation.RemoveOnMatch:
    return HeaderMutation.RemoveOnMatch(key_matcher=StringMatcher(prefix=prefix))


def _set(name: str, value: str, if_absent: bool = False) -> HeaderMutation:
    action = HeaderValueOption.ADD_IF_ABSENT if if_absent else HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return HeaderMutation(append=option(name, value, action))
