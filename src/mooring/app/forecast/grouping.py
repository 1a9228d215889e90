"""Which flows change alike? Thousands of ways (node, source, address) told in as few lines as say the same."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from mooring.app.forecast.picture import Picture
from mooring.app.forecast.report import Backend, Door, End, Flow
from mooring.dataplane.flows import Effect, FlowChange, shares
from mooring.dataplane.reach import Reach, Way
from mooring.dataplane.trace import Outcome, Source
from mooring.services.view import ServiceName

Cell = tuple[str, Source]
"""A node and a source."""
Story = tuple[ServiceName, Effect, End, End]
Rows = tuple[tuple[tuple[Source, ...], tuple[str, ...]], ...]
Shown = Callable[[Way], Door]
"""How a way's frontend is told; the addresses that the server is yet to choose are not."""

EVERYONE = {4: ("0.0.0.0/0",), 6: ("::/0",)}


def grouped(changes: Iterable[FlowChange], before: Picture, after: Picture, shown: Shown) -> tuple[Flow, ...]:
    """Losses first, then in the order of the effects, by Service."""
    nodes = {*before.nodes, *after.nodes}
    stories: dict[Story, dict[Door, set[Cell]]] = {}
    for change in changes:
        way = change.way
        for effect in change.effects:
            story = (way.service, effect, *_told(effect, change, before, after))
            stories.setdefault(story, {}).setdefault(shown(way), set()).add((way.node, way.source))
    order = {effect: place for place, effect in enumerate(Effect)}
    flows = []
    for (service, effect, was, is_), doors in sorted(stories.items(), key=lambda each: (order[each[0][1]], each[0][0])):
        for sources, on, together in _lines(doors):
            names = tuple(each.name.lower() for each in sources)
            flows.append(Flow("/".join(service), effect.value, together, names, on, set(on) == nodes, was, is_))
    return tuple(flows)


def _lines(doors: Mapping[Door, set[Cell]]) -> Iterator[tuple[tuple[Source, ...], tuple[str, ...], tuple[Door, ...]]]:
    """Doors that are met from the same sources on the same nodes stand together."""
    alike: dict[tuple[tuple[Source, ...], tuple[str, ...]], list[Door]] = {}
    for door, cells in doors.items():
        for row in _rows(cells):
            alike.setdefault(row, []).append(door)
    for (sources, nodes), together in alike.items():
        yield sources, nodes, tuple(together)


def _rows(cells: set[Cell]) -> Rows:
    """The cells as rectangles: sources that have the same nodes together."""
    by_source = {source: tuple(sorted(node for node, of in cells if of is source)) for source in Source}
    rows: dict[tuple[str, ...], list[Source]] = {}
    for source, nodes in by_source.items():
        if nodes:
            rows.setdefault(nodes, []).append(source)
    return tuple((tuple(sources), nodes) for nodes, sources in rows.items())


def _told(effect: Effect, change: FlowChange, before: Picture, after: Picture) -> tuple[End, End]:
    """Before and after, as far as the effect is about it: so that ways which differ elsewhere still stand together."""
    way, was, is_ = change.way, change.before, change.after
    match effect:
        case Effect.LOST | Effect.CLOSED:
            return End(), _closed(change, after)
        case Effect.GAINED if is_:
            return End(), End(Outcome.FORWARD.value, backends=_backends(way, is_, after, before), allowed=is_.allowed or ())
        case Effect.NARROWED | Effect.WIDENED if was and is_:
            return End(allowed=_allowed(way, was)), End(allowed=_allowed(way, is_))
        case Effect.SOURCE if was and is_:
            return End(sees=_sees(was)), End(sees=_sees(is_))
        case Effect.AFFINITY if was and is_:
            return End(affinity=was.affinity), End(affinity=is_.affinity)
    assert was and is_, "only reachable ways move"
    return End(backends=_backends(way, was, before, before)), End(backends=_backends(way, is_, after, before))


def _closed(change: FlowChange, after: Picture) -> End:
    way, is_ = change.way, change.after
    if is_ is not None:
        reason = "no source range lets it in" if is_.allowed == () else is_.reason.value
        return End(is_.outcome.value, reason)
    if way.node not in after.nodes:
        return End(reason="the node is gone")
    if change.now_of:
        return End(reason=f"{'/'.join(change.now_of)} has the address and port now")
    service = after.services.get(way.service)
    if service is None:
        return End(reason="the Service is gone")
    if service.spec.type == "ExternalName":
        return End(reason="the Service is an ExternalName now: a name only")
    if way.service not in after.views[way.node].services:
        return End(reason="the Service is left to another proxy, or is headless now")
    return End(reason="the Service no longer answers there")


def _backends(way: Way, end: Reach, picture: Picture, before: Picture) -> tuple[Backend, ...]:
    """Pods are `new` when the state before does not have them."""
    pods: dict[tuple[str, int], int] = {}
    new: dict[tuple[str, int], int] = {}
    for each in end.choices:
        backend = picture.workload(way.service, each.endpoint), each.endpoint.port
        pod = picture.pod(way.service, each.endpoint.address)
        pods[backend] = pods.get(backend, 0) + 1
        new[backend] = new.get(backend, 0) + (pod is not None and not before.has(pod))
    parts = shares(way.service, end.choices, picture.workload)
    return tuple(Backend(*each, pods[each], new[each], round(parts[each], 4)) for each in sorted(parts))


def _sees(end: Reach) -> str:
    kinds = {each.masqueraded for each in end.choices}
    return " and ".join(name for flag, name in ((False, "client"), (True, "node")) if flag in kinds)


def _allowed(way: Way, end: Reach) -> tuple[str, ...]:
    return EVERYONE[6 if ":" in way.address else 4] if end.allowed is None else end.allowed
