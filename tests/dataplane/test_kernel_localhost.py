"""Do node ports answer at the node's own loopback address, and is nothing else opened by that?"""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from mooring.dataplane.localhost import LOCALHOST_SYSCTLS
from mooring.edges.nft.netlink import inside
from mooring.services.view import Entry, Pool, Protocol
from mooring.testing.netlab import Lab, Outcome, Probe
from mooring.testing.node_views import NODE_ADDRESSES, SIX, Door, here, node_view, port_with, there

pytestmark = pytest.mark.root

NODE, LOOPBACK, ELSEWHERE = NODE_ADDRESSES[0], "127.0.0.1", "127.0.0.77"
ENDPOINTS = [here("10.244.1.2"), there("10.244.2.2"), here(NODE)]
VIEW = node_view(
    {
        "web": [
            port_with("web", [Door(Entry.NODE_PORT, LOOPBACK, number, policy, ("127.0.0.0/8",))], ENDPOINTS, protocol)
            for number, policy in ((30080, Pool.CLUSTER), (30081, Pool.LOCAL))
            for protocol in (Protocol.TCP, Protocol.UDP)
        ],
        "six": [port_with("six", [Door(Entry.NODE_PORT, "::1", 30080)], SIX)],
    }
)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(VIEW, [LOOPBACK, ELSEWHERE, "::1"]) as built:
        await built.load(VIEW)
        await built.listen(LOOPBACK, 9999)
        await built.listen(LOOPBACK, 9999, Protocol.UDP)
        yield built


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
@pytest.mark.parametrize("port", [30080, 30081], ids=["policy Cluster", "policy Local"])
async def test_the_node_reaches_every_endpoint_by_a_node_port_of_its_loopback_address(
    lab: Lab, protocol: Protocol, port: int
) -> None:
    wished = {Outcome("forward", f"{each.address}:{each.port}", NODE) for each in ENDPOINTS}
    assert wished == set(await lab.probe_many([Probe("node", LOOPBACK, port, protocol)] * 60))
    assert wished == set(await lab.probe_many([Probe(ELSEWHERE, LOOPBACK, port, protocol)] * 60))


async def test_without_the_sysctl_only_endpoints_on_the_nodes_own_network_can_be_reached(lab: Lab) -> None:
    [(name, value)] = LOCALHOST_SYSCTLS.items()
    assert value == "1"
    await lab.run("sh", "-c", f"echo 0 > /proc/sys/{name}")
    met = set(await lab.probe_many([Probe("node", LOOPBACK, 30080)] * 40))
    assert {Outcome("forward", f"{NODE}:8080", NODE), Outcome("drop")} == met


async def test_at_the_ipv6_loopback_address_no_node_port_answers_and_none_hangs(lab: Lab) -> None:
    """The kernel would take the answers for packets from nowhere, so the tables leave such a frontend out."""
    assert Outcome("reject") == await lab.connect("node", "::1", 30080)


@pytest.mark.parametrize("who", ["outside", "pod"])
@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.UDP])
async def test_nobody_else_gets_to_a_loopback_address(lab: Lab, who: str, protocol: Protocol) -> None:
    """Neither to a node port nor to what listens there: not as a new connection, nor as part of none."""
    namespace = f"mrg-{lab.name}-{'outside' if who == 'outside' else 'client'}"
    gateway = NODE if who == "outside" else "169.254.1.1"
    await lab.run("ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local", namespace=namespace)
    await lab.run("ip", "address", "del", "127.0.0.1/8", "dev", "lo", namespace=namespace)
    await lab.run("ip", "route", "add", "127.0.0.0/8", "via", gateway, "dev", "eth0", namespace=namespace)
    await lab.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet", namespace=namespace)
    assert {Outcome("drop")} == set(await lab.probe_many([Probe(who, LOOPBACK, port, protocol) for port in (30080, 9999)] * 5))
    assert await answers_to_an_ack(lab, namespace, 0.3) == 0
    await lab.run("nft", "flush", "chain", "ip", "mooring", "loopback")
    assert Outcome("forward", f"{LOOPBACK}:9999", await own_address(lab, who)) == await lab.connect(
        who, LOOPBACK, 9999, protocol
    )
    assert await answers_to_an_ack(lab, namespace, 60.0) == 1, "the test itself gets through when nothing guards"


async def own_address(lab: Lab, who: str) -> str:
    return "172.30.0.250" if who == "outside" else "10.244.1.250"


async def answers_to_an_ack(lab: Lab, namespace: str, patience: float) -> int:
    """How many resets, up to one, come back for an ACK of no connection, which conntrack calls invalid, to 127.0.0.1:9999."""
    await lab.run("sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
    with inside(namespace):
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with raw:
        raw.setblocking(False)
        raw.connect((LOOPBACK, 0))
        source = raw.getsockname()[0]
        segment = _ack(source, LOOPBACK)
        raw.send(segment)
        found = 0
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(patience):
                while not found:
                    packet = await loop.sock_recv(raw, 2048)
                    found += bool(packet[20 + 13] & 4)
        except TimeoutError:
            pass
        return found


def _ack(source: str, destination: str) -> bytes:
    header = bytearray(20)
    header[0:4] = (41_000).to_bytes(2, "big") + (9999).to_bytes(2, "big")
    header[4:12] = bytes(range(8))
    header[12], header[13] = 5 << 4, 0x10
    header[14:16] = (1024).to_bytes(2, "big")
    pseudo = socket.inet_aton(source) + socket.inet_aton(destination) + bytes([0, 6, 0, 20])
    total = sum(int.from_bytes((pseudo + header)[at : at + 2], "big") for at in range(0, 32, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    header[16:18] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(header)
