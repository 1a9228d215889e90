"""Where does a request go by its path and host? Rewriting, redirects and other names of a host."""

import re

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family, no_op
from mooring.routing.ingress.annotations.notes import PATH_WITH_GROUPS, SERVER_NAMES, URL_WITH_VARIABLES, Notes
from mooring.routing.ingress.annotations.variables import UnknownVariable, template
from mooring.routing.ingress.wishes import SslRedirect, Wishes
from mooring.routing.table import Redirect

MOST_ALIASES = 250
REDIRECTS = (301, 302, 303, 307, 308)
_GROUP = re.compile(r"\$(?![1-9])")
_LABEL = r"[a-z0-9_](?:[a-z0-9\-_]*[a-z0-9_])?"
_ALIAS = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")

_ANNOTATIONS = (
    Annotation(
        "rewrite-target",
        "a path, with $1 to $9",
        "The path becomes this; the query stays. Makes the host's paths regular expressions, as use-regex does, unless it "
        "is the path itself. Not for a defaultBackend (upstream: its path becomes this). A target with a query, or one that is "
        "a URL (upstream: a 302), is refused.",
    ),
    Annotation(
        "use-regex",
        "true, false",
        "Paths are regular expressions (RE2), anchored at the beginning, in any letter case; on all Ingresses of the same "
        "host.",
    ),
    Annotation("app-root", "a path", "`/` is answered with a 302 to it."),
    Annotation(
        "ssl-redirect", "true, false", "Default true: 308 to https where the host has TLS, for paths that nobody has too."
    ),
    Annotation("force-ssl-redirect", "true, false", "308 to https even without TLS here. Wins over ssl-redirect."),
    no_op("preserve-trailing-slash", "true, false", "a redirect to https always keeps the path as it is"),
    Annotation(
        "permanent-redirect",
        "an http or https URL",
        "301 to it, also for paths of the host that nobody has if the host's oldest Ingress asks for it. NGINX's variables "
        "may stand in it.",
    ),
    Annotation("permanent-redirect-code", "301, 302, 303, 307, 308", "In place of 301. Upstream takes 300 to 308."),
    Annotation("temporal-redirect", "an http or https URL", "302 to it; wins over permanent-redirect."),
    Annotation("temporal-redirect-code", "301, 302, 303, 307, 308", "In place of 302. Upstream takes 300 to 308."),
    no_op("relative-redirects", "true, false", "redirects name the URL in full, which every client understands"),
    no_op("use-port-in-redirects", "true, false", "redirects name the port that clients use, 80 or 443, which is left out"),
    Annotation(
        "from-to-www-redirect", "true, false", "308 from www.HOST to HOST, or the other way where the rule's host has www."
    ),
    Annotation(
        "server-alias",
        "names, comma-separated",
        "More names of the Ingress's hosts; `*.foo.com` is possible. Regular expressions (`~^...`) are refused. A name that "
        "is some rule's host stays that rule's. At most 250.",
    ),
)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    return structs.replace(
        wishes,
        rewrite=_rewrite(notes),
        regex=notes.boolean("use-regex"),
        app_root=_app_root(notes),
        ssl_redirect=_ssl_redirect(notes),
        redirect=_redirect(notes),
        www_redirect=notes.boolean("from-to-www-redirect"),
        aliases=_aliases(notes),
    )


def _rewrite(notes: Notes) -> str:
    target = notes.text("rewrite-target", PATH_WITH_GROUPS, "the path is not rewritten")
    if not target:
        return ""
    if target.startswith(("http:", "https:", "$scheme")):
        notes.refuse(
            "rewrite-target", "is a URL, to which NGINX would redirect; use temporal-redirect", "the path is not rewritten"
        )
        return ""
    if _GROUP.search(target):
        notes.bad("rewrite-target", "has a $ that is no group ($1 to $9)", "the path is not rewritten")
        return ""
    return target if target.startswith(("/", "$")) else f"/{target}"


def _app_root(notes: Notes) -> str:
    path = notes.text("app-root", PATH_WITH_GROUPS, "/ is not redirected")
    if path and (not path.startswith("/") or path.startswith("//") or "$" in path):
        notes.bad("app-root", "is not an absolute path", "/ is not redirected")
        return ""
    return path


def _ssl_redirect(notes: Notes) -> SslRedirect:
    wanted = notes.boolean("ssl-redirect", default=True)
    if notes.boolean("force-ssl-redirect"):
        return SslRedirect.ALWAYS
    return SslRedirect.IF_TLS if wanted else SslRedirect.NO


def _redirect(notes: Notes) -> Redirect | None:
    codes = {"temporal-redirect": 302, "permanent-redirect": 301}
    found = [made for name, usual in codes.items() if (made := _redirect_to(notes, name, usual)) is not None]
    return found[0] if found else None


def _redirect_to(notes: Notes, name: str, usual: int) -> Redirect | None:
    if not notes.values.get(name, "").strip():
        notes.idle((f"{name}-code",), name)
        return None
    status = notes.integer(f"{name}-code", usual)
    if status not in REDIRECTS:
        notes.bad(f"{name}-code", f"is none of {', '.join(map(str, REDIRECTS))}", f"{usual} is used")
        status = usual
    url = notes.text(name, URL_WITH_VARIABLES, "nothing is redirected")
    if not url:
        return None
    if not url.startswith(("http://", "https://", "$scheme://")):
        notes.bad(name, "is no http or https URL", "nothing is redirected")
        return None
    try:
        return Redirect(status, url=template(url))
    except UnknownVariable as unknown:
        notes.bad(name, unknown.args[0], "nothing is redirected")
        return None


def _aliases(notes: Notes) -> tuple[str, ...]:
    found = []
    value = notes.values.get("server-alias", "")
    for name in dict.fromkeys(part.strip(" \t\r\n").lower() for part in value.split(",")):
        if not name:
            continue
        if SERVER_NAMES.fullmatch(name) is None or _ALIAS.fullmatch(name) is None:
            what = "a regular expression" if name.startswith("~") else "no host name"
            notes.refuse("server-alias", f"one of its names is {what}", "that name is left out")
        else:
            found.append(name)
    if len(found) > MOST_ALIASES:
        notes.bad("server-alias", f"has {len(found)} names, more than {MOST_ALIASES}", "the others are left out")
    return tuple(found[:MOST_ALIASES])


PATHS = Family(_ANNOTATIONS, _read)
