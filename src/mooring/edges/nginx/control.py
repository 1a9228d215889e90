"""What is said to the Lua inside NGINX? Pairs for its shared dicts, patterns to try, and how it stands."""

import asyncio
from collections.abc import Iterable, Mapping

from mooring.edges.nginx.process import answer, fields, request
from mooring.routing.nginx.front import CONTROL

Key = tuple[str, str]
"""`S` for state or `C` for certificates, and the key in that shared dict."""

_BATCH = 8 * 1024 * 1024


class Control:
    """Each question has a connection of its own. All raise OSError."""

    def __init__(self, folder: str) -> None:
        self._path = f"{folder}/{CONTROL}"

    async def state(self) -> Mapping[str, str]:
        return fields(await self._ask("/state", b""))

    async def store(self, pairs: Mapping[Key, bytes | None]) -> frozenset[Key]:
        """None deletes. Those that found no room in the shared dict."""
        batch, size, full = list[bytes](), 0, frozenset[Key]()
        for key, value in pairs.items():
            batch.append(_record(key, value))
            size += len(batch[-1])
            if size > _BATCH:
                full |= _keys(await self._ask("/store", b"".join(batch)))
                batch, size = [], 0
        return full | _keys(await self._ask("/store", b"".join(batch))) if batch else full

    async def replace(self, pairs: Mapping[Key, bytes], kept: Iterable[Key]) -> frozenset[Key]:
        """What is neither among the pairs nor `kept` is deleted. Those that found no room."""
        records = [_record(key, value) for key, value in pairs.items()]
        records += (f"{which} {len(key.encode())} -2\n{key}".encode() for which, key in kept)
        return _keys(await self._ask("/replace", b"".join(records)))

    async def patterns(self, patterns: Iterable[tuple[str, bool]]) -> Mapping[tuple[str, bool], str]:
        """Those that do not compile, with the reason."""
        asked = list(patterns)
        if not asked:
            return {}
        body = b"".join(f"{len(text.encode())} {'i' if ignore_case else '-'}\n{text}".encode() for text, ignore_case in asked)
        reasons = (await self._ask("/patterns", body)).split("\n")
        return {pattern: reason for pattern, reason in zip(asked, reasons, strict=False) if reason}

    async def _ask(self, path: str, body: bytes) -> str:
        async with asyncio.timeout(10.0):
            reader, writer = await asyncio.open_unix_connection(self._path)
            try:
                writer.write(request(path, body))
                await writer.drain()
                return answer(await reader.read())
            finally:
                writer.close()


def _record(key: Key, value: bytes | None) -> bytes:
    which, name = key
    octets = name.encode()
    length = -1 if value is None else len(value)
    return f"{which} {len(octets)} {length}\n".encode() + octets + (value or b"")


def _keys(answer: str) -> frozenset[Key]:
    """Of lines `full S|C KEY`."""
    return frozenset((line[5], line[7:]) for line in answer.splitlines() if line.startswith("full "))
