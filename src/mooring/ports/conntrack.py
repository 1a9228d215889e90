"""What the dataplane loop needs of connection tracking: the UDP flows, and a way to forget some."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from mooring.dataplane.conntrack import Flow


class ConntrackError(Exception):
    """The kernel refused to list or to delete."""


class Conntrack(Protocol):
    async def udp_flows(self) -> Sequence[Flow]:
        """Every UDP flow of both families. Raises ConntrackError."""

    async def delete(self, flows: Iterable[Flow]) -> int:
        """Forgets flows; how many were there. A flow already gone is no error. Raises ConntrackError."""
