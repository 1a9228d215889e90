"""Can people and other tools live with our tables? `nft` lists them, and what it says is what we meant."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import pytest

from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import Ruleset
from mooring.dataplane.skeleton import skeleton
from mooring.edges.nft.firewall import NftFirewall
from mooring.services.view import Pool
from mooring.testing.netlab import bare_namespace
from mooring.testing.node_views import FOUR, SIX, external_port, node_view, service_port

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


@pytest.mark.parametrize("family", ["ip", "ip6"])
async def test_nft_reads_each_rule_it_can_write_as_we_write_it(namespace: str, firewall: NftFirewall, family: str) -> None:
    """It writes `ct status ! dnat` for `ct status & dnat == 0x0`, and leaves out a test that the next statement implies."""
    await firewall.replace(Installed.of(VIEW).ruleset())
    listed = nft(namespace, "list", "table", family, "mooring")
    ours = [rule.text for chain in skeleton(family) for rule in chain.rules]
    writable = [rule for rule in ours if "vmap" not in rule and "@frontends" not in rule]
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
    "damage",
    ["flush ruleset", "flush chain ip mooring services", "delete table ip6 mooring", "flush map ip mooring endpoints"],
)
async def test_damage_by_others_is_noticed(namespace: str, firewall: NftFirewall, damage: str) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    nft(namespace, *damage.split())
    assert not await firewall.holds(installed.sample([("default", "web")]))
    await firewall.replace(installed.ruleset())
    assert await firewall.holds(installed.sample([("default", "web")]))


async def test_other_peoples_tables_are_left_alone_and_not_taken_for_damage(namespace: str, firewall: NftFirewall) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    nft(namespace, "add table ip theirs; add chain ip theirs input")
    assert await firewall.holds(installed.sample([("default", "web")]))
    await firewall.replace(installed.ruleset())
    await firewall.remove()
    assert [line for line in nft(namespace, "list", "ruleset").splitlines() if line.startswith("table")] == [
        "table ip theirs {"
    ]


async def test_changes_asked_for_at_once_take_their_turn(namespace: str, firewall: NftFirewall) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    changes = [installed.change(("default", str(n)), (service_port(str(n), f"10.96.7.{n}", FOUR),)) for n in range(1, 40)]
    await asyncio.gather(*(firewall.apply(change) for change in changes), firewall.read(), firewall.holds({}))
    assert installed.ruleset() == await firewall.read()
