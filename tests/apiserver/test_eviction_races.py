"""Evictions and the disruption controller together, which sees everything late: the budget holds all the same.

The controller's watches of Pods and of budgets each lag by any amount, independently, but never go back. Its writes reach the
server, or are refused because an eviction came first. Meanwhile evicted Pods end and others take their place.
"""

from typing import Any

from core_server import PODS, Server
from hypothesis import given
from hypothesis import strategies as st

from mooring.control.reconcilers.disruption_budgets import DisruptionBudgets
from mooring.model.kinds import POD_DISRUPTION_BUDGET
from mooring.testing.world import MemoryWorld

BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
SETS = "/apis/apps/v1/namespaces/default/replicasets"
SELECTOR = {"matchLabels": {"app": "web"}}
Document = dict[str, Any]


class Race:
    def __init__(self, replicas: int, bound: Document) -> None:
        self.server, self.made = Server(), 0
        self.server.node("a")
        template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "e"}]}}
        spec = {"replicas": replicas, "selector": SELECTOR, "template": template}
        self.owner = self.server.create(SETS, {"metadata": {"name": "web"}, "spec": spec}).body
        assert self.server.create(BUDGETS, {"metadata": {"name": "web"}, "spec": {**bound, "selector": SELECTOR}}).status == 201
        for _ in range(replicas):
            self.replace()
        self.pods: list[list[Document]] = []
        self.budgets: list[list[Document]] = []
        self.seen = [0, 0]
        self.note()

    def replace(self) -> None:
        """A new Pod of the set, ready."""
        self.made += 1
        name = f"web-{self.made}"
        reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": self.owner["metadata"]["uid"]}
        metadata = {"name": name, "labels": {"app": "web"}, "ownerReferences": [{**reference, "controller": True}]}
        document = {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "e"}]}}
        assert self.server.create(PODS, document).status == 201
        self.server.bind(name, "a")
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        self.server.patch(f"{PODS}/{name}/status", {"status": status})

    def note(self) -> None:
        self.pods.append(self.listed(PODS))
        self.budgets.append(self.listed(BUDGETS))

    def listed(self, url: str) -> list[Document]:
        items: list[Document] = self.server.get(url).body["items"]
        return items

    def living(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.listed(PODS) if "deletionTimestamp" not in pod["metadata"]]

    def evict(self, which: int) -> None:
        if living := self.living():
            name = living[which % len(living)]
            answer = self.server.create(f"{PODS}/{name}/eviction", {"metadata": {"name": name}})
            assert answer.status in (201, 429)

    def end(self, which: int) -> None:
        """The kubelet has stopped one that was going, and the set has made another."""
        going = [pod["metadata"]["name"] for pod in self.listed(PODS) if "deletionTimestamp" in pod["metadata"]]
        if going:
            self.server.delete(f"{PODS}/{going[which % len(going)]}", {"gracePeriodSeconds": 0})
            self.replace()

    def reconcile(self, which: int) -> None:
        """From what each watch has told so far; those of `which`, as bits, have caught up."""
        last = len(self.pods) - 1
        self.seen = [last if which & bit else held for bit, held in zip((1, 2), self.seen, strict=True)]
        documents = [*self.pods[self.seen[0]], *self.budgets[self.seen[1]], self.owner]
        world = MemoryWorld()
        for document in documents:
            kind = document.get("kind") or ("PodDisruptionBudget" if "selector" in document["spec"] else "Pod")
            version = {"PodDisruptionBudget": "policy/v1", "ReplicaSet": "apps/v1"}.get(kind, "v1")
            held = world.add({**document, "apiVersion": version, "kind": kind})
            if kind == "PodDisruptionBudget":
                held["metadata"]["resourceVersion"] = document["metadata"]["resourceVersion"]
        world.now = self.server.now
        for write in DisruptionBudgets().plan(("default", "web"), world).writes:
            assert write.kind == POD_DISRUPTION_BUDGET
            assert self.server.patch(f"{BUDGETS}/web/{write.subresource}", write.body).status in (200, 409)


STEPS = st.lists(st.tuples(st.sampled_from(["evict", "reconcile", "end"]), st.integers(0, 3)), max_size=30)
BOUNDS = st.one_of(
    st.integers(1, 4).map(lambda n: {"minAvailable": n}),
    st.integers(0, 3).map(lambda n: {"maxUnavailable": n}),
    st.integers(0, 100).map(lambda n: {"minAvailable": f"{n}%"}),
)


def desired(replicas: int, bound: Document) -> int:
    if "maxUnavailable" in bound:
        return replicas - int(bound["maxUnavailable"])
    least = bound["minAvailable"]
    return least if isinstance(least, int) else -(-int(least[:-1]) * replicas // 100)


@given(st.integers(1, 5), BOUNDS, STEPS)
def test_evictions_never_leave_fewer_than_the_budget_wants_however_late_its_controller_sees(replicas, bound, steps):
    race = Race(replicas, bound)
    wanted = min(desired(replicas, bound), replicas)
    race.reconcile(3)
    race.note()
    for step, which in steps:
        getattr(race, step)(which)
        race.note()
        assert len(race.living()) >= wanted, (step, race.listed(BUDGETS)[0]["status"])


def test_a_controller_that_is_up_to_date_lets_them_go_one_by_one():
    """The same machine, never late: a whole set is replaced without going below its budget."""
    race = Race(3, {"maxUnavailable": 1})
    for _ in range(6):
        race.reconcile(3)
        before = race.living()
        race.evict(0)
        assert len(race.living()) == len(before) - 1
        race.note()
        race.end(0)
        race.note()
    assert race.made == 9
