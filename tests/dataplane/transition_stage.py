"""A Service that changes under its clients: the real API's core, the real agent, and the real kernel of one lab's node.

A `Stage` holds connections and UDP flows from a pod, an endpoint, the node and the outside through every door of the Service
`web`; afterwards it says which of them broke, and where new ones meet anything but what the simulator foresees.
"""

import asyncio
import errno
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

from agent_world import NODE_ADDRESS, NODE_NAME, World, service_cidr, until
from msgspec import Struct

from mooring.apiserver.contract import Settings
from mooring.control.dataplane import Dataplane
from mooring.dataplane.diff import Transaction
from mooring.dataplane.ruleset import OUTSIDE_FRONTENDS, RESTRICTED, Ruleset
from mooring.dataplane.trace import Outcome as End
from mooring.dataplane.trace import Packet, Trace, trace
from mooring.edges.memory.api import MemoryApi
from mooring.edges.nft.firewall import NftFirewall
from mooring.model.discovery import endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NAMESPACE, NODE, SERVICE, SERVICE_CIDR, Kind
from mooring.model.node import node
from mooring.model.service import service
from mooring.services.build import build_view
from mooring.services.view import Endpoint, Entry, NodeView, Protocol, ServicePortName
from mooring.testing.netlab import Lab, Outcome, Probe, Source
from mooring.testing.node_views import Door as Doorway
from mooring.testing.node_views import here, node_view, port_with, there

Document = dict[str, Any]

NODES = (NODE_ADDRESS, "fd00:30::11")
CIDRS = ("10.96.0.0/16", "fd00:96::/112")
POD_CIDRS = ["10.244.1.0/24", "fd00:244:1::/64"]
NEAR, NEAR_TOO, FAR, FAR_TOO = "10.244.1.2", "10.244.1.3", "10.244.2.2", "10.244.2.3"
NEAR6, FAR6 = "fd00:244:1::2", "fd00:244:2::2"
BALANCERS = ("203.0.113.1", "fd00:203::1")
MOVED = "203.0.113.2"
EXTERNAL = ("203.0.113.9", "fd00:203::9")
NODE_PORTS = (30080, 30081, 30090)
TCP_NODE_PORT, UDP_NODE_PORT, OTHER_NODE_PORT = NODE_PORTS
PORTS = (80, 81)
SERVED = 8080
SERVED_TOO = 9090

SOURCES: dict[int, dict[Source, str]] = {
    4: {"pod": "10.244.1.250", NEAR: NEAR, "node": NODES[0], "outside": "172.30.0.250"},
    6: {"pod": "fd00:244:1::fa", "node": NODES[1], "outside": "fd00:30::fa"},
}
"""Where connections come from, as the lab and as the simulator call it. One of the endpoints is among them."""

QUIET = 0.1
"""Seconds of silence after which what is to be dropped counts as dropped."""
LONG = 60.0
"""Seconds for what must be answered."""
ROUNDS = 16
"""Turns after which chance alone has missed no endpoint."""
_OWN_PORTS = count()
"""The lab's own probes start at 20,000."""
_REFUSALS = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EACCES)


class Door(Struct, frozen=True, order=True):
    """Where a Service is entered. `protocol` is TCP or UDP."""

    address: str
    port: int
    protocol: str


class Held(Struct, frozen=True):
    """A connection or flow that stays open, and the endpoint that it got."""

    source: Source
    door: Door
    client: socket.socket
    endpoint: str

    @property
    def words(self) -> str:
        return f"{self.source} to {self.door.protocol} {self.door.address}:{self.door.port} served by {self.endpoint}"


Bonds = dict[tuple[Source, ServicePortName | None], str]
"""Which endpoint each remembered client has, of each service port."""


class CountingFirewall(NftFirewall):
    """Counts what the agent asks of it. A second step, which only opens what the one before it guards, belongs to that."""

    transactions = replacements = 0
    _guarded: frozenset[tuple[str, bytes]] = frozenset()

    async def apply(self, transaction: Transaction) -> None:
        concerned = {(each.set[0], key) for each in transaction.changes for key, _ in (*each.remove, *each.add)}
        self.transactions += not concerned <= self._guarded
        guards = (each for each in transaction.changes if each.set[1] in (RESTRICTED, OUTSIDE_FRONTENDS))
        self._guarded = frozenset((each.set[0], key) for each in guards for key, _ in each.add)
        await super().apply(transaction)

    async def replace(self, ruleset: Ruleset) -> None:
        self.replacements += 1
        await super().replace(ruleset)


class Stage(World):
    """One lab with its API and its agent. `dataplane` is the agent that runs."""

    dataplane: Dataplane
    firewall: CountingFirewall

    def __init__(self, lab: Lab) -> None:
        super().__init__(CountingFirewall(lab.node), lab.conntrack)
        self.api = MemoryApi(settings=Settings(service_cidrs=CIDRS))
        self.lab = lab
        self.writes = 0

    async def begin(self) -> None:
        await self.create(NAMESPACE, {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}})
        labels = {"topology.kubernetes.io/zone": "east"}
        metadata = {"name": NODE_NAME, "labels": labels}
        spec = {"podCIDR": POD_CIDRS[0], "podCIDRs": POD_CIDRS}
        await self.create(NODE, {"kind": "Node", "apiVersion": "v1", "metadata": metadata, "spec": spec})
        await self.move_node(*NODES)
        for number, cidr in enumerate(CIDRS):
            await self.create(SERVICE_CIDR, service_cidr(f"range-{number}", cidr))

    # The API.

    async def create(self, kind: Kind, document: Document) -> None:
        self.writes += 1
        await super().create(kind, document)

    async def patch(self, kind: Kind, name: str, change: Document, subresource: str = "") -> None:
        self.writes += 1
        await self.api.write("patch", kind, "default", name, change, subresource=subresource)

    async def delete(self, kind: Kind, name: str) -> None:
        self.writes += 1
        await super().delete(kind, name)

    async def view(self) -> NodeView:
        """What the API wishes of the node now."""
        found = {
            kind: (await self.api.request("GET", kind.path("default" if kind.namespaced else "")))["items"]
            for kind in (NODE, SERVICE, ENDPOINT_SLICE, SERVICE_CIDR)
        }
        cidrs = {cidr for each in found[SERVICE_CIDR] for cidr in each["spec"]["cidrs"]}
        services, slices = map(service, found[SERVICE]), map(endpoint_slice, found[ENDPOINT_SLICE])
        return build_view(node(found[NODE][0]), services, slices, sorted(cidrs))

    async def settled(self) -> NodeView:
        """What the API wishes, once the kernel has it."""
        wished = await self.view()
        await until(lambda: self.dataplane.view == wished and not self.dataplane.health().waiting_since)
        return wished

    # What is held open.

    async def hold(self, view: NodeView, name: str = "web") -> list[Held]:
        """Connections and flows through every door of a Service, to each endpoint that a client may get there."""
        made = []
        async with asyncio.TaskGroup() as opening:
            for door in doors(view, name):
                for source, address in sources(door).items():
                    traced = trace(view, packet(address, door))
                    if traced.outcome is End.FORWARD:
                        made.append(opening.create_task(self._hold(source, door, traced)))
        return [held for few in made for held in few.result()]

    async def _hold(self, source: Source, door: Door, traced: Trace) -> list[Held]:
        """As many as it takes to get one to each endpoint; remembered clients get one and the same."""
        wanted = {text(each.endpoint.address, each.endpoint.port) for each in traced.choices}
        made: list[Held] = []
        for _ in range(ROUNDS):
            made += [await self.open(source, door) for _ in wanted]
            if traced.affinity or wanted == {each.endpoint for each in made}:
                break
        met = {each.endpoint for each in made}
        assert met <= wanted and (met == wanted or traced.affinity), f"{source} at {door} met {met}, not {wanted}"
        return made

    async def open(self, source: Source, door: Door) -> Held:
        """Opens one, and learns who serves it."""
        own_port = 10_000 + next(_OWN_PORTS) % 10_000
        client = self.lab.open(source, door.address, Protocol(door.protocol), own_port)
        async with asyncio.timeout(LONG):
            await asyncio.get_running_loop().sock_connect(client, (door.address, door.port))
        return Held(source, door, client, await ask(client))

    async def broken(self, held: Iterable[Held], meanwhile: Coroutine[None, None, None] | None = None) -> list[str]:
        """The connections that are not answered, or by another endpoint: asked once, or again and again while something is
        done.
        """
        lines = [each for each in held if each.door.protocol == "TCP"]
        found: dict[str, str] = {}
        async with asyncio.TaskGroup() as both:
            doing = both.create_task(meanwhile) if meanwhile else None
            while not found:
                over = doing is None or doing.done()
                answers = await asyncio.gather(*(ask(each.client) for each in lines))
                found = {each.words: met for each, met in zip(lines, answers, strict=True) if met != each.endpoint}
                if over:
                    break
                await asyncio.sleep(0)
        return [f"{words}: {met}" for words, met in found.items()]

    async def astray(self, held: Iterable[Held], view: NodeView, forgotten: bool = False, wait: float = LONG) -> list[str]:
        """The UDP flows that do not go where they should: on to their endpoint while it serves at their door, else where a new
        flow goes. Either will do for those that may have been `forgotten`.
        """
        flows = [each for each in held if each.door.protocol == "UDP"]
        wishes = [
            ({each.endpoint} if serves(view, each) else set())
            | (ends(view, each.source, each.door) if forgotten or not serves(view, each) else set())
            for each in flows
        ]
        patience = [QUIET if "drop" in wish else wait for wish in wishes]
        answers = await asyncio.gather(*(ask(each.client, long) for each, long in zip(flows, patience, strict=True)))
        return [
            f"{each.words}: {met}, not {sorted(wish)}"
            for each, met, wish in zip(flows, answers, wishes, strict=True)
            if met not in wish
        ]

    # New connections.

    async def surprises(self, view: NodeView, where: Iterable[Door], bonds: Bonds | None = None) -> list[str]:
        """What new connections and flows through these doors meet other than what the simulator says, or fail to meet. Clients
        that are still remembered must meet those of their `bonds`.
        """
        asked = {
            (source, door): trace(view, packet(address, door))
            for door in sorted(where)
            for source, address in sources(door).items()
        }
        wishes = {way: wished(traced) for way, traced in asked.items()}
        free = [way for way, traced in asked.items() if not traced.affinity]
        seen: defaultdict[tuple[Source, Door], set[Outcome]] = defaultdict(set)
        for turn in range(ROUNDS):
            left = [way for way in free if turn == 0 or not seen[way] >= wishes[way]]
            tries = [way for way in left for _ in range(2 * len(wishes[way]) - 1)]
            for way, met in zip(tries, await self._probe(tries, wishes), strict=True):
                seen[way].add(met)
        await self._remembered([way for way, traced in asked.items() if traced.affinity], asked, seen, dict(bonds or {}))
        return [
            f"{source} to {door}: {sorted(seen[source, door], key=repr)}, not {sorted(wish, key=repr)}"
            for (source, door), wish in wishes.items()
            if not (seen[source, door] == wish or (asked[source, door].affinity and seen[source, door] < wish))
        ]

    async def _probe(
        self, ways: Sequence[tuple[Source, Door]], wishes: Mapping[tuple[Source, Door], frozenset[Outcome]]
    ) -> list[Outcome]:
        """All at once. Silence where an answer was due is asked about once more, with patience."""
        probes = [Probe(source, door.address, door.port, Protocol(door.protocol)) for source, door in ways]
        found = await self.lab.probe_many(probes)
        for index, (way, probe) in enumerate(zip(ways, probes, strict=True)):
            if found[index].verdict == "drop" and found[index] not in wishes[way]:
                where = (probe.source, probe.destination, probe.port, probe.protocol)
                found[index] = await self.lab.connect(*where, patience=LONG)
        return found

    async def _remembered(
        self,
        ways: Iterable[tuple[Source, Door]],
        asked: Mapping[tuple[Source, Door], Trace],
        seen: defaultdict[tuple[Source, Door], set[Outcome]],
        had: Bonds,
    ) -> None:
        """A client that is remembered meets one endpoint of a service port, again and again, wherever that is a choice."""
        for source, door in [*ways] * 3:
            traced = asked[source, door]
            who = (source, traced.service)
            met = await self.lab.connect(source, door.address, door.port, Protocol(door.protocol), patience=LONG)
            choices = {text(each.endpoint.address, each.endpoint.port) for each in traced.choices}
            if had.get(who) in choices and met.endpoint != had[who]:
                seen[source, door].add(Outcome(met.verdict, f"{met.endpoint} in the place of {had[who]}"))
            had[who] = met.endpoint
            seen[source, door].add(met)


@asynccontextmanager
async def set_up() -> AsyncIterator[Stage]:
    """A stage whose agent does not run yet."""
    async with Lab(_everybody(), clients=NODES, patience=QUIET) as lab:
        for address in (*BALANCERS, MOVED, *EXTERNAL, *NODES):
            for port in NODE_PORTS if address in NODES else PORTS:
                for protocol in (Protocol.TCP, Protocol.UDP):
                    await lab.listen(address, port, protocol)
        stage = Stage(lab)
        try:
            await stage.begin()
            yield stage
        finally:
            stage.firewall.close()


def _everybody() -> NodeView:
    """All addresses that are ever spoken of; strangers at those of balancers answer what no Service concerns."""
    ports = []
    four = [endpoint(each, port) for each in (NEAR, NEAR_TOO, FAR, FAR_TOO) for port in (SERVED, SERVED_TOO)]
    six = [endpoint(each, SERVED) for each in (NEAR6, FAR6)]
    for protocol in (Protocol.TCP, Protocol.UDP):
        for endpoints, index in ((four, 0), (six, 1)):
            outer = [BALANCERS[index], EXTERNAL[index], *([MOVED] if index == 0 else [])]
            ports.append(port_with("all", [Doorway(Entry.EXTERNAL_IP, each) for each in outer], endpoints, protocol))
    return node_view({"all": ports})


def endpoint(address: str, port: int) -> Endpoint:
    return (here if address in (NEAR, NEAR_TOO, NEAR6) else there)(address, port)


async def ask(client: socket.socket, patience: float = LONG) -> str:
    """The endpoint that answers on a connected socket; else 'reject', 'ended', or 'drop' for silence."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(patience):
            with suppress(PermissionError):  # the node's own datagram: whether it was refused is told afterwards
                await loop.sock_sendall(client, b"who?")
            answer = (await loop.sock_recv(client, 256)).decode()
    except TimeoutError:
        return "drop"
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        return "reject"
    return answer.split()[0] if answer else "ended"


def doors(view: NodeView, name: str = "web") -> list[Door]:
    return [
        Door(frontend.address, frontend.port, port.name.protocol.value)
        for port in view.services.get(("default", name), ())
        for frontend in port.frontends
    ]


def sources(door: Door) -> dict[Source, str]:
    return SOURCES[6 if ":" in door.address else 4]


def packet(source: str, door: Door) -> Packet:
    return Packet(source, door.address, Protocol(door.protocol), door.port)


def wished(traced: Trace) -> frozenset[Outcome]:
    """All that a client may meet."""
    sent = traced.packet
    if traced.outcome is End.PASS:
        return frozenset({Outcome("forward", text(sent.destination, sent.port), sent.source)})
    if traced.outcome is not End.FORWARD:
        return frozenset({Outcome(traced.outcome.value)})  # type: ignore[arg-type]
    own = NODES[":" in sent.destination]
    return frozenset(
        Outcome("forward", text(each.endpoint.address, each.endpoint.port), own if each.masqueraded else sent.source)
        for each in traced.choices
    )


def ends(view: NodeView, source: Source, door: Door) -> set[str]:
    """The same in the words of `ask`."""
    return {each.endpoint or each.verdict for each in wished(trace(view, packet(sources(door)[source], door)))}


def bonds(view: NodeView, held: Iterable[Held]) -> Bonds:
    """Of the clients that the view has remembered; what they hold tells."""
    found: Bonds = {}
    for each in held:
        traced = trace(view, packet(sources(each.door)[each.source], each.door))
        if traced.affinity:
            found[each.source, traced.service] = each.endpoint
    return found


def serves(view: NodeView, held: Held) -> bool:
    """Whether a flow's endpoint still serves at the door it came by; whose door it is, says the first claim by name."""
    for name in sorted(view.services):
        for port in view.services[name]:
            if any(Door(each.address, each.port, port.name.protocol.value) == held.door for each in port.frontends):
                serving = (*port.cluster, *port.local, *port.retained)
                return held.endpoint in {text(each.address, each.port) for each in serving}
    return False


def text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
