"""When may a definition that is going be gone? When its objects are, each with its finalizers (pkg/controller/finalizer).

Nothing new can come in meanwhile: the API server refuses creates of a kind whose definition is terminating.
"""

from collections.abc import Iterable

from mooring.control.amend import amend, apart, delete
from mooring.control.conditions import with_condition
from mooring.control.custom_kinds import definition_name
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, World
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION, Kind

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
AGAIN = 0.5
"""Seconds, while the objects of the kind have not been listed yet."""


class CustomResourceDefinitions:
    name = "crd-finalizer"
    watches = (CUSTOM_RESOURCE_DEFINITION,)
    customs = True
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        either = change.after or change.before
        assert either is not None
        if change.kind == CUSTOM_RESOURCE_DEFINITION:
            return [("", either["metadata"]["name"])] if change.after else ()
        return [("", definition_name(change.kind))] if change.after is None else ()

    def plan(self, key: Key, world: World) -> Plan:
        definition = world.get(CUSTOM_RESOURCE_DEFINITION, "", key[1])
        if definition is None or not definition["metadata"].get("deletionTimestamp"):
            return NOTHING
        finalizers = definition["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return NOTHING
        kind = next((each for each in world.customs if definition_name(each) == key[1]), None)
        if kind is None and _serves(definition):
            return Plan(again_after=AGAIN)
        left = list(world.list(kind)) if kind else []
        if kind and left:
            return _deleting(definition, kind, left, world)
        kept = [each for each in finalizers if each != FINALIZER]
        freed = {**definition, "metadata": {**definition["metadata"], "finalizers": kept or None}}
        return Plan(amend(CUSTOM_RESOURCE_DEFINITION, definition, freed))


def _serves(definition: Document) -> bool:
    return any(version.get("served") for version in definition["spec"]["versions"]) and any(
        each.get("type") == "Established" and each.get("status") == "True"
        for each in (definition.get("status") or {}).get("conditions") or ()
    )


def _deleting(definition: Document, kind: Kind, left: list[Document], world: World) -> Plan:
    """Asks those to go that have not been asked yet; each one's end is a change that comes back here."""
    said = {
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionInProgress",
        "message": "CustomResource deletion is in progress",
    }  # fmt: skip
    status = definition.get("status") or {}
    conditions = with_condition(status.get("conditions") or (), said, world.now)
    telling = amend(CUSTOM_RESOURCE_DEFINITION, definition, {**definition, "status": {**status, "conditions": conditions}})
    going = apart(delete(kind, each) for each in left if not each["metadata"].get("deletionTimestamp"))
    return Plan((*telling, *going))
