"""Does every cluster IP have its IPAddress, and every IPAddress its Service? The repair of what the allocation keeps true.

Upstream: pkg/registry/core/service/ipallocator/controller/repairip.go. The API server writes both in one transaction; what is
found here was made by hand, restored from elsewhere, or is seen by two watches at two moments: hence the graces.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from mooring.control.amend import amend, create, delete, overlaid, verify_unchanged
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, Report, World
from mooring.control.reconcilers.service_cidrs import networks
from mooring.control.times import seconds_since
from mooring.model.kinds import IP_ADDRESS, SERVICE, SERVICE_CIDR

FAMILY = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
ORPHAN_GRACE = 60.0
"""Seconds an IPAddress may be without its Service."""
NEW_SERVICE_GRACE = 5.0
"""Seconds a new Service may be without its IPAddress: two watches of one transaction are not equally fast."""

Address = IPv4Address | IPv6Address


class IpAddresses:
    """Keys: (namespace, name) of a Service, ('', address) of an IPAddress."""

    name = "ip-address-repair"
    watches = (SERVICE, IP_ADDRESS, SERVICE_CIDR)
    serial = True

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == SERVICE_CIDR:
            return [_key(each) for each in world.list(SERVICE)]
        either = change.after or change.before
        assert either is not None
        if change.kind == SERVICE:
            lost = cluster_ips(change.before) - cluster_ips(change.after)
            return {_key(either), *(("", address) for address in lost)}
        parent = _parent(either)
        return {("", either["metadata"]["name"]), *([parent] if parent and change.after is None else ())}

    def plan(self, key: Key, world: World) -> Plan:
        return _service(key, world) if key[0] else _address(key, world)


def _key(document: Document) -> Key:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def cluster_ips(service: Document | None) -> set[str]:
    """The addresses a Service claims, as they are written; none when it is headless or an ExternalName."""
    spec = (service or {}).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return set()
    return {each for each in (*(spec.get("clusterIPs") or ()), spec.get("clusterIP")) if each and each != "None"}


def _parent(held: Document) -> Key | None:
    """The Service an IPAddress says it is for."""
    reference = (held.get("spec") or {}).get("parentRef") or {}
    if (reference.get("group", ""), reference.get("resource")) != ("", "services"):
        return None
    return reference.get("namespace", ""), reference.get("name", "")


def _service(key: Key, world: World) -> Plan:
    service = world.get(SERVICE, *key)
    if service is None or service["metadata"].get("deletionTimestamp"):
        return NOTHING
    if seconds_since(service["metadata"]["creationTimestamp"], world.now) < NEW_SERVICE_GRACE:
        return Plan(again_after=NEW_SERVICE_GRACE)
    if not any(True for _ in world.list(SERVICE_CIDR)):
        return NOTHING  # A fresh cluster: the ranges are about to be made, and their coming plans every Service again.
    writes: list[Apply] = []
    reports: list[Report] = []
    for text in sorted(cluster_ips(service)):
        repair, reason, message = _claimed(text, service, world)
        writes += repair
        if reason:
            reports.append(Report(service, "Warning", reason, message))
    return Plan(tuple(writes), tuple(reports))


def _claimed(text: str, service: Document, world: World) -> tuple[Iterable[Apply], str, str]:
    """(writes, reason, message) for one address of a Service; reason is '' when all is well."""
    try:
        address = ip_address(text)
    except ValueError:
        return (), "ClusterIPNotValid", f"Cluster IP {text} is not a valid IP; please recreate service"
    what = f"Cluster IP [IPv{address.version}]: {address}"
    if not any(address in network for each in world.list(SERVICE_CIDR) for network in networks(each)):
        return (), "ClusterIPOutOfRange", f"{what} is not within any configured Service CIDR; please recreate service"
    key, held = _key(service), world.get(IP_ADDRESS, "", str(address))
    still_so = verify_unchanged(SERVICE, service)
    if held is None:
        return (still_so, _made(address, key)), "ClusterIPNotAllocated", f"{what} is not allocated; repairing"
    parent = _parent(held)
    if parent == key:
        return amend(IP_ADDRESS, held, overlaid(held, {"metadata": {"labels": _labels(address)}})), "", ""
    if parent and str(address) in cluster_ips(world.get(SERVICE, *parent)):
        return (), "ClusterIPAlreadyAllocated", f"{what} was assigned to multiple services; please recreate service"
    # A parentRef cannot be changed, so the IPAddress is made anew.
    repair = (still_so, delete(IP_ADDRESS, held), _made(address, key))
    return repair, "ClusterIPNotAllocated", f"{what} has a wrong reference; repairing"


def _labels(address: Address) -> dict[str, str]:
    return {FAMILY: f"IPv{address.version}", MANAGED_BY: ALLOCATOR}


def _made(address: Address, service: Key) -> Apply:
    parent = {"group": "", "resource": "services", "namespace": service[0], "name": service[1]}
    return create(IP_ADDRESS, {"metadata": {"name": str(address), "labels": _labels(address)}, "spec": {"parentRef": parent}})


def _address(key: Key, world: World) -> Plan:
    """An IPAddress of ours whose Service does not exist or does not have it is released, after a while."""
    held = world.get(IP_ADDRESS, *key)
    if held is None or held["metadata"].get("deletionTimestamp"):
        return NOTHING
    if (held["metadata"].get("labels") or {}).get(MANAGED_BY) != ALLOCATOR:
        return NOTHING
    parent = _parent(held)
    if parent and key[1] in cluster_ips(world.get(SERVICE, *parent)):
        return NOTHING
    left = ORPHAN_GRACE - seconds_since(held["metadata"]["creationTimestamp"], world.now)
    if left > 0:
        return Plan(again_after=left)
    owner = "/".join(parent or ("", ""))
    message = f"IPAddress: {key[1]} for Service {owner} appears to have leaked: cleaning up"
    return Plan((delete(IP_ADDRESS, held),), (Report(held, "Warning", "IPAddressNotAllocated", message),))
