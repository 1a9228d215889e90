"""Which ControllerRevision is which version of a StatefulSet or DaemonSet? Snapshots of the Pod template, numbered.

Upstream: pkg/controller/history. The data of a revision is a strategic merge patch that puts the template back: `kubectl
rollout undo` sends it as it is. A version that comes back (a rollback) keeps its revision, which gets the next number.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from mooring.control.amend import amend, create, delete
from mooring.control.naming import digest
from mooring.control.owners import claim, controller_reference, with_owner, without_owners
from mooring.control.reconciler import Apply, Document, World
from mooring.control.revisions import bare
from mooring.control.selectors import selected
from mooring.model.kinds import CONTROLLER_REVISION, Kind

REVISION_HASH = "controller-revision-hash"
"""The label that tells which version a Pod is of: a revision's name in StatefulSets, its hash in DaemonSets."""
HASH = "controller.kubernetes.io/hash"
"""The same of a StatefulSet's revision."""


class History(Struct, frozen=True):
    """`update` is the revision of the template as it is now, `known` all there were (this one as it was), eldest first."""

    update: Document
    known: tuple[Document, ...]
    collisions: int
    """How many names that would have been chosen belong to something else (status.collisionCount)."""
    writes: tuple[Apply, ...]

    def surplus(self, live: Iterable[str], spared: Callable[[Document], bool], limit: int) -> list[Document]:
        """The eldest beyond revisionHistoryLimit; the `live` (names) do not count, the `spared` count and stay."""
        kept = {self.update["metadata"]["name"], *live}
        old = [each for each in self.known if each["metadata"]["name"] not in kept]
        return [each for each in old if not spared(each)][: max(0, len(old) - limit)]


def revision_name(revision: Document) -> str:
    return str(revision["metadata"]["name"])


def template_of(revision: Document) -> Document | None:
    """The Pod template that a revision holds; None when its data is not of this form."""
    inner: Any = revision.get("data")
    for step in ("spec", "template"):
        inner = inner.get(step) if isinstance(inner, dict) else None
    if not isinstance(inner, dict):
        return None
    metadata = {name: value for name, value in (inner.get("metadata") or {}).items() if value is not None}
    return {**{name: value for name, value in inner.items() if name != "$patch"}, "metadata": metadata}


def history(kind: Kind, owner: Document, hash_label: str, world: World) -> History:
    """The versions there are, with what must be written so that the present one is among them, and the newest."""
    held, writes = _claimed(kind, owner, world)
    held.sort(key=lambda each: (each.get("revision", 0), each["metadata"].get("creationTimestamp", ""), revision_name(each)))
    present = bare(owner["spec"]["template"])
    equal = [each for each in held if (template := template_of(each)) is not None and bare(template) == present]
    newest = held[-1].get("revision", 0) if held else 0
    collisions = (owner.get("status") or {}).get("collisionCount", 0)
    if equal and equal[-1] is held[-1]:
        return History(held[-1], tuple(held), collisions, tuple(writes))
    if equal:
        update = {**equal[-1], "revision": newest + 1}
        writes += amend(CONTROLLER_REVISION, equal[-1], update)
        return History(update, tuple(held), collisions, tuple(writes))
    hash, collisions = _free_hash(owner, present, collisions, world)
    update = _snapshot(kind, owner, hash, hash_label, newest + 1)
    return History(update, tuple(held), collisions, (*writes, create(CONTROLLER_REVISION, update)))


def removals(revisions: Sequence[Document]) -> list[Apply]:
    return [delete(CONTROLLER_REVISION, each) for each in revisions]


def _claimed(kind: Kind, owner: Document, world: World) -> tuple[list[Document], list[Apply]]:
    metadata, selector = owner["metadata"], owner["spec"]["selector"]
    owned = world.indexed(CONTROLLER_REVISION, "owner", metadata["uid"])
    candidates = selected(world, CONTROLLER_REVISION, metadata["namespace"], selector)
    claimed = claim(owner, selector, owned, candidates)
    reference = controller_reference(kind, owner)
    writes = [
        write
        for each in claimed.released
        for write in amend(CONTROLLER_REVISION, each, without_owners(each, [metadata["uid"]]))
    ]
    adopted = [with_owner(each, reference) for each in claimed.adopted]
    for before, after in zip(claimed.adopted, adopted, strict=True):
        writes += amend(CONTROLLER_REVISION, before, after)
    return [*claimed.held, *adopted], writes


def _free_hash(owner: Document, present: Any, collisions: int, world: World) -> tuple[str, int]:
    """A hash whose name nobody has, and how many were tried in vain."""
    metadata = owner["metadata"]
    while True:
        hash = digest([present, collisions], 10)
        if world.get(CONTROLLER_REVISION, metadata["namespace"], f"{metadata['name']}-{hash}") is None:
            return hash, collisions
        collisions += 1


def _snapshot(kind: Kind, owner: Document, hash: str, hash_label: str, number: int) -> Document:
    metadata, template = owner["metadata"], owner["spec"]["template"]
    inner = template.get("metadata") or {}
    # Written as Go writes it, in order and with a null: kubectl compares octets to see whether an undo would change anything.
    patch = _in_order({**template, "$patch": "replace", "metadata": {"creationTimestamp": None, **inner}})
    annotations = metadata.get("annotations")
    return {
        "metadata": {
            "name": f"{metadata['name']}-{hash}",
            "namespace": metadata["namespace"],
            "labels": {**(inner.get("labels") or {}), hash_label: hash},
            **({"annotations": annotations} if annotations else {}),
            "ownerReferences": [controller_reference(kind, owner)],
        },
        "data": {"spec": {"template": patch}},
        "revision": number,
    }


def _in_order(value: Any) -> Any:
    """With the keys sorted at every depth."""
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(each) for each in value] if isinstance(value, list) else value
