"""From which ranges may a cluster IP come? The ready ServiceCIDR objects; before any exists, the server's own settings."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_network

from msgspec import Struct

from mooring.alloc.cluster_ip import FAMILIES, Network
from mooring.apiserver.contract import Settings
from mooring.model.codec import decode
from mooring.model.kinds import SERVICE_CIDR
from mooring.store.snapshot import Snapshot

_SERVICE_CIDRS = SERVICE_CIDR.prefix


class Ranges(Struct, frozen=True):
    """`ready` lists, by family ('IPv4', 'IPv6'), the networks to take from; `families` what the cluster is configured for."""

    families: tuple[str, ...]
    ready: Mapping[str, tuple[Network, ...]]
    first: Network


@lru_cache(1024)
def _networks(value: bytes) -> tuple[str, ...]:
    """Those of a stored ServiceCIDR, none when it is not ready: being deleted, or its Ready condition is not True."""
    document = decode(value)
    if document["metadata"].get("deletionTimestamp"):
        return ()
    for condition in (document.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return ()
    return tuple(document["spec"]["cidrs"])


@lru_cache(16)
def _ranges(cidrs: tuple[str, ...], stored: tuple[str, ...] | None) -> Ranges:
    """Found by text: networks are slow to hash."""
    configured = tuple(map(ip_network, cidrs))
    ready = configured if stored is None else tuple(map(ip_network, stored))
    families = tuple(dict.fromkeys(FAMILIES[network.version] for network in configured))
    by_family = {family: tuple(n for n in ready if FAMILIES[n.version] == family) for family in families}
    return Ranges(families, by_family, configured[0])


def _stored(snapshot: Snapshot) -> tuple[str, ...] | None:
    """Those of all ServiceCIDRs; None when there is no ServiceCIDR."""
    stored = [_networks(record.value) for record in snapshot.scan(SERVICE_CIDR.prefix)]
    return tuple(network for networks in stored for network in networks) if stored else None


def ranges(snapshot: Snapshot, settings: Settings) -> Ranges:
    return _ranges(settings.service_cidrs, snapshot.derived(_stored, _SERVICE_CIDRS))
