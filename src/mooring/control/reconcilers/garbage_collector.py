"""Which objects have lost their owners, and which owners wait for their dependents? (upstream: pkg/controller/garbagecollector)

Keys are ('namespace', 'resource.group/name') of any kind. Owners are looked up in the informers; before anything is deleted
because an owner is not there, the API server itself is asked (amend.verify_absent), and a deletion is of the very version that
was judged. Dependents are found by the indexes 'owner' (the controller) and 'co_owner' (all others).
"""

from collections.abc import Iterable

from msgspec import Struct

from mooring.control.amend import amend, delete, verify_absent
from mooring.control.owners import references, without_owners
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Report, World
from mooring.model.kinds import BY_KIND, CORE_EVENT, EVENT, STORED, Kind

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
COLLECTED = tuple(kind for kind in STORED if kind not in (CORE_EVENT, EVENT))
"""Events, as upstream: they own nothing, and there are too many."""
BY_NAME = {kind.group_resource: kind for kind in COLLECTED}

Dependent = tuple[Kind, Document]


class Owners(Struct, frozen=True):
    """An object's ownerReferences, sorted by what became of the owner.

    `solid` is there to stay (or cannot be judged), `waiting` is being deleted in the foreground and waits for this object,
    `dangling` is not in our view: (reference, kind, namesake or None).
    """

    solid: tuple[Document, ...]
    waiting: tuple[Document, ...]
    dangling: tuple[tuple[Document, Kind, Document | None], ...]
    reports: tuple[Report, ...]


class GarbageCollector:
    name = "garbage-collector"
    watches = COLLECTED
    customs = True
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        keys = set()
        if change.after is not None and (references(change.after) or _collecting(change.after)):
            keys.add(_key(change.kind, change.after))
        begins = change.after is not None and _collecting(change.after) and not (change.before and _collecting(change.before))
        if change.before is not None and (change.after is None or change.before["metadata"]["uid"] != _uid(change.after)):
            keys.update(_key(*each) for each in dependents(change.before, world))
        if begins and change.after is not None:
            keys.update(_key(*each) for each in dependents(change.after, world))
        if change.before is not None:  # an owner may have waited for this dependent to go or to let go
            keys.update(_waiting_owners(change.before, world))
        return keys

    def plan(self, key: Key, world: World) -> Plan:
        resource, name = key[1].split("/", 1)
        kind = BY_NAME.get(resource) or next((each for each in world.customs if each.group_resource == resource), None)
        held = world.get(kind, key[0], name) if kind else None
        if kind is None or held is None:
            return NOTHING
        if held["metadata"].get("deletionTimestamp"):
            return _going(kind, held, world)
        owners = _sorted(kind, held, world)
        if not owners.dangling and not owners.waiting:
            return NOTHING
        if owners.solid:
            return _let_go(kind, held, owners)
        if owners.waiting and (own := list(dependents(held, world))):
            # In a circle of owners somebody must stop blocking, or all would wait for ever.
            circular = any(FOREGROUND in _finalizers(each) for _, each in own)
            freed = _unblocking(kind, held) if circular else ()
            return Plan((*_verified(held, owners), *freed, delete(kind, held, policy="Foreground")), owners.reports)
        return Plan((*_verified(held, owners), delete(kind, held, policy=_policy(held), exactly=True)), owners.reports)


def _key(kind: Kind, document: Document) -> Key:
    metadata = document["metadata"]
    return metadata.get("namespace", ""), f"{kind.group_resource}/{metadata['name']}"


def _uid(document: Document) -> str:
    return str(document["metadata"]["uid"])


def _finalizers(document: Document) -> list[str]:
    return document["metadata"].get("finalizers") or []


def _collecting(document: Document) -> bool:
    """Being deleted, and one of our two finalizers is still on it."""
    going = document["metadata"].get("deletionTimestamp")
    return bool(going) and any(each in (FOREGROUND, ORPHAN) for each in _finalizers(document))


def dependents(owner: Document, world: World) -> Iterable[Dependent]:
    """Everything in the informers that names this owner's uid."""
    uid = _uid(owner)
    for kind in (*COLLECTED, *world.customs):
        for index in ("owner", "co_owner"):
            for each in world.indexed(kind, index, uid):
                yield kind, each


def _owner(reference: Document, namespace: str, world: World) -> tuple[Kind | None, Document | None]:
    """The kind of an owner and whatever object has its name: in the dependent's namespace, or cluster-scoped."""
    kind = BY_KIND.get((reference.get("apiVersion", ""), reference.get("kind", ""))) or _custom(reference, world)
    if kind is None or (kind not in COLLECTED and kind not in world.customs):
        return None, None
    return kind, world.get(kind, namespace if kind.namespaced else "", reference["name"])


def _custom(reference: Document, world: World) -> Kind | None:
    """The followed kind that a reference means, whichever of its versions it names."""
    group = reference.get("apiVersion", "").rpartition("/")[0]
    return next((each for each in world.customs if (each.group, each.kind) == (group, reference.get("kind"))), None)


def _waiting_owners(dependent: Document, world: World) -> Iterable[Key]:
    for reference in references(dependent):
        kind, owner = _owner(reference, dependent["metadata"].get("namespace", ""), world)
        if kind and owner and _uid(owner) == reference["uid"] and _collecting(owner):
            yield _key(kind, owner)


def _sorted(kind: Kind, held: Document, world: World) -> Owners:
    namespace = held["metadata"].get("namespace", "")
    solid, waiting, dangling, reports = [], [], [], []
    for reference in references(held):
        owner_kind, owner = _owner(reference, namespace, world)
        if owner_kind is None:
            solid.append(reference)  # a kind that we do not know is not ours to judge
        elif owner_kind.namespaced and not kind.namespaced:
            solid.append(reference)  # can never be resolved, so nothing is ever deleted for it
            reports.append(_invalid_namespace(held, reference, owner_kind))
        elif owner is None or _uid(owner) != reference["uid"]:
            dangling.append((reference, owner_kind, owner))
            if owner_kind.namespaced and _elsewhere(reference, owner_kind, world):
                reports.append(_invalid_namespace(held, reference, owner_kind))
        elif owner["metadata"].get("deletionTimestamp") and FOREGROUND in _finalizers(owner):
            waiting.append(reference)
        else:
            solid.append(reference)
    return Owners(tuple(solid), tuple(waiting), tuple(dangling), tuple(reports))


def _elsewhere(reference: Document, kind: Kind, world: World) -> bool:
    return any(each["metadata"]["name"] == reference["name"] and _uid(each) == reference["uid"] for each in world.list(kind))


def _invalid_namespace(held: Document, reference: Document, kind: Kind) -> Report:
    namespace = held["metadata"].get("namespace", "")
    who = f"[{kind.api_version}/{kind.kind}, namespace: {namespace}, name: {reference['name']}, uid: {reference['uid']}]"
    message = f'ownerRef {who} does not exist in namespace "{namespace}"'
    return Report(held, "Warning", "OwnerRefInvalidNamespace", message)


def _verified(held: Document, owners: Owners) -> Iterable[Apply]:
    namespace = held["metadata"].get("namespace", "")
    for reference, kind, namesake in owners.dangling:
        yield verify_absent(kind, namespace if kind.namespaced else "", reference["name"], namesake)


def _let_go(kind: Kind, held: Document, owners: Owners) -> Plan:
    """An owner is left, so the references to those that are not (or will not be) are taken off."""
    lost = [*(reference["uid"] for reference, _, _ in owners.dangling), *(reference["uid"] for reference in owners.waiting)]
    return Plan((*_verified(held, owners), *amend(kind, held, without_owners(held, lost))), owners.reports)


def _unblocking(kind: Kind, held: Document) -> Iterable[Apply]:
    freed = [{**each, "blockOwnerDeletion": False} for each in references(held)]
    return amend(kind, held, {**held, "metadata": {**held["metadata"], "ownerReferences": freed}})


def _policy(held: Document) -> str:
    """What the object itself was asked to do with its dependents."""
    finalizers = _finalizers(held)
    return "Orphan" if ORPHAN in finalizers else "Foreground" if FOREGROUND in finalizers else "Background"


def _going(kind: Kind, held: Document, world: World) -> Plan:
    """The end of an object that waits for us: its dependents let go (orphan) or gone (foreground), then our finalizer off."""
    finalizers = _finalizers(held)
    if ORPHAN in finalizers:
        orphaned = (
            write for of, each in dependents(held, world) for write in amend(of, each, without_owners(each, [_uid(held)]))
        )
        return Plan((*orphaned, *_without_finalizer(kind, held, ORPHAN)))
    if FOREGROUND in finalizers and not any(_blocks(each, held) for _, each in dependents(held, world)):
        return Plan(_without_finalizer(kind, held, FOREGROUND))
    return NOTHING


def _blocks(dependent: Document, owner: Document) -> bool:
    return any(each["uid"] == _uid(owner) and each.get("blockOwnerDeletion") for each in references(dependent))


def _without_finalizer(kind: Kind, held: Document, finalizer: str) -> tuple[Apply, ...]:
    kept = [each for each in _finalizers(held) if each != finalizer]
    return amend(kind, held, {**held, "metadata": {**held["metadata"], "finalizers": kept or None}})
