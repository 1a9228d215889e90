"""Which records does one object give, to which names? A Service, an Ingress or a Namespace by itself, as if it were alone."""

from collections.abc import Sequence
from enum import Flag, IntEnum

from msgspec import Struct, structs

from mooring.dns.addresses import reverse_name
from mooring.dns.layout import Layout, layout
from mooring.dns.names import NAME_LIMIT, BadName, Name
from mooring.dns.records import Type
from mooring.dns.rrsets import RRset as RRset
from mooring.dns.rrsets import Target, address_record, address_sets, alias_target, own_addresses, srv_set, srv_targets
from mooring.dns.shared import ingress_names, label, outer_name, port_name, port_names, service_name
from mooring.dns.zone import PodNames, PublishedIngress, PublishedNamespace, Source, ZoneOptions
from mooring.services.names import PublishedService
from mooring.services.view import ServiceName


class Rank(IntEnum):
    """Of several givers to one name only those of the lowest rank count; what stands BESIDE counts always."""

    BESIDE = 0
    """A zone's own records, and names with nothing of their own."""
    FIRST = 1
    """Cluster IPs; hosts of Ingresses."""
    SECOND = 2
    """Endpoints; Services in the zone for the outside."""
    THIRD = 3
    """Addresses for the outside, as PTR."""


class Asks(Flag):
    """Where the table has no answer, only the agent has."""

    NOTHING = 0
    SELF = 1
    """The name itself, whatever the type: an alias, whose target must be asked. The CNAME is among the rrsets."""
    BELOW = 2
    """Names below it that nobody gives to: made up on demand (addresses of pods), or covered by a wildcard."""


class Given(Struct, frozen=True, gc=False):
    """What one object gives to one name, or all of them together. No rrsets: an empty non-terminal, always NODATA.

    rrsets are sorted by type, one for each. A question of another type (but ANY) is answered by NODATA, unless the name asks.
    """

    rrsets: tuple[RRset, ...] = ()
    rank: Rank = Rank.BESIDE
    asks: Asks = Asks.NOTHING
    shared: bool = False
    """Others may give to this name too."""


Owners = dict[Name, Given]
"""By name in lower case."""
EMPTY, SHARED_EMPTY = Given(), Given(shared=True)


def owners(options: ZoneOptions, key: ServiceName, source: Source | None) -> Owners:
    """All that one object gives; nothing when there is none."""
    within = layout(options)
    match source:
        case PublishedService():
            found = _service(within, options.ttl, key, source)
            found.update(pointer_owners(within, options.ttl, key, source))
            if within.external and (source.external or source.external_hosts):
                found.update(outside_owners(within, options.ttl, key, source))
            return found
        case PublishedIngress():
            return ingress_owners(within, options.ttl, source)
        case PublishedNamespace():
            return _namespace(within, options, key[1])
    return {}


def _namespace(within: Layout, options: ZoneOptions, namespace: str) -> Owners:
    own = label(namespace)
    found = {own + within.services: EMPTY}
    if options.pods is not PodNames.DISABLED:
        found[own + within.pods] = Given(asks=Asks.BELOW)
    if within.external and within.apex(own + within.external) == within.external:
        found[own + within.external] = SHARED_EMPTY
    return found


def _service(within: Layout, ttl: int, key: ServiceName, source: PublishedService) -> Owners:
    """In the cluster's zone."""
    try:
        base = service_name(within, key)
    except BadName:
        return {}
    if source.alias:
        target = alias_target(source.alias)
        return {} if target is None else {base: Given((RRset(Type.CNAME, ttl, (target,)),), asks=Asks.SELF)}
    if not source.exists:
        return {}
    found: Owners = {}
    hosts: dict[Name, list[str]] = {}
    for each in source.endpoints:
        hosts.setdefault(label(each.host) + base, []).append(each.address)
    for name, addresses in hosts.items():
        if len(name) <= NAME_LIMIT:
            found[name] = Given(address_sets(ttl, addresses))
    everywhere = []
    by_port: dict[tuple[str, str], list[Target]] = {}
    for port, end in srv_targets(base, ttl, source):
        everywhere.append(end)
        if port.name:
            by_port.setdefault((port.name, port.protocol), []).append(end)
    for (name_, protocol), targets in by_port.items():
        if (full := port_name(base, name_, protocol)) is not None:
            found[full] = Given(srv_set(ttl, targets))
            found[label(f"_{protocol}") + base] = EMPTY
    found[base] = Given((*address_sets(ttl, own_addresses(source)), *srv_set(ttl, everywhere)))
    return found


def pointer_owners(within: Layout, ttl: int, key: ServiceName, source: PublishedService, only: str = "") -> Owners:
    """In reverse zones: of all addresses, or only of one."""
    if not within.reverse:
        return {}
    try:
        base = service_name(within, key)
    except BadName:
        return {}
    outer = outer_name(within, key) or base
    ranked: dict[str, tuple[Rank, list[Name]]] = {each: (Rank.THIRD, [outer]) for each in source.external}
    for each in source.endpoints:
        rank, targets = ranked.get(each.address, (Rank.THIRD, []))
        if only and each.address != only:
            continue
        full = label(each.host) + base
        ranked[each.address] = (
            Rank.SECOND,
            [*(targets if rank is Rank.SECOND else ()), full if len(full) <= NAME_LIMIT else base],
        )
    ranked |= {each: (Rank.FIRST, [base]) for each in source.addresses}
    found: Owners = {}
    for address, (rank, targets) in ranked.items():
        name = reverse_name(address)
        if (only and address != only) or (apex := within.reverse_apex(name)) is None:
            continue
        data = tuple(sorted(set(targets))) if len(targets) > 1 else tuple(targets)
        found[name] = Given((RRset(Type.PTR, ttl, data),), rank, shared=True)
        _fill(found, name, apex)
    return found


def outside_owners(within: Layout, ttl: int, key: ServiceName, source: PublishedService) -> Owners:
    """In the zone for the outside: addresses, or else the first balancer's name, as an alias."""
    outer = outer_name(within, key)
    if outer is None or not (source.external or source.external_hosts):
        return {}
    if not source.external:
        found = {outer: _alias(ttl, source.external_hosts, Rank.SECOND)}
    else:
        addresses = [address_record(outer, ttl, each) for each in source.external]
        targets = [(port, Target(outer, each, port.port)) for port in source.ports for each in addresses]
        every = srv_set(ttl, [target for _, target in targets])
        found = {outer: Given((*address_sets(ttl, source.external), *every), Rank.SECOND, shared=True)}
        for name in port_names(outer, source):
            own = [target for port, target in targets if port_name(outer, port.name, port.protocol) == name]
            found[name] = Given(srv_set(ttl, own), Rank.SECOND, shared=True)
    for name in list(found):
        _fill(found, name, within.external)
    return found


def ingress_owners(within: Layout, ttl: int, source: PublishedIngress) -> Owners:
    """Its hosts in the zone for the outside. A name above a wildcard leaves what is below it to the agent (RFC 4592)."""
    found: Owners = {}
    names = ingress_names(within, source)
    if not names:
        return found
    given = (
        Given(address_sets(ttl, source.addresses), Rank.FIRST, shared=True)
        if source.addresses
        else _alias(ttl, source.aliases, Rank.FIRST)
    )
    for name in names:
        found[name] = given
    for name in names:
        _fill(found, name, within.external)
    for name in names:
        if name.startswith(b"\1*"):
            above = name[2:]
            found[above] = structs.replace(
                found.get(above, SHARED_EMPTY), asks=found.get(above, SHARED_EMPTY).asks | Asks.BELOW
            )
    return found


def _alias(ttl: int, hosts: Sequence[str], rank: Rank) -> Given:
    """What is no name leads nowhere: then there are no records."""
    target = alias_target(hosts[0])
    if target is None:
        return Given((), rank, shared=True)
    return Given((RRset(Type.CNAME, ttl, (target,)),), rank, Asks.SELF, shared=True)


def _fill(found: Owners, name: Name, apex: Name) -> None:
    """Names between a name and its apex, which have nothing of their own."""
    while len(name := name[1 + name[0] :]) > len(apex) and name not in found:
        found[name] = SHARED_EMPTY
