"""Whose is an object? Controllers claim what their selector matches, and let go of what it no longer does.

Upstream: ControllerRefManager (adopt orphans that match, release own ones that do not; a dying owner adopts nothing).
"""

from collections.abc import Iterable

from msgspec import Struct

from mooring.control.reconciler import Document
from mooring.control.selectors import labels_of, selects
from mooring.model.kinds import BY_KIND, Kind


def references(document: Document) -> list[Document]:
    return document["metadata"].get("ownerReferences") or []


def controller_of(document: Document) -> Document | None:
    """The ownerReference whose controller is true."""
    return next((each for each in references(document) if each.get("controller")), None)


def controlling(document: Document | None, kind: Kind) -> tuple[str, str] | None:
    """(namespace, name) of the controller, when it is of this kind."""
    reference = controller_of(document) if document else None
    if document is None or reference is None:
        return None
    if BY_KIND.get((reference.get("apiVersion", ""), reference.get("kind", ""))) != kind:
        return None
    return document["metadata"].get("namespace", ""), reference["name"]


def controller_reference(kind: Kind, owner: Document) -> Document:
    """The ownerReference that makes `owner` the controller."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


class Claim(Struct, frozen=True):
    """`held` are the owner's already; `adopted` become so; `released` no longer match."""

    held: tuple[Document, ...]
    adopted: tuple[Document, ...]
    released: tuple[Document, ...]


def claim(owner: Document, selector: Document, owned: Iterable[Document], candidates: Iterable[Document]) -> Claim:
    """Which of the `owned` to keep or release, and which of the `candidates` (all that match) to adopt."""
    dying = bool(owner["metadata"].get("deletionTimestamp"))
    held, released = [], []
    for each in owned:
        if selects(selector, labels_of(each)):
            held.append(each)
        elif not dying and not each["metadata"].get("deletionTimestamp"):
            released.append(each)
    adopted = [] if dying else [each for each in candidates if _orphan(each)]
    return Claim(tuple(held), tuple(adopted), tuple(released))


def _orphan(document: Document) -> bool:
    return not document["metadata"].get("deletionTimestamp") and controller_of(document) is None


def with_owner(document: Document, reference: Document) -> Document:
    """A copy that `reference` owns too."""
    kept = [each for each in references(document) if each.get("uid") != reference["uid"]]
    return {**document, "metadata": {**document["metadata"], "ownerReferences": [*kept, reference]}}


def without_owners(document: Document, uids: Iterable[str]) -> Document:
    """A copy that these no longer own."""
    gone = set(uids)
    kept = [each for each in references(document) if each.get("uid") not in gone]
    return {**document, "metadata": {**document["metadata"], "ownerReferences": kept or None}}
