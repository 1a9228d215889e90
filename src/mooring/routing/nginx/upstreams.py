"""How does a request go on to a cluster? Limits, tries, headers and TLS of a location, and the upstream it points at."""

from collections.abc import Iterable, Mapping

from mooring.routing.nginx.config import Bare, Call, Directive, Name, Value, Word, directive, variable
from mooring.routing.nginx.emission import Emission, milliseconds, named, set_name
from mooring.routing.nginx.front import forwarded, is_believing
from mooring.routing.nginx.leaves import Unservable, header_name, header_value
from mooring.routing.table import (
    DEFAULT_POLICY,
    Balance,
    Cluster,
    FrontDoor,
    Policy,
    Retry,
    RetryOn,
    Route,
    Speaks,
    Template,
    UpstreamTls,
    Variable,
)

_MOST_TRIES = 10
"""NGINX tries no more than there are servers, though who they are is for Lua to say."""
RETRY_STATUSES = frozenset((403, 404, 429, 500, 502, 503, 504))


_PASS = {
    Speaks.HTTP1: ("proxy", "http"),
    Speaks.HTTP2: ("grpc", "grpc"),
    Speaks.GRPC: ("grpc", "grpc"),
    Speaks.FASTCGI: ("fastcgi", ""),
}


def forward(emission: Emission, route: Route, cluster: Cluster, sticky: bool) -> Iterable[Directive]:
    module, _ = _PASS[cluster.speaks]
    policy, filters = route.policy, route.filters
    for name, value in limits(module, policy):
        if DEFAULTS.get(name) != value:
            yield directive(name, value)
    if module != "grpc":
        if not policy.buffer_request:
            yield directive(f"{module}_request_buffering", "off")
        if not policy.buffer_response:
            yield directive(f"{module}_buffering", "off")
    yield from _retry(module, policy.retry)
    headers: dict[str, Word] = {}
    if module == "proxy" and not policy.websocket:
        headers |= {"Connection": "", "Upgrade": ""}
    if filters.host:
        headers["Host"] = header_value(filters.host)
    if filters.external_auth is not None:
        headers |= {name: variable(f"m_take{index}") for index, name in enumerate(filters.external_auth.take)}
    headers |= dict.fromkeys(map(header_name, filters.request_headers.remove), "")
    if module == "fastcgi":
        yield from _fastcgi()
    if headers or filters.request_headers.set or module == "fastcgi":
        yield from headers_for(emission, module, headers, filters.request_headers.set, emission.headers)
    if module != "fastcgi":
        yield from upstream_tls(emission, module, cluster.tls, route.name)
    to = routed(emission, cluster, sticky)
    if not emission.table.front_door.keeps_encoded_slashes:
        yield directive(f"{module}_pass", Bare(to))
    elif module == "proxy":
        # `$m_target` is the path of a request with escaped slashes, of others it is empty and the path is what it always is.
        yield directive("proxy_pass", Value((to, Name("m_target"))))
    else:
        # Neither can be told a path that is not NGINX's own.
        yield directive("if", Bare("($m_target)"), block=(directive("return", "400"),))
        yield directive(f"{module}_pass", Bare(to))


def limits(module: str, policy: Policy) -> Iterable[tuple[str, str]]:
    yield "client_max_body_size", str(policy.body)
    yield f"{module}_connect_timeout", milliseconds(policy.connect)
    yield f"{module}_read_timeout", milliseconds(policy.read)
    yield f"{module}_send_timeout", milliseconds(policy.send)


MODULES = ("proxy", "grpc", "fastcgi")


DEFAULTS = dict(pair for module in MODULES for pair in limits(module, DEFAULT_POLICY))
"""What holds in the http block; a location says only what differs. Each directive of 10,000 locations costs a reload time."""


def defaults() -> Iterable[Directive]:
    yield from (directive(name, value) for name, value in DEFAULTS.items())
    for module in MODULES:
        yield from retries(module, DEFAULT_POLICY.retry)


def _retry(module: str, retry: Retry) -> Iterable[Directive]:
    if retry == DEFAULT_POLICY.retry:
        return
    yield from retries(module, retry)


def retries(module: str, retry: Retry) -> Iterable[Directive]:
    if retry.attempts <= 1:
        yield directive(f"{module}_next_upstream", "off")
        return
    words = []
    if RetryOn.CONNECT in retry.on or RetryOn.ERROR in retry.on:
        words.append("error")
    if RetryOn.TIMEOUT in retry.on:
        words.append("timeout")
    if RetryOn.INVALID in retry.on:
        words.append("invalid_header")
    if RetryOn.STATUS in retry.on:
        words += [f"http_{status}" for status in sorted(RETRY_STATUSES.intersection(retry.statuses))]
    if retry.non_idempotent:
        words.append("non_idempotent")
    yield directive(f"{module}_next_upstream", *(words or ["off"]))
    yield directive(f"{module}_next_upstream_tries", str(retry.attempts))
    if retry.timeout:
        yield directive(f"{module}_next_upstream_timeout", milliseconds(retry.timeout))


def routed(emission: Emission, cluster: Cluster, sticky: bool) -> str:
    """Where a route's `*_pass` points: an upstream of all clusters that are spoken to alike. The look-up has written down which
    one it is, so a new cluster needs no reload; kept connections are told apart by their addresses."""
    emission.sets[set_name(cluster.where)] = cluster.where
    balance = "sticky" if sticky else "least" if cluster.balance in (Balance.LEAST_REQUEST, Balance.EWMA) else "round_robin"
    alike = f"{cluster.speaks.value} {cluster.tls!r} {balance}"
    return _upstream(emission, cluster, f"routed-{named(alike)}", Call(balance), kept=512)


def upstream(emission: Emission, cluster: Cluster) -> str:
    """An upstream of this cluster alone, for what the proxy asks by itself."""
    members = set_name(cluster.where)
    emission.sets[members] = cluster.where
    return _upstream(
        emission, cluster, f"cluster-{named(cluster.name + repr(cluster.tls))}", Call("of_set", (members,)), kept=64
    )


def _upstream(emission: Emission, cluster: Cluster, name: str, balancer: Call, kept: int) -> str:
    if name not in emission.upstreams:
        block = (
            *(directive("server", Bare(f"0.0.0.{number}")) for number in range(1, _MOST_TRIES + 1)),
            directive("balancer_by_lua_block", balancer),
            directive("keepalive", str(kept)),
            directive("keepalive_requests", "1000000"),
        )
        emission.upstreams[name] = directive("upstream", Bare(name), block=block)
    scheme = _PASS[cluster.speaks][1]
    return f"{scheme}{'s' if cluster.tls else ''}://{name}" if scheme else name


_CLAIMS = (
    "Proxy",
    "X-Forwarded-Client-Cert",
    *(
        f"X-Envoy-{name}"
        for name in (
            "Attempt-Count",
            "Decorator-Operation",
            "Expected-Rq-Timeout-Ms",
            "External-Address",
            "Force-Trace",
            "Hedge-On-Per-Try-Timeout",
            "Internal",
            "Ip-Tags",
            "Is-Timeout-Retry",
            "Max-Retries",
            "Original-Host",
            "Original-Path",
            "Retriable-Header-Names",
            "Retriable-Status-Codes",
            "Retry-Grpc-On",
            "Retry-On",
            "Upstream-Alt-Stat-Name",
            "Upstream-Rq-Per-Try-Timeout-Ms",
            "Upstream-Rq-Timeout-Ms",
        )
    ),
)
"""Those of X-Envoy-* would steer an Envoy beside the backend."""


def common_headers(front: FrontDoor, has_clients: bool) -> dict[str, Value | str]:
    """What every backend is told; a location that sets any header must repeat them all. `has_clients`: of some host's clients
    certificates are asked for. An empty text is not sent, and costs a request nothing."""
    way = {name: variable(of) for name, of in forwarded(front).items()}
    client = {
        name: variable(f"m_client_{name}") if has_clients else "" for name in ("verify", "subject", "issuer", "certificate")
    }
    return {
        "Host": variable("m_authority"),
        "Connection": variable("m_connection"),
        "Upgrade": variable("m_upgrade"),
        "HTTP2-Settings": "",
        "X-Real-IP": variable("remote_addr"),
        "X-Forwarded-For": way["for"],
        # As it came, whoever said so.
        "X-Original-Forwarded-For": variable("http_x_forwarded_for"),
        "X-Forwarded-Proto": way["proto"],
        "X-Forwarded-Scheme": way["proto"],
        "X-Scheme": way["proto"],
        "X-Forwarded-Host": way["host"],
        "X-Forwarded-Port": way["port"],
        "X-Request-ID": variable("m_request_id"),
        "ssl-client-verify": client["verify"],
        "ssl-client-subject-dn": client["subject"],
        "ssl-client-issuer-dn": client["issuer"],
        "ssl-client-cert": client["certificate"],
        "Forwarded": variable("m_forwarded") if is_believing(front) else "",
        # What only a proxy may say.
        **dict.fromkeys(_CLAIMS, ""),
    }


def headers_for(
    emission: Emission,
    module: str,
    headers: Mapping[str, Word],
    templates: Iterable[tuple[str, str | Template]],
    common: Mapping[str, Value | str],
) -> Iterable[Directive]:
    """Later ones replace earlier ones of the same name in any letter case."""
    merged: dict[str, tuple[str, Word]] = {}
    escaped = False
    for name, value in (*common.items(), *headers.items()):
        merged[name.lower()] = (name, value)
    for name, text in templates:
        merged[header_name(name).lower()] = (name, value_of(text))
        escaped = escaped or (isinstance(text, Template) and Variable.ESCAPED_REQUEST_URI in text.parts)
    if escaped:
        yield directive("set_by_lua_block", Bare("$m_escaped_request_uri"), Call("escaped"))
    emission.names.update(map(len, merged))
    yield from set_headers(module, merged.values())


def set_headers(module: str, headers: Iterable[tuple[str, Word]]) -> Iterable[Directive]:
    """In HTTP/2 the host is `:authority`, which must come before all other fields, and connections are not the request's.
    FastCGI has parameters for headers, which take the place of the client's."""
    for name, value in headers:
        if module == "fastcgi":
            yield directive("fastcgi_param", f"HTTP_{name.upper().replace('-', '_')}", value)
        elif module == "grpc" and name.lower() == "host":
            yield directive("grpc_set_header", ":authority", value)
            yield directive("grpc_set_header", "Host", "")
        elif module != "grpc" or name.lower() not in ("connection", "upgrade"):
            yield directive(f"{module}_set_header", name, value)


def value_of(text: str | Template) -> Word:
    if isinstance(text, str):
        return header_value(text)
    return Value(tuple(Name(_NAMES[part]) if isinstance(part, Variable) else header_value(part) for part in text.parts))


_NAMES = {
    Variable.SCHEME: "m_forwarded_proto",
    Variable.HOST: "host",
    Variable.REQUEST_URI: "request_uri",
    Variable.ESCAPED_REQUEST_URI: "m_escaped_request_uri",
    Variable.URI: "uri",
    Variable.ARGUMENTS: "args",
    Variable.METHOD: "request_method",
    Variable.CLIENT_ADDRESS: "remote_addr",
    Variable.REQUEST_ID: "m_request_id",
}


def upstream_tls(emission: Emission, module: str, tls: UpstreamTls | None, name: str) -> Iterable[Directive]:
    if tls is None:
        return
    if tls.name:
        yield directive(f"{module}_ssl_name", tls.name)
    else:
        yield directive(f"{module}_ssl_server_name", "off")
    yield directive(f"{module}_ssl_protocols", *(("TLSv1.3",) if tls.minimum == "1.3" else ("TLSv1.2", "TLSv1.3")))
    if tls.ciphers:
        yield directive(f"{module}_ssl_ciphers", Bare(tls.ciphers))
    if tls.authorities:
        yield directive(f"{module}_ssl_trusted_certificate", Bare(emission.file(tls.authorities, ".pem", name)))
        yield directive(f"{module}_ssl_verify", "on")
        yield directive(f"{module}_ssl_verify_depth", str(tls.depth))
    if tls.certificate:
        certificate = emission.table.certificates.get(tls.certificate)
        if certificate is None:
            raise Unservable("the certificate for the backend is not there")
        path = emission.file(certificate.chain + b"\n" + certificate.key, ".pem", name)
        yield directive(f"{module}_ssl_certificate", Bare(path))
        yield directive(f"{module}_ssl_certificate_key", Bare(path))


def _fastcgi() -> Iterable[Directive]:
    yield directive("fastcgi_keep_conn", "on")
    for name, value in (
        ("QUERY_STRING", "args"),
        ("REQUEST_METHOD", "request_method"),
        ("CONTENT_TYPE", "content_type"),
        ("CONTENT_LENGTH", "content_length"),
        ("SCRIPT_NAME", "uri"),
        ("SCRIPT_FILENAME", "uri"),
        ("REQUEST_URI", "request_uri"),
        ("DOCUMENT_URI", "uri"),
        ("SERVER_PROTOCOL", "server_protocol"),
        ("REQUEST_SCHEME", "m_forwarded_proto"),
        ("REMOTE_ADDR", "remote_addr"),
        ("SERVER_NAME", "host"),
    ):
        yield directive("fastcgi_param", name, variable(value))
    yield directive("fastcgi_param", "GATEWAY_INTERFACE", "CGI/1.1")
