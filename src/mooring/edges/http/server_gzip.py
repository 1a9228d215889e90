"""How is a long answer compressed, when most of it was compressed for somebody else?

Level 1, as upstream; in a thread, where zlib lets others run. Runs of a long list are compressed each for itself, kept, and
sent again as long as they are the same: when every node of a cluster lists the same Services, all of them together cost little
more than one. A stream of deflate may be put together of parts that were made apart when each ends at a whole byte (RFC 1951
3.2.4: an empty stored block, which a flush leaves) and none looks back beyond its beginning. So may the checksum. Members of
gzip (RFC 1952) could be put together as they are, but many clients read only the first.
"""

import asyncio
import struct
import zlib
from collections.abc import Sequence

from msgspec import Struct

from mooring.apiserver.pieces import Pieces, Run

MOST_KEPT = 32 * 1024 * 1024
"""Bytes of compressed runs that are kept, about: those of some 400,000 Services."""
_AT_ONCE = 16
"""Runs compressed in one go, some 2 MB; then somebody else may have his."""
_MARK = 16
"""Bytes that an object takes in the state of its run."""
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"
_END = b"\x03\0"
"""The last block, with nothing in it."""


class _Part(Struct, frozen=True):
    """`shift`: by what the checksum of all before is multiplied when this part follows."""

    packed: bytes
    checksum: int
    size: int
    shift: int


class _Kept(Struct, frozen=True):
    state: tuple[tuple[str, ...], tuple[int, ...]]
    part: _Part

    @property
    def cost(self) -> int:
        return len(self.part.packed) + _MARK * len(self.state[0])


class Gzip:
    """One server's answers; the runs that it sees are all of one store."""

    def __init__(self, most_kept: int = MOST_KEPT) -> None:
        self._most = most_kept
        self._kept: dict[tuple[str, str], _Kept] = {}
        """By place, those used last at the end."""
        self._size = 0
        self._making = asyncio.Lock()
        """What many ask for at the same time is compressed once."""

    async def pack(self, body: bytes | Pieces) -> bytes:
        if isinstance(body, bytes):
            return await asyncio.to_thread(_whole, body)
        parts = [_part(body.head)]
        for start in range(0, len(body.runs), _AT_ONCE):
            parts += await self._parts(body.runs[start : start + _AT_ONCE])
        parts.append(_part(body.tail))
        return _joined(parts)

    async def _parts(self, runs: Sequence[Run]) -> list[_Part]:
        found = self._found(runs)
        if None in found:
            async with self._making:
                found = self._found(runs)
                made = iter(await self._made([run for run, part in zip(runs, found, strict=True) if part is None]))
                return [part or next(made) for part in found]
        return [part for part in found if part]

    def _found(self, runs: Sequence[Run]) -> list[_Part | None]:
        found: list[_Part | None] = []
        for run in runs:
            kept = self._kept.pop(place := run.place, None)
            if kept:
                self._kept[place] = kept
            found.append(kept.part if kept and kept.state == run.state else None)
        return found

    async def _made(self, runs: Sequence[Run]) -> list[_Part]:
        parts = await asyncio.to_thread(lambda: [_part(bytes(run)) for run in runs])
        for run, part in zip(runs, parts, strict=True):
            if old := self._kept.pop(run.place, None):
                self._size -= old.cost
            kept = self._kept[run.place] = _Kept(run.state, part)
            self._size += kept.cost
        while self._size > self._most:
            self._size -= self._kept.pop(next(iter(self._kept))).cost
        return parts


def _whole(body: bytes) -> bytes:
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(body) + packer.flush()


def _part(data: bytes) -> _Part:
    packer = zlib.compressobj(level=1, wbits=-15)
    packed = packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
    return _Part(packed, zlib.crc32(data), len(data), _shift(len(data)))


def _joined(parts: Sequence[_Part]) -> bytes:
    checksum = size = 0
    for part in parts:
        checksum = _product(part.shift, checksum) ^ part.checksum
        size += part.size
    return b"".join([_HEADER, *[part.packed for part in parts], _END, struct.pack("<LL", checksum, size & 0xFFFFFFFF)])


# A CRC is the remainder of a polynomial over GF(2). What comes before a part of n bytes counts x^8n times in the whole.
# Bit 31 is the coefficient of x^0, as in the checksum itself (RFC 1952 8).

_ONE, _X = 1 << 31, 1 << 30
_CRC_POLYNOMIAL = 0xEDB88320


def _product(one: int, other: int) -> int:
    """Of two remainders."""
    found, bit = 0, _ONE
    while bit:
        if one & bit:
            found ^= other
        bit >>= 1
        other = other >> 1 ^ (_CRC_POLYNOMIAL if other & 1 else 0)
    return found


def _shift(size: int) -> int:
    """x to the power of 8 for each byte."""
    found, square, exponent = _ONE, _X, 8 * size
    while exponent:
        if exponent & 1:
            found = _product(found, square)
        square = _product(square, square)
        exponent >>= 1
    return found
