"""A firewall that only remembers: the tables as dictionaries, refusing what the kernel would refuse."""

from collections.abc import Collection, Iterable, Mapping

from mooring.dataplane.diff import Transaction
from mooring.dataplane.ruleset import SET_SPECS, Elements, Ruleset, SetKey
from mooring.dataplane.skeleton import fingerprint
from mooring.dataplane.verify import Drift, Kind
from mooring.ports.firewall import FirewallError

Held = dict[SetKey, dict[bytes, bytes]]


class MemoryFirewall:
    """`elements` is what the tables hold, None when there are none; `rules` what is wrong with their rules.

    Tests damage both as others damage the kernel's.
    """

    def __init__(self) -> None:
        self.elements: Held | None = None
        self.rules: tuple[Drift, ...] = ()
        self.transactions: list[Transaction] = []
        self.replacements = 0
        self._left: tuple[Held | None, tuple[Drift, ...]] = (None, ())
        self._foreign_commits = 0

    async def apply(self, transaction: Transaction) -> None:
        if not transaction:
            return
        if self.elements is None:
            raise FirewallError("adding to ip mooring: No such file or directory")
        after = _copy(self.elements)
        for change in transaction.changes:
            items = after.setdefault(change.set, {})
            where = " ".join((change.set[0], "mooring", change.set[1]))
            for key, _ in change.remove:
                if key not in items:
                    raise FirewallError(f"deleting from {where}: No such file or directory")
                del items[key]
            for key, data in change.add:
                if SET_SPECS[change.set[1]].data and items.get(key, data) != data:
                    raise FirewallError(f"adding to {where}: File exists")
                items[key] = data
        self._leave(after, self.rules)
        self.transactions.append(transaction)

    async def replace(self, ruleset: Ruleset) -> None:
        self._leave(_copy(ruleset.elements), ())
        self.replacements += 1

    async def foreign_commits(self) -> int:
        self._leave(self.elements, self.rules)
        return self._foreign_commits

    async def read(self, leaving_out: Collection[str] = ()) -> Ruleset:
        if self.elements is None or self.rules:
            return Ruleset({})
        held = {key: items for key, items in self.elements.items() if items and key[1] not in leaving_out}
        return Ruleset(_copy(held), fingerprint())

    async def look_up(self, keys: Mapping[SetKey, Iterable[bytes]]) -> Elements:
        held = self.elements or {}
        return {name: {key: held[name][key] for key in wanted if key in held.get(name, {})} for name, wanted in keys.items()}

    async def rule_drift(self) -> tuple[Drift, ...]:
        return self.rules if self.elements is not None else (Drift(Kind.MISSING, "ip mooring", "table ip mooring"),)

    async def remove(self) -> None:
        self._leave(None, ())

    def _leave(self, elements: Held | None, rules: tuple[Drift, ...]) -> None:
        """Notes what others did, and how the tables are left."""
        if (self.elements, self.rules) != self._left:
            self._foreign_commits += 1
        self.elements, self.rules = elements, rules
        self._left = None if elements is None else _copy(elements), rules


def _copy(elements: Elements) -> Held:
    return {key: dict(items) for key, items in elements.items()}
