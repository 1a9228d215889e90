"""How does an HTTPRoute say what is done with a request on its way, and what of it can it not say?"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from mooring.routing.ingress.conversion.backends import Backends, tls_policy
from mooring.routing.ingress.conversion.remark import Document, Mark, Remark
from mooring.routing.table import (
    Cors,
    Filters,
    Forward,
    HeaderChanges,
    Mirror,
    Policy,
    Redirect,
    Route,
    Template,
    Variable,
)

UNASKED = Policy(buffer_response=False)
"""What an Ingress without annotations gets."""
AUTH_URL = (
    "auth-url", "auth-signin*", "auth-method", "auth-response-headers", "auth-request-redirect", "auth-always-set-cookie",
    "auth-proxy-set-headers", "auth-cache-*", "auth-keepalive*",
)  # fmt: skip
STATUSES = (301, 302, 303, 307, 308)
CORS_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"}
HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
HOST = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
POLICY = "use what the implementation offers beside the routes (a policy of its own)"

Spec = dict[str, object]
Part = Spec | Remark | Document
"""A filter, or something to say."""


def told(filters: Filters, rewrite: Spec, backends: Backends, namespace: str, source: str) -> Iterator[Spec | Remark]:
    """The HTTPRouteFilters in an order that all agree on, with remarks between them."""
    yield from _left_out(filters, source)
    if filters.cors:
        yield from _cors(filters.cors, source)
    yield from _headers("RequestHeaderModifier", filters.request_headers, source)
    yield from _headers("ResponseHeaderModifier", filters.response_headers, source)
    for mirror in filters.mirrors:
        yield from _mirror(mirror, backends, namespace, source)
    rewritten: Spec = {"path": rewrite} if rewrite else {}
    if HOST.fullmatch(filters.host):
        rewritten = {"hostname": filters.host, **rewritten}
    elif filters.host:
        yield Remark(
            source, Mark.CANNOT, f"the Host {filters.host} cannot be set: no port, no wildcard", "", ("upstream-vhost",)
        )
    if rewritten:
        yield {"type": "URLRewrite", "urlRewrite": rewritten}


def _left_out(filters: Filters, source: str) -> Iterator[Remark]:
    """Who serves a guarded rule without its guard lets everybody in."""
    without = "the rule is printed without backends, so nobody gets in"
    todo = f"{POLICY}, then add the backends"
    missing: list[tuple[object, str, str, tuple[str, ...]]] = [
        (filters.access, f"who may come in, by address; {without}", todo, ("whitelist-source-range", "denylist-source-range")),
        (filters.basic_auth, f"basic authentication; {without}", todo, ("auth-type", "auth-secret*", "auth-realm")),
        (
            filters.external_auth,
            f"asking an authentication server (ExternalAuth is in the experimental channel only); {without}",
            todo,
            AUTH_URL,
        ),
        (filters.rate, "limits of rate", POLICY, ("limit-*",)),
        (filters.error_pages, "error pages by another Service", POLICY, ("custom-http-errors", "default-backend")),
    ]
    for value, what, advice, annotations in missing:
        if value:
            yield Remark(source, Mark.CANNOT, what, advice, annotations)


def guarded(filters: Filters) -> bool:
    """Whether something stands before the backends that the objects cannot say."""
    return bool(filters.access or filters.basic_auth or filters.external_auth)


def _cors(cors: Cors, source: str) -> Iterator[Spec | Remark]:
    spec: Spec = {"allowOrigins": ["*"] if "*" in cors.origins else list(cors.origins)[:64]}
    methods = [each for each in cors.methods if each in CORS_METHODS]
    if methods:
        spec["allowMethods"] = ["*"] if "*" in methods else methods[:9]
    for field, listed in (("allowHeaders", cors.headers), ("exposeHeaders", cors.expose)):
        named = [each for each in listed if HEADER.fullmatch(each)]
        if named:
            spec[field] = ["*"] if "*" in named else named[:64]
    if cors.credentials:
        spec["allowCredentials"] = True
    if cors.max_age > 0:
        spec["maxAge"] = cors.max_age
    yield {"type": "CORS", "cors": spec}
    lost = [each for each in cors.methods if each not in CORS_METHODS]
    lost += [each for each in (*cors.headers, *cors.expose) if not HEADER.fullmatch(each)]
    if lost:
        yield Remark(source, Mark.CANNOT, f"CORS for {', '.join(lost)}", "leave it away", ("enable-cors", "cors-*"))
    if max(len(cors.origins), len(cors.headers), len(cors.expose)) > 64:
        yield Remark(source, Mark.CANNOT, "CORS lists of more than 64 entries", "shorten them", ("enable-cors",))


def _headers(kind: str, changes: HeaderChanges, source: str) -> Iterator[Spec | Remark]:
    asked = ("custom-headers", "x-forwarded-prefix", "connection-proxy-header", "auth-proxy-set-headers")
    spec: Spec = {}
    for field, pairs in (("set", changes.set), ("add", changes.add)):
        texts = [(name, _text(value)) for name, value in pairs]
        literal = [{"name": name, "value": value} for name, value in texts if value is not None]
        for name in (name for name, value in texts if value is None):
            yield Remark(source, Mark.CANNOT, f"the header {name} cannot hold parts of the request", "", asked)
        if literal:
            spec[field] = literal[:16]
    if changes.remove:
        spec["remove"] = list(changes.remove)[:16]
    if max(map(len, (changes.set, changes.add, changes.remove))) > 16:
        yield Remark(source, Mark.CANNOT, "more than 16 headers in one rule", "shorten the list", asked)
    if spec:
        yield {"type": kind, kind[0].lower() + kind[1:]: spec}


def _text(value: str | Template) -> str | None:
    if isinstance(value, str):
        return value
    return "".join(str(part) for part in value.parts) if value.is_literal else None


def _mirror(mirror: Mirror, backends: Backends, namespace: str, source: str) -> Iterator[Spec | Remark]:
    backend = backends.of(mirror.cluster)
    if backend is None:
        words = "a copy can only go to a Service, by its own host and path"
        yield Remark(source, Mark.CANNOT, words, "make a Service for the mirror", ("mirror-*",))
        return
    spec: Spec = {"backendRef": backend.reference(namespace)}
    if mirror.percent < 100:
        spec["percent"] = round(mirror.percent)
    yield {"type": "RequestMirror", "requestMirror": spec}
    if mirror.host or mirror.path or not mirror.body:
        words = "a copy has the host, path and body of its request"
        yield Remark(source, Mark.CHANGES, words, annotations=("mirror-*",))


# Redirects ------------------------------------------------------------------------------------------------------------------


def redirect(action: Redirect, source: str) -> Iterator[Spec | Remark]:
    """The RequestRedirect."""
    asked = ("permanent-redirect", "permanent-redirect-code", "temporal-redirect", "temporal-redirect-code", "app-root")
    spec: Spec = {}
    if action.url is not None:
        target = _target(action.url)
        if target is None:
            yield Remark(
                source, Mark.CANNOT, "a redirect to a place made of parts of the request", "write a rule for each", asked
            )
            return
        spec, dropped = target
        if dropped:
            yield Remark(source, Mark.CANNOT, f"{dropped} of a redirect's target is lost", "leave it away", asked)
        elif "path" in spec:
            yield Remark(source, Mark.CHANGES, "a redirect keeps the request's query", annotations=asked)
    else:
        if action.scheme:
            spec["scheme"] = action.scheme
        if action.host:
            spec["hostname"] = action.host
        if action.port:
            spec["port"] = action.port
        if action.path:
            field = "replaceFullPath" if action.path.whole else "replacePrefixMatch"
            spec["path"] = {"type": field[0].upper() + field[1:], field: action.path.value or "/"}
    if action.status not in STATUSES:
        yield Remark(source, Mark.CHANGES, f"the status {action.status} of a redirect becomes 302", annotations=asked)
    spec["statusCode"] = action.status if action.status in STATUSES else 302
    yield {"type": "RequestRedirect", "requestRedirect": spec}


def _target(url: Template) -> tuple[Spec, str] | None:
    """The fields for a target, and what of it has no place; None where it is made of the request."""
    parts = list(url.parts)
    keeps = bool(parts) and parts[-1] == Variable.REQUEST_URI
    parts = parts[:-1] if keeps else parts
    spec: Spec = {}
    if parts and parts[0] == Variable.SCHEME:
        parts[0] = ""
    if any(isinstance(part, Variable) for part in parts):
        return None
    text = "".join(str(part) for part in parts)
    found = urlsplit(text if "://" not in text[:3] else text[1:] if text.startswith("://") else text)
    if text.startswith("://"):
        found = urlsplit(text[1:])
    if found.scheme:
        spec["scheme"] = found.scheme
    if found.hostname:
        spec["hostname"] = found.hostname
    try:
        port = found.port
    except ValueError:
        return None
    if port:
        spec["port"] = port
    if keeps and found.path not in ("", "/"):
        return None
    if not keeps:
        spec["path"] = {"type": "ReplaceFullPath", "replaceFullPath": found.path or "/"}
    return spec, "the query" if found.query else "the fragment" if found.fragment else ""


# Forwarding -----------------------------------------------------------------------------------------------------------------


def backend_references(route: Route, action: Forward, backends: Backends, namespace: str) -> Iterator[Spec | Remark]:
    """The backendRefs of `action`, which is the route's, and what of the choice among endpoints cannot be said."""
    several, source = len(action.to) > 1, route.source
    for target in action.to[:16]:
        backend = backends.of(target.cluster)
        if backend is None:
            words = f"{target.cluster} is no Service's port whose number is known here"
            yield Remark(source, Mark.CANNOT, words, "give the Service's manifest too, or write the port's number")
            continue
        reference: Spec = {**backend.reference(namespace)}
        yield {**reference, "weight": target.weight} if several or target.weight != 1 else reference
        yield from backends.remarks(target.cluster, source)
        fallback = backends.fallback(target.cluster)
        if fallback and (several or "/canary-" in route.name):
            words = f"while {backend.name} has no ready endpoint its share is answered 503, and not by {fallback}"
            yield Remark(source, Mark.CHANGES, words, annotations=("canary*",))
        elif fallback:
            words = "another Service cannot stand in while one has no ready endpoint"
            yield Remark(source, Mark.CANNOT, words, "", ("default-backend",))
    if action.affinity:
        yield Remark(
            source,
            Mark.CANNOT,
            "a cookie that keeps a client at its endpoint (sessionPersistence is in the experimental channel only)",
            f"{POLICY}, or install the experimental channel and set sessionPersistence.sessionName: {action.affinity.name}",
            ("affinity*", "session-cookie-*"),
        )
    if action.hash_on:
        words = "sending requests that agree in something to the same endpoint"
        yield Remark(source, Mark.CANNOT, words, POLICY, ("upstream-hash-by", "load-balance"))


def backend_policies(action: Forward, backends: Backends, source: str) -> Iterator[Document | Remark]:
    """BackendTLSPolicies for what is spoken to in TLS."""
    for target in action.to:
        backend, tls = backends.of(target.cluster), backends.tls(target.cluster)
        if backend and tls:
            documents, remarks = tls_policy(backend, tls, source)
            yield from documents
            yield from remarks


def timeouts(policy: Policy, source: str) -> Iterator[Spec | Remark]:
    """The rule's timeouts, and the limits that have no place."""
    spec: Spec = {}
    if policy.request:
        spec["request"] = _duration(policy.request)
    if policy.read != UNASKED.read and policy.read:
        spec["backendRequest"] = _duration(min(policy.read, policy.request) if policy.request else policy.read)
        words = f"proxy-read-timeout, the longest pause, becomes the longest time for a whole answer, {spec['backendRequest']}"
        yield Remark(source, Mark.CHANGES, words, "raise it for downloads and streams", ("proxy-read-timeout",))
    if spec:
        yield spec
    left = [
        (policy.connect != UNASKED.connect, "the time to connect", "proxy-connect-timeout"),
        (policy.send != UNASKED.send, "the longest pause in sending", "proxy-send-timeout"),
        (policy.body != UNASKED.body, "the largest body", "proxy-body-size"),
        (policy.buffer_request != UNASKED.buffer_request, "buffering of requests", "proxy-request-buffering"),
        (policy.buffer_response != UNASKED.buffer_response, "buffering of answers", "proxy-buffering"),
        (not policy.access_log, "whether requests are logged", "enable-access-log"),
        (
            policy.retry != UNASKED.retry,
            "when requests are tried again (experimental channel only)",
            "proxy-next-upstream",
        ),
    ]
    for differs, what, annotation in left:
        if differs:
            asked = (annotation, *((f"{annotation}-tries", f"{annotation}-timeout") if "next" in annotation else ()))
            yield Remark(source, Mark.CHANGES, f"{what} is up to the implementation", POLICY, asked)


def _duration(seconds: float) -> str:
    """A GEP-2257 duration: at most 99999 of a unit."""
    if seconds == int(seconds) and seconds <= 99999:
        return f"{int(seconds)}s"
    milliseconds = round(seconds * 1000)
    return f"{milliseconds}ms" if milliseconds <= 99999 else f"{min(99999, round(seconds))}s"
