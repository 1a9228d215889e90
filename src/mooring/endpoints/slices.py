"""Which EndpointSlices must be written for an object, given those it has? The same answer for Services and mirrored Endpoints.

`Parent` says whose slices they are and what they carry, `Desired` says which endpoints, and `plan_family` makes the difference
for one address family. Planning again from its outcome gives nothing.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from mooring.endpoints.desired import Desired, PortsKey, ports_key
from mooring.endpoints.pack import Draft, Packing, pack
from mooring.endpoints.pods import Document
from mooring.model.discovery import MANAGED_BY_LABEL, SERVICE_NAME_LABEL
from mooring.model.kinds import ENDPOINT_SLICE

HEADLESS_LABEL = "service.kubernetes.io/headless"
TRIGGER_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"
RESERVED_LABELS = (SERVICE_NAME_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL)
"""Never copied from the parent."""

DEFAULT_LIMIT, MOST = 100, 1000
"""Endpoints in a slice: by default, and by the API."""


class Parent(Struct, frozen=True):
    """The owner of slices. `annotations` are to be on every slice, None when they are not looked at."""

    document: Document
    labels: Mapping[str, str]
    annotations: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        return str(self.document["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.document["metadata"]["uid"])

    @property
    def deleting(self) -> bool:
        return bool(self.document["metadata"].get("deletionTimestamp"))


class SliceWrites(Struct, frozen=True):
    """Whole documents to create, to update (with their name and resourceVersion) and to delete, and figures for metrics."""

    create: tuple[Document, ...] = ()
    update: tuple[Document, ...] = ()
    delete: tuple[Document, ...] = ()
    added: int = 0
    removed: int = 0
    endpoints: int = 0
    slices: int = 0
    desired_slices: int = 0


def slice_labels(labels: Mapping[str, str] | None, service: str, managed_by: str, headless: bool) -> dict[str, str]:
    """The labels of an object's slices: its own, and what says whose and what they are."""
    own = {key: value for key, value in (labels or {}).items() if key not in RESERVED_LABELS}
    own |= {SERVICE_NAME_LABEL: service, MANAGED_BY_LABEL: managed_by}
    return own | {HEADLESS_LABEL: ""} if headless else own


def owned_by(slice_: Document, uid: str) -> bool:
    return any(reference.get("uid") == uid for reference in slice_["metadata"].get("ownerReferences") or ())


def is_headless(service: Document) -> bool:
    return service["spec"].get("clusterIP") in (None, "", "None")


def plan_family(
    parent: Parent, existing: Iterable[Document], desired: Desired, family: str, limit: int, placeholder: bool, since: str = ""
) -> SliceWrites:
    """One address family. `existing` are the parent's slices of that family, by label; those of an older parent of the same
    name go. `placeholder` keeps one empty slice where nothing serves. `since` takes part in the trigger time."""
    own: list[Document] = []
    foreign: list[Document] = []
    for slice_ in existing:
        (own if owned_by(slice_, parent.uid) else foreign).append(slice_)
    packed = pack_groups(parent, own, desired, limit)
    changed = [draft for packing in packed for draft in packing.changed]
    gone = [slice_ for packing in packed for slice_ in packing.gone]
    kept = sum(len(packing.kept) for packing in packed)
    if placeholder and not changed and not kept:
        changed.append(Draft(None, (), []))
    # A new slice instead of one that goes is one write instead of two, and one event instead of two on every node.
    for draft in changed:
        if draft.origin is None and gone:
            draft.origin = gone.pop()
    moments = [since, *(desired.since.get(key, "") for packing in packed for key in packing.touched)]
    trigger = min(filter(None, moments), default="")
    documents = [(draft.origin, document(parent, draft, family, trigger)) for draft in changed]
    return SliceWrites(
        create=() if parent.deleting else tuple(new for origin, new in documents if origin is None),
        update=tuple(new for origin, new in documents if origin is not None and not same(origin, new)),
        delete=(*foreign, *gone),
        added=sum(packing.added for packing in packed),
        removed=sum(packing.removed for packing in packed),
        endpoints=sum(len(group.endpoints) for group in desired.groups.values()),
        slices=len(changed) + kept,
        desired_slices=max(
            sum(-(-len(group.endpoints) // limit) for group in desired.groups.values()),
            1 if placeholder else 0,
        ),
    )


def pack_groups(parent: Parent, own: Iterable[Document], desired: Desired, limit: int) -> list[Packing]:
    """A packing for each set of ports that is wanted or held; slices of ports that nobody wants any more go."""
    held: dict[PortsKey, list[Document]] = {key: [] for key in desired.groups}
    outdated: dict[str, bool] = {}
    for slice_ in own:
        held.setdefault(ports_key(slice_.get("ports")), []).append(slice_)
        outdated[slice_["metadata"]["name"]] = not carries(parent, slice_)
    packed = []
    for key, slices in held.items():
        group = desired.groups.get(key)
        if group is not None:
            packed.append(pack(slices, group.endpoints, group.ports, limit, outdated))
        else:
            removed = sum(len(slice_.get("endpoints") or ()) for slice_ in slices)
            packed.append(Packing([], slices, [], 0, removed, []))
    return packed


def carries(parent: Parent, slice_: Document) -> bool:
    """Has the slice the labels and annotations that it should have?"""
    metadata = slice_["metadata"]
    if (metadata.get("labels") or {}) != parent.labels:
        return False
    return parent.annotations is None or without_trigger(metadata.get("annotations")) == parent.annotations


def document(parent: Parent, draft: Draft, family: str, trigger: str) -> Document:
    """The slice to write: the old one's identity where there is one, else a name to be generated."""
    owner = parent.document
    if draft.origin is not None:
        metadata = dict(draft.origin["metadata"])
    else:
        metadata = {
            "generateName": f"{parent.name}-",
            "namespace": owner["metadata"]["namespace"],
            "ownerReferences": [
                {
                    "apiVersion": owner["apiVersion"],
                    "kind": owner["kind"],
                    "name": parent.name,
                    "uid": parent.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        }
    given = without_trigger(metadata.get("annotations")) if parent.annotations is None else parent.annotations
    annotations = {**given, TRIGGER_ANNOTATION: trigger} if trigger else dict(given)
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    return {
        "kind": ENDPOINT_SLICE.kind,
        "apiVersion": ENDPOINT_SLICE.api_version,
        "metadata": {**metadata, "labels": dict(parent.labels)},
        "addressType": family,
        "endpoints": draft.endpoints,
        "ports": list(draft.ports),
    }


def without_trigger(annotations: Mapping[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (annotations or {}).items() if key != TRIGGER_ANNOTATION}


def same(old: Document, new: Document) -> bool:
    """Would the update change anything beyond the trigger time?"""
    return (
        (old.get("endpoints") or []) == new["endpoints"]
        and ports_key(old.get("ports")) == ports_key(new["ports"])
        and (old["metadata"].get("labels") or {}) == new["metadata"]["labels"]
        and without_trigger(old["metadata"].get("annotations")) == without_trigger(new["metadata"].get("annotations"))
    )
