"""Names without a network: what each stands for, as a dictionary."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from mooring.routing.table import Fixed, Member


class MemoryResolver:
    """Tests change `hosts`: addresses by name."""

    def __init__(self, hosts: Mapping[str, Sequence[str]]) -> None:
        self.hosts = dict(hosts)

    async def look_up(self, wanted: Iterable[Fixed], patience: float) -> dict[Fixed, tuple[Member, ...]]:
        found = {where: self._addresses(where.host) for where in wanted}
        return {
            where: tuple(Member(address, where.port) for address in sorted(addresses))
            for where, addresses in found.items()
            if addresses
        }

    def _addresses(self, host: str) -> Sequence[str]:
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            return self.hosts.get(host, ())
