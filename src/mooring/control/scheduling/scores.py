"""On which of the nodes that fit should a Pod run? Each score goes from 0 to 100; the weighted sum decides."""

from collections import Counter
from collections.abc import Mapping, Sequence

from mooring.control.pod_state import node_of
from mooring.control.reconciler import Document
from mooring.control.scheduling.filters import taints_of
from mooring.control.scheduling.pod_affinity import affinity_scores
from mooring.control.scheduling.situation import Situation
from mooring.control.scheduling.tolerations import intolerable
from mooring.control.scheduling.topology_spread import spread_scores
from mooring.control.selectors import labels_of, matches_term
from mooring.model.node import ZONE_LABEL

ZONE_SHARE = 2 / 3
"""How much an even spread over zones counts against one over nodes (upstream's SelectorSpread)."""

Nodes = Sequence[Document]
Scores = Mapping[str, float]
"""By node name."""


def best(pod: Document, nodes: Nodes, company: Sequence[Document], situation: Situation) -> list[str]:
    """The names of the best of `nodes`, more than one when they are equal.

    `company` are the Pods of the same set or Service.
    """
    residents = {name: len(each) for name, each in situation.residents.items()}
    scores: Mapping[str, tuple[int, Scores]] = {
        "taints": (3, _few({_name(node): _unwelcome(pod, node) for node in nodes})),
        "affinity": (2, _many({_name(node): _preferred(pod, node) for node in nodes})),
        "spread": (2, _spread(nodes, company)),
        "constraints": (2, spread_scores(pod, situation)),
        "others": (2, affinity_scores(pod, situation)),
        "room": (1, _few({_name(node): residents.get(_name(node), 0) for node in nodes})),
    }
    total = {_name(node): sum(weight * score[_name(node)] for weight, score in scores.values()) for node in nodes}
    top = max(total.values(), default=0.0)
    return [name for name, score in total.items() if score >= top - 1e-9]


def _name(node: Document) -> str:
    return str(node["metadata"]["name"])


def _many(counts: Mapping[str, float]) -> Scores:
    most = max(counts.values(), default=0)
    return {name: 100 * count / most if most else 0 for name, count in counts.items()}


def _few(counts: Mapping[str, float]) -> Scores:
    most = max(counts.values(), default=0)
    return {name: 100 * (most - count) / most if most else 100 for name, count in counts.items()}


def _unwelcome(pod: Document, node: Document) -> int:
    """How many PreferNoSchedule taints the Pod does not bear."""
    return sum(intolerable(pod, [taint], ("PreferNoSchedule",)) is not None for taint in taints_of(node))


def _preferred(pod: Document, node: Document) -> int:
    """The weights of the preferred terms that match."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    terms = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(term["weight"] for term in terms if matches_term(node, term["preference"]))


def _spread(nodes: Nodes, company: Sequence[Document]) -> Scores:
    """The fewer of its company a node has, the better; the same for its zone, where nodes have one."""
    on_node = Counter(node_of(each) for each in company)
    zones = {_name(node): labels_of(node).get(ZONE_LABEL, "") for node in nodes}
    in_zone: Counter[str] = Counter()
    for name, count in on_node.items():
        if zones.get(name):
            in_zone[zones[name]] += count
    by_node = _few({name: on_node[name] for name in zones})
    if not any(zones.values()):
        return by_node
    by_zone = _few({place: in_zone[place] for place in zones.values() if place})
    return {
        name: by_node[name] * (1 - ZONE_SHARE) + by_zone[place] * ZONE_SHARE if place else by_node[name]
        for name, place in zones.items()
    }
