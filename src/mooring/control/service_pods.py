"""Which pods does a Service choose, and which Services choose a pod? By index, without walking all of either."""

from collections.abc import Iterable

from mooring.control.reconciler import Document, Key, World
from mooring.endpoints.pods import selects
from mooring.model.kinds import POD, SERVICE


def pods_of(service: Document, world: World) -> list[Document]:
    """The pods that the Service's selector chooses, of the rarest of its pairs."""
    namespace, selector = service["metadata"]["namespace"], service["spec"].get("selector")
    if not selector:
        return []
    candidates = min((list(world.indexed(POD, "label", f"{namespace}/{k}={v}")) for k, v in selector.items()), key=len)
    if len(selector) == 1:
        return candidates
    return [pod for pod in candidates if selects(selector, pod["metadata"].get("labels"))]


def services_of(pod: Document | None, world: World) -> Iterable[Key]:
    """Keys of the Services whose selector chooses the pod as it is in this version."""
    if pod is None:
        return
    namespace, labels = pod["metadata"].get("namespace", ""), pod["metadata"].get("labels") or {}
    for key, value in labels.items():
        for service in world.indexed(SERVICE, "selector", f"{namespace}/{key}={value}"):
            if selects(service["spec"].get("selector"), labels):
                yield namespace, service["metadata"]["name"]
