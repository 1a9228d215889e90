"""How is a long list handed out, so that its bytes are never all in one place, and the same runs of objects come again?

Fresh memory for a whole list costs more than what is written into it, and compressing it costs most of all. So a long list is
cut into runs, each made when it is sent. Where it is cut depends on the objects alone: when one of them changes, or one comes
or goes, all other runs are what they were in the last answer, and what was compressed of them then can be sent again.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from mooring.model import codec
from mooring.store.records import Record

_LEAST, _MOST = 64 * 1024, 256 * 1024
"""Bytes of a run: cut after the first object of a certain kind beyond the one, after any beyond the other."""
_EDGE = 64
"""One object in so many is one after which may be cut: it stays one for its life."""


class Run(Struct, frozen=True):
    """Neighbours in a list, with a comma before each. Their stored forms have `stored` bytes."""

    records: tuple[Record, ...]
    stored: int

    def __bytes__(self) -> bytes:
        return codec.stamped([record.value for record in self.records], [record.mod_revision for record in self.records])

    @property
    def size(self) -> int:
        return codec.stamped_size(self.stored, [record.mod_revision for record in self.records])

    @property
    def place(self) -> tuple[str, str]:
        """Where it lies: its first key, its last key."""
        return self.records[0].key, self.records[-1].key

    @property
    def state(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Equal for two runs of one store whose bytes are equal: its keys, and when each was last written."""
        records = self.records
        return tuple([record.key for record in records]), tuple([record.mod_revision for record in records])


class Pieces(Struct, frozen=True):
    """The body of a long list: what is before the runs, the first object among it; the runs; the closing brackets."""

    head: bytes
    runs: tuple[Run, ...]
    tail: bytes = b"]}"

    @property
    def size(self) -> int:
        return len(self.head) + sum([run.size for run in self.runs]) + len(self.tail)

    def __iter__(self) -> Iterator[bytes]:
        """The pieces, each made when it is asked for."""
        yield self.head
        yield from map(bytes, self.runs)
        yield self.tail

    def __bytes__(self) -> bytes:
        return b"".join(self)


def listed(head: bytes, records: Iterable[Record]) -> bytes | Pieces:
    """A list of stored forms with their resourceVersions: `head` is the list's own JSON, its items left out."""
    rest = iter(records)
    begun = head[:-1] + b',"items":['
    first = next(rest, None)
    if first is None:
        return begun + b"]}"
    begun += codec.stamp(first.value, first.mod_revision)
    runs, left = [], []
    size = 0
    for record in rest:
        left.append(record)
        size += len(record.value)
        if size >= _LEAST and (size >= _MOST or not record.create_revision % _EDGE):
            runs.append(Run(tuple(left), size))
            left, size = [], 0
    if left:
        runs.append(Run(tuple(left), size))
    pieces = Pieces(begun, tuple(runs))
    return pieces if len(runs) > 1 else bytes(pieces)
