"""Do all firewalls keep the port's promises? The same questions to memory and to the kernel."""

from collections.abc import AsyncIterator
from contextlib import closing

import pytest

from mooring.dataplane.diff import Change, Transaction, diff
from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import ENDPOINTS, FRONTENDS, Ruleset
from mooring.dataplane.skeleton import fingerprint
from mooring.edges.memory.firewall import MemoryFirewall
from mooring.edges.nft.firewall import NftFirewall
from mooring.ports.firewall import Firewall, FirewallError
from mooring.services.view import Pool, Protocol
from mooring.testing.netlab import bare_namespace
from mooring.testing.node_views import FOUR, SIX, external_port, node_view, service_port, there

WEB = ("default", "web")
VIEW = node_view(
    {
        "web": [service_port("web", "10.96.0.1", FOUR), service_port("web", "fd00:96::1", SIX)],
        "dns": [service_port("dns", "10.96.0.2", FOUR[3:], 53, Protocol.UDP), service_port("none", "10.96.0.3", [])],
        "ext": [
            external_port("ext", "203.0.113.1", FOUR, Pool.LOCAL),
            external_port("all", "203.0.113.1", FOUR, Pool.CLUSTER, 81),
        ],
    },
    ("10.96.0.0/16", "10.98.0.0/16", "255.255.255.0/24", "fd00:96::/112"),
)


@pytest.fixture(params=["memory", pytest.param("kernel", marks=pytest.mark.root)])
async def firewall(request: pytest.FixtureRequest) -> AsyncIterator[Firewall]:
    if request.param == "memory":
        yield MemoryFirewall()
        return
    with bare_namespace("firewall") as namespace, closing(NftFirewall(namespace)) as opened:
        yield opened


async def test_where_there_are_no_tables_nothing_is_read(firewall: Firewall) -> None:
    assert Ruleset({}) == await firewall.read()
    assert not await firewall.holds({})


async def test_what_is_put_in_place_is_read_back(firewall: Firewall) -> None:
    wish = Installed.of(VIEW).ruleset()
    await firewall.replace(wish)
    assert wish == await firewall.read()
    assert fingerprint() == wish.skeleton
    assert await firewall.holds(wish.elements)


async def test_replacing_leaves_nothing_of_what_was_there(firewall: Firewall) -> None:
    await firewall.replace(Installed.of(VIEW).ruleset())
    other = Installed.of(node_view({"other": [service_port("other", "10.96.0.9", FOUR)]})).ruleset()
    await firewall.replace(other)
    assert other == await firewall.read()


async def test_a_transaction_changes_only_what_it_names(firewall: Firewall) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    await firewall.apply(installed.change(WEB, (service_port("web", "10.96.0.1", [*FOUR[1:], there("10.244.2.9")]),)))
    await firewall.apply(installed.set_ranges(("10.100.0.0/16",), ("10.244.7.0/24",)))
    await firewall.apply(installed.change(("default", "ext"), ()))
    assert installed.ruleset() == await firewall.read()


async def test_many_elements_go_in_one_transaction(firewall: Firewall) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    many = [there(f"10.200.{n // 250}.{n % 250}") for n in range(5000)]
    await firewall.apply(installed.change(WEB, (service_port("web", "10.96.0.1", many),)))
    assert installed.ruleset() == await firewall.read()


async def test_an_empty_transaction_needs_no_tables(firewall: Firewall) -> None:
    await firewall.apply(Transaction())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(Change(("ip", ENDPOINTS), (b"\1" * 8,), ()), "deleting from ip mooring endpoints: No such", id="absent"),
        pytest.param(
            Change(("ip", FRONTENDS), (), ((bytes([10, 96, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0]), b"\1\1\1\1"),)),
            "adding to ip mooring frontends: File exists",
            id="there with other data",
        ),
    ],
)
async def test_a_refused_transaction_says_why_and_changes_nothing(firewall: Firewall, change: Change, says: str) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    good = installed.change(("default", "new"), (service_port("new", "10.96.0.77", FOUR),))
    before = await firewall.read()
    with pytest.raises(FirewallError, match=says):
        await firewall.apply(Transaction((*good.changes, change)))
    assert before == await firewall.read()
    await firewall.replace(installed.ruleset())
    assert installed.ruleset() == await firewall.read()


async def test_a_transaction_without_tables_is_refused(firewall: Firewall) -> None:
    want = Installed.of(VIEW).ruleset()
    with pytest.raises(FirewallError, match="No such file"):
        await firewall.apply(diff({}, want.elements))


async def test_elements_that_went_behind_our_back_are_missed(firewall: Firewall) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    expected = installed.sample([WEB])
    assert await firewall.holds(expected)
    behind = firewall if isinstance(firewall, MemoryFirewall) else NftFirewall(firewall.namespace)  # type: ignore[attr-defined]
    key, data = next(iter(expected[("ip", FRONTENDS)].items()))
    await behind.apply(Transaction((Change(("ip", FRONTENDS), (key,), ((key, b"\0\0\0\0"),)),)))
    assert not await firewall.holds(expected)
    await behind.apply(Transaction((Change(("ip", FRONTENDS), (key,), ((key, data),)),)))
    assert await firewall.holds(expected)
    await behind.remove()
    assert not await firewall.holds(expected)
    if isinstance(behind, NftFirewall):
        behind.close()


async def test_removing_twice_is_no_error(firewall: Firewall) -> None:
    await firewall.replace(Installed.of(VIEW).ruleset())
    await firewall.remove()
    await firewall.remove()
    assert Ruleset({}) == await firewall.read()
