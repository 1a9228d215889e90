"""Does the real kernel do what the simulator says, with clusters and views at random and thousands of packets?

`MOORING_KERNEL_PACKETS` says how many are sent at least, `MOORING_SEED` which: a failure names the seed of its view.
"""

import asyncio
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from random import Random

import msgspec
import pytest
from random_objects import cluster_view_of
from random_views import BALANCERS, ENDPOINTS, NODE, NODE_PORT_NUMBERS, PORTS, WRONG_PORT, node_view_of, packets_of, sources

from mooring.dataplane.trace import Outcome as End
from mooring.dataplane.trace import Packet, Trace, trace
from mooring.services.view import Entry, Family, NodeView, Protocol, ServicePortName
from mooring.testing.netlab import Lab, Outcome, Probe
from mooring.testing.node_views import Door, node_view, port_with

pytestmark = pytest.mark.root

AT_LEAST = int(os.environ.get("MOORING_KERNEL_PACKETS", "5000"))
SEED = int(os.environ.get("MOORING_SEED", "1"))
PACKETS_A_VIEW = 50
QUIET = 0.1
"""Seconds of silence after which packets that are to be dropped count as dropped."""
LONG = 5.0
"""Seconds for a packet that must be answered."""
STICKY_TURNS = 3
LOOPBACK = "127.0.0.1"


def world() -> NodeView:
    """All addresses that random views speak of."""
    ports = []
    for family in Family:
        doors = [Door(Entry.EXTERNAL_IP, BALANCERS[family].format(number)) for number in range(1, 5)]
        for protocol in (Protocol.TCP, Protocol.UDP):
            ports.append(port_with("world", doors, ENDPOINTS[family], protocol))
    return msgspec.structs.replace(node_view({"world": ports}), node_addresses=NODE)


def strangers() -> Iterator[tuple[str, int, Protocol]]:
    """Who answers where a packet goes that no Service concerns: the node itself, and the balancers."""
    for family in Family:
        own = [each for each in (*NODE, LOOPBACK) if (":" in each) is (family is Family.IPV6)]
        balancers = [BALANCERS[family].format(number) for number in range(1, 5)]
        for protocol in (Protocol.TCP, Protocol.UDP):
            for port in (*PORTS, WRONG_PORT):
                yield from ((address, port, protocol) for address in own + balancers)
            yield from ((address, port, protocol) for address in own for port in NODE_PORT_NUMBERS)


def wished(packet: Packet, traced: Trace) -> frozenset[Outcome]:
    """All that a client may meet."""
    if traced.outcome is End.PASS:
        return frozenset({Outcome("forward", text(packet.destination, packet.port), packet.source)})
    if traced.outcome is not End.FORWARD:
        return frozenset({Outcome(traced.outcome.value)})  # type: ignore[arg-type]
    node = next(each for each in NODE if (":" in each) is (":" in packet.destination))
    return frozenset(
        Outcome("forward", text(each.endpoint.address, each.endpoint.port), node if each.masqueraded else packet.source)
        for each in traced.choices
    )


def text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Run:
    """One lab, view after view."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.sent = 0
        self.met: Counter[str] = Counter()
        self.late = 0
        self.wrong: list[str] = []

    async def view(self, seed: int) -> None:
        rng = Random(seed)
        view = (node_view_of if seed % 2 else cluster_view_of)(rng)
        installed = await self.lab.load(view)
        assert {} == installed.refused
        packets = list(dict.fromkeys(packets_of(rng, view, PACKETS_A_VIEW)))
        traces = {packet: trace(view, packet) for packet in packets}
        for packet in packets:
            self.met[_kind(traces[packet])] += 1
        sticky = [packet for packet in packets if traces[packet].affinity]
        await self._faithful(seed, sticky, traces, rng)
        await self._spread(seed, [packet for packet in packets if not traces[packet].affinity], traces)

    async def _spread(self, seed: int, packets: Sequence[Packet], traces: dict[Packet, Trace]) -> None:
        """Every packet meets all ends it may meet, and no other; asked until all are seen, or no chance explains it."""
        wishes = {packet: wished(packet, traces[packet]) for packet in packets}
        seen: dict[Packet, set[Outcome]] = {packet: set() for packet in packets}
        for turn in range(12):
            left = [packet for packet in packets if not seen[packet] >= wishes[packet] or turn == 0]
            tries = [packet for packet in left for _ in range(max(2, 3 * len(wishes[packet])))]
            for packet, outcome in zip(tries, await self._send(tries, wishes), strict=True):
                seen[packet].add(outcome)
        self.wrong += [
            f"view {seed}: {packet} met {sorted(seen[packet], key=repr)}, not {sorted(wishes[packet], key=repr)}"
            for packet in packets
            if seen[packet] != wishes[packet]
        ]

    async def _send(self, packets: Sequence[Packet], wishes: dict[Packet, frozenset[Outcome]]) -> list[Outcome]:
        """All at once. Silence where an answer was due is asked about once more, with patience."""
        self.sent += len(packets)
        outcomes = await self.lab.probe_many([_probe(packet) for packet in packets])
        silent = Outcome("drop")
        late = [at for at, packet in enumerate(packets) if outcomes[at] == silent and silent not in wishes[packet]]
        self.late += len(late)
        for at, outcome in zip(late, await asyncio.gather(*(self._ask(packets[at]) for at in late)), strict=True):
            outcomes[at] = outcome
        return outcomes

    async def _ask(self, packet: Packet) -> Outcome:
        self.sent += 1
        asked = _probe(packet)
        return await self.lab.connect(asked.source, asked.destination, asked.port, asked.protocol, patience=LONG)

    async def _faithful(self, seed: int, packets: Sequence[Packet], traces: dict[Packet, Trace], rng: Random) -> None:
        """With affinity a client keeps its endpoint at all frontends of the service port, where it may go there."""
        chains: dict[tuple[str, ServicePortName | None], list[Packet]] = defaultdict(list)
        for packet in packets:
            chains[(packet.source, traces[packet].service)] += [packet] * STICKY_TURNS
        for chain in chains.values():
            rng.shuffle(chain)

        async def follow(chain: Sequence[Packet]) -> None:
            had = ""
            for packet in chain:
                met, wish = await self._ask(packet), wished(packet, traces[packet])
                kept = {each for each in wish if each.endpoint == had}
                if met not in (kept or wish):
                    self.wrong.append(f"view {seed}: {packet} met {met}, having had {had or 'none'}, not one of {wish}")
                had = met.endpoint

        await asyncio.gather(*(follow(chain) for chain in chains.values()))


def _probe(packet: Packet) -> Probe:
    return Probe(packet.source, packet.destination, packet.port, packet.protocol)


def _kind(traced: Trace) -> str:
    return "sticky" if traced.affinity else traced.outcome.value


@pytest.mark.timeout(60 + AT_LEAST // 40)
async def test_the_kernel_does_with_thousands_of_packets_what_the_simulator_says() -> None:
    clients = [address for family in Family for address in sources(family)]
    async with Lab(world(), [*clients, *NODE, LOOPBACK], patience=QUIET) as lab:
        await lab.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet")
        for each in strangers():
            await lab.listen(*each)
        run = Run(lab)
        seed = SEED
        while run.sent < AT_LEAST:
            await run.view(seed)
            seed += 1
            assert run.wrong == []
    assert run.sent >= AT_LEAST
    assert run.late <= run.sent // 20, "now and then a busy machine loses time, not every twentieth packet"
    assert min(run.met[each] for each in ("sticky", "forward", "reject", "drop", "pass")) >= (seed - SEED) // 2, run.met
