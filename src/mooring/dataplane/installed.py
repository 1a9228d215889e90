"""What does this node's kernel hold, and what must it be told when a Service changes?

The agent's memory between two changes: each Service's ports with their numbers, and who claims what several may claim. All else
is derived, so that a whole ruleset and a change of it never tell two stories.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from copy import copy

from mooring.dataplane.adopt import numbers_in, shapes_in
from mooring.dataplane.compile import Found, Place, chains, check, elements, held, number_service, places, release, write
from mooring.dataplane.diff import Transaction, diff
from mooring.dataplane.ids import Ids, Numbered
from mooring.dataplane.ruleset import (
    FAMILIES,
    HELD_SETS,
    KEPT_SOURCES,
    POD_CIDRS,
    POD_INTERFACES,
    SERVICE_CIDRS,
    UNTRACKED,
    VERDICT_MAPS,
    Elements,
    Ruleset,
    SetKey,
    frontend,
    interfaces,
    intervals,
)
from mooring.dataplane.shapes import OutOfShapes, Shapes
from mooring.dataplane.skeleton import fingerprint, fixed_elements
from mooring.services.view import Family, NodeView, ServiceName, ServicePort

_EVERYONE = {Family.IPV4: ("0.0.0.0/0",), Family.IPV6: ("::/0",)}
_Items = dict[SetKey, dict[bytes, bytes]]


class Installed:
    """Changes itself as if every transaction it returns succeeds; when one fails, load `ruleset()` whole."""

    def __init__(self) -> None:
        self.services: dict[ServiceName, tuple[Numbered, ...]] = {}
        self._ids = Ids()
        self._shapes = Shapes()
        self._chains: _Items = fixed_elements()
        """The elements of the verdict maps. A chain nobody goes to harms nobody, so one stays until its number is needed."""
        self._claims: dict[Place, tuple[ServiceName, ...]] = {}
        """Frontend -> the Services that claim it, sorted. The first has it."""
        self._rivals: set[ServiceName] = set()
        """Services that claim, or once did, what others claim too."""
        self._holders: dict[SetKey, dict[bytes, frozenset[ServiceName]]] = {}
        """HELD_SETS -> element -> the Services it is there for."""
        self._ranges: _Items = {}
        self._detects = dict.fromkeys(Family, False)
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

        Service ports are known again by their frontends, endpoints keep the slots they have. All else that differs is put
        right, whoever caused it; what packets wrote themselves (affinity) is left alone.
        """
        installed = cls()
        installed._chains = shapes_in(kernel.elements, installed._shapes)
        installed.services, held = numbers_in(view, kernel.elements)
        installed._ids = Ids((numbered.id for ports in installed.services.values() for numbered in ports), held)
        installed._install(view)
        return installed, installed.drift(kernel)

    def drift(self, kernel: Ruleset) -> Transaction:
        """What must change in the kernel so that it holds what this agent believes it does."""
        return diff(kernel.elements, self.ruleset().elements)

    def _install(self, view: NodeView) -> None:
        self.set_ranges(view)
        for name, ports in view.services.items():
            before = self.services.pop(name, ())
            try:
                after = self._numbered(ports, before)
            except ValueError as error:
                release(before, (), self._ids)
                self.refused[name] = error
                continue
            self.services[name] = after
            self._claim(name, (), places(after))
            self._hold(name, {}, held(after))
            for key, number, chain in chains(after):
                self._chains[key][number] = chain

    def change(self, name: ServiceName, ports: Sequence[ServicePort]) -> Transaction:
        """A Service is now `ports`, () when it is gone. Its cost does not depend on other Services.

        Raises ValueError, changing nothing, for a Service that no table can hold.
        """
        before = self.services.get(name, ())
        if not before and not ports:
            return Transaction()
        after = self._numbered(ports, before)
        claimed, claims = set(places(before)), set(places(after))
        rivals = {each for place in claimed | claims for each in self._claims.get(place, ())} - {name}
        affected = (name, *sorted(rivals))
        old = {each: self._elements(each) for each in affected}
        self._claim(name, claimed - claims, claims - claimed)
        if after:
            self.services[name] = after
        else:
            self.services.pop(name, None)
        release(before, after, self._ids)
        have: _Items = {}
        want: _Items = {}
        for each in affected:
            self._replace(each, old[each], self._elements(each), have, want)
        return diff(have, want)

    def _numbered(self, ports: Sequence[ServicePort], before: Sequence[Numbered]) -> tuple[Numbered, ...]:
        """The ports with their numbers. Raises ValueError when no table can hold them."""
        check(ports, self._detects)
        try:
            return number_service(ports, before, self._ids, self._shapes)
        except OutOfShapes:
            self._shapes.keep({number for ports in self.services.values() for each in ports for number in each.shapes})
            return number_service(ports, before, self._ids, self._shapes)

    def _elements(self, name: ServiceName) -> Elements:
        """What a Service has in the tables: all it wishes but what others claimed first."""
        return elements(self.services.get(name, ()), self._lost(name))

    def _lost(self, name: ServiceName) -> Collection[Place]:
        """The frontends that a Service claims and others have."""
        if name not in self._rivals:
            return ()
        return {place for place in places(self.services.get(name, ())) if self._claims[place][0] != name}

    def _claim(self, name: ServiceName, gone: Iterable[Place], new: Iterable[Place]) -> None:
        """Notes what a Service claims no more, and anew."""
        alone = (name,)
        for place in gone:
            heirs = tuple(each for each in self._claims[place] if each != name)
            if heirs:
                self._claims[place] = heirs
            else:
                del self._claims[place]
        for place in new:
            others = self._claims.setdefault(place, alone)
            if others != alone:
                self._claims[place] = tuple(sorted({*others, name}))
                self._rivals.update(self._claims[place])

    def _replace(self, name: ServiceName, old: Elements, new: Elements, have: _Items, want: _Items) -> None:
        """Notes in `have` and `want` what must change in the kernel when what a Service has becomes another."""
        for key in old.keys() | new.keys():
            if key[1] in VERDICT_MAPS:
                known = self._chains.setdefault(key, {})
                for number, chain in new.get(key, {}).items():
                    if known.get(number) != chain:
                        have.setdefault(key, {}).update({number: known[number]} if number in known else {})
                        want.setdefault(key, {})[number] = known[number] = chain
            elif key[1] not in HELD_SETS:
                have.setdefault(key, {}).update(old.get(key, {}))
                want.setdefault(key, {}).update(new.get(key, {}))
        for key, (went, came) in self._hold(name, old, new).items():
            have.setdefault(key, {}).update(went)
            want.setdefault(key, {}).update(came)

    def _hold(
        self, name: ServiceName, old: Elements, new: Elements
    ) -> dict[SetKey, tuple[dict[bytes, bytes], dict[bytes, bytes]]]:
        """Counts a Service in and out of what several may hold; what thereby goes and comes."""
        found = {}
        alone = frozenset((name,))
        for key in old.keys() | new.keys():
            had, has = old.get(key, {}), new.get(key, {})
            if key[1] not in HELD_SETS or had == has:
                continue
            holders = self._holders.setdefault(key, {})
            went, came = {}, {}
            for element in had.keys() - has.keys():
                left = holders[element] - alone
                if left:
                    holders[element] = left
                else:
                    del holders[element]
                    went[element] = b""
            for element in has.keys() - had.keys():
                others = holders.get(element)
                holders[element] = alone if others is None else others | alone
                if others is None:
                    came[element] = b""
            found[key] = (went, came)
        return found

    def set_ranges(self, view: NodeView) -> Transaction:
        """What is said of the whole node is now as in the view: ranges of Services, what the node answers itself, and how its
        pods are told from others.

        The arms of all Services follow the last; that is for the caller to see to.
        """
        before = self._ranges
        self._detects = {family: view.detects_pods(family) for family in Family}
        inside = interfaces(view.pod_interfaces)
        self._ranges = {}
        for family, table in FAMILIES.items():
            pods = intervals(view.pod_cidrs, family)
            self._ranges[(table, SERVICE_CIDRS)] = intervals(view.service_cidrs, family)
            self._ranges[(table, UNTRACKED)] = {
                frontend(each.address, each.protocol, each.port): b""
                for each in view.answered_here
                if (":" in each.address) is (family is Family.IPV6)
            }
            self._ranges[(table, POD_CIDRS)] = pods
            self._ranges[(table, POD_INTERFACES)] = inside
            self._ranges[(table, KEPT_SOURCES)] = pods if self._detects[family] else intervals(_EVERYONE[family], family)
        return diff(before, self._ranges)

    def copy(self) -> "Installed":
        """What this memory holds now, to ask for its ruleset while this one goes on changing."""
        twin = copy(self)
        twin.services, twin._claims = dict(self.services), dict(self._claims)
        twin._chains = {key: dict(items) for key, items in self._chains.items()}
        return twin

    def ruleset(self) -> Ruleset:
        """All that the kernel shall hold."""
        whole: Found = defaultdict(dict)
        for key, items in (*self._chains.items(), *self._ranges.items()):
            whole[key] = dict(items)
        for name, service in self.services.items():
            write(whole, service, self._lost(name))
            for key, items in held(service).items():
                whole[key].update(items)
        return Ruleset({key: items for key, items in whole.items() if items}, fingerprint())


def compile_view(view: NodeView) -> Ruleset:
    """All that the kernel shall hold for a view, numbered afresh."""
    return Installed.of(view).ruleset()
