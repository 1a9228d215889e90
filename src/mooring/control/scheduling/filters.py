"""Can this Pod run on this node? If not, why, in the words of upstream's FailedScheduling Event."""

from collections.abc import Callable, Iterable

from mooring.control.conditions import condition
from mooring.control.reconciler import Document
from mooring.control.scheduling.resources import shortages
from mooring.control.scheduling.situation import Residents
from mooring.control.scheduling.tolerations import NOT_READY, UNREACHABLE, UNSCHEDULABLE, intolerable
from mooring.control.selectors import labels_of, matches_term


def taints_of(node: Document) -> list[Document]:
    """The node's taints, and the one that its Ready condition means, even before the node lifecycle has put it there."""
    taints = list((node.get("spec") or {}).get("taints") or ())
    ready = condition(node, "Ready")
    status = ready["status"] if ready else "False"
    if status != "True":
        implied = {"key": UNREACHABLE if status == "Unknown" else NOT_READY, "effect": "NoSchedule"}
        if not any((each["key"], each["effect"]) == (implied["key"], "NoSchedule") for each in taints):
            taints.append(implied)
    return taints


def unfit(pod: Document, node: Document, residents: Residents) -> list[str]:
    """[] when the Pod can run here, else the reasons of the first filter that refuses."""
    return next((reasons for reasons in (each(pod, node, residents) for each in FILTERS) if reasons), [])


def _unschedulable(pod: Document, node: Document, residents: Residents) -> list[str]:
    cordoned = (node.get("spec") or {}).get("unschedulable")
    bearing = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    return ["node(s) were unschedulable"] if cordoned and intolerable(pod, [bearing], ("NoSchedule",)) else []


def _taints(pod: Document, node: Document, residents: Residents) -> list[str]:
    taint = intolerable(pod, taints_of(node), ("NoSchedule", "NoExecute"))
    return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"] if taint else []


def _affinity(pod: Document, node: Document, residents: Residents) -> list[str]:
    return [] if matches_affinity(pod, node) else ["node(s) didn't match Pod's node affinity/selector"]


def matches_affinity(pod: Document, node: Document) -> bool:
    """The Pod's nodeSelector and what its node affinity requires."""
    labels, spec = labels_of(node), pod["spec"]
    wanted = spec.get("nodeSelector") or {}
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return wanted.items() <= labels.items() and (
        required is None or any(matches_term(node, term) for term in required.get("nodeSelectorTerms") or ())
    )


def _ports(pod: Document, node: Document, residents: Residents) -> list[str]:
    wanted = list(host_ports(pod))
    if not wanted:
        return []
    taken = [port for each in residents for port in host_ports(each)]
    clash = any(one[1:] == other[1:] and _same_place(one[0], other[0]) for one in wanted for other in taken)
    return ["node(s) didn't have free ports for the requested pod ports"] if clash else []


def host_ports(pod: Document) -> Iterable[tuple[str, str, int]]:
    """(host address, protocol, port) that the Pod takes on its node."""
    spec = pod["spec"]
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for port in container.get("ports") or ():
            number = port.get("hostPort") or (port["containerPort"] if spec.get("hostNetwork") else 0)
            if number:
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), number


def _same_place(one: str, other: str) -> bool:
    return one == other or "0.0.0.0" in (one, other)


def _resources(pod: Document, node: Document, residents: Residents) -> list[str]:
    return shortages(pod, residents, (node.get("status") or {}).get("allocatable"))


FILTERS: tuple[Callable[[Document, Document, Residents], list[str]], ...] = (
    _unschedulable,  # what people said of the node
    _taints,  # what it says of itself
    _affinity,  # what the Pod wants
    _ports,  # what is left there; the dearest to compute come last
    _resources,
)
"""In upstream's order, since the first refusal is the one reported; after them come those of together.py."""
