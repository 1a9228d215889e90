"""Which records do addresses, ports and endpoints make? Sets of records of one type, as `answer` and `owners` give them."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from mooring.dns.addresses import packed
from mooring.dns.names import NAME_LIMIT, ROOT, BadName, Name, from_text
from mooring.dns.records import Record, Type
from mooring.endpoints.addresses import canonical
from mooring.services.names import NamedPort, PublishedService


class RRset(Struct, frozen=True, gc=False):
    """All records of one type at one name. `data`: as in Record, sorted, each once. `additional`: addresses of targets."""

    type: int
    ttl: int
    data: tuple[bytes, ...]
    additional: tuple[Record, ...] = ()

    def records(self, name: Name) -> tuple[Record, ...]:
        return tuple([Record(name, self.type, self.ttl, data) for data in self.data])


class Target(Struct, frozen=True, gc=False):
    """One place that an SRV record leads to: a name, one of its addresses, a port there."""

    name: Name
    address: Record
    port: int


def address_sets(ttl: int, addresses: Iterable[str]) -> tuple[RRset, ...]:
    """A, then AAAA, where there are any."""
    ipv4: list[bytes] = []
    ipv6: list[bytes] = []
    for address in addresses:
        (ipv6 if ":" in address else ipv4).append(packed(address))
    found = []
    if ipv4:
        found.append(RRset(Type.A, ttl, tuple(sorted(set(ipv4))) if len(ipv4) > 1 else (ipv4[0],)))
    if ipv6:
        found.append(RRset(Type.AAAA, ttl, tuple(sorted(set(ipv6))) if len(ipv6) > 1 else (ipv6[0],)))
    return tuple(found)


def address_record(name: Name, ttl: int, address: str) -> Record:
    return Record(name, Type.AAAA if ":" in address else Type.A, ttl, packed(address))


def srv_set(ttl: int, targets: Sequence[Target]) -> tuple[RRset, ...]:
    """Priority 0 and equal weights as CoreDNS shares them out: 100 among all (address, port), but at least 1."""
    if not targets:
        return ()
    head = b"\0\0" + max(1, 100 // len(targets)).to_bytes(2, "big")
    data = {head + each.port.to_bytes(2, "big") + each.name for each in targets}
    return (RRset(Type.SRV, ttl, tuple(sorted(data)), tuple(dict.fromkeys([each.address for each in targets]))),)


def own_addresses(source: PublishedService) -> Sequence[str]:
    """What the Service's own name leads to: cluster IPs, or endpoints where it is headless."""
    return source.addresses or [each.address for each in source.endpoints]


def srv_targets(base: Name, ttl: int, source: PublishedService) -> Iterator[tuple[NamedPort, Target]]:
    """Everything that SRV records of a Service lead to: its own name (`base`) with its ports, or, where it is headless, the
    names of its endpoints with theirs.
    """
    if source.addresses:
        records = [address_record(base, ttl, each) for each in source.addresses]
        for port in source.ports:
            for record in records:
                yield port, Target(base, record, port.port)
        return
    for each in source.endpoints:
        host = bytes((len(each.host),)) + each.host.encode() + base
        if each.ports and len(host) <= NAME_LIMIT:
            record = address_record(host, ttl, each.address)
            for port in each.ports:
                yield port, Target(host, record, port.port)


def alias_target(text: str) -> Name | None:
    """Where an ExternalName or a balancer's hostname leads; None when it is no name, an address for one."""
    try:
        canonical(text.removesuffix("."))
    except ValueError:
        pass
    else:
        return None
    try:
        name = from_text(text.lower())
    except BadName:
        return None
    return name if name != ROOT else None
