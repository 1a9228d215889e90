"""Which part of a resource does Envoy not take, and what of it can be kept? A search by halves; no I/O.

Envoy takes or refuses a route configuration and a listener whole. The search builds candidates in which suspects are replaced
by what was accepted before, and narrows down: virtual hosts of a route configuration, then routes of a virtual host; filter
chains of a listener. A new route that is refused is closed (503 for the same match), so that its requests never fall to another
rule; only if its match itself is refused is it left out. Candidates that are accepted are in force meanwhile, and right as far
as they go.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteList, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.any_pb2 import Any as AnyMessage
from msgspec import Struct

from mooring.routing.xds.wire import LISTENER, ROUTES

Key = tuple[str, ...]
"""A virtual host or filter chain by its name; a route by its virtual host's and its own; () for all of the resource."""
T = TypeVar("T")
K = TypeVar("K", str, bytes)
Trial = Generator[bytes, str | None, T]
"""Yields candidates, and is sent None for each that is accepted, or why it is not."""
Candidate = Callable[[Iterable[str]], bytes]
"""The resource with these parts replaced."""
CLOSED = 503
MESSAGES: Mapping[str, Any] = {LISTENER: Listener, ROUTES: RouteConfiguration}
"""What has parts."""


class Bad(Struct, frozen=True):
    """A part that is refused: its bytes, and Envoy's words."""

    part: bytes
    reason: str


Rejected = Mapping[Key, Bad]


class Outcome(Struct, frozen=True):
    """`data` is what can be kept of the wish, None for nothing."""

    data: bytes | None
    rejected: Rejected


def attempt(url: str, wish: bytes, accepted: bytes | None, known: Rejected) -> Trial[Outcome]:
    """Offers `wish` without the parts that are `known` to be refused and still the same, then searches if need be.

    `accepted`: what the proxy took before. So one bad part costs its search once, however often its neighbours change.
    """
    data = wish
    if known and url in MESSAGES:
        whole = MESSAGES[url].FromString(wish)
        known = {key: bad for key, bad in known.items() if bad.part in _at(whole, key)}
        data = _without(url, whole, known, accepted) if known else wish
    else:
        known = {}
    reason = yield data
    if reason is None:
        return Outcome(data, known)
    return (yield from search(url, wish, accepted, reason))


def search(url: str, wish: bytes, accepted: bytes | None, reason: str) -> Trial[Outcome]:
    """Finds the parts of `wish`, which was refused, that are refused."""
    hopeless = Outcome(accepted, {(): Bad(wish, reason)})
    if url not in MESSAGES:
        return hopeless
    whole = MESSAGES[url].FromString(wish)
    parts: dict[str, Any] = {each.name: each for each in _parts(whole)}
    if len(parts) < len(_parts(whole)):
        return hopeless
    former = _former(url, accepted)
    suspects = [name for name, part in parts.items() if part != former.get(name)]
    instead: dict[str, Any] = {}

    def candidate(replaced: Iterable[str]) -> bytes:
        kept = {**parts, **{name: instead.get(name, former.get(name)) for name in replaced}}
        return _rebuilt(whole, [part for part in kept.values() if part is not None])

    found = yield from _halves(suspects, candidate, reason)
    if found is None:
        return hopeless
    rejected: dict[Key, Bad] = {(name,): Bad(_bytes(parts[name]), why) for name, why in found.items()}
    for name in found if url == ROUTES else ():
        build = partial(_with, instead, name, candidate, found)
        of_routes = yield from _routes(parts[name], former.get(name), build, found[name])
        if of_routes is None:
            instead.pop(name, None)
        else:
            del rejected[(name,)]
            rejected |= {(name, route): bad for route, bad in of_routes.items()}
    return Outcome(candidate(found), rejected)


def _with(instead: dict[str, Any], name: str, candidate: Candidate, found: Iterable[str], part: Any) -> bytes:
    instead[name] = part
    return candidate(found)


def _routes(
    host: VirtualHost, former: VirtualHost | None, build: Callable[[VirtualHost], bytes], reason: str
) -> Trial[dict[str, Bad] | None]:
    """Which routes of the virtual host are refused: as before or closed if that helps, else left out. None: not its routes."""
    routes = {_bytes(route): route for route in _routes_of(host)}
    before = {route.name: route for route in _routes_of(former)} if former else {}
    for close in (lambda route: before.get(route.name) or closed(route), lambda route: before.get(route.name)):

        def candidate(replaced: Iterable[bytes], close: Callable[[Route], Route | None] = close) -> bytes:
            instead = {each: close(routes[each]) for each in replaced}
            return build(_host(host, lambda route: instead.get(_bytes(route), route)))

        found = yield from _halves(list(routes), candidate, reason)
        if found is not None:
            candidate(found)
            return {routes[part].name: Bad(part, why) for part, why in found.items()}
    return None


def _without(url: str, whole: Any, known: Rejected, accepted: bytes | None) -> bytes:
    """The resource without what is known to be bad, in the form in which it was taken last."""
    former = _former(url, accepted)
    kept = []
    for part in _parts(whole):
        if (part.name,) in known:
            kept += [former[part.name]] if part.name in former else []
        elif any(key[0] == part.name for key in known):
            last = {route.name: route for route in _routes_of(former[part.name])} if part.name in former else {}
            bad = {bad.part: last.get(key[1]) for key, bad in known.items() if key[0] == part.name}
            kept.append(_host(part, lambda route, bad=bad: bad.get(_bytes(route), route)))  # type: ignore[misc]
        else:
            kept.append(part)
    return _rebuilt(whole, kept)


def _at(whole: Any, key: Key) -> list[bytes]:
    """The bytes of the parts that a key names."""
    named = [part for part in _parts(whole) if key and part.name == key[0]]
    if len(key) < 2:
        return [_bytes(part) for part in named]
    return [_bytes(route) for part in named for route in _routes_of(part) if route.name == key[1]]


def _routes_of(host: VirtualHost) -> list[Route]:
    """Those of its list, and those in the leaves of its matcher."""
    lists = [host.routes]
    if host.HasField("matcher"):
        lists += [RouteList.FromString(leaf.value).routes for leaf in _leaves(host.matcher)]
    return [route for routes in lists for route in routes]


def _host(host: VirtualHost, change: Callable[[Route], Route | None]) -> VirtualHost:
    """The same with its routes changed; None leaves one out."""
    copy = VirtualHost()
    copy.CopyFrom(host)
    _change(copy.routes, change)
    for leaf in _leaves(copy.matcher) if copy.HasField("matcher") else ():
        routes = RouteList.FromString(leaf.value)
        _change(routes.routes, change)
        leaf.value = _bytes(routes)
    return copy


def _change(routes: Any, change: Callable[[Route], Route | None]) -> None:
    kept = [changed for route in routes if (changed := change(route)) is not None]
    del routes[:]
    routes.extend(kept)


def _leaves(message: Any) -> Iterator[Any]:
    """Every packed list of routes that a matcher leads to."""
    if message.DESCRIPTOR is AnyMessage.DESCRIPTOR:
        if message.Is(RouteList.DESCRIPTOR):
            yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = value.values() if field.message_type.fields_by_name["value"].message_type else ()
        else:
            inner = (value,) if hasattr(value, "DESCRIPTOR") else value
        for each in inner:
            yield from _leaves(each)


def closed(route: Route) -> Route:
    """The same requests, answered 503 by the proxy."""
    answer = Route(name=route.name)
    answer.match.CopyFrom(route.match)
    answer.direct_response.status = CLOSED
    return answer


def _halves(suspects: Sequence[K], candidate: Callable[[Iterable[K]], bytes], reason: str) -> Trial[dict[K, str] | None]:
    """Which suspects are refused, and why; None if all is refused even without any of them. `reason`: of all together."""
    replaced = set(suspects)
    if not replaced or (yield candidate(sorted(replaced))) is not None:
        return None
    rejected: dict[K, str] = {}
    groups: list[tuple[list[K], str | None]] = [(list(suspects), reason)]
    while groups:
        group, known = groups.pop()
        why = known if known is not None else (yield candidate(sorted(replaced.difference(group))))
        if why is None:
            replaced.difference_update(group)
        elif len(group) == 1:
            rejected[group[0]] = why
        else:
            middle = len(group) // 2
            groups += [(group[middle:], None), (group[:middle], None)]
    return rejected


def _former(url: str, accepted: bytes | None) -> dict[str, Any]:
    return {part.name: part for part in _parts(MESSAGES[url].FromString(accepted))} if accepted else {}


def _parts(whole: Any) -> Any:
    return whole.filter_chains if isinstance(whole, Listener) else whole.virtual_hosts


def _rebuilt(whole: Any, parts: Sequence[Any]) -> bytes:
    copy = type(whole)()
    copy.CopyFrom(whole)
    del _parts(copy)[:]
    _parts(copy).extend(parts)
    return _bytes(copy)


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
