"""Is there room on the node for what a pod that runs there is to have? (pkg/kubelet/allocation, canResizePod)"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil
from typing import Any

from mooring.control.scheduling.resources import Amounts, amounts, requested
from mooring.pods.resizing import RESIZABLE, Refusal

Document = dict[str, Any]
_UNITS = {"cpu": Fraction(1, 1000), "memory": Fraction(1)}
_ENDED = ("Succeeded", "Failed")


def refusal(pod: Document, others: Iterable[Document], allocatable: Mapping[str, Any]) -> Refusal | None:
    """`pod` counts with what it wishes, `others` with what they were allotted."""
    wishes, has = requested({"spec": pod["spec"]}), amounts(allocatable)
    for name in reversed(RESIZABLE):
        if _of(wishes, name) > _of(has, name):
            text = f"{name}, requested: {_of(wishes, name)}, capacity: {_of(has, name)}"
            return Refusal("Infeasible", f"Node didn't have enough capacity: {text}")
    living = [other for other in others if (other.get("status") or {}).get("phase") not in _ENDED]
    taken = [requested(other, wishes=False) for other in living]
    for name in RESIZABLE:
        used = sum(_of(one, name) for one in taken)
        if used + _of(wishes, name) > _of(has, name):
            text = f"{name}, requested: {_of(wishes, name)}, used: {used}, capacity: {_of(has, name)}"
            return Refusal("Deferred", f"Node didn't have enough resource: {text}")
    return None


def _of(amounts: Amounts, name: str) -> int:
    """In thousandths of a core, in bytes."""
    return ceil(amounts.get(name, Fraction()) / _UNITS[name])
