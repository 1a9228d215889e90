"""Who may come in, says another server? External authentication; what cannot be done closes."""

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family, Kind, no_op
from mooring.routing.ingress.annotations.headers import names, settings
from mooring.routing.ingress.annotations.notes import HEADERS, NAME, URL, URL_WITH_VARIABLES, Notes
from mooring.routing.ingress.annotations.references import Server, Unusable, config_map, server
from mooring.routing.ingress.annotations.variables import UnknownVariable, template
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import ExternalAuth, Template, Variable

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
_KEPT = "connections to the authentication server are always kept"
_CACHE = "the server is asked about every request; answers are not kept"

_ANNOTATIONS = (
    Annotation(
        "auth-url",
        "an http or https URL",
        "Each request is first asked about there: 2xx lets it on, 401 and 403 go to the client, all else is 500. Variables "
        "may stand in its path; `$host` as its host is the rules' one host. What cannot be done: 503.",
    ),
    Annotation("auth-method", ", ".join(METHODS), "Default GET. Another: 503, as upstream."),
    Annotation(
        "auth-signin",
        "a URL",
        "A 401 becomes a 302 to it, with the request's URL in the parameter of auth-signin-redirect-param.",
    ),
    Annotation("auth-signin-redirect-param", "a name", "Default rd; added unless auth-signin has it."),
    Annotation(
        "auth-response-headers",
        "headers, comma-separated",
        "Taken from the server's answer to the backend. A bad list, or one with Host or what delimits messages: 503.",
    ),
    Annotation(
        "auth-proxy-set-headers", "a ConfigMap of the same namespace", "Set on the question. Missing: 503, as upstream."
    ),
    Annotation(
        "auth-request-redirect", "a URL", "X-Auth-Request-Redirect of the question; default the request's path and query."
    ),
    Annotation("auth-always-set-cookie", "true, false", "The server's cookies reach the client whatever the answer's status."),
    no_op("auth-cache-key", "variables", _CACHE),
    no_op("auth-cache-duration", "statuses and times", _CACHE),
    no_op("auth-keepalive", "a number", _KEPT),
    no_op("auth-keepalive-share-vars", "true, false", _KEPT),
    no_op("auth-keepalive-requests", "a number", _KEPT),
    no_op("auth-keepalive-timeout", "seconds", _KEPT),
    no_op("enable-global-auth", "true, false", "there is no authentication for all Ingresses at once"),
)

_HERE = ("://", Variable.HOST, Variable.ESCAPED_REQUEST_URI)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    if not notes.values.get("auth-url", "").strip():
        for known in _ANNOTATIONS[1:]:
            if notes.has(known.name) and known.kind is Kind.UNDERSTOOD:
                notes.bad(known.name, "needs auth-url", "nobody is asked, as upstream")
        return wishes
    at = "auth-url"
    try:
        if notes.is_refused(at, URL_WITH_VARIABLES):
            raise Unusable("has characters that do not belong into it")
        asked = server(notes, notes.text(at, URL_WITH_VARIABLES))
        at = "auth-method"
        method = _method(notes)
        at = "auth-response-headers"
        taken = _taken(notes)
        at = "auth-proxy-set-headers"
        given = settings(notes, at, config_map(notes, at)) if notes.values.get(at, "").strip() else ()
    except Unusable as why:
        notes.close(at, str(why.args[0]))
        return wishes
    auth = ExternalAuth(
        asked.cluster.name,
        asked.host,
        asked.path,
        method=method or "GET",
        sign_in=_sign_in(notes),
        take=taken,
        give=(*_question(notes, asked, method), *given),
        always_set_cookie=notes.boolean("auth-always-set-cookie"),
    )
    return structs.replace(wishes, external_auth=auth, clusters=(*wishes.clusters, asked.cluster))


def _method(notes: Notes) -> str:
    method = notes.values.get("auth-method", "").strip(" \t\r\n")
    if method and method not in METHODS:
        raise Unusable("is no method")
    return method


def _taken(notes: Notes) -> tuple[str, ...]:
    if notes.is_refused("auth-response-headers", HEADERS):
        raise Unusable("is no list of header names")
    return names(notes.text("auth-response-headers", HEADERS))


def _question(notes: Notes, asked: Server, method: str) -> tuple[tuple[str, str | Template], ...]:
    """The headers that upstream sets on its question (nginx.tmpl, the location of auth_request)."""
    redirect = notes.text("auth-request-redirect", URL, "the request's path and query are used")
    headers: list[tuple[str, str | Template]] = [
        ("x-original-url", Template((Variable.SCHEME, "://", Variable.HOST, Variable.REQUEST_URI))),
        ("x-original-method", Template((Variable.METHOD,))),
        ("x-sent-from", "nginx-ingress-controller"),
        ("x-real-ip", Template((Variable.CLIENT_ADDRESS,))),
        ("x-auth-request-redirect", redirect or Template((Variable.REQUEST_URI,))),
    ]
    if method:
        headers += [("x-original-uri", Template((Variable.REQUEST_URI,))), ("x-scheme", Template((Variable.SCHEME,)))]
    return tuple(headers)


def _sign_in(notes: Notes) -> Template | None:
    url = notes.text("auth-signin", URL_WITH_VARIABLES, "clients get the 401")
    if not url:
        notes.idle(("auth-signin-redirect-param",), "auth-signin")
        return None
    parameter = notes.text("auth-signin-redirect-param", NAME, "rd is used") or "rd"
    if not url.startswith(("http://", "https://", "$scheme://", "/")):
        notes.bad("auth-signin", "is no URL", "clients get the 401")
        return None
    try:
        made = template(url)
    except UnknownVariable as unknown:
        notes.bad("auth-signin", str(unknown.args[0]), "clients get the 401")
        return None
    query = url.partition("?")[2]
    if any(part.partition("=")[0] == parameter and part.partition("=")[2] for part in query.split("&")):
        return made
    return Template((*made.parts, f"{'&' if query else '?'}{parameter}=", Variable.SCHEME, *_HERE))


ASKING = Family(_ANNOTATIONS, _read)
