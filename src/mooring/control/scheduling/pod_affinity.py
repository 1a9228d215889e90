"""May, and should, a Pod run where certain others run? (core/v1 PodAffinity, PodAntiAffinity; KEPs 895, 2249, 3633)

Where is a domain: all nodes with one value of a term's topologyKey. A required anti-affinity holds both ways: it keeps the Pod
from others, and others' keep it from them. The first Pod of a set that wants to be with its own kind may go anywhere.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from mooring.control.reconciler import Document
from mooring.control.scheduling.situation import Situation, Verdict
from mooring.control.selectors import Labels, labels_of, selects

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NOT_WITH_OTHERS = "node(s) didn't match pod affinity rules"
NOT_APART = "node(s) didn't match pod anti-affinity rules"
UNWELCOME = "node(s) didn't satisfy existing pods anti-affinity rules"
HARD_WEIGHT = 1
"""What another Pod's required affinity to this one counts when nodes are scored (upstream's hardPodAffinityWeight)."""

Domains = Counter[tuple[str, str]]
"""By (topologyKey, value)."""


class Term(Struct, frozen=True):
    """A PodAffinityTerm of a Pod, its label keys filled in from that Pod. Without a selector it means nobody."""

    key: str
    selector: Document | None
    names: frozenset[str]
    namespace_selector: Document | None
    weight: int = 0

    def means(self, pod: Document, namespaces: Mapping[str, Labels]) -> bool:
        if self.selector is None or not selects(self.selector, labels_of(pod)):
            return False
        namespace = pod["metadata"]["namespace"]
        if namespace in self.names:
            return True
        return self.namespace_selector is not None and selects(self.namespace_selector, namespaces.get(namespace, {}))


def terms(pod: Document, section: str, strength: str) -> list[Term]:
    """The terms of 'podAffinity' or 'podAntiAffinity', REQUIRED or PREFERRED."""
    affinity = pod["spec"].get("affinity")
    listed = ((affinity or {}).get(section) or {}).get(strength) or ()
    if strength == PREFERRED:
        return [_term(pod, each["podAffinityTerm"], each["weight"]) for each in listed]
    return [_term(pod, each, 0) for each in listed]


def _term(pod: Document, term: Document, weight: int) -> Term:
    names, among = term.get("namespaces") or (), term.get("namespaceSelector")
    if not names and among is None:
        names = (pod["metadata"]["namespace"],)
    like, unlike = term.get("matchLabelKeys") or (), term.get("mismatchLabelKeys") or ()
    return Term(
        term["topologyKey"], with_keys(term.get("labelSelector"), labels_of(pod), like, unlike), frozenset(names), among, weight
    )


def with_keys(
    selector: Document | None, labels: Mapping[str, Any], like: Iterable[str], unlike: Iterable[str] = ()
) -> Document | None:
    """The selector, narrowed to Pods with the same (or other) values of these labels; keys the Pod lacks say nothing."""
    more = [{"key": key, "operator": "In", "values": [labels[key]]} for key in like if key in labels]
    more += [{"key": key, "operator": "NotIn", "values": [labels[key]]} for key in unlike if key in labels]
    if selector is None or not more:
        return selector
    return {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *more]}


def pod_affinity(pod: Document, situation: Situation) -> Verdict:
    """The filter."""
    wanted, shunned = terms(pod, "podAffinity", REQUIRED), terms(pod, "podAntiAffinity", REQUIRED)
    spaces = situation.namespaces
    near, far, repelled = Domains(), Domains(), Domains()
    for node, residents in situation.placed():
        labels = labels_of(node)
        for other in residents if wanted or shunned else filter(_choosy, residents):
            if wanted and all(term.means(other, spaces) for term in wanted):
                near.update(_domains(wanted, labels))
            far.update(_domains((term for term in shunned if term.means(other, spaces)), labels))
            theirs = terms(other, "podAntiAffinity", REQUIRED)
            repelled.update(_domains((term for term in theirs if term.means(pod, spaces)), labels))
    first = not near and all(term.means(pod, spaces) for term in wanted)

    def verdict(node: Document) -> list[str]:
        labels = labels_of(node)
        known = all(term.key in labels for term in wanted)
        if wanted and not (known and (first or all(near[each] for each in _domains(wanted, labels)))):
            return [NOT_WITH_OTHERS]
        if any(far[each] for each in _domains(shunned, labels)):
            return [NOT_APART]
        return [UNWELCOME] if any(repelled[each] for each in labels.items()) else []

    return verdict


def _choosy(pod: Document) -> bool:
    return bool(pod["spec"].get("affinity"))


def _domains(among: Iterable[Term], labels: Labels) -> list[tuple[str, str]]:
    return [(term.key, labels[term.key]) for term in among if term.key in labels]


def affinity_scores(pod: Document, situation: Situation) -> Mapping[str, float]:
    """How well each node suits the Pod's preferences and those of the Pods there, from 0 to 100."""
    spaces, worth = situation.namespaces, Domains()
    own = [*_preferences(pod, 1)]
    for node, residents in situation.placed():
        labels = labels_of(node)
        for other in residents if own else filter(_choosy, residents):
            mine = [(term, weight) for term, weight in own if term.means(other, spaces)]
            theirs = [(term, weight) for term, weight in _preferences(other, HARD_WEIGHT) if term.means(pod, spaces)]
            for term, weight in (*mine, *theirs):
                if term.key in labels:
                    worth[term.key, labels[term.key]] += weight
    raw = {node["metadata"]["name"]: sum(worth[each] for each in labels_of(node).items()) for node in situation.nodes}
    least, most = min(raw.values(), default=0), max(raw.values(), default=0)
    return {name: 100 * (score - least) / (most - least) if most > least else 0 for name, score in raw.items()}


def _preferences(pod: Document, hard: int) -> Iterable[tuple[Term, int]]:
    """With its sign: what is shunned counts against. A required affinity counts `hard`."""
    if not pod["spec"].get("affinity"):
        return
    for term in terms(pod, "podAffinity", PREFERRED):
        yield term, term.weight
    for term in terms(pod, "podAntiAffinity", PREFERRED):
        yield term, -term.weight
    for term in terms(pod, "podAffinity", REQUIRED):
        yield term, hard
