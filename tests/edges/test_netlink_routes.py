"""Routes to the other nodes' pods, and routes of ours in the kernel."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.edges.netlink import namespaces
from mooring.edges.netlink.routes import PROTOCOL, Route, RouteError, apply, changes, present, routes
from mooring.edges.netlink.topology import ensure, remove, topology
from mooring.model.node import Node, node


def member(name: str, ranges: tuple[str, ...], addresses: tuple[str, ...]) -> Node:
    return node(
        {
            "metadata": {"name": name},
            "spec": {"podCIDRs": list(ranges)} if ranges else {},
            "status": {"addresses": [{"type": "InternalIP", "address": address} for address in addresses]},
        }
    )


A = member("a", ("10.244.0.0/24", "fd00:244::/64"), ("172.30.0.11", "fd00:172:30::11"))
B = member("b", ("10.244.1.0/24", "fd00:244:0:1::/64"), ("172.30.0.12", "fd00:172:30::12"))


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([A], set()),
        ([A, B], {Route("10.244.1.0/24", ("172.30.0.12",)), Route("fd00:244:0:1::/64", ("fd00:172:30::12",))}),
        ([A, member("b", (), ("172.30.0.12",))], set()),
        ([A, member("b", ("10.244.1.0/24",), ())], set()),
        ([A, B, member("c", ("nonsense", "10.244.2.0/24"), ("", "no\naddress", "fe80::1%1"))], routes([B], "a")),
        (
            [A, member("b", ("10.244.1.0/24", "fd00:244:0:1::/64"), ("172.30.0.12",))],
            {Route("10.244.1.0/24", ("172.30.0.12",))},
        ),
    ],
    ids=[
        "a node needs no route to itself",
        "both families by the address of the same family",
        "a node without a range gets none yet",
        "a node without an address gets none yet",
        "what is no range and no address costs the others nothing",
        "a family without an address gets none",
    ],
)
def test_routes_follow_from_the_nodes(nodes: list[Node], expected: set[Route]) -> None:
    assert expected == routes(nodes, "a")


def test_the_older_single_range_field_counts_too() -> None:
    old = node({"metadata": {"name": "b"}, "spec": {"podCIDR": "10.244.1.0/24"}, "status": B_STATUS})
    assert {Route("10.244.1.0/24", ("172.30.0.12",))} == routes([A, old], "a")


B_STATUS = {"addresses": [{"type": "InternalIP", "address": "172.30.0.12"}]}

any_route = st.builds(
    Route,
    st.integers(0, 20).map(lambda number: f"10.244.{number}.0/24"),
    st.sets(st.integers(2, 6), min_size=1).map(lambda found: tuple(f"172.30.0.{number}" for number in sorted(found))),
)
tables = st.sets(any_route).map(lambda found: {route.range: route for route in found}).map(lambda found: set(found.values()))


@given(have=tables, want=tables)
def test_carrying_the_changes_out_gives_the_wish_and_never_drops_a_wanted_range(have: set[Route], want: set[Route]) -> None:
    kernel = {route.range: route.via for route in have}
    always = {route.range for route in have} & {route.range for route in want}
    for line in changes(have, want):
        verb, subject, _, protocol, *hops = line.split()[1:]
        assert protocol == PROTOCOL
        if verb == "replace":
            kernel[subject] = tuple(hop for hop in hops if hop not in ("via", "nexthop"))
        else:
            del kernel[subject]
        assert always <= kernel.keys()
    assert want == {Route(subject, via) for subject, via in kernel.items()}
    assert changes(want, want) == ()


@pytest.fixture
def place() -> Iterator[str]:
    cluster = f"t{secrets.token_hex(4)}"
    made = topology(cluster, ["n"], ["172.30.0.0/24", "fd00:172:30::/64"], ranges=[], dns=())
    ensure(made)
    yield made.namespace("n")
    remove(cluster)


@pytest.mark.root
def test_the_kernel_takes_them_gives_them_back_and_keeps_foreign_routes(place: str) -> None:
    wanted = routes([A, B], "a")
    foreign = f"10.99.0.0/24 via 172.30.0.1 proto {int(PROTOCOL) + 1}"

    async def work() -> None:
        assert await apply(wanted) == 2
        assert wanted == await present()
        assert await apply(wanted) == 0
        process = await asyncio.create_subprocess_exec("ip", "route", "add", *foreign.split())
        assert await process.wait() == 0
        assert await apply(()) == 2
        assert frozenset() == await present()
        with pytest.raises(RouteError, match="gateway"):
            await apply([Route("10.244.8.0/24", ("203.0.113.9",)), Route("10.244.9.0/24", ("172.30.0.12",))])
        assert {Route("10.244.9.0/24", ("172.30.0.12",))} == await present()

    # The event loop's worker threads are made inside the namespace too, by a thread that is in it.
    namespaces.within(place, lambda: asyncio.run(work()))


@pytest.mark.root
@pytest.mark.parametrize(
    ("subject", "prefix"), [("172.30.1.1/32", "172.30.0."), ("fd00:172:30:1::1/128", "fd00:172:30::")], ids=["IPv4", "IPv6"]
)
def test_a_route_by_several_neighbours_loses_and_gains_them(place: str, subject: str, prefix: str) -> None:
    other = Route(subject.replace("1/", "9/"), (f"{prefix}31", f"{prefix}32"))

    async def work() -> None:
        for numbers in ((21, 22, 23), (22,), (22, 24), (21, 22, 23, 24), (21,), (23, 24)):
            wanted = {Route(subject, tuple(f"{prefix}{number}" for number in numbers)), other}
            await apply(wanted, place)
            assert wanted == await present(place)
        await apply([other], place)
        assert {other} == await present(place)

    asyncio.run(work())
