"""apps/v1 DaemonSet: defaults, rules, the template's number of changes, its row in a table.

Upstream: pkg/apis/apps/validation and pkg/registry/apps/daemonset. The number of changes is a field of old API versions, which
apps/v1 shows as an annotation; Pods carry it as the label pod-template-generation.
"""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import IMMUTABLE, invalid, required, unsupported
from mooring.apiserver.kinds.workloads import (
    NOT_NEGATIVE,
    WIDE,
    check_no_deadline,
    check_selector,
    check_share,
    check_template,
    default_template,
    wide_cells,
)
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import DAEMON_SET

GENERATION = "deprecated.daemonset.template.generation"
STRATEGIES = ("OnDelete", "RollingUpdate")
_COUNTS = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
    "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
)  # fmt: skip
_SHOWN = (
    ("Desired", "desiredNumberScheduled"),
    ("Current", "currentNumberScheduled"),
    ("Ready", "numberReady"),
    ("Up-to-date", "updatedNumberScheduled"),
    ("Available", "numberAvailable"),
)


class DaemonSet(Plain):
    kind = DAEMON_SET
    columns: tuple[Column, ...] = (
        NAME, *(Column(title, "integer") for title, _ in _SHOWN), Column("Node Selector"), AGE, *WIDE
    )  # fmt: skip
    has_status = True
    generation = True

    def default(self, document: Document) -> None:
        spec = document.setdefault("spec", {})
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)
        spec.setdefault("revisionHistoryLimit", 10)
        default_template(spec)

    def prepare_create(self, document: Document, env: Env) -> None:
        names = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
        document["status"] = dict.fromkeys(names, 0)
        _number(document, 1)

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        super().prepare_update(document, old, subresource, env)
        changed = document["spec"].get("template") != old["spec"].get("template")
        _number(document, _generation(old) + changed)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            return _check_status(document, old or {})
        spec = document["spec"]
        found = check_selector(spec, "daemonset")
        found += check_template(spec, ("Always",))
        found += check_no_deadline(spec, "DaemonSet")
        for name in ("minReadySeconds", "revisionHistoryLimit"):
            if spec.get(name, 0) < 0:
                found.append(invalid(f"spec.{name}", spec[name], NOT_NEGATIVE))
        found += _check_strategy(spec["updateStrategy"])
        if old is not None and spec.get("selector") != (old.get("spec") or {}).get("selector"):
            found.append(invalid("spec.selector", spec.get("selector"), IMMUTABLE))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        nodes = ((spec.get("template") or {}).get("spec") or {}).get("nodeSelector")
        return [
            document["metadata"].get("name", ""),
            *(status.get(field, 0) for _, field in _SHOWN),
            printing.labels(nodes),
            printing.age(document, env),
            *wide_cells(spec),
        ]


def _generation(document: Document) -> int:
    text = str((document["metadata"].get("annotations") or {}).get(GENERATION, "0"))
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else 0


def _number(document: Document, generation: int) -> None:
    annotations = document["metadata"].get("annotations") or {}
    document["metadata"]["annotations"] = {**annotations, GENERATION: str(generation)}


def _check_strategy(strategy: Document) -> list[FieldError]:
    field = "spec.updateStrategy"
    if strategy["type"] not in STRATEGIES:
        return [unsupported(f"{field}.type", strategy["type"], STRATEGIES)]
    if strategy["type"] == "OnDelete":
        return []
    rolling, found = strategy["rollingUpdate"], list[FieldError]()
    for name in ("maxUnavailable", "maxSurge"):
        found += check_share(rolling[name], f"{field}.rollingUpdate.{name}", at_most_all=True)
    if found:
        return found
    none = [str(rolling[name]) in ("0", "0%") for name in ("maxUnavailable", "maxSurge")]
    if not any(none):
        words = "may not be set when maxUnavailable is non-zero"
        found.append(invalid(f"{field}.rollingUpdate.maxSurge", rolling["maxSurge"], words))
    if all(none):
        found.append(required(f"{field}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return found


def _check_status(document: Document, old: Document) -> list[FieldError]:
    status = document.get("status") or {}
    found = [invalid(f"status.{name}", status[name], NOT_NEGATIVE) for name in _COUNTS if status.get(name, 0) < 0]
    if status.get("collisionCount", 0) < (old.get("status") or {}).get("collisionCount", 0):
        found.append(invalid("status.collisionCount", status.get("collisionCount", 0), "cannot be decremented"))
    return found
