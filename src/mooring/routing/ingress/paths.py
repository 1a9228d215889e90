"""How is a path of an Ingress compared, and what does it become?

By elements or characters, or as a regular expression. An Ingress that uses those makes all paths of its hosts such, those of
other Ingresses and of type Exact too: anchored at the beginning, in any letter case.
https://kubernetes.github.io/ingress-nginx/user-guide/ingress-path-matching/
"""

import re
from collections.abc import Iterable
from functools import lru_cache

import re2

from mooring.routing.ingress.reading import Candidate, Reading
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import ANY_PATH, PathKind, PathMatch, RegexRewrite

_GROUP = re.compile(r"\$(\d)")
_PLAIN = re.compile(r"[^\\.^$*+?()\[\]{}|]*")
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 4 << 20
"""Half of what the proxies allow, who put more around a pattern."""

_CHALLENGE = re.compile(r"/\.well-known/acme-challenge(?:/[A-Za-z0-9_-]*)?")

MOST_INSTRUCTIONS = 1000
"""Of one pattern, in RE2's count: `/users/[^/]+/items(/|$)(.*)` has some thirty."""
MOST_INSTRUCTIONS_OF_HOST = 200_000


class BadPattern(ValueError):
    """The message is RE2's, in words."""


@lru_cache(65536)
def compiled(pattern: str) -> tuple[int, int]:
    """(how many groups it has, how many instructions it is). Raises BadPattern if RE2 does not take it, which knows no
    look-around and no back-references; or if it is larger than any path's, which would cost all others memory and time."""
    try:
        found = re2.compile(pattern, options=_OPTIONS)
    except re2.error as error:
        text = error.args[0] if error.args else error
        raise BadPattern(text.decode(errors="replace") if isinstance(text, bytes) else str(text)) from None
    if found.programsize > MOST_INSTRUCTIONS:
        raise BadPattern(f"it has {found.programsize} instructions, more than {MOST_INSTRUCTIONS}")
    return int(found.groups), int(found.programsize)


def has_patterns(readings: Iterable[Reading], host: str) -> bool:
    """Whether paths of `host` are regular expressions: one Ingress that has them for some path there is enough. A path that is
    rewritten to itself (`/` to `/`) is no reason."""
    return any(
        not candidate.is_default and asks_for_patterns(reading.wishes, candidate.path)
        for reading in readings
        for candidate in reading.paths.get(host, ())
    )


def asks_for_patterns(wishes: Wishes, path: str) -> bool:
    return wishes.regex or rewritten(wishes, path)


def rewritten(wishes: Wishes, path: str) -> bool:
    return bool(wishes.rewrite) and wishes.rewrite != path


def is_challenge(path: str) -> bool:
    """Whether a certificate authority looks there, by HTTP and without a password (RFC 8555, 8.3). Only where the path is
    written out: a regular expression could mean more."""
    return _CHALLENGE.fullmatch(path) is not None


def path_match(candidate: Candidate, patterns: bool) -> PathMatch:
    """Raises BadPattern."""
    path = candidate.path
    if candidate.is_default:
        return ANY_PATH
    if patterns:
        if path == "/":
            return ANY_PATH
        compiled(path)
        return PathMatch(PathKind.REGEX_PREFIX, path, ignore_case=True)
    if candidate.path_type == "Exact":
        return PathMatch(PathKind.EXACT, path)
    if candidate.path_type == "Prefix" or path == "/":
        return PathMatch(PathKind.PREFIX, path.rstrip("/") or "/")
    return PathMatch(PathKind.STRING_PREFIX, path)


def guarded(path: str) -> PathMatch | None:
    """What a pattern that cannot be used surely meant: everything that begins with its plain part. None if that is too little
    to refuse requests for."""
    plain = _PLAIN.match(path)
    text = plain.group() if plain else ""
    if len(text) < len(path) and path[len(text)] in "*?{":
        text = text[:-1]
    return PathMatch(PathKind.STRING_PREFIX, text, ignore_case=True) if len(text) > 1 else None


def rewrite(wishes: Wishes, path: str) -> RegexRewrite | None:
    """What becomes of a path: the target, in which $1 is what the first group matched, '' if there is no such group. A rewrite
    to the path itself is none."""
    if not rewritten(wishes, path):
        return None
    known, _ = compiled(path)

    def group(found: re.Match[str]) -> str:
        number = int(found.group(1))
        return f"\\{number}" if number <= known else ""

    target = _GROUP.sub(group, wishes.rewrite.replace("\\", "\\\\"))
    return RegexRewrite(f"^(?:{path})(?s:.*)$", target, ignore_case=True)
