"""What must change so that the kernel holds what is wished? The smallest transaction; the same for a Service and for all."""

from collections.abc import Iterable

from msgspec import Struct

from mooring.dataplane.ruleset import (
    FRONTENDS,
    MASQUERADED,
    OUTSIDE_FRONTENDS,
    RESTRICTED,
    SET_SPECS,
    SHAPE_BITS,
    TRANSPARENT,
    VERDICT_MAPS,
    Elements,
    SetKey,
    unpack,
)
from mooring.dataplane.shapes import DROP_SHAPE, REJECT_SHAPE

_GUARDS = frozenset((RESTRICTED, OUTSIDE_FRONTENDS))
_SHAPE_MASK = (1 << SHAPE_BITS) - 1


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


def in_steps(transaction: Transaction) -> tuple[Transaction, ...]:
    """What the kernel is to be told one after the other: mostly the transaction itself.

    A packet is asked for what bars it (RESTRICTED) or turns it (OUTSIDE_FRONTENDS), then for its frontend, and on its way out
    for what hides its source. Were a guard to come in one commit with what is asked for later, a packet that it overtakes in
    between would meet the later alone, and conntrack would let its connection go on so. Hence a frontend that led nowhere until
    now is opened after its guards, and what hides its sources changes after them.
    """
    guarded = {(each.set[0], key) for each in transaction.changes if each.set[1] in _GUARDS for key, _ in each.add}
    if not guarded:
        return (transaction,)
    leading = {
        (each.set[0], key)
        for each in transaction.changes
        if each.set[1] == FRONTENDS
        for key, data in each.remove
        if _leads(each.set[0], data)
    }
    late = {FRONTENDS: guarded - leading, MASQUERADED: guarded, TRANSPARENT: guarded}
    first: list[Change] = []
    last: list[Change] = []
    for change in transaction.changes:
        family, name = change.set
        waiting = late.get(name, set())
        for part, waits in ((first, False), (last, True)):
            remove = tuple(each for each in change.remove if ((family, each[0]) in waiting) is waits)
            add = tuple(each for each in change.add if ((family, each[0]) in waiting) is waits)
            if remove or add:
                part.append(Change(change.set, remove, add))
    return (Transaction(tuple(first)), Transaction(tuple(last))) if last else (transaction,)


def _leads(family: str, data: bytes) -> bool:
    """Whether a frontend's value leads to endpoints."""
    (value,) = unpack(family, SET_SPECS[FRONTENDS].data, data)
    return int(value) & _SHAPE_MASK not in (REJECT_SHAPE, DROP_SHAPE)


def _order(key: SetKey) -> tuple[bool, SetKey]:
    return key[1] not in VERDICT_MAPS, key
