"""apps/v1 Deployment and ReplicaSet: defaults, the selector that must fit its template and never changes, rows in a table.

What the other workloads share with them: their Pod template, selector, and shares of a number of Pods.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import printing
from mooring.apiserver.kinds.label_selectors import check_label_selector
from mooring.apiserver.kinds.metadata import check_annotations, check_labels
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.pod_defaults import default_pod_spec
from mooring.apiserver.kinds.pod_validation import check_pod_spec
from mooring.apiserver.kinds.problems import IMMUTABLE, forbidden, invalid, required, unsupported
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import DEPLOYMENT, REPLICA_SET

STRATEGIES = ("Recreate", "RollingUpdate")
PERCENT = re.compile(r"[0-9]{1,18}%")
"""No share is longer: upstream's controllers can do nothing with one."""
NOT_NEGATIVE = "must be greater than or equal to 0"
WIDE = (Column("Containers", priority=1), Column("Images", priority=1), Column("Selector", priority=1))


class _Workload(Plain):
    has_status = True
    generation = True

    def default(self, document: Document) -> None:
        spec = document.setdefault("spec", {})
        spec.setdefault("replicas", 1)
        default_template(spec)

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {}

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            return _check_status(document)
        spec = document["spec"]
        found = [
            invalid(f"spec.{name}", spec[name], NOT_NEGATIVE)
            for name in ("replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds")
            if spec.get(name, 0) < 0
        ]
        found += check_selector(spec, "deployment")
        found += check_template(spec, ("Always",))
        found += check_no_deadline(spec, self.kind.kind)
        if old is not None and spec.get("selector") != (old.get("spec") or {}).get("selector"):
            found.append(invalid("spec.selector", spec.get("selector"), IMMUTABLE))
        return found


def default_template(spec: Document) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def check_template(spec: Document, restart_policies: Sequence[str]) -> list[FieldError]:
    """All of a Pod template but its labels."""
    template = spec["template"]
    found = check_annotations(template["metadata"].get("annotations") or {}, "spec.template.metadata.annotations")
    if template["spec"].get("ephemeralContainers"):
        found.append(forbidden("spec.template.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return found + check_pod_spec(template["spec"], "spec.template.spec", restart_policies)


def check_no_deadline(spec: Document, kind: str) -> list[FieldError]:
    """Pods that are to run for ever have none."""
    if spec["template"]["spec"].get("activeDeadlineSeconds") is None:
        return []
    return [forbidden("spec.template.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {kind} is not Supported")]


def check_selector(spec: Document, workload: str) -> list[FieldError]:
    """The selector, and the template's labels that it must fit."""
    selector, labels = spec.get("selector"), spec["template"]["metadata"].get("labels") or {}
    found = check_labels(labels, "spec.template.metadata.labels")
    if selector is None:
        return [*found, required("spec.selector")]
    broken = check_label_selector(selector, "spec.selector")
    if not broken and not selector.get("matchLabels") and not selector.get("matchExpressions"):
        broken.append(invalid("spec.selector", selector, f"empty selector is invalid for {workload}"))
    if not broken and not matches(selector, labels):
        broken.append(invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`"))
    return found + broken


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector holds for these labels."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or ():
        key, values = rule.get("key"), rule.get("values") or ()
        good = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[rule["operator"]]
        if not good:
            return False
    return True


def _check_status(document: Document) -> list[FieldError]:
    status = document.get("status") or {}
    counts = [name for name in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas") if name in status]
    found = [invalid(f"status.{name}", status[name], NOT_NEGATIVE) for name in counts if status[name] < 0]
    total, words = status.get("replicas", 0), "cannot be greater than status.replicas"
    found += [invalid(f"status.{name}", status[name], words) for name in counts if status[name] > total]
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        words = "cannot be greater than readyReplicas"
        found.append(invalid("status.availableReplicas", status["availableReplicas"], words))
    return found


class Deployment(_Workload):
    kind = DEPLOYMENT
    columns: tuple[Column, ...] = (NAME, Column("Ready"), Column("Up-to-date"), Column("Available"), AGE, *WIDE)

    def default(self, document: Document) -> None:
        super().default(document)
        spec = document["spec"]
        strategy = spec.setdefault("strategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found = super().check(document, old, subresource)
        if subresource == "status":
            return found
        spec = document["spec"]
        found += _check_strategy(spec["strategy"])
        if spec["progressDeadlineSeconds"] <= spec.get("minReadySeconds", 0):
            words = "must be greater than minReadySeconds"
            found.append(invalid("spec.progressDeadlineSeconds", spec["progressDeadlineSeconds"], words))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        return [
            document["metadata"].get("name", ""),
            f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
            status.get("updatedReplicas", 0),
            status.get("availableReplicas", 0),
            printing.age(document, env),
            *wide_cells(spec),
        ]


def _check_strategy(strategy: Document) -> list[FieldError]:
    field = "spec.strategy"
    if strategy["type"] not in STRATEGIES:
        return [unsupported(f"{field}.type", strategy["type"], STRATEGIES)]
    if strategy["type"] == "Recreate":
        words = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden(f"{field}.rollingUpdate", words)] if "rollingUpdate" in strategy else []
    rolling = strategy["rollingUpdate"]
    found: list[FieldError] = []
    for name in ("maxUnavailable", "maxSurge"):
        found += check_share(rolling[name], f"{field}.rollingUpdate.{name}", at_most_all=name == "maxUnavailable")
    if not found and str(rolling["maxUnavailable"]) in ("0", "0%") and str(rolling["maxSurge"]) in ("0", "0%"):
        words = "may not be 0 when `maxSurge` is 0"
        found.append(invalid(f"{field}.rollingUpdate.maxUnavailable", rolling["maxUnavailable"], words))
    return found


def check_share(value: int | str, field: str, at_most_all: bool) -> list[FieldError]:
    if isinstance(value, int):
        return [invalid(field, value, NOT_NEGATIVE)] if value < 0 else []
    if not PERCENT.fullmatch(value):
        words = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
        return [invalid(field, value, words + "regex used for validation is '[0-9]+%')")]
    if at_most_all and int(value[:-1]) > 100:
        return [invalid(field, value, "must not be greater than 100%")]
    return []


class ReplicaSet(_Workload):
    kind = REPLICA_SET
    columns: tuple[Column, ...] = (
        NAME,
        Column("Desired", "integer"),
        Column("Current", "integer"),
        Column("Ready", "integer"),
        AGE,
        *WIDE,
    )

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {"replicas": 0}

    def fields(self, document: Document) -> dict[str, str]:
        return {"status.replicas": str((document.get("status") or {}).get("replicas", 0))}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        return [
            document["metadata"].get("name", ""),
            spec.get("replicas", 0),
            status.get("replicas", 0),
            status.get("readyReplicas", 0),
            printing.age(document, env),
            *wide_cells(spec),
        ]


def wide_cells(spec: Document) -> list[str]:
    containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()
    return [
        ",".join(container.get("name", "") for container in containers),
        ",".join(container.get("image", "") for container in containers),
        printing.selector(spec.get("selector")),
    ]
