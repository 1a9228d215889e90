"""How does a ruleset get into the kernel? As one nf_tables batch, committed and acknowledged before the call returns."""

import asyncio
import errno
import sys
from collections import Counter
from collections.abc import Callable, Mapping
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
from mooring.dataplane.skeleton import fingerprint, fixed_elements, picker, skeleton
from mooring.edges.nft import decode, encode
from mooring.edges.nft.encode import Batch
from mooring.edges.nft.netlink import NESTED, NetlinkError, NetlinkSocket, attribute, text
from mooring.ports.firewall import FirewallError

_SMALL = 2_000
"""Elements up to which a transaction (some milliseconds) is not worth the way to another thread."""

_READ_ATTEMPTS = 10

_FIXED = fixed_elements()
_COMMENT = f"mooring {fingerprint()}"
_Answer = TypeVar("_Answer")


class NftFirewall:
    """The tables `ip mooring` and `ip6 mooring` of a network namespace ('' for this process's own). Needs CAP_NET_ADMIN."""

    def __init__(self, namespace: str = "") -> None:
        self.namespace = namespace
        self._socket = NetlinkSocket(namespace)
        self._turn = asyncio.Lock()
        self._generation = -1
        self.kernel_seconds = 0.0
        """How long the kernel took for the last transaction."""

    def close(self) -> None:
        self._socket.close()

    async def apply(self, transaction: Transaction) -> None:
        if not transaction:
            return
        async with self._turn:
            if len(transaction) <= _SMALL:
                self._apply(transaction)
            else:
                await asyncio.to_thread(self._apply, transaction)

    async def replace(self, ruleset: Ruleset) -> None:
        async with self._turn:
            await asyncio.to_thread(self._replace, ruleset)

    async def read(self) -> Ruleset:
        async with self._turn:
            return await asyncio.to_thread(self._translated, self._read_at_rest)

    async def holds(self, sample: Elements) -> bool:
        async with self._turn:
            return self._translated(lambda: self._holds(sample))

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
            if name in VERDICT_MAPS:
                self._pickers(batch, family, name, dict(change.add))
            if change.remove:
                removed = ((key, b"") for key in change.remove)
                encode.elements(batch, encode.DELETE_ELEMENT, family, name, removed, with_data=False)
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
                self._pickers(batch, family, verdict_map, ruleset.elements.get((family, verdict_map), {}))
            for chain in chains:
                encode.new_rules(batch, family, chain)
            for spec in SETS:
                items = ruleset.elements.get((family, spec.name), {})
                encode.elements(batch, encode.NEW_ELEMENT, family, spec.name, items.items())
        self._commit(batch)

    def _pickers(self, batch: Batch, family: str, verdict_map: str, shapes: Mapping[bytes, bytes]) -> None:
        """The chains that new elements of a verdict map go to."""
        fixed = _FIXED[(family, verdict_map)]
        for key in shapes:
            if key not in fixed:
                chain = picker(family, verdict_map, int.from_bytes(key, sys.byteorder))
                encode.new_chain(batch, family, chain)
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
        self._generation = self._translated(self._current_generation)

    def _translated(self, ask: Callable[[], _Answer]) -> _Answer:
        try:
            return ask()
        except (NetlinkError, OSError) as error:
            raise FirewallError(f"reading the tables: {error}") from error

    def _current_generation(self) -> int:
        return decode.generation(self._socket.ask(encode.GET_GENERATION, encode.generic("ip")))

    def _read_at_rest(self) -> Ruleset:
        """Reads again when somebody committed meanwhile: a dump must be of one moment."""
        for _ in range(_READ_ATTEMPTS - 1):
            try:
                return self._read()
            except NetlinkError as error:
                if error.code != errno.EINTR:
                    raise
        return self._read()

    def _read(self) -> Ruleset:
        if not all(self._has_table(family) for family in FAMILIES.values()):
            return Ruleset({})
        self._generation = self._current_generation()
        found: dict[SetKey, Mapping[bytes, bytes]] = {}
        if not self._is_whole():
            return Ruleset(found)
        for family in FAMILIES.values():
            for spec in SETS:
                items = self._set(family, spec)
                if items:
                    found[(family, spec.name)] = items
        return Ruleset(found, fingerprint())

    def _has_table(self, family: str) -> bool:
        try:
            answer = self._socket.ask(encode.GET_TABLE, encode.generic(family) + text(1, TABLE))
        except NetlinkError as error:
            if error.code == errno.ENOENT:
                return False
            raise
        return decode.table_comment(answer) == _COMMENT

    def _is_whole(self) -> bool:
        """Every chain has as many rules as it shall have."""
        for family in FAMILIES.values():
            rules: Counter[str] = Counter()
            where = encode.generic(family) + text(1, TABLE)
            self._socket.dump(encode.GET_RULE, where, partial(_count, rules))
            if any(rules[chain.name] != len(chain.rules) for chain in skeleton(family)):
                return False
        return True

    def _set(self, family: str, spec: SetSpec) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        ends: list[bytes] = []

        def note(payload: bytes) -> None:
            if spec.interval:
                for key, end in decode.elements_of(payload, spec):
                    ends.append(key) if end else found.setdefault(key, b"")
            else:
                found.update(decode.elements_of(payload, spec))

        where = encode.generic(family) + text(1, TABLE) + text(2, spec.name)
        self._socket.dump(encode.GET_ELEMENT, where, note)
        return decode.ranges(found, ends, family) if spec.interval else found

    def _holds(self, sample: Elements) -> bool:
        current = self._current_generation()
        if current == self._generation:
            return True
        if not all(self._has_table(family) for family in FAMILIES.values()) or not self._is_whole():
            return False
        if not all(self._has(key, items) for key, items in sample.items()):
            return False
        self._generation = current
        return True

    def _has(self, set_key: SetKey, items: Mapping[bytes, bytes]) -> bool:
        family, name = set_key
        spec = SET_SPECS[name]
        if spec.interval:
            return items.keys() <= self._set(family, spec).keys()
        return all(self._element(family, spec, key) == data for key, data in items.items())

    def _element(self, family: str, spec: SetSpec, key: bytes) -> bytes | None:
        """The data of one element, None when it is not there."""
        where = encode.generic(family) + text(1, TABLE) + text(2, spec.name)
        wanted = attribute(3 | NESTED, b"".join(encode.encoded(family, spec, [(key, b"")], with_data=False)))
        try:
            answer = self._socket.ask(encode.GET_ELEMENT, where + wanted)
        except NetlinkError as error:
            if error.code == errno.ENOENT:
                return None
            raise
        return next((data for found, data in decode.elements_of(answer, spec) if found == key), None)


def _count(rules: Counter[str], payload: bytes) -> None:
    rules[decode.rule_chain(payload)] += 1
