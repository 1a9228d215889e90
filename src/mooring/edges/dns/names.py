"""Which addresses have backends that are given by name? All are asked for at once; one that is silent keeps nobody waiting."""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from mooring.routing.table import Fixed, Member

_THREADS = 16


class Names:
    """Has threads of its own: a resolver may hold one for many seconds, and others are needed for tables."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "names")
        self._asked: dict[Fixed, asyncio.Future[tuple[Member, ...]]] = {}

    async def look_up(self, wanted: Iterable[Fixed], patience: float) -> dict[Fixed, tuple[Member, ...]]:
        found, waiting = dict[Fixed, tuple[Member, ...]](), list[Fixed]()
        for where in wanted:
            try:
                found[where] = (Member(str(ipaddress.ip_address(where.host)), where.port),)
            except ValueError:
                waiting.append(where)
        if waiting:
            asked = [self._ask(where) for where in waiting]
            await asyncio.wait(asked, timeout=patience)
            for where, answer in zip(waiting, asked, strict=True):
                if answer.done():
                    self._asked.pop(where, None)
                    if not answer.cancelled() and answer.exception() is None:
                        found[where] = answer.result()
        return found

    def _ask(self, where: Fixed) -> "asyncio.Future[tuple[Member, ...]]":
        """One question of a name at a time."""
        if where not in self._asked:
            self._asked[where] = asyncio.get_running_loop().run_in_executor(self._threads, _members, where.host, where.port)
        return self._asked[where]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _members(host: str, port: int) -> tuple[Member, ...]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(Member(address, port) for address in sorted({str(each[4][0]) for each in found}))
