"""What becomes of connections and UDP flows in a real kernel while an agent follows their Service?

Clients keep their source port, so that a stale entry of conntrack would hold them for as long as they keep asking.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from agent_world import NODE_ADDRESS, NODE_NAME, World, endpoint, endpoint_slice, node_port, service

from mooring.edges.netlink import namespaces
from mooring.edges.netlink.sysctls import ConntrackOptions, ensure, wished
from mooring.edges.nft.netlink import inside
from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.services.view import Protocol
from mooring.testing.netlab import Lab, Source
from mooring.testing.node_views import here, node_view, service_port, there

pytestmark = pytest.mark.root

UDP = Protocol.UDP
VIP, EXTERNAL, PORT = "10.96.0.50", "203.0.113.9", 30053
NEAR, NEAR_TOO, FAR, FAR_TOO = "10.244.1.2", "10.244.1.3", "10.244.2.2", "10.244.2.3"
PODS = [here(NEAR), here(NEAR_TOO), there(FAR), there(FAR_TOO)]
CLIENT_PORT = 40001


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    view = node_view({"all": [service_port("all", "10.96.9.9", PODS, protocol=each) for each in (UDP, Protocol.TCP)]})
    async with Lab(view, clients=["10.244.1.77"]) as built:
        yield built


@pytest.fixture
async def world(lab: Lab) -> World:
    made = World(lab.firewall, lab.conntrack)
    await made.begin()
    return made


def on(address: str, ready: bool = True, **conditions: bool) -> dict[str, object]:
    """An endpoint, with the node it runs on."""
    return endpoint(address, NODE_NAME if address in (NEAR, NEAR_TOO) else "node-b", ready, **conditions)


def slice_of(*endpoints: dict[str, object], port: int = 8080) -> dict[str, object]:
    return endpoint_slice("web", *endpoints, protocol="UDP", port=port)


class Client:
    """Asks one frontend again and again from one port."""

    def __init__(self, opened: socket.socket, where: tuple[str, int]) -> None:
        self._socket = opened
        opened.connect(where)

    async def asks(self, patience: float = 60.0) -> str:
        """The endpoint that answers a question; '' for none."""
        loop = asyncio.get_running_loop()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(patience):
                await loop.sock_sendall(self._socket, b"who?")
                return (await loop.sock_recv(self._socket, 256)).decode().split()[0]
        return ""

    async def is_answered_by(self, address: str, port: int = 8080) -> None:
        """Asks until this endpoint answers, within a deadline."""
        async with asyncio.timeout(60):
            while await self.asks(0.2) != f"{address}:{port}":
                await asyncio.sleep(0.01)

    async def is_not_answered(self) -> None:
        async with asyncio.timeout(60):
            while await self.asks(0.5):
                await asyncio.sleep(0.01)


@contextmanager
def client(lab: Lab, source: Source, address: str, port: int, own_port: int = CLIENT_PORT) -> Iterator[Client]:
    with lab.open(source, address, UDP, own_port) as opened:
        yield Client(opened, (address, port))


@pytest.mark.parametrize(
    ("source", "where", "policy", "before", "after"),
    [
        pytest.param("outside", (NODE_ADDRESS, PORT), {}, NEAR, NEAR_TOO, id="to a node port, from outside"),
        pytest.param("10.244.1.77", (VIP, 80), {}, NEAR, FAR, id="to a cluster IP, from a pod"),
        pytest.param(
            "10.244.1.77", (VIP, 80), {"internalTrafficPolicy": "Local"}, NEAR, NEAR_TOO,
            id="to a cluster IP with internalTrafficPolicy Local",
        ),
        pytest.param("node", (VIP, 80), {}, FAR, NEAR, id="to a cluster IP, from the node itself"),
        pytest.param(
            "outside", (NODE_ADDRESS, PORT), {"externalTrafficPolicy": "Local"}, NEAR, NEAR_TOO,
            id="to a node port with externalTrafficPolicy Local",
        ),
    ],
)  # fmt: skip
async def test_udp_goes_on_when_the_server_pod_cycles(
    lab: Lab, world: World, source: Source, where: tuple[str, int], policy: dict[str, str], before: str, after: str
) -> None:
    await world.create(SERVICE, node_port("web", VIP, PORT, "UDP", **policy))
    await world.create(ENDPOINT_SLICE, slice_of(on(before)))
    async with world.agent():
        with client(lab, source, *where) as asking:
            await asking.is_answered_by(before)
            await world.update(ENDPOINT_SLICE, slice_of(on(before, False, serving=False, terminating=True), on(after)))
            await asking.is_answered_by(after)
            await world.update(ENDPOINT_SLICE, slice_of(on(before)))
            await asking.is_answered_by(before)


@pytest.mark.parametrize("where", [(VIP, 80), (NODE_ADDRESS, PORT)], ids=["cluster IP", "node port"])
async def test_a_client_that_began_before_endpoints_were_ready_reaches_them_then(
    lab: Lab, world: World, where: tuple[str, int]
) -> None:
    await world.create(SERVICE, node_port("web", VIP, PORT, "UDP"))
    await world.create(ENDPOINT_SLICE, slice_of(on(FAR, False, serving=False)))
    async with world.agent():
        with client(lab, "10.244.1.77", *where) as asking:
            await asking.is_not_answered()
            await world.update(ENDPOINT_SLICE, slice_of(on(FAR)))
            await asking.is_answered_by(FAR)


@pytest.mark.parametrize("where", [(VIP, 80), (NODE_ADDRESS, PORT), (EXTERNAL, 80)], ids=["cluster", "node port", "external"])
async def test_a_client_that_began_before_the_service_reaches_it_then(lab: Lab, world: World, where: tuple[str, int]) -> None:
    async with world.agent():
        with client(lab, "10.244.1.77", *where) as asking:
            await asking.is_not_answered()
            await world.create(ENDPOINT_SLICE, slice_of(on(FAR)))
            await world.create(SERVICE, node_port("web", VIP, PORT, "UDP", externalIPs=[EXTERNAL]))
            await asking.is_answered_by(FAR)


async def test_a_node_port_that_is_taken_away_leads_nowhere(lab: Lab, world: World) -> None:
    await world.create(SERVICE, node_port("web", VIP, PORT, "UDP"))
    await world.create(ENDPOINT_SLICE, slice_of(on(NEAR)))
    async with world.agent():
        with (
            client(lab, "outside", NODE_ADDRESS, PORT) as asking,
            client(lab, "10.244.1.77", VIP, 80) as another,
        ):
            await asking.is_answered_by(NEAR)
            await another.is_answered_by(NEAR)
            cluster_ip = {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "UDP", "nodePort": None}]}
            await world.api.write("patch", SERVICE, "default", "web", {"spec": cluster_ip})
            await asking.is_not_answered()
            assert await another.asks() == f"{NEAR}:8080"


async def test_an_endpoint_that_serves_at_another_port_of_its_address_is_another(lab: Lab, world: World) -> None:
    await lab.serve(node_view({"more": [service_port("more", "10.96.9.8", [here(NEAR, 9090)], protocol=UDP)]}))
    await world.create(SERVICE, service("web", VIP, "UDP"))
    await world.create(ENDPOINT_SLICE, slice_of(on(NEAR)))
    async with world.agent():
        with client(lab, "10.244.1.77", VIP, 80) as asking:
            await asking.is_answered_by(NEAR)
            await world.update(ENDPOINT_SLICE, slice_of(on(NEAR), port=9090))
            await asking.is_answered_by(NEAR, 9090)


KEPT = [
    pytest.param({}, [on(FAR), on(NEAR)], id="another endpoint comes"),
    pytest.param({}, [on(FAR, False, serving=True, terminating=True), on(NEAR)], id="its endpoint drains"),
    pytest.param({"internalTrafficPolicy": "Local"}, [on(FAR), on(NEAR)], id="a policy sends new flows elsewhere"),
    pytest.param({}, [{**on(FAR), "nodeName": "node-c"}], id="its endpoint is replaced at the same address"),
]


@pytest.mark.parametrize(("policy", "endpoints"), KEPT)
async def test_a_flow_whose_endpoint_still_serves_goes_on(
    lab: Lab, world: World, policy: dict[str, str], endpoints: list[dict[str, object]]
) -> None:
    """A marker, changed after it, is gone when all that came before was carried out and its stale flows were forgotten."""
    await world.create(SERVICE, service("web", VIP, "UDP"))
    await world.create(ENDPOINT_SLICE, slice_of(on(FAR)))
    await world.create(SERVICE, service("marker", "10.96.0.51", "UDP"))
    marker = endpoint_slice("marker", on(FAR_TOO), protocol="UDP")
    await world.create(ENDPOINT_SLICE, marker)
    async with world.agent():
        with (
            client(lab, "10.244.1.77", VIP, 80) as asking,
            client(lab, "10.244.1.77", "10.96.0.51", 80, CLIENT_PORT + 1) as marking,
        ):
            await asking.is_answered_by(FAR)
            await marking.is_answered_by(FAR_TOO)
            if policy:
                await world.api.write("patch", SERVICE, "default", "web", {"spec": policy})
            await world.update(ENDPOINT_SLICE, slice_of(*endpoints))
            await world.update(ENDPOINT_SLICE, endpoint_slice("marker", on(NEAR), protocol="UDP"))
            await marking.is_answered_by(NEAR)
            assert [await asking.asks() for _ in range(5)] == [f"{FAR}:8080"] * 5


async def test_what_changed_while_an_agent_was_away_is_made_good_when_it_comes(lab: Lab, world: World) -> None:
    """Its endpoint went, and another Service went with its node port."""
    await world.create(SERVICE, service("web", VIP, "UDP"))
    await world.create(ENDPOINT_SLICE, slice_of(on(NEAR)))
    await world.create(SERVICE, node_port("gone", "10.96.0.52", PORT, "UDP"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("gone", on(NEAR_TOO), protocol="UDP"))
    with (
        client(lab, "10.244.1.77", VIP, 80) as asking,
        client(lab, "outside", NODE_ADDRESS, PORT, CLIENT_PORT + 1) as lost,
    ):
        async with world.agent():
            await asking.is_answered_by(NEAR)
            await lost.is_answered_by(NEAR_TOO)
        await world.update(ENDPOINT_SLICE, slice_of(on(FAR)))
        await world.delete(SERVICE, "gone")
        assert await asking.asks() == f"{NEAR}:8080"
        async with world.agent():
            await asking.is_answered_by(FAR)
            await lost.is_not_answered()


async def test_connections_and_affinity_outlive_a_repair_of_elements(lab: Lab, world: World) -> None:
    sticky = service("web", VIP)
    sticky["spec"] |= {"sessionAffinity": "ClientIP"}
    await world.create(SERVICE, sticky)
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", *(on(each) for each in (NEAR, NEAR_TOO, FAR, FAR_TOO))))
    async with world.agent(check_period=0.05):
        first = (await lab.connect("10.244.1.77", VIP, 80)).endpoint
        assert first
        loop = asyncio.get_running_loop()
        with lab.open("10.244.1.77", VIP) as held:
            await loop.sock_connect(held, (VIP, 80))
            await lab.run("nft", "flush map ip mooring endpoints")
            async with asyncio.timeout(60):
                while not world.reports:
                    await asyncio.sleep(0.01)
            await loop.sock_sendall(held, b"still there?")
            async with asyncio.timeout(60):
                assert (await loop.sock_recv(held, 256)).decode().split()[0] == first
        again = {(await lab.connect("10.244.1.77", VIP, 80)).endpoint for _ in range(10)}
        assert again == {first}


LIBERAL = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")


@pytest.mark.parametrize("liberal", [False, True], ids=["strict", "liberal, as an agent sets it"])
async def test_a_segment_outside_of_the_window_resets_a_connection_only_where_tracking_is_strict(
    lab: Lab, world: World, liberal: bool
) -> None:
    """conntrack takes it for no packet of the connection and does not translate it back, so the client sees a stranger's
    segment and answers with a reset, which reaches the server (kubernetes/kubernetes#74839).
    """
    await world.create(SERVICE, service("web", VIP))
    await world.create(ENDPOINT_SLICE, endpoint_slice("web", on(FAR), port=9000))
    if liberal:
        done = namespaces.within(lab.node, lambda: ensure(wished(ConntrackOptions(), 1, False)))
        assert [each.error for each in done if each.error] == []
    else:
        assert namespaces.within(lab.node, LIBERAL.read_text) == "0\n"
    loop = asyncio.get_running_loop()
    async with world.agent(), asyncio.timeout(60):
        with lab.open(FAR, FAR, source_port=9000) as listener, lab.open("10.244.1.77", VIP) as client_side:
            listener.listen()
            await loop.sock_connect(client_side, (VIP, 80))
            server_side, _ = await loop.sock_accept(listener)
            with server_side:
                server_side.setblocking(False)
                await _says(client_side, server_side, b"hello")
                await _says(server_side, client_side, b"hello yourself")
                _send_out_of_window(lab, server_side)
                if liberal:
                    await _says(client_side, server_side, b"are you there?")
                    await _says(server_side, client_side, b"I am")
                else:
                    with pytest.raises(ConnectionResetError):
                        await loop.sock_recv(server_side, 1)


async def _says(one: socket.socket, other: socket.socket, words: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(one, words)
    heard = b""
    while len(heard) < len(words):
        heard += await loop.sock_recv(other, 256)
    assert heard == words


_REPAIR, _REPAIR_QUEUE, _QUEUE_SEQ = 19, 20, 21  # linux/tcp.h
_RECEIVED, _SENT = 1, 2
_NO_PROBE = -1


def _send_out_of_window(lab: Lab, connection: socket.socket) -> None:
    """What a connection's server sends when it is far out of step, as after a long stay in some queue."""
    connection.setsockopt(socket.IPPROTO_TCP, _REPAIR, 1)
    numbers = {}
    for queue in (_RECEIVED, _SENT):
        connection.setsockopt(socket.IPPROTO_TCP, _REPAIR_QUEUE, queue)
        numbers[queue] = struct.unpack("=I", connection.getsockopt(socket.IPPROTO_TCP, _QUEUE_SEQ, 4))[0]
    connection.setsockopt(socket.IPPROTO_TCP, _REPAIR, _NO_PROBE)
    (source, source_port), (to, to_port) = connection.getsockname(), connection.getpeername()
    ack, window = 0x10, 1024
    sequence = (numbers[_SENT] + (1 << 30)) % (1 << 32)
    header = struct.pack("!HHIIBBHHH", source_port, to_port, sequence, numbers[_RECEIVED], 5 << 4, ack, window, 0, 0)
    pseudo = ip_address(source).packed + ip_address(to).packed + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header))
    header = header[:16] + struct.pack("!H", _checksum(pseudo + header)) + header[18:]
    with inside(lab._topology.source(source).namespace):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with raw:
        raw.bind((source, 0))
        raw.sendto(header, (to, 0))


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
