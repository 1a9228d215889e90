"""Addresses for Services of type LoadBalancer, from the built-in pool."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from workloads import applied, change, document, node, said, service

from mooring.alloc.pool import parse
from mooring.app.roles.controllers import Controllers
from mooring.control.amend import delete
from mooring.control.conditions import condition
from mooring.control.reconciler import Document
from mooring.control.reconcilers.load_balancers import CONDITION, FINALIZER, MARK, LoadBalancers
from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import CORE_EVENT, NAMESPACE, NODE, SERVICE, SERVICE_CIDR, Kind
from mooring.ports.api import ApiError
from mooring.testing.clock import virtual_time
from mooring.testing.world import MemoryWorld, settle

POOL = "172.30.1.0/30,fd00:1::/126"
KEY = ("default", "web")
OURS = {"annotations": {MARK: "pool"}, "finalizers": [FINALIZER]}
ENSURED = ["Normal EnsuringLoadBalancer Ensuring load balancer", "Normal EnsuredLoadBalancer Ensured load balancer"]
GIVEN_BACK = ["Normal DeletingLoadBalancer Deleting load balancer", "Normal DeletedLoadBalancer Deleted load balancer"]
FAILED = "Warning SyncLoadBalancerFailed Error syncing load balancer: failed to ensure load balancer: "


def balancer(name: str = "web", *, has: tuple[str, ...] = (), metadata: Document | None = None, **spec) -> Document:
    made = service(name, **{"type": "LoadBalancer", "ipFamilies": ["IPv4"], **spec})
    made["metadata"] |= metadata or {}
    made["status"] = {"loadBalancer": {"ingress": [{"ip": each, "ipMode": "VIP"} for each in has]} if has else {}}
    return made


def pool(text: str = POOL) -> LoadBalancers:
    return LoadBalancers(parse(text))


def has(world: MemoryWorld, name: str = "web") -> list[str]:
    balancer = world.get(SERVICE, "default", name)["status"]["loadBalancer"]
    return [each["ip"] for each in balancer.get("ingress", ())]


def state(world: MemoryWorld, name: str = "web") -> str:
    """The condition: '' when all is well, 'reason: message' when not, 'none' when there is none."""
    found = condition(world.get(SERVICE, "default", name), CONDITION)
    if found is None:
        return "none"
    return "" if found["status"] == "True" else f"{found['reason']}: {found['message']}"


def test_it_gets_an_address_a_finalizer_and_a_condition():
    world = MemoryWorld([balancer()])
    settled = settle(pool(), world)
    made = world.get(SERVICE, *KEY)
    assert [{"ip": "172.30.1.1", "ipMode": "VIP"}] == made["status"]["loadBalancer"]["ingress"]
    assert ([FINALIZER], "pool", "") == (made["metadata"]["finalizers"], made["metadata"]["annotations"][MARK], state(world))
    assert ENSURED == said(settled.reports)


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        (["IPv4"], ["172.30.1.1"]),
        (["IPv6"], ["fd00:1::1"]),
        (["IPv4", "IPv6"], ["172.30.1.1", "fd00:1::1"]),
        (["IPv6", "IPv4"], ["fd00:1::1", "172.30.1.1"]),
    ],
)
def test_an_address_for_each_family_in_the_services_order(families, expected):
    world = MemoryWorld([balancer(ipFamilies=families)])
    settle(pool(), world)
    assert expected == has(world)


def test_families_come_and_go_and_the_other_address_stays():
    world = MemoryWorld([balancer(ipFamilies=["IPv4", "IPv6"])])
    settle(pool(), world)
    change(world, SERVICE, "web", spec={"ipFamilies": ["IPv6"]})
    settle(pool(), world)
    assert ["fd00:1::1"] == has(world)
    change(world, SERVICE, "web", spec={"ipFamilies": ["IPv6", "IPv4"]})
    settle(pool(), world)
    assert ["fd00:1::1", "172.30.1.1"] == has(world)


@pytest.mark.parametrize(
    ("made", "given"),
    [
        (balancer(loadBalancerClass="mooring.dev/pool"), True),
        (balancer(loadBalancerClass="example.com/other"), False),
        (balancer(loadBalancerClass="example.com/other", has=("172.30.1.1",)), False),
        (balancer(has=("203.0.113.1",)), False),
        (service("web", ["10.96.0.7"], type="ClusterIP"), False),
        (service("web", ["10.96.0.7"], type="NodePort"), False),
        (
            balancer(loadBalancerClass="example.com/other", metadata={"finalizers": [FINALIZER], "deletionTimestamp": "2026"}),
            False,
        ),
        (balancer(type="ClusterIP", metadata={"finalizers": [FINALIZER]}), False),
    ],
    ids=[
        "of our class",
        "of another class",
        "of another class, whatever its status",
        "of no class, but somebody else has given it an address",
        "a ClusterIP",
        "a NodePort",
        "of another class, being deleted",
        "no load balancer any more, and never ours",
    ],
)
def test_whose_load_balancer_it_is(made, given):
    world = MemoryWorld([made])
    before = world.get(SERVICE, *KEY)
    settle(pool(), world)
    assert given == (world.get(SERVICE, *KEY) != before)


def test_no_two_services_share_an_address_and_a_full_pool_says_so():
    world = MemoryWorld([balancer("a"), balancer("b"), balancer("c")])
    settled = settle(pool(), world)
    assert [["172.30.1.1"], ["172.30.1.2"], []] == [has(world, name) for name in "abc"]
    assert "NoFreeAddress: no free address in 172.30.1.0/30; 2 in use" == state(world, "c")
    assert f"{FAILED}no free address in 172.30.1.0/30; 2 in use" == said(settled.reports)[-1]


def test_who_waits_gets_what_is_given_back_the_eldest_first():
    late = {"creationTimestamp": "2026-01-01T00:00:09Z"}
    reconciler, world = pool(), MemoryWorld([balancer("a"), balancer("b"), balancer("c", metadata=late), balancer("d")])
    settle(reconciler, world)
    world.changes = []
    world.remove(SERVICE, "default", "a")
    woken = [*reconciler.keys(world.changes[-1], world)]
    assert [("default", name) for name in "adc"] == woken
    plan = applied(reconciler, world, woken[1])
    assert (["172.30.1.1"], "", ENSURED) == (has(world, "d"), state(world, "d"), said(plan.reports))


def test_only_the_change_that_frees_an_address_wakes_those_that_wait():
    reconciler, world = pool(), MemoryWorld([balancer("a"), balancer("b"), balancer("c")])
    settle(reconciler, world)
    world.changes = []
    change(world, SERVICE, "a", spec={"sessionAffinity": "ClientIP"})
    assert [("default", "a")] == [*reconciler.keys(world.changes[-1], world)]
    change(world, SERVICE, "a", spec={"type": "ClusterIP"})
    assert [("default", "a"), ("default", "c")] == [*reconciler.keys(world.changes[-1], world)]


def test_the_other_familys_address_does_not_wait_for_the_missing_one():
    world = MemoryWorld([balancer(ipFamilies=["IPv6", "IPv4"])])
    settle(pool("172.30.1.0/30"), world)
    assert (["172.30.1.1"], "NoRangeOfFamily: no IPv6 range in the pool") == (has(world), state(world))


@pytest.mark.parametrize(
    ("asked", "spec", "expected", "problem"),
    [
        ("172.30.1.2", {}, ["172.30.1.2"], ""),
        ("fd00:1::3", {"ipFamilies": ["IPv4", "IPv6"]}, ["172.30.1.1", "fd00:1::3"], ""),
        ("172.30.9.9", {}, [], "AddressNotInPool: spec.loadBalancerIP: 172.30.9.9 is not in the pool (172.30.1.0/30)"),
        ("fd00:1::3", {}, [], "AddressNotValid: spec.loadBalancerIP: fd00:1::3 is not IPv4, as this service is"),
        ("web.example", {}, [], "AddressNotValid: spec.loadBalancerIP: web.example is no IP address"),
    ],
    ids=["in the pool", "of one family of two", "not in the pool", "of another family", "no address"],
)
def test_the_address_that_is_asked_for_or_none(asked, spec, expected, problem):
    world = MemoryWorld([balancer(loadBalancerIP=asked, **spec)])
    settle(pool(), world)
    assert (expected, problem) == (has(world), state(world))


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        (balancer("other", has=("172.30.1.2",), metadata=OURS), "172.30.1.2 is taken by service default/other"),
        (balancer("other", loadBalancerClass="x.y/z", has=("172.30.1.2",)), "172.30.1.2 is taken by service default/other"),
        (service("other", ["10.96.0.1"], externalIPs=["172.30.1.2"]), "172.30.1.2 is an external IP of service default/other"),
        (
            node("n", status={"addresses": [{"type": "InternalIP", "address": "172.30.1.2"}]}),
            "172.30.1.2 is the address of node n",
        ),
        (document(SERVICE_CIDR, "more", spec={"cidrs": ["172.30.1.2/31"]}), "172.30.1.2 is in the service range 172.30.1.2/31"),
    ],
    ids=["of a load balancer", "of another provider's", "an external IP", "of a node", "in a service range"],
)
def test_an_address_that_somebody_has_is_given_to_nobody_else(other, problem):
    world = MemoryWorld([other, balancer(loadBalancerIP="172.30.1.2"), balancer("any"), balancer("more")])
    settle(pool(), world)
    assert ([], f"AddressTaken: spec.loadBalancerIP: {problem}") == (has(world), state(world))
    assert [["172.30.1.1"], []] == [has(world, "any"), has(world, "more")]


def test_an_address_moves_to_the_one_that_is_asked_for_once_that_is_free():
    world = MemoryWorld([balancer("other"), balancer()])
    settle(pool(), world)
    assert ["172.30.1.2"] == has(world)
    change(world, SERVICE, "web", spec={"loadBalancerIP": "172.30.1.1"})
    settle(pool(), world)
    taken = "AddressTaken: spec.loadBalancerIP: 172.30.1.1 is taken by service default/other"
    assert (["172.30.1.2"], taken) == (has(world), state(world))
    world.remove(SERVICE, "default", "other")
    settle(pool(), world)
    assert (["172.30.1.1"], "") == (has(world), state(world))
    change(world, SERVICE, "web", spec={"loadBalancerIP": ""})
    assert () == settle(pool(), world).writes


def test_addresses_stay_whatever_else_changes_and_whoever_comes():
    world = MemoryWorld([balancer("b")])
    settle(pool(), world)
    world.add(balancer("a"))
    change(world, SERVICE, "b", spec={"externalTrafficPolicy": "Local"})
    settle(pool(), world)
    assert [["172.30.1.2"], ["172.30.1.1"]] == [has(world, name) for name in "ab"]


def test_addresses_in_the_status_are_adopted_without_a_word():
    world = MemoryWorld([balancer("a"), balancer(has=("172.30.1.1",))])
    settled = settle(pool(), world)
    assert [["172.30.1.2"], ["172.30.1.1"]] == [has(world, name) for name in ("a", "web")]
    assert [FINALIZER] == world.get(SERVICE, *KEY)["metadata"]["finalizers"]
    assert 2 == len(settled.reports)


def test_of_two_that_hold_one_address_the_elder_keeps_it():
    late = {**OURS, "creationTimestamp": "2026-01-01T00:00:09Z"}
    world = MemoryWorld([balancer("a", has=("172.30.1.1",), metadata=late), balancer("b", has=("172.30.1.1",), metadata=OURS)])
    settle(pool(), world)
    assert [["172.30.1.2"], ["172.30.1.1"]] == [has(world, name) for name in "ab"]


def test_a_status_written_over_somebodys_head_is_put_right():
    reconciler, world = pool(), MemoryWorld([balancer("a"), balancer("b")])
    settle(reconciler, world)
    world.changes = []
    change(world, SERVICE, "a", status={"loadBalancer": {"ingress": [{"ip": "172.30.1.2", "ipMode": "VIP"}]}})
    assert [("default", "a"), ("default", "b")] == sorted(reconciler.keys(world.changes[-1], world))
    settle(reconciler, world)
    assert [["172.30.1.2"], ["172.30.1.1"]] == [has(world, name) for name in "ab"]


@pytest.mark.parametrize("lost", [{"loadBalancer": {}}, {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}])
def test_a_status_of_ours_that_somebody_wrote_is_put_right(lost):
    world = MemoryWorld([balancer()])
    settle(pool(), world)
    change(world, SERVICE, "web", status=lost)
    settle(pool(), world)
    assert ["172.30.1.1"] == has(world)


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "ExternalName"])
def test_a_change_of_type_gives_the_address_back_and_leaves_no_trace(kind):
    world = MemoryWorld([balancer("a", metadata={"finalizers": ["example.com/hold"], "annotations": {"theirs": "x"}})])
    settle(pool(), world)
    change(world, SERVICE, "a", spec={"type": kind}, status={"loadBalancer": {}})  # as the API server wipes it
    settled = settle(pool(), world)
    left = world.get(SERVICE, "default", "a")
    assert (["example.com/hold"], {"theirs": "x"}) == (left["metadata"]["finalizers"], left["metadata"]["annotations"])
    assert {"loadBalancer": {}} == left["status"]
    assert GIVEN_BACK == said(settled.reports)
    world.add(balancer("b"))
    settle(pool(), world)
    assert ["172.30.1.1"] == has(world, "b")


@pytest.mark.parametrize("other", [[], ["example.com/hold"]], ids=["the last finalizer", "one of two finalizers"])
def test_a_deleted_one_is_let_go(other):
    world = MemoryWorld([balancer(metadata={"finalizers": list(other)})])
    settle(pool(), world)
    world.write(delete(SERVICE, world.get(SERVICE, *KEY)))
    settled = settle(pool(), world)
    left = world.get(SERVICE, *KEY)
    assert (other or None) == (left and left["metadata"]["finalizers"])
    assert {"loadBalancer": {}} == (left["status"] if left else {"loadBalancer": {}})
    assert GIVEN_BACK == said(settled.reports)


def test_what_became_another_providers_in_the_meantime_is_left_to_it():
    made = balancer(loadBalancerClass="example.com/other", has=("203.0.113.1",), metadata=OURS)
    world = MemoryWorld([made])
    settled = settle(pool(), world)
    left = world.get(SERVICE, *KEY)
    assert (["203.0.113.1"], [FINALIZER]) == (has(world), left["metadata"]["finalizers"])
    assert ((), None) == (settled.reports, left["metadata"].get("annotations"))


def test_a_pool_that_shrank_gives_others_or_none():
    world = MemoryWorld([balancer("a"), balancer("b")])
    settle(pool("172.30.1.0/29"), world)
    settle(pool("172.30.1.2-172.30.1.2"), world)
    assert [[], ["172.30.1.2"]] == [has(world, name) for name in "ab"]
    assert "NoFreeAddress: no free address in 172.30.1.2-172.30.1.2; 1 in use" == state(world, "a")


def test_without_a_pool_all_is_taken_back_and_nothing_holds_a_deletion_up():
    world = MemoryWorld(
        [balancer("a"), balancer("b", loadBalancerClass="mooring.dev/pool"), balancer("c", has=("203.0.113.1",))]
    )
    settle(pool(), world)
    settled = settle(LoadBalancers(), world)
    assert [[], [], ["203.0.113.1"]] == [has(world, name) for name in "abc"]
    assert not world.get(SERVICE, "default", "a")["metadata"].get("finalizers")
    asked = "NoRangeOfFamily: there is no pool; --load-balancer-pool of the controllers makes one"
    assert ["none", asked, "none"] == [state(world, name) for name in "abc"]
    assert GIVEN_BACK[0] in said(settled.reports)
    world.write(delete(SERVICE, world.get(SERVICE, "default", "b")))
    settle(LoadBalancers(), world)
    assert world.get(SERVICE, "default", "b") is None


def test_a_crash_after_any_write_is_made_good_by_the_next_start():
    """The writes of a life with every event in it, cut off after each in turn."""
    turns = (
        lambda world: world.add(balancer("a", ipFamilies=["IPv4", "IPv6"])),
        lambda world: world.add(balancer("b")),
        lambda world: change(world, SERVICE, "a", spec={"type": "ClusterIP"}, status={"loadBalancer": {}}),
        lambda world: world.add(balancer("c")),
        lambda world: world.write(delete(SERVICE, world.get(SERVICE, "default", "b"))),
    )

    def live(crash_at: int) -> tuple[MemoryWorld, int]:
        world, written = MemoryWorld(), 0
        for turn in turns:
            turn(world)
            for key in [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in world.list(SERVICE)]:
                for write in pool().plan(key, world).writes:
                    if written == crash_at:
                        break
                    world.write(write)
                    written += 1
        settle(pool(), world)
        return world, written

    whole, count = live(-1)
    assert count >= 7
    for crash_at in range(count):
        world, _ = live(crash_at)
        for name in "abc":
            one, other = (each.get(SERVICE, "default", name) for each in (whole, world))
            assert (one is None) == (other is None)
            if one and other:
                assert len(has(whole, name)) == len(has(world, name)), crash_at
                assert one["metadata"].get("finalizers") == other["metadata"].get("finalizers")
                assert state(whole, name) == state(world, name)
        given = [address for each in world.list(SERVICE) for address in has(world, each["metadata"]["name"])]
        assert sorted(set(given)) == sorted(given)


def test_nodes_and_service_ranges_that_go_free_their_addresses():
    address = {"addresses": [{"type": "InternalIP", "address": "172.30.1.1"}]}
    world = MemoryWorld(
        [node("n", status=address), document(SERVICE_CIDR, "more", spec={"cidrs": ["172.30.1.2/32"]}), balancer()]
    )
    settle(pool(), world)
    assert [] == has(world)
    world.remove(SERVICE_CIDR, "", "more")
    settle(pool(), world)
    assert ["172.30.1.2"] == has(world)
    world.add(balancer("next"))
    settle(pool(), world)
    assert [] == has(world, "next")
    world.remove(NODE, "", "n")
    settle(pool(), world)
    assert ["172.30.1.1"] == has(world, "next")


@asynccontextmanager
async def running(api: MemoryApi, text: str = POOL) -> AsyncIterator[None]:
    """The reconciler's loop, from its start to its end."""
    task = asyncio.create_task(Controllers(api, (pool(text),), CollectorRegistry()).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def seen(api: MemoryApi, name: str, wanted: list[str] | None) -> Document | None:
    """The Service once it has these addresses; None once it is gone."""
    async with asyncio.timeout(60):
        while True:
            try:
                held = await api.get(SERVICE, "default", name)
            except ApiError as error:
                assert error.reason == "NotFound"
                held = None
            ingress = held["status"]["loadBalancer"].get("ingress", ()) if held else ()
            finalizers = held["metadata"].get("finalizers") if held else None
            if (held and [each["ip"] for each in ingress]) == wanted and bool(ingress) == bool(finalizers):
                return held
            await asyncio.sleep(0.05)


def test_a_life_on_the_api_servers_core_over_several_starts():
    async def scenario() -> None:
        api = MemoryApi()

        async def create(kind: Kind, document: Document) -> None:
            await api.write("create", kind, "default" if kind.namespaced else "", "", document)

        async def patch(name: str, spec: Document) -> None:
            await api.write("patch", SERVICE, "default", name, {"spec": spec})

        await create(NAMESPACE, document(NAMESPACE, "default"))
        for name in ("a", "b", "c"):
            await create(SERVICE, document(SERVICE, name, spec={"type": "LoadBalancer", "ports": [{"port": 80}]}))
        async with running(api):
            await seen(api, "a", ["172.30.1.1"])
            await seen(api, "b", ["172.30.1.2"])
        events = {each["involvedObject"]["name"]: each for each in (await api.list(CORE_EVENT, "default")).items}
        assert ("SyncLoadBalancerFailed", "service-controller") == (events["c"]["reason"], events["c"]["source"]["component"])
        assert events["c"]["message"].endswith("no free address in 172.30.1.0/30; 2 in use")
        await patch("a", {"type": "ClusterIP"})  # while nobody looks
        async with running(api):
            await seen(api, "c", ["172.30.1.1"])
            left = await seen(api, "a", [])
            assert left and (FINALIZER not in left["metadata"].get("finalizers", ())) and left["status"] == {"loadBalancer": {}}
            await patch("a", {"type": "NodePort"})
        await api.write("delete", SERVICE, "default", "b")
        assert (await api.get(SERVICE, "default", "b"))["metadata"]["deletionTimestamp"]
        await patch("a", {"type": "LoadBalancer", "loadBalancerIP": "172.30.1.2"})
        async with running(api):
            await seen(api, "b", None)
            await seen(api, "a", ["172.30.1.2"])
        async with running(api, ""):
            await seen(api, "a", [])
            await seen(api, "c", [])

    with virtual_time() as run:
        run(scenario())
