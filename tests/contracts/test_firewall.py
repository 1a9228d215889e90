"""Do all firewalls keep the port's promises? The same questions to memory and to the kernel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from msgspec import structs

from mooring.dataplane import shapes
from mooring.dataplane.diff import Change, Transaction, diff
from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import ENDPOINTS, FRONTENDS, SERVICE_CIDRS, VERDICT_MAPS, Ruleset
from mooring.dataplane.skeleton import fingerprint
from mooring.edges.memory.firewall import MemoryFirewall
from mooring.edges.nft.firewall import NftFirewall
from mooring.ports.firewall import Firewall, FirewallError
from mooring.services.view import Entry, Pool, Protocol, ServicePort
from mooring.testing.netlab import bare_namespace
from mooring.testing.node_views import FOUR, SIX, Door, external_port, node_view, port_with, service_port, there

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
RANGES = ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "fd00::/8", "2001:db8::5/128")


def balanced(*allowed: str, affinity: int = 60) -> tuple[ServicePort, ...]:
    """A load balancer's port of each family, with source ranges and affinity."""
    doors = ((Door(Entry.LOAD_BALANCER, each, allowed=allowed),) for each in ("203.0.113.7", "2001:db8::7"))
    return tuple(
        port_with("lb", door, endpoints, affinity=affinity) for door, endpoints in zip(doors, (FOUR, SIX), strict=True)
    )


FULL = structs.replace(
    VIEW, services={**VIEW.services, ("default", "lb"): balanced(*RANGES)}, pod_interfaces=("veth*", "cni0", "eth0.1")
)
"""With everything that a view can say."""


@pytest.fixture(params=["memory", pytest.param("kernel", marks=pytest.mark.root)])
async def firewall(request: pytest.FixtureRequest) -> AsyncIterator[Firewall]:
    if request.param == "memory":
        yield MemoryFirewall()
        return
    with bare_namespace("firewall") as namespace, closing(NftFirewall(namespace)) as opened:
        yield opened


async def test_where_there_are_no_tables_nothing_is_read(firewall: Firewall) -> None:
    assert Ruleset({}) == await firewall.read()
    assert await firewall.rule_drift()


async def test_what_is_put_in_place_is_read_back(firewall: Firewall) -> None:
    wish = Installed.of(FULL).ruleset()
    await firewall.replace(wish)
    assert wish == await firewall.read()
    assert fingerprint() == wish.skeleton
    assert await firewall.rule_drift() == ()
    assert wish.elements == await firewall.look_up(wish.elements)


async def test_replacing_leaves_nothing_of_what_was_there(firewall: Firewall) -> None:
    await firewall.replace(Installed.of(VIEW).ruleset())
    other = Installed.of(node_view({"other": [service_port("other", "10.96.0.9", FOUR)]})).ruleset()
    await firewall.replace(other)
    assert other == await firewall.read()


async def test_a_transaction_changes_only_what_it_names(firewall: Firewall) -> None:
    installed = Installed.of(VIEW)
    await firewall.replace(installed.ruleset())
    await firewall.apply(installed.change(WEB, (service_port("web", "10.96.0.1", [*FOUR[1:], there("10.244.2.9")]),)))
    moved = structs.replace(VIEW, service_cidrs=("10.100.0.0/16",), pod_cidrs=("10.244.7.0/24",))
    await firewall.apply(installed.set_ranges(moved))
    await firewall.apply(installed.change(("default", "ext"), ()))
    assert installed.ruleset() == await firewall.read()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(("10.0.0.0/8",), ("10.1.0.0/16",), id="narrower"),
        pytest.param(("10.1.0.0/16", "10.2.0.0/16"), ("10.0.0.0/8",), id="wider"),
        pytest.param(("10.0.0.0/9",), ("10.64.0.0/10", "10.128.0.0/9"), id="overlapping"),
        pytest.param(("fd00::/8",), ("fd00::/9", "0.0.0.0/0"), id="of both families"),
        pytest.param((), RANGES, id="from nobody"),
        pytest.param(RANGES, (), id="to nobody"),
    ],
)
async def test_source_ranges_give_way_to_others_in_one_transaction(
    firewall: Firewall, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    installed = Installed.of(node_view({"lb": balanced(*before)}))
    await firewall.replace(installed.ruleset())
    await firewall.apply(installed.change(("default", "lb"), balanced(*after)))
    assert installed.ruleset() == await firewall.read()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param((), ("veth*",), id="from none"),
        pytest.param(("veth*", "cni0"), ("veth1*", "cni0"), id="narrower"),
        pytest.param(("veth1", "veth2"), ("veth*",), id="wider"),
    ],
)
async def test_how_pods_are_known_changes_in_one_transaction(
    firewall: Firewall, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    installed = Installed.of(structs.replace(VIEW, pod_interfaces=before))
    await firewall.replace(installed.ruleset())
    await firewall.apply(installed.set_ranges(structs.replace(VIEW, pod_interfaces=after, pod_cidrs=())))
    assert installed.ruleset() == await firewall.read()


async def test_numbers_of_shapes_are_used_again_with_their_chains(firewall: Firewall, monkeypatch: pytest.MonkeyPatch) -> None:
    """With affinity, each number of endpoints and timeout is a shape, and their numbers are few."""
    monkeypatch.setattr(shapes, "LAST_STICKY", shapes.FIRST_STICKY + 3)
    installed = Installed.of(node_view({"lb": balanced(*RANGES)}))
    await firewall.replace(installed.ruleset())
    for seconds in range(61, 70):
        await firewall.apply(installed.change(("default", "lb"), balanced(*RANGES, affinity=seconds)))
        assert installed.ruleset() == await firewall.read()
    assert await firewall.rule_drift() == ()


async def test_a_missing_shape_comes_back_whether_its_chain_is_there_or_not(firewall: Firewall) -> None:
    installed = Installed.of(FULL)
    await firewall.replace(installed.ruleset())
    missing = [
        Change(key, tuple(each for each in items.items() if b"pick" in each[1]), ())
        for key, items in installed.ruleset().elements.items()
        if key[1] in VERDICT_MAPS
    ]
    await firewall.apply(Transaction(tuple(missing)))
    await firewall.apply(installed.drift(await firewall.read()))
    assert installed.ruleset() == await firewall.read()
    assert await firewall.rule_drift() == ()


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
        pytest.param(
            Change(("ip", ENDPOINTS), ((b"\1" * 8, b""),), ()), "deleting from ip mooring endpoints: No such", id="absent"
        ),
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


async def test_what_others_commit_is_counted_and_what_we_commit_is_not(firewall: Firewall) -> None:
    installed = Installed.of(VIEW)
    begun = await firewall.foreign_commits()
    await firewall.replace(installed.ruleset())
    await firewall.apply(installed.change(WEB, ()))
    with pytest.raises(FirewallError):
        await firewall.apply(Transaction((Change(("ip", ENDPOINTS), ((b"\1" * 8, b""),), ()),)))
    await firewall.remove()
    assert begun == await firewall.foreign_commits()
    await _behind_its_back(firewall, Transaction(), installed.ruleset())
    await firewall.apply(installed.change(("default", "dns"), ()))
    assert await firewall.foreign_commits() == begun + 1
    assert await firewall.foreign_commits() == begun + 1, "asking is no commit"


async def test_elements_are_looked_up_as_they_are(firewall: Firewall) -> None:
    installed = Installed.of(VIEW)
    wish = installed.ruleset()
    await firewall.replace(wish)
    key, data = next(iter(wish.elements[("ip", FRONTENDS)].items()))
    altered = Change(("ip", FRONTENDS), ((key, data),), ((key, b"\0\0\0\0"),))
    await _behind_its_back(firewall, Transaction((altered,)))
    nobodys = b"\1" * 12
    asked = {("ip", FRONTENDS): [key, nobodys], ("ip6", SERVICE_CIDRS): [b"\1" * 32]}
    assert await firewall.look_up(asked) == {("ip", FRONTENDS): {key: b"\0\0\0\0"}, ("ip6", SERVICE_CIDRS): {}}


async def test_sets_can_be_left_out_of_a_reading(firewall: Firewall) -> None:
    wish = Installed.of(VIEW).ruleset()
    await firewall.replace(wish)
    found = await firewall.read({ENDPOINTS})
    assert found.elements == {key: items for key, items in wish.elements.items() if key[1] != ENDPOINTS}
    assert fingerprint() == found.skeleton


async def _behind_its_back(firewall: Firewall, transaction: Transaction, anew: Ruleset | None = None) -> None:
    """What somebody else does to the same tables."""
    if isinstance(firewall, MemoryFirewall):
        somebody = MemoryFirewall()
        await somebody.replace(anew or await firewall.read())
        await somebody.apply(transaction)
        firewall.elements = somebody.elements
        return
    with closing(NftFirewall(firewall.namespace)) as other:  # type: ignore[attr-defined]
        if anew:
            await other.replace(anew)
        await other.apply(transaction)


async def test_removing_twice_is_no_error(firewall: Firewall) -> None:
    await firewall.replace(Installed.of(VIEW).ruleset())
    await firewall.remove()
    await firewall.remove()
    assert Ruleset({}) == await firewall.read()


async def test_who_reads_after_a_cancelled_one_gets_answers(firewall: Firewall) -> None:
    """A thread that talks to the kernel cannot be stopped: the next talk must not take its answers."""
    wish = Installed.of(VIEW).ruleset()
    await firewall.replace(wish)
    for _ in range(20):
        reading = asyncio.create_task(firewall.read())
        await asyncio.sleep(0)
        reading.cancel()
        async with asyncio.timeout(30):
            assert wish == await firewall.read()
