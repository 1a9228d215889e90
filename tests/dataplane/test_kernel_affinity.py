"""Does a client keep its endpoint in the real kernel, exactly as long as it shall?"""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import AFFINITY, SETS
from mooring.edges.nft import firewall as nft_firewall
from mooring.edges.nft.firewall import NftFirewall
from mooring.services.view import Entry, Pool, Protocol, ServicePort
from mooring.testing.netlab import Lab, Outcome, Probe
from mooring.testing.node_views import NODE_ADDRESSES, Door, here, node_view, port_with, there

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

TCP, UDP = Protocol.TCP, Protocol.UDP
FOUR = [here("10.244.1.2"), here("10.244.1.3"), there("10.244.2.2"), there("10.244.2.3")]
SIX = [here("fd00:244:1::2"), there("fd00:244:2::2"), there("fd00:244:2::3")]
DOORS = [
    Door(Entry.CLUSTER_IP, "10.96.0.1"),
    Door(Entry.NODE_PORT, NODE_ADDRESSES[0], 30080),
    Door(Entry.LOAD_BALANCER, "203.0.113.1"),
    Door(Entry.EXTERNAL_IP, "203.0.113.2", policy=Pool.LOCAL),
]
DOORS6 = [Door(Entry.CLUSTER_IP, "fd00:96::1"), Door(Entry.NODE_PORT, NODE_ADDRESSES[1], 30080)]
OUTSIDERS = [f"192.0.2.{number}" for number in range(1, 13)]
PODS = [f"10.244.1.{number}" for number in range(101, 107)]


def web(affinity: int = 300, without: int = 0) -> tuple[ServicePort, ...]:
    """`without` so many of the endpoints."""
    return tuple(
        port_with("web", doors, endpoints[without:], protocol, affinity)
        for doors, endpoints in ((DOORS, FOUR), (DOORS6, SIX))
        for protocol in (TCP, UDP)
    )


VIEW = node_view({"web": web()})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab() -> AsyncIterator[Lab]:
    """One for all: each loads its view anew, and with that nobody is remembered."""
    async with Lab(VIEW, [*OUTSIDERS, *PODS, "fd00:250::5"]) as built:
        yield built


async def met(lab: Lab, clients: list[str], address: str = "10.96.0.1", port: int = 80, protocol: Protocol = TCP) -> list[str]:
    """The endpoint that each client met, at once."""
    outcomes = await lab.probe_many([Probe(client, address, port, protocol) for client in clients])
    assert {"forward"} == {each.verdict for each in outcomes}
    return [each.endpoint for each in outcomes]


@pytest.mark.parametrize("protocol", [TCP, UDP])
async def test_a_client_keeps_its_endpoint_at_every_frontend_of_the_port(lab: Lab, protocol: Protocol) -> None:
    await lab.load(VIEW)
    clients = [*OUTSIDERS, *PODS, "node", "outside", "remote"]
    had = await met(lab, clients, protocol=protocol)
    assert len(set(had)) > 1
    for _ in range(4):
        for door in DOORS[:3]:
            assert had == await met(lab, clients, door.address, door.port, protocol)


@pytest.mark.parametrize("client", ["pod", "node", "outside", "remote", "fd00:250::5"])
async def test_ipv6_clients_keep_theirs_too(lab: Lab, client: str) -> None:
    await lab.load(VIEW)
    for protocol in (TCP, UDP):
        [had] = await met(lab, [client], "fd00:96::1", 80, protocol)
        for door in DOORS6:
            assert {had} == set(await met(lab, [client] * 8, door.address, door.port, protocol))


async def test_under_a_local_policy_the_client_moves_to_a_local_endpoint_and_stays(lab: Lab) -> None:
    await lab.load(VIEW)
    before = await met(lab, OUTSIDERS)
    local = await met(lab, OUTSIDERS, "203.0.113.2")
    here_ = {f"{each.address}:{each.port}" for each in FOUR if each.local}
    assert all(now == had if had in here_ else now in here_ for had, now in zip(before, local, strict=True))
    assert local == await met(lab, OUTSIDERS), "and at the cluster IP it now meets the same"


async def test_only_the_clients_of_an_endpoint_that_went_are_moved_and_they_keep_the_new_one(lab: Lab) -> None:
    installed = await lab.load(VIEW)
    clients = OUTSIDERS + PODS
    had = await met(lab, clients)
    await lab.firewall.apply(installed.change(("default", "web"), web(without=1)))
    now = await met(lab, clients)
    gone = "10.244.1.2:8080"
    assert gone not in now
    assert [each for each in had if each != gone] == [new for new, old in zip(now, had, strict=True) if old != gone]
    await lab.firewall.apply(installed.change(("default", "web"), web()))
    assert now == await met(lab, clients)


async def test_a_successor_keeps_what_clients_had_and_so_do_changes_of_other_services(lab: Lab) -> None:
    await lab.load(VIEW)
    had = await met(lab, OUTSIDERS)
    successor = NftFirewall(lab.node)
    try:
        installed, transaction = Installed.adopt(VIEW, await successor.read())
        assert len(transaction) == 0
        others = (port_with("other", [Door(Entry.CLUSTER_IP, "10.96.0.9")], FOUR, affinity=17),)
        await successor.apply(installed.change(("default", "other"), others))
        assert had == await met(lab, OUTSIDERS)
    finally:
        successor.close()


async def test_affinity_is_switched_off_and_on_under_a_client_with_a_connection(lab: Lab) -> None:
    installed = await lab.load(VIEW)
    loop = asyncio.get_running_loop()
    with lab.open("pod", "10.96.0.1") as open_connection:
        await loop.sock_connect(open_connection, ("10.96.0.1", 80))
        await met(lab, ["outside"])
        await lab.firewall.apply(installed.change(("default", "web"), web(affinity=0)))
        assert len(set(await met(lab, ["outside"] * 60))) == len(FOUR)
        await lab.firewall.apply(installed.change(("default", "web"), web(affinity=7)))
        [had] = await met(lab, ["outside"])
        assert {had} == set(await met(lab, ["outside"] * 20))
        await loop.sock_sendall(open_connection, b"who?")
        assert b"8080" in await loop.sock_recv(open_connection, 256)


async def test_each_connection_of_a_client_begins_its_time_anew(lab: Lab) -> None:
    await lab.load(VIEW)
    [had] = await met(lab, ["outside"])
    async with asyncio.timeout(60):
        while (before := await left_to_one(lab)) > 297:
            await asyncio.sleep(0.05)
    assert [had] == await met(lab, ["outside"])
    assert before < await left_to_one(lab) <= 300


async def test_a_client_is_forgotten_after_the_timeout_and_may_meet_another_endpoint(lab: Lab) -> None:
    await lab.load(node_view({"web": web(affinity=1)}))
    had = await met(lab, OUTSIDERS)
    async with asyncio.timeout(60):
        while await remembered(lab):
            await asyncio.sleep(0.05)
    assert had != await met(lab, OUTSIDERS), "chance leaves all twelve where they were once in sixteen million times"


async def left_to_one(lab: Lab) -> int:
    """Seconds, of the only client that is remembered."""
    [left] = (await remembered(lab)).values()
    return left


async def remembered(lab: Lab) -> dict[str, int]:
    """What nft says the IPv4 table remembers: client and port -> seconds left."""
    listed = await lab.run("nft", "list", "map", "ip", "mooring", AFFINITY)
    entries = re.findall(r"([0-9.]+ \. 0x[0-9a-f]+) timeout [0-9a-z]+ expires ([0-9a-z]+)", listed)
    return {client: _seconds(left) for client, left in entries}


def _seconds(text: str) -> int:
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[hms])", text))


async def test_where_no_more_clients_can_be_remembered_they_are_served_all_the_same(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tuple(msgspec.structs.replace(each, size=2) if each.size else each for each in SETS)
    monkeypatch.setattr(nft_firewall, "SETS", small)
    await lab.load(VIEW)
    known = [*await met(lab, ["outside"]), *await met(lab, ["remote"])]
    third = Counter(await met(lab, ["192.0.2.1"] * 80))
    assert len(third) == len(FOUR) and min(third.values()) >= 5
    assert known == [*await met(lab, ["outside"]), *await met(lab, ["remote"])]


async def test_what_is_remembered_is_listed_by_nft_as_text_and_json(lab: Lab) -> None:
    await lab.load(VIEW)
    assert (await lab.connect("outside", "10.96.0.1", 80)).verdict == "forward"
    [(client, left)] = (await remembered(lab)).items()
    assert client.startswith("172.30.0.250 . 0x0000")
    assert 290 <= left <= 300
    listed = json.loads(await lab.run("nft", "-j", "list", "map", "ip", "mooring", AFFINITY))
    [found] = [each["map"] for each in listed["nftables"] if "map" in each]
    assert len(found["elem"]) == 1


async def test_a_pod_that_is_remembered_with_itself_still_reaches_itself(lab: Lab) -> None:
    await lab.load(node_view({"web": (port_with("web", DOORS, FOUR[:1], affinity=300),)}))
    for _ in range(3):
        assert Outcome("forward", "10.244.1.2:8080", NODE_ADDRESSES[0]) == await lab.connect("10.244.1.2", "10.96.0.1", 80)
