"""What do provisioners do meanwhile? The assumption: each claim that waits for one gets a volume, in reach of every node."""

from collections.abc import Iterable

from mooring.control.amend import create
from mooring.control.reconciler import NOTHING, Change, Key, Plan, World
from mooring.control.volume_matching import (
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    annotations_of,
    asked_size,
    class_of,
    reference_to,
    storage_class,
    waits,
)
from mooring.model.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS


class AssumedProvisioner:
    name = "assumed-provisioner"
    watches = (PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        held = change.after
        return [(held["metadata"]["namespace"], held["metadata"]["name"])] if held and change.kind != STORAGE_CLASS else ()

    def plan(self, key: Key, world: World) -> Plan:
        claim = world.get(PERSISTENT_VOLUME_CLAIM, *key)
        if claim is None or claim["spec"].get("volumeName") or claim["metadata"].get("deletionTimestamp"):
            return NOTHING
        provisioner, storage = annotations_of(claim).get(STORAGE_PROVISIONER), storage_class(claim, world)
        if not provisioner or (waits(storage) and SELECTED_NODE not in annotations_of(claim)):
            return NOTHING
        name = f"pvc-{claim['metadata']['uid']}"
        volume = {
            "metadata": {"name": name, "annotations": {PROVISIONED_BY: provisioner}},
            "spec": {
                "capacity": {"storage": asked_size(claim)},
                "accessModes": claim["spec"]["accessModes"],
                "storageClassName": class_of(claim),
                "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
                "claimRef": reference_to(claim),
                "csi": {"driver": provisioner, "volumeHandle": name},
            },
        }
        return Plan((create(PERSISTENT_VOLUME, volume, "AlreadyExists"),))
