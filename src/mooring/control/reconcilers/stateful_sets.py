"""Which Pods must a StatefulSet make, replace or delete next, which claims must it make, and what does its status say?

Upstream: pkg/controller/statefulset/stateful_set_control.go. With OrderedReady every step waits for the Pods before it; so a
Pod that cannot start holds up everything, its own replacement too, until somebody deletes it (their "forced rollback").
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain

from mooring.control.amend import amend, apart, create, delete, part_of
from mooring.control.history import HASH, history, removals, revision_name, template_of
from mooring.control.owners import claim, controller_of, controller_reference, controlling, with_owner, without_owners
from mooring.control.pod_state import goes_at_once, phase, terminal, terminating
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Refusal, Report, World
from mooring.control.selectors import labels_of, selected, selects
from mooring.control.stateful_pods import (
    claims_of,
    identity,
    kept_by_policy,
    new_claim,
    new_pod,
    ordinal_of,
    pod_name,
    revision_of,
    running_and_available,
    running_and_ready,
    stale,
    start_of,
    unavailable,
    waits_for_availability,
)
from mooring.control.times import stamp
from mooring.model.kinds import CONTROLLER_REVISION, NAMESPACE, PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET

PARALLEL_BATCH = 500
"""Creates or deletes in one plan where the order does not matter, as upstream."""


class StatefulSets:
    name = "statefulset"
    watches = (STATEFUL_SET, POD, CONTROLLER_REVISION, PERSISTENT_VOLUME_CLAIM, NAMESPACE)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        versions = [each for each in (change.before, change.after) if each]
        if change.kind == STATEFUL_SET:
            return {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in versions}
        if change.kind == NAMESPACE:
            return ()
        keys = {key for each in versions if (key := controlling(each, STATEFUL_SET))}
        if change.kind == PERSISTENT_VOLUME_CLAIM:
            # One that is gone may be wanted again, and a set may have waited for its end.
            return keys if change.after else keys | set(_claiming(versions[0], world))
        if change.after and controller_of(change.after) is None:
            keys.update(_would_adopt(change, world))
        return keys

    def plan(self, key: Key, world: World) -> Plan:
        owner = world.get(STATEFUL_SET, *key)
        return NOTHING if owner is None else _Sync(owner, world).plan()

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """FailedCreate, FailedDelete: Events, and the status of what there is."""
        owner = world.get(STATEFUL_SET, *key)
        told = [each for each in refusals if each.write.kind in _PARTS and each.error.reason != "AlreadyExists"]
        if owner is None or not told:
            return NOTHING
        return Plan(tuple(_Sync(owner, world).status_writes()), tuple(_failure(owner, each) for each in told))


_PARTS = (POD, PERSISTENT_VOLUME_CLAIM)


def _failure(owner: Document, refusal: Refusal) -> Report:
    write, name, of = refusal.write, refusal.write.name, owner["metadata"]["name"]
    if write.kind == PERSISTENT_VOLUME_CLAIM:
        pod = name[name.find(f"-{of}-") + 1 :]
        what = f"{write.verb} Claim {name} for Pod {pod}"
    else:
        what = f"{'update' if write.verb == 'patch' else write.verb} Pod {name}"
    reason = {"create": "FailedCreate", "delete": "FailedDelete"}.get(write.verb, "FailedUpdate")
    return Report(owner, "Warning", reason, f"{what} in StatefulSet {of} failed error: {refusal.error.message}")


def _would_adopt(change: Change, world: World) -> Iterable[Key]:
    assert change.after is not None
    metadata, labels = change.after["metadata"], labels_of(change.after)
    for each in world.list(STATEFUL_SET, metadata["namespace"]) if labels else ():
        fits = change.kind != POD or ordinal_of(each, metadata["name"]) is not None
        if fits and selects(each["spec"]["selector"], labels):
            yield metadata["namespace"], each["metadata"]["name"]


def _claiming(gone: Document, world: World) -> Iterable[Key]:
    """The sets one of whose Pods has, or may want, a claim of this name."""
    metadata = gone["metadata"]
    for each in world.list(STATEFUL_SET, metadata["namespace"]):
        own = each["metadata"]["name"]
        for template in each["spec"].get("volumeClaimTemplates") or ():
            if metadata["name"].startswith(f"{(template.get('metadata') or {}).get('name', '')}-{own}-"):
                yield metadata["namespace"], own


class _Sync:
    """One look at a StatefulSet: what there is (read once), what is to be done now, and the status of both."""

    def __init__(self, owner: Document, world: World) -> None:
        self.owner, self.world, self.spec = owner, world, owner["spec"]
        self.ordered = self.spec.get("podManagementPolicy", "OrderedReady") != "Parallel"
        self.strategy = self.spec.get("updateStrategy") or {}
        self.rolling = self.strategy.get("type", "RollingUpdate") == "RollingUpdate"
        self.start, self.count = start_of(owner), int(self.spec.get("replicas", 1))
        self.writes: list[Apply] = []
        self.reports: list[Report] = []
        self.steps = 0
        self.pods = self._claimed()
        self.history = history(STATEFUL_SET, owner, HASH, world)
        self.update = self.history.update
        status = owner.get("status") or {}
        known = {revision_name(each): each for each in self.history.known}
        self.current = known.get(status.get("currentRevision", ""), self.update)

    def plan(self) -> Plan:
        if not self.owner["metadata"].get("deletionTimestamp"):
            self.writes += self.history.writes
            self._work()
        self.writes += self.status_writes()
        self.writes += self._forgotten()
        waits = [seconds for pod in self.pods.values() if (seconds := waits_for_availability(pod, self.owner, self.world))]
        return Plan(tuple(self.writes), tuple(self.reports), min(waits, default=None))

    def _claimed(self) -> dict[int, Document]:
        """The set's Pods by number, orphans adopted."""
        owner, world = self.owner, self.world
        namespace, uid, selector = owner["metadata"]["namespace"], owner["metadata"]["uid"], self.spec["selector"]
        owned = world.indexed(POD, "owner", uid)
        candidates = selected(world, POD, namespace, selector)
        found = claim(owner, selector, owned, (each for each in candidates if self._number(each) is not None))
        reference = controller_reference(STATEFUL_SET, owner)
        for pod in found.released:
            self.writes += amend(POD, pod, without_owners(pod, [uid]))
        for pod in found.adopted:
            self.writes += amend(POD, pod, with_owner(pod, reference))
        return {number: pod for pod in (*found.held, *found.adopted) if (number := self._number(pod)) is not None}

    def _number(self, pod: Document) -> int | None:
        return ordinal_of(self.owner, pod["metadata"]["name"])

    # What is done.

    def _work(self) -> None:
        wanted = range(self.start, self.start + self.count)
        condemned = sorted((number for number in self.pods if number not in wanted), reverse=True)
        unhealthy = next(filter(self._missing_or_unavailable, chain(wanted, reversed(condemned))), None)
        for number in wanted:
            if (not self._steady(number) and self.ordered) or self.steps > PARALLEL_BATCH:
                return  # A set may have two thousand million: no more of them are looked at than can be made.
        for number in condemned:
            self._retain(number, condemned=True)
        for number in condemned:
            self._dismiss(number, first_unhealthy=number == unhealthy)
            if self.ordered:
                return
        if self.rolling:
            self._roll(wanted)

    def _missing_or_unavailable(self, number: int) -> bool:
        pod = self.pods.get(number)
        return pod is None or unavailable(pod, self.owner, self.world)

    def _steady(self, number: int) -> bool:
        """Brings Pod `number` on its way; True when those after it need not wait for it."""
        pod = self.pods.get(number)
        if pod is not None and terminal(pod):
            if not terminating(pod):
                self._delete(number)
            return False
        if pod is None:
            self._create(number)
            return False
        if phase(pod) == "Pending":
            self._make_claims(number)
        if self.ordered and (terminating(pod) or not running_and_available(pod, self.owner, self.world)):
            return False
        self._identify(number)
        self._retain(number, condemned=False)
        return True

    def _dismiss(self, number: int, first_unhealthy: bool) -> None:
        """Deletes the condemned Pod `number`; in order only while those before it are well."""
        pod = self.pods[number]
        if not terminating(pod) and (not self.ordered or first_unhealthy or running_and_available(pod, self.owner, self.world)):
            self._delete(number)

    def _roll(self, wanted: range) -> None:
        """Deletes Pods of another version than they should be, the highest number first, within maxUnavailable."""
        rolling = self.strategy.get("rollingUpdate") or {}
        candidates = list(reversed(wanted[int(rolling.get("partition", 0)) :]))
        most = _at_least_one(rolling.get("maxUnavailable", 1), self.count)
        if most == 1:
            for number in candidates:
                pod = self.pods.get(number)
                if pod is not None and not terminating(pod) and self._old(pod):
                    return self._delete(number)
                if self._missing_or_unavailable(number):
                    return None
            return None
        down = [number for number in wanted if self._missing_or_unavailable(number)]
        old = [number for number in candidates if (pod := self.pods.get(number)) and self._old(pod) and not terminating(pod)]
        lost = [] if self.ordered else [number for number in old if number in down]
        for number in [*lost, *[number for number in old if number not in lost][: max(0, most - len(down))]]:
            self._delete(number)
        return None

    def _old(self, pod: Document) -> bool:
        return revision_of(pod) != revision_name(self.update)

    def _may_step(self) -> bool:
        self.steps += 1
        return self.steps <= PARALLEL_BATCH

    def _create(self, number: int) -> None:
        if not self._may_step():
            return
        namespace = self.world.get(NAMESPACE, "", self.owner["metadata"]["namespace"])
        if namespace is not None and namespace["metadata"].get("deletionTimestamp"):
            return
        if any(stale(held, self.owner, number) for _, _, held in claims_of(self.owner, number, self.world)):
            return
        self._make_claims(number)
        revision = self.current if self._stays_current(number) else self.update
        template = template_of(revision) or self.spec["template"]
        pod = new_pod(self.owner, template, number, revision_name(revision))
        self._write(number, create(POD, pod))
        self.pods[number] = pod
        self._report("create", number)

    def _stays_current(self, number: int) -> bool:
        """A Pod made anew below the partition gets the version it had."""
        rolling = self.strategy.get("rollingUpdate")
        if not self.rolling:
            return False
        if rolling is None:
            return number < self.start + int((self.owner.get("status") or {}).get("currentReplicas", 0))
        return number < self.start + int(rolling.get("partition", 0))

    def _delete(self, number: int) -> None:
        pod = self.pods[number]
        if not self._may_step():
            return
        self._write(number, delete(POD, pod))
        self._report("delete", number)
        if goes_at_once(pod):
            del self.pods[number]
        else:
            self.pods[number] = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": stamp(self.world.now)}}

    def _write(self, number: int, *writes: Apply) -> None:
        """Where the order does not matter, no Pod's refusal keeps another from being made or deleted."""
        self.writes += writes if self.ordered else apart(writes, self._part(number))

    def _part(self, number: int) -> str:
        return part_of(POD, self.owner["metadata"]["namespace"], pod_name(self.owner, number))

    def _report(self, verb: str, number: int) -> None:
        message = f"{verb} Pod {pod_name(self.owner, number)} in StatefulSet {self.owner['metadata']['name']} successful"
        part = "" if self.ordered else self._part(number)
        self.reports.append(Report(self.owner, "Normal", f"Successful{verb.title()}", message, part))

    def _identify(self, number: int) -> None:
        """Labels that an adopted Pod lacks, or that somebody took off."""
        pod = self.pods[number]
        labels = {**labels_of(pod), **identity(self.owner, number)}
        if labels == labels_of(pod):
            return
        self.pods[number] = {**pod, "metadata": {**pod["metadata"], "labels": labels}}
        self._write(number, *amend(POD, pod, self.pods[number]))
        self._report("update", number)

    def _make_claims(self, number: int) -> None:
        for name, template, held in claims_of(self.owner, number, self.world):
            if held is not None or any(write.kind == PERSISTENT_VOLUME_CLAIM and write.name == name for write in self.writes):
                continue
            self._write(number, create(PERSISTENT_VOLUME_CLAIM, new_claim(self.owner, template, number)))
            of = self.owner["metadata"]["name"]
            message = f"create Claim {name} Pod {pod_name(self.owner, number)} in StatefulSet {of} success"
            self.reports.append(Report(self.owner, "Normal", "SuccessfulCreate", message))

    def _retain(self, number: int, condemned: bool) -> None:
        for _, _, held in claims_of(self.owner, number, self.world):
            if held is not None:
                kept = kept_by_policy(held, self.owner, self.pods[number], condemned)
                self._write(number, *amend(PERSISTENT_VOLUME_CLAIM, held, kept))

    # What is said.

    def status_writes(self) -> Iterable[Apply]:
        return amend(STATEFUL_SET, self.owner, {**self.owner, "status": self._status()}, blind_status=True)

    def _status(self) -> Document:
        update, current = revision_name(self.update), revision_name(self.current)
        pods = list(self.pods.values())
        alive = [each for each in pods if not terminating(each)]
        counts = {
            "readyReplicas": sum(map(running_and_ready, pods)),
            "currentReplicas": sum(revision_of(each) == current for each in alive),
            "updatedReplicas": sum(revision_of(each) == update for each in alive),
        }
        if self.rolling and {len(pods), counts["readyReplicas"], counts["updatedReplicas"]} == {self.count}:
            counts["currentReplicas"], current = counts["updatedReplicas"], update
        conditions = (self.owner.get("status") or {}).get("conditions")
        return {
            "observedGeneration": self.owner["metadata"].get("generation", 0),
            "replicas": len(pods),
            "availableReplicas": sum(running_and_available(each, self.owner, self.world) for each in pods),
            **{name: count for name, count in counts.items() if count},
            "currentRevision": current,
            "updateRevision": update,
            "collisionCount": self.history.collisions,
            **({"conditions": conditions} if conditions else {}),
        }

    def _forgotten(self) -> list[Apply]:
        limit = self.spec.get("revisionHistoryLimit", 10)
        if limit < 0 or self.owner["metadata"].get("deletionTimestamp"):
            return []
        live = [revision_name(self.current), *map(revision_of, self.pods.values())]
        return removals(self.history.surplus(live, lambda _: False, limit))


def _at_least_one(share: int | str, total: int) -> int:
    """maxUnavailable as a number of Pods, percentages rounded down."""
    wished = math.floor(int(share[:-1]) * total / 100) if isinstance(share, str) else share
    return max(1, wished)
