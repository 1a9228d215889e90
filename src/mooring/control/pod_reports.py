"""What is told of Pods made and deleted, or refused? (upstream: RealPodControl in pkg/controller/controller_utils.go)"""

from collections.abc import Iterable

from msgspec import Struct

from mooring.control.amend import part_of
from mooring.control.reconciler import Document, Refusal, Report
from mooring.model.kinds import POD

_REASONS = {"create": ("FailedCreate", "creating"), "delete": ("FailedDelete", "deleting")}


def created(owner: Document, pod: Document) -> Report:
    return _told(owner, pod, "SuccessfulCreate", "Created")


def deleted(owner: Document, pod: Document) -> Report:
    return _told(owner, pod, "SuccessfulDelete", "Deleted")


def _told(owner: Document, pod: Document, reason: str, done: str) -> Report:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    return Report(owner, "Normal", reason, f"{done} pod: {name}", part_of(POD, namespace, name))


class Failure(Struct, frozen=True):
    reason: str
    doing: str
    message: str


def pod_failures(refusals: Iterable[Refusal]) -> list[Failure]:
    """Of Pods alone. A name that is taken is no news: the view was stale, and the next plan has another."""
    return [
        Failure(*_REASONS[each.write.verb], each.error.message)
        for each in refusals
        if each.write.kind == POD and each.write.verb in _REASONS and each.error.reason != "AlreadyExists"
    ]


def failure_reports(owner: Document, failures: Iterable[Failure]) -> tuple[Report, ...]:
    return tuple(Report(owner, "Warning", each.reason, f"Error {each.doing}: {each.message}") for each in failures)
