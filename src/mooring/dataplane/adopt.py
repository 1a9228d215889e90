"""What do the tables that an earlier agent left say of numbers, slots and shapes?

Whatever is there may be damaged: what cannot be meant is not taken over, and the change that follows puts it right.
"""

from collections import Counter
from collections.abc import Mapping, Set
from contextlib import suppress

from mooring.dataplane.ids import Numbered
from mooring.dataplane.ruleset import (
    ENDPOINTS,
    FAMILIES,
    FRONTENDS,
    OUTSIDE_FRONTENDS,
    SET_SPECS,
    SHAPE_BITS,
    SLOTS,
    VERDICT_MAPS,
    Elements,
    Field,
    SetKey,
    frontend,
    unpack,
)
from mooring.dataplane.shapes import Shapes, shape_named, slots_for
from mooring.dataplane.skeleton import fixed_elements
from mooring.services.view import Entry, NodeView, ServiceName, ServicePort

_Slots = Mapping[tuple[str, int], Mapping[int, bytes]]
"""(family, gid) -> slot, or number -> data"""


def shapes_in(kernel: Elements, shapes: Shapes) -> dict[SetKey, dict[bytes, bytes]]:
    """The elements of the verdict maps that lead where their numbers say; `shapes` learns those with affinity."""
    found = fixed_elements()
    for (table, name), items in kernel.items():
        if name in VERDICT_MAPS:
            for key, chain in items.items():
                shape = shape_named(name, chain.decode(errors="replace"))
                if shape and shapes.recall(_number(table, key), shape):
                    found[(table, name)][key] = chain
    return found


def numbers_in(view: NodeView, kernel: Elements) -> tuple[dict[ServiceName, tuple[Numbered, ...]], set[int]]:
    """What the elements say of the numbers and slots of the view's service ports; and every number that has endpoints."""
    endpoints, slots = _by_gid(kernel, ENDPOINTS), _by_gid(kernel, SLOTS)
    taken: set[int] = set()
    claimed: set[tuple[str, bytes]] = set()
    holders = _holders(kernel)
    found: dict[ServiceName, tuple[Numbered, ...]] = {}
    for service in sorted(view.services):
        known = []
        for port in view.services[service]:
            table = FAMILIES[port.name.family]
            number = _id(port, table, kernel, claimed, holders)
            if number and number not in taken:
                taken.add(number)
                cluster = _pool((table, number << 1), len(port.cluster), endpoints, slots)
                local = _pool((table, number << 1 | 1), len(port.local), endpoints, slots)
                known.append(Numbered(port, number, cluster, local))
        if known:
            found[service] = tuple(known)
    return found, {gid >> 1 for _, gid in endpoints if gid >> 1}


def _pool(gid: tuple[str, int], wanted: int, endpoints: _Slots, slots: _Slots) -> tuple[bytes, ...]:
    """The endpoints by slot; b'' for a slot that is missing, or leads nowhere. No more slots than could be meant."""
    held, numbers = endpoints.get(gid, {}), slots.get(gid)
    if numbers is not None:
        by_number = {_number(gid[0], data): slot for slot, data in numbers.items()}
        held = {by_number[number]: data for number, data in held.items() if number in by_number}
    size = slots_for(max(len(held), wanted))
    return tuple(held.get(slot, b"") for slot in range(min(size, max(held, default=-1) + 1)))


def _by_gid(kernel: Elements, name: str) -> dict[tuple[str, int], dict[int, bytes]]:
    found: dict[tuple[str, int], dict[int, bytes]] = {}
    for table in FAMILIES.values():
        for key, data in kernel.get((table, name), {}).items():
            gid, second = unpack(table, SET_SPECS[name].key, key)
            found.setdefault((table, int(gid) >> SHAPE_BITS), {})[int(second)] = data
    return found


def _holders(kernel: Elements) -> dict[tuple[str, int], set[bytes]]:
    """(family, number) -> the frontends that have it."""
    found: dict[tuple[str, int], set[bytes]] = {}
    for table in FAMILIES.values():
        for name in (FRONTENDS, OUTSIDE_FRONTENDS):
            for where, value in kernel.get((table, name), {}).items():
                found.setdefault((table, _id_in(table, value)), set()).add(where)
    return found


def _id(
    port: ServicePort,
    table: str,
    kernel: Elements,
    claimed: set[tuple[str, bytes]],
    holders: Mapping[tuple[str, int], Set[bytes]],
) -> int:
    """The number that most frontends of this port have in the kernel, 0 when none has. Those `claimed` before are others'.

    A cluster IP alone tells, where it is there: other addresses go from Service to Service, and a number that somebody else's
    frontend has must not go with them, for packets under way to its owner may still hold it.
    """
    places: dict[bytes, Entry] = {}
    for each in port.frontends:
        with suppress(ValueError):
            places.setdefault(frontend(each.address, port.name.protocol, each.port), each.entry)
    own: Counter[int] = Counter()
    others: Counter[int] = Counter()
    for where, entry in places.items():
        if (table, where) in claimed:
            continue
        claimed.add((table, where))
        for name in (FRONTENDS, OUTSIDE_FRONTENDS):
            value = kernel.get((table, name), {}).get(where)
            if value and entry is Entry.CLUSTER_IP:
                own[_id_in(table, value)] += 1
            elif value and holders[(table, _id_in(table, value))] <= places.keys():
                others[_id_in(table, value)] += 1
    votes = own or others
    return votes.most_common(1)[0][0] if votes else 0


def _id_in(table: str, value: bytes) -> int:
    """The number in a frontend's value."""
    return _number(table, value) >> SHAPE_BITS >> 1


def _number(table: str, data: bytes) -> int:
    return int(unpack(table, (Field.MARK,), data)[0])
