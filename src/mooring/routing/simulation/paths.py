"""Which path is meant? Both proxies make it plain before they match, redirect and hand on, lest a rule be walked around."""

import re
import string

from mooring.routing.slashes import CLIMBS

_ESCAPE = re.compile(r"%(..?)?", re.DOTALL)
_HEX = frozenset(string.hexdigits)
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
"""RFC 3986, 2.3: escaped or not, they mean the same."""
_REFUSED = frozenset("/\\\0")
"""Escaped, they would mean one thing to the proxy and another to the backend."""
_NEVER = frozenset("\0")
_CLIMBS = re.compile(CLIMBS, re.IGNORECASE)
_SLASHES = re.compile("/{2,}")


def normalise(path: str, keeps_slashes: bool = False) -> str | None:
    """A path without query: unreserved characters unescaped, dot segments resolved (RFC 3986, 6.2.2 and 5.2.4), slashes merged.

    None when it is answered 400: it holds a backslash, an escaped slash, backslash or NUL, or an escape that is none.
    `keeps_slashes`: as FrontDoor.keeps_encoded_slashes.
    """
    if not path.startswith("/") or "\\" in path or (keeps_slashes and _CLIMBS.search(path)):
        return None
    refused = _NEVER if keeps_slashes else _REFUSED
    plain: list[str] = []
    end = 0
    for found in _ESCAPE.finditer(path):
        digits = found[1] or ""
        if len(digits) != 2 or not _HEX.issuperset(digits):
            return None
        character = chr(int(digits, 16))
        if character in refused:
            return None
        plain += (path[end : found.start()], character if character in _UNRESERVED else found[0])
        end = found.end()
    return _SLASHES.sub("/", _without_dots("".join(plain) + path[end:]))


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path[1:].split("/")
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", "..") and kept[-1:] != [""]:
        kept.append("")
    return "/" + "/".join(kept)


def rejoined(prefix: str, rest: str) -> str:
    """One slash between a new prefix and what is left of the path."""
    if not rest.strip("/"):
        return (prefix + ("/" if rest and not prefix.endswith("/") else "")) or "/"
    return f"{prefix.rstrip('/')}/{rest.lstrip('/')}"
