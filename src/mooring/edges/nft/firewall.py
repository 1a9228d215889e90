"""How does a ruleset get into the kernel? As one nf_tables batch, committed and acknowledged before the call returns."""

import asyncio
import errno
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from time import monotonic
from typing import TypeVar

from mooring.dataplane.diff import Transaction
from mooring.dataplane.ruleset import (
    FAMILIES,
    SET_SPECS,
    SETS,
    TABLE,
    VERDICT_MAPS,
    Elements,
    Ruleset,
    SetKey,
    SetSpec,
)
from mooring.dataplane.shapes import shape_named
from mooring.dataplane.skeleton import fingerprint, fixed_elements, picker, skeleton
from mooring.dataplane.verify import Drift, rule_drift
from mooring.edges.nft import decode, encode, inventory
from mooring.edges.nft.encode import Batch
from mooring.edges.nft.netlink import NESTED, NetlinkError, NetlinkSocket, attribute, in_thread, text
from mooring.ports.firewall import FirewallError

_SMALL = 2_000
"""Elements up to which a transaction (some milliseconds) is not worth the way to another thread."""

_READ_ATTEMPTS = 10
_GENERATIONS = 1 << 32

_FIXED = fixed_elements()
_COMMENT = f"mooring {fingerprint()}"
_Answer = TypeVar("_Answer")


class NftFirewall:
    """The tables `ip mooring` and `ip6 mooring` of a network namespace ('' for this process's own). Needs CAP_NET_ADMIN."""

    def __init__(self, namespace: str = "") -> None:
        self.namespace = namespace
        self._socket = NetlinkSocket(namespace)
        self._turn = asyncio.Lock()
        self._reader = NetlinkSocket(namespace)
        self._reading = asyncio.Lock()
        """Reading may take long and must not keep transactions waiting: it has a socket and a turn of its own."""
        self._own_commits = 0
        self._first_generation = self._translated(self._generation)
        self.kernel_seconds = 0.0
        """How long the kernel took for the last transaction."""

    def close(self) -> None:
        self._socket.close()
        self._reader.close()

    async def apply(self, transaction: Transaction) -> None:
        if not transaction:
            return
        async with self._turn:
            if len(transaction) <= _SMALL:
                self._apply(transaction)
            else:
                await in_thread(partial(self._apply, transaction))

    async def replace(self, ruleset: Ruleset) -> None:
        async with self._turn:
            await in_thread(partial(self._replace, ruleset))

    async def foreign_commits(self) -> int:
        async with self._turn:
            return (self._translated(self._generation) - self._first_generation - self._own_commits) % _GENERATIONS

    async def read(self, leaving_out: Collection[str] = ()) -> Ruleset:
        async with self._reading:
            return await in_thread(partial(self._translated, partial(self._read, frozenset(leaving_out))))

    async def salvage(self) -> Elements:
        """What is in each set of ours that is as it should be, whatever else is wrong with the tables. Raises FirewallError."""
        async with self._reading:
            return await in_thread(partial(self._translated, self._salvage))

    async def look_up(self, keys: Mapping[SetKey, Iterable[bytes]]) -> Elements:
        async with self._reading:
            return await in_thread(partial(self._translated, partial(self._look_up, keys)))

    async def rule_drift(self) -> tuple[Drift, ...]:
        async with self._reading:
            return await in_thread(partial(self._translated, self._rule_drift))

    async def remove(self) -> None:
        async with self._turn:
            batch = Batch(self._socket.next_sequence)
            for family in FAMILIES.values():
                encode.remove_table(batch, family)
            self._commit(batch)

    def _apply(self, transaction: Transaction) -> None:
        batch = Batch(self._socket.next_sequence)
        for change in transaction.changes:
            family, name = change.set
            if change.remove:
                encode.elements(batch, encode.DELETE_ELEMENT, family, name, change.remove, with_data=False)
            if name in VERDICT_MAPS:
                for chain in _remembering(name, change.remove):
                    encode.remove_chain(batch, family, chain)
                self._pickers(batch, family, name, change.add, over=True)
            if change.add:
                encode.elements(batch, encode.NEW_ELEMENT, family, name, change.add)
        self._commit(batch)

    def _replace(self, ruleset: Ruleset) -> None:
        batch = Batch(self._socket.next_sequence)
        for family in FAMILIES.values():
            encode.table(batch, family, _COMMENT)
            for index, spec in enumerate(SETS, start=1):
                encode.new_set(batch, family, spec, index)
            chains = skeleton(family)
            for chain in chains:
                encode.new_chain(batch, family, chain)
            for verdict_map in VERDICT_MAPS:
                self._pickers(batch, family, verdict_map, ruleset.elements.get((family, verdict_map), {}).items())
            for chain in chains:
                encode.new_rules(batch, family, chain)
            for spec in SETS:
                items = ruleset.elements.get((family, spec.name), {})
                encode.elements(batch, encode.NEW_ELEMENT, family, spec.name, items.items())
        self._commit(batch)

    def _pickers(
        self, batch: Batch, family: str, verdict_map: str, shapes: Iterable[tuple[bytes, bytes]], over: bool = False
    ) -> None:
        """The chains that new elements of a verdict map go to; `over` what may be there already."""
        fixed = _FIXED[(family, verdict_map)].values()
        for name in sorted({chain.decode() for _, chain in shapes if chain not in fixed}):
            chain = picker(family, verdict_map, name)
            encode.new_chain(batch, family, chain)
            if over:
                encode.empty_chain(batch, family, name)
            encode.new_rules(batch, family, chain)

    def _commit(self, batch: Batch) -> None:
        """Sends the batch. All of it is in force when this returns, or none when it raises FirewallError."""
        data = batch.finish()
        begun = monotonic()
        try:
            self._socket.send(data)
            self._socket.collect(batch.last)
        except NetlinkError as error:
            raise FirewallError(f"{batch.about(error.sequence)}: {error}") from error
        except OSError as error:
            raise FirewallError(f"sending a transaction of {len(data)} bytes: {error.strerror}") from error
        self.kernel_seconds = monotonic() - begun
        self._own_commits += 1

    def _translated(self, ask: Callable[[], _Answer]) -> _Answer:
        try:
            return ask()
        except (NetlinkError, OSError) as error:
            raise FirewallError(f"reading the tables: {error}") from error

    def _generation(self) -> int:
        return decode.generation(self._socket.ask(encode.GET_GENERATION, encode.generic("ip")))

    def _rule_drift(self) -> tuple[Drift, ...]:
        found = inventory.own(self._reader)
        return rule_drift(found, inventory.expected(tuple(found.values())))

    def _read(self, leaving_out: Collection[str]) -> Ruleset:
        found: dict[SetKey, Mapping[bytes, bytes]] = {}
        if self._rule_drift():
            return Ruleset(found)
        for family in FAMILIES.values():
            for spec in SETS:
                items = {} if spec.size or spec.name in leaving_out else self._set(family, spec)
                if items:
                    found[(family, spec.name)] = items
        return Ruleset(found, fingerprint())

    def _salvage(self) -> Elements:
        found = inventory.own(self._reader)
        expected = inventory.expected(tuple(found.values()))
        return {
            (family, spec.name): self._set(family, spec)
            for family, table in found.items()
            for spec in SETS
            if not spec.size
            and table.comment == expected[family].comment
            and table.sets.get(spec.name) == expected[family].sets[spec.name]
        }

    def _look_up(self, keys: Mapping[SetKey, Iterable[bytes]]) -> Elements:
        found: dict[SetKey, Mapping[bytes, bytes]] = {}
        for set_key, wanted in keys.items():
            family, spec = set_key[0], SET_SPECS[set_key[1]]
            if spec.interval:
                held = self._set(family, spec)
                found[set_key] = {key: held[key] for key in wanted if key in held}
            else:
                asked = ((key, self._element(family, spec, key)) for key in wanted)
                found[set_key] = {key: data for key, data in asked if data is not None}
        return found

    def _set(self, family: str, spec: SetSpec) -> dict[bytes, bytes]:
        """All elements, of one moment if others let us: they may commit more often than a large set can be read."""
        where = encode.generic(family) + text(1, TABLE) + text(2, spec.name)
        found: dict[bytes, bytes] = {}
        ends: list[bytes] = []
        apart = spec.interval and len(spec.key) == 1

        def note(payload: bytes) -> None:
            for key, data in decode.elements_of(payload, spec):
                if apart and data:
                    ends.append(key)
                else:
                    found[key] = data

        for _ in range(_READ_ATTEMPTS):
            found.clear()
            ends.clear()
            try:
                self._reader.dump(encode.GET_ELEMENT, where, note)
                break
            except NetlinkError as error:
                if error.code != errno.EINTR:
                    raise
        return decode.ranges(found, ends) if apart else found

    def _element(self, family: str, spec: SetSpec, key: bytes) -> bytes | None:
        """The data of one element, None when it is not there."""
        where = encode.generic(family) + text(1, TABLE) + text(2, spec.name)
        wanted = attribute(3 | NESTED, encode.encoded(family, spec, [(key, b"")], with_data=False))
        try:
            answer = self._reader.ask(encode.GET_ELEMENT, where + wanted)
        except NetlinkError as error:
            if error.code == errno.ENOENT:
                return None
            raise
        return next((data for found, data in decode.elements_of(answer, spec) if found == key), None)


def _remembering(verdict_map: str, removed: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """The chains of shapes with affinity whose numbers are needed for others: there could be any number of them."""
    for _, chain in removed:
        shape = shape_named(verdict_map, chain.decode(errors="replace"))
        if shape and shape.timeout:
            yield chain.decode()
