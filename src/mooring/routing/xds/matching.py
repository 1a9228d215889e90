"""Which requests does a route take? A Match, and the one label of a wildcard host, as Envoy's RouteMatch."""

from collections.abc import Iterable

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher, RouteMatch
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from mooring.routing.table import Condition, How, Match, Part, PathKind, PathMatch
from mooring.routing.xds import patterns

_ANYTHING = "(?s:.*)"


def matched(match: Match, guard: str = "") -> RouteMatch:
    """`guard`: a pattern that the authority must match besides."""
    out = RouteMatch()
    _path(out, match.path)
    if guard:
        out.headers.append(HeaderMatcher(name=":authority", string_match=_regex(guard)))
    for condition in match.conditions:
        _condition(out, condition)
    return out


def faults(match: Match) -> Iterable[str]:
    """Why Envoy would not take it."""
    if match.path.kind in (PathKind.REGEX, PathKind.REGEX_PREFIX):
        yield from _fault(path_pattern(match.path))
    elif not match.path.value.startswith("/") or set("?#") & set(match.path.value):
        yield f"{match.path.value!r} is not the beginning of a path"
    for condition in match.conditions:
        if condition.how is How.REGEX:
            yield from _fault(condition.value)


def _fault(pattern: str) -> Iterable[str]:
    reason = patterns.fault(pattern)
    if reason is not None:
        yield reason


def one_label(wildcard: str) -> str:
    """A pattern of the authorities, a port included, that have exactly one label in place of the `*` of `*.foo.com`."""
    return rf"(?i)[^.:]+{patterns.escaped(wildcard[1:])}(?::\d+)?"


def path_pattern(path: PathMatch) -> str:
    """Of a path matched by a regular expression; all of the path must match it."""
    flags = "(?i)" if path.ignore_case else ""
    return f"{flags}(?:{path.value})" + (_ANYTHING if path.kind is PathKind.REGEX_PREFIX else "")


def literal(path: PathMatch) -> str | None:
    """What every path that matches begins with, letter for letter; None if that cannot be told."""
    if path.ignore_case or path.kind in (PathKind.REGEX, PathKind.REGEX_PREFIX):
        return None
    return path.value.rstrip("/") if path.kind is PathKind.PREFIX else path.value


def _path(out: RouteMatch, path: PathMatch) -> None:
    kind = path.kind
    if kind in (PathKind.REGEX, PathKind.REGEX_PREFIX):
        out.safe_regex.regex = path_pattern(path)
        return
    if kind is PathKind.EXACT:
        out.path = path.value
    elif kind is PathKind.PREFIX and (whole := path.value.rstrip("/")):
        out.path_separated_prefix = whole
    else:
        out.prefix = path.value if kind is PathKind.STRING_PREFIX else "/"
    if path.ignore_case:
        out.case_sensitive.value = False


def _condition(out: RouteMatch, condition: Condition) -> None:
    if condition.part is Part.QUERY and not condition.invert:
        query = QueryParameterMatcher(name=condition.name)
        if condition.how is How.PRESENT:
            query.present_match = True
        else:
            query.string_match.CopyFrom(_text(condition))
        out.query_parameters.append(query)
        return
    header = HeaderMatcher(name=_header(condition), invert_match=condition.invert)
    if condition.part in (Part.QUERY, Part.COOKIE):
        header.string_match.CopyFrom(_regex(_among(condition)))
    elif condition.how is How.PRESENT:
        header.present_match = True
    else:
        header.string_match.CopyFrom(_text(condition))
    # A request that lacks the header does not fulfil the condition, so it fulfils the inverted one.
    header.treat_missing_header_as_empty = condition.invert and not header.present_match
    out.headers.append(header)


def _header(condition: Condition) -> str:
    match condition.part:
        case Part.METHOD:
            return ":method"
        case Part.COOKIE:
            return "cookie"
        case Part.QUERY:
            return ":path"
        case _:
            return condition.name


def _text(condition: Condition) -> StringMatcher:
    match condition.how:
        case How.EXACT:
            return StringMatcher(exact=condition.value)
        case How.PREFIX:
            return StringMatcher(prefix=condition.value)
        case _:
            return _regex(condition.value)


def _regex(pattern: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(regex=pattern))


def _among(condition: Condition) -> str:
    """One cookie among those of the header, or the first parameter of its name in the query: Envoy has no matcher for the
    former and no inverted one for the latter."""
    name = patterns.escaped(condition.name)
    if condition.part is Part.COOKIE:
        before, between = r"(?:.*;\s*)?", ";"
    else:
        before, between = rf"[^?]*\?(?:(?:{_another(condition.name)})&)*", "&"
    match condition.how:
        case How.EXACT:
            value = f"={patterns.escaped(condition.value)}"
        case How.PREFIX:
            value = f"={patterns.escaped(condition.value)}[^{between}]*"
        case How.REGEX:
            value = f"=(?:{condition.value})"
        case _:
            value = f"(?:=[^{between}]*)?"
    if condition.part is Part.QUERY and patterns.matches(value, "="):
        value = f"(?:{value})?"  # `?q` is `?q=`
    return f"{before}{name}{value}(?:{between}.*)?"


def _another(name: str) -> str:
    """A parameter of any other name. RE2 cannot look ahead, so it is told by where the names part."""
    told = [rf"{patterns.escaped(name[:at])}(?:[^{_in_class(name[at])}&=][^&]*|=[^&]*)?" for at in range(len(name))]
    return "|".join((*told, rf"{patterns.escaped(name)}[^=&][^&]*"))


def _in_class(letter: str) -> str:
    return "\\" + letter if letter in r"\]^-" else letter
