"""Has a local cluster its StorageClass from the start? It is made once when the controllers start and it is not there.

What people change about it stays; when they delete it, it comes back with the next start.
"""

from collections.abc import Iterable

from mooring.control.amend import create
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, World
from mooring.control.volume_matching import DEFAULT_CLASS, PROVISIONER
from mooring.model.kinds import STORAGE_CLASS


class StorageClasses:
    name = "storage-classes"
    watches = (STORAGE_CLASS,)
    serial = False

    def __init__(self, default: str) -> None:
        """`default`: the name of the class of claims that name none."""
        self.initial: tuple[Key, ...] = (("", default),)

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        return ()

    def plan(self, key: Key, world: World) -> Plan:
        if world.get(STORAGE_CLASS, *key):
            return NOTHING
        wanted: Document = {
            "metadata": {"name": key[1], "annotations": {DEFAULT_CLASS: "true"}},
            "provisioner": PROVISIONER,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
        return Plan((create(STORAGE_CLASS, wanted, "AlreadyExists"),))
