"""Are the Service's addresses its own, of its families, and where they should be?"""

from collections.abc import Callable, Iterable, Iterator

from mooring.endpoints.addresses import contains, is_ipv6, readable
from mooring.model.node import node as node_view
from mooring.model.service import Service
from mooring.services import cluster_ip, external_ip, load_balancer
from mooring.services.locality import locality, options_of
from mooring.services.problems.problem import Case, Problem, Severity
from mooring.services.problems.ranges import service_ranges
from mooring.services.problems.words import are, listing, place, verb
from mooring.services.proxied import is_proxied
from mooring.services.view import Family, ServiceName

Claim = tuple[str, int, str]
"""(address, port, protocol)"""


def contested(case: Case) -> Iterator[Problem]:
    """Frontends that several Services claim: the first by namespace and name has them, wholly."""
    rivals = [each for each in case.rivals if is_proxied(each)]
    if not rivals or not is_proxied(case.service):
        return
    parties = [case.service, *rivals]
    disputable = frozenset(address for each in parties for address in external_addresses(each))
    nodes = _node_port_addresses(case) & disputable
    mine = claims(case.service, nodes)
    against: dict[ServiceName, list[Claim]] = {}
    for rival in rivals:
        shared = [claim for claim in mine if claim in claims(rival, nodes)]
        if shared:
            against[_key(rival)] = shared
    if not against:
        return
    lost = [claim for claim in mine if any(name < case.key and claim in shared for name, shared in against.items())]
    if lost:
        holder = min(name for name, shared in against.items() if name < case.key)
        where = listing(place(*claim) for claim in lost)
        sentence = (
            f"{where} {verb(lost, 'belongs', 'belong')} to service/{holder[1]} in {holder[0]} too, which gets all of it: "
            "of several Services the first by namespace and name"
        )
        fix = "give one of them another address or port"
        yield case.problem("AddressConflict", Severity.BROKEN, mine[lost[0]], sentence, fix)
    else:
        shared = sorted({claim for each in against.values() for claim in each})
        losers = listing(f"service/{name} in {namespace}" for namespace, name in sorted(against))
        sentence = (
            f"{listing(place(*claim) for claim in shared)} is claimed by {losers} too, which {verb(against, 'gets', 'get')} "
            "nothing: of several Services the first by namespace and name has it all"
        )
        fix = "give one of them another address or port"
        yield case.problem("AddressShared", Severity.WARNING, mine[shared[0]], sentence, fix)


def claims(service: Service, node_addresses: Iterable[str]) -> dict[Claim, str]:
    """Every frontend that a Service means to have, with the field that says so. Node ports at these addresses only."""
    found: dict[Claim, str] = {}
    for family in Family:
        cluster = cluster_ip.addresses(service, family)
        if not cluster:
            continue
        for number, port in enumerate(service.spec.ports or ()):
            for address in cluster:
                found.setdefault((address, port.port, port.protocol), "spec.clusterIPs")
            for address in node_addresses if port.node_port else ():
                if is_ipv6(address) is (family is Family.IPV6):
                    found.setdefault((address, port.node_port, port.protocol), f"spec.ports[{number}].nodePort")
            for address in load_balancer.addresses(service, family):
                found.setdefault((address, port.port, port.protocol), "status.loadBalancer.ingress")
            for address in external_ip.leadable(service.spec.external_ips or (), family):
                found.setdefault((address, port.port, port.protocol), "spec.externalIPs")
    return found


def external_addresses(service: Service) -> frozenset[str]:
    """Addresses that somebody outside the cluster's own ranges gave it."""
    ingress = service.status.load_balancer.ingress or ()
    return frozenset(readable((*(service.spec.external_ips or ()), *(each.ip for each in ingress if each.ip))))


def _node_port_addresses(case: Case) -> frozenset[str]:
    """Where the nodes answer node ports; a Node that its own agent could not read answers nowhere."""
    found: set[str] = set()
    for document in case.nodes:
        try:
            view = node_view(document)
            found.update(locality(view, options_of(view)).node_port_addresses)
        except ValueError:
            continue
    return frozenset(found)


def _key(service: Service) -> ServiceName:
    return service.metadata.namespace, service.metadata.name


# Each address by itself -----------------------------------------------------------------------------------------------------


def external_ips(case: Case) -> Iterator[Problem]:
    """Whoever may write a Service can take any address with externalIPs: CVE-2020-8554, KEP-5707."""
    written = case.service.spec.external_ips or ()
    if not written or not is_proxied(case.service):
        return
    field, addresses = "spec.externalIPs", readable(written)
    sentence = (
        "spec.externalIPs is deprecated in v1.36+: whoever may write Services can take any address with it (CVE-2020-8554)"
    )
    fix = "use type LoadBalancer with a provider of addresses, or a Gateway"
    yield case.problem("ExternalIPsDeprecated", Severity.NOTE, field, sentence, fix)
    inside = [each for each in addresses if any(contains(cidr, each) for cidr in service_ranges(case.service_cidrs))]
    if inside:
        sentence = (
            f"{listing(inside)} {are(inside)} in the cluster's service range: another Service can get that "
            "address as its cluster IP any time"
        )
        fix = "choose an address outside all ServiceCIDRs"
        yield case.problem("ExternalIPInServiceRange", Severity.WARNING, field, sentence, fix)
    owners = _owners(case)
    taken = [each for each in addresses if each in owners]
    if taken:
        ports = listing(sorted({f"{port.port}/{port.protocol}" for port in case.service.spec.ports or ()}))
        whose = listing(f"{each} ({owners[each]})" for each in taken)
        sentence = f"{whose} {are(taken)} a node's own: what listens there on {ports} can no longer be reached, from any node"
        fix = "choose an address that no node has, or a node port"
        yield case.problem("ExternalIPIsNodeAddress", Severity.WARNING, field, sentence, fix)
    unused = [each for each in written if not _served(case.service, each)]
    if unused:
        sentence = (
            f"{listing(unused)} {are(unused)} not answered: not of the Service's families, or no address that a "
            "network can lead to a node"
        )
        fix = "add the family to spec.ipFamilies, or correct the address"
        yield case.problem("ExternalIPNotServed", Severity.WARNING, field, sentence, fix)


def _owners(case: Case) -> dict[str, str]:
    """Nodes by their addresses."""
    found = {}
    for node in case.nodes:
        for each in (node.get("status") or {}).get("addresses") or ():
            for address in readable([each.get("address", "")]) if each.get("type") in ("InternalIP", "ExternalIP") else ():
                found[address] = f"node/{node['metadata']['name']}"
    return found


def _served(service: Service, address: str) -> bool:
    return any(external_ip.leadable([address], family) for family in Family if cluster_ip.addresses(service, family))


def service_cidrs(case: Case) -> Iterator[Problem]:
    """Each cluster IP must be in a ServiceCIDR that stays."""
    if not case.service_cidrs or case.service.spec.type == "ExternalName":
        return
    ranges = service_ranges(case.service_cidrs)
    staying = service_ranges(each for each in case.service_cidrs if not each["metadata"].get("deletionTimestamp"))
    for address in cluster_ip.all_addresses(case.service):
        family, field = "IPv6" if is_ipv6(address) else "IPv4", "spec.clusterIPs"
        if not any(contains(cidr, address) for cidr in ranges):
            sentence = f"Cluster IP [{family}]: {address} is not within any configured Service CIDR; please recreate service"
            fix = "delete the Service and make it again, or add a ServiceCIDR that holds the address"
            yield case.problem("ClusterIPOutOfRange", Severity.WARNING, field, sentence, fix)
        elif not any(contains(cidr, address) for cidr in staying):
            sentence = f"{address} is only in a ServiceCIDR that is being deleted; this Service keeps it from going"
            fix = "recreate the Service to get an address of another range, or add a ServiceCIDR that holds this one"
            yield case.problem("ServiceCIDRTerminating", Severity.WARNING, field, sentence, fix)


def single_family(case: Case) -> Iterator[Problem]:
    """PreferDualStack takes what there is when the Service is made, and is never upgraded by itself."""
    spec = case.service.spec
    if spec.ip_family_policy != "PreferDualStack" or len(spec.ip_families or ()) != 1:
        return
    [family] = spec.ip_families or ("",)
    other = "IPv4" if family == "IPv6" else "IPv6"
    sentence = f"PreferDualStack, and it got {family} only"
    known = case.service_cidrs is not None and any(
        is_ipv6(cidr) is (other == "IPv6") for cidr in service_ranges(case.service_cidrs)
    )
    if known:
        sentence += f": the cluster's {other} range came later, and a Service is never upgraded by itself"
        fix = f"set spec.ipFamilies to [{family}, {other}]"
    else:
        sentence += f": the cluster has no {other} service range"
        fix = f"add a ServiceCIDR of {other} and name both families in spec.ipFamilies, or be content with {family}"
    yield case.problem("SingleFamily", Severity.NOTE, "spec.ipFamilyPolicy", sentence, fix)


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (contested, external_ips, service_cidrs, single_family)
