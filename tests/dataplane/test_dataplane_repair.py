"""Does a node put its tables right by itself, whatever somebody else did to them, and with as little as it takes?"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import closing
from typing import TypeVar

import pytest
from agent_world import World, endpoint_slice, node_port, service, until

from mooring.control import dataplane_repair as repair
from mooring.control.dataplane import Dataplane
from mooring.dataplane.installed import compile_view
from mooring.dataplane.ruleset import CLUSTER_IPS, ENDPOINTS, FRONTENDS, SERVICE_CIDRS, SHAPES, Elements, Ruleset, SetKey
from mooring.dataplane.verify import Drift, Kind
from mooring.edges.memory.conntrack import MemoryConntrack
from mooring.edges.memory.firewall import Held, MemoryFirewall
from mooring.edges.nft.firewall import NftFirewall
from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.testing.netlab import bare_namespace

Answer = TypeVar("Answer")
OFTEN = 0.01
"""Seconds between looks."""


class MemoryWorld(World):
    firewall: MemoryFirewall

    def __init__(self) -> None:
        super().__init__(MemoryFirewall(), MemoryConntrack())

    @property
    def held(self) -> Held:
        assert self.firewall.elements is not None
        return {key: items for key, items in self.firewall.elements.items() if items}


async def fill(world: World) -> None:
    for n in range(1, 40):
        await world.create(SERVICE, service(f"s{n}", f"10.96.0.{n}"))
        await world.create(ENDPOINT_SLICE, endpoint_slice(f"s{n}", f"10.244.2.{n}", f"10.244.3.{n}"))
    await world.create(SERVICE, node_port("udp", "10.96.1.1", 30053, "UDP"))
    await world.create(ENDPOINT_SLICE, endpoint_slice("udp", "10.244.2.2", protocol="UDP"))


@pytest.fixture
async def world() -> MemoryWorld:
    made = MemoryWorld()
    await made.begin()
    await fill(made)
    return made


def value(dataplane: Dataplane, name: str, labels: dict[str, str] | None = None) -> float:
    return dataplane.metrics.registry.get_sample_value(f"kubeproxy_sync_proxy_rules_nftables_{name}_total", labels or {}) or 0.0


def first(held: Held, key: SetKey) -> bytes:
    return sorted(held[key])[0]


def lose(key: SetKey) -> Callable[[Held], None]:
    return lambda held: held[key].pop(first(held, key)) and None


def alter(key: SetKey) -> Callable[[Held], None]:
    def act(held: Held) -> None:
        held[key][first(held, key)] = b"\1" * len(held[key][first(held, key)])

    return act


def add(key: SetKey) -> Callable[[Held], None]:
    def act(held: Held) -> None:
        old = first(held, key)
        held[key][b"\7" * len(old)] = held[key][old]

    return act


@pytest.mark.parametrize("limit", [repair.LARGEST_DUMP, 0], ids=["read", "looked up"])
@pytest.mark.parametrize(
    ("damage", "kinds"),
    [
        pytest.param([lose(("ip", FRONTENDS))], {"missing": 1}, id="a frontend deleted"),
        pytest.param([alter(("ip", FRONTENDS))], {"altered": 1}, id="a frontend led elsewhere"),
        pytest.param([add(("ip", FRONTENDS))], {"foreign": 1}, id="a frontend added"),
        pytest.param([lose(("ip", ENDPOINTS))], {"missing": 1}, id="an endpoint deleted"),
        pytest.param([alter(("ip", ENDPOINTS))], {"altered": 1}, id="an endpoint replaced"),
        pytest.param([lose(("ip", CLUSTER_IPS)), add(("ip", CLUSTER_IPS))], {"missing": 1, "foreign": 1}, id="cluster IPs"),
        pytest.param([lose(("ip", SERVICE_CIDRS))], {"missing": 1}, id="the range of Services deleted"),
        pytest.param([lambda held: held.pop(("ip", FRONTENDS)) and None], {"missing": 41}, id="all frontends deleted"),
        pytest.param([lambda held: held.pop(("ip", ENDPOINTS)) and None], {"missing": 79}, id="all endpoints deleted"),
        pytest.param([lambda held: held.pop(("ip", SHAPES)) and None], {"missing": 4}, id="all shapes deleted"),
    ],
)
async def test_elements_are_put_right_one_by_one(
    world: MemoryWorld,
    monkeypatch: pytest.MonkeyPatch,
    damage: list[Callable[[Held], None]],
    kinds: dict[str, int],
    limit: int,
) -> None:
    async with world.agent(OFTEN) as dataplane:
        monkeypatch.setattr(repair, "LARGEST_DUMP", limit)
        whole = {key: dict(items) for key, items in world.held.items()}
        damaged = {key: dict(items) for key, items in whole.items()}
        for act in damage:
            act(damaged)
        assert damaged != whole
        world.firewall.elements = damaged
        await until(lambda: world.held == whole)
        assert world.firewall.replacements == 1, "that of the start"
        assert [len(each) for each in world.firewall.transactions] == [sum(kinds.values()) + kinds.get("altered", 0)]
        await until(lambda: value(dataplane, "repairs") == 1)
        for kind in Kind:
            assert value(dataplane, "drifted_elements", {"what": kind.value}) == kinds.get(kind.value, 0)
        (report,) = world.reports
        assert (report.type, report.reason) == ("Warning", "ProxyRulesRepaired")
        assert all(f"{kind}: " in report.message for kind in kinds)


async def test_an_endpoint_nobody_wishes_is_let_be_where_reading_all_takes_too_long(
    world: MemoryWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frontend leads to it; but it goes with the next reading of the whole, at the start of an agent."""
    async with world.agent(OFTEN):
        monkeypatch.setattr(repair, "LARGEST_DUMP", 0)
        whole = {key: dict(items) for key, items in world.held.items()}
        lose(("ip", FRONTENDS))(world.held)
        add(("ip", ENDPOINTS))(world.held)
        await until(lambda: len(world.firewall.transactions) == 1)
        assert [change.set for change in world.firewall.transactions[0].changes] == [("ip", FRONTENDS)]
    monkeypatch.undo()
    async with world.agent():
        assert world.held == whole


@pytest.mark.parametrize("damage", ["rules", "tables"])
async def test_damaged_rules_are_made_anew_with_everything(world: MemoryWorld, damage: str) -> None:
    async with world.agent(OFTEN) as dataplane:
        whole = {key: dict(items) for key, items in world.held.items()}
        if damage == "tables":
            world.firewall.elements = None
        else:
            world.firewall.rules = (Drift(Kind.MISSING, "ip mooring services", "rule of chain ip mooring services"),)
        await until(lambda: world.firewall.replacements == 2)
        assert world.held == whole
        assert world.firewall.rules == ()
        await until(lambda: len(world.reports) == 1)
        assert value(dataplane, "repairs") == 1
        assert "made anew: missing: " in world.reports[0].message


class Watched(MemoryFirewall):
    """Counts what it is asked, and keeps answers back until they may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = self.comparisons = 0
        self.held_back = ""
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def foreign_commits(self) -> int:
        self.looks += 1
        return await super().foreign_commits()

    async def rule_drift(self) -> tuple[Drift, ...]:
        self.comparisons += 1
        return await super().rule_drift()

    async def read(self, leaving_out: Collection[str] = ()) -> Ruleset:
        return await self._maybe_later("read", await super().read(leaving_out))

    async def look_up(self, keys: Mapping[SetKey, Iterable[bytes]]) -> Elements:
        return await self._maybe_later("look_up", await super().look_up(keys))

    async def _maybe_later(self, what: str, answer: Answer) -> Answer:
        if self.held_back == what:
            self.reached.set()
            await self.go_on.wait()
        return answer


async def test_nothing_is_compared_while_nobody_else_commits(world: MemoryWorld) -> None:
    world.firewall = watched = Watched()
    async with world.agent(OFTEN) as dataplane:
        for n in range(100, 120):
            await world.create(SERVICE, service(f"s{n}", f"10.96.0.{n}"))
            await until(lambda looks=watched.looks: watched.looks > looks)  # type: ignore[misc]
        await until(lambda: len(dataplane.view.services) >= 59)
        assert watched.comparisons == 0
        somebody_commits(watched)
        await until(lambda looks=watched.looks: watched.looks > looks + 5)  # type: ignore[misc]
        assert watched.comparisons == 1
        assert value(dataplane, "repairs") == 0


def somebody_commits(firewall: MemoryFirewall) -> None:
    """Something that is not ours to mind."""
    firewall._foreign_commits += 1


@pytest.mark.parametrize("held_back", ["read", "look_up"])
async def test_what_changes_while_the_tables_are_compared_is_not_taken_for_damage(world: MemoryWorld, held_back: str) -> None:
    """What was read is as it was before the change, and so may be the wish. The damage itself is done to what then changes."""
    world.firewall = watched = Watched()
    async with world.agent(OFTEN) as dataplane:
        watched.held_back = held_back
        key = next(key for key, data in world.held[("ip", ENDPOINTS)].items() if data[:4] == bytes((10, 244, 2, 7)))
        world.held[("ip", ENDPOINTS)][key] = bytes(8)
        alter(("ip", FRONTENDS))(world.held)
        async with asyncio.timeout(60):
            await watched.reached.wait()
        await world.update(ENDPOINT_SLICE, endpoint_slice("s7", "10.244.3.7", "10.244.9.9"))
        await world.create(SERVICE, service("new", "10.96.0.99"))
        await world.delete(SERVICE, "s8")
        await until(lambda: len(watched.transactions) >= 3)
        before = len(watched.transactions)
        watched.go_on.set()
        await until(lambda: value(dataplane, "repairs") == 1)
        assert [len(each) for each in watched.transactions[before:]] == [2], "the frontend and nothing else"
        assert watched.replacements == 1
        assert bytes((10, 244, 9, 9)) in {data[:4] for data in world.held[("ip", ENDPOINTS)].values()}
        assert compiled(dataplane) == sizes(world.held)


async def test_an_element_that_a_dump_missed_is_no_damage(world: MemoryWorld) -> None:
    """The kernel's dump of a set that grows meanwhile leaves some out."""

    class Forgetful(Watched):
        async def read(self, leaving_out: Collection[str] = ()) -> Ruleset:
            found = await super().read(leaving_out)
            items = dict(found.elements.get(("ip", ENDPOINTS), {}))
            for missed in sorted(items)[:1]:
                del items[missed]
            return Ruleset({**found.elements, ("ip", ENDPOINTS): items}, found.skeleton)

    world.firewall = forgetful = Forgetful()
    async with world.agent(OFTEN) as dataplane:
        somebody_commits(forgetful)
        await until(lambda: forgetful.comparisons == 1)
        await until(lambda looks=forgetful.looks: forgetful.looks > looks + 2)  # type: ignore[misc]
        assert (forgetful.transactions, value(dataplane, "repairs"), world.reports) == ([], 0, [])


async def test_an_agent_repairs_again_and_again(world: MemoryWorld) -> None:
    async with world.agent(OFTEN) as dataplane:
        whole = {key: dict(items) for key, items in world.held.items()}
        for times in range(1, 4):
            lose(("ip", FRONTENDS))(world.held)
            await until(lambda times=times: value(dataplane, "repairs") == times)  # type: ignore[misc]
            await until(lambda: world.held == whole)


async def test_what_was_done_before_an_agents_own_change_is_seen_too(world: MemoryWorld) -> None:
    """The agent's commit comes after the other one: the count of others' commits does not forget it."""
    async with world.agent(0.2) as dataplane:
        lose(("ip", FRONTENDS))(world.held)
        await world.create(SERVICE, service("new", "10.96.0.99"))
        await until(lambda: ("default", "new") in dataplane.view.services)
        await until(lambda: value(dataplane, "repairs") == 1)
        await until(lambda: compiled(dataplane) == sizes(world.held))


def compiled(dataplane: Dataplane) -> dict[SetKey, int]:
    """How many elements the node's view has, set by set."""
    return sizes(compile_view(dataplane.view).elements)


def sizes(elements: object) -> dict[SetKey, int]:
    return {key: len(items) for key, items in elements.items() if key[1] != SHAPES}  # type: ignore[attr-defined]


@pytest.fixture
async def kernel() -> AsyncIterator[tuple[World, str]]:
    """A world whose tables are a kernel's, and their namespace."""
    with bare_namespace("repair") as namespace, closing(NftFirewall(namespace)) as firewall:
        made = World(firewall, MemoryConntrack())
        await made.begin()
        await fill(made)
        yield made, namespace


FRONTEND = "ip mooring frontends { 10.96.0.7 . tcp . 80"


@pytest.mark.root
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (f"delete element {FRONTEND} }}", ("missing: ", "10.96.0.7")),
        (f"delete element {FRONTEND} }}; add element {FRONTEND} : 0x1 }}", ("altered: ", "10.96.0.7")),
        ("add element ip mooring frontends { 203.0.113.7 . tcp . 80 : 0x2002 }", ("foreign: ", "203.0.113.7")),
        ("flush map ip mooring endpoints", ("missing: ", "more")),
        ("delete element ip mooring service-cidrs { 10.96.0.0/16 }", ("missing: ", "10.96.0.0")),
        ("add element ip mooring pod-cidrs { 192.0.2.0/24 }", ("foreign: ", "192.0.2.0")),
        ("flush chain ip mooring services", ("missing: rule", "services")),
        ("flush chain ip mooring pick-2", ("missing: rule", "pick-2")),
        ("insert rule ip mooring prerouting accept", ("foreign: rule", "prerouting")),
        ("flush chain ip mooring discard; add rule ip mooring discard accept", ("altered: rule", "discard")),
        ("delete table ip6 mooring", ("missing: table ip6 mooring",)),
        ("flush table ip mooring", ("missing: rule",)),
        ("flush ruleset", ("missing: table ip mooring",)),
    ],
)
async def test_the_kernels_tables_are_put_right(kernel: tuple[World, str], command: str, says: tuple[str, ...]) -> None:
    world, namespace = kernel
    async with world.agent(OFTEN) as dataplane:
        whole = await world.firewall.read()
        nft(namespace, command)
        await until(lambda: bool(world.reports))
        assert [words for words in says if words not in world.reports[0].message] == [], world.reports[0].message
        assert await world.firewall.rule_drift() == ()
        assert whole == await world.firewall.read()
        assert value(dataplane, "repairs") == len(world.reports) == 1


@pytest.mark.root
async def test_other_peoples_tables_are_no_damage(kernel: tuple[World, str]) -> None:
    world, namespace = kernel
    async with world.agent(OFTEN) as dataplane:
        for n in range(20):
            nft(namespace, f"add table ip theirs{n}")
        await world.create(SERVICE, service("new", "10.96.0.99"))
        nft(namespace, "delete element ip mooring frontends { 10.96.0.7 . tcp . 80 }")
        await until(lambda: value(dataplane, "repairs") == 1)
        assert value(dataplane, "drifted_elements", {"what": "missing"}) == 1


@pytest.mark.root
async def test_damage_done_while_an_agent_was_away_is_put_right_when_it_comes(kernel: tuple[World, str]) -> None:
    world, namespace = kernel
    async with world.agent():
        whole = await world.firewall.read()
    nft(namespace, "flush map ip mooring endpoints")
    nft(namespace, "add element ip mooring frontends { 203.0.113.7 . tcp . 80 : 0x2002 }")
    async with world.agent():
        assert whole == await world.firewall.read()
    nft(namespace, "insert rule ip mooring prerouting accept")
    async with world.agent():
        assert await world.firewall.rule_drift() == ()


def nft(namespace: str, command: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace, "nft", command], check=True, capture_output=True, text=True)
