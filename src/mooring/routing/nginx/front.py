"""What holds for all of NGINX? Processes, limits, the access log, who the client is, readiness and the control socket."""

from collections.abc import Iterable, Mapping
from ipaddress import ip_network

from mooring.routing.nginx.config import Bare, Call, Directive, Name, Value, directive, lua, variable
from mooring.routing.nginx.emission import NOT_FOUND, milliseconds
from mooring.routing.placement import Placement
from mooring.routing.slashes import CLIMBS
from mooring.routing.table import FrontDoor, RouteTable

MODULES = "/usr/lib/nginx/modules"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_SET = (
    "m_group",
    "m_leaf",
    "m_hsts",
    "m_target",
    "m_mirrored",
    *(f"m_client_{each}" for each in ("verify", "subject", "issuer", "certificate")),
)
"""Variables that servers and locations set; of one that nobody sets NGINX knows nothing."""
CONTROL = "private/control.sock"
"""NGINX lets everybody write to its Unix sockets: only the folder keeps others out."""
DUMMY = "dummy.pem"
"""Certificate and key that NGINX wants to see; the real ones come from Lua."""

_QUOTE = '"'
_CONSTANTS = ("-", "")
_LOG = (
    ("time", "time_iso8601", True),
    ("method", "request_method", True),
    ("scheme", "forwarded_proto", True),
    ("authority", "authority", True),
    ("path", "path", True),
    ("protocol", "server_protocol", True),
    ("status", "status", False),
    ("flags", "-", True),
    ("details", "", True),
    ("bytes_received", "request_length", False),
    ("bytes_sent", "bytes_sent", False),
    ("duration", "m_milliseconds", False),
    ("client", "remote_addr", True),
    ("forwarded_for", "forwarded_for", True),
    ("request_id", "m_request_id", True),
    ("traceparent", "traceparent", True),
    ("route", "m_way", True),
    ("upstream", "upstream_addr", True),
    ("user_agent", "user_agent", True),
)
"""The keys are those of Envoy's, in whose words there are neither flags nor details. `m_way` has the cluster in it."""
_POOL = "16k"
"""Memory of a request, in one piece: in NGINX's usual ones of 4 kB it costs 1,800 instructions more."""
_CLUSTER = '","cluster":"'
"""Between route and cluster in `m_way`, which are one variable because a request pays for each; neither has a quote in it."""
_SAID = {"authority": "http_host", "path": "request_uri", "traceparent": "http_traceparent", "user_agent": "http_user_agent"}
"""By clients. JSON is UTF-8, so a value with octets of anything else is logged as `?`."""
_UTF8 = (
    r"~^(?:[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    r"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})+$"
)


def main_block(placement: Placement, http: Iterable[Directive], front: FrontDoor, open_files: int) -> tuple[Directive, ...]:
    return (
        directive("load_module", Bare(f"{MODULES}/ndk_http_module.so")),
        directive("load_module", Bare(f"{MODULES}/ngx_http_lua_module.so")),
        directive("daemon", "off"),
        directive("pid", Bare(f"{placement.folder}/nginx.pid")),
        directive("error_log", "stderr", "warn"),
        directive("pcre_jit", "on"),
        # Old workers of a reload keep long exchanges (WebSocket) so long.
        directive("worker_shutdown_timeout", "240s"),
        directive("events", block=(directive("worker_connections", str(max(512, min(front.connections * 2, open_files)))),)),
        directive("http", block=http),
    )


def data_file(front: FrontDoor, common: str, limit: int) -> bytes:
    """The Lua file that NGINX loads. `common`: the location that looks routes up serves this group; `limit`: of its bodies, in
    octets, where others may be larger, or 0."""
    keeps = front.keeps_encoded_slashes or None
    values = {"server": front.server_header, "common": common, "keeps": keeps, "limit": limit or None}
    lines = ['mooring = require "mooring.gateway"', "local data = mooring.data"]
    return "".join(
        f"{line}\n" for line in (*lines, *(f"data.{name} = {lua(value)}" for name, value in values.items()))
    ).encode()


def http_block(table: RouteTable, placement: Placement, data: str, longest_name: int) -> Iterable[Directive]:
    """`longest_name`: octets of a header's name at most. Long because it is a list: every setting once, in groups."""
    front, folder = table.front_door, placement.folder
    yield directive("lua_package_path", Bare(f"{folder}/lua/?.lua;;"))
    yield directive("init_by_lua_file", Bare(f"{folder}/{data}"))
    # Room that nobody uses costs nothing.
    yield directive("lua_shared_dict", "mooring", "128m")
    yield directive("lua_shared_dict", "mooring_certificates", "256m")
    yield directive("lua_regex_match_limit", "100000")
    yield directive("lua_regex_cache_max_entries", "16384")
    for each in TEMPORARY:
        yield directive(f"{each}_temp_path", Bare(f"{folder}/tmp/{each}"))
    yield directive("default_type", "text/plain")
    yield directive("server_tokens", "off")
    yield directive("uninitialized_variable_warn", "off")
    yield directive("variables_hash_max_size", "8192")
    yield directive("server_names_hash_max_size", "131072")
    yield directive("server_names_hash_bucket_size", "512")
    # No larger than it must be, for all of a bucket is looked through: the name, its length, two pointers.
    yield directive("proxy_headers_hash_max_size", "2048")
    yield directive("proxy_headers_hash_bucket_size", str(64 * -(-(longest_name + 26) // 64)))
    yield directive("geo", Bare("$dollar"), block=(directive("default", Bare("$")),))
    # What NGINX reads: as slow and as large as the front door allows.
    yield directive("client_header_timeout", milliseconds(front.header_timeout))
    yield directive("client_body_timeout", milliseconds(front.body_timeout))
    yield directive("send_timeout", milliseconds(front.body_timeout))
    yield directive("keepalive_timeout", milliseconds(front.idle_timeout))
    yield directive("keepalive_requests", "1000000")
    yield directive("large_client_header_buffers", "4", str(max(1024, front.header_octets // 4)))
    yield directive("http2_max_concurrent_streams", str(front.streams))
    yield directive("reset_timedout_connection", "on")
    yield directive("tcp_nodelay", "on")
    yield directive("request_pool_size", _POOL)
    yield directive("ignore_invalid_headers", "on")
    yield directive("underscores_in_headers", "off")
    yield directive("merge_slashes", "on")
    # Towards backends.
    yield directive("proxy_http_version", "1.1")
    yield directive("proxy_buffer_size", "16k")
    yield directive("proxy_buffers", "8", "16k")
    yield directive("proxy_busy_buffers_size", "32k")
    yield directive("grpc_buffer_size", "16k")
    yield directive("proxy_ssl_server_name", "on")
    yield directive("grpc_ssl_server_name", "on")
    yield directive("proxy_redirect", "off")
    for module in ("proxy", "grpc", "fastcgi"):
        # A backend would have another path served in its stead, an internal one too.
        yield directive(f"{module}_ignore_headers", "X-Accel-Redirect")
    if front.server_header:
        yield directive("header_filter_by_lua_block", Call("server"))
    else:
        yield directive("proxy_pass_header", "Server")
        yield directive("grpc_pass_header", "Server")
    yield from _tls(front, folder)
    yield from _client(front)
    yield from _variables(table, placement)
    yield from _paths(front)
    yield from _log(front)
    yield from _own_servers(placement)


def _tls(front: FrontDoor, folder: str) -> Iterable[Directive]:
    yield directive("ssl_certificate", Bare(f"{folder}/{DUMMY}"))
    yield directive("ssl_certificate_key", Bare(f"{folder}/{DUMMY}"))
    versions = ("TLSv1.3",) if front.tls_minimum == "1.3" else ("TLSv1.2", "TLSv1.3")
    yield directive("ssl_protocols", *versions)
    yield directive("ssl_ciphers", Bare(front.ciphers))
    yield directive("ssl_prefer_server_ciphers", "off")
    yield directive("ssl_session_cache", Bare("shared:mooring_sessions:10m"))
    yield directive("ssl_session_timeout", "1h")
    yield directive("ssl_session_tickets", "off")


def _client(front: FrontDoor) -> Iterable[Directive]:
    """Who the client is, and what is believed about it."""
    believed = _believed(front)
    if front.proxy_protocol:
        yield directive("set_real_ip_from", "0.0.0.0/0")
        yield directive("set_real_ip_from", "::/0")
        yield directive("real_ip_header", "proxy_protocol")
    elif believed:
        for one in believed:
            yield directive("set_real_ip_from", str(ip_network(one, strict=False)))
        yield directive("real_ip_header", "X-Forwarded-For")
        yield directive("real_ip_recursive", "on" if front.trusted_proxies else "off")
    yield from _forwarded(believed, _peer(front))


def forwarded(front: FrontDoor) -> Mapping[str, str]:
    """The variables that say what backends are told of the way here. Where nobody is believed these are NGINX's own, for a
    request pays for every one that stands for another."""
    if _believed(front):
        return {name: f"m_forwarded_{name}" for name in ("for", *_SEEN)}
    return {"for": _peer(front), **_SEEN}


def is_believing(front: FrontDoor) -> bool:
    return bool(_believed(front))


def _believed(front: FrontDoor) -> tuple[str, ...]:
    return front.trusted_proxies or (("0.0.0.0/0", "::/0") if front.trusted_hops == 1 else ())


def _peer(front: FrontDoor) -> str:
    return "proxy_protocol_addr" if front.proxy_protocol else "realip_remote_addr" if _believed(front) else "remote_addr"


def _forwarded(believed: tuple[str, ...], peer: str) -> Iterable[Directive]:
    """What backends are told: from a peer that is believed its own words, continued; else what is seen here."""
    if not believed:
        for name, own in (("for", peer), *_SEEN.items()):
            yield directive("map", "", Bare(f"$m_forwarded_{name}"), block=(directive("default", variable(own)),))
        yield directive("map", "", Bare("$m_forwarded"), block=(directive("default", ""),))
        return
    yield directive(
        "geo",
        Bare(f"${peer}"),
        Bare("$m_trusted"),
        block=(directive("default", "0"), *(directive(str(ip_network(one, strict=False)), "1") for one in believed)),
    )
    sent = Value((Name("m_trusted"), ":", Name("http_x_forwarded_for")))
    yield directive(
        "map",
        sent,
        Bare("$m_forwarded_for"),
        block=(
            directive("default", variable(peer)),
            directive("~^1:(?<m_before>.+)$", Value((Name("m_before"), ", ", Name(peer)))),
        ),
    )
    given = Value((Name("m_trusted"), ":", Name("http_forwarded")))
    believable = directive("~^1:(?<m_rfc_7239>.+)$", variable("m_rfc_7239"))
    yield directive("map", given, Bare("$m_forwarded"), block=(directive("default", ""), believable))
    for name, own in _SEEN.items():
        believable = directive(f"~^1:(?<m_given_{name}>{_FORMS[name]})$", variable(f"m_given_{name}"))
        given = Value((Name("m_trusted"), ":", Name(f"http_x_forwarded_{name}")))
        yield directive("map", given, Bare(f"$m_forwarded_{name}"), block=(directive("default", variable(own)), believable))


_SEEN = {"proto": "scheme", "host": "m_authority", "port": "m_public_port"}
_FORMS = {"proto": "https?", "host": "[A-Za-z0-9._:-]+", "port": "[0-9]+"}


def mapped(of: Value, name: str, default: Value | str, *cases: tuple[str, Value | str]) -> Directive:
    lines = (directive("default", default), *(directive(case, value) for case, value in cases))
    return directive("map", of, Bare(f"${name}"), block=lines)


def _paths(front: FrontDoor) -> Iterable[Directive]:
    """Asked for paths that are not plain (find.lua). What is `kept` has its path from Lua: NGINX decodes slashes too."""
    bad = rf"%(?:{'' if front.keeps_encoded_slashes else '2f|5c|'}[01][0-9a-f]|7f)|\\|/(?:\.|%2e){{1,2}}(?:;|%3b)"
    cases = [(rf"~*^[^?]*(?:{bad})|#", "bad")]
    if front.keeps_encoded_slashes:
        cases += [(f"~*^[^?]*{CLIMBS}", "bad"), ("~*^[^?]*%(?:2f|5c)", "kept")]
    yield mapped(variable("request_uri"), "m_unclean", "", *cases, (r"~*^[^?]*(?://|/\.|%2e)", "unclean"))


def _variables(table: RouteTable, placement: Placement) -> Iterable[Directive]:
    """Long because it is a list."""

    # What Lua or a server sets before it is asked for is not looked up in its map.
    yield mapped(Value(()), "m_new_id", variable("request_id"))
    yield mapped(
        variable("http_x_request_id"),
        "m_request_id",
        variable("m_new_id"),
        (r"~^(?<m_given_id>[A-Za-z0-9._:-]{1,128})$", variable("m_given_id")),
    )
    # No other protocol is switched to: h2c would carry requests past all rules.
    yield mapped(variable("server_protocol"), "m_may_upgrade", "", ("HTTP/1.1", "websocket"))
    yield mapped(variable("http_upgrade"), "m_upgrade", "", ("websocket", variable("m_may_upgrade")))
    yield mapped(variable("m_upgrade"), "m_connection", "", ("websocket", "upgrade"))
    ports = {str(placement.bound(each.port)): str(each.port) for each in table.listeners}
    yield mapped(variable("server_port"), "m_public_port", variable("server_port"), *ports.items())
    # The host that was routed by, with the port that the client wrote: another one never reaches a backend.
    yield mapped(
        variable("http_host"),
        "m_authority",
        variable("host"),
        (r"~:(?<m_port>\d+)$", Value((Name("host"), ":", Name("m_port")))),
    )
    yield mapped(
        variable("request_time"),
        "m_milliseconds",
        "0",
        *((f"0.{number:03}", str(number)) for number in range(100)),
        (r"~^0\.0*(?<m_fraction>[1-9]\d*)$", variable("m_fraction")),
        (r"~^(?<m_whole>[1-9]\d*)\.(?<m_rest>\d+)$", Value((Name("m_whole"), Name("m_rest")))),
    )


def _log(front: FrontDoor) -> Iterable[Directive]:
    """Two forms of the same line: most requests have nothing in them that JSON escapes, and one look shows it."""
    said = _said(front)
    for key, name in said.items():
        yield mapped(variable(name), f"m_log_{key}", "?", ("", ""), (_UTF8, variable(name)))
    # Until a server has looked, which a request that cannot be read never comes to.
    yield mapped(Value(()), "m_is_plain", "")
    yield mapped(Value(()), "m_is_not_plain", "1")
    yield mapped(Value(()), "m_way", _CLUSTER)
    yield mapped(variable("m_way"), "m_route", "", ('~^(?<m_way_route>[^"]*)', variable("m_way_route")))
    yield mapped(variable("m_way"), "m_cluster", "", ('~(?<m_way_cluster>[^"]*)$', variable("m_way_cluster")))
    names = {f"forwarded_{name}": own for name, own in forwarded(front).items()}
    yield directive("log_format", "mooring", "escape=none", _line(names | said))
    escaped = names | {key: f"m_log_{key}" for key in said}
    yield directive("log_format", "mooring_any", "escape=json", _line(escaped, Name("m_route"), _CLUSTER, Name("m_cluster")))
    if front.access_log:
        for form, condition in (("mooring", "m_is_plain"), ("mooring_any", "m_is_not_plain")):
            is_its = Value(("if=", Name(condition)))
            yield directive("access_log", Bare("/dev/stdout"), form, "buffer=64k", "flush=1s", is_its)
    else:
        yield directive("access_log", "off")


def look_at_what_is_said(front: FrontDoor) -> Iterable[Directive]:
    """Directives of a server: a `map` would first write all of it in small letters."""
    yield directive("set", Bare("$m_said"), Value(tuple(map(Name, _said(front).values()))))
    is_plain = (directive("set", Bare("$m_is_plain"), "1"), directive("set", Bare("$m_is_not_plain"), ""))
    yield directive("if", Bare("($m_said"), Bare("!~"), Bare("[^ !#-\\[\\]-~])"), block=is_plain)


def _said(front: FrontDoor) -> dict[str, str]:
    return _SAID | ({"forwarded_for": "m_forwarded_for"} if is_believing(front) else {})


def _line(names: Mapping[str, str], *way: str | Name) -> Value:
    """`way`: what there is instead of `m_way`."""
    parts: list[str | Name] = ["{"]
    for index, (key, name, is_text) in enumerate(_LOG):
        parts.append(f'{"," if index else ""}"{key}":{_QUOTE if is_text else ""}')
        values = way if way and name == "m_way" else (name if name in _CONSTANTS else Name(names.get(name, name)),)
        parts += [*values, _QUOTE if is_text else ""]
    return Value((*parts, "}"))


def _own_servers(placement: Placement) -> Iterable[Directive]:
    yield directive(
        "server",
        block=(
            *(directive("listen", Bare(address)) for address in listens(placement, placement.ready_port)),
            directive("server_name", Bare("")),
            directive("access_log", "off"),
            directive("location", "=", "/readyz", block=(directive("content_by_lua_block", Call("ready")),)),
            directive("location", "/", block=(NOT_FOUND,)),
        ),
    )
    yield directive(
        "server",
        block=(
            directive("listen", Bare(f"unix:{placement.folder}/{CONTROL}")),
            directive("access_log", "off"),
            directive("client_max_body_size", "0"),
            directive("client_body_buffer_size", "1m"),
            # These are known in the log of every server because one sets them.
            *(directive("set", Bare(f"${each}"), "") for each in _SET),
            directive("location", "/", block=(directive("content_by_lua_block", Call("control")),)),
        ),
    )


def listens(placement: Placement, port: int) -> tuple[str, ...]:
    """`::` takes IPv4 too. NGINX wants that said with one `listen` of each port and no other, so 0.0.0.0 is named beside it."""
    families = (("::", "0.0.0.0") if each == "::" else (each,) for each in placement.addresses)
    addresses = dict.fromkeys(each for both in families for each in both)
    return tuple(f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in addresses)
