"""Does a Pod keep its set evenly spread over domains? (core/v1 TopologySpreadConstraint; KEPs 895, 3022, 3094, 3243)

A domain is all nodes with one value of the constraint's topologyKey. Which nodes make domains at all depends on the Pod: by
default those that its node affinity chooses, whatever their taints.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import log

from msgspec import Struct

from mooring.control.pod_state import terminating
from mooring.control.reconciler import Document
from mooring.control.scheduling.filters import matches_affinity, taints_of
from mooring.control.scheduling.pod_affinity import with_keys
from mooring.control.scheduling.situation import Residents, Situation, Verdict
from mooring.control.scheduling.tolerations import intolerable
from mooring.control.selectors import labels_of, selects

HARD, SOFT = "DoNotSchedule", "ScheduleAnyway"
UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_DOMAIN = f"{UNEVEN} (missing required label)"


class Constraint(Struct, frozen=True):
    """`selector` None selects nobody."""

    key: str
    max_skew: int
    min_domains: int
    selector: Document | None
    heeds_affinity: bool
    heeds_taints: bool

    def selects(self, pod: Document) -> bool:
        return self.selector is not None and selects(self.selector, labels_of(pod))

    def counts(self, node: Document, pod: Document) -> bool:
        """Whether the node makes a domain for this Pod."""
        if self.heeds_affinity and not matches_affinity(pod, node):
            return False
        return not (self.heeds_taints and intolerable(pod, taints_of(node), ("NoSchedule", "NoExecute")))


def constraints(pod: Document, when: str) -> list[Constraint]:
    """HARD or SOFT ones."""
    return [
        Constraint(
            each["topologyKey"],
            each["maxSkew"],
            each.get("minDomains") or 1,
            with_keys(each.get("labelSelector"), labels_of(pod), each.get("matchLabelKeys") or ()),
            (each.get("nodeAffinityPolicy") or "Honor") == "Honor",
            each.get("nodeTaintsPolicy") == "Honor",
        )
        for each in pod["spec"].get("topologySpreadConstraints") or ()
        if each["whenUnsatisfiable"] == when
    ]


def topology_spread(pod: Document, situation: Situation) -> Verdict:
    """The filter."""
    wanted = constraints(pod, HARD)
    counted = [(each, _count(each, pod, situation, wanted)) for each in wanted]

    def verdict(node: Document) -> list[str]:
        labels = labels_of(node)
        for constraint, domains in counted:
            if constraint.key not in labels:
                return [NO_DOMAIN]
            least = min(domains.values(), default=0) if len(domains) >= constraint.min_domains else 0
            there = domains[labels[constraint.key]] + constraint.selects(pod)
            if there - least > constraint.max_skew:
                return [UNEVEN]
        return []

    return verdict


def spread_scores(pod: Document, situation: Situation) -> Mapping[str, float]:
    """How little each node adds to the unevenness of the constraints that only prefer, from 0 to 100."""
    wanted, names = constraints(pod, SOFT), [node["metadata"]["name"] for node in situation.nodes]
    if not wanted:
        return dict.fromkeys(names, 0.0)
    counted = [(each, _count(each, pod, situation, wanted)) for each in wanted]
    costs: dict[str, float] = {}
    for node in situation.nodes:
        labels = labels_of(node)
        if all(each.key in labels for each in wanted):
            costs[node["metadata"]["name"]] = sum(
                domains[labels[each.key]] * log(len(domains) + 2) + each.max_skew - 1 for each, domains in counted
            )
    least, most = min(costs.values(), default=0.0), max(costs.values(), default=0.0)
    return {
        name: 100 * (most + least - costs[name]) / most if most and name in costs else 100.0 * (name in costs) for name in names
    }


def _count(constraint: Constraint, pod: Document, situation: Situation, all_of: Sequence[Constraint]) -> Counter[str]:
    """How many Pods each domain has; a node without a label that any of the constraints names makes none."""
    domains: Counter[str] = Counter()
    for node, residents in situation.placed():
        labels = labels_of(node)
        if all(each.key in labels for each in all_of) and constraint.counts(node, pod):
            domains[labels[constraint.key]] += sum(1 for _ in _members(constraint, pod, residents))
    return domains


def _members(constraint: Constraint, pod: Document, residents: Residents) -> Iterable[Document]:
    namespace = pod["metadata"]["namespace"]
    return (
        each
        for each in residents
        if each["metadata"]["namespace"] == namespace and not terminating(each) and constraint.selects(each)
    )
