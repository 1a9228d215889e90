"""What must change so that the kernel holds what is wished? The smallest transaction; the same for a Service and for all."""

from collections.abc import Iterable

from msgspec import Struct

from mooring.dataplane.ruleset import VERDICT_MAPS, Elements, SetKey


class Change(Struct, frozen=True, gc=False):
    """Elements of one set: those to take out first, then those to put in. An element with new data is in both."""

    set: SetKey
    remove: tuple[tuple[bytes, bytes], ...]
    add: tuple[tuple[bytes, bytes], ...]


class Transaction(Struct, frozen=True, gc=False):
    """Changes that become visible to packets all at once. Verdict maps come first: their chains are made with them."""

    changes: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __len__(self) -> int:
        """How many elements it takes out and puts in."""
        return sum(len(change.remove) + len(change.add) for change in self.changes)


def diff(have: Elements, want: Elements) -> Transaction:
    """The transaction that makes `want` of `have`."""
    changes = []
    for key in sorted(have.keys() | want.keys(), key=_order):
        old, new = have.get(key, {}), want.get(key, {})
        if old == new:
            continue
        remove = tuple((each, data) for each, data in old.items() if new.get(each) != data)
        add = tuple((each, data) for each, data in new.items() if old.get(each) != data)
        changes.append(Change(key, remove, add))
    return Transaction(tuple(changes))


def join(transactions: Iterable[Transaction]) -> Transaction:
    """Several transactions as one, in order: the kernel takes the changes of a batch one after the other."""
    return Transaction(tuple(change for transaction in transactions for change in transaction.changes))


def _order(key: SetKey) -> tuple[bool, SetKey]:
    return key[1] not in VERDICT_MAPS, key
