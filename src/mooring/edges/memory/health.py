"""Answers that nobody can ask for by network: what is served where, as a dictionary."""

import errno
import os
from collections.abc import Callable, Iterable

from mooring.ports.health import Answer

_Place = tuple[str, int]


class MemoryAnswerServer:
    """Tests read `served`, and put ports that somebody else holds into `taken`."""

    def __init__(self) -> None:
        self.served: dict[_Place, Callable[[], Answer]] = {}
        self.taken: set[int] = set()

    async def listen(self, addresses: Iterable[str], port: int, answer: Callable[[], Answer]) -> "MemoryListening":
        places = [(address, port) for address in addresses]
        if port in self.taken or any(place in self.served for place in places):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self.served.update(dict.fromkeys(places, answer))
        return MemoryListening(self.served, places)


class MemoryListening:
    def __init__(self, served: dict[_Place, Callable[[], Answer]], places: list[_Place]) -> None:
        self._served, self._places = served, places

    async def close(self) -> None:
        for place in self._places:
            self._served.pop(place, None)
        self._places = []
