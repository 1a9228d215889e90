"""What does the kernel do with SCTP to a Service? Packets by hand: a kernel need not speak SCTP to carry it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from msgspec import Struct

from mooring.edges.nft.netlink import inside
from mooring.services.view import Entry, Pool, Protocol
from mooring.testing.netlab import Lab
from mooring.testing.node_views import NODE_ADDRESSES, Door, here, node_view, port_with, there

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

SCTP = Protocol.SCTP
FOUR, SIX = [here("10.244.1.2", 9899), there("10.244.2.2", 9899)], [here("fd00:244:1::2", 9899)]
DOORS = [
    Door(Entry.CLUSTER_IP, "10.96.0.1", 5060),
    Door(Entry.NODE_PORT, NODE_ADDRESSES[0], 30080),
    Door(Entry.LOAD_BALANCER, "203.0.113.1", 5060, Pool.LOCAL),
    Door(Entry.EXTERNAL_IP, "203.0.113.2", 5060, allowed=("192.0.2.0/24",)),
]
VIEW = node_view(
    {
        "signals": [
            port_with("signals", DOORS, FOUR, SCTP),
            port_with("signals", [Door(Entry.CLUSTER_IP, "fd00:96::1", 5060)], SIX, SCTP),
        ],
        "none": [port_with("none", [Door(Entry.CLUSTER_IP, "10.96.0.2", 5060)], [], SCTP)],
        "sticky": [port_with("sticky", [Door(Entry.CLUSTER_IP, "10.96.0.3", 5060)], FOUR, SCTP, affinity=60)],
    }
)
NODE = NODE_ADDRESSES[0]
INIT, INIT_ACK = 1, 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab(VIEW) as built:
        await built.load(VIEW)
        yield built


class Seen(Struct, frozen=True):
    """A packet as a raw socket got it."""

    by: str
    source: str
    ports: tuple[int, int]
    chunk: int
    whole: bool


def crc32c(data: bytes) -> int:
    """RFC 9260, appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def packet(source_port: int, port: int, chunk: int) -> bytes:
    """An INIT or INIT ACK: tags, window, streams and first number as any stack may choose them."""
    body = struct.pack("!BBHIIHHI", chunk, 0, 20, 0xABCD, 65_536, 10, 10, 1)
    head = struct.pack("!HHI", source_port, port, 0 if chunk == INIT else 0xABCD)
    return head + struct.pack("<I", crc32c(head + bytes(4) + body)) + body


def read(by: str, data: bytes, source: str) -> Seen:
    if ":" not in source:
        data = data[(data[0] & 15) * 4 :]
    own, port = struct.unpack_from("!HH", data)
    whole = struct.unpack_from("<I", data, 8)[0] == crc32c(data[:8] + bytes(4) + data[12:])
    return Seen(by, source, (own, port), data[12], whole)


def raw_socket(namespace: str, address: str) -> socket.socket:
    with inside(namespace):
        opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    opened.setblocking(False)
    return opened


async def heard(socket_: socket.socket, by: str) -> Seen:
    data, source = await asyncio.get_running_loop().sock_recvfrom(socket_, 2048)
    return read(by, data, source[0])


async def associate(
    lab: Lab, client: str, address: str, port: int, source_port: int, patience: float = 60.0
) -> tuple[Seen | None, Seen | None]:
    """Sends an INIT; what an endpoint saw of it, and what the client saw of the answer. None for silence."""
    endpoints = [each.address for each in (SIX if ":" in address else FOUR)]
    place = lab.place(client)
    with (
        raw_socket(place.namespace, address) as asking,
        socket_of(lab, endpoints[0]) as one,
        socket_of(lab, endpoints[-1]) as other,
    ):
        asking.connect((address, 0))
        asking.send(packet(source_port, port, INIT))
        waiting = {asyncio.create_task(heard(each, by)) for each, by in ((one, endpoints[0]), (other, endpoints[-1]))}
        answer = asyncio.create_task(heard(asking, client))
        done, left = await asyncio.wait({*waiting, answer}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for each in left - {answer}:
            each.cancel()
        if answer in done:
            return None, answer.result()
        if not done:
            answer.cancel()
            return None, None
        seen = done.pop().result()
        with raw_socket(lab.place(seen.by).namespace, address) as replying:
            replying.bind((seen.by, 0))
            replying.connect((seen.source, 0))
            replying.send(packet(seen.ports[1], seen.ports[0], INIT_ACK))
        return seen, await asyncio.wait_for(answer, 60)


def socket_of(lab: Lab, address: str) -> socket.socket:
    opened = raw_socket(lab.place(address).namespace, address)
    opened.bind((address, 0))
    return opened


@pytest.mark.parametrize(
    ("client", "address", "port", "sources", "endpoints"),
    [
        ("pod", "10.96.0.1", 5060, {"10.244.1.250"}, FOUR),
        ("outside", "10.96.0.1", 5060, {NODE}, FOUR),
        ("node", "10.96.0.1", 5060, {NODE}, FOUR),
        ("10.244.1.2", "10.96.0.1", 5060, {"10.244.1.2", NODE}, FOUR),
        ("outside", NODE, 30080, {NODE}, FOUR),
        ("outside", "203.0.113.1", 5060, {"172.30.0.250"}, FOUR[:1]),
        ("pod", "fd00:96::1", 5060, {"fd00:244:1::fa"}, SIX),
        ("outside", "fd00:96::1", 5060, {NODE_ADDRESSES[1]}, SIX),
    ],
    ids=[
        "a pod to a cluster IP",
        "the outside to a cluster IP",
        "the node to a cluster IP",
        "a pod to itself and others",
        "a node port",
        "policy Local",
        "IPv6",
        "IPv6 from the outside",
    ],
)
async def test_an_init_reaches_an_endpoint_and_its_answer_comes_from_the_service(
    lab: Lab, client: str, address: str, port: int, sources: set[str], endpoints: list[object]
) -> None:
    """Ports, addresses and checksum are right both ways; conntrack follows the association."""
    met = set()
    for turn in range(24 if len(endpoints) > 1 else 1):
        source_port = 40_000 + turn
        seen, answer = await associate(lab, client, address, port, source_port)
        assert seen and answer
        assert (seen.source in sources, seen.ports[1], seen.chunk, seen.whole) == (True, 9899, INIT, True)
        assert (answer.source, answer.ports, answer.chunk, answer.whole) == (address, (port, source_port), INIT_ACK, True)
        met.add(seen.by)
    assert met == {each.address for each in endpoints}  # type: ignore[attr-defined]


async def test_a_client_of_a_service_with_affinity_keeps_its_endpoint(lab: Lab) -> None:
    met = {(await associate(lab, "pod", "10.96.0.3", 5060, 41_000 + turn))[0] for turn in range(10)}
    assert len({each.by for each in met if each}) == 1


@pytest.mark.parametrize("client", ["pod", "outside"])
@pytest.mark.parametrize(
    ("address", "port"), [("10.96.0.2", 5060), ("10.96.0.1", 80)], ids=["no endpoint", "not a port of the Service"]
)
async def test_what_cannot_be_served_is_refused(lab: Lab, client: str, address: str, port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        await associate(lab, client, address, port, 42_000)


async def test_a_source_out_of_range_is_dropped(lab: Lab) -> None:
    assert (None, None) == await associate(lab, "outside", "203.0.113.2", 5060, 43_000, patience=0.5)
