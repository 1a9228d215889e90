"""May a range of cluster IPs be used, and may it go? (upstream: pkg/controller/servicecidrs, KEP-1880)"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from mooring.control.amend import amend, create
from mooring.control.conditions import with_condition
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, World
from mooring.control.times import seconds_since
from mooring.model.kinds import IP_ADDRESS, SERVICE_CIDR

DEFAULT: Key = ("", "kubernetes")
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
GRACE = 10.0
"""Seconds between a deletion and the end: API servers that have not seen it yet may still take addresses."""
BLOCKED = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"


class ServiceCidrs:
    name = "service-cidr"
    watches = (SERVICE_CIDR, IP_ADDRESS)
    serial = False
    initial: tuple[Key, ...] = (DEFAULT,)

    def __init__(self, cidrs: Sequence[str] = ("10.96.0.0/16",)) -> None:
        """`cidrs` are those of the default ServiceCIDR, made when it is missing."""
        self._cidrs = list(cidrs)

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == IP_ADDRESS:
            return _going(world) if change.after is None else ()
        either = change.after or change.before
        assert either is not None
        return {("", either["metadata"]["name"]), *_going(world)}

    def plan(self, key: Key, world: World) -> Plan:
        held = world.get(SERVICE_CIDR, *key)
        if held is None:
            default = {"metadata": {"name": DEFAULT[1]}, "spec": {"cidrs": self._cidrs}}
            return Plan((create(SERVICE_CIDR, default, "AlreadyExists"),)) if key == DEFAULT else NOTHING
        finalizers = held["metadata"].get("finalizers") or []
        if held["metadata"].get("deletionTimestamp"):
            return _end(held, world) if FINALIZER in finalizers else NOTHING
        kept = finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER]
        want = _saying(held, "True", "", "Kubernetes Service CIDR is ready", world)
        return Plan(amend(SERVICE_CIDR, held, {**want, "metadata": {**held["metadata"], "finalizers": kept}}))


def _going(world: World) -> set[Key]:
    return {("", each["metadata"]["name"]) for each in world.list(SERVICE_CIDR) if each["metadata"].get("deletionTimestamp")}


def _end(held: Document, world: World) -> Plan:
    """Blocked while an address is in no other live range."""
    mine = networks(held)
    others = [network for each in world.list(SERVICE_CIDR) if not _ends(each) for network in networks(each)]
    addresses = (ip_address(each["metadata"]["name"]) for each in world.list(IP_ADDRESS))
    if any(any(a in n for n in mine) and not any(a in n for n in others) for a in addresses):
        return Plan(amend(SERVICE_CIDR, held, _saying(held, "False", "Terminating", BLOCKED, world)))
    left = GRACE - seconds_since(held["metadata"]["deletionTimestamp"], world.now)
    if left > 0:
        return Plan(again_after=left)
    kept = [each for each in held["metadata"]["finalizers"] if each != FINALIZER]
    return Plan(amend(SERVICE_CIDR, held, {**held, "metadata": {**held["metadata"], "finalizers": kept or None}}))


def _ends(held: Document) -> bool:
    return bool(held["metadata"].get("deletionTimestamp"))


def networks(held: Document) -> list[IPv4Network | IPv6Network]:
    """The ranges of a ServiceCIDR."""
    return [ip_network(cidr) for cidr in (held.get("spec") or {}).get("cidrs") or ()]


def _saying(held: Document, status: str, reason: str, message: str, world: World) -> Document:
    conditions = (held.get("status") or {}).get("conditions") or ()
    wanted = {"type": "Ready", "status": status, "reason": reason, "message": message}
    return {**held, "status": {**(held.get("status") or {}), "conditions": with_condition(conditions, wanted, world.now)}}
