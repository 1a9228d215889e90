"""batch/v1 Job: defaults, the selector that the server makes, its row in a table.

Upstream: pkg/apis/batch and pkg/registry/batch/job.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.job_status import check_status, holds
from mooring.apiserver.kinds.job_validation import check_job_spec, check_spec_change
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import invalid, required
from mooring.apiserver.kinds.workloads import WIDE, default_template, matches, wide_cells
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import JOB

UID, NAME_LABEL = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
OLD_UID, OLD_NAME = "controller-uid", "job-name"
MOST = 2**31 - 1


class Job(Plain):
    kind = JOB
    columns: tuple[Column, ...] = (NAME, Column("Status"), Column("Completions"), Column("Duration"), AGE, *WIDE)
    has_status = True
    generation = True

    def default(self, document: Document) -> None:
        spec = document.setdefault("spec", {})
        default_template(spec)
        if "completions" not in spec and "parallelism" not in spec:
            spec["completions"] = 1
        spec.setdefault("parallelism", 1)
        spec.setdefault("backoffLimit", MOST if "backoffLimitPerIndex" in spec else 6)
        for name, value in (("completionMode", "NonIndexed"), ("suspend", False), ("manualSelector", False)):
            spec.setdefault(name, value)
        spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
        for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
            for pattern in rule.get("onPodConditions") or ():
                if not pattern.get("status"):
                    pattern["status"] = "True"
        _label(document)

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {}
        spec, metadata = document["spec"], document["metadata"]
        if not spec["manualSelector"]:
            name, uid = metadata.get("name", ""), metadata["uid"]
            template = spec["template"]["metadata"]
            wanted = {OLD_NAME: name, NAME_LABEL: name, OLD_UID: uid, UID: uid}
            template["labels"] = {**wanted, **(template.get("labels") or {})}
            selector = spec.setdefault("selector", {})
            selector["matchLabels"] = {UID: uid, **(selector.get("matchLabels") or {})}
        _label(document)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            return check_status(document, old or {})
        spec = document["spec"]
        found = _check_generated(document) + check_job_spec(spec)
        if spec["completionMode"] == "Indexed" and spec.get("completions", 0) > 0:
            name = document["metadata"].get("name", "")
            longest = f"{name}-{spec['completions'] - 1}"
            if formats.label(longest):
                words = f"will not able to create pod with invalid DNS label: {longest}"
                found.append(invalid("metadata.name", name, words))
        return found if old is None else found + check_spec_change(document, old)

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        words = formats.label(document["metadata"].get("name", "")) if old is None else []
        surprise = "this is used in Pod names and hostnames, which can result in surprising behavior"
        return [f"metadata.name: {surprise}; a DNS label is recommended: [{' '.join(words)}]"] if words else ()

    def fields(self, document: Document) -> dict[str, str]:
        return {"status.successful": str((document.get("status") or {}).get("succeeded", 0))}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        return [
            document["metadata"].get("name", ""),
            _state(document),
            _completions(spec, status),
            _duration(status, env.now),
            printing.age(document, env),
            *wide_cells(spec),
        ]


def _label(document: Document) -> None:
    """A Job without labels has those of its Pods."""
    labels = document["spec"]["template"]["metadata"].get("labels")
    if labels and not document["metadata"].get("labels"):
        document["metadata"]["labels"] = dict(labels)


def _check_generated(document: Document) -> list[FieldError]:
    """Labels and a selector that the user gave must not contradict those that the server makes."""
    spec, metadata = document["spec"], document["metadata"]
    if spec["manualSelector"] or spec.get("selector") is None:
        return []
    labels, found = spec["template"]["metadata"].get("labels") or {}, list[FieldError]()
    name, uid = metadata.get("name", ""), metadata.get("uid", "")
    for label, wanted in ((OLD_UID, uid), (OLD_NAME, name), (UID, uid), (NAME_LABEL, name)):
        field = f"spec.template.metadata.labels[{label}]"
        if label not in labels:
            found.append(required(field, f"must be '{wanted}'"))
        elif labels[label] != wanted:
            found.append(invalid(field, labels, f"must be '{wanted}'"))
    expected = {OLD_UID: uid, UID: uid, OLD_NAME: name, NAME_LABEL: name}
    rules = spec["selector"].get("matchExpressions") or ()
    known = all(rule.get("operator") in ("In", "NotIn", "Exists", "DoesNotExist") for rule in rules)
    if known and not matches(spec["selector"], expected):
        found.append(invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))
    return found


def _state(document: Document) -> str:
    conditions = (document.get("status") or {}).get("conditions") or ()
    for type in ("Complete", "Failed"):
        if holds(conditions, type):
            return type
    if document["metadata"].get("deletionTimestamp"):
        return "Terminating"
    shown = ("Suspended", "FailureTarget", "SuccessCriteriaMet")
    return next((type for type in shown if holds(conditions, type)), "Running")


def _completions(spec: Document, status: Document) -> str:
    done = status.get("succeeded", 0)
    if "completions" in spec:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism", 0)
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _duration(status: Document, now: datetime) -> str:
    if not status.get("startTime"):
        return ""
    ended = status.get("completionTime")
    return printing.since(status["startTime"], datetime.fromisoformat(ended) if ended else now)
