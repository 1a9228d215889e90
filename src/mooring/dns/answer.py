"""What is the answer to a question? A pure function of the Zone, as CoreDNS's kubernetes plugin decides.

A name that exists but has no record of the asked type is NODATA (NOERROR with the SOA); a name that does not exist is NXDOMAIN.
A Service without addresses (headless without ready endpoints) does not exist; a ClusterIP always does. A name that has others
below it exists (RFC 8020). docs/reference/dns.md has every record, and where this differs from CoreDNS on purpose.
"""

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct

from mooring.dns.addresses import pod_address
from mooring.dns.given import Given, Rank
from mooring.dns.layout import Layout, layout, parents
from mooring.dns.names import BadName, ClusterName, Name, Shape, parse
from mooring.dns.owners import apex_soa, given_by, whole, zone_given
from mooring.dns.records import Question, Rcode, Reply, Type
from mooring.dns.rrsets import RRset, address_sets, alias_target, own_addresses, srv_set, srv_targets
from mooring.dns.shared import index_of, port_name, service_name
from mooring.dns.zone import Giver, PodNames, Zone
from mooring.services.names import PublishedService


class Reason(Enum):
    """Why a name has the records it has, or does not exist; the value is the sentence a person reads."""

    ELSEWHERE = "the name is in none of the cluster's zones"
    NOT_SYNCED = "the name is not known, but not all of the cluster has been read yet"
    APEX = "the name is the top of a zone"
    VERSION = "the name tells the version of the specification"
    NAMESERVER = "the name is this server's own"
    BETWEEN = "the name has no records of its own, but there are names below it"
    NAMESPACE = "the Namespace exists, and has no records of its own"
    CLUSTER_IP = "the Service has a cluster IP"
    READY_ENDPOINTS = "the Service is headless, and its ready endpoints are the answer"
    NO_READY_ENDPOINTS = "the Service is headless, and none of its endpoints is ready"
    ALIAS = "the Service is an alias (ExternalName)"
    NO_ALIAS = "the Service is an alias (ExternalName) of something that is no name"
    ENDPOINT = "a ready endpoint of the Service has this name"
    NO_ENDPOINT = "no ready endpoint of the Service has this name"
    PORT = "the Service has a port of this name and protocol"
    NO_PORT = "the Service has no port of this name and protocol"
    NO_NAMESPACE = "there is no such Namespace"
    NO_SERVICE = "the Namespace has no such Service"
    ANY_POD = "pod names are insecure: any address is answered, in a Namespace that exists"
    POD = "pod names are verified: a pod of the Namespace has this address"
    NO_POD = "pod names are verified: no pod of the Namespace has this address"
    NO_ADDRESS = "the name of a pod is its address with dashes, and this is none"
    PODS_DISABLED = "pod names are disabled"
    POINTER_CLUSTER_IP = "the address is a Service's cluster IP"
    POINTER_ENDPOINT = "the address is that of a ready endpoint"
    POINTER_OUTSIDE = "the address leads to a Service from outside"
    NO_POINTER = "no Service has this address"
    HOST = "the name is a host of an Ingress, and leads to its load balancer"
    OUTSIDE = "the Service is reached from outside by this name"
    NO_OUTSIDE = "no Ingress has this host, and no Service of this name is reached from outside"
    NO_SHAPE = "no name in the cluster is built like this"


class Found(Struct, frozen=True):
    """`reply` with all its sections. `owner` is the object that decided, if one did.

    `alias`: where a CNAME in the answer leads, when the question goes on there: whoever answers must ask for that.
    """

    reply: Reply
    reason: Reason
    owner: Giver | None = None
    alias: Name | None = None


class _Place(Struct, frozen=True):
    """What stands at a name, of the asked type and CNAME at least; `exists` False for nothing."""

    reason: Reason
    owner: Giver | None = None
    rrsets: tuple[RRset, ...] = ()
    exists: bool = True


def answer(zone: Zone, question: Question) -> Found:
    """For a question of class IN. ANY is not understood here (RFC 8482 is a matter of the chain): NODATA where the name exists.

    A name in none of our zones is REFUSED, with Reason.ELSEWHERE: others may know.
    """
    name, within = question.name.lower(), layout(zone.options)
    apex = within.apex(name)
    if apex is None:
        return Found(Reply(Rcode.REFUSED), Reason.ELSEWHERE)
    place = _in_cluster(zone, within, name, question.type) if apex == within.domain else _elsewhere(zone, name, apex)
    return _found(zone, question, apex, place)


def _found(zone: Zone, question: Question, apex: Name, place: _Place) -> Found:
    if not place.exists and not zone.synced:
        return Found(Reply(Rcode.SERVFAIL), Reason.NOT_SYNCED, place.owner)
    sets = {each.type: each for each in place.rrsets}
    if (cname := sets.get(Type.CNAME)) is not None:
        alias = None if question.type == Type.CNAME else cname.data[0]
        return Found(Reply(Rcode.NOERROR, cname.records(question.name), authoritative=True), place.reason, place.owner, alias)
    if (chosen := sets.get(question.type)) is not None:
        records = chosen.records(question.name)
        shuffle = len(records) > 1 and question.type in (Type.A, Type.AAAA)
        reply = Reply(Rcode.NOERROR, records, additional=chosen.additional, authoritative=True, shuffle=shuffle)
        return Found(reply, place.reason, place.owner)
    rcode = Rcode.NOERROR if place.exists else Rcode.NXDOMAIN
    return Found(Reply(rcode, authority=(apex_soa(zone, apex),), authoritative=True), place.reason, place.owner)


# In the cluster's zone ------------------------------------------------------------------------------------------------------

_OWN = {
    Shape.APEX: Reason.APEX,
    Shape.DNS_VERSION: Reason.VERSION,
    Shape.NAMESERVER: Reason.NAMESERVER,
    Shape.NAMESERVER_PARENT: Reason.BETWEEN,
    Shape.SERVICES: Reason.BETWEEN,
    Shape.PODS: Reason.BETWEEN,
}


def _in_cluster(zone: Zone, within: Layout, name: Name, wanted: int) -> _Place:
    parsed = parse(name, within.domain)
    if parsed.shape in _OWN:
        given = zone_given(zone, name) or Given()
        return _Place(_OWN[parsed.shape], None, given.rrsets)
    match parsed.shape:
        case Shape.NAMESPACE:
            return _namespace(zone, parsed)
        case Shape.POD_NAMESPACE | Shape.POD:
            return _pod(zone, parsed)
        case Shape.SERVICE | Shape.ENDPOINT | Shape.PROTOCOL | Shape.PORT:
            return _of_service(zone, within, parsed, wanted)
    return _Place(Reason.NO_SHAPE, exists=False)


def _namespace(zone: Zone, parsed: ClusterName) -> _Place:
    if parsed.namespace in zone.namespaces:
        return _Place(Reason.NAMESPACE, Giver("Namespace", "", parsed.namespace))
    return _Place(Reason.NO_NAMESPACE, exists=False)


def _pod(zone: Zone, parsed: ClusterName) -> _Place:
    if zone.options.pods is PodNames.DISABLED:
        return _Place(Reason.PODS_DISABLED, exists=False)
    namespace = _namespace(zone, parsed)
    if parsed.shape is Shape.POD_NAMESPACE or not namespace.exists:
        return namespace
    address = pod_address(parsed.host)
    if address is None:
        return _Place(Reason.NO_ADDRESS, exists=False)
    verified = zone.options.pods is PodNames.VERIFIED
    if verified and address not in zone.pods.get(parsed.namespace, ()):
        return _Place(Reason.NO_POD, exists=False)
    return _Place(Reason.POD if verified else Reason.ANY_POD, namespace.owner, address_sets(zone.options.ttl, (address,)))


def _of_service(zone: Zone, within: Layout, parsed: ClusterName, wanted: int) -> _Place:
    key = (parsed.namespace, parsed.service)
    source = zone.services.get(key)
    if source is None:
        reason = Reason.NO_SERVICE if parsed.namespace in zone.namespaces else Reason.NO_NAMESPACE
        return _Place(reason, exists=False)
    owner = Giver("Service", *key)
    try:
        base = service_name(within, key)
    except BadName:
        return _Place(Reason.NO_SHAPE, owner, exists=False)
    if source.alias:
        return _of_alias(zone, parsed, source, owner)
    if not source.exists:
        return _Place(Reason.NO_READY_ENDPOINTS, owner, exists=False)
    ttl = zone.options.ttl
    match parsed.shape:
        case Shape.SERVICE:
            sets: tuple[RRset, ...] = address_sets(ttl, own_addresses(source))
            if wanted == Type.SRV:
                sets = srv_set(ttl, [end for _, end in srv_targets(base, ttl, source)])
            return _Place(Reason.READY_ENDPOINTS if source.headless else Reason.CLUSTER_IP, owner, sets)
        case Shape.ENDPOINT:
            addresses = [each.address for each in source.endpoints if each.host == parsed.host]
            return _Place(Reason.ENDPOINT, owner, address_sets(ttl, addresses)) if addresses else _absent(owner, parsed)
    ports = [
        (port, end)
        for port, end in srv_targets(base, ttl, source)
        if port.name and port.protocol == parsed.protocol and port_name(base, port.name, port.protocol) is not None
    ]
    if parsed.shape is Shape.PROTOCOL:
        return _Place(Reason.BETWEEN, owner) if ports else _absent(owner, parsed)
    ends = [end for port, end in ports if port.name == parsed.port]
    return _Place(Reason.PORT, owner, srv_set(ttl, ends)) if ends else _absent(owner, parsed)


def _absent(owner: Giver, parsed: ClusterName) -> _Place:
    return _Place(Reason.NO_ENDPOINT if parsed.shape is Shape.ENDPOINT else Reason.NO_PORT, owner, exists=False)


def _of_alias(zone: Zone, parsed: ClusterName, source: PublishedService, owner: Giver) -> _Place:
    """Names below an alias do not exist."""
    target = alias_target(source.alias)
    if target is None:
        return _Place(Reason.NO_ALIAS, owner, exists=False)
    if parsed.shape is not Shape.SERVICE:
        return _absent(owner, parsed)
    return _Place(Reason.ALIAS, owner, (RRset(Type.CNAME, zone.options.ttl, (target,)),))


# In reverse zones and in that for the outside ------------------------------------------------------------------------------

_POINTERS = {
    Rank.FIRST: Reason.POINTER_CLUSTER_IP,
    Rank.SECOND: Reason.POINTER_ENDPOINT,
    Rank.THIRD: Reason.POINTER_OUTSIDE,
}


def _elsewhere(zone: Zone, name: Name, apex: Name) -> _Place:
    outside = apex == layout(zone.options).external
    given = whole(zone, name)
    if given is None and outside:
        name, given = _wildcard(zone, name, apex)
    if given is None:
        return _Place(Reason.NO_OUTSIDE if outside else Reason.NO_POINTER, exists=False)
    own = zone_given(zone, name)
    if given.rank is Rank.BESIDE:
        if own is not None:
            return _Place(
                Reason.APEX if name == apex else Reason.NAMESERVER if own.rrsets else Reason.BETWEEN, None, given.rrsets
            )
        return _Place(Reason.BETWEEN)
    owner = _giver(zone, name, given.rank)
    if not outside:
        reason = _POINTERS[given.rank]
    else:
        reason = Reason.HOST if given.rank is Rank.FIRST else Reason.OUTSIDE
    return _Place(reason, owner, given.rrsets)


def _wildcard(zone: Zone, name: Name, apex: Name) -> tuple[Name, Given | None]:
    """What covers a name that is not there: the wildcard right below its closest encloser (RFC 4592)."""
    for above in parents(name):
        if above == apex or whole(zone, above) is not None:
            return b"\1*" + above, whole(zone, b"\1*" + above)
    return name, None


def _giver(zone: Zone, name: Name, rank: Rank) -> Giver | None:
    """The first that counts."""
    givers: Iterable[Giver] = index_of(zone).get(name) or ()
    return next((each for each in givers if (given := given_by(zone, each, name)) is not None and given.rank is rank), None)
