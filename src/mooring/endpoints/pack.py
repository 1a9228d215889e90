"""Which slice holds which endpoint, touching as few slices as possible?

Every slice that changes is sent to every node, so an endpoint stays where it is, new ones go into slices that change anyway,
and only then into one more slice; slices are never rebalanced. Upstream's rules:
https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#distribution-of-endpointslices
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from mooring.endpoints.desired import EndpointKey, endpoint_key
from mooring.endpoints.pods import Document


class Draft(Struct):
    """A slice as it shall be. `origin` is the slice it is made from, None for a new one."""

    origin: Document | None
    ports: tuple[Document, ...]
    endpoints: list[Document]


class Packing(Struct, frozen=True):
    """Drafts of slices that change, slices that go, and slices that stay as they are."""

    changed: list[Draft]
    gone: list[Document]
    kept: list[Document]
    added: int
    removed: int
    touched: list[EndpointKey]
    """Endpoints that are new or different."""


def pack(
    existing: Iterable[Document],
    wanted: Mapping[EndpointKey, Document],
    ports: tuple[Document, ...],
    limit: int,
    outdated: Mapping[str, bool],
) -> Packing:
    """`existing` slices have these ports; `outdated[name]` marks one that must be written anyway (its labels changed)."""
    left = dict(wanted)
    over: list[Document] = []
    changed: list[Draft] = []
    gone: list[Document] = []
    kept: list[Document] = []
    touched: list[EndpointKey] = []
    removed = 0
    for slice_ in existing:
        held = slice_.get("endpoints") or []
        endpoints, differs = [], False
        for old in held:
            key = endpoint_key(old)
            new = left.pop(key, None)
            if new is None:
                differs = True
                continue
            endpoints.append(new)
            if new != old:
                differs = True
                touched.append(key)
        removed += len(held) - len(endpoints)
        over += endpoints[limit:]  # the limit may have been lowered: what is over moves on
        if not endpoints and held:
            gone.append(slice_)
        elif differs or len(endpoints) > limit or outdated.get(slice_["metadata"]["name"]):
            changed.append(Draft(slice_, ports, endpoints[:limit]))
        else:
            kept.append(slice_)
    place([*left.values(), *over], changed, kept, ports, limit)
    return Packing(changed, gone, kept, len(left), removed, [*touched, *left])


def place(left: list[Document], changed: list[Draft], kept: list[Document], ports: tuple[Document, ...], limit: int) -> None:
    """Puts the endpoints that have no slice yet: into changed slices, fullest first, then one best fit, then new ones."""
    for draft in sorted(changed, key=lambda draft: -len(draft.endpoints)):
        room = limit - len(draft.endpoints)
        draft.endpoints += left[:room]
        left = left[room:]
    while left:
        home = best_fit(kept, len(left), limit)
        if home is None:
            changed.append(Draft(None, ports, left[:limit]))
            left = left[limit:]
            continue
        kept.remove(home)
        changed.append(Draft(home, ports, [*(home.get("endpoints") or ()), *left]))
        left = []


def best_fit(kept: Iterable[Document], count: int, limit: int) -> Document | None:
    """The fullest slice that still has room for all of them."""
    fitting = [slice_ for slice_ in kept if len(slice_.get("endpoints") or ()) + count <= limit]
    return max(fitting, key=lambda slice_: len(slice_.get("endpoints") or ()), default=None)
