"""Who notices that somebody else has changed this node's tables, and puts them right? Nothing of it in the way of changes.

The kernel counts every transaction of a network namespace. While others commit nothing, asking for that count is all there is
to do. When they have, whatever it was, the tables are read and compared with what this agent believes they hold, exactly:
rules, chains, sets and every element. Meanwhile the agent's own transactions go on; what they touch is left out, for they know
better. What then differs is put right by the smallest transaction; where rules are concerned the tables are made anew.

The kernel's dump of a map takes time by the square of its size. So above LARGEST_DUMP endpoints the two maps of endpoints are
not dumped: every element this agent wishes there is looked up, and a foreign one, to which no frontend leads, is let be.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import islice
from time import monotonic

import structlog
from msgspec import Struct

from mooring.control.reconciler import Report
from mooring.dataplane.diff import Transaction, diff
from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import ENDPOINTS, SLOTS, Elements, SetKey
from mooring.dataplane.verify import Drift, Element, element_drift, only
from mooring.ports.firewall import Firewall, FirewallError

LARGEST_DUMP = 300_000
"""Endpoints up to which the kernel's dump of a map is quick enough (1,000,000: 47 s)."""
RESTS = 4
"""A comparison is followed by a rest of so many times its own duration: others may commit all day long."""
LONGEST_REST = 10.0
LOOKED_UP = 5_000
"""Elements asked for at a time."""
TOLD = 5
"""Differences told in words."""
_ENDPOINT_MAPS = frozenset({ENDPOINTS, SLOTS})

log = structlog.get_logger(__name__)


class Damage(Struct, frozen=True):
    """What somebody else did to the tables. `rules` are differences of the fixed part, `elements` of all else."""

    rules: tuple[Drift, ...] = ()
    elements: Mapping[Element, Drift] = {}
    transaction: Transaction = Transaction()
    """Puts the elements right."""

    def __bool__(self) -> bool:
        return bool(self.rules or self.elements)

    def but(self, written: Mapping[SetKey, set[bytes]]) -> "Damage":
        """Without the elements that have been written since."""
        left = {each: drift for each, drift in self.elements.items() if each[1] not in written.get(each[0], ())}
        return Damage(self.rules, left, only(self.transaction, left))

    def tally(self) -> Counter[str]:
        """How many differences of each kind."""
        return Counter(each.kind.value for each in (*self.rules, *self.elements.values()))

    def words(self) -> list[str]:
        told = [each.words for each in islice((*self.rules, *self.elements.values()), TOLD)]
        more = len(self.rules) + len(self.elements) - len(told)
        return [*told, f"and {more} more"] if more else told


class Watch:
    """Looks every `period` seconds whether others have committed. `mend` is called with what they did."""

    def __init__(self, firewall: Firewall, period: float, mend: Callable[[Damage], Awaitable[None]]) -> None:
        self._firewall, self._period, self._mend = firewall, period, mend
        self._seen = 0
        self._written: dict[SetKey, set[bytes]] = {}
        self._replaced = False

    async def begin(self) -> None:
        """What others did up to now is known: the tables are about to be read or made anew. Raises FirewallError."""
        self._seen = await self._firewall.foreign_commits()

    def wrote(self, transaction: Transaction) -> None:
        """A transaction is on its way to the kernel: what it touches must not be judged by what was read before."""
        for change in transaction.changes:
            touched = self._written.setdefault(change.set, set())
            touched.update(key for key, _ in (*change.remove, *change.add))

    def replaced(self) -> None:
        """The tables are being made anew: nothing that was read before counts."""
        self._replaced = True

    def still(self, damage: Damage) -> Damage:
        """What is left of it after all that was written since it was seen."""
        return Damage() if self._replaced else damage.but(self._written)

    async def run(self, wish: Callable[[], Installed]) -> None:
        """Until cancelled. `wish` gives a copy of what the agent believes to be in the tables."""
        rest = self._period
        while True:
            await asyncio.sleep(rest)
            begun = monotonic()
            try:
                await self._look(wish)
            except FirewallError as error:
                log.warning("the tables cannot be compared", error=str(error))
            rest = max(self._period, min((monotonic() - begun) * RESTS, LONGEST_REST))

    async def _look(self, wish: Callable[[], Installed]) -> None:
        self._written, self._replaced = {}, False
        commits = await self._firewall.foreign_commits()
        if commits == self._seen:
            return
        if damage := await self._damage(wish):
            await self._mend(damage)
        self._seen = commits

    async def _damage(self, wish: Callable[[], Installed]) -> Damage:
        """How the kernel differs, as far as this agent has not written meanwhile."""
        if rules := await self._firewall.rule_drift():
            return self.still(Damage(rules))
        unread = _ENDPOINT_MAPS if _endpoints(wish()) > LARGEST_DUMP else frozenset[str]()
        held = (await self._firewall.read(unread)).elements
        installed = wish()
        wished = await asyncio.to_thread(lambda: installed.ruleset().elements)
        if unread:
            held = {**held, **await self._look_up({key: items for key, items in wished.items() if key[1] in unread})}
        found = await asyncio.to_thread(diff, held, wished)
        if found:
            # A dump may miss elements that are there, when the set grows or changes meanwhile: what differs is looked at again.
            again = await self._look_up({change.set: dict((*change.remove, *change.add)) for change in found.changes})
            found = await asyncio.to_thread(diff, again, {change.set: dict(change.add) for change in found.changes})
        return self.still(Damage((), await asyncio.to_thread(element_drift, installed, found), found))

    async def _look_up(self, elements: Elements) -> Elements:
        found: dict[SetKey, dict[bytes, bytes]] = {}
        for keys in _chunks(elements):
            for set_key, items in (await self._firewall.look_up(keys)).items():
                found.setdefault(set_key, {}).update(items)
        return found


def report(node: str, damage: Damage) -> Report:
    """What people see of a repair on the Node."""
    regarding = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node, "uid": node}}
    how = "were made anew" if damage.rules else "were put right"
    message = f"somebody else changed the packet tables, and they {how}: {'; '.join(damage.words())}"
    return Report(regarding, "Warning", "ProxyRulesRepaired", message)


def _chunks(elements: Elements) -> Iterator[Mapping[SetKey, list[bytes]]]:
    for set_key, items in elements.items():
        keys = iter(items)
        while chunk := list(islice(keys, LOOKED_UP)):
            yield {set_key: chunk}


def _endpoints(installed: Installed) -> int:
    return sum(len(numbered.port.cluster) for ports in installed.services.values() for numbered in ports)
