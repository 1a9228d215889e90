"""Is this Ingress a canary of another, and who gets it?"""

import re2
from msgspec import structs

from mooring.model.ingress import Ingress
from mooring.routing.ingress.annotations.annotation import Annotation, Family
from mooring.routing.ingress.annotations.notes import BASIC, NAME, PREFIX, REGEX, TRUE, Notes
from mooring.routing.ingress.wishes import Canary, Wishes

_ANNOTATIONS = (
    Annotation(
        "canary",
        "true, false",
        "A second Ingress for hosts and paths of another, of the same namespace (upstream: of any). Only its backends, "
        "canary-*, affinity, session-cookie-*, load-balance, upstream-hash-by and service-upstream count; all else is the main "
        "Ingress's. Without a ready endpoint its requests go to the main backend; while that has none, the canary's own are "
        "still served (upstream: none). Rules of other paths with the same main backend are not shared (upstream: they are).",
    ),
    Annotation(
        "canary-by-header",
        "a header",
        "Its value `always` goes to the canary, `never` does not, others go on to the next rule.",
    ),
    Annotation("canary-by-header-value", "a value", "Only this value goes to the canary; others go on to the next rule."),
    Annotation(
        "canary-by-header-pattern",
        "a regular expression",
        "RE2, found anywhere in the value. Nothing with canary-by-header-value. Upstream's PCRE knows more; what RE2 does not "
        "is refused.",
    ),
    Annotation("canary-by-cookie", "a cookie", "`always` and `never`, as canary-by-header."),
    Annotation("canary-weight", "0 to canary-weight-total", "This share of the remaining requests."),
    Annotation("canary-weight-total", "1 or more", "Default 100."),
)
_RULES = tuple(known.name for known in _ANNOTATIONS if known.name != "canary")


def is_canary(ingress: Ingress) -> bool:
    return (ingress.metadata.annotations or {}).get(f"{PREFIX}canary", "") in TRUE


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    if not notes.boolean("canary"):
        for name in _RULES:
            if notes.has(name):
                notes.bad(name, "needs canary: true", "it is left out")
        return wishes
    total = notes.integer("canary-weight-total", 100, 1)
    header, value, pattern = _header(notes)
    canary = Canary(
        weight=notes.integer("canary-weight", 0, 0, total),
        total=total,
        header=header,
        value=value,
        pattern=pattern,
        cookie=_name(notes, "canary-by-cookie"),
    )
    return structs.replace(wishes, canary=canary)


def _header(notes: Notes) -> tuple[str, str, str]:
    """Name, value and pattern. With a value or pattern that is none there is no rule at all, rather than one for `always`."""
    given = [name for name in ("canary-by-header-value", "canary-by-header-pattern") if notes.has(name)]
    header = _name(notes, "canary-by-header").lower()
    if not header:
        for name in given:
            notes.bad(name, "needs canary-by-header", "it is left out")
        return "", "", ""
    value = notes.text("canary-by-header-value", BASIC, "the header is not looked at")
    if value or not given:
        return header, value, ""
    pattern = _pattern(notes)
    return (header, "", pattern) if pattern else ("", "", "")


def _name(notes: Notes, annotation: str) -> str:
    name = notes.text(annotation, BASIC)
    if name and NAME.fullmatch(name) is None:
        notes.bad(annotation, "is no name", "it is left out")
        return ""
    return name


def _pattern(notes: Notes) -> str:
    """For a whole value, as the RouteTable's conditions want it; upstream looks for it anywhere."""
    pattern = notes.text("canary-by-header-pattern", REGEX, "the header is not looked at")
    if not pattern:
        return ""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error:
        notes.bad("canary-by-header-pattern", "is no regular expression of RE2", "the header is not looked at")
        return ""
    return f"(?s:.*(?:{pattern}).*)"


CANARY = Family(_ANNOTATIONS, _read, of_canary=True)
