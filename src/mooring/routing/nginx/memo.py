"""What is known of hosts from the emission before? A table of thousands of routes changes one host at a time."""

from collections.abc import Mapping

from msgspec import Struct

from mooring.routing.nginx.emission import Emission
from mooring.routing.nginx.trees import OnChain, Tree, tree
from mooring.routing.table import Certificate, Cluster, Forward, VirtualHost


class _Kept(Struct, frozen=True):
    hosts: tuple[VirtualHost, ...]
    """They live on, so that no other one gets their identity."""
    clusters: Mapping[str, Cluster | None]
    certificates: Mapping[str, Certificate | None]
    tree: Tree
    part: Emission


class Memo:
    """Of one proxy: forgets what the last emission did not use."""

    def __init__(self) -> None:
        self._kept: dict[tuple[tuple[int, str], ...], _Kept] = {}
        self._now: dict[tuple[tuple[int, str], ...], _Kept] = {}
        self._same: object = None

    def begin(self, emission: Emission) -> None:
        same = emission.placement, emission.headers, emission.table.front_door.keeps_encoded_slashes
        self._kept = self._now if same == self._same else {}
        self._now, self._same = {}, same

    def tree(self, emission: Emission, views: tuple[OnChain, ...]) -> Tree:
        """Adds what the tree needs to the emission."""
        key = tuple((id(view.host), view.chain) for view in views)
        kept = self._now.get(key)
        if kept is not None:
            return kept.tree
        kept = self._kept.get(key)
        if kept is None or not _holds(kept, emission):
            kept = _made(emission, views)
        if kept.part.whose.keys().isdisjoint(emission.quarantined):
            self._now[key] = kept
        emission.absorb(kept.part)
        return kept.tree


def _holds(kept: _Kept, emission: Emission) -> bool:
    clusters, certificates = emission.table.clusters, emission.table.certificates
    return (
        all((now := clusters.get(name)) is each or now == each for name, each in kept.clusters.items())
        and all(certificates.get(name) is each for name, each in kept.certificates.items())
        and kept.part.whose.keys().isdisjoint(emission.quarantined)
    )


def _made(emission: Emission, views: tuple[OnChain, ...]) -> _Kept:
    part = emission.part()
    made = tree(part, views)
    table = emission.table
    clusters = {name: table.clusters.get(name) for view in views for name in _clusters(view.host)}
    certificates = {
        each.tls.certificate: table.certificates.get(each.tls.certificate)
        for each in clusters.values()
        if each is not None and each.tls is not None and each.tls.certificate
    }
    return _Kept(tuple(view.host for view in views), clusters, certificates, made, part)


def _clusters(host: VirtualHost) -> frozenset[str]:
    """All that its routes name."""
    found: set[str] = set()
    for route in host.routes:
        filters = route.filters
        if isinstance(route.action, Forward):
            found.update(each.cluster for each in route.action.to)
        found.update(each.cluster for each in filters.mirrors)
        found.update(each.cluster for each in (filters.external_auth, filters.error_pages) if each is not None)
    return frozenset(found)
