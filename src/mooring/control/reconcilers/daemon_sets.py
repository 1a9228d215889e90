"""Which Pods must a DaemonSet start on which nodes, which must go, and what does its status say?

Upstream: pkg/controller/daemon. A Pod that has failed is replaced at once when it had lived for ten seconds, else when it would
have: theirs is a back-off kept in memory.
"""

from collections.abc import Iterable, Sequence

from mooring.control.amend import amend, apart, create, delete
from mooring.control.daemon_pods import new_pods, target_of, tolerating, wanted_on
from mooring.control.daemon_rollout import Limits, Site, limits, turn
from mooring.control.history import REVISION_HASH, history, removals
from mooring.control.owners import claim, controller_of, controller_reference, controlling, with_owner, without_owners
from mooring.control.pod_reports import created, deleted, failure_reports, pod_failures
from mooring.control.pod_state import available, goes_at_once, node_of, phase, ready, ready_for, terminal, terminating
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Refusal, Report, World
from mooring.control.selectors import labels_of, selected, selects
from mooring.control.times import seconds_since
from mooring.model.kinds import CONTROLLER_REVISION, DAEMON_SET, NAMESPACE, NODE, POD

BURST = 250
"""Creates or deletes in one plan, as upstream."""
LEAST_LIFE = 10.0
"""Seconds between the creation of a Pod that fails and its deletion."""


class DaemonSets:
    name = "daemonset"
    watches = (DAEMON_SET, POD, NODE, CONTROLLER_REVISION, NAMESPACE)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        versions = [each for each in (change.before, change.after) if each]
        if change.kind == DAEMON_SET:
            return {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in versions}
        if change.kind == NAMESPACE:
            return ()
        if change.kind == NODE:
            changed = len(versions) == 1 or _attraction(versions[0]) != _attraction(versions[1])
            return [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in world.list(DAEMON_SET) if changed]
        keys = {key for each in versions if (key := controlling(each, DAEMON_SET))}
        if change.after and controller_of(change.after) is None:
            keys.update(_would_adopt(change.after, world))
        return keys

    def plan(self, key: Key, world: World) -> Plan:
        owner = world.get(DAEMON_SET, *key)
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            return NOTHING
        return _Sync(owner, world).plan()

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """FailedCreate and FailedDelete: Events, and the status of what there is."""
        owner, failures = world.get(DAEMON_SET, *key), pod_failures(refusals)
        if owner is None or not failures:
            return NOTHING
        return Plan(tuple(_Sync(owner, world).status_writes()), failure_reports(owner, failures))


def _attraction(node: Document) -> tuple[object, ...]:
    """What of a node decides whether a daemon runs there; heartbeats do not."""
    return labels_of(node), (node.get("spec") or {}).get("taints")


def _would_adopt(orphan: Document, world: World) -> Iterable[Key]:
    labels, namespace = labels_of(orphan), orphan["metadata"]["namespace"]
    for each in world.list(DAEMON_SET, namespace) if labels else ():
        if selects(each["spec"]["selector"], labels):
            yield namespace, each["metadata"]["name"]


def _age(pod: Document) -> tuple[bool, str, str]:
    """The scheduled first, then the eldest; one that is only being made comes last."""
    return not node_of(pod), pod["metadata"].get("creationTimestamp", "~"), pod["metadata"]["name"]


class _Sync:
    """One look at a DaemonSet."""

    def __init__(self, owner: Document, world: World) -> None:
        self.owner, self.world, self.spec = owner, world, owner["spec"]
        self.writes: list[Apply] = []
        self.reports: list[Report] = []
        self.waits: list[float] = []
        self.taken: list[str] = []
        self.started: list[str] = []
        self.doomed: dict[str, Document] = {}
        self.history = history(DAEMON_SET, owner, REVISION_HASH, world)
        self.hash = labels_of(self.history.update).get(REVISION_HASH) or self.history.update["metadata"]["name"]
        self.template = tolerating(self.spec["template"].get("spec") or {})
        self.nodes = {each["metadata"]["name"]: wanted_on(each, self.template) for each in world.list(NODE)}
        self.desired = sum(start for start, _ in self.nodes.values())
        strategy = self.spec.get("updateStrategy") or {}
        self.rolling = strategy.get("type", "RollingUpdate") == "RollingUpdate"
        allowed = limits(strategy.get("rollingUpdate") or {}, self.desired)
        self.allowed = allowed if self.rolling else Limits(self.desired, 0, 0)
        self.pods = self._by_node()

    def plan(self) -> Plan:
        self.writes += self.history.writes
        for name in sorted(self.nodes):
            self._manage(name)
        self.doomed.update(
            (pod["metadata"]["uid"], pod)
            for name, pods in self.pods.items()
            for pod in pods
            if name not in self.nodes and not node_of(pod) and not terminating(pod)
        )
        if self.rolling:
            self._roll()
        self._act()
        self.writes += self.status_writes()
        self.writes += self._forgotten()
        return Plan(tuple(self.writes), tuple(self.reports), min(self.waits, default=None))

    def _by_node(self) -> dict[str, list[Document]]:
        """The set's Pods, orphans adopted, by the node they are meant for; those that ended and are going do not count."""
        owner, world, selector = self.owner, self.world, self.spec["selector"]
        namespace, uid = owner["metadata"]["namespace"], owner["metadata"]["uid"]
        owned = list(world.indexed(POD, "owner", uid))
        self.taken = [pod["metadata"]["name"] for pod in owned]
        found = claim(owner, selector, owned, selected(world, POD, namespace, selector))
        for pod in found.released:
            self.writes += amend(POD, pod, without_owners(pod, [uid]))
        for pod in found.adopted:
            self.writes += amend(POD, pod, with_owner(pod, controller_reference(DAEMON_SET, owner)))
        pods: dict[str, list[Document]] = {}
        for pod in (*found.held, *found.adopted):
            if not (terminal(pod) and terminating(pod)) and (name := target_of(pod)):
                pods.setdefault(name, []).append(pod)
        return pods

    def _available(self, pod: Document) -> bool:
        return available(pod, self.spec.get("minReadySeconds", 0), self.world.now)

    def _updated(self, pod: Document) -> bool:
        return labels_of(pod).get(REVISION_HASH) == self.hash

    # What is done.

    def _manage(self, name: str) -> None:
        """What this node needs, whatever the version: one Pod that works, none where none may be."""
        start, stay = self.nodes[name]
        pods = self.pods.get(name, [])
        if start and not pods:
            self.started.append(name)
            return
        alive = [pod for pod in pods if not terminating(pod)]
        if not stay:
            self._doom(*alive)
            return
        running = sorted((pod for pod in alive if not self._ended(pod, name)), key=_age)
        if not self.allowed.surge:
            self._doom(*running[1:])
            return
        if start and not running and all(pod["metadata"]["uid"] in self.doomed for pod in alive):
            self.started.append(name)
        new, old = ([pod for pod in running if self._updated(pod) is updated] for updated in (True, False))
        self._doom(*new[1:], *old[1:])
        if new and old and (not ready(old[0]) or self._available(new[0])):
            self._doom(old[0])

    def _ended(self, pod: Document, node: str) -> bool:
        """Whether the Pod has run its course; it is deleted, a failed one not before its time."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        if phase(pod) == "Succeeded":
            message = f"Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it"
            self.reports.append(Report(self.owner, "Normal", "SucceededDaemonPod", message))
        elif phase(pod) == "Failed":
            left = LEAST_LIFE - seconds_since(pod["metadata"]["creationTimestamp"], self.world.now)
            if left > 0:
                self.waits.append(left)
                return True
            message = f"Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it"
            self.reports.append(Report(self.owner, "Warning", "FailedDaemonPod", message))
        else:
            return False
        self._doom(pod)
        return True

    def _doom(self, *pods: Document) -> None:
        self.doomed.update((pod["metadata"]["uid"], pod) for pod in pods)

    def _roll(self) -> None:
        sites = {name: self._site(name, pods) for name, pods in self.pods.items()}
        for name in self.started:  # a Pod to come is one that is not available yet
            sites.setdefault(name, Site(None, None, excess=False, wanted=True))
        found = turn(sites, self.allowed, self._available)
        self._doom(*found.deleted)
        self.started += [name for name in found.started if name not in self.started]

    def _site(self, name: str, pods: list[Document]) -> Site:
        alive = [pod for pod in pods if not terminating(pod) and pod["metadata"]["uid"] not in self.doomed]
        new, old = ([pod for pod in alive if self._updated(pod) is updated] for updated in (True, False))
        excess = len(new) > 1 or len(old) > 1
        wanted = self.nodes.get(name, (False, False))[0]
        return Site(new[0] if new else None, old[0] if old else None, excess, wanted)

    def _act(self) -> None:
        namespace = self.world.get(NAMESPACE, "", self.owner["metadata"]["namespace"])
        closed = namespace is not None and namespace["metadata"].get("deletionTimestamp")
        made = new_pods(self.owner, [] if closed else self.started[:BURST], self.hash, self.taken)
        gone = list(self.doomed.values())[:BURST]
        for pod in made:
            self.writes += apart([create(POD, pod)])
            self.reports.append(created(self.owner, pod))
            self.pods.setdefault(target_of(pod), []).append(pod)
        for pod in gone:
            self.writes += apart([delete(POD, pod)])
            self.reports.append(deleted(self.owner, pod))
            self._drop(pod)

    def _drop(self, pod: Document) -> None:
        """What the status counts after the deletion: nothing where nothing is left to end."""
        if goes_at_once(pod) or terminal(pod):
            self.pods[target_of(pod)].remove(pod)

    # What is said.

    def status_writes(self) -> Iterable[Apply]:
        return amend(DAEMON_SET, self.owner, {**self.owner, "status": self._status()}, blind_status=True)

    def _status(self) -> Document:
        held = self.owner.get("status") or {}
        first = {name: min(pods, key=_age) for name, pods in self.pods.items() if pods and name in self.nodes}
        right = [pod for name, pod in first.items() if self.nodes[name][0]]
        for pod in right:
            lasted, minimum = ready_for(pod, self.world.now), self.spec.get("minReadySeconds", 0)
            if lasted is not None and lasted < minimum:
                self.waits.append(minimum - lasted)
        working = sum(map(self._available, right))
        optional = {
            "updatedNumberScheduled": sum(map(self._updated, right)),
            "numberAvailable": working,
            "numberUnavailable": self.desired - working,
            "collisionCount": self.history.collisions,
        }
        return {
            "currentNumberScheduled": len(right),
            "numberMisscheduled": len(first) - len(right),
            "desiredNumberScheduled": self.desired,
            "numberReady": sum(map(ready, right)),
            "observedGeneration": self.owner["metadata"].get("generation", 0),
            **{name: count for name, count in optional.items() if count},
            **({"conditions": held["conditions"]} if held.get("conditions") else {}),
        }

    def _forgotten(self) -> list[Apply]:
        live = {labels_of(pod).get(REVISION_HASH, "") for pods in self.pods.values() for pod in pods}
        limit = self.spec.get("revisionHistoryLimit", 10)
        return removals(self.history.surplus((), lambda each: labels_of(each).get(REVISION_HASH) in live, limit))
