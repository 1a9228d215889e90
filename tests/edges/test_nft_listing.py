"""Can people and other tools live with our tables? `nft` lists them, and what it says is what we meant."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest
from msgspec import structs

from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import Ruleset
from mooring.dataplane.skeleton import skeleton
from mooring.edges.nft.firewall import NftFirewall
from mooring.services.view import Entry, Pool
from mooring.testing.netlab import bare_namespace
from mooring.testing.node_views import FOUR, SIX, Door, external_port, node_view, port_with, service_port

pytestmark = pytest.mark.root

VIEW = node_view(
    {
        "web": [service_port("web", "10.96.0.1", FOUR), service_port("web", "fd00:96::1", SIX)],
        "ext": [external_port("ext", "203.0.113.1", FOUR, Pool.LOCAL)],
    }
)


@pytest.fixture
def namespace() -> Iterator[str]:
    with bare_namespace("nft") as name:
        yield name


@pytest.fixture
async def firewall(namespace: str) -> AsyncIterator[NftFirewall]:
    with closing(NftFirewall(namespace)) as opened:
        yield opened


def nft(namespace: str, *command: str) -> str:
    done = subprocess.run(["ip", "netns", "exec", namespace, "nft", *command], capture_output=True, text=True, check=True)
    assert "BUG" not in done.stderr
    return done.stdout


async def test_nft_lists_the_whole_ruleset_without_aborting(namespace: str, firewall: NftFirewall) -> None:
    """nft 1.0.6 dies of an assertion where the result of one map is the key of another, whoever lists it."""
    await firewall.replace(Installed.of(VIEW).ruleset())
    listed = nft(namespace, "list", "ruleset")
    for said in (
        "10.96.0.1 . tcp . 80 : 0x00002006",
        "0x00000006 : goto pick-5",
        "chain outside-pick-3",
        "elements = { 10.96.0.0/16 }",
    ):
        assert said in listed
    assert nft(namespace, "-j", "list", "ruleset")


async def test_nft_lists_affinity_ranges_and_interfaces_too(namespace: str, firewall: NftFirewall) -> None:
    doors = [Door(Entry.LOAD_BALANCER, "203.0.113.1", policy=Pool.LOCAL, allowed=("10.0.0.0/8", "192.0.2.7/32"))]
    view = node_view({"lb": [port_with("lb", doors, FOUR, affinity=10800)]})
    await firewall.replace(Installed.of(structs.replace(view, pod_interfaces=("veth*", "cni0"))).ruleset())
    listed = nft(namespace, "list", "ruleset")
    for said in (
        "203.0.113.1 . tcp . 80 . 10.0.0.0/8",
        "203.0.113.1 . tcp . 80 . 192.0.2.7",
        '"veth*"',
        '"cni0"',
        "goto pick-5-for-10800",
        "goto outside-pick-3-for-10800",
        "update @affinity { ip saddr . meta mark & 0xffffe000 timeout 3h : meta mark }",
        "delete @affinity { ip saddr . meta mark & 0xffffe000 : meta mark }",
        "size 1048576",
    ):
        assert said in listed
    assert nft(namespace, "-j", "list", "ruleset")


@pytest.mark.parametrize("family", ["ip", "ip6"])
async def test_nft_reads_each_rule_it_can_write_as_we_write_it(namespace: str, firewall: NftFirewall, family: str) -> None:
    """It writes `ct status ! dnat` for `ct status & dnat == 0x0`, and leaves out a test that the next statement implies."""
    await firewall.replace(Installed.of(VIEW).ruleset())
    listed = nft(namespace, "list", "table", family, "mooring")
    ours = [rule.text for chain in skeleton(family) for rule in chain.rules]
    writable = [rule for rule in ours if "vmap" not in rule]
    told_otherwise = {
        "ct status & dnat == 0x0 return": "ct status ! dnat return",
        "meta l4proto tcp reject with tcp reset": "reject with tcp reset",
    }
    for rule in writable:
        assert told_otherwise.get(rule, rule) in listed


async def test_a_table_of_another_version_is_not_adopted(namespace: str, firewall: NftFirewall) -> None:
    nft(namespace, "add table ip mooring; add table ip6 mooring")
    assert Ruleset({}) == await firewall.read()
    await firewall.replace(Installed.of(VIEW).ruleset())
    assert Installed.of(VIEW).ruleset() == await firewall.read()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(["flush ruleset"], "missing: table ip mooring", id="everything flushed"),
        pytest.param(["flush table ip mooring"], "missing: rule", id="all rules flushed"),
        pytest.param(["delete table ip6 mooring"], "missing: table ip6 mooring", id="a table deleted"),
        pytest.param(["flush chain ip mooring services"], "missing: rule", id="a chain's rules flushed"),
        pytest.param(["flush chain ip mooring pick-5"], "missing: rule", id="a picking chain's rules flushed"),
        pytest.param(["add rule ip mooring services counter"], "foreign: rule", id="a rule added"),
        pytest.param(["insert rule ip mooring prerouting accept"], "foreign: rule", id="a rule put before ours"),
        pytest.param(
            ["flush chain ip mooring discard", "add rule ip mooring discard accept"], "altered: rule", id="a rule altered"
        ),
        pytest.param(
            ["flush chain ip mooring prerouting", "delete chain ip mooring prerouting", "add chain ip mooring prerouting"],
            "altered: chain prerouting",
            id="a chain without its hook",
        ),
        pytest.param(["add chain ip mooring prerouting { policy drop; }"], "altered: chain prerouting", id="another policy"),
        pytest.param(["add chain ip mooring probe"], "foreign: chain probe", id="a chain added"),
        pytest.param(["add set ip mooring probe { type mark; }"], "foreign: set probe", id="a set added"),
        pytest.param(
            ["flush chain ip mooring postrouting", "delete set ip mooring hairpins"],
            "missing: set hairpins",
            id="a set deleted",
        ),
    ],
)
async def test_what_is_wrong_with_the_rules_is_said(
    namespace: str, firewall: NftFirewall, damage: list[str], says: str
) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    before = await firewall.foreign_commits()
    for command in damage:
        nft(namespace, command)
    assert await firewall.foreign_commits() > before
    told = [each.words for each in await firewall.rule_drift()]
    assert [words for words in told if words.startswith(says)], told
    assert await firewall.read() == Ruleset({})
    await firewall.replace(installed.ruleset())
    assert await firewall.rule_drift() == ()
    assert installed.ruleset() == await firewall.read()


async def test_other_peoples_tables_are_left_alone_and_not_taken_for_damage(namespace: str, firewall: NftFirewall) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    nft(namespace, "add table ip theirs; add chain ip theirs input")
    assert await firewall.rule_drift() == ()
    assert installed.ruleset() == await firewall.read()
    await firewall.replace(installed.ruleset())
    await firewall.remove()
    assert [line for line in nft(namespace, "list", "ruleset").splitlines() if line.startswith("table")] == [
        "table ip theirs {"
    ]


async def test_changes_asked_for_at_once_take_their_turn(namespace: str, firewall: NftFirewall) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    changes = [installed.change(("default", str(n)), (service_port(str(n), f"10.96.7.{n}", FOUR),)) for n in range(1, 40)]
    await asyncio.gather(*(firewall.apply(change) for change in changes), firewall.read(), firewall.rule_drift())
    assert installed.ruleset() == await firewall.read()
