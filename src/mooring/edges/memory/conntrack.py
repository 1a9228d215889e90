"""Connection tracking that only remembers."""

from collections.abc import Iterable, Sequence

from mooring.dataplane.conntrack import Flow


class MemoryConntrack:
    """Tests put flows into `flows`."""

    def __init__(self) -> None:
        self.flows: set[Flow] = set()

    async def udp_flows(self) -> Sequence[Flow]:
        return sorted(self.flows, key=lambda flow: (flow.source, flow.destination))

    async def delete(self, flows: Iterable[Flow]) -> int:
        found = self.flows & set(flows)
        self.flows -= found
        return len(found)
