"""Events on Services that are legal and useless: once, when it has lasted, and again when it comes back."""

from typing import Any

import pytest
from workloads import later

from mooring.control.reconciler import Change, Document, Plan
from mooring.control.reconcilers.endpoint_slices import EndpointSlices
from mooring.control.reconcilers.service_problems import GRACE, ServiceProblems
from mooring.model.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE
from mooring.services.problems.listed import CONTROLLER
from mooring.testing.builders import node, pod, service
from mooring.testing.world import MemoryWorld, settle

KEY = ("default", "web")


class Watched:
    """A reconciler as the loop drives it: slices first, then its plan carried out, its observer told."""

    def __init__(self, *documents: Document) -> None:
        self.world = MemoryWorld([*documents, node("a")])
        self.reconciler = ServiceProblems()

    def look(self, key: tuple[str, str] = KEY) -> Plan:
        settle(EndpointSlices(), self.world)
        plan = self.reconciler.plan(key, self.world)
        self.reconciler.observer.planned(key, plan, "success")
        return plan

    def told(self, after: float = 0.0, key: tuple[str, str] = KEY) -> list[str]:
        """Reasons reported at a look so many seconds later."""
        later(self.world, after)
        return [report.reason for report in self.look(key).reports]


def test_a_problem_is_told_once_when_it_has_lasted() -> None:
    watched = Watched(service())
    assert (watched.look().reports, watched.look().again_after) == ((), GRACE)
    assert watched.told(after=GRACE - 1) == []
    assert watched.look().again_after == 1.0
    [report] = watched.reconciler.plan(KEY, later_by(watched, 1)).reports
    assert (report.type, report.reason, report.regarding["metadata"]["name"]) == ("Warning", "NoMatchingPods", "web")
    assert report.message == (
        "no pod in namespace default has the labels app=web. To mend it: start pods with these labels, or correct spec.selector"
    )
    assert watched.told() == ["NoMatchingPods"]
    assert [watched.told(), watched.told(after=3600)] == [[], []]
    assert watched.look().again_after is None


def later_by(watched: Watched, seconds: float) -> MemoryWorld:
    later(watched.world, seconds)
    return watched.world


def test_nothing_is_said_while_pods_start() -> None:
    watched = Watched(service())
    watched.look()
    watched.world.add(pod("p", "10.244.0.2", ready=False))
    assert watched.told(after=GRACE) == [], "another problem than before, and a new one"
    watched.world.add(pod("p", "10.244.0.2"))
    assert watched.told(after=GRACE - 1) == []
    assert watched.look().again_after is None


def test_one_that_was_cured_is_told_anew_when_it_comes_back() -> None:
    watched = Watched(service(), pod("p", "10.244.0.2", ready=False))
    watched.look()
    assert watched.told(after=GRACE) == ["NoReadyPods"]
    watched.world.add(pod("p", "10.244.0.2"))
    assert [watched.told(), watched.told(after=GRACE)] == [[], []]
    watched.world.add(pod("p", "10.244.0.2", ready=False))
    assert watched.told() == []
    assert watched.told(after=GRACE) == ["NoReadyPods"]


def test_one_that_is_gone_for_a_moment_only_is_the_same() -> None:
    """A container without readiness probe that keeps ending is ready for a moment each time."""
    watched = Watched(service(), pod("p", "10.244.0.2", ready=False))
    watched.look()
    told = []
    for _ in range(4):
        watched.world.add(pod("p", "10.244.0.2"))
        told += watched.told(after=GRACE - 1)
        watched.world.add(pod("p", "10.244.0.2", ready=False))
        told += watched.told(after=1)
    assert told == ["NoReadyPods"]


def test_a_changing_cause_is_the_same_problem() -> None:
    def waiting(reason: str) -> Document:
        made = pod("p", "10.244.0.2", ready=False)
        made["status"]["containerStatuses"] = [{"name": "main", "ready": False, "state": {"waiting": {"reason": reason}}}]
        return made

    watched = Watched(service(), waiting("ErrImagePull"))
    watched.look()
    assert watched.told(after=GRACE) == ["NoReadyPods"]
    watched.world.add(waiting("CreateContainerConfigError"))
    assert watched.told(after=GRACE) == []


def test_a_namesake_made_later_starts_anew() -> None:
    watched = Watched(service())
    watched.look()
    watched.told(after=GRACE)
    again = service()
    again["metadata"]["uid"] = "another"
    watched.world.add(again)
    assert watched.told() == []
    assert watched.told(after=GRACE) == ["NoMatchingPods"]


def test_a_plan_that_was_not_carried_out_is_not_remembered() -> None:
    watched = Watched(service())
    watched.look()
    later(watched.world, GRACE)
    watched.reconciler.observer.planned(KEY, watched.reconciler.plan(KEY, watched.world), "error")
    assert watched.told() == ["NoMatchingPods"]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        pytest.param([service(), pod("p", "10.244.0.2")], [], id="a sound one"),
        pytest.param([service(sessionAffinity="ClientIP", externalIPs=["192.0.2.9"]), pod("p", "10.244.0.2")], [], id="notes"),
        pytest.param([service(), pod("p", "10.244.0.2"), pod("q", "10.244.0.3", ready=False)], [], id="warnings"),
        pytest.param([service(selector=None)], ["NoEndpointSlices"], id="nobody wrote its slices"),
        pytest.param(
            [service("web", {"name": "h", "port": 80, "protocol": "TCP", "targetPort": "nope"}), pod("p", "10.244.0.2")],
            ["TargetPortNotFound"],
            id="a port that no pod has",
        ),
        pytest.param([service(type="LoadBalancer"), pod("p", "10.244.0.2")], ["LoadBalancerPending"], id="no balancer"),
        pytest.param(
            [
                service(type="LoadBalancer")
                | {
                    "status": {"conditions": [{"type": "mooring.dev/LoadBalancerSynced", "status": "False", "message": "full"}]}
                },
                pod("p", "10.244.0.2"),
            ],
            [],
            id="no balancer, and its provider has told why",
        ),
        pytest.param(
            [service(type="ExternalName", externalName="db.prod.svc.cluster.local", selector=None)],
            ["ExternalNameTargetMissing"],
            id="an alias to a Service that is not there",
        ),
        pytest.param(
            [
                service(type="ExternalName", externalName="db.default.svc.cluster.local", selector=None),
                service("db", clusterIP="10.96.0.2"),
            ],
            [],
            id="an alias to one that is",
        ),
        pytest.param([service() | {"metadata": service()["metadata"] | {"deletionTimestamp": "x"}}], [], id="on its way out"),
    ],
)
def test_what_is_told(documents: list[Document], expected: list[str]) -> None:
    watched = Watched(*documents)
    watched.look()
    assert watched.told(after=GRACE) == expected


def test_the_event_says_what_comes_near() -> None:
    near = pod("p", "10.244.0.2")
    near["metadata"]["labels"] = {"app": "web", "tier": "back"}
    watched = Watched(service(selector={"app": "web", "tier": "front"}), near)
    watched.look()
    later(watched.world, GRACE)
    [report] = watched.look().reports
    assert "pod/p has all of them but tier=front" in report.message


def test_slices_of_a_removed_selector_are_told_when_their_pod_dies() -> None:
    watched = Watched(service(), pod("p", "10.244.0.2"))
    watched.look()
    watched.world.add(service(selector=None))
    watched.look()
    assert watched.told(after=GRACE) == []
    watched.world.remove(POD, "default", "p")
    watched.look()
    assert watched.told(after=GRACE) == ["StaleEndpointSlices"]


def external(name: str, address: str = "192.0.2.9", cluster_ip: str = "10.96.0.2") -> Document:
    return service(name, clusterIP=cluster_ip, externalIPs=[address])


def test_of_two_services_with_one_address_the_later_by_name_is_told_and_the_other_change_reaches_it() -> None:
    watched = Watched(external("web"), pod("p", "10.244.0.2"), pod("q", "10.244.0.3", app="a"))
    watched.look()
    assert watched.told(after=GRACE) == []
    before = watched.world.add(external("a", cluster_ip="10.96.0.3"))
    assert KEY in watched.reconciler.keys(Change(SERVICE, None, before), watched.world)
    watched.look()
    assert watched.told(after=GRACE) == ["AddressConflict"]
    assert watched.told(key=("default", "a")) == []
    after = watched.world.add(external("a", "192.0.2.10", "10.96.0.3"))
    assert KEY in watched.reconciler.keys(Change(SERVICE, before, after), watched.world)
    assert watched.told(after=GRACE) == []


def as_pod(changes: dict[str, Any]) -> Document:
    made = pod("p", "10.244.0.2")
    return {**made, "metadata": {**made["metadata"], "labels": changes.get("labels", {"app": "web"})}}


def test_keys() -> None:
    manual, local = service("manual", selector=None), service("local", internalTrafficPolicy="Local")
    world = MemoryWorld([service(), manual, local, node("a")])
    reconciler = ServiceProblems()
    matching, other = as_pod({}), as_pod({"labels": {"app": "api"}})

    def slice_of(name: str, writer: str = CONTROLLER) -> Document:
        labels = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": writer}
        return {"kind": "EndpointSlice", "metadata": {"namespace": "default", "name": "x", "labels": labels}}

    for kind, before, after, expected in (
        (SERVICE, None, service(), [KEY]),
        (SERVICE, service(), None, [KEY]),
        (POD, None, matching, [KEY]),
        (POD, matching, matching, []),
        (POD, other, matching, [KEY]),
        (POD, None, other, []),
        (ENDPOINT_SLICE, None, slice_of("manual"), [("default", "manual")]),
        (ENDPOINT_SLICE, slice_of("manual"), None, [("default", "manual")]),
        (ENDPOINT_SLICE, None, slice_of("local"), [("default", "local")]),
        (ENDPOINT_SLICE, None, slice_of("web"), []),
        (ENDPOINT_SLICE, None, slice_of("web", "me"), [KEY]),
        (ENDPOINT_SLICE, None, slice_of("nobody"), []),
        (ENDPOINT_SLICE, None, slice_of(""), []),
        (NODE, None, node("b"), []),
    ):
        assert list(reconciler.keys(Change(kind, before, after), world)) == expected, (kind.kind, before, after)
