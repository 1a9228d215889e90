"""What becomes of open connections when their Service changes, and of new ones? Every change of type and of field, in a kernel.

Each test holds connections and UDP flows from a pod, from an endpoint, from the node and from outside, through every door to
every endpoint. It makes one change through the API, which the agent carries out, and then asks three things. Every connection
is still served by its endpoint, and was all the time. New ones meet, at the doors there are and at those there were, what the
simulator says. And UDP flows go on while their endpoint serves at their door, and are decided anew otherwise.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest
import pytest_asyncio
from agent_world import NODE_NAME
from transition_documents import (
    BOTH,
    FULL,
    INGRESS,
    TCP,
    UDP,
    draining,
    endpoint,
    endpoints,
    serve_by,
    served,
    service,
    slice_of,
)
from transition_stage import (
    BALANCERS,
    EXTERNAL,
    FAR,
    FAR_TOO,
    LONG,
    MOVED,
    NEAR,
    NEAR_TOO,
    OTHER_NODE_PORT,
    SERVED,
    SERVED_TOO,
    Document,
    Held,
    Stage,
    ask,
    bonds,
    doors,
    set_up,
)

from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.services.view import NodeView

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="module")]

SOON = 0.03
"""Seconds after which a question is asked again."""
PROXY_NAME, HEADLESS = "service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"

STATES: dict[str, Document] = {
    "ClusterIP": {"type": "ClusterIP"},
    "NodePort": {"type": "NodePort", "ports": BOTH},
    "LoadBalancer": {"type": "LoadBalancer", "ports": BOTH},
    "ExternalName": {"type": "ExternalName", "externalName": "www.example.com"},
    "headless": {"clusterIP": "None"},
    "ClusterIP with an external IP": {"externalIPs": EXTERNAL},
}
Change = Callable[[Stage], Coroutine[None, None, None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Stage]:
    """A stage with its agent, and two Services that never change but for their own tests: `bystander` and `marker`."""
    async with set_up() as made:
        for name in ("bystander", "marker"):
            await made.create(SERVICE, service(name))
            await made.create(ENDPOINT_SLICE, slice_of(name, "IPv4", endpoints(FAR)))
        async with made.agent() as made.dataplane:
            yield made
        assert made.firewall.replacements == 1, "the first load; all else were changes"


class Bystanders:
    """Connections of a Service that is not concerned, and a flow that tells when what was stale has been forgotten."""

    def __init__(self, lines: list[Held], marker: Held) -> None:
        self.lines, self.marker = lines, marker
        self.server = FAR

    async def forgotten(self, stage: Stage) -> None:
        """Returns when every flow that earlier changes made stale is forgotten.

        A first change of the marker may be seen to by a turn of the agent's that had begun before; a second one by a turn
        after it, which may still be busy; a third one tells that this is over.
        """
        for _ in range(3):
            self.server = FAR if self.server == FAR_TOO else FAR_TOO
            await stage.patch(ENDPOINT_SLICE, "marker-ipv4", endpoints(self.server))
            async with asyncio.timeout(LONG):
                while await ask(self.marker.client, SOON) != f"{self.server}:{SERVED}":
                    await asyncio.sleep(0.002)  # an answer on its way may be lost with the old flow


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bystanders(running: Stage) -> AsyncIterator[Bystanders]:
    view = await running.settled()
    lines = await running.hold(view, "bystander")
    (udp,) = (door for door in doors(view, "marker") if door.protocol == "UDP")
    marker = await running.open("pod", udp)
    yield Bystanders(lines, marker)
    for held in (*lines, marker):
        held.client.close()


async def goes_through(stage: Stage, others: Bystanders, before: NodeView, change: Change, gap: bool = False) -> None:
    """Makes the change while connections are in use, and asserts all that is promised of it.

    With a `gap` nobody serves for a moment, so a UDP flow may be forgotten though its endpoint serves again.
    """
    held = await stage.hold(before)
    try:
        writes, transactions = stage.writes, stage.firewall.transactions
        assert await stage.broken(held, meanwhile=change(stage)) == []
        after = await stage.settled()
        assert stage.firewall.transactions - transactions <= stage.writes - writes, "one for each write, or fewer"
        await others.forgotten(stage)
        async with asyncio.TaskGroup() as asking:
            astray = asking.create_task(stage.astray(held, after, gap))
            everywhere = {*doors(before), *doors(after)}
            surprises = asking.create_task(stage.surprises(after, everywhere, bonds(before, held)))
        assert (astray.result(), surprises.result()) == ([], [])
        assert await stage.broken(held) == []
        assert await stage.broken(others.lines) == []
        assert await stage.astray(others.lines, after) == []
    finally:
        for each in held:
            each.client.close()


def becomes(state: str, recreated: bool) -> Change:
    """The change of type, as a user makes it: what the API wipes by itself is left to it."""
    wanted = STATES[state]

    async def change(stage: Stage) -> None:
        if recreated:
            await stage.delete(SERVICE, "web")
            await stage.create(SERVICE, service(**wanted))
        else:
            cleared = {field: None for field in ("externalName", "externalIPs") if field not in wanted}
            await stage.patch(SERVICE, "web", {"spec": {"type": "ClusterIP", **cleared, **wanted}})
        if state == "LoadBalancer":
            await stage.patch(SERVICE, "web", {"status": INGRESS}, "status")
        await stage.settled()

    return change


PAIRS = [
    pytest.param(was, state, id=f"{was} becomes {state}" if was != state else f"{was} is created again")
    for was in STATES
    for state in STATES
    if was != state or was not in ("ExternalName", "headless")
]


@pytest.mark.parametrize(("was", "state"), PAIRS)
async def test_a_change_of_type(running: Stage, bystanders: Bystanders, was: str, state: str) -> None:
    """From and to headless by deleting and creating: the API allows nothing else. The same type means created again."""
    recreated = "headless" in (was, state) or was == state
    async with served(running, STATES[was], endpoints(NEAR, FAR)) as before:
        await goes_through(running, bystanders, before, becomes(state, recreated), gap=recreated)


def patched(change: Document, subresource: str = "") -> Change:
    async def make(stage: Stage) -> None:
        await stage.patch(SERVICE, "web", change, subresource)
        await stage.settled()

    return make


def spec(**fields: Any) -> Change:
    return patched({"spec": fields})


def status(ingress: Sequence[Document]) -> Change:
    return patched({"status": {"loadBalancer": {"ingress": ingress}}}, "status")


def label(name: str, value: str | None) -> Change:
    return patched({"metadata": {"labels": {name: value}}})


def slices(*steps: Document) -> Change:
    return lambda stage: serve_by(stage, *steps)


def both(*changes: Change) -> Change:
    async def change(stage: Stage) -> None:
        for each in changes:
            await each(stage)

    return change


async def deleted(stage: Stage) -> None:
    await stage.delete(SERVICE, "web")
    await stage.settled()


async def claimed_by_another(stage: Stage) -> None:
    """By a Service whose name comes first."""
    await stage.create(SERVICE, service("early", externalIPs=EXTERNAL))
    await stage.create(ENDPOINT_SLICE, slice_of("early", "IPv4", endpoints(FAR_TOO)))
    await stage.settled()


STICKY = {"sessionAffinity": "ClientIP"}
PAIR = endpoints(NEAR, FAR)
HINTED = endpoints(
    endpoint(NEAR, hints={"forZones": [{"name": "east"}]}), endpoint(FAR, hints={"forZones": [{"name": "west"}]})
)
ON_THE_NODE = endpoints(
    endpoint(NEAR, hints={"forZones": [{"name": "east"}], "forNodes": [{"name": NODE_NAME}]}),
    endpoint(FAR, hints={"forZones": [{"name": "east"}], "forNodes": [{"name": "node-b"}]}),
)
RENAMED = [{**port, "name": port["name"] + "-2"} for port in BOTH]
DUAL = {"ipFamilyPolicy": "RequireDualStack"}


def case(
    id: str, before: Document, change: Change, four: Document = PAIR, labels: Document | None = None, gap: bool = False
) -> Any:
    return pytest.param({**FULL, **before}, change, four, labels, gap, id=id)


FIELDS = [
    case("externalTrafficPolicy becomes Local", {}, spec(externalTrafficPolicy="Local")),
    case("externalTrafficPolicy becomes Cluster", {"externalTrafficPolicy": "Local"}, spec(externalTrafficPolicy="Cluster")),
    case(
        "externalTrafficPolicy becomes Local where no endpoint is",
        {}, spec(externalTrafficPolicy="Local"), endpoints(FAR, FAR_TOO),
    ),
    case("internalTrafficPolicy becomes Local", {}, spec(internalTrafficPolicy="Local")),
    case("internalTrafficPolicy becomes Cluster", {"internalTrafficPolicy": "Local"}, spec(internalTrafficPolicy="Cluster")),
    case(
        "internalTrafficPolicy becomes Local where no endpoint is",
        {}, spec(internalTrafficPolicy="Local"), endpoints(FAR, FAR_TOO),
    ),
    case("clients are remembered", {}, spec(**STICKY)),
    case("clients are remembered no more", STICKY, spec(sessionAffinity="None")),
    case("clients are remembered for less time", STICKY, spec(sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}})),
    case("an endpoint of remembered clients goes", STICKY, slices(endpoints(FAR))),
    case("source ranges leave all clients out", {}, spec(loadBalancerSourceRanges=["198.51.100.0/24"])),
    case("source ranges leave the outside out", {}, spec(loadBalancerSourceRanges=["10.244.0.0/16", "172.30.0.11/32"])),
    case("source ranges go", {"loadBalancerSourceRanges": ["10.244.0.0/16"]}, spec(loadBalancerSourceRanges=None)),
    case("another node port", {}, spec(ports=[{**TCP, "nodePort": OTHER_NODE_PORT}, UDP])),
    case(
        "the node ports go, the balancer stays",
        {}, spec(allocateLoadBalancerNodePorts=False, ports=[{**port, "nodePort": 0} for port in BOTH]),
    ),
    case("another port", {}, spec(ports=[{**port, "port": 81} for port in BOTH])),
    case(
        "another name of a port",
        {}, both(spec(ports=RENAMED), slices(endpoints(NEAR, FAR, names=("tcp-2", "udp-2")))), gap=True,
    ),
    case("another target port", {}, slices(endpoints(NEAR, FAR, port=SERVED_TOO))),
    case("UDP beside TCP", {"ports": [TCP]}, spec(ports=BOTH)),
    case("TCP beside UDP", {"ports": [UDP]}, spec(ports=BOTH)),
    case("TCP alone remains", {}, spec(ports=[TCP])),
    case("UDP alone remains", {}, spec(ports=[UDP])),
    case("trafficDistribution PreferSameZone", {}, both(spec(trafficDistribution="PreferSameZone"), slices(HINTED))),
    case("trafficDistribution PreferSameNode", {}, both(spec(trafficDistribution="PreferSameNode"), slices(ON_THE_NODE))),
    case(
        "no trafficDistribution any more",
        {"trafficDistribution": "PreferSameZone"}, both(spec(trafficDistribution=None), slices(PAIR)), HINTED,
    ),
    case("a second family", {}, spec(ipFamilyPolicy="PreferDualStack")),
    case("one family remains", DUAL, spec(ipFamilyPolicy="SingleStack")),
    case("handed to another proxy", {}, label(PROXY_NAME, "other")),
    case("taken back from another proxy", {}, label(PROXY_NAME, None), labels={PROXY_NAME: "other"}),
    case("the label headless comes", {}, label(HEADLESS, "")),
    case("the label headless goes", {}, label(HEADLESS, None), labels={HEADLESS: ""}),
    case("another address of the balancer", {}, status([{"ip": MOVED}])),
    case("no address of the balancer", {}, status([])),
    case("the balancer becomes a proxy", {}, status([{"ip": BALANCERS[0], "ipMode": "Proxy"}])),
    case("another Service takes the external IPs", {}, claimed_by_another),
    case("no external IPs", {}, spec(externalIPs=None)),
    case("the Service is deleted", {}, deleted),
    case("an endpoint comes", {}, slices(endpoints(NEAR, FAR, FAR_TOO))),
    case("an endpoint goes", {}, slices(endpoints(FAR)), PAIR),
    case("an endpoint drains", {}, slices(endpoints(draining(NEAR), FAR))),
    case("an endpoint drains and goes", {}, slices(endpoints(draining(NEAR), FAR), endpoints(FAR))),
    case(
        "an endpoint that drains is the last to serve here",
        {"externalTrafficPolicy": "Local"}, slices(endpoints(draining(NEAR), FAR)),
    ),
    case("all endpoints drain", {}, slices(endpoints(draining(NEAR), draining(FAR)))),
    case("an endpoint is not ready any more", {}, slices(endpoints(endpoint(NEAR, conditions={"ready": False}), FAR))),
    case(
        "an endpoint fails its probe and serves no more",
        {}, slices(endpoints(endpoint(NEAR, conditions={"ready": False, "serving": False}), FAR)),
    ),
    case("no endpoint remains", {}, slices(endpoints())),
    case("the first endpoints come", {}, slices(PAIR), endpoints()),
    case("another selector", {}, slices(endpoints(NEAR_TOO, FAR_TOO))),
]  # fmt: skip


@pytest.mark.parametrize(("before", "change", "four", "labels", "gap"), FIELDS)
async def test_a_change_of_a_field(
    running: Stage,
    bystanders: Bystanders,
    before: Document,
    change: Change,
    four: Document,
    labels: Document | None,
    gap: bool,
) -> None:
    async with served(running, before, four, labels) as view:
        await goes_through(running, bystanders, view, change, gap)
