"""policy/v1 PodDisruptionBudget: rules and its row in a table.

Source: ValidatePodDisruptionBudget in k8s.io/kubernetes/pkg/apis/policy/validation. What a budget allows is the disruption
controller's to say (control/reconcilers/disruption_budgets.py), and evictions keep to it (eviction.py).
"""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import printing
from mooring.apiserver.kinds.label_selectors import check_label_selector
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import invalid, unsupported
from mooring.apiserver.kinds.workloads import NOT_NEGATIVE, PERCENT
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import POD_DISRUPTION_BUDGET

POLICIES = ("AlwaysAllow", "IfHealthyBudget")
COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
NO_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
    "regex used for validation is '[0-9]+%')"
)


class PodDisruptionBudget(Plain):
    kind = POD_DISRUPTION_BUDGET
    has_status = True
    generation = True
    columns: tuple[Column, ...] = (
        NAME,
        Column("Min Available"),
        Column("Max Unavailable"),
        Column("Allowed Disruptions", "integer"),
        AGE,
    )

    def default(self, document: Document) -> None:
        document.setdefault("spec", {})
        status = document.get("status")
        if status is not None:
            for name in COUNTS:
                status.setdefault(name, 0)

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = dict.fromkeys(COUNTS, 0)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            status = document.get("status") or {}
            return [invalid(f"status.{each}", status[each], NOT_NEGATIVE) for each in COUNTS if status.get(each, 0) < 0]
        spec = document["spec"]
        found: list[FieldError] = []
        bounds = [name for name in ("minAvailable", "maxUnavailable") if spec.get(name) is not None]
        if len(bounds) > 1:
            found.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
        for name in bounds:
            found += check_share(spec[name], f"spec.{name}")
        if (selector := spec.get("selector")) is not None:
            found += check_label_selector(selector, "spec.selector")
        policy = spec.get("unhealthyPodEvictionPolicy")
        if policy is not None and policy not in POLICIES:
            found.append(unsupported("spec.unhealthyPodEvictionPolicy", policy, POLICIES))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        return [
            document["metadata"].get("name", ""),
            _shown(spec.get("minAvailable")),
            _shown(spec.get("maxUnavailable")),
            status.get("disruptionsAllowed", 0),
            printing.age(document, env),
        ]


def _shown(bound: int | str | None) -> str:
    return "N/A" if bound is None else str(bound)


def check_share(value: int | str, field: str) -> list[FieldError]:
    """A number of Pods, or a share of them from 0 to 100 %."""
    if isinstance(value, int):
        return [invalid(field, value, NOT_NEGATIVE)] if value < 0 else []
    if not PERCENT.fullmatch(value):
        return [invalid(field, value, NO_PERCENT)]
    return [invalid(field, value, "must not be greater than 100%")] if int(value[:-1]) > 100 else []
