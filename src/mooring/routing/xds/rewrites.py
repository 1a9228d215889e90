"""What path does the backend see? A rewrite as a pattern and a substitution (RE2), applied to the path without its query."""

from collections.abc import Iterable

from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute

from mooring.routing.table import PathKind, PathMatch, PathRewrite, RegexRewrite
from mooring.routing.xds import patterns


def rewritten(rewrite: PathRewrite | RegexRewrite, path: PathMatch) -> RegexMatchAndSubstitute:
    """`path`: what the route matches."""
    pattern, substitution = _pair(rewrite, path)
    out = RegexMatchAndSubstitute(substitution=substitution)
    out.pattern.regex = pattern
    return out


def faults(rewrite: PathRewrite | RegexRewrite, path: PathMatch) -> Iterable[str]:
    """Why Envoy would not take it."""
    pattern, substitution = _pair(rewrite, path)
    reason = patterns.fault(pattern)
    if reason is not None:
        yield reason
        return
    highest = _highest_group(substitution)
    if highest is None:
        yield f"{substitution!r} has a backslash that names no group"
    elif highest > patterns.groups(pattern):
        yield f"{substitution!r} names group {highest}, but {pattern!r} has {patterns.groups(pattern)}"


def _pair(rewrite: PathRewrite | RegexRewrite, path: PathMatch) -> tuple[str, str]:
    if isinstance(rewrite, RegexRewrite):
        # The first match anywhere counts, as the front ends mean it, and what is around it goes too.
        flags = "(?is)" if rewrite.ignore_case else "(?s)"
        return f"{flags}^.*?(?:{rewrite.pattern}).*$", rewrite.substitution
    value = rewrite.value.replace("\\", "\\\\")
    if rewrite.whole:
        return "(?s)^.*$", value
    flags = "(?is)" if path.ignore_case else "(?s)"
    if path.kind is PathKind.EXACT:
        return "(?s)^.*$", value or "/"
    if path.kind is PathKind.STRING_PREFIX:
        return f"{flags}^{patterns.escaped(path.value)}", value
    if path.kind is PathKind.PREFIX:
        prefix = patterns.escaped(path.value.rstrip("/"))
        if value.endswith("/") or not value:
            return f"{flags}^{prefix}/?(.*)$", (value or "/") + r"\1"
        return f"{flags}^{prefix}(/.*)?$", value + r"\1"
    return f"{flags}^(?:{path.value})", value


def _highest_group(substitution: str) -> int | None:
    highest = 0
    rest = iter(substitution)
    for character in rest:
        if character == "\\":
            following = next(rest, "")
            if following.isdigit() and following.isascii():
                highest = max(highest, int(following))
            elif following != "\\":
                return None
    return highest
