"""Which address does a new pod get? The pods' own files say what is taken; a cursor keeps just-freed ones away."""

from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network
from pathlib import Path

from mooring.pods.addresses import next_address


class Addresses:
    """One cursor file per range, so that a restarted agent goes on where it stopped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def allocate(self, ranges: tuple[str, ...], taken: Iterable[str]) -> tuple[str, ...]:
        """One address of each range. Raises LookupError when a range is full."""
        used = set(taken)
        return tuple(self._next(text, used) for text in ranges)

    def _next(self, text: str, used: set[str]) -> str:
        network = ip_network(text)
        cursor = self.directory / ("cursor4" if isinstance(network, IPv4Network) else "cursor6")
        address = next_address(text, used, cursor.read_text() if cursor.exists() else "")
        self.directory.mkdir(parents=True, exist_ok=True)
        cursor.write_text(address)
        return address
