"""One look at a Job that is not finished: what is there (read once), what is to be done, and the status of both.

Upstream: syncJob and manageJob in pkg/controller/job/job_controller.go.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from mooring.control.amend import amend, apart, create, delete
from mooring.control.deletion_order import deletion_order
from mooring.control.job_failures import back_off, restarts, success, verdict
from mooring.control.job_indexes import Indexes, indexes, parse
from mooring.control.job_pods import (
    failed,
    failures_of_index,
    finished_at,
    index_has_failed,
    index_of,
    is_indexed,
    limited_per_index,
    new_indexed_pods,
    new_pods,
    replaces_only_failed,
    tracked,
    untrack,
    with_tracking,
    without_tracking,
)
from mooring.control.job_status import FAILS, SUCCEEDS, SUSPENDED, Outcome, Tally, outcome_of, tally_of, with_state
from mooring.control.owners import claim, controller_reference, with_owner, without_owners
from mooring.control.pod_reports import created, deleted
from mooring.control.pod_state import active, goes_at_once, phase, ready, terminal, terminating
from mooring.control.reconciler import Apply, Document, Plan, Report, World
from mooring.control.selectors import selected
from mooring.control.times import seconds_since, stamp
from mooring.model.kinds import JOB, NAMESPACE, POD

BURST = 500
"""Creates, deletes or counted Pods in one plan, as upstream; it bounds the uids in the status as well."""


class Sync:
    """`acting` False is the look after a refusal: Pods are counted, and neither made nor deleted."""

    def __init__(self, job: Document, world: World, acting: bool = True) -> None:
        self.job, self.spec, self.world, self.acting = job, job["spec"], world, acting
        self.held: Document = job.get("status") or {}
        self.indexed, self.per_index = is_indexed(job), limited_per_index(job)
        self.end = int(self.spec.get("completions") or 0)
        self.suspended, self.going = bool(self.spec.get("suspend")), bool(job["metadata"].get("deletionTimestamp"))
        self.writes: list[Apply] = []
        self.made: list[Document] = []
        self.reports: list[Report] = []
        self.waits: list[float] = []
        self.pods = {pod["metadata"]["uid"]: pod for pod in self._claimed()}
        self.seen = dict(self.pods)
        """As they were before anything was done."""
        self.tally = tally_of(self.held)
        self.conditions: list[Document] = list(self.held.get("conditions") or ())
        self.completion = self.held.get("completionTime")
        self.start = self.held.get("startTime") or (None if self.suspended else stamp(world.now))
        self._count()

    def plan(self) -> Plan:
        outcome = outcome_of(self.conditions) or self._decide()
        if outcome:
            self._delete(self._active(), counted=True)
            if self._active():
                outcome = None  # they could not be deleted: too early to count them
        else:
            if not self.going:
                self._manage()
            outcome = self._completed()
            if outcome is None and not self.going:
                self._tell_suspension()
        self._track(outcome)
        return Plan(tuple(self.writes), tuple(self.reports), min(self.waits, default=None))

    # What there is.

    def _claimed(self) -> Iterable[Document]:
        job, selector = self.job, self.spec["selector"]
        metadata, reference = job["metadata"], controller_reference(JOB, job)
        owned = list(self.world.indexed(POD, "owner", metadata["uid"]))
        self.taken = [pod["metadata"]["name"] for pod in owned]
        found = claim(job, selector, owned, selected(self.world, POD, metadata["namespace"], selector))
        for pod in found.released:
            self.writes += amend(POD, pod, without_tracking(without_owners(pod, [metadata["uid"]])))
        yield from found.held
        for pod in found.adopted:
            adopted = with_tracking(with_owner(pod, reference))
            self.writes += amend(POD, pod, adopted)
            yield adopted

    def _count(self) -> None:
        """Which Pods have ended since the last look, and which indexes are done with."""
        known = {*self.tally.waiting_succeeded, *self.tally.waiting_failed}
        fresh = [pod for uid, pod in self.pods.items() if tracked(pod) and uid not in known and self._valid(pod)]
        self.new_succeeded = [pod for pod in fresh if phase(pod) == "Succeeded"]
        self.new_failed = [pod for pod in fresh if failed(pod, self.job)]
        self.failures = self.tally.failed + len(self.tally.waiting_failed)
        self.failures += sum(verdict(self.job, pod).counts for pod in self.new_failed)
        self.succeeded = self.tally.succeeded + len(self.tally.waiting_succeeded) + len(self.new_succeeded)
        self.done = self.known_done = parse(self.held.get("completedIndexes", ""), self.end)
        self.lost, self.delayed = Indexes(), dict[int, Document]()
        if not self.indexed:
            return
        tracked_pods = [
            (number, pod) for pod in self.pods.values() if tracked(pod) and (number := self._index(pod)) is not None
        ]
        self.done = self.done.with_(indexes(number for number, pod in tracked_pods if phase(pod) == "Succeeded"))
        self.succeeded = self.done.total
        if self.per_index:
            self.lost = parse(self.held.get("failedIndexes", ""), self.end)
            self.lost = self.lost.with_(indexes(number for number, pod in tracked_pods if index_has_failed(pod, self.job)))
            self.delayed = self._last_failed(tracked_pods)

    def _valid(self, pod: Document) -> bool:
        return not self.indexed or self._index(pod) is not None

    def _index(self, pod: Document) -> int | None:
        number = index_of(pod)
        return number if number is not None and number < self.end else None

    def _last_failed(self, pods: Iterable[tuple[int, Document]]) -> dict[int, Document]:
        """Of each index to be tried again the last Pod that failed, kept until the next one carries its count on."""
        running = {index_of(pod) for pod in self._active()}
        found: dict[int, Document] = {}
        for number, pod in pods:
            if failed(pod, self.job) and number not in self.done and number not in self.lost and number not in running:
                before = found.get(number)
                if before is None or _later(before) <= _later(pod):
                    found[number] = pod
        return found

    def _active(self) -> list[Document]:
        return [pod for pod in self.pods.values() if active(pod)]

    def _ending(self) -> int:
        """Pods that are being deleted and have not ended."""
        return sum(terminating(pod) and not terminal(pod) for pod in self.pods.values())

    # How it ends.

    def _decide(self) -> Outcome | None:
        """Whether what has happened so far ends the Job."""
        for pod in self.pods.values():
            if failed(pod, self.job) and (message := verdict(self.job, pod).message):
                return Outcome(FAILS, "PodFailurePolicy", message)
        limit = int(self.spec.get("backoffLimit", 6))
        if self.failures > limit or self._restarted_too_often(limit):
            return Outcome(FAILS, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        if self._out_of_time():
            return Outcome(FAILS, "DeadlineExceeded", "Job was active longer than specified deadline")
        if self.per_index:
            most = self.spec.get("maxFailedIndexes")
            if most is not None and self.lost.total > most:
                message = "Job has exceeded the specified maximal number of failed indexes"
                return Outcome(FAILS, "MaxFailedIndexesExceeded", message)
            if self.lost.total and self.lost.total + self.done.total >= self.end:
                return Outcome(FAILS, "FailedIndexes", "Job has failed indexes")
        if self.indexed and (message := success(self.job, self.done)):
            return Outcome(SUCCEEDS, "SuccessPolicy", message)
        return None

    def _restarted_too_often(self, limit: int) -> bool:
        if (self.spec["template"].get("spec") or {}).get("restartPolicy") != "OnFailure":
            return False
        return restarts(self.pods.values()) >= max(1, limit)

    def _out_of_time(self) -> bool:
        deadline = self.spec.get("activeDeadlineSeconds")
        if deadline is None or self.suspended or self.start is None:
            return False
        left = deadline - seconds_since(self.start, self.world.now)
        if left > 0:
            self.waits.append(left)
        return bool(left <= 0)

    def _completed(self) -> Outcome | None:
        enough = self.succeeded > 0 if self.spec.get("completions") is None else self.succeeded >= self.end
        if not enough or self._active() or self.made:
            return None
        return Outcome(SUCCEEDS, "CompletionsReached", "Reached expected number of succeeded pods")

    def _tell_suspension(self) -> None:
        now, before = self.world.now, self.conditions
        if self.suspended:
            self.conditions = with_state(before, SUSPENDED, "True", "JobSuspended", "Job suspended", now)
        else:
            self.conditions = with_state(before, SUSPENDED, "False", "JobResumed", "Job resumed", now)
        if self.conditions is before:
            return
        if not self.suspended:
            self.start = stamp(now)  # the deadline counts from here
        word = "suspended" if self.suspended else "resumed"
        self.reports.append(Report(self.job, "Normal", word.title(), f"Job {word}"))

    # What is done.

    def _manage(self) -> None:
        running = self._active()
        if self.suspended:
            return self._delete(self._surplus(running, len(running)))
        parallel = int(self.spec.get("parallelism", 1))
        if self.spec.get("completions") is None:
            wanted = len(running) if self.succeeded else parallel
        else:
            wanted = max(0, min(parallel, self.end - self.succeeded))
        surplus = self._surplus(running, max(0, len(running) - wanted))
        if surplus:
            return self._delete(surplus[:BURST])
        missing = wanted - len(running) - (self._ending() if replaces_only_failed(self.job) else 0)
        if missing > 0 and self._may_create():
            self._create(min(missing, BURST))
        return None

    def _surplus(self, running: list[Document], least: int) -> list[Document]:
        """At least so many Pods to delete: first those of no index, and all but one of an index."""
        gone: list[Document] = []
        if self.indexed:
            by_index: dict[int | None, list[Document]] = {}
            for pod in running:
                by_index.setdefault(self._index(pod), []).append(pod)
            gone += by_index.pop(None, [])
            for several in by_index.values():
                gone += self._order(several)[:-1]
        chosen = {pod["metadata"]["uid"] for pod in gone}
        left = self._order([pod for pod in running if pod["metadata"]["uid"] not in chosen])
        return gone + left[: max(0, least - len(gone))]

    def _order(self, pods: Sequence[Document]) -> list[Document]:
        return deletion_order(pods, (), self.world.now)

    def _may_create(self) -> bool:
        namespace = self.world.get(NAMESPACE, "", self.job["metadata"]["namespace"])
        if not self.acting or (namespace is not None and namespace["metadata"].get("deletionTimestamp")):
            return False
        if self.per_index:
            return True  # each index waits for itself
        return not self._waits(*self._failures_in_a_row())

    def _failures_in_a_row(self) -> tuple[int, Document | None]:
        """How many Pods have failed since the last that succeeded, and the last of them."""
        ended = [pod for pod in self.pods.values() if tracked(pod) or not terminating(pod)]
        succeeded = max((finished_at(pod) for pod in ended if phase(pod) == "Succeeded"), default=None)
        lost = [pod for pod in ended if failed(pod, self.job) and (succeeded is None or finished_at(pod) > succeeded)]
        return len(lost), max(lost, key=finished_at, default=None)

    def _waits(self, failures: int, last: Document | None) -> bool:
        since = (self.world.now - finished_at(last)).total_seconds() if last else 0.0
        left = back_off(failures, since)
        if left > 0:
            self.waits.append(left)
        return left > 0

    def _create(self, count: int) -> None:
        if self.indexed:
            wanted = list(islice(self._pending(), count))
            if self.per_index:
                wanted = [number for number in wanted if not self._index_waits(number)]
            self.made = new_indexed_pods(self.job, wanted, self.taken, self.delayed)
        else:
            self.made = new_pods(self.job, count, self.taken)
        for pod in self.made:
            self.reports.append(created(self.job, pod))

    def _index_waits(self, number: int) -> bool:
        last = self.delayed.get(number)
        return last is not None and self._waits(sum(failures_of_index(last)) + 1, last)

    def _pending(self) -> Iterable[int]:
        taken = [pod for pod in self.pods.values() if active(pod) or self._holds_index(pod)]
        busy = indexes(number for pod in taken if (number := self._index(pod)) is not None)
        return self.done.with_(busy, self.lost).missing(self.end)

    def _holds_index(self, pod: Document) -> bool:
        return replaces_only_failed(self.job) and terminating(pod) and not terminal(pod)

    def _delete(self, pods: Iterable[Document], counted: bool = False) -> None:
        """Those that the Job has too many of are not counted; those that its end takes along are, so they stay tracked."""
        for pod in pods if self.acting else ():
            steps = () if counted else untrack(pod)
            pod = pod if counted else without_tracking(pod)
            self.writes += apart([*steps, delete(POD, pod)])
            self.reports.append(deleted(self.job, pod))
            self._replace({**pod, "metadata": {**pod["metadata"], "deletionTimestamp": stamp(self.world.now)}})

    def _replace(self, pod: Document) -> None:
        """The Pod as it will be; none where nothing is left to end."""
        if terminating(pod) and goes_at_once(pod):
            del self.pods[pod["metadata"]["uid"]]
        else:
            self.pods[pod["metadata"]["uid"]] = pod

    # What is counted and said.

    def _track(self, outcome: Outcome | None) -> None:
        """Uids first, then new Pods, then finalizers, then numbers."""
        tracking = {uid for uid, pod in self.pods.items() if tracked(pod)}
        self.tally = self.tally.counted(tracking)
        released = self._to_release(outcome)
        more, released = len(released) > BURST, released[:BURST]
        self.tally = self._noted(released, outcome)
        now = self.world.now
        if outcome:
            self.conditions = with_state(self.conditions, outcome.interim, "True", outcome.reason, outcome.message, now)
        said, interim = self.held, self._status(self._active())
        if released and any(interim.get(name) != said.get(name) for name in _BEFORE_RELEASE):
            self.writes += amend(JOB, self.job, {**self.job, "status": interim}, blind_status=True)
            said = interim
        self.writes += apart(create(POD, pod) for pod in self.made)
        for pod in released:
            self.writes += untrack(pod)
            self._replace(without_tracking(pod))
        self.tally = self.tally.counted(tracking - {pod["metadata"]["uid"] for pod in released})
        if outcome and not more and not self.tally.waiting and not self._ending():
            self.conditions = with_state(self.conditions, outcome.final, "True", outcome.reason, outcome.message, now)
            self.completion = stamp(now) if outcome.interim == SUCCEEDS else self.completion
            self.start = self.start or stamp(now)  # what ends without having begun began now
            self._tell_end(outcome)
        final = self._status([*self._active(), *self.made])
        self.writes += amend(JOB, {**self.job, "status": said}, {**self.job, "status": final}, blind_status=True)

    def _to_release(self, outcome: Outcome | None) -> list[Document]:
        """The Pods whose finalizer is to go. The last failure of an index stays until the next Pod carries its count on."""
        delayed = {pod["metadata"]["uid"] for pod in self.delayed.values()}
        made = {index_of(pod) for pod in self.made}

        def goes(pod: Document) -> bool:
            if self.going or outcome or phase(pod) == "Succeeded":
                return True
            return failed(pod, self.job) and (pod["metadata"]["uid"] not in delayed or index_of(pod) in made)

        found = [pod for pod in self.pods.values() if tracked(pod) and goes(pod)]
        return sorted(found, key=lambda pod: (index_of(pod) or 0, pod["metadata"]["name"]))

    def _noted(self, released: Sequence[Document], outcome: Outcome | None) -> Tally:
        """With the uids of those that are to be counted."""
        known = {*self.tally.waiting_succeeded, *self.tally.waiting_failed}
        succeeded, lost = list(self.tally.waiting_succeeded), list(self.tally.waiting_failed)
        for pod in released:
            uid = pod["metadata"]["uid"]
            if uid in known:
                continue
            has_failed = failed(self.seen[uid], self.job) or (outcome is not None and outcome.interim == FAILS)
            if phase(pod) == "Succeeded":
                succeeded += [] if self.indexed else [uid]  # the index is on record itself
            elif has_failed and self._valid(pod) and verdict(self.job, pod).counts:
                lost.append(uid)
        return Tally(self.tally.succeeded, self.tally.failed, tuple(succeeded), tuple(lost))

    def _status(self, running: Sequence[Document]) -> Document:
        waiting = {"succeeded": list(self.tally.waiting_succeeded), "failed": list(self.tally.waiting_failed)}
        optional: dict[str, Any] = {
            "conditions": self.conditions,
            "startTime": self.start,
            "completionTime": self.completion,
            "active": len(running),
            "succeeded": self.done.total if self.indexed else self.tally.succeeded,
            "failed": self.tally.failed,
            "completedIndexes": str(self.done) if self.indexed else "",
        }
        return {
            **{name: value for name, value in optional.items() if value},
            **({"failedIndexes": str(self.lost)} if self.per_index else {}),
            "ready": sum(map(ready, running)),
            "terminating": self._ending(),
            "uncountedTerminatedPods": {name: uids for name, uids in waiting.items() if uids},
        }

    def _tell_end(self, outcome: Outcome) -> None:
        if outcome.interim == FAILS:
            self.reports.append(Report(self.job, "Warning", outcome.reason, outcome.message))
            return
        if self.spec.get("completions") is not None and self.tally.succeeded > self.end and not self.indexed:
            message = "Too many succeeded pods running after completion count reached"
            self.reports.append(Report(self.job, "Warning", "TooManySucceededPods", message))
        self.reports.append(Report(self.job, "Normal", "Completed", "Job completed"))


_BEFORE_RELEASE = ("uncountedTerminatedPods", "conditions", "completedIndexes", "failedIndexes")
"""What must be on record before the Pods it comes from may go."""


def _later(pod: Document) -> tuple[int, Any]:
    return sum(failures_of_index(pod)), finished_at(pod)
