"""What does the scheduler see while bindings are under way? The world with their Pods on the nodes (upstream: its cache)."""

from collections.abc import Iterable
from datetime import datetime
from random import Random

from mooring.control.pod_state import node_of
from mooring.control.reconciler import Document, Key, World
from mooring.model.kinds import POD, Kind


class AssumedPods:
    """A World over another. A Pod that has gone, or has got its node, is as the other says."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._nodes: dict[Key, tuple[str, str]] = {}
        """(uid, node)"""
        self._pods: dict[str, set[Key]] = {}
        """By node."""

    def assume(self, pod: Document, node: str) -> None:
        self._nodes[_key(pod)] = pod["metadata"]["uid"], node
        self._pods.setdefault(node, set()).add(_key(pod))

    def forget(self, key: Key) -> None:
        _, node = self._nodes.pop(key)
        self._pods[node].discard(key)
        if not self._pods[node]:
            del self._pods[node]

    @property
    def now(self) -> datetime:
        return self._world.now

    @property
    def rng(self) -> Random:
        return self._world.rng

    @property
    def customs(self) -> tuple[Kind, ...]:
        return self._world.customs

    @property
    def complete(self) -> bool:
        return self._world.complete

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        held = self._world.get(kind, namespace, name)
        return held if held is None or kind != POD else self._placed(held)

    def list(self, kind: Kind, namespace: str = "") -> Iterable[Document]:
        found = self._world.list(kind, namespace)
        return map(self._placed, found) if kind == POD and self._nodes else found

    def indexed(self, kind: Kind, index: str, value: str) -> Iterable[Document]:
        found = self._world.indexed(kind, index, value)
        if kind != POD or not self._nodes:
            return found
        if index != "node":
            return map(self._placed, found)
        if value == "":
            return (pod for pod in found if not node_of(self._placed(pod)))
        return [*found, *self._bound_for(value)] if value in self._pods else found

    def _bound_for(self, node: str) -> Iterable[Document]:
        for key in self._pods[node]:
            held = self._world.get(POD, *key)
            if held is not None and not node_of(held) and node_of(placed := self._placed(held)):
                yield placed

    def _placed(self, pod: Document) -> Document:
        uid, node = self._nodes.get(_key(pod), ("", ""))
        if uid != pod["metadata"]["uid"] or node_of(pod):
            return pod
        return {**pod, "spec": {**pod["spec"], "nodeName": node}}


def _key(pod: Document) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]
