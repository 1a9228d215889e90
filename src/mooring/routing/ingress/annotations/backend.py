"""How are backends spoken to? Protocol, TLS, the host and headers that they see, error pages."""

import re

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family, refused
from mooring.routing.ingress.annotations.headers import settings
from mooring.routing.ingress.annotations.notes import BASIC, PATH_WITH_GROUPS, URL_WITH_VARIABLES, Notes
from mooring.routing.ingress.annotations.references import Unusable, config_map, server
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import HeaderChanges, Mirror, Speaks, UpstreamTls

_PROTOCOLS = {
    "HTTP": (Speaks.HTTP1, False),
    "HTTPS": (Speaks.HTTP1, True),
    "GRPC": (Speaks.GRPC, False),
    "GRPCS": (Speaks.GRPC, True),
    "FCGI": (Speaks.FASTCGI, False),
}
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-_]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?", re.ASCII)
_SERVICE = re.compile(r"[a-z](?:[a-z0-9\-]{0,61}[a-z0-9])?", re.ASCII)
_STATUSES = re.compile(r"(?:[45][0-9]{2},?)*", re.ASCII)
_PARAMETERS = "parameters of FastCGI cannot be set; SCRIPT_FILENAME and the usual ones are"

_ANNOTATIONS = (
    Annotation(
        "backend-protocol",
        "HTTP, HTTPS, GRPC, GRPCS, FCGI, AUTO_HTTP",
        "In any letter case. Without it the Service port's appProtocol decides, which upstream does not read. AUTO_HTTP (the "
        "scheme of the request) is refused and taken as HTTP.",
    ),
    Annotation(
        "upstream-vhost",
        "a host name",
        "The Host that backends see. Variables are refused, but for $host, which changes nothing.",
    ),
    Annotation(
        "custom-headers",
        "a ConfigMap of the same namespace",
        "Its entries are set on answers. Upstream sets only those that the controller's global-allowed-response-headers "
        "lists; here there is no such list, and headers that delimit messages are refused. A missing ConfigMap: 503, as "
        "upstream.",
    ),
    Annotation(
        "x-forwarded-prefix",
        "a path",
        "Set as X-Forwarded-Prefix on requests, as upstream only together with rewrite-target. Groups ($1) are refused.",
    ),
    Annotation(
        "default-backend",
        "a Service of the same namespace",
        "Its first port answers while a rule's own Service has no endpoint (upstream tells it by X-Code: 503), and gives the "
        "pages of custom-http-errors.",
    ),
    Annotation(
        "custom-http-errors",
        "statuses 400 to 599, comma-separated",
        "Answers of these statuses are replaced by default-backend's. Without default-backend it is refused: there is no "
        "global one.",
    ),
    Annotation("disable-proxy-intercept-errors", "true, false", "With true custom-http-errors does nothing."),
    Annotation(
        "mirror-target",
        "an http or https URL",
        "A copy of each request goes there. Variables may stand in its path, not in its host.",
    ),
    Annotation("mirror-request-body", "on, off", "Default on: the copy has the body."),
    Annotation("mirror-host", "a host name", "The copy's Host; default that of mirror-target."),
    refused("fastcgi-index", "a file name", _PARAMETERS),
    refused("fastcgi-params-configmap", "a ConfigMap", _PARAMETERS),
)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    wishes = _error_pages(notes, _mirror(notes, _protocol(notes, wishes)))
    return structs.replace(
        wishes,
        host=_host(notes),
        request_headers=_prefix(notes, wishes),
        response_headers=_custom_headers(notes),
    )


def _protocol(notes: Notes, wishes: Wishes) -> Wishes:
    word = notes.values.get("backend-protocol", "").strip(" \t\r\n").upper()
    if not word:
        return wishes
    if word not in _PROTOCOLS:
        message = "depends on the request's scheme" if word == "AUTO_HTTP" else f"is none of {', '.join(_PROTOCOLS)}"
        notes.bad("backend-protocol", message, "taken as HTTP")
    speaks, tls = _PROTOCOLS.get(word, _PROTOCOLS["HTTP"])
    return structs.replace(wishes, speaks=speaks, tls=UpstreamTls() if tls else None)


def _host(notes: Notes) -> str:
    host = notes.text("upstream-vhost", URL_WITH_VARIABLES, "backends see the request's Host")
    if not host or host in ("$host", "$http_host", "${host}", "${http_host}", "$best_http_host"):
        return ""
    if _HOST.fullmatch(host) is None:
        notes.refuse("upstream-vhost", "is not one host name", "backends see the request's Host")
        return ""
    return host


def _prefix(notes: Notes, wishes: Wishes) -> HeaderChanges:
    prefix = notes.text("x-forwarded-prefix", PATH_WITH_GROUPS, "X-Forwarded-Prefix is not set")
    if prefix and "$" in prefix:
        notes.refuse("x-forwarded-prefix", "has a group of the path", "X-Forwarded-Prefix is not set")
    elif prefix and not wishes.rewrite:
        notes.ignore("x-forwarded-prefix", "does nothing without rewrite-target, as upstream")
    elif prefix:
        return HeaderChanges(set=(("x-forwarded-prefix", prefix),))
    return wishes.request_headers


def _custom_headers(notes: Notes) -> HeaderChanges:
    if not notes.values.get("custom-headers", "").strip():
        return HeaderChanges()
    try:
        return HeaderChanges(set=settings(notes, "custom-headers", config_map(notes, "custom-headers")))
    except Unusable as why:
        notes.close("custom-headers", why.args[0])
        return HeaderChanges()


def _mirror(notes: Notes, wishes: Wishes) -> Wishes:
    if not notes.values.get("mirror-target", "").strip():
        notes.idle(("mirror-request-body", "mirror-host"), "mirror-target")
        return wishes
    body = notes.choice("mirror-request-body", ("on", "off"), "on") == "on"
    host = notes.text("mirror-host", BASIC, "the host of mirror-target is used")
    if host and _HOST.fullmatch(host) is None:
        notes.bad("mirror-host", "is not one host name", "the host of mirror-target is used")
        host = ""
    url = notes.text("mirror-target", URL_WITH_VARIABLES, "nothing is mirrored")
    if not url:
        return wishes
    try:
        target = server(notes, url)
    except Unusable as why:
        notes.refuse("mirror-target", why.args[0], "nothing is mirrored")
        return wishes
    mirror = Mirror(target.cluster.name, host=host or target.host, path=target.path, body=body)
    return structs.replace(wishes, mirror=mirror, clusters=(*wishes.clusters, target.cluster))


def _error_pages(notes: Notes, wishes: Wishes) -> Wishes:
    service = notes.values.get("default-backend", "").strip(" \t\r\n")
    if service and _SERVICE.fullmatch(service) is None:
        notes.bad("default-backend", "is no Service's name", "it is left out")
        service = ""
    elif service and (notes.namespace, service) not in notes.objects.services:
        notes.bad("default-backend", f"there is no Service {notes.namespace}/{service}", "it is left out")
        service = ""
    text = notes.values.get("custom-http-errors", "").replace(" ", "").strip()
    if _STATUSES.fullmatch(text) is None:
        notes.bad("custom-http-errors", "is no list of statuses from 400 to 599", "answers stay the backend's")
        text = ""
    statuses = tuple(sorted({int(part) for part in text.split(",") if part}))
    if notes.boolean("disable-proxy-intercept-errors"):
        statuses = ()
    elif statuses and not service:
        notes.refuse("custom-http-errors", "needs default-backend: there is no global one", "answers stay the backend's")
        statuses = ()
    return structs.replace(wishes, default_backend=service, error_statuses=statuses)


BACKEND = Family(_ANNOTATIONS, _read)
