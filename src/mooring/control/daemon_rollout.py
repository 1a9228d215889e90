"""Which old Pods of a DaemonSet go now, and which nodes get a new one beside the old, in a rolling update?

Upstream: rollingUpdate in pkg/controller/daemon/update.go. Without surge, Pods are deleted and the next look replaces them;
with surge, a new Pod comes first and the old one goes when it is available.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil

from msgspec import Struct

from mooring.control.reconciler import Document

Pods = Sequence[Document]


class Limits(Struct, frozen=True):
    desired: int
    unavailable: int
    surge: int


class Site(Struct, frozen=True):
    """A node's Pods that are not terminating, told apart by version; `excess` when there are several of one."""

    new: Document | None
    old: Document | None
    excess: bool
    wanted: bool
    """Whether a Pod should start there."""


class Turn(Struct, frozen=True):
    deleted: tuple[Document, ...] = ()
    started: tuple[str, ...] = ()
    """Nodes."""


def limits(rolling: Document, desired: int) -> Limits:
    """Percentages are of the nodes that want a Pod, rounded up."""
    unavailable, surge = (_share(rolling.get(name, 0), desired) for name in ("maxUnavailable", "maxSurge"))
    if desired and not unavailable and not surge:
        unavailable = 1
    return Limits(desired, unavailable, surge)


def _share(share: int | str, total: int) -> int:
    return ceil(int(share[:-1]) * total / 100) if isinstance(share, str) else share


def turn(sites: Mapping[str, Site], allowed: Limits, available: Callable[[Document], bool]) -> Turn:
    return _surge(sites, allowed, available) if allowed.surge else _replace(sites, allowed, available)


def _replace(sites: Mapping[str, Site], allowed: Limits, available: Callable[[Document], bool]) -> Turn:
    """Old Pods that are not available go in any case; of the others as many as the limit leaves."""
    unavailable, lost, candidates = 0, [], []
    for _, site in sorted(sites.items()):
        if site.excess or (site.new is None) == (site.old is None):
            unavailable += 1  # the core of the controller will see to it
        elif site.new is not None:
            unavailable += not available(site.new)
        elif site.old is not None and not available(site.old):
            unavailable += 1
            lost.append(site.old)
        elif site.old is not None:
            candidates.append(site.old)
    return Turn((*lost, *candidates[: max(0, allowed.unavailable - unavailable)]))


def _surge(sites: Mapping[str, Site], allowed: Limits, available: Callable[[Document], bool]) -> Turn:
    """New Pods come beside old ones, up to the surge; beside those that are not available in any case."""
    surging = present = 0
    deleted: list[Document] = []
    leaving: list[Document] = []
    started: list[str] = []
    candidates: list[str] = []
    for name, site in sorted(sites.items()):
        if site.excess:
            surging += 1
            continue
        counted = site.old or site.new
        present += counted is not None and available(counted)
        if site.old is None:
            continue
        if site.new is not None:
            if available(site.new):
                deleted.append(site.old)
            else:
                surging += 1
        elif not site.wanted:
            (leaving if available(site.old) else deleted).append(site.old)
        else:
            (candidates if available(site.old) else started).append(name)
    # Where no Pod should be, the old one stays until enough are available elsewhere.
    deleted += leaving[: max(0, present - allowed.desired)]
    started += candidates[: max(0, allowed.surge - surging)]
    return Turn(tuple(deleted), tuple(started))
