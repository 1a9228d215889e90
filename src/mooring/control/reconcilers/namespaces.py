"""What is still to be removed from a namespace that is going, and when may it go? (upstream: pkg/controller/namespace/deletion)

Pods go first, the rest when none is left (KEP-5080), each with its grace and its finalizers; then the finalizer `kubernetes` is
taken off and the API server removes the namespace. Nothing new can come in meanwhile: the API server refuses creates. What our
watches saw too late, and finds itself in a namespace that is no more, is removed as well, once the server itself says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from mooring.control.amend import amend, apart, delete, verify_absent
from mooring.control.conditions import with_condition
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Refusal, World
from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION, EVENT, NAMESPACE, POD, STORED, Kind

FINALIZER = "kubernetes"
AGAIN = 1.0
"""Seconds, while the objects of a kind that was added have not been listed yet."""
CONTENT = tuple(kind for kind in STORED if kind.namespaced and kind != EVENT)
"""Events of both groups are the same objects: those of core stand for them."""

Remaining = Mapping[Kind, list[Document]]


class Namespaces:
    name = "namespace"
    watches = (NAMESPACE, CUSTOM_RESOURCE_DEFINITION, *CONTENT)
    customs = True
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        either = change.after or change.before
        assert either is not None
        if not change.kind.namespaced and change.kind != NAMESPACE:
            return ()
        if change.kind == NAMESPACE:
            return [("", either["metadata"]["name"])]
        name = either["metadata"]["namespace"]
        namespace = world.get(NAMESPACE, "", name)
        if namespace is None:
            return [("", name)] if change.after else ()
        return [("", name)] if namespace["metadata"].get("deletionTimestamp") else ()

    def plan(self, key: Key, world: World) -> Plan:
        name = key[1]
        namespace = world.get(NAMESPACE, "", name)
        if namespace is not None and not namespace["metadata"].get("deletionTimestamp"):
            return NOTHING
        remaining = _remaining(name, world)
        if namespace is None:
            return Plan((verify_absent(NAMESPACE, "", name, None), *_deletions(remaining))) if remaining else NOTHING
        if FINALIZER not in ((namespace.get("spec") or {}).get("finalizers") or ()):
            return NOTHING
        said = amend(NAMESPACE, namespace, _status(namespace, remaining, world), blind_status=True)
        if not remaining and not world.complete:
            return Plan(said, again_after=AGAIN)
        return Plan((*_deletions(remaining), *said)) if remaining else Plan((*said, _finalized(namespace)))

    def refused(self, key: Key, refusals: Sequence[Refusal], world: World) -> Plan:
        """What could not be deleted is said of each kind, once."""
        namespace = world.get(NAMESPACE, *key)
        errors = {each.write.kind: each.error.message for each in reversed(refusals) if each.write.verb == "delete"}
        if namespace is None or not errors:
            return NOTHING
        status = _status(namespace, _remaining(key[1], world), world, sorted(errors.values()))
        return Plan(amend(NAMESPACE, namespace, status, blind_status=True))


def _remaining(name: str, world: World) -> Remaining:
    customs = tuple(kind for kind in world.customs if kind.namespaced)
    remaining = {kind: list(world.list(kind, name)) for kind in (*CONTENT, *customs)}
    return {kind: documents for kind, documents in remaining.items() if documents}


def _deletions(remaining: Remaining) -> Iterable[Apply]:
    """Of what has not been asked to go yet, however many of it are refused; of all but Pods only when no Pod is left."""
    for kind, documents in remaining.items():
        if kind == POD or POD not in remaining:
            present = (each for each in documents if not each["metadata"].get("deletionTimestamp"))
            yield from apart(delete(kind, each, policy="Background") for each in present)


def _finalized(namespace: Document) -> Apply:
    finalizers = [each for each in namespace["spec"]["finalizers"] if each != FINALIZER]
    metadata = {name: value for name, value in namespace["metadata"].items() if name != "resourceVersion"}
    body = {**namespace, "metadata": metadata, "spec": {**namespace["spec"], "finalizers": finalizers}}
    return Apply("update", NAMESPACE, "", metadata["name"], body, "finalize", ignore=("NotFound",))


def _status(namespace: Document, remaining: Remaining, world: World, errors: Sequence[str] = ()) -> Document:
    conditions = (namespace.get("status") or {}).get("conditions") or []
    for type, is_true, reason, message in _conditions(remaining, errors):
        wanted = {"type": type, "status": "True" if is_true else "False", "reason": reason, "message": message}
        conditions = with_condition(conditions, wanted, world.now)
    return {**namespace, "status": {**(namespace.get("status") or {}), "phase": "Terminating", "conditions": conditions}}


def _conditions(remaining: Remaining, errors: Sequence[str]) -> Iterable[tuple[str, bool, str, str]]:
    """(type, is true, reason, message) in upstream's words."""
    yield "NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"
    parsed = "All legacy kube types successfully parsed"
    yield "NamespaceDeletionGroupVersionParsingFailure", False, "ParsedGroupVersions", parsed
    if errors:
        message = f"Failed to delete all resource types, {len(errors)} remaining: {', '.join(errors)}"
        yield "NamespaceDeletionContentFailure", True, "ContentDeletionFailed", message
    else:
        deleted = "All content successfully deleted, may be waiting on finalization"
        yield "NamespaceDeletionContentFailure", False, "ContentDeleted", deleted
    counts = [f"{kind.plural}.{kind.group} has {len(each)} resource instances" for kind, each in remaining.items()]
    if counts:
        message = f"Some resources are remaining: {', '.join(sorted(counts))}"
        yield "NamespaceContentRemaining", True, "SomeResourcesRemain", message
    else:
        yield "NamespaceContentRemaining", False, "ContentRemoved", "All content successfully removed"
    holding = Counter(
        finalizer for each in remaining.values() for one in each for finalizer in one["metadata"].get("finalizers") or ()
    )
    if holding:
        listed = ", ".join(f"{finalizer} in {count} resource instances" for finalizer, count in sorted(holding.items()))
        message = f"Some content in the namespace has finalizers remaining: {listed}"
        yield "NamespaceFinalizersRemaining", True, "SomeFinalizersRemain", message
    else:
        finished = "All content-preserving finalizers finished"
        yield "NamespaceFinalizersRemaining", False, "ContentHasNoFinalizers", finished
