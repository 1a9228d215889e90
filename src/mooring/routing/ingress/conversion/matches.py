"""How does an HTTPRoute say what a route is matched by?"""

import re
from collections.abc import Iterator

from msgspec import Struct

from mooring.routing.ingress.conversion.remark import Mark, Remark
from mooring.routing.table import Condition, How, Match, Part, PathKind, PathMatch, PathRewrite, RegexRewrite

METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
SPELLED = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
"""Paths that the API takes (HTTPPathMatch's rules)."""
LITERAL = re.compile(r"\^?(/[-A-Za-z0-9/_~%]*?)")
TAIL = re.compile(LITERAL.pattern + r"(?P<tail>\(/\|\$\)\(\.\*\)|/\(\.\*\)|/\?\(\.\*\)|\(\.\*\))?\$?")
REGEX_ASKERS = ("use-regex", "rewrite-target")
CANARY = ("canary-by-header", "canary-by-header-value", "canary-by-header-pattern", "canary-by-cookie")

Spec = dict[str, object]


class Told(Struct, frozen=True):
    """`rewrite`: what the rule's URLRewrite says of the path, {} for nothing. `match` None: it cannot be said at all."""

    match: Spec | None
    rewrite: Spec = {}
    remarks: tuple[Remark, ...] = ()


def told(match: Match, rewrite: PathRewrite | RegexRewrite | None, source: str) -> Told:
    """The HTTPRouteMatch, with the rewriting of its path: what a rewrite can say depends on how the path is matched."""
    path, way, remarks = _path(match.path, rewrite, source)
    spec: Spec = {"path": path}
    for condition in match.conditions:
        found = list(_condition(condition, source))
        remarks += [each for each in found if isinstance(each, Remark)]
        entries = [each for each in found if not isinstance(each, Remark)]
        if not entries:
            return Told(None, {}, tuple(remarks))
        for field, entry in entries:
            if field == "method":
                spec[field] = entry
            else:
                listed = spec.setdefault(field, [])
                assert isinstance(listed, list)
                listed.append(entry)
    return Told(spec, way, tuple(remarks))


# The path -------------------------------------------------------------------------------------------------------------------


def _path(path: PathMatch, rewrite: PathRewrite | RegexRewrite | None, source: str) -> tuple[Spec, Spec, list[Remark]]:
    if isinstance(rewrite, RegexRewrite):
        plain = _as_prefix(path, rewrite)
        if plain is not None:
            return (*plain[:2], [_case(plain[2], path, source)])
        value, remarks = _regex(path, source)
        cannot = Remark(
            source,
            Mark.CANNOT,
            f"groups of a regular expression cannot be put into the new path ({_nginx(rewrite.substitution)})",
            "rewrite by prefix instead, or have the application know its prefix",
            ("rewrite-target",),
        )
        return value, {}, [*remarks, cannot]
    way = _rewrite(rewrite, path, source) if rewrite else ({}, [])
    value, remarks = _matched(path, source)
    return value, way[0], [*remarks, *way[1]]


def _matched(path: PathMatch, source: str) -> tuple[Spec, list[Remark]]:
    if path.kind == PathKind.STRING_PREFIX and not path.ignore_case and SPELLED.fullmatch(path.value):
        words = f"the prefix {path.value} is compared by whole elements: {path.value.rstrip('/')}x matches no longer"
        return {"type": "PathPrefix", "value": path.value}, [Remark(source, Mark.CHANGES, words)]
    if path.kind in (PathKind.EXACT, PathKind.PREFIX) and not path.ignore_case and SPELLED.fullmatch(path.value):
        kind = "Exact" if path.kind == PathKind.EXACT else "PathPrefix"
        return {"type": kind, "value": path.value}, []
    if path.kind == PathKind.REGEX_PREFIX:
        plain = _prefix(path)
        if plain is not None:
            return {"type": "PathPrefix", "value": plain[0]}, [_case(plain[1], path, source)]
    return _regex(path, source)


def _regex(path: PathMatch, source: str) -> tuple[Spec, list[Remark]]:
    quoted = re.escape(path.value).replace(r"\-", "-").replace(r"\/", "/")
    value = {
        PathKind.EXACT: quoted,
        PathKind.PREFIX: f"{quoted.rstrip('/')}(/.*)?",
        PathKind.STRING_PREFIX: f"{quoted}.*",
        PathKind.REGEX: path.value,
        PathKind.REGEX_PREFIX: f"{path.value.removeprefix('^')}.*" if not path.value.endswith("$") else path.value[:-1],
    }[path.kind]
    value = f"(?i){value}" if path.ignore_case and not value.startswith("(?i)") else value
    remark = Remark(
        source,
        Mark.CHANGES,
        f"the path is a regular expression, {value}: its dialect, and its rank among other paths, are up to the implementation",
        "try it there",
        REGEX_ASKERS,
    )
    return {"type": "RegularExpression", "value": value}, [remark]


def _rewrite(rewrite: PathRewrite, path: PathMatch, source: str) -> tuple[Spec, list[Remark]]:
    value = rewrite.value or "/"
    if rewrite.whole or path.kind == PathKind.EXACT:
        return {"type": "ReplaceFullPath", "replaceFullPath": value}, []
    if path.kind in (PathKind.PREFIX, PathKind.STRING_PREFIX) and not path.ignore_case and SPELLED.fullmatch(path.value):
        return {"type": "ReplacePrefixMatch", "replacePrefixMatch": value}, []
    cannot = Remark(
        source, Mark.CANNOT, "only a prefix by whole elements can be replaced", "match by Prefix", ("rewrite-target",)
    )
    return {}, [cannot]


def _as_prefix(path: PathMatch, rewrite: RegexRewrite) -> tuple[Spec, Spec, str] | None:
    """What ingress-nginx's users write for a prefix: `/api(/|$)(.*)` to `/$2`, `/api/(.*)` to `/$1`, `/api` to `/new`.
    The third value says what differs, '' for the letter case alone."""
    plain = _prefix(path)
    if plain is None:
        return None
    prefix, differs, groups = plain
    value = rewrite.substitution
    if not re.search(r"\\\d", value) and SPELLED.fullmatch(value):
        return {"type": "PathPrefix", "value": prefix}, {"type": "ReplaceFullPath", "replaceFullPath": value}, differs
    base = value.removesuffix(f"\\{groups}")
    if not groups or base == value or "\\" in base or not base.endswith("/") or not SPELLED.fullmatch(base):
        return None
    replaced = base if base == "/" else base.rstrip("/")
    return {"type": "PathPrefix", "value": prefix}, {"type": "ReplacePrefixMatch", "replacePrefixMatch": replaced}, differs


def _prefix(path: PathMatch) -> tuple[str, str, int] | None:
    """The prefix that a regular expression means, what differs if it is taken for that, and how many groups it has."""
    found = TAIL.fullmatch(path.value)
    if path.kind != PathKind.REGEX_PREFIX or found is None or path.value.endswith("$"):
        return None
    prefix, tail = found[1].rstrip("/") or "/", found["tail"] or ""
    shorter, longer = f"{prefix} without a slash matches too", "" if prefix == "/" else f"{prefix}x matches no longer"
    differs = {"(/|$)(.*)": "", "/(.*)": shorter}.get(tail, longer)
    return prefix, differs, tail.count("(")


def _case(differs: str, path: PathMatch, source: str) -> Remark:
    words = f"the regular expression {path.value} becomes a prefix by whole elements"
    if path.ignore_case:
        words += ", letter case matters now"
    return Remark(source, Mark.CHANGES, f"{words}, {differs}" if differs else words, annotations=REGEX_ASKERS)


def _nginx(substitution: str) -> str:
    return re.sub(r"\\(\d)", r"$\1", substitution)


# The conditions -------------------------------------------------------------------------------------------------------------


def _condition(condition: Condition, source: str) -> Iterator[tuple[str, object] | Remark]:
    """The field and its entry, or why there is none; beside the entry what differs."""
    if condition.invert:
        yield Remark(
            source,
            Mark.CANNOT,
            f"that a request must not fulfil something ({condition.part.value} {condition.name or condition.value})",
            "put a rule before it that matches what is left out",
            CANARY,
        )
    elif condition.part == Part.METHOD:
        if condition.how == How.EXACT and condition.value in METHODS:
            yield "method", condition.value
        else:
            yield Remark(source, Mark.CANNOT, f"the method {condition.value} cannot be matched")
    else:
        field = "queryParams" if condition.part == Part.QUERY else "headers"
        kind, value = _value(condition)
        if condition.part == Part.COOKIE:
            value = f"(?:.*; *)?{re.escape(condition.name)}={value if kind != 'Exact' else re.escape(value)}(?: *;.*)?"
            kind = "RegularExpression"
        name = "cookie" if condition.part == Part.COOKIE else condition.name
        yield field, {"type": kind, "name": name, "value": value}
        if kind == "RegularExpression":
            what = f"{condition.part.value} {condition.name}"
            words = f"the {what} is matched by a regular expression, whose dialect is up to the implementation"
            yield Remark(source, Mark.CHANGES, words, "try it there", CANARY)


def _value(condition: Condition) -> tuple[str, str]:
    match condition.how:
        case How.EXACT:
            return "Exact", condition.value
        case How.PREFIX:
            return "RegularExpression", f"{re.escape(condition.value)}.*"
        case How.REGEX:
            return "RegularExpression", condition.value
    return "RegularExpression", ".*"
