"""Which other origins may scripts call from? The Fetch standard's CORS."""

import re

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family
from mooring.routing.ingress.annotations.notes import HEADERS, Notes
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import Cors

_METHODS = ("GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
_HEADERS = (
    "DNT",
    "Keep-Alive",
    "User-Agent",
    "X-Requested-With",
    "If-Modified-Since",
    "Cache-Control",
    "Content-Type",
    "Range",
    "Authorization",
)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.\-]*://(\*\.)?[A-Za-z0-9\-.]+(:\d{1,5})?|null", re.ASCII)
_METHOD_LIST = re.compile(r"[A-Za-z, ]*", re.ASCII)
_EXPOSED = re.compile(r"[A-Za-z0-9\-_*, ]*", re.ASCII)

_ANNOTATIONS = (
    Annotation(
        "enable-cors",
        "true, false",
        "Default false. Preflights are answered with 204 by the proxy (upstream: every OPTIONS request); all answers say Vary: "
        "Origin.",
    ),
    Annotation(
        "cors-allow-origin",
        "origins, comma-separated, or *",
        "Default *. `https://*.foo.com` is for one label. Bad origins are told and left out; with none left there is no CORS "
        "(upstream: all are allowed).",
    ),
    Annotation("cors-allow-methods", "methods, comma-separated", f"Default {', '.join(_METHODS)}."),
    Annotation("cors-allow-headers", "headers, comma-separated", f"Default {', '.join(_HEADERS)}."),
    Annotation("cors-expose-headers", "headers, comma-separated, or *", "Default none."),
    Annotation(
        "cors-allow-credentials",
        "true, false",
        "Default true; false where any origin may ask. Upstream sends `*` with it then, which browsers take for a refusal.",
    ),
    Annotation("cors-max-age", "seconds", "Default 1728000."),
)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    if not notes.boolean("enable-cors"):
        for known in _ANNOTATIONS[1:]:
            if notes.has(known.name):
                notes.ignore(known.name, "does nothing without enable-cors: true")
        return wishes
    origins = _origins(notes)
    cors = Cors(
        origins=origins,
        methods=_list(notes, "cors-allow-methods", _METHOD_LIST) or _METHODS,
        headers=_list(notes, "cors-allow-headers", HEADERS) or _HEADERS,
        expose=_list(notes, "cors-expose-headers", _EXPOSED),
        credentials=_credentials(notes, origins),
        max_age=notes.integer("cors-max-age", 1728000),
    )
    return structs.replace(wishes, cors=cors) if cors.origins else wishes


def _origins(notes: Notes) -> tuple[str, ...]:
    given = [part.strip(" \t\r\n") for part in notes.values.get("cors-allow-origin", "").split(",")]
    given = [part for part in given if part]
    if not given or "*" in given:
        return ("*",)
    good = tuple(dict.fromkeys(part for part in given if _ORIGIN.fullmatch(part)))
    if any(not _ORIGIN.fullmatch(part) for part in given):
        notes.bad("cors-allow-origin", "has what is no origin", "that one is left out" if good else "there is no CORS")
    return good


def _credentials(notes: Notes, origins: tuple[str, ...]) -> bool:
    """Any site could read what its visitors may see, were it told its own name for `*`."""
    wanted = notes.boolean("cors-allow-credentials", default=True)
    if wanted and "*" in origins and notes.has("cors-allow-credentials"):
        notes.ignore(
            "cors-allow-credentials", "does nothing where any origin may ask; name those that may in cors-allow-origin"
        )
    return wanted and "*" not in origins


def _list(notes: Notes, name: str, allowed: re.Pattern[str]) -> tuple[str, ...]:
    value = notes.text(name, allowed, "the default is used")
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


CORS = Family(_ANNOTATIONS, _read)
