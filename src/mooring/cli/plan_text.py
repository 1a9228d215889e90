"""How is a plan told to people? The verdict in the first line, then what changes for each Service, losses first."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from mooring.app.forecast.report import Address, Backend, Door, End, Flow, Forecast, NameChange, ObjectChange, ServiceChange

MOST = 4
"""Names listed before the rest is counted."""
INDENT = " " * 11
SOURCES = {"pod": "pods", "node": "nodes", "outside": "outside"}
TITLES = {
    "lost": "lost", "narrowed": "narrowed", "gained": "gained", "widened": "widened", "moved": "moved", "rolled": "rolled",
    "balance": "balance", "source": "source", "affinity": "affinity", "closed": "nowhere",
}  # fmt: skip


def refusal(change: ObjectChange) -> str:
    """One line."""
    what = f"{change.object}: " if change.object else ""
    reason = f"error from server ({change.reason}): " if change.reason else ""
    return f"{what}{reason}{change.message}"


def lines(found: Forecast) -> Iterator[str]:
    yield found.summary
    told = [each for each in found.objects if each.change != "refused"]
    if told:
        yield ""
        yield from (f"{each.object} {each.change}" for each in told)
    services = {each.service: each for each in found.services}
    for name in dict.fromkeys([*(each.service for each in found.flows), *services]):
        yield ""
        yield from _service(name, services.get(name), [each for each in found.flows if each.service == name])
    if found.names:
        yield from ("", "names")
        yield from map(_name, found.names)
    if found.notes:
        yield from ("", "notes")
        yield from (f"  {each}" for each in found.notes)


def _service(name: str, change: ServiceChange | None, flows: Iterable[Flow]) -> Iterator[str]:
    kind = ""
    if change and change.change != "changed":
        kind = f"  {change.change} ({change.type_after or change.type_before})"
    elif change and change.type_before != change.type_after:
        kind = f"  {change.type_before} -> {change.type_after}"
    yield name + kind
    if change:
        yield from (f"  - {_address(each)}" for each in change.released)
        yield from (f"  + {_address(each)}" for each in change.allocated)
    for _, alike in groupby(flows, key=lambda each: (each.effect, each.before, each.after)):
        first, *more = alike
        yield f"  {TITLES[first.effect]:<9}{_doors(first.doors)} {_from(first)}"
        yield from (f"{INDENT}{_doors(each.doors)} {_from(each)}" for each in more)
        yield f"{INDENT}{_story(first)}"


def _address(address: Address) -> str:
    port = f" for {address.port}" if address.port else ""
    return f"{address.what} {address.value or '(chosen by the server)'}{port}"


def _doors(doors: Sequence[Door]) -> str:
    return _listed([_door(each) for each in doors])


def _door(door: Door) -> str:
    protocol = "" if door.protocol == "TCP" else f"/{door.protocol}"
    if door.address == "":
        return f"node port {door.port or '(chosen by the server)'}{protocol}"
    if door.address is None:
        return f"its cluster IP, port {door.port}{protocol}"
    address = f"[{door.address}]" if ":" in door.address else door.address
    return f"{address}:{door.port}{protocol} ({door.entry})"


def _from(flow: Flow) -> str:
    everyone = len(flow.sources) == len(SOURCES)
    if everyone and flow.all_nodes:
        return "from everywhere"
    sources = "everyone" if everyone else " and ".join(SOURCES[each] for each in flow.sources)
    return f"from {sources}" + ("" if flow.all_nodes else f", on {_listed(flow.nodes)}")


def _story(flow: Flow) -> str:
    before, after = flow.before, flow.after
    match flow.effect:
        case "lost" | "closed":
            return f"{after.outcome}: {after.reason}" if after.outcome else after.reason
        case "gained":
            limited = f"; only {_listed(after.allowed)} may come in" if after.allowed else ""
            return f"to {_backends(after.backends)}{limited}"
        case "narrowed" | "widened":
            return f"who may come in: {_allowed(before)} -> {_allowed(after)}"
        case "source":
            return f"the pod sees the address of: {before.sees} -> {after.sees}"
        case "affinity":
            return f"session affinity: {_affinity(before)} -> {_affinity(after)}"
        case "rolled":
            return f"the same workload with other pods: {_moved(before, after)}"
        case "balance":
            return f"each pod gets {_each(before)} -> {_each(after)}: {_moved(before, after)}"
    return _moved(before, after)


def _moved(before: End, after: End) -> str:
    return f"{_backends(before.backends)} -> {_backends(after.backends)}"


def _backends(backends: Sequence[Backend]) -> str:
    alone = len(backends) == 1
    return _listed([_backend(each, alone) for each in backends])


def _backend(backend: Backend, alone: bool) -> str:
    share = "" if alone else f"{backend.share:.0%} "
    pods = ""
    if not backend.workload.startswith("pod/") and "/" in backend.workload:
        new = "" if not backend.new else " new" if backend.new == backend.pods else f", {backend.new} of them new"
        number = f"{backend.pods} new pod" if new == " new" else f"{backend.pods} pod"
        pods = f" ({number}{'' if backend.pods == 1 else 's'}{new if new != ' new' else ''})"
    address = f"[{backend.workload}]" if ":" in backend.workload else backend.workload
    return f"{share}{address}:{backend.port}{pods}"


def _each(end: End) -> str:
    pods = sum(each.pods for each in end.backends)
    return f"{1 / pods:.0%}" if pods else "nothing"


def _allowed(end: End) -> str:
    return "everyone" if end.allowed in (("0.0.0.0/0",), ("::/0",)) else _listed(end.allowed) or "nobody"


def _affinity(end: End) -> str:
    return f"{end.affinity} s" if end.affinity else "none"


def _name(change: NameChange) -> str:
    mark = "~" if change.before and change.after else "-" if change.before else "+"
    old, new = _values(change.before), _values(change.after)
    arrow = f"{old} -> {new}" if old and new else old or new
    rolled = " (other pods of the same workload)" if change.change == "rolled" else ""
    return f"  {mark} {change.name} {change.type} {arrow}{rolled}"


def _values(values: Sequence[str | None]) -> str:
    known = [each for each in values if each is not None]
    unknown = len(values) - len(known)
    words = "an address yet unknown" if unknown == 1 else f"{unknown} addresses yet unknown"
    return _listed([*known, *([words] if unknown else [])])


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - MOST} more" if len(words) > MOST else ""
    return ", ".join(words[:MOST]) + more
