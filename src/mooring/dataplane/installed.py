"""What does this node's kernel hold, and what must it be told when a Service changes?

The agent's memory between two changes: each Service's ports with their numbers, and who claims an element that several may
claim. Everything else is derived, so that a whole ruleset and a change of it never tell two stories.
"""

from collections.abc import Iterable, Mapping, Sequence

from mooring.dataplane.compile import elements, number_service
from mooring.dataplane.diff import Transaction, diff
from mooring.dataplane.ids import Ids, Numbered
from mooring.dataplane.ruleset import (
    ENDPOINTS,
    FAMILIES,
    FRONTENDS,
    OUTSIDE_FRONTENDS,
    POD_CIDRS,
    SERVICE_CIDRS,
    SET_SPECS,
    SHAPE_BITS,
    SHARED_SETS,
    VERDICT_MAPS,
    Elements,
    Ruleset,
    SetKey,
    frontend,
    intervals,
    unpack,
)
from mooring.dataplane.skeleton import fingerprint, fixed_elements
from mooring.services.view import NodeView, ServiceName, ServicePort


class Installed:
    """Changes itself as if every transaction it returns succeeds; when one fails, load `ruleset()` whole."""

    def __init__(self) -> None:
        self.services: dict[ServiceName, tuple[Numbered, ...]] = {}
        self._ids = Ids()
        self._claims: dict[SetKey, dict[bytes, tuple[ServiceName, ...]]] = {}
        self._shapes: dict[SetKey, dict[bytes, bytes]] = fixed_elements()
        self._ranges: dict[SetKey, dict[bytes, bytes]] = {}
        self.refused: dict[ServiceName, ValueError] = {}
        """Services that a first view had and no table can hold, each with the reason."""

    @classmethod
    def of(cls, view: NodeView) -> "Installed":
        """The memory of an agent that has installed just this view."""
        installed = cls()
        installed._install(view)
        return installed

    @classmethod
    def adopt(cls, view: NodeView, kernel: Ruleset) -> tuple["Installed", Transaction]:
        """The memory of an agent that finds `kernel` in place and wishes `view`, and what must change.

        Service ports are known again by their frontends, endpoints keep the slots they have.
        """
        installed = cls()
        numbers = _numbers(view, kernel.elements)
        installed._ids = Ids(numbered.id for ports in numbers.values() for numbered in ports)
        installed.services = numbers
        for key, items in kernel.elements.items():
            if key[1] in VERDICT_MAPS:
                installed._shapes.setdefault(key, {}).update(items)
        installed._install(view)
        return installed, diff(kernel.elements, installed.ruleset().elements)

    def _install(self, view: NodeView) -> None:
        for name, ports in view.services.items():
            try:
                self._note(name, number_service(ports, self.services.pop(name, ()), self._ids))
            except ValueError as error:
                self.refused[name] = error
        self.set_ranges(view.service_cidrs, view.pod_cidrs)

    def _note(self, name: ServiceName, after: tuple[Numbered, ...]) -> None:
        """Claims all elements of a Service that is new to this memory."""
        wants = elements(after)
        self.services[name] = after
        claim = (name,)
        for key, items in wants.items():
            if key[1] in SHARED_SETS:
                claims = self._claims.setdefault(key, {})
                for element in items:
                    others = claims.get(element)
                    claims[element] = claim if others is None else tuple(sorted((*others, name)))
            elif key[1] in VERDICT_MAPS:
                self._shapes.setdefault(key, {}).update(items)

    def change(self, name: ServiceName, ports: Sequence[ServicePort]) -> Transaction:
        """A Service is now `ports`, () when it is gone. Its cost does not depend on other Services.

        Raises ValueError, changing nothing, for a Service that no table can hold.
        """
        before = self.services.get(name, ())
        if not before and not ports:
            return Transaction()
        after = number_service(ports, before, self._ids)
        had, wants = elements(before), elements(after)
        have: dict[SetKey, Mapping[bytes, bytes]] = {}
        want: dict[SetKey, Mapping[bytes, bytes]] = {}
        for key in had.keys() | wants.keys():
            old, new = had.get(key, {}), wants.get(key, {})
            if key[1] in SHARED_SETS:
                have[key], want[key] = self._claim(key, name, old, new)
            elif key[1] in VERDICT_MAPS:
                known = self._shapes.setdefault(key, {})
                want[key] = {shape: chain for shape, chain in new.items() if shape not in known}
                known.update(new)
            else:
                have[key], want[key] = old, new
        if after:
            self.services[name] = after
        else:
            self.services.pop(name, None)
        for gone in {each.id for each in before} - {each.id for each in after}:
            self._ids.release(gone)
        return diff(have, want)

    def _claim(
        self, set_key: SetKey, name: ServiceName, old: Mapping[bytes, bytes], new: Mapping[bytes, bytes]
    ) -> tuple[Mapping[bytes, bytes], Mapping[bytes, bytes]]:
        """What the kernel has and shall have of the elements a Service had and wants.

        Of several claims the first Service by name wins, and an element goes only with its last claim.
        """
        if old.keys() == new.keys() and all(self._claims[set_key][key] == (name,) for key in old):
            return old, new
        claims = self._claims.setdefault(set_key, {})
        have, want = {}, {}
        for key in old.keys() | new.keys():
            owners = claims.get(key, ())
            heirs = tuple(sorted({*owners, name})) if key in new else tuple(owner for owner in owners if owner != name)
            if owners:
                have[key] = old[key] if owners[0] == name else self._data(owners[0], set_key, key)
            if heirs:
                want[key] = new[key] if heirs[0] == name else self._data(heirs[0], set_key, key)
                claims[key] = heirs
            else:
                del claims[key]
        return have, want

    def _data(self, owner: ServiceName, set_key: SetKey, key: bytes) -> bytes:
        return elements(self.services[owner])[set_key][key]

    def set_ranges(self, service_cidrs: Iterable[str], pod_cidrs: Iterable[str]) -> Transaction:
        """The ranges of Services and of this node's pods are now these."""
        before = self._ranges
        service_cidrs, pod_cidrs = tuple(service_cidrs), tuple(pod_cidrs)
        self._ranges = {
            (table, name): intervals(cidrs, family)
            for family, table in FAMILIES.items()
            for name, cidrs in ((SERVICE_CIDRS, service_cidrs), (POD_CIDRS, pod_cidrs))
        }
        return diff(before, self._ranges)

    def sample(self, names: Iterable[ServiceName]) -> Elements:
        """What the kernel must hold of these Services, and the ranges: to compare it with what it does hold."""
        found: dict[SetKey, dict[bytes, bytes]] = {key: dict(items) for key, items in self._ranges.items()}
        for name in names:
            for key, items in elements(self.services.get(name, ())).items():
                claims = self._claims.get(key, {})
                mine = {each: data for each, data in items.items() if claims.get(each, (name,))[0] == name}
                found.setdefault(key, {}).update(mine)
        return found

    def ruleset(self) -> Ruleset:
        """All that the kernel shall hold."""
        whole: dict[SetKey, dict[bytes, bytes]] = {key: dict(items) for key, items in self._shapes.items()}
        for name in sorted(self.services, reverse=True):
            for key, items in elements(self.services[name]).items():
                whole.setdefault(key, {}).update(items)
        whole.update({key: dict(items) for key, items in self._ranges.items()})
        return Ruleset({key: items for key, items in whole.items() if items}, fingerprint())


def compile_view(view: NodeView) -> Ruleset:
    """All that the kernel shall hold for a view, numbered afresh."""
    return Installed.of(view).ruleset()


def _numbers(view: NodeView, kernel: Elements) -> dict[ServiceName, tuple[Numbered, ...]]:
    """What the kernel's elements say of the numbers and slots of the view's service ports."""
    slots: dict[tuple[str, int], list[tuple[int, bytes]]] = {}
    for (table, name), items in kernel.items():
        if name == ENDPOINTS:
            for key, data in items.items():
                gid, slot = unpack(table, SET_SPECS[ENDPOINTS].key, key)
                slots.setdefault((table, int(gid) >> SHAPE_BITS), []).append((int(slot), data))

    def pool(table: str, gid: int) -> tuple[bytes, ...]:
        return tuple(dict.fromkeys(data for _, data in sorted(slots.get((table, gid), ()))))

    taken: set[int] = set()
    found: dict[ServiceName, tuple[Numbered, ...]] = {}
    for service, ports in view.services.items():
        known = []
        for port in ports:
            table = FAMILIES[port.name.family]
            number = _id(port, table, kernel)
            if number and number not in taken:
                taken.add(number)
                known.append(Numbered(port, number, pool(table, number << 1), pool(table, number << 1 | 1)))
        if known:
            found[service] = tuple(known)
    return found


def _id(port: ServicePort, table: str, kernel: Elements) -> int:
    """The number that some frontend of this port has in the kernel, 0 when none has."""
    for each in port.frontends:
        where = frontend(each.address, port.name.protocol, each.port)
        for name in (FRONTENDS, OUTSIDE_FRONTENDS):
            value = kernel.get((table, name), {}).get(where)
            if value:
                return int(unpack(table, SET_SPECS[name].data, value)[0]) >> SHAPE_BITS >> 1
    return 0
