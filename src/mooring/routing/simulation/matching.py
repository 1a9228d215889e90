"""Is a request of this host, and of this route? And if not, why not."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import re2
from msgspec import Struct

from mooring.routing.table import Chain, Condition, How, Match, Part, PathKind, PathMatch, VirtualHost


class Head(Struct, frozen=True):
    """A request as the proxy compares it. `host` without a port, in lower case; `path` normalised, without query; header
    names in lower case."""

    method: str
    host: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str | None:
        """Its values, joined as RFC 9110, 5.3 says."""
        values = [value for each, value in self.headers if each == name]
        return ("; " if name == "cookie" else ",").join(values) if values else None


@lru_cache(maxsize=4096)
def pattern(text: str, ignore_case: bool = False) -> Any:
    """Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = not ignore_case
    return re2.compile(text, options)


def plain_host(host: str) -> str:
    """Without port and final dot, in lower case."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() and not host.endswith("]") else host).lower().removesuffix(".")


def covers(name: str, host: str, many_labels: bool = False) -> bool:
    if name == "*":
        return True
    if not name.startswith("*."):
        return name == host
    first = host.removesuffix(name[1:]) if host.endswith(name[1:]) else ""
    return bool(first) and (many_labels or "." not in first)


def virtual_host(hosts: Iterable[VirtualHost], host: str) -> tuple[VirtualHost, str] | None:
    """Whose request it is, and the name by which: an exact one, then the longest wildcard, then `*`."""
    found = [(each, name) for each in hosts for name in each.hosts if covers(name, host, each.many_labels)]
    return min(found, key=lambda each: rank(each[1]), default=None)


def chain(chains: Iterable[Chain], server_name: str) -> tuple[Chain, str] | None:
    """Whose connection it is, by SNI; '' when none is asked for."""
    found = [(each, name) for each in chains for name in each.server_names if covers(name, server_name)]
    return min(found, key=lambda each: rank(each[1]), default=None)


def rank(name: str) -> tuple[int, int]:
    """The lesser wins: an exact name, the longest wildcard, `*`."""
    return (2 if name == "*" else 1 if name.startswith("*.") else 0, -len(name))


def path_matches(match: PathMatch, path: str) -> bool:
    if match.kind is PathKind.REGEX:
        return pattern(match.value, match.ignore_case).fullmatch(path) is not None
    if match.kind is PathKind.REGEX_PREFIX:
        return pattern(match.value, match.ignore_case).match(path) is not None
    value, path = (match.value.lower(), path.lower()) if match.ignore_case else (match.value, path)
    match match.kind:
        case PathKind.EXACT:
            return path == value
        case PathKind.STRING_PREFIX:
            return path.startswith(value)
        case _:
            value = value.rstrip("/")
            return path == value or path.startswith(value + "/")


def holds(condition: Condition, head: Head) -> bool:
    found = _part(condition, head)
    return condition.invert is not (found is not None and _fulfils(condition, found))


def _fulfils(condition: Condition, found: str) -> bool:
    match condition.how:
        case How.EXACT:
            return found == condition.value
        case How.PREFIX:
            return found.startswith(condition.value)
        case How.REGEX:
            return pattern(condition.value).fullmatch(found) is not None
        case How.PRESENT:
            return True


def _part(condition: Condition, head: Head) -> str | None:
    match condition.part:
        case Part.METHOD:
            return head.method
        case Part.HEADER:
            return head.host if condition.name in ("host", ":authority") else head.header(condition.name)
        case Part.QUERY:
            return _first(parse_qsl(head.query, keep_blank_values=True), condition.name)
        case Part.COOKIE:
            return cookie(head.header("cookie") or "", condition.name)


def cookie(header: str, name: str) -> str | None:
    """RFC 6265, 5.4: pairs joined by semicolons; the first of the name."""
    pairs = (each.strip().partition("=") for each in header.split(";"))
    return next((value for each, _, value in pairs if each == name), None)


def _first(pairs: Sequence[tuple[str, str]], name: str) -> str | None:
    return next((value for each, value in pairs if each == name), None)


def mismatch(match: Match, head: Head) -> str:
    """The first thing that keeps a request from matching, as a sentence; '' when it matches."""
    if not path_matches(match.path, head.path):
        return f"the path {head.path} {_path_words(match.path)}"
    for condition in match.conditions:
        if not holds(condition, head):
            return _condition_words(condition, head)
    return ""


def _path_words(match: PathMatch) -> str:
    case = " in any letter case" if match.ignore_case else ""
    match match.kind:
        case PathKind.EXACT:
            return f"is not {match.value}{case}"
        case PathKind.PREFIX:
            return f"is not {match.value} nor below it{case}"
        case PathKind.STRING_PREFIX:
            return f"does not begin with {match.value}{case}"
        case PathKind.REGEX:
            return f"does not match {match.value}{case}"
        case PathKind.REGEX_PREFIX:
            return f"does not match ^{match.value}{case}"


def told(match: Match) -> str:
    """What a route asks for, as people read it: `prefix /foo, header x-canary is always`."""
    path = f"{match.path.kind.value} {match.path.value}" + " in any letter case" * match.path.ignore_case
    return ", ".join((path, *map(condition_text, match.conditions)))


def condition_text(condition: Condition) -> str:
    what = f"{condition.part.value} {condition.name}".strip()
    how = condition.how.value if condition.how is How.PRESENT else f"{condition.how.value} {condition.value}"
    return f"not ({what} {how})" if condition.invert else f"{what} {how}"


def _condition_words(condition: Condition, head: Head) -> str:
    found = _part(condition, head)
    has = "has none" if found is None else f"has {found!r}"
    return f"it asks that {condition_text(condition)}, and the request {has}"
