"""Does a label selector, or a node selector term, match? (metav1.LabelSelector, core/v1 NodeSelector)"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mooring.control.reconciler import Document, World
from mooring.model.kinds import Kind

Labels = Mapping[str, str]

TEMPLATE_HASH = "pod-template-hash"
"""The label that tells a Deployment's ReplicaSets and their Pods apart: the pair that divides most."""


def labels_of(document: Document) -> dict[str, str]:
    return document["metadata"].get("labels") or {}


def selects_all(selector: Document) -> bool:
    """An empty selector matches everything."""
    return not selector.get("matchLabels") and not selector.get("matchExpressions")


def selects(selector: Document, labels: Labels) -> bool:
    """Every pair and every expression holds."""
    pairs: Mapping[str, str] = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in pairs.items()) and satisfies(
        selector.get("matchExpressions") or (), labels
    )


def satisfies(expressions: Iterable[Document], values: Labels) -> bool:
    """matchExpressions or matchFields over labels or fields."""
    return all(_OPERATORS[each["operator"]](values.get(each["key"]), each.get("values") or ()) for each in expressions)


def matches_term(node: Document, term: Document) -> bool:
    """A NodeSelectorTerm: all expressions over labels and all over fields (metadata.name); an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return satisfies(expressions, labels_of(node)) and satisfies(fields, {"metadata.name": node["metadata"]["name"]})


def _compared(greater: bool) -> Callable[[str | None, Any], bool]:
    def holds(value: str | None, wanted: Any) -> bool:
        try:
            distance = int(value or "") - int(wanted[0])
        except (ValueError, IndexError):
            return False
        return distance > 0 if greater else distance < 0

    return holds


_OPERATORS: Mapping[str, Callable[[str | None, Any], bool]] = {
    "In": lambda value, wanted: value in wanted,
    "NotIn": lambda value, wanted: value not in wanted,
    "Exists": lambda value, wanted: value is not None,
    "DoesNotExist": lambda value, wanted: value is None,
    "Gt": _compared(greater=True),
    "Lt": _compared(greater=False),
}


def selected(world: World, kind: Kind, namespace: str, selector: Document) -> Iterable[Document]:
    """Objects of a kind with a 'label' index that match; found by one pair of the selector when it has any."""
    pairs = selector.get("matchLabels") or {}
    if pairs:
        key = TEMPLATE_HASH if TEMPLATE_HASH in pairs else max(pairs)
        candidates = world.indexed(kind, "label", f"{namespace}/{key}={pairs[key]}")
    else:
        candidates = world.list(kind, namespace)
    return (each for each in candidates if selects(selector, labels_of(each)))
