"""How much does a Pod ask for, and how much has a node? (core/v1 resource.Quantity, KEP-753 for sidecars)"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

from mooring.control.reconciler import Document

_SUFFIXES: Mapping[str, Fraction] = {
    "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12), "P": Fraction(10**15),
    "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30), "Ti": Fraction(2**40),
    "Pi": Fraction(2**50), "Ei": Fraction(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|([numkMGTPE]i?|[KMGTPE]i)?)")

_STATUSES = ("initContainerStatuses", "containerStatuses")
Amounts = dict[str, Fraction]
"""By resource name, in units (cores, bytes, Pods)."""


@lru_cache(maxsize=4096)
def quantity(text: str) -> Fraction:
    """'250m', '1Gi', '2e3'. Raises ValueError."""
    match = _QUANTITY.fullmatch(text)
    if match is None or (match[3] or "") not in _SUFFIXES:
        raise ValueError(f"quantities must match the regular expression of resource.Quantity, not {text!r}")
    return Fraction(match[1]) * (Fraction(10) ** int(match[2]) if match[2] else _SUFFIXES[match[3] or ""])


def amounts(given: Mapping[str, Any] | None) -> Amounts:
    return {name: quantity(str(value)) for name, value in (given or {}).items()}


def requested(pod: Document, *, wishes: bool = True) -> Amounts:
    """The greater of what runs together (containers and sidecars) and any one step of the start, plus the overhead.

    Of a container that gets more or less while it runs, the most of what it wishes, was allotted and has; without `wishes`, or
    when they can never come true, what it was allotted or has (KEP-1287).
    """
    spec, status = pod["spec"], pod.get("status") or {}
    told = {one.get("name"): one for group in _STATUSES for one in status.get(group) or () if one.get("resources")}
    wishes = wishes and not (told and _infeasible(status))

    def _of(container: Document) -> Amounts:
        own = amounts((container.get("resources") or {}).get("requests"))
        if (has := told.get(container["name"])) is None:
            return own
        given = _most(amounts(has.get("allocatedResources")), amounts(has["resources"].get("requests")))
        return _most(own, given) if wishes else given

    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _of(container)
        step = _sum((sidecars, own))
        peak = _most(peak, step)
        if container.get("restartPolicy") == "Always":
            sidecars = step
    running = _sum((sidecars, *map(_of, spec.get("containers") or ())))
    return _sum((_most(peak, running), amounts(spec.get("overhead"))))


def _infeasible(status: Document) -> bool:
    conditions = status.get("conditions") or ()
    return any(one.get("type") == "PodResizePending" and one.get("reason") == "Infeasible" for one in conditions)


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, Fraction()) + amount
    return total


def _most(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, Fraction()), other.get(name, Fraction())) for name in one.keys() | other.keys()}


def shortages(pod: Document, others: Iterable[Document], allocatable: Mapping[str, Any] | None) -> list[str]:
    """Why the Pod does not fit beside `others`, in the words of the Event. Of what has no domain in its name (cpu, memory),
    only what the node gives a measure of counts; of an extended resource it has what it says."""
    has, wants, others = amounts(allocatable), requested(pod), list(others)
    reasons = ["Too many pods"] if "pods" in has and len(others) + 1 > has["pods"] else []
    counted = [name for name in sorted(wants) if wants[name] and (name in has or "/" in name)]
    if counted:
        used = _sum(map(requested, others))
        short = [name for name in counted if wants[name] + used.get(name, Fraction()) > has.get(name, Fraction())]
        reasons += [f"Insufficient {name}" for name in short]
    return reasons
