"""Which Services of type LoadBalancer get an address from the built-in pool, and which one? (upstream: the service controller)

Ours are those of class mooring.dev/pool and, while there is a pool, those of no class, unless somebody else has given them an
address. What is ours carries an annotation, written together with the finalizer, so that it is told from another provider's
at any later time: after a crash between two writes, with the type changed, with the pool gone. Whatever is not ours is not
touched.

The status is the one record of who has what. An address once given stays as long as it is in the pool; the next start adopts
it. Of two Services that hold the same one (a status written by hand) the elder keeps it. Each family is served by itself. A
wish that cannot be met is an Event and the condition CONDITION, and is tried again when something is given back.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from ipaddress import ip_address, ip_network

from msgspec import Struct

from mooring.alloc.pool import Address, Network, Pool, Reason, Refused, ask, choose
from mooring.control.amend import amend
from mooring.control.conditions import condition, with_condition, without_condition
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, Report, World
from mooring.model.kinds import NODE, SERVICE, SERVICE_CIDR

CLASS = "mooring.dev/pool"
MARK, MARKED = "mooring.dev/load-balancer", "pool"
"""The annotation that says whose a load balancer is."""
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
CONDITION = "mooring.dev/LoadBalancerSynced"
"""True, or False with the reason; upstream has none that tells why a load balancer is pending."""
FAMILIES = {"IPv4": 4, "IPv6": 6}
NO_POOL = Pool()


class Outcome(Struct, frozen=True):
    """The addresses a Service is to have, in the order of its families, and what stands in the way of others."""

    addresses: tuple[str, ...]
    problem: Refused | None


class LoadBalancers:
    """Serial: two Services planned from one view would get the same address."""

    name = "load-balancers"
    watches = (SERVICE, NODE, SERVICE_CIDR)
    serial = True

    def __init__(self, pool: Pool = NO_POOL) -> None:
        """Without a pool, what an earlier one gave is taken back."""
        self._pool = pool

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        before, after = set(_claims(change.before)), set(_claims(change.after))
        found: dict[Key, None] = {}
        if change.kind == SERVICE:
            found[_key(change.after or change.before or {})] = None
        if before - after:
            found.update((_key(each), None) for each in sorted(filter(_is_waiting, world.list(SERVICE)), key=_rank))
        if before and after - before:  # written by hand, maybe over somebody's head
            found.update((_key(each), None) for each in world.list(SERVICE) if not after.isdisjoint(held(each)))
        return found

    def plan(self, key: Key, world: World) -> Plan:
        service = world.get(SERVICE, *key)
        if service is None:
            return NOTHING
        if self._serves(service):
            return self._ensure(service, world)
        return _release(service, world) if _is_ours(service) else NOTHING

    def _serves(self, service: Document) -> bool:
        if service["metadata"].get("deletionTimestamp") or not _is_load_balancer(service):
            return False
        wanted = service["spec"].get("loadBalancerClass")
        if wanted is not None:
            return bool(wanted == CLASS)
        return bool(self._pool.ranges) and (_is_ours(service) or all(self._is_in(each) for each in held(service)))

    def _is_in(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and address in self._pool

    def _ensure(self, service: Document, world: World) -> Plan:
        outcome = self._decide(service, world)
        writes = amend(SERVICE, service, _with(service, outcome, world.now))
        if not writes:
            return NOTHING
        reports = []
        if outcome.problem or list(outcome.addresses) != held(service):
            reports.append(Report(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer"))
        if list(outcome.addresses) != held(service) and outcome.addresses:
            reports.append(Report(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer"))
        if outcome.problem:
            message = f"Error syncing load balancer: failed to ensure load balancer: {outcome.problem.message}"
            reports.append(Report(service, "Warning", "SyncLoadBalancerFailed", message))
        return Plan(writes, tuple(reports))

    def _decide(self, service: Document, world: World) -> Outcome:
        if not self._pool.ranges:
            return Outcome((), Refused(Reason.NO_RANGE, "there is no pool; --load-balancer-pool of the controllers makes one"))
        kept = self._kept(service, world)
        asked = service["spec"].get("loadBalancerIP") or ""
        wanted = _parsed(asked) if asked else None
        families = _families(service)
        if asked and (wanted is None or wanted.version not in families):
            words = "is no IP address" if wanted is None else f"is not {_listed(families)}, as this service is"
            problem = Refused(Reason.NOT_VALID, f"spec.loadBalancerIP: {asked} {words}")
            return Outcome(tuple(str(kept[each]) for each in families if each in kept), problem)
        addresses: list[str] = []
        problems: list[Refused] = []
        for version in families:
            this = wanted if wanted and wanted.version == version else None
            found: Address | Refused | None = self._address(version, this, kept.get(version), service, world)
            if isinstance(found, Refused):
                problems.append(found)
                found = kept.get(version)
            if found:
                addresses.append(str(found))
        whole = "; ".join(each.message for each in problems)
        return Outcome(tuple(addresses), Refused(problems[0].reason, whole) if problems else None)

    def _address(
        self, version: int, asked: Address | None, kept: Address | None, service: Document, world: World
    ) -> Address | Refused:
        if kept and asked in (None, kept):
            return kept
        taken = dict(_taken(world, service, version))
        if not asked:
            return choose(self._pool.without(_service_ranges(world)), version, taken)
        for network in _service_ranges(world):
            if asked in network:
                return Refused(Reason.TAKEN, f"spec.loadBalancerIP: {asked} is in the service range {network}")
        found = ask(self._pool, asked, taken)
        return Refused(found.reason, f"spec.loadBalancerIP: {found.message}") if isinstance(found, Refused) else found

    def _kept(self, service: Document, world: World) -> dict[int, Address]:
        """By family, what the Service already has and may keep."""
        found: dict[int, Address] = {}
        elders: set[Address | None] | None = None
        for text in held(service):
            address = _parsed(text)
            if address is None or address not in self._pool or address.version in found:
                continue
            if elders is None:
                rank = _rank(service)
                elders = {_parsed(other) for each in world.list(SERVICE) if _rank(each) < rank for other in held(each)}
            if address not in elders:
                found[address.version] = address
        return found


def held(service: Document) -> list[str]:
    """The addresses in a load balancer's status, whoever wrote it; a hostname counts as one."""
    if not _is_load_balancer(service):
        return []
    ingress = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [each.get("ip") or each.get("hostname") or "" for each in ingress]


def _with(service: Document, outcome: Outcome, now: datetime) -> Document:
    """The Service as it should be: marked, guarded by the finalizer, with these addresses and this condition."""
    metadata, status = service["metadata"], service.get("status") or {}
    balancer = dict(status.get("loadBalancer") or {})
    before = {each.get("ip"): each for each in balancer.pop("ingress", None) or ()}
    if outcome.addresses:
        balancer["ingress"] = [{**before.get(each, {}), "ip": each, "ipMode": "VIP"} for each in outcome.addresses]
    finalizers = metadata.get("finalizers") or []
    problem = outcome.problem
    said = {
        "type": CONDITION,
        "status": "False" if problem else "True",
        "reason": problem.reason.value if problem else "EnsuredLoadBalancer",
        "message": problem.message if problem else "",
    }
    return {
        **service,
        "metadata": {
            **metadata,
            "annotations": {**(metadata.get("annotations") or {}), MARK: MARKED},
            "finalizers": finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER],
        },
        "status": {
            **status,
            "loadBalancer": balancer,
            "conditions": with_condition(status.get("conditions") or (), said, now),
        },
    }


def _release(service: Document, world: World) -> Plan:
    """Takes back what was given, and with it every trace. Another class's status and finalizer are left to that provider."""
    metadata, status = service["metadata"], service.get("status") or {}
    foreign = _is_load_balancer(service) and service["spec"].get("loadBalancerClass") not in (None, CLASS)
    finalizers = metadata.get("finalizers") or []
    kept = finalizers if foreign else [each for each in finalizers if each != FINALIZER]
    annotations = {name: value for name, value in (metadata.get("annotations") or {}).items() if name != MARK}
    without = {**status, "conditions": without_condition(status.get("conditions") or (), CONDITION) or None}
    if not foreign and held(service):
        without["loadBalancer"] = {}
    ends = bool(metadata.get("deletionTimestamp")) and not kept
    want = {
        **service,
        "metadata": {**metadata, "annotations": annotations or None, "finalizers": kept or None},
        "status": status if ends else without,  # with its last finalizer the object goes, and there is nothing to write to
    }
    reports = (
        Report(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer"),
        Report(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer"),
    )
    return Plan(amend(SERVICE, service, want), reports if FINALIZER in finalizers and not foreign else ())


def _key(document: Document) -> Key:
    return document["metadata"].get("namespace", ""), document["metadata"]["name"]


def _rank(service: Document) -> tuple[str, Key]:
    return service["metadata"].get("creationTimestamp", ""), _key(service)


def _is_load_balancer(service: Document) -> bool:
    return bool((service.get("spec") or {}).get("type") == "LoadBalancer")


def _is_ours(service: Document) -> bool:
    marked = (service["metadata"].get("annotations") or {}).get(MARK) == MARKED
    return marked or condition(service, CONDITION) is not None


def _is_waiting(service: Document) -> bool:
    said = condition(service, CONDITION)
    return said is not None and said["status"] == "False"


def _claims(document: Document | None) -> Iterator[str]:
    """What a Service, a Node or a ServiceCIDR keeps load balancers from having."""
    if document is None:
        return
    spec, status = document.get("spec") or {}, document.get("status") or {}
    yield from held(document)
    yield from spec.get("externalIPs") or ()
    yield from spec.get("cidrs") or ()
    yield from (each["address"] for each in status.get("addresses") or ())


def _taken(world: World, service: Document, version: int) -> Iterator[tuple[int, str]]:
    """Addresses of a family that others have, as numbers, and in words who."""
    key = _key(service)
    for node in world.list(NODE):
        for each in (node.get("status") or {}).get("addresses") or ():
            yield from _numbered(each["address"], version, f"the address of node {node['metadata']['name']}")
    for other in world.list(SERVICE):
        if _key(other) == key:
            continue
        for text in (other.get("spec") or {}).get("externalIPs") or ():
            yield from _numbered(text, version, f"an external IP of service {'/'.join(_key(other))}")
        for text in held(other):
            yield from _numbered(text, version, f"taken by service {'/'.join(_key(other))}")


def _numbered(text: str, version: int, holder: str) -> Iterator[tuple[int, str]]:
    address = _parsed(text)
    if address is not None and address.version == version:
        yield int(address), holder


def _service_ranges(world: World) -> list[Network]:
    """Cluster IPs come from here, those of tomorrow too."""
    return [ip_network(cidr) for each in world.list(SERVICE_CIDR) for cidr in (each.get("spec") or {}).get("cidrs") or ()]


def _families(service: Document) -> list[int]:
    """4 and 6, in the Service's order."""
    spec = service["spec"]
    named = [FAMILIES[each] for each in spec.get("ipFamilies") or () if each in FAMILIES]
    given = (_parsed(each) for each in spec.get("clusterIPs") or ())
    return named or [address.version for address in given if address] or [4]


def _listed(versions: Iterable[int]) -> str:
    return " or ".join(f"IPv{version}" for version in versions)


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
