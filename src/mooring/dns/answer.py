"""What is the answer to a question? A pure function of the Zone, as CoreDNS's kubernetes plugin decides.

A name that exists but has no record of the asked type is NODATA (NOERROR with the SOA); a name that does not exist is NXDOMAIN.
A Service without addresses (headless without ready endpoints) does not exist; a ClusterIP always does. Names that lead out of
the zone, ExternalName Services among them, are refused: this server asks no other.
"""

from enum import IntEnum

from msgspec import Struct

from mooring.dns.names import Shape, parse
from mooring.dns.zone import Zone
from mooring.services.view import ServiceName


class Rcode(IntEnum):
    """RFC 1035 section 4.1.1."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class Answer(Struct, frozen=True):
    """Addresses to put into A or AAAA records of the asked name. `in_zone` is False when the name is not ours: no SOA then.

    `service` is the Service that decided, for the tracer.
    """

    rcode: Rcode
    addresses: tuple[str, ...] = ()
    in_zone: bool = True
    service: ServiceName | None = None


def answer(zone: Zone, name: str, record_type: str) -> Answer:
    """`record_type` as text: 'A', 'AAAA', anything else finds no records (NODATA) where the name exists."""
    parsed = parse(name, zone.domain)
    match parsed.shape:
        case Shape.OUTSIDE:
            return Answer(Rcode.REFUSED, in_zone=False)
        case Shape.APEX | Shape.SERVICES:
            return Answer(Rcode.NOERROR)
        case Shape.NAMESPACE if parsed.namespace in zone.namespaces:
            return Answer(Rcode.NOERROR)
        case Shape.SERVICE | Shape.ENDPOINT:
            owner = (parsed.namespace, parsed.service)
            if owner in zone.aliases:
                return Answer(Rcode.REFUSED, in_zone=False, service=owner)
            for published in zone.services.get(owner, ()):
                if published.host == parsed.host:
                    wanted = {"A": ".", "AAAA": ":"}.get(record_type)
                    found = tuple(address for address in published.addresses if wanted is not None and wanted in address)
                    return Answer(Rcode.NOERROR, found, service=owner)
    return Answer(Rcode.NXDOMAIN if zone.synced else Rcode.SERVFAIL)
