"""Which of the kernel's numbers is whose, where frontends do not say? Found by the endpoints: then only what is wrong differs.

An agent that adopts tables knows a service port by its frontends. A port whose frontends are gone, or which lost them all to
other Services, would get a fresh number there, and all its endpoints would differ. That is right for an agent, which then puts
them in place, and wrong for who wants to know what somebody has damaged.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from mooring.dataplane.diff import Transaction
from mooring.dataplane.ids import Numbered, place
from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import (
    ENDPOINTS,
    FAMILIES,
    FRONTENDS,
    OUTSIDE_FRONTENDS,
    SET_SPECS,
    SHAPE_BITS,
    SLOTS,
    Elements,
    Field,
    Ruleset,
    unpack,
)
from mooring.dataplane.shapes import SLOT_STEP
from mooring.services.view import NodeView

ALIKE = 0.3
"""The least part of endpoints in common by which a number counts as a service port's: half of them may have been changed."""

_Number = tuple[str, int]
"""(family, number of a service port)"""


class _Pools(Struct, frozen=True):
    """The endpoints that the kernel has for a number, by slot (b'' for one that is missing), and all of them."""

    cluster: tuple[bytes, ...]
    local: tuple[bytes, ...]
    of_cluster: frozenset[bytes]
    of_local: frozenset[bytes]

    def likeness(self, port: Numbered) -> float:
        """The part of all endpoints, here and the port's, that both have."""
        wanted = {(True, each) for each in port.cluster} | {(False, each) for each in port.local}
        held = {(True, each) for each in self.of_cluster} | {(False, each) for each in self.of_local}
        return len(wanted & held) / len(wanted | held)


def compare(view: NodeView, kernel: Ruleset) -> tuple[Installed, Transaction]:
    """What an agent that wishes `view` would believe of this kernel, and what must change in it."""
    installed, transaction = Installed.adopt(view, kernel)
    if transaction:
        _recognise(installed, kernel.elements)
        transaction = installed.drift(kernel)
    return installed, transaction


def _recognise(installed: Installed, found: Elements) -> None:
    """Gives service ports whose number is a mere guess the unclaimed number that has most of their endpoints, if one has."""
    pools, led = _pools_in(found), _led_to(found)
    every = [(each, name, index) for name, ports in installed.services.items() for index, each in enumerate(ports)]
    sure = {_number(each) for each, _, _ in every if _number(each) in led and (_number(each) in pools or not _has_slots(each))}
    guessed = [known for known in every if _number(known[0]) not in sure]
    chosen = _most_alike(
        [each for each, _, _ in guessed], {number: pool for number, pool in pools.items() if number not in sure}
    )
    taken = sure | set(chosen.values())
    for position, (each, name, index) in enumerate(guessed):
        number = chosen.get(position, _number(each))
        if position not in chosen and (number in taken or number in pools):
            number = (number[0], max(known for _, known in taken | pools.keys()) + 1)
        taken.add(number)
        kept = pools.get(number)
        slots = (place(kept.cluster, each.cluster), place(kept.local, each.local)) if kept else (each.cluster, each.local)
        ports = installed.services[name]
        renumbered = replace(each, id=number[1], cluster=slots[0], local=slots[1])
        installed.services[name] = (*ports[:index], renumbered, *ports[index + 1 :])


def _most_alike(guessed: Sequence[Numbered], unclaimed: Mapping[_Number, _Pools]) -> dict[int, _Number]:
    """The numbers for these service ports, by position: the pairs that have most in common first."""
    holding: dict[tuple[str, bytes], set[_Number]] = {}
    for number, pool in unclaimed.items():
        for endpoint in pool.of_cluster | pool.of_local:
            holding.setdefault((number[0], endpoint), set()).add(number)
    pairs = []
    for position, each in enumerate(guessed):
        family = FAMILIES[each.port.name.family]
        near = {number for endpoint in each.cluster + each.local for number in holding.get((family, endpoint), ())}
        pairs += [(-unclaimed[number].likeness(each), position, number) for number in near]
    chosen: dict[int, _Number] = {}
    taken: set[_Number] = set()
    for likeness, position, number in sorted(pairs):
        if -likeness >= ALIKE and position not in chosen and number not in taken:
            chosen[position] = number
            taken.add(number)
    return chosen


def _has_slots(numbered: Numbered) -> bool:
    return bool(numbered.cluster or numbered.local)


def _number(numbered: Numbered) -> _Number:
    return FAMILIES[numbered.port.name.family], numbered.id


def _led_to(found: Elements) -> set[_Number]:
    """The numbers that frontends lead to."""
    return {
        (family, int(unpack(family, (Field.MARK,), data)[0]) >> SHAPE_BITS >> 1)
        for family in FAMILIES.values()
        for name in (FRONTENDS, OUTSIDE_FRONTENDS)
        for data in found.get((family, name), {}).values()
    }


def _pools_in(found: Elements) -> dict[_Number, _Pools]:
    held: dict[_Number, tuple[dict[int, bytes], dict[int, bytes]]] = {}
    for family in FAMILIES.values():
        # With affinity the endpoints stand under checksums, and the slots say which.
        slots = {key[:4] + data: key[4:] for key, data in found.get((family, SLOTS), {}).items()}
        for key, data in found.get((family, ENDPOINTS), {}).items():
            gid, slot = (int(each) for each in unpack(family, SET_SPECS[ENDPOINTS].key, key[:4] + slots.get(key, key[4:])))
            held.setdefault((family, gid >> SHAPE_BITS >> 1), ({}, {}))[gid >> SHAPE_BITS & 1][slot] = data
    return {
        number: _Pools(_by_slot(cluster), _by_slot(local), frozenset(cluster.values()), frozenset(local.values()))
        for number, (cluster, local) in held.items()
    }


def _by_slot(pool: Mapping[int, bytes]) -> tuple[bytes, ...]:
    """Without what stands so far out that it is no slot."""
    size = 2 * len(pool) + SLOT_STEP
    last = max((slot for slot in pool if slot < size), default=-1)
    return tuple(pool.get(slot, b"") for slot in range(last + 1))
