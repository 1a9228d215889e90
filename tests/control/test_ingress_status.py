"""Addresses and Events of Ingresses: whose are they, when are they written, and when are they taken away?"""

from typing import Any

import pytest
from workloads import change, document, later, said, service

from mooring.control.ingress_class import labels
from mooring.control.reconciler import Change, Document, Plan
from mooring.control.reconcilers.ingress_status import GRACE, HOLD_OFF, RECHECK, IngressStatus
from mooring.control.routing_objects import RoutingObjects
from mooring.model.kinds import CONFIG_MAP, DEPLOYMENT, INGRESS, INGRESS_CLASS, SECRET, SERVICE, Kind
from mooring.testing.world import MemoryWorld, settle

SYSTEM, ADDRESS = "mooring-system", "172.30.1.1"
KEY = ("", "mooring-envoy")
PORTS = [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}]
OURS = [{"ip": ADDRESS, "ports": PORTS}]


def ingress_class(name: str = "mooring-envoy", controller: str = "mooring.dev/envoy") -> Document:
    return document(INGRESS_CLASS, name, spec={"controller": controller})


def ingress(name: str = "web", class_name: str = "mooring-envoy", held: list[Document] | None = None, **spec: Any) -> Document:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    balancer = {"ingress": held} if held else {}
    body = {"ingressClassName": class_name, "defaultBackend": backend, **spec}
    return document(INGRESS, name, spec=body, status={"loadBalancer": balancer})


def backend() -> Document:
    return service("web", ["10.96.0.7"], type="ClusterIP", ports=[{"port": 80, "protocol": "TCP"}])


def front(*balancers: Document, class_name: str = "mooring-envoy", **spec: Any) -> Document:
    """The Service of the class's proxies."""
    return document(
        SERVICE,
        f"ingress-{class_name}",
        SYSTEM,
        metadata={"labels": labels(class_name)},
        spec={"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}], **spec},
        status={"loadBalancer": {"ingress": list(balancers)} if balancers else {}},
    )


def proxies(ready: int = 1) -> Document:
    metadata = {"labels": labels("mooring-envoy")}
    return document(DEPLOYMENT, "ingress-mooring-envoy", SYSTEM, metadata=metadata, spec={}, status={"readyReplicas": ready})


def status(world: MemoryWorld, name: str = "web") -> list[Document]:
    held = world.get(INGRESS, "default", name)
    assert held is not None
    found: list[Document] = held["status"]["loadBalancer"].get("ingress", [])
    return found


@pytest.mark.parametrize(
    ("fronts", "expected"),
    [
        pytest.param([front({"ip": ADDRESS})], OURS, id="an address"),
        pytest.param([front({"ip": ADDRESS, "ipMode": "VIP"})], OURS, id="without the Service's own words"),
        pytest.param(
            [front({"ip": ADDRESS}, {"ip": "fd00::1"})], [*OURS, {"ip": "fd00::1", "ports": PORTS}], id="of both families"
        ),
        pytest.param([front({"hostname": "lb.example"})], [{"hostname": "lb.example", "ports": PORTS}], id="a hostname"),
        pytest.param([front(externalIPs=["192.0.2.1"])], [{"ip": "192.0.2.1", "ports": PORTS}], id="an external IP"),
        pytest.param([front()], [], id="none yet"),
        pytest.param([], [], id="no Service yet"),
    ],
)
def test_an_ingress_has_the_addresses_of_its_classs_service(fronts: list[Document], expected: list[Document]) -> None:
    world = MemoryWorld([ingress_class(), ingress(), backend(), proxies(), *fronts])
    settle(IngressStatus(), world)
    assert expected == status(world)


def test_addresses_follow_the_service_and_are_put_back() -> None:
    world = MemoryWorld([ingress_class(), ingress(), backend(), proxies(), front({"ip": ADDRESS})])
    reconciler = IngressStatus()
    settle(reconciler, world)
    change(world, INGRESS, "web", status={"loadBalancer": {"ingress": [{"ip": "192.0.2.99"}]}})
    settle(reconciler, world)
    assert OURS == status(world)
    world.add(front({"ip": "172.30.1.2"}))
    settle(reconciler, world)
    assert ["172.30.1.2"] == [each["ip"] for each in status(world)]
    world.remove(SERVICE, SYSTEM, "ingress-mooring-envoy")
    settle(reconciler, world)
    assert [] == status(world)


def test_an_address_is_given_once_a_proxy_is_ready_and_stays_when_none_is() -> None:
    world = MemoryWorld([ingress_class(), ingress(), backend(), front({"ip": ADDRESS}), proxies(0)])
    reconciler = IngressStatus()
    settle(reconciler, world)
    assert [] == status(world)
    world.add(proxies(1))
    settle(reconciler, world)
    assert OURS == status(world)
    world.add(proxies(0))
    world.add(ingress("late"))
    settle(reconciler, world)
    assert (OURS, []) == (status(world), status(world, "late"))


THEIRS = [{"ip": "198.51.100.1"}]
FOREIGN = ingress_class("nginx", "k8s.io/ingress-nginx")


@pytest.mark.parametrize(
    ("classes", "class_name", "held", "expected"),
    [
        pytest.param([ingress_class(), FOREIGN], "nginx", OURS, [], id="ours, moved to another's class"),
        pytest.param([ingress_class(), FOREIGN], "nginx", THEIRS, THEIRS, id="theirs, of their class"),
        pytest.param([ingress_class()], "nowhere", OURS, [], id="ours, of a class that is not there"),
        pytest.param([], "mooring-envoy", OURS, [], id="ours, the class is gone"),
        pytest.param([], "nowhere", THEIRS, THEIRS, id="theirs, of a class without an object"),
        pytest.param([ingress_class()], "mooring-envoy", THEIRS, OURS, id="theirs, moved to our class"),
        pytest.param([ingress_class()], "some-invalid-class-name", None, [], id="nobody's stays without"),
    ],
)
def test_who_leaves_our_classes_loses_our_address_and_no_other(
    classes: list[Document], class_name: str, held: list[Document] | None, expected: list[Document]
) -> None:
    world = MemoryWorld([*classes, ingress("web", class_name, held), backend(), proxies(), front({"ip": ADDRESS})])
    settle(IngressStatus(), world)
    assert expected == status(world)


class Watched:
    """The reconciler as the loop drives it: its plan carried out, its observer told."""

    def __init__(self, *documents: Document) -> None:
        self.world = MemoryWorld(documents)
        self.reconciler = IngressStatus(hold_off=0.0)

    def look(self, after: float = 0.0) -> Plan:
        later(self.world, after)
        plan = self.reconciler.plan(KEY, self.world)
        for write in plan.writes:
            self.world.write(write)
        self.reconciler.observer.planned(KEY, plan, "success")
        return plan

    def told(self, after: float = 0.0) -> list[str]:
        return said(self.look(after).reports)


def test_a_finding_is_told_once_when_it_has_lasted_and_anew_when_it_comes_back() -> None:
    watched = Watched(ingress_class(), ingress())
    assert ((), GRACE) == (watched.look().reports, watched.look().again_after)
    [first] = watched.told(GRACE)
    assert first.startswith("Warning ") and "web" in first
    assert [[], []] == [watched.told(), watched.told(60)]
    assert RECHECK == watched.look().again_after
    watched.world.add(backend())
    assert [[], []] == [watched.told(), watched.told(60)]
    watched.world.remove(SERVICE, "default", "web")
    assert ([], [first]) == (watched.told(), watched.told(GRACE))


def test_a_service_that_follows_its_ingress_is_no_matter() -> None:
    watched = Watched(ingress_class(), ingress())
    assert [] == watched.told()
    watched.world.add(backend())
    assert [] == watched.told(GRACE)


def test_an_event_is_on_the_ingress_that_is_at_fault() -> None:
    good = ingress("good", rules=[{"host": "good.example"}])
    bad = ingress("bad", defaultBackend={"service": {"name": "gone", "port": {"number": 80}}})
    watched = Watched(ingress_class(), good, bad, backend())
    watched.look()
    [report] = watched.look(GRACE).reports
    assert ("bad", "Ingress") == (report.regarding["metadata"]["name"], report.regarding["kind"])


def test_a_namesake_made_later_hears_it_again() -> None:
    watched = Watched(ingress_class(), ingress())
    watched.look()
    assert 1 == len(watched.told(GRACE))
    watched.world.remove(INGRESS, "default", "web")
    watched.world.add(ingress())
    watched.look()
    assert 1 == len(watched.told(GRACE))


def changed(world: MemoryWorld, kind: Kind, before: Document | None, after: Document | None) -> list[str]:
    return [name for _, name in IngressStatus().keys(Change(kind, before, after), world)]


def test_which_changes_concern_which_class() -> None:
    world = MemoryWorld([ingress_class(), ingress_class("mooring-nginx", "mooring.dev/nginx"), FOREIGN, ingress()])
    secret = document(SECRET, "s", data={"a": "YQ=="})
    renewed = {**secret, "metadata": {**secret["metadata"], "annotations": {"beat": "2"}}}
    elsewhere = {**backend(), "metadata": {"namespace": "elsewhere", "name": "web"}}
    map_ = document(CONFIG_MAP, "m", data={})
    assert ["mooring-envoy"] == changed(world, SECRET, None, secret)
    assert [] == changed(world, SECRET, secret, renewed), "nothing that counts has changed"
    assert [] == changed(world, SERVICE, None, elsewhere), "no Ingress is in that namespace"
    assert ["mooring-envoy"] == changed(world, SECRET, None, document(SECRET, "s", "elsewhere", data={}))
    assert ["mooring-envoy"] == changed(world, CONFIG_MAP, map_, None)
    assert ["mooring-envoy"] == changed(world, SERVICE, None, backend())
    assert ["mooring-nginx"] == changed(world, SERVICE, None, front(class_name="mooring-nginx"))
    assert ["mooring-envoy"] == changed(world, DEPLOYMENT, None, proxies())
    assert [] == changed(world, DEPLOYMENT, None, document(DEPLOYMENT, "web", SYSTEM))
    assert ["mooring-envoy", "nginx"] == changed(world, INGRESS, ingress(), ingress("web", "nginx"))


def test_however_many_ingresses_change_all_are_translated_together() -> None:
    world, reconciler = MemoryWorld([ingress_class(), backend(), proxies(), front({"ip": ADDRESS})]), IngressStatus()
    made = [world.add(ingress(f"web-{number}")) for number in range(50)]
    assert {KEY} == {key for each in made for key in reconciler.keys(Change(INGRESS, None, each), world)}
    plan = reconciler.plan(KEY, world)
    assert 50 == len(plan.writes)
    for write in plan.writes:
        world.write(write)
    assert () == reconciler.plan(KEY, world).writes


def test_what_changes_within_a_moment_is_looked_at_together() -> None:
    watched = Watched(ingress_class(), ingress(), backend(), proxies(), front({"ip": ADDRESS}))
    watched.reconciler = IngressStatus()
    assert 1 == len(watched.look().writes)
    watched.world.add(ingress("late"))
    held = watched.look(after=HOLD_OFF / 2)
    assert ((), HOLD_OFF / 2) == (held.writes, held.again_after)
    assert 1 == len(watched.look(after=HOLD_OFF / 2).writes)


def test_views_stay_the_same_while_documents_do() -> None:
    world = MemoryWorld([ingress_class(), ingress(), backend(), document(SECRET, "bad", data={"a": "no base64"})])
    objects = RoutingObjects()
    first = objects.look(world)
    kept = first.ingresses["default", "web"], first.services["default", "web"]
    assert ("default", "bad") not in first.secrets and len(first.secrets) == 0
    world.add(ingress("other"))
    second = objects.look(world)
    assert kept[0] is second.ingresses["default", "web"]
    assert kept[1] is second.services["default", "web"]
    assert {("default", "web"), ("default", "other")} == set(second.ingresses) == set(dict(second.ingresses.items()))
    change(world, INGRESS, "web", spec={"rules": [{"host": "new.example"}]})
    assert "new.example" == objects.look(world).ingresses["default", "web"].spec.rules[0].host
    world.remove(INGRESS, "default", "web")
    assert ("default", "web") not in objects.look(world).ingresses
