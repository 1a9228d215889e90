"""Which writes turn an object into what it should be? Merge patches (RFC 7386) of exactly what differs, and guarded deletions.

A patch names the object's uid, so that it never lands on a namesake made later. The first patch of an object in a plan also
names its resourceVersion unless `blind`: then it is refused when anybody wrote in between. A status that one controller alone
writes is patched blind: a user's edit of the spec in between must not cost the Events of a plan already half carried out.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import structs

from mooring.control.reconciler import Apply, Document
from mooring.model.kinds import Kind

IMPOSSIBLE_VERSION = str(2**63 - 1)
"""No object will ever have this resourceVersion."""


def difference(have: Document, want: Document) -> Document:
    """The merge patch that makes `want` of `have`, {} when they are equal. A None in `want` counts as absent."""
    patch: Document = {name: None for name in have if have[name] is not None and want.get(name) is None}
    for name, value in want.items():
        held = have.get(name)
        if value is None or value == held:
            continue
        if isinstance(value, dict) and isinstance(held, dict):
            inner = difference(held, value)
            if inner:
                patch[name] = inner
        else:
            patch[name] = value
    return patch


def overlaid(have: Document, fields: Document) -> Document:
    """`have` with these fields set, dictionaries merged at any depth, all else as it is."""
    result = dict(have)
    for name, value in fields.items():
        held = have.get(name)
        result[name] = overlaid(held, value) if isinstance(value, dict) and isinstance(held, dict) else value
    return result


def amend(kind: Kind, have: Document, want: Document, *, blind_status: bool = False) -> tuple[Apply, ...]:
    """At most two patches: of all but the status, and of the status where the kind has it as a subresource."""
    patch = difference(have, want)
    status = patch.pop("status", None) if "status" in kind.subresources else None
    writes = []
    if patch:
        writes.append(_patch(kind, have, patch))
    if status is not None and blind_status:
        # The server holds counts against each other: they go together, whatever somebody has made of the others meanwhile.
        counts = {name: count for name, count in want["status"].items() if count is None or type(count) is int}
        status = {**counts, **status}
    if status is not None:
        writes.append(_patch(kind, have, {"status": status}, "status", blind=blind_status or bool(patch)))
    return tuple(writes)


def _patch(kind: Kind, have: Document, patch: Document, subresource: str = "", blind: bool = False) -> Apply:
    metadata: Document = {"uid": have["metadata"]["uid"]}
    if not blind:
        metadata["resourceVersion"] = have["metadata"]["resourceVersion"]
    body = {**patch, "metadata": {**patch.get("metadata", {}), **metadata}}
    return Apply("patch", kind, have["metadata"].get("namespace", ""), have["metadata"]["name"], body, subresource)


def create(kind: Kind, document: Document, *ignore: str) -> Apply:
    """Creates a document that says its kind, namespace and name."""
    body = {"apiVersion": kind.api_version, "kind": kind.kind, **document}
    metadata = document["metadata"]
    return Apply("create", kind, metadata.get("namespace", ""), metadata.get("name", ""), body, ignore=ignore)


def delete(kind: Kind, document: Document, *, grace: int | None = None, policy: str = "", exactly: bool = False) -> Apply:
    """Deletes this very object, by uid (`exactly`: this very version of it); already gone counts as done.

    `policy` is a propagationPolicy, `grace` in seconds.
    """
    metadata = document["metadata"]
    preconditions = {"uid": metadata["uid"]}
    if exactly:
        preconditions["resourceVersion"] = metadata["resourceVersion"]
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
    if grace is not None:
        body["gracePeriodSeconds"] = grace
    if policy:
        body["propagationPolicy"] = policy
    return Apply("delete", kind, metadata.get("namespace", ""), metadata["name"], body, ignore=("NotFound",))


def apart(writes: Iterable[Apply], part: str = "") -> tuple[Apply, ...]:
    """The same writes, all of one part, or else of the object's that each is about: a refusal holds up no other part."""
    return tuple(structs.replace(write, part=part or part_of(write.kind, write.namespace, write.name)) for write in writes)


def part_of(kind: Kind, namespace: str, name: str) -> str:
    return f"{kind.plural}/{namespace}/{name}"


def verify_unchanged(kind: Kind, held: Document) -> Apply:
    """Asks the server itself whether an object still is as we see it: a patch that changes nothing, refused when it is not."""
    return _patch(kind, held, {})


def verify_absent(kind: Kind, namespace: str, name: str, namesake: Document | None) -> Apply:
    """Asks the server itself, before something irreversible is done, whether an object that we no longer see is really gone.

    A patch that changes nothing: it succeeds (404 counts as done) only if there is no object of that name, or just the
    `namesake` that we see, whose uid is another. Any other object there meets a version it cannot have: Conflict, and the
    rest of the plan is not carried out. It does for a pure plan what upstream's garbage collector does with a live GET.
    """
    metadata = {"uid": namesake["metadata"]["uid"]} if namesake else {"resourceVersion": IMPOSSIBLE_VERSION}
    return Apply("patch", kind, namespace, name, {"metadata": metadata}, ignore=("NotFound",))
