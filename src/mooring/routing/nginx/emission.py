"""What comes of a RouteTable for NGINX, and what is gathered on the way to it."""

import hashlib
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from mooring.routing.nginx.config import Bare, Call, Directive, Value, directive, printed
from mooring.routing.nginx.data import encoded
from mooring.routing.nginx.locations import INTERNAL
from mooring.routing.placement import Placement
from mooring.routing.table import Certificate, Endpoints, Fixed, RouteTable


class NginxConfig(Struct, frozen=True):
    """`text` and `files` (by name in the folder) take a reload; the rest does not.

    `sources`: for each line that is somebody's, the name of its group of routes, of a file, or `host NAME`; `users`: the names
    of the routes that need such a group or file; `whose`: the source of a route's or host's name. `state`: what the Lua module
    reads from its shared dict, in the order in which it must be told. `sets`: where the members of each set come from.
    `patterns`: those that Lua compiles, (pattern, ignore case), with the names that need them. `refused`: names that answer 500
    because of what they hold, with the reason.
    """

    text: str
    files: Mapping[str, bytes]
    sources: Mapping[int, str]
    whose: Mapping[str, str]
    users: Mapping[str, frozenset[str]]
    state: Mapping[str, bytes]
    certificates: Mapping[str, Certificate]
    sets: Mapping[str, Endpoints | Fixed]
    patterns: Mapping[tuple[str, bool], frozenset[str]]
    refused: Mapping[str, str]
    generation: str


class Group(Struct, frozen=True):
    """What routes of equal settings share: the block of their location, and the locations that it needs, by their names."""

    block: tuple[Directive, ...]
    places: Mapping[str, Directive]


class Emission(Struct):
    """The gathering, of the whole table or of one host."""

    table: RouteTable
    placement: Placement
    quarantined: Mapping[str, str]
    """By name, with the proxy's words: these answer 500."""
    headers: Mapping[str, Value | str]
    """What every request gets on the way to a backend."""
    files: dict[str, bytes] = field(default_factory=dict)
    users: dict[str, set[str]] = field(default_factory=dict)
    whose: dict[str, str] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    """By the names of their locations, which say all that is in them."""
    zones: dict[str, tuple[Directive, ...]] = field(default_factory=dict)
    """What the http block must hold, by a name that says all of it."""
    upstreams: dict[str, Directive] = field(default_factory=dict)
    state: dict[str, bytes] = field(default_factory=dict)
    sets: dict[str, Endpoints | Fixed] = field(default_factory=dict)
    patterns: dict[tuple[str, bool], set[str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    bodies: set[int] = field(default_factory=set)
    """How large bodies may be."""
    names: set[int] = field(default_factory=set)
    """How long the names of headers are."""

    def part(self) -> "Emission":
        """An empty one for the same table."""
        return Emission(self.table, self.placement, self.quarantined, self.headers)

    def absorb(self, part: "Emission") -> None:
        for name, value in ((name, getattr(part, name)) for name in _GATHERED):
            getattr(self, name).update(value)
        for name, names in part.users.items():
            self.users.setdefault(name, set()).update(names)
        for pattern, names in part.patterns.items():
            self.patterns.setdefault(pattern, set()).update(names)

    def file(self, content: bytes, suffix: str, name: str) -> str:
        """Its absolute path."""
        relative = f"files/{digest(content)}{suffix}"
        self.files[relative] = content
        self.users.setdefault(relative, set()).add(name)
        return f"{self.placement.folder}/{relative}"

    def pattern(self, pattern: str, ignore_case: bool, name: str) -> str:
        self.patterns.setdefault((pattern, ignore_case), set()).add(name)
        return pattern

    def leaf(self, data: Mapping[str, object]) -> str:
        """The key of what Lua does for a route; '' for nothing."""
        if not data:
            return ""
        written = encoded(data)
        key = digest(written)
        self.state[f"leaf/{key}"] = written
        return key

    def group(self, block: Iterable[Directive], places: Mapping[str, Directive], name: str) -> str:
        """The name of its location. Raises ValueError for what cannot be written down."""
        group = Group(tuple(block), places)
        text = printed((*group.block, *places.values())).text
        key = f"@{digest(text.encode())}"
        self.groups[key] = group
        self.users.setdefault(key, set()).add(name)
        return key


_GATHERED = ("files", "whose", "groups", "zones", "upstreams", "state", "sets", "refused", "bodies", "names")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:20]


def set_name(where: Endpoints | Fixed) -> str:
    """The name of its members in the shared dict."""
    return where.set if isinstance(where, Endpoints) else f"fixed {where.host} {where.port}"


def milliseconds(seconds: float) -> str:
    """0 is no limit: as long as NGINX can count."""
    return f"{round(seconds * 1000)}ms" if seconds else "20d"


def named(name: str) -> str:
    """A zone's or variable's part that stands for this text."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


NOT_FOUND = directive("return", "404")
_UNREAD = (400, 414, 421, 505)
"""A request that was not understood may have no path yet, and NGINX finds a named location only for one that has."""
_ERRORS = (*range(401, 407), *range(408, 414), *range(415, 418), 429, 500, 501, 503, 504, 507)


def own_errors() -> Iterable[Directive]:
    """What NGINX answers by itself has no body and does not name it. A location's own error pages replace the server's, so
    such a location says these again."""
    yield directive("error_page", *map(str, _UNREAD), Bare(f"{INTERNAL}said"))
    yield directive("error_page", *map(str, _ERRORS), Bare("@said"))
    yield directive("error_page", "494", "=431", Bare(f"{INTERNAL}said"))
    yield directive("error_page", "497", "=400", Bare(f"{INTERNAL}said"))
    yield directive("error_page", "502", "=", Bare("@failed"))


def error_locations() -> Iterable[Directive]:
    said = directive("content_by_lua_block", Call("said"))
    yield directive("location", Bare("@said"), block=(said,))
    yield directive("location", "=", Bare(f"{INTERNAL}said"), block=(directive("internal"), said))
    yield directive("location", Bare("@failed"), block=(directive("content_by_lua_block", Call("failed")),))
