"""What is a Pod to its Job: which index has it, does the Job still have to count it, has it failed, when did it end?

Upstream: pkg/controller/job (job_controller.go, tracking_utils.go, indexed_job_utils.go, backoff_utils.go). A Job counts each
Pod once, though Pods may be deleted at any time: each holds a finalizer until it is counted.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from mooring.control.conditions import condition
from mooring.control.job_failures import verdict
from mooring.control.naming import LONGEST_BASE, next_names
from mooring.control.owners import controller_reference
from mooring.control.pod_state import phase, terminating
from mooring.control.reconciler import Apply, Document
from mooring.control.times import moment
from mooring.model.kinds import JOB, POD

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"


def tracked(pod: Document) -> bool:
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def with_tracking(pod: Document) -> Document:
    if tracked(pod):
        return pod
    return {**pod, "metadata": {**pod["metadata"], "finalizers": [*(pod["metadata"].get("finalizers") or ()), TRACKING]}}


def without_tracking(pod: Document) -> Document:
    kept = [each for each in pod["metadata"].get("finalizers") or () if each != TRACKING]
    return {**pod, "metadata": {**pod["metadata"], "finalizers": kept or None}}


def untrack(pod: Document) -> tuple[Apply, ...]:
    """Takes the finalizer off, whatever else has been written meanwhile; a Pod that is gone counts as done."""
    metadata = pod["metadata"]
    held = metadata.get("finalizers") or []
    if TRACKING not in held:
        return ()
    path, value = "/metadata/finalizers", held
    if len(held) > 1:
        path, value = f"{path}/{held.index(TRACKING)}", TRACKING
    steps = [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": path, "value": value},
        {"op": "remove", "path": path},
    ]
    namespace, name = metadata["namespace"], metadata["name"]
    return (Apply("patch", POD, namespace, name, steps, patch_type="application/json-patch+json", ignore=("NotFound",)),)


def is_indexed(job: Document) -> bool:
    return str(job["spec"].get("completionMode")) == "Indexed"


def limited_per_index(job: Document) -> bool:
    return is_indexed(job) and job["spec"].get("backoffLimitPerIndex") is not None


def index_of(pod: Document) -> int | None:
    text = str((pod["metadata"].get("annotations") or {}).get(INDEX, ""))
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 11 else None


def replaces_only_failed(job: Document) -> bool:
    """A Pod that is terminating counts for nothing until it has ended."""
    return job["spec"].get("podReplacementPolicy") == "Failed" or job["spec"].get("podFailurePolicy") is not None


def failed(pod: Document, job: Document) -> bool:
    """One deleted before it ended counts as failed: it may never get to say so."""
    if phase(pod) == "Failed":
        return True
    return not replaces_only_failed(job) and terminating(pod) and phase(pod) != "Succeeded"


def finished_at(pod: Document) -> datetime:
    """When the last container ended, else when the Pod ceased to be ready, was deleted, was made."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
    ends = [(each.get("terminated") or {}).get("finishedAt") for each in states]
    if ends and all(ends):
        return max(moment(each) for each in ends if each)
    held = condition(pod, "Ready")
    if held and held["status"] == "False" and held.get("lastTransitionTime"):
        return moment(held["lastTransitionTime"])
    if metadata.get("deletionTimestamp"):
        return moment(metadata["deletionTimestamp"]) - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    return moment(metadata["creationTimestamp"])


# Failures of one index --------------------------------------------------------------------------------------------------


def failures_of_index(pod: Document) -> tuple[int, int]:
    """(counted, ignored) failures of the index before this Pod."""
    return _count(pod, INDEX_FAILURES), _count(pod, INDEX_IGNORED)


def index_has_failed(pod: Document, job: Document) -> bool:
    if not failed(pod, job):
        return False
    found = verdict(job, pod)
    if found.action == "FailIndex":
        return True
    return found.counts and _count(pod, INDEX_FAILURES) >= int(job["spec"]["backoffLimitPerIndex"])


def _count(pod: Document, annotation: str) -> int:
    text = str((pod["metadata"].get("annotations") or {}).get(annotation, ""))
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 11 else 0


# New Pods ---------------------------------------------------------------------------------------------------------------


def new_pods(job: Document, count: int, taken: Iterable[str]) -> list[Document]:
    base = f"{job['metadata']['name']}-"
    return [_pod(job, name, base) for name in next_names(base, _version(job), taken, count)]


def new_indexed_pods(
    job: Document, wanted: Sequence[int], taken: Iterable[str], replaced: dict[int, Document]
) -> list[Document]:
    """A Pod for each index. `replaced` are the last ones of an index that failed, whose count of failures goes on."""
    used = list(taken)
    made = []
    for index in wanted:
        suffix = f"-{index}-"
        base = job["metadata"]["name"][: LONGEST_BASE - len(suffix)] + suffix
        (name,) = next_names(base, _version(job), used, 1)
        used.append(name)
        made.append(_indexed(_pod(job, name, base), job, index, replaced.get(index)))
    return made


def _version(job: Document) -> tuple[str, str]:
    return job["metadata"]["uid"], job["metadata"].get("resourceVersion", "")


def _pod(job: Document, name: str, base: str) -> Document:
    template = job["spec"]["template"]
    inherited = template.get("metadata") or {}
    pod = {
        "metadata": {
            "name": name,
            "generateName": base,
            "namespace": job["metadata"]["namespace"],
            **{field: inherited[field] for field in ("labels", "annotations", "finalizers") if inherited.get(field)},
            "ownerReferences": [controller_reference(JOB, job)],
        },
        "spec": template["spec"],
    }
    return with_tracking(pod)


def _indexed(pod: Document, job: Document, index: int, replaced: Document | None) -> Document:
    metadata, spec = pod["metadata"], pod["spec"]
    annotations = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    if limited_per_index(job):
        counted, ignored = failures_of_index(replaced) if replaced else (0, 0)
        if replaced:
            counts = verdict(job, replaced).counts
            counted, ignored = counted + counts, ignored + (not counts)
        annotations[INDEX_FAILURES] = str(counted)
        if ignored:
            annotations[INDEX_IGNORED] = str(ignored)
    told = {field: [_told(each) for each in spec[field]] for field in ("initContainers", "containers") if spec.get(field)}
    labels = {**(metadata.get("labels") or {}), INDEX: str(index)}
    return {
        "metadata": {**metadata, "labels": labels, "annotations": annotations},
        "spec": {**spec, **told, "hostname": f"{job['metadata']['name']}-{index}"},
    }


def _told(container: Document) -> Document:
    """The container with its index in the environment."""
    variables = container.get("env") or []
    if any(each.get("name") == INDEX_VARIABLE for each in variables):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*variables, {"name": INDEX_VARIABLE, "valueFrom": source}]}
