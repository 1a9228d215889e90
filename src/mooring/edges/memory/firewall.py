"""A firewall that only remembers: the tables as dictionaries, refusing what the kernel would refuse."""

from collections.abc import Mapping

from mooring.dataplane.diff import Transaction
from mooring.dataplane.ruleset import SET_SPECS, VERDICT_MAPS, Elements, Ruleset, SetKey
from mooring.dataplane.skeleton import fingerprint
from mooring.ports.firewall import FirewallError


class MemoryFirewall:
    """`elements` is what the tables hold, None when there are none. Tests damage it as others damage the kernel's."""

    def __init__(self) -> None:
        self.elements: dict[SetKey, dict[bytes, bytes]] | None = None
        self.transactions: list[Transaction] = []
        self.replacements = 0

    async def apply(self, transaction: Transaction) -> None:
        if not transaction:
            return
        if self.elements is None:
            raise FirewallError("adding to ip mooring: No such file or directory")
        after = {key: dict(items) for key, items in self.elements.items()}
        for change in transaction.changes:
            items = after.setdefault(change.set, {})
            where = " ".join((change.set[0], "mooring", change.set[1]))
            for key in change.remove:
                if key not in items:
                    raise FirewallError(f"deleting from {where}: No such file or directory")
                del items[key]
            for key, data in change.add:
                if SET_SPECS[change.set[1]].data and items.get(key, data) != data:
                    raise FirewallError(f"adding to {where}: File exists")
                items[key] = data
        self.elements = after
        self.transactions.append(transaction)

    async def replace(self, ruleset: Ruleset) -> None:
        self.elements = {key: dict(items) for key, items in ruleset.elements.items()}
        self.replacements += 1

    async def read(self) -> Ruleset:
        if self.elements is None:
            return Ruleset({})
        return Ruleset({key: dict(items) for key, items in self.elements.items() if items}, fingerprint())

    async def holds(self, sample: Elements) -> bool:
        if self.elements is None:
            return False
        return all(_includes(self.elements.get(key, {}), items) for key, items in sample.items() if key[1] not in VERDICT_MAPS)

    async def remove(self) -> None:
        self.elements = None


def _includes(held: Mapping[bytes, bytes], wanted: Mapping[bytes, bytes]) -> bool:
    return wanted.items() <= held.items()
