"""Does a Pod bear a node's taint, and for how long? (core/v1 Toleration.ToleratesTaint)"""

from collections.abc import Iterable

from mooring.control.reconciler import Document

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


def tolerations_of(pod: Document) -> list[Document]:
    return pod["spec"].get("tolerations") or []


def tolerates(toleration: Document, taint: Document) -> bool:
    """An empty key with Exists bears every key; an empty effect bears every effect."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def intolerable(pod: Document, taints: Iterable[Document], effects: tuple[str, ...]) -> Document | None:
    """The first taint of these effects that the Pod does not bear."""
    held = tolerations_of(pod)
    wrong = (each for each in taints if each["effect"] in effects and not any(tolerates(one, each) for one in held))
    return next(wrong, None)


def bearable_for(pod: Document, taint: Document) -> float | None:
    """Seconds a NoExecute taint is borne: 0 not at all, None for ever (tolerationSeconds of those that match, the least)."""
    matching = [each for each in tolerations_of(pod) if tolerates(each, taint)]
    if not matching:
        return 0.0
    limits = [max(0.0, each["tolerationSeconds"]) for each in matching if each.get("tolerationSeconds") is not None]
    return min(limits, default=None)
