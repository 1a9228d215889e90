"""Which ReplicaSets must a Deployment have, how large is each, and what does its status say?

Upstream: pkg/controller/deployment. One plan goes as far as the rollout can go now: it scales after a change of size, creates
the new ReplicaSet, rolls, cleans up, and writes the status of it all.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from mooring.control.amend import amend, create, delete
from mooring.control.owners import Claim, claim, controller_of, controller_reference, controlling, with_owner, without_owners
from mooring.control.pod_state import terminal
from mooring.control.progress import (
    COUNTS,
    advanced,
    again_after,
    availability,
    begun,
    complete,
    counts,
    failures,
    paused_or_resumed,
)
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Refusal, Report, World
from mooring.control.revisions import (
    DESIRED,
    MOST,
    REVISION,
    annotations_of,
    new_annotations,
    next_revision,
    number,
    replica_set,
    size_annotations,
    split,
    template_hash,
)
from mooring.control.rollout import Budget, Family, Member, budget, must_scale, recreated, rolled, scaled
from mooring.control.selectors import labels_of, selected, selects, selects_all
from mooring.model.kinds import DEPLOYMENT, POD, REPLICA_SET

UNLIMITED = 2**31 - 1


class Deployments:
    name = "deployment"
    watches = (DEPLOYMENT, REPLICA_SET, POD)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        versions = [each for each in (change.before, change.after) if each]
        if change.kind == DEPLOYMENT:
            return {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in versions}
        if change.kind == POD:
            return _waiting_for_end_of(change, world)
        keys = {key for each in versions if (key := controlling(each, DEPLOYMENT))}
        if change.after and controller_of(change.after) is None:
            keys.update(_would_adopt(change.after, world))
        return keys

    def plan(self, key: Key, world: World) -> Plan:
        deployment = world.get(DEPLOYMENT, *key)
        if deployment is None:
            return NOTHING
        if selects_all(deployment["spec"]["selector"]):
            return _refuse_to_select_all(deployment)
        owned = world.indexed(REPLICA_SET, "owner", deployment["metadata"]["uid"])
        selector = deployment["spec"]["selector"]
        claimed = claim(deployment, selector, owned, selected(world, REPLICA_SET, key[0], selector))
        return _Rollout(deployment, claimed, world).plan()

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """The new ReplicaSet could not be created: an Event and the condition, until it can."""
        deployment = world.get(DEPLOYMENT, *key)
        write, error = refusals[0].write, refusals[0].error
        if deployment is None or (write.verb, write.kind) != ("create", REPLICA_SET) or error.reason == "AlreadyExists":
            return NOTHING
        status = dict(deployment.get("status") or {})
        status["conditions"] = begun(deployment, status.get("conditions") or [], write.name, False, error.message, world.now)
        message = f'Failed to create new replica set "{write.name}": {error.message}'
        report = Report(deployment, "Warning", "ReplicaSetCreateError", message)
        return Plan(amend(DEPLOYMENT, deployment, {**deployment, "status": status}, blind_status=True), (report,))


class _Fresh(Struct, frozen=True):
    """The ReplicaSet to be created: its hash, and how many earlier choices of a hash met a stranger of that name."""

    name: str
    hash: str
    collisions: int


class _Rollout:
    """One look at a Deployment: from what is there (read once) to what is wanted."""

    def __init__(self, deployment: Document, claimed: Claim, world: World) -> None:
        self.deployment, self.claimed, self.world = deployment, claimed, world
        self.spec = deployment["spec"]
        self.sets = {each["metadata"]["name"]: each for each in (*claimed.held, *claimed.adopted)}
        self.new, self.old = split(deployment, self.sets.values())
        self.paused = bool(self.spec.get("paused"))
        self.strategy = self.spec.get("strategy") or {}
        self.rolling = self.strategy.get("type", "RollingUpdate") == "RollingUpdate"
        self.limits = self._limits()
        self.idle = bool(deployment["metadata"].get("deletionTimestamp"))

    def plan(self) -> Plan:
        fresh = None if self.new or self.paused or self.idle else self._fresh()
        before = self._family(fresh)
        after = before if self.idle else self._resize(before)
        if fresh and after.new and not self._may_create(after):
            fresh, after = None, Family(None, after.old)
        wanted = self._wanted(after, fresh)
        status, again = self._status(wanted, fresh)
        surplus = {} if self.idle else self._surplus(wanted, status)
        want = {**self.deployment, "status": status}
        newest = wanted.get(after.new.name) if after.new else None
        if newest and not self.idle:
            annotations = {**annotations_of(self.deployment), REVISION: annotations_of(newest)[REVISION]}
            want["metadata"] = {**want["metadata"], "annotations": annotations}
        writes = [
            *self._releases(),
            *([create(REPLICA_SET, wanted[fresh.name])] if fresh else []),
            *(w for name, held in self.sets.items() if name not in surplus for w in amend(REPLICA_SET, held, wanted[name])),
            *(delete(REPLICA_SET, each) for each in surplus.values()),
            *amend(DEPLOYMENT, self.deployment, want, blind_status=True),
        ]
        return Plan(tuple(writes), tuple(self._reports(before, after)), again)

    def _limits(self) -> Budget:
        replicas, rolling = int(self.spec.get("replicas", 1)), self.strategy.get("rollingUpdate") or {}
        if not self.rolling:
            return Budget(replicas, 0, 0)
        return budget(replicas, rolling.get("maxSurge", "25%"), rolling.get("maxUnavailable", "25%"))

    def _fresh(self) -> _Fresh:
        """A name that no other ReplicaSet has: a stranger's of the same name has us take another hash."""
        metadata = self.deployment["metadata"]
        collisions = (self.deployment.get("status") or {}).get("collisionCount", 0)
        while True:
            hash = template_hash(self.spec["template"], collisions)
            name = f"{metadata['name']}-{hash}"
            if self.world.get(REPLICA_SET, metadata["namespace"], name) is None:
                return _Fresh(name, hash, collisions)
            collisions += 1

    def _family(self, fresh: _Fresh | None) -> Family:
        new = _member(self.new) if self.new else Member(fresh.name, 0) if fresh else None
        return Family(new, tuple(map(_member, self.old)))

    def _resize(self, family: Family) -> Family:
        if self.paused or must_scale(family, self.limits):
            observed = (self.deployment.get("status") or {}).get("replicas", 0)
            family = scaled(family, self.limits, self.rolling, observed)
        if self.paused:
            return family
        return rolled(family, self.limits) if self.rolling else recreated(family, self.limits, self._old_pods_exist())

    def _old_pods_exist(self) -> bool:
        """Also Pods that are still terminating: Recreate promises that versions never overlap."""
        pods = (pod for each in self.old for pod in self.world.indexed(POD, "owner", each["metadata"]["uid"]))
        return any((each.get("status") or {}).get("replicas") for each in self.old) or not all(map(terminal, pods))

    def _may_create(self, after: Family) -> bool:
        """Recreate makes the new ReplicaSet only when the old Pods are gone."""
        return self.rolling or bool(after.new and after.new.replicas) or not self.old or not self.limits.replicas

    def _wanted(self, after: Family, fresh: _Fresh | None) -> dict[str, Document]:
        """Every ReplicaSet as it is to be, by name."""
        reference = controller_reference(DEPLOYMENT, self.deployment)
        adopted = {each["metadata"]["name"] for each in self.claimed.adopted}
        wanted: dict[str, Document] = {}
        if fresh and after.new:
            annotations = new_annotations(self.deployment, {}, next_revision(self.old)) | size_annotations(self.limits)
            wanted[fresh.name] = replica_set(self.deployment, fresh.hash, after.new.replicas, annotations)
        for member in after.all:
            held = self.sets.get(member.name)
            if held is None:
                continue
            annotations = annotations_of(held)
            if held is self.new and not self.idle:
                annotations = new_annotations(self.deployment, annotations, next_revision(self.old))
            if not self.idle and (member.replicas or member.replicas != held["spec"].get("replicas", 1)):
                annotations = {**annotations, **size_annotations(self.limits)}
            spec = {**held["spec"], "replicas": member.replicas}
            if held is self.new and spec.get("minReadySeconds", 0) != self.spec.get("minReadySeconds", 0):
                spec["minReadySeconds"] = self.spec.get("minReadySeconds", 0)
            want = {**held, "metadata": {**held["metadata"], "annotations": annotations or None}, "spec": spec}
            wanted[member.name] = with_owner(want, reference) if member.name in adopted else want
        return wanted

    def _status(self, wanted: dict[str, Document], fresh: _Fresh | None) -> tuple[Document, float | None]:
        """The status, and when its deadline has to be looked at again."""
        now, deployment, held = self.world.now, self.deployment, self.deployment.get("status") or {}
        name = fresh.name if fresh else self.new["metadata"]["name"] if self.new else ""
        new = wanted.get(name)
        numbers = counts(list(wanted.values()), new)
        conditions = list(held.get("conditions") or ())
        if not self.idle:
            conditions = paused_or_resumed(deployment, conditions, now)
            if new:
                conditions = begun(deployment, conditions, name, created=fresh is not None, error="", now=now)
        conditions = availability(conditions, numbers, self.limits, now)
        again = None
        if not (self.paused or self.idle):
            conditions = advanced(deployment, conditions, numbers, name if new else "", now)
            first = [new] if new else []
            conditions = failures(conditions, [*first, *wanted.values()], now)
            again = again_after(deployment, conditions, numbers, now)
        status: Document = {"observedGeneration": deployment["metadata"].get("generation", 0)}
        status.update({field: count for field, count in numbers.items() if count})
        collisions = fresh.collisions if fresh else held.get("collisionCount", 0)
        if collisions:
            status["collisionCount"] = collisions
        return {**status, "conditions": conditions}, again

    def _surplus(self, wanted: dict[str, Document], status: Document) -> dict[str, Document]:
        """Old ReplicaSets beyond revisionHistoryLimit: the eldest revisions, empty and at rest; while nothing is rolling."""
        limit = self.spec.get("revisionHistoryLimit")
        done = complete(self.deployment, dict.fromkeys(COUNTS, 0) | status)
        if limit in (None, UNLIMITED) or not (self.paused or done):
            return {}
        alive = [each for each in self.old if not each["metadata"].get("deletionTimestamp")]
        eldest = sorted(alive, key=lambda each: number(each, REVISION) or 0)[: max(0, len(alive) - limit)]
        named = {each["metadata"]["name"]: each for each in eldest if _at_rest(each)}
        return {name: each for name, each in named.items() if not wanted[name]["spec"].get("replicas", 1)}

    def _releases(self) -> Iterable[Apply]:
        for each in self.claimed.released:
            yield from amend(REPLICA_SET, each, without_owners(each, [self.deployment["metadata"]["uid"]]))

    def _reports(self, before: Family, after: Family) -> Iterable[Report]:
        had = {member.name: member.replicas for member in before.all}
        for member in after.all:
            if member.replicas != had[member.name]:
                way = "up" if member.replicas > had[member.name] else "down"
                message = f"Scaled {way} replica set {member.name} from {had[member.name]} to {member.replicas}"
                yield Report(self.deployment, "Normal", "ScalingReplicaSet", message)


def _member(held: Document) -> Member:
    metadata, status = held["metadata"], held.get("status") or {}
    return Member(
        name=metadata["name"],
        replicas=held["spec"].get("replicas", 1),
        actual=status.get("replicas", 0),
        available=status.get("availableReplicas", 0),
        created=metadata.get("creationTimestamp", ""),
        desired=number(held, DESIRED),
        most=number(held, MOST),
    )


def _at_rest(held: Document) -> bool:
    status = held.get("status") or {}
    seen = status.get("observedGeneration", 0) >= held["metadata"].get("generation", 0)
    return seen and not status.get("replicas") and not held["spec"].get("replicas", 1)


def _refuse_to_select_all(deployment: Document) -> Plan:
    generation = deployment["metadata"].get("generation", 0)
    status = {**(deployment.get("status") or {}), "observedGeneration": generation}
    writes = amend(DEPLOYMENT, deployment, {**deployment, "status": status}, blind_status=True)
    message = "This deployment is selecting all pods. A non-empty selector is required."
    return Plan(writes, (Report(deployment, "Warning", "SelectingAll", message),))


def _would_adopt(orphan: Document, world: World) -> Iterable[Key]:
    labels, namespace = labels_of(orphan), orphan["metadata"]["namespace"]
    for each in world.list(DEPLOYMENT, namespace) if labels else ():
        selector = each["spec"]["selector"]
        if not selects_all(selector) and selects(selector, labels):
            yield namespace, each["metadata"]["name"]


def _waiting_for_end_of(change: Change, world: World) -> Iterable[Key]:
    """The Recreate Deployment whose old Pod has ended or gone."""
    owner = controlling(change.before, REPLICA_SET)
    if owner is None or (change.after is not None and not terminal(change.after)):
        return
    held = world.get(REPLICA_SET, *owner)
    key = controlling(held, DEPLOYMENT)
    deployment = world.get(DEPLOYMENT, *key) if key else None
    if key and deployment and (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        yield key
