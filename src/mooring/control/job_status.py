"""What does a Job's status say? Its conditions, and the Pods that it has counted and has still to count.

Upstream: trackJobStatusAndRemoveFinalizers and enactJobFinished in pkg/controller/job/job_controller.go.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from mooring.control.conditions import find
from mooring.control.reconciler import Document
from mooring.control.times import stamp

COMPLETE, FAILED, SUCCEEDS, FAILS, SUSPENDED = "Complete", "Failed", "SuccessCriteriaMet", "FailureTarget", "Suspended"
FINISHED = (COMPLETE, FAILED)


class Outcome(Struct, frozen=True):
    """How a Job ends: `interim` is SuccessCriteriaMet or FailureTarget, said before its last Pods are gone."""

    interim: str
    reason: str
    message: str

    @property
    def final(self) -> str:
        return COMPLETE if self.interim == SUCCEEDS else FAILED


class Tally(Struct, frozen=True):
    """Numbers of Pods that are counted, and uids of those that are about to be."""

    succeeded: int = 0
    failed: int = 0
    waiting_succeeded: tuple[str, ...] = ()
    waiting_failed: tuple[str, ...] = ()

    @property
    def waiting(self) -> int:
        return len(self.waiting_succeeded) + len(self.waiting_failed)

    def counted(self, held: Iterable[str]) -> "Tally":
        """Those become numbers whose finalizer is off; `held` are the uids of the others."""
        still = set(held)
        succeeded = tuple(uid for uid in self.waiting_succeeded if uid in still)
        failed = tuple(uid for uid in self.waiting_failed if uid in still)
        return Tally(
            self.succeeded + len(self.waiting_succeeded) - len(succeeded),
            self.failed + len(self.waiting_failed) - len(failed),
            succeeded,
            failed,
        )


def tally_of(status: Document) -> Tally:
    waiting = status.get("uncountedTerminatedPods") or {}
    return Tally(
        status.get("succeeded", 0), status.get("failed", 0),
        tuple(waiting.get("succeeded") or ()), tuple(waiting.get("failed") or ()),
    )  # fmt: skip


def finish_of(job: Document) -> str:
    """'Complete', 'Failed', or '' while it is neither."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((type for type in FINISHED if holds(conditions, type)), "")


def holds(conditions: Iterable[Document], type: str) -> bool:
    held = find(conditions, type)
    return held is not None and held["status"] == "True"


def outcome_of(conditions: Iterable[Document]) -> Outcome | None:
    """What an earlier look has decided."""
    for type in (SUCCEEDS, FAILS):
        held = find(conditions, type)
        if held and held["status"] == "True":
            return Outcome(type, held.get("reason", ""), held.get("message", ""))
    return None


def with_state(conditions: list[Document], type: str, status: str, reason: str, message: str, now: datetime) -> list[Document]:
    """The conditions with this one; one that is False is not added, only changed."""
    held = find(conditions, type)
    said = {"type": type, "status": status, "reason": reason, "message": message}
    if held is None and status == "False":
        return conditions
    if held is not None and {**held, **said} == held:
        return conditions
    wanted = {**said, "lastProbeTime": stamp(now), "lastTransitionTime": stamp(now)}
    if held is None:
        return [*conditions, wanted]
    return [wanted if each is held else each for each in conditions]
