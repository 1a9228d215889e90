"""What comes between two steps: what does Envoy get, and what is remembered, when changes, answers and restarts cross?"""

from pathlib import Path

import pytest
from envoy_lab import NOW, RawEmitter, resources, table, to
from xds_client import Client

from mooring.edges.envoy.pace import Pace
from mooring.edges.envoy.proxy import EnvoyProxy
from mooring.edges.envoy.stream import Snapshot, Verdict
from mooring.edges.spare_certificate import spare_certificate
from mooring.routing.placement import Placement
from mooring.routing.table import Member
from mooring.routing.xds.wire import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resources

MEMBERS = (Member("127.0.0.1", 81),)
TIMEOUT = {"connect_timeout": "2s"}


class Control:
    """An EnvoyProxy and a client of one stream, each step of both on command."""

    def __init__(self, folder: Path) -> None:
        placement = Placement(str(folder), ("127.0.0.1",))
        self.proxy = EnvoyProxy(placement, RawEmitter(), spare_certificate(folder, NOW))
        self.client = Client(checks=False)

    @property
    def published(self) -> Snapshot:
        found = self.proxy.ads._snapshot
        assert found is not None
        return found

    def take(self, made: Resources) -> None:
        clusters = made[CLUSTER]
        self.proxy._take(table(["h"], clusters), made)

    def told(self) -> list[str]:
        """Type and name of what is sent."""
        return [text.partition("@")[0] for text in self.client.told(self.published)]

    def accept(self, kind: str) -> None:
        self._heard(self.client.accept(kind))

    def reject(self, kind: str) -> None:
        self._heard(self.client.reject(kind, "no"))

    def _heard(self, verdict: Verdict | None) -> None:
        if verdict is not None:
            self.proxy._heard(verdict)

    def settle(self) -> list[str]:
        found: list[str] = []
        while told := self.told():
            found += told
            for kind in dict.fromkeys(text.lstrip("-").partition("/")[0] for text in told):
                self.accept(kind)
        return found


@pytest.fixture
async def control(tmp_path: Path) -> Control:
    """A client that has cluster c, its endpoints, the listener and the routes to it."""
    made = Control(tmp_path)
    made.proxy.endpoints({"c": MEMBERS})
    made.take(resources(80, {"h": [to("c")]}, {"c": {}}))
    made.client.ask("cluster")
    made.settle()
    made.client.ask("endpoints", "c")
    made.settle()
    made.client.ask("listener")
    made.settle()
    made.client.ask("routes", "http")
    made.settle()
    return made


async def test_routes_wait_for_a_cluster_whose_endpoints_wait_for_others(control: Control) -> None:
    control.proxy.endpoints({"c": ()})
    assert ["endpoints/c"] == control.told()
    control.proxy.endpoints({"d": MEMBERS})
    control.take(resources(80, {"h": [to("d")]}, {"c": {}, "d": {}}))
    assert ["cluster/d"] == control.told()
    control.client.ask("endpoints", "d")
    control.accept("cluster")
    assert [] == control.told()
    control.accept("endpoints")
    assert ["endpoints/d"] == control.told()
    control.accept("endpoints")
    assert ["routes/http"] == control.told()


async def test_while_clusters_come_without_end_routes_follow_to_those_that_are_there(control: Control) -> None:
    control.proxy.endpoints({"d": MEMBERS, "e": MEMBERS})
    control.take(resources(80, {"h": [to("d")]}, {"c": {}, "d": {}}))
    assert ["cluster/d"] == control.told()
    to_d = control.published.resources[ROUTES]["http"].version
    control.take(resources(80, {"h": [to("e")]}, {"c": {}, "d": {}, "e": {}}))
    control.client.ask("endpoints", "d")
    assert ["endpoints/d"] == control.told()
    control.accept("endpoints")
    control.accept("cluster")
    assert f"routes/http@{to_d}" == control.client.told(control.published)[-1]


async def test_a_version_that_was_taken_after_the_next_was_wished_is_what_a_refusal_falls_back_to(control: Control) -> None:
    first, second = ({"h": [{**to("c", prefix=path), "name": "r"}]} for path in ("/first", "/second"))
    control.take(resources(80, first, {"c": {}}))
    assert ["routes/http"] == control.told()
    control.take(resources(80, second, {"c": {}}))
    control.accept("routes")
    assert ["routes/http"] == control.told()
    control.reject("routes")
    assert b"/first" in control.published.resources[ROUTES]["http"].data


async def test_while_a_listener_waits_for_its_turn_what_it_names_stays(control: Control) -> None:
    control.proxy._paces["http"] = Pace(0, 60.0)
    control.proxy._paces["http"].next = lambda now: now + 60.0  # type: ignore[method-assign]
    made = resources(80, {"h": [to("d")]}, {"d": {}})
    control.take({**made, LISTENER: {"http": made[LISTENER]["http"] + bytes([0x28, 0x01])}})
    assert {"c", "d"} == set(control.published.resources[CLUSTER]) == set(control.published.resources[ENDPOINTS])
    del control.proxy._paces["http"]
    control.take({**made, LISTENER: {"http": made[LISTENER]["http"] + bytes([0x28, 0x01])}})
    assert {"d"} == set(control.published.resources[CLUSTER]) == set(control.published.resources[ENDPOINTS])


async def test_what_was_refused_goes_and_comes_back_the_same_and_is_told_as_refused_again(control: Control) -> None:
    one = resources(80, {"h": [to("c")]}, {"c": {}})
    both = resources(80, {"h": [to("c")]}, {"c": {}, "bad": TIMEOUT})
    control.take(both)
    assert ["cluster/bad"] == control.told()
    control.reject("cluster")
    assert [("ingress shop/bad", "no")] == [(each.source, each.reason) for each in control.proxy._rejections]
    control.take(one)
    assert not control.proxy._rejections
    control.take(both)
    assert ["cluster/bad"] == control.told()
    control.reject("cluster")
    assert ["no"] == [each.reason for each in control.proxy._rejections]
