"""Where are backends that are given by name? What the gateway's loop needs to know it."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from mooring.routing.table import Fixed, Member


class Resolver(Protocol):
    async def look_up(self, wanted: Iterable[Fixed], patience: float) -> Mapping[Fixed, tuple[Member, ...]]:
        """What is known after `patience` seconds at most, an address being known as it is; names without an answer are left
        out and may be asked for again."""
