"""What is done to a request on its way? The HTTP filters of every listener, in RouteTable.Filters' order, and what a route asks
of each.

All but the router are off until a route has something for them, so that a plain route pays for none.
"""

from functools import lru_cache

from envoy.config.core.v3.base_pb2 import RuntimeFractionalPercent
from envoy.config.rbac.v3.rbac_pb2 import RBAC as Rules
from envoy.config.rbac.v3.rbac_pb2 import Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import RateLimit as Descriptors
from envoy.extensions.common.ratelimit.v3.ratelimit_pb2 import LocalRateLimitDescriptor
from envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import BasicAuth as BasicAuthFilter
from envoy.extensions.filters.http.basic_auth.v3.basic_auth_pb2 import BasicAuthPerRoute
from envoy.extensions.filters.http.buffer.v3.buffer_pb2 import Buffer, BufferPerRoute
from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors as CorsFilter
from envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua, LuaPerRoute
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC, RBACPerRoute
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSession, StatefulSessionPerRoute
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.http.stateful_session.cookie.v3.cookie_pb2 import CookieBasedSessionState
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.token_bucket_pb2 import TokenBucket
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from xds.core.v3.cidr_pb2 import CidrRange

from mooring.routing.table import (
    DEFAULT_POLICY,
    Access,
    BasicAuth,
    Cluster,
    CookieAffinity,
    Cors,
    Forward,
    RateLimit,
    Route,
    Speaks,
)
from mooring.routing.xds import passwords, patterns, script
from mooring.routing.xds.context import context
from mooring.routing.xds.wire import encoded, field, packed, repeated, seconds, split

ACCESS = "mooring.access"
RATE = "mooring.rate"
BASIC_AUTH = "mooring.basic_auth"
SCRIPT = "mooring.script"
AUTHORISED = "mooring.authorised"
CORS = "mooring.cors"
BODY = "mooring.body"
AFFINITY = "mooring.affinity"
ROUTER = "envoy.filters.http.router"

WHOLE_BODY = 4 * 1024 * 1024
"""Octets up to which a body is taken in whole to be measured. Beyond it only a declared length is: memory is finite."""

_CLIENT, _COUNTED = "client", "counted"
_UNLIMITED = 2**32 - 1
_CLIENTS = 16384
"""Buckets of a route's rate limit; the one used longest ago makes room."""


@lru_cache(1)
def chain() -> tuple[HttpFilter, ...]:
    nobody = BasicAuthFilter()
    nobody.users.inline_string = "nobody:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk="
    measured = Buffer()
    measured.max_request_bytes.value = WHOLE_BODY
    optional: tuple[tuple[str, Message], ...] = (
        # First: browsers send preflights without credentials, so they cannot be asked for any.
        (CORS, CorsFilter()),
        (ACCESS, RBAC()),
        (RATE, LocalRateLimit(stat_prefix="rate")),
        (BASIC_AUTH, nobody),
        (SCRIPT, scripted(script.ROUTE)),
        (AUTHORISED, RBAC()),
        (BODY, measured),
        (AFFINITY, StatefulSession()),
    )
    return (*(HttpFilter(name=name, typed_config=packed(config), disabled=True) for name, config in optional), router())


def scripted(program: str) -> Lua:
    """Whatever it does to a request, that stays with the route that was chosen: nobody has asked the guards of another."""
    out = Lua()
    out.default_source_code.inline_string = program
    out.clear_route_cache.value = False
    return out


def router() -> HttpFilter:
    wish = Router(suppress_envoy_headers=True)
    # Counts by status and histograms of each cluster would be a thirtieth of a request's cost; the access log tells them.
    wish.dynamic_stats.value = False
    return HttpFilter(name=ROUTER, typed_config=packed(wish))


def upgrade_chain() -> tuple[HttpFilter, ...]:
    """Of WebSockets, whose body never ends."""
    return tuple(each for each in chain() if each.name != BODY)


def asked(route: Route, cluster: Cluster | None) -> dict[str, Any]:
    """By filter name. `cluster`: where the route forwards to, for what it speaks."""
    filters, out = route.filters, dict[str, Any]()
    if filters.access is not None:
        is_shadow = filters.satisfy_any and filters.external_auth is not None
        out[ACCESS] = _access(filters.access, is_shadow)
    if filters.rate is not None and (rate := _rate(filters.rate)) is not None:
        out[RATE] = rate
    by_script = filters.basic_auth is not None and passwords.is_by_script(filters.basic_auth)
    if filters.basic_auth is not None and not by_script:
        out[BASIC_AUTH] = _basic_auth(filters.basic_auth)
    whole, declared = measured(route, cluster)
    if (told := context(route, declared)) is not None:
        out[SCRIPT] = packed(LuaPerRoute(filter_context=told))
    if filters.external_auth is not None or by_script:
        out[AUTHORISED] = packed(RBACPerRoute(rbac=marked("authorised")))
    if filters.cors is not None:
        out[CORS] = _cors(filters.cors)
    if whole != DEFAULT_POLICY.body:
        out[BODY] = _body(whole)
    if isinstance(route.action, Forward) and route.action.affinity is not None:
        out[AFFINITY] = _affinity(route.action.affinity)
    return out


def measured(route: Route, cluster: Cluster | None) -> tuple[int, int]:
    """Up to how many octets a body is taken in whole, and how many its declared length may be; 0 for not."""
    limit = route.policy.body
    if not limit or not isinstance(route.action, Forward):
        return 0, 0
    streams = cluster is not None and cluster.speaks in (Speaks.HTTP2, Speaks.GRPC)
    if streams or limit > WHOLE_BODY or not route.policy.buffer_request:
        return 0, limit
    return limit, 0


@lru_cache(1024)
def _body(octets: int) -> Any:
    out = BufferPerRoute()
    if octets:
        out.buffer.max_request_bytes.value = octets
    else:
        out.disabled = True
    return packed(out)


def usual() -> dict[str, Any]:
    """What all routes have that ask for nothing else: it is told once, so that thousands of routes stay short."""
    return {BODY: _body(DEFAULT_POLICY.body)}


@lru_cache(4096)
def _access(access: Access, is_shadow: bool) -> Any:
    """`is_shadow`: only noted for the script, which asks for authentication if it would be refused."""
    allowed = [_addresses(access.allowed)] if access.allowed else []
    denied = [Principal(not_id=_addresses(access.denied))] if access.denied else []
    both = Principal(and_ids=Principal.Set(ids=[*allowed, *denied])) if allowed or denied else Principal(any=True)
    rules = Rules(action=Rules.ALLOW, policies={"clients": Policy(permissions=[Permission(any=True)], principals=[both])})
    out = RBAC(shadow_rules=rules) if is_shadow else RBAC(rules=rules)
    return packed(RBACPerRoute(rbac=out))


@lru_cache(2)
def marked(mark: str) -> RBAC:
    """Lets on only what a script has marked so: an error in it, which Envoy would pass over, closes."""
    who = Principal()
    noted = who.sourced_metadata.metadata_matcher
    noted.filter = "mooring"
    noted.path.add(key=mark)
    noted.value.bool_match = True
    rules = Rules(action=Rules.ALLOW, policies={mark: Policy(permissions=[Permission(any=True)], principals=[who])})
    return RBAC(rules=rules)


def _addresses(cidrs: tuple[str, ...]) -> Principal:
    out = Principal()
    for cidr in cidrs:
        range_ = out.or_ids.ids.add().remote_ip
        range_.address_prefix, range_.prefix_len.value = split(cidr)
    return out


@lru_cache(1024)
def _rate(rate: RateLimit) -> Any | None:
    limits = tuple((limit, period) for limit, period in ((rate.per_second, 1), (rate.per_minute, 60)) if limit)
    if not limits:
        return None
    out = LocalRateLimit(stat_prefix="rate")
    out.status.code = rate.status
    for switch in (out.filter_enabled, out.filter_enforced):
        switch.CopyFrom(_always())
    _bucket(out.token_bucket, _UNLIMITED, _UNLIMITED, 1)
    out.always_consume_default_token_bucket.value = False
    out.max_dynamic_descriptors.value = _CLIENTS
    for limit, period in limits:
        actions = Descriptors()
        actions.actions.add().generic_key.descriptor_value = str(period)
        if rate.exempt:
            actions.actions.add().MergeFromString(_not_of(rate.exempt))
        actions.actions.add().remote_address.SetInParent()
        out.rate_limits.append(actions)
        descriptor = LocalRateLimitDescriptor()
        descriptor.entries.add(key="generic_key", value=str(period))
        if rate.exempt:
            descriptor.entries.add(key=_CLIENT, value=_COUNTED)
        descriptor.entries.add(key="remote_address")
        _bucket(descriptor.token_bucket, limit * max(rate.burst, 1), limit, period)
        out.descriptors.append(descriptor)
    return packed(out)


def _not_of(cidrs: tuple[str, ...]) -> bytes:
    """RateLimit.Action.remote_address_match (13), which is newer than the published protos: descriptor_value (1),
    descriptor_key (2) and address_matcher (4) with its ranges (1) and invert_match (2). No other address is counted."""
    ranges = []
    for cidr in cidrs:
        address, length = split(cidr)
        network = CidrRange(address_prefix=address)
        network.prefix_len.value = length
        ranges.append(encoded(network))
    matcher = repeated(1, ranges) + b"\x10\x01"
    return field(13, field(1, _COUNTED.encode()) + field(2, _CLIENT.encode()) + field(4, matcher))


def _bucket(bucket: TokenBucket, most: int, fill: int, period: int) -> None:
    bucket.max_tokens = most
    bucket.tokens_per_fill.value = fill
    bucket.fill_interval.CopyFrom(seconds(period))


def _always() -> RuntimeFractionalPercent:
    out = RuntimeFractionalPercent()
    out.default_value.numerator = 100
    return out


@lru_cache(256)
def _basic_auth(auth: BasicAuth) -> Any:
    out = BasicAuthPerRoute()
    out.users.inline_string = "\n".join(f"{name}:{digest}" for name, digest in passwords.users(auth))
    return packed(out)


@lru_cache(1024)
def _cors(cors: Cors) -> Any:
    out = CorsPolicy(
        allow_origin_string_match=[_origin(origin) for origin in cors.origins],
        allow_methods=", ".join(cors.methods),
        allow_headers=", ".join(cors.headers),
        expose_headers=", ".join(cors.expose),
        max_age=str(cors.max_age),
    )
    out.allow_credentials.value = cors.credentials
    out.filter_enabled.CopyFrom(_always())
    return packed(out)


def _origin(origin: str) -> StringMatcher:
    if origin == "*":
        return _pattern(".+")
    if "*" not in origin:
        return StringMatcher(exact=origin)
    before, _, after = origin.partition("*")
    return _pattern(f"{patterns.escaped(before)}[^./:]+{patterns.escaped(after)}")


def _pattern(regex: str) -> StringMatcher:
    out = StringMatcher()
    out.safe_regex.regex = regex
    return out


@lru_cache(1024)
def _affinity(affinity: CookieAffinity) -> Any:
    state = CookieBasedSessionState()
    state.cookie.name = affinity.name
    state.cookie.path = affinity.path or "/"
    if affinity.seconds:
        state.cookie.ttl.CopyFrom(seconds(affinity.seconds))
    for name, value in (("Domain", affinity.domain), ("SameSite", affinity.same_site)):
        if value:
            state.cookie.attributes.add(name=name, value=value)
    if affinity.secure:
        state.cookie.attributes.add(name="Secure")
    session = StatefulSession()
    session.session_state.name = "envoy.http.stateful_session.cookie"
    session.session_state.typed_config.CopyFrom(packed(state))
    return packed(StatefulSessionPerRoute(stateful_session=session))
