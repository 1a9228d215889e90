"""How are many paths of one host found without a scan? A tree of path prefixes whose leaves are short lists of routes.

Envoy finds the longest prefix in the tree that the path begins with and then walks that leaf's list. A leaf holds, in the order
of the whole list, every route that can match a path with that longest prefix: so whatever the order, the conditions and the
kinds of match are, the first route of the leaf that matches is the first of the whole list that does.
"""

from collections.abc import Mapping, Sequence

from envoy.config.route.v3.route_components_pb2 import RouteList
from envoy.type.matcher.v3.http_inputs_pb2 import HttpRequestHeaderMatchInput
from google.protobuf.any_pb2 import Any
from msgspec import Struct
from xds.core.v3.extension_pb2 import TypedExtensionConfig
from xds.type.matcher.v3.matcher_pb2 import Matcher

from mooring.routing.table import Match, PathKind
from mooring.routing.xds.matching import literal
from mooring.routing.xds.wire import encoded, field, packed, repeated

SCANNED = 16
"""Up to so many routes a scan is as quick."""
GROWTH = 4
"""A tree whose leaves hold more than so many times the routes is not worth its memory."""

_NAME = encoded(TypedExtensionConfig(name="routes"))
_LIST = encoded(Any(type_url="type.googleapis.com/" + RouteList.DESCRIPTOR.full_name))
_INPUT = encoded(
    Matcher.MatcherTree(
        input=TypedExtensionConfig(name="path", typed_config=packed(HttpRequestHeaderMatchInput(header_name=":path")))
    )
)


class Keyed(Struct, frozen=True, gc=False):
    """`key`: what each path that the route matches begins with, None if that cannot be told. `below`: with what longer keys
    begin whose paths it may match too, None for none. `takes_all`: it leaves no request for the routes after it.
    `listed`: the routes as the fields of a RouteList (1)."""

    key: str | None
    below: str | None
    takes_all: bool
    routes: tuple[bytes, ...]
    listed: bytes


def keyed(match: Match, guard: str, emitted: tuple[bytes, ...]) -> Keyed:
    path = match.path
    key = literal(path)
    below = {PathKind.EXACT: None, PathKind.PREFIX: f"{key}/"}.get(path.kind, key)
    takes_all = key == "" and path.kind is PathKind.PREFIX and not guard and not match.conditions
    return Keyed(key, below, takes_all, emitted, repeated(1, emitted))


def leaves(routes: Sequence[Keyed]) -> Mapping[str, tuple[int, ...]] | None:
    """The places of the routes of each leaf, by prefix; that of '' is for all other paths. None: scan them."""
    if len(routes) <= SCANNED:
        return None
    everywhere = [place for place, route in enumerate(routes) if not route.key]
    own: dict[str, list[int]] = {}
    below: dict[str, list[int]] = {}
    for place, route in enumerate(routes):
        if route.key:
            own.setdefault(route.key, []).append(place)
            if route.below is not None:
                below.setdefault(route.below, []).append(place)
    odd = sorted({len(prefix) for prefix in below if not prefix.endswith("/")})
    out = {"": _cut(everywhere, routes)}
    left = GROWTH * len(routes) - len(out[""])
    for key, places in own.items():
        slashes = (end for end, character in enumerate(key, 1) if character == "/")
        found = {*everywhere, *places}
        for end in (*slashes, *(length for length in odd if length <= len(key))):
            found.update(below.get(key[:end], ()))
        out[key] = _cut(sorted(found), routes)
        left -= len(out[key])
        if left < 0:
            return None
    return out


def _cut(places: list[int], routes: Sequence[Keyed]) -> tuple[int, ...]:
    """Nothing after a route that takes everything is ever reached."""
    last = next((index for index, place in enumerate(places) if routes[place].takes_all), len(places))
    return tuple(places[: last + 1])


def tree(routes: Sequence[Keyed], places: Mapping[str, tuple[int, ...]]) -> bytes:
    """A serialised Matcher message, for VirtualHost.matcher: Matcher.matcher_tree (2) and on_no_match (3)."""

    def listed(key: str) -> bytes:
        """OnMatch.action (2), a TypedExtensionConfig: name (1) and typed_config (2), an Any: type_url (1) and value (2)."""
        wanted = b"".join([routes[place].listed for place in places[key]])
        return field(2, _NAME + field(2, _LIST + field(2, wanted)))

    entries = repeated(1, [field(1, key.encode()) + field(2, listed(key)) for key in places if key])
    return field(2, _INPUT + field(3, entries)) + field(3, listed(""))
