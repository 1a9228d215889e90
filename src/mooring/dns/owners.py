"""Which names does each object give which records? The Zone the other way round: every owner name there is, object by object.

`answer` starts from a name, this from the objects; a property test holds the two to each other. The table that workers answer
from and zone transfers are made from here: when an object changes, `changed` says what stands at each name that it touched.

    everything(zone)        every name once, with what stands there
    changed(zone, change)   the names that one change touched, with what stands there now: None for nothing
    whole(zone, name)       what stands at one name; for apexes after each change, since their SOA has the new serial

A name that nobody gives to takes the word of its closest encloser, the longest of its ancestors that is there: it does not
exist (NXDOMAIN, with the SOA of the nearest apex above), or, where `Asks.BELOW` is set there, only the agent knows.

Most names have one giver. Those of reverse zones and of the zone for the outside may have several (`Given.shared`): `whole`
says what they give together, by the Zone's index of who gives to what (dns/shared.py).
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct, structs

from mooring.dns.addresses import address_of, reverse_name
from mooring.dns.given import EMPTY, SHARED_EMPTY, Rank, ingress_owners, outside_owners, pointer_owners
from mooring.dns.given import Asks as Asks
from mooring.dns.given import Given as Given
from mooring.dns.given import Owners as Owners
from mooring.dns.given import owners as owners
from mooring.dns.layout import Layout, layout
from mooring.dns.names import Name
from mooring.dns.records import Record, Type, soa, txt
from mooring.dns.rrsets import RRset as RRset
from mooring.dns.rrsets import address_record, address_sets, alias_target
from mooring.dns.shared import index, index_of, ingress_names
from mooring.dns.zone import SPECIFICATION, Giver, PublishedIngress, Source, Zone, ZoneOptions, giver_of
from mooring.services.names import PublishedService
from mooring.services.view import ServiceName

VERSION_TTL = 28800
"""Seconds; the specification's example, and CoreDNS's."""


class Change(Struct, frozen=True):
    """An object came (`before` None), changed or went (`after` None). `key`: its namespace and name."""

    key: ServiceName
    before: Source | None
    after: Source | None


def visible(options: ZoneOptions, source: Source | None) -> object:
    """What of it shows in names: never equal where `owners` are not. Cheaper than those to compare."""
    within = layout(options)
    match source:
        case PublishedService():
            external = source.external
            if not within.external:
                external = tuple([each for each in external if within.reverse_apex(reverse_name(each)) is not None])
            hosts = tuple(source.external_hosts[:1]) if within.external and not external else ()
            alias = alias_target(source.alias) if source.alias else b""
            exists = alias is not None and source.exists
            ports = source.ports if source.addresses or (within.external and external) else ()
            inside = (source.addresses, source.endpoints, alias) if exists else ()
            return (inside, ports, external, hosts) if inside or external or hosts else None
        case PublishedIngress():
            names = ingress_names(within, source) if within.external else []
            return (names, source.addresses or source.aliases[:1]) if names else None
    return source


def zone_owners(zone: Zone) -> Owners:
    """What is there without any object: the apex of each zone (SOA with the serial, NS), the roots of Services and of pods,
    the version, this server's name. They change with `zone.serial` and the options alone.
    """
    within = layout(zone.options)
    names = [within.services, within.pods, b"\x0bdns-version" + within.domain, *within.apexes]
    for home in (within.domain, within.external):
        if home:
            names += [b"\3dns" + home, nameserver_of(home)]
    return {name: given for name in names if (given := zone_given(zone, name)) is not None}


def zone_given(zone: Zone, name: Name) -> Given | None:
    """The same for one name in lower case."""
    within, ttl = layout(zone.options), zone.options.ttl
    apex = within.apex(name)
    if apex is None:
        return None
    shared, home = apex != within.domain, _home(within, apex)
    nameserver = nameserver_of(home)
    if name == apex:
        glue = tuple([address_record(nameserver, ttl, each) for each in zone.options.addresses])
        return Given((RRset(Type.NS, ttl, (nameserver,), glue), _alone(apex_soa(zone, apex))), shared=shared)
    if home != apex:
        return None
    if name == nameserver:
        return Given(address_sets(ttl, zone.options.addresses), shared=shared)
    if name == b"\3dns" + apex:
        return Given(shared=shared)
    if name in (within.services, within.pods):
        return EMPTY
    if name == b"\x0bdns-version" + within.domain:
        return Given((_alone(txt(b"\0", VERSION_TTL, SPECIFICATION)),))
    return None


def _home(within: Layout, apex: Name) -> Name:
    """The zone with the nameserver of a zone: reverse zones have none of their own."""
    return within.external if apex == within.external else within.domain


def apexes(options: ZoneOptions) -> tuple[Name, ...]:
    """Of each zone of ours, in lower case: the cluster's, the outside's, reverse zones."""
    return layout(options).apexes


def apex_soa(zone: Zone, apex: Name) -> Record:
    """The SOA record of one of our zones."""
    home = _home(layout(zone.options), apex)
    return soa(apex, zone.options.ttl, nameserver_of(home), b"\x0ahostmaster" + home, zone.serial)


def nameserver_of(domain: Name) -> Name:
    """CoreDNS's name for itself."""
    return b"\2ns\3dns" + domain


def everything(zone: Zone) -> Iterator[tuple[Name, Given]]:
    """Every name once, with all that stands there; in no order."""
    zone = _indexed(zone)
    own = zone_owners(zone)
    seen = set()
    for name, given in own.items():
        yield name, (whole(zone, name) or given) if given.shared else given
    for key, source in zone.sources():
        for name, given in owners(zone.options, key, source).items():
            if name in own or name in seen:
                continue
            if given.shared and not _alone_at(zone, name, key, source):
                seen.add(name)
                yield name, whole(zone, name) or given
            else:
                yield name, given


def changed(zone: Zone, change: Change) -> Iterator[tuple[Name, Given | None]]:
    """What stands at each name that a change touched, in the Zone after it; None: nothing any more."""
    before = owners(zone.options, change.key, change.before)
    after = owners(zone.options, change.key, change.after)
    zone = _indexed(zone)
    for name, given in after.items():
        if before.get(name) != given:
            if given.shared and not _alone_at(zone, name, change.key, change.after):
                yield name, whole(zone, name)
            else:
                yield name, given
    for name, given in before.items():
        if name not in after:
            yield name, whole(zone, name) if given.shared else None


def whole(zone: Zone, name: Name) -> Given | None:
    """All that anybody gives to an apex or a shared name (in lower case), or None. Quick: it looks at its givers alone."""
    index_ = index_of(zone)
    givers = index_.get(name)
    found = [given for giver in givers or () if (given := given_by(zone, giver, name)) is not None]
    beside = zone_given(zone, name)
    if beside is not None:
        found.append(beside)
    if not found and givers is None:
        return None
    return _merged(found, Asks.BELOW if index_.get(b"\1*" + name) else Asks.NOTHING)


def given_by(zone: Zone, giver: Giver, name: Name) -> Given | None:
    """What one object gives to one shared name."""
    within, ttl, source = layout(zone.options), zone.options.ttl, zone.source(giver)
    match source:
        case PublishedService() if within.external and within.apex(name) == within.external:
            return outside_owners(within, ttl, giver.key, source).get(name)
        case PublishedService():
            address = address_of(name)
            return None if address is None else pointer_owners(within, ttl, giver.key, source, address).get(name)
        case PublishedIngress():
            return ingress_owners(within, ttl, source).get(name)
    return SHARED_EMPTY


def _alone_at(zone: Zone, name: Name, key: ServiceName, source: Source | None) -> bool:
    """Whether nobody but this object gives to a name of a reverse zone, so that there is nothing to merge."""
    if source is None or index_of(zone).get(name) != (giver_of(key, source),):
        return False
    within = layout(zone.options)
    return within.apex(name) not in (name, within.external)


def _indexed(zone: Zone) -> Zone:
    return zone if zone.shared is not None else structs.replace(zone, shared=index(zone))


def _merged(given: Sequence[Given], asks: Asks) -> Given:
    """What stands BESIDE, and of the others those of the lowest rank. An alias stands alone (RFC 1034 section 3.6.2): it gives
    way to records of the zone itself, and of several the first is taken.
    """
    sets = {each.type: each for it in given if it.rank is Rank.BESIDE for each in it.rrsets}
    others = [it for it in given if it.rank is not Rank.BESIDE]
    first = min((it.rank for it in others), default=Rank.BESIDE)
    own = set(sets)
    for it in others:
        if it.rank is not first or (sets and (it.asks & Asks.SELF or Type.CNAME in sets)):
            continue
        asks |= it.asks & Asks.SELF
        for each in it.rrsets:
            if each.type not in own:
                sets[each.type] = _union(sets[each.type], each) if each.type in sets else each
    return Given(tuple([sets[kind] for kind in sorted(sets)]), first, asks, shared=True)


def _union(one: RRset, other: RRset) -> RRset:
    additional = tuple(dict.fromkeys((*one.additional, *other.additional)))
    return RRset(one.type, one.ttl, tuple(sorted({*one.data, *other.data})), additional)


def _alone(record: Record) -> RRset:
    return RRset(record.type, record.ttl, (record.data,))
