"""Does a secondary that knows nothing of us, dnspython's, get every zone as it is and as it changes?"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataset
import dns.rdatatype
import dns.versioned
import dns.xfr
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.dns.journal import Journal, RRsets
from mooring.dns.keepalive import keepalive
from mooring.dns.layout import layout
from mooring.dns.names import from_text, to_text
from mooring.dns.owners import apex_soa, apexes, everything
from mooring.dns.records import Class, Edns, Query, Question, Rcode, Record, Reply, Transport, Type
from mooring.dns.transfer import MESSAGE_OCTETS, is_transfer, may, refused, replies
from mooring.dns.wire import read, write
from mooring.dns.zone import PublishedIngress, Zone, ZoneOptions
from mooring.services.names import NamedPort, PublishedEndpoint, PublishedService
from mooring.services.view import ServiceName

OPTIONS = ZoneOptions(
    reverse=("10.96.0.0/16", "10.244.0.0/16", "fd00:96::/112"), external="example.net", addresses=("10.96.0.10", "fd00:96::a")
)
APEX = from_text("cluster.local")
HERE = (ip_network("127.0.0.0/8"),)
HTTP = NamedPort("http", "tcp", 80)
SERVICES: dict[ServiceName, PublishedService] = {
    ("default", "web"): PublishedService(("10.96.0.20", "fd00:96::20"), (HTTP,), external=("203.0.113.5",)),
    ("default", "db"): PublishedService(
        endpoints=(PublishedEndpoint("db-0", "10.244.1.2", (HTTP,)), PublishedEndpoint("db-1", "10.244.2.2", (HTTP,)))
    ),
    ("other", "far"): PublishedService(alias="db.example.org"),
    ("other", "balanced"): PublishedService(("10.96.0.21",), (HTTP,), external_hosts=("lb-1.example.org", "lb-2.example.org")),
}


def zone_of(serial: int, services: dict[ServiceName, PublishedService] | None = None, *, synced: bool = True) -> Zone:
    return Zone(
        OPTIONS,
        SERVICES if services is None else services,
        {"default", "other", "empty"},
        serial,
        synced,
        ingresses={("default", "shop"): PublishedIngress(("shop.example.net", "*.shops.example.net"), ("203.0.113.9",))},
    )


def journal_of(zone: Zone, apex: bytes = APEX) -> Journal:
    return Journal(*contents(zone)[apex])


def contents(zone: Zone) -> dict[bytes, tuple[Record, dict[bytes, RRsets]]]:
    """Of every zone of ours, by its apex: the SOA, and all names that have records."""
    found: dict[bytes, tuple[Record, dict[bytes, RRsets]]] = {apex: (apex_soa(zone, apex), {}) for apex in apexes(zone.options)}
    for name, here in everything(zone):
        apex = layout(zone.options).apex(name)
        if apex is not None and here.rrsets:
            found[apex][1][name] = here.rrsets
    return found


def moved(journal: Journal, zone: Zone, apex: bytes = APEX) -> None:
    """The zone is another one from now on."""
    soa, names = contents(zone)[apex]
    for name, _ in journal.version().contents:
        if name not in names:
            journal.change(name, ())
    for name, rrsets in names.items():
        journal.change(name, rrsets)
    journal.close(soa)


class Secondary:
    """dnspython's own, fed with the octets that we would send."""

    def __init__(self, apex: bytes = APEX) -> None:
        self.apex = apex
        self.zone = dns.versioned.Zone(dns.name.from_text(to_text(apex)), relativize=False)

    @property
    def serial(self) -> int:
        found = self.zone.get_rdataset(self.zone.origin, dns.rdatatype.SOA)
        return int(found[0].serial) if found else 0

    def transfer(self, journal: Journal, kind: str, transport: Transport = Transport.TCP) -> int:
        """Returns how many messages it took."""
        query, serial = dns.xfr.make_query(self.zone, serial=None if kind == "AXFR" else self.serial)
        assert query.question[0].rdtype == dns.rdatatype.from_text(kind)
        asked = read(query.to_wire(), "127.0.0.1", transport)
        count, done = 0, False
        over_udp = transport is Transport.UDP
        with dns.xfr.Inbound(self.zone, query.question[0].rdtype, serial, over_udp) as inbound:
            for reply in replies(asked, journal):
                assert not done
                count += 1
                octets = write(asked, reply)
                assert len(octets) <= (1232 if over_udp else MESSAGE_OCTETS + 1024)
                done = inbound.process_message(dns.message.from_wire(octets, xfr=True, one_rr_per_rrset=True))
        assert done
        return count

    def records(self) -> set[tuple[str, str, int, str]]:
        return {
            (str(name).lower(), dns.rdatatype.to_text(rdataset.rdtype), rdataset.ttl, rdata.to_text())
            for name, rdataset in self.zone.iterate_rdatasets()
            for rdata in rdataset
        }


def records_of(zone: Zone, apex: bytes = APEX) -> set[tuple[str, str, int, str]]:
    """What the zone says of itself, by another way than the journal's."""
    found = set()
    for name, given_here in everything(zone):
        if layout(zone.options).apex(name) != apex:
            continue
        for rrset in given_here.rrsets:
            for data in rrset.data:
                rdata = dns.rdata.from_wire(1, rrset.type, data, 0, len(data))
                found.add((f"{to_text(name)}.", dns.rdatatype.to_text(rrset.type), rrset.ttl, rdata.to_text()))
    return found


@pytest.mark.parametrize("apex", list(contents(zone_of(1))), ids=to_text)
def test_every_zone_travels_whole(apex: bytes) -> None:
    secondary = Secondary(apex)
    secondary.transfer(journal_of(zone_of(7), apex), "AXFR")
    assert secondary.records() == records_of(zone_of(7), apex)
    assert secondary.serial == 7


def test_what_is_transferred_can_be_read_here() -> None:
    secondary, outer = Secondary(), Secondary(from_text("example.net"))
    secondary.transfer(journal_of(zone_of(7)), "AXFR")
    outer.transfer(journal_of(zone_of(7), outer.apex), "AXFR")
    shown = {(name, kind, words) for name, kind, _, words in secondary.records() | outer.records()}
    assert shown >= {
        ("web.default.svc.cluster.local.", "A", "10.96.0.20"),
        ("_http._tcp.balanced.other.svc.cluster.local.", "SRV", "0 100 80 balanced.other.svc.cluster.local."),
        ("db-0.db.default.svc.cluster.local.", "A", "10.244.1.2"),
        ("far.other.svc.cluster.local.", "CNAME", "db.example.org."),
        ("dns-version.cluster.local.", "TXT", '"1.1.0"'),
        ("cluster.local.", "NS", "ns.dns.cluster.local."),
        ("shop.example.net.", "A", "203.0.113.9"),
        ("*.shops.example.net.", "A", "203.0.113.9"),
        ("web.default.example.net.", "A", "203.0.113.5"),
    }
    # One alias only, and no names of pods nor of what has no records.
    assert len([name for name, kind, _ in shown if kind == "CNAME" and name == "balanced.other.example.net."]) == 1
    assert not [name for name, *_ in shown if ".pod." in name or name.startswith("empty.")]


def test_a_large_zone_travels_in_messages_of_a_bounded_size() -> None:
    services = {
        ("default", f"service-{each}"): PublishedService((f"10.96.{each // 250}.{each % 250}",), (HTTP,)) for each in range(600)
    }
    zone, secondary = zone_of(3, services), Secondary()
    assert secondary.transfer(journal_of(zone), "AXFR") > 4
    assert secondary.records() == records_of(zone)


def test_a_transfer_shows_one_serial_though_the_zone_changes_meanwhile() -> None:
    services = {("default", f"service-{each}"): PublishedService((f"10.96.1.{each % 250}",)) for each in range(1000)}
    journal = journal_of(zone_of(3, services))
    asked = read(dns.message.make_query("cluster.local", "AXFR").to_wire(), "127.0.0.1", Transport.TCP)
    under_way = replies(asked, journal)
    first = next(under_way)
    moved(journal, zone_of(4, {}))
    records = [*first.answer, *(record for reply in under_way for record in reply.answer)]
    assert (records[0], records[-1]) == (records[0], records[0])
    assert sum(record.type == Type.A for record in records) == 1001
    assert records[0] != journal.soa


CHANGED = st.dictionaries(
    st.tuples(st.sampled_from(["default", "other"]), st.sampled_from("abcde")),
    st.one_of(
        st.builds(lambda last: PublishedService((f"10.96.0.{last}",), (HTTP,)), st.integers(1, 20)),
        st.builds(lambda name: PublishedService(alias=f"{name}.example.org"), st.sampled_from("xy")),
        st.builds(
            lambda hosts: PublishedService(
                endpoints=tuple(PublishedEndpoint(f"h{each}", f"10.244.0.{each}", (HTTP,)) for each in hosts)
            ),
            st.lists(st.integers(1, 9), unique=True, max_size=4),
        ),
    ),
    max_size=6,
)


@given(st.lists(st.tuples(CHANGED, st.booleans()), min_size=1, max_size=6), st.sampled_from(list(contents(zone_of(1)))[:4]))
def test_a_secondary_that_follows_by_differences_has_what_one_that_takes_the_whole_has(
    versions: list[tuple[dict[ServiceName, PublishedService], bool]], apex: bytes
) -> None:
    zone = zone_of(0xFFFFFFFD, {})
    journal, secondary = journal_of(zone, apex), Secondary(apex)
    secondary.transfer(journal, "AXFR")
    for step, (services, follows) in enumerate([*versions, ({}, True)], 1):
        zone = zone_of(0xFFFFFFFD + step, services)
        moved(journal, zone, apex)
        if follows:
            secondary.transfer(journal, "IXFR")
            assert secondary.serial == (0xFFFFFFFD + step) % (1 << 32)
            assert secondary.records() == records_of(zone, apex)


def asking(serial: int | None, transport: Transport = Transport.TCP, kind: Type = Type.IXFR, **other: object) -> Query:
    return Query(1, Question(APEX, kind), client="127.0.0.1", transport=transport, serial=serial, **other)  # type: ignore[arg-type]


def types(found: Iterator[Reply]) -> list[int]:
    return [record.type for reply in found for record in reply.answer]


def test_a_small_change_travels_as_a_difference() -> None:
    journal = journal_of(zone_of(1))
    moved(journal, zone_of(2, {**SERVICES, ("default", "new"): PublishedService(("10.96.0.99",))}))
    assert types(replies(asking(1), journal)) == [Type.SOA, Type.SOA, Type.SOA, Type.A, Type.SOA]


@pytest.mark.parametrize("serial", [2, 3, 2 + 0x7FFFFFFF], ids=["current", "newer than ours", "as new as can be told"])
def test_who_has_what_we_have_or_newer_is_told_by_the_soa_alone(serial: int) -> None:
    journal = journal_of(zone_of(1))
    moved(journal, zone_of(2))
    assert types(replies(asking(serial), journal)) == [Type.SOA]


@pytest.mark.parametrize("serial", [0, 2 + 0x80000000], ids=["not remembered", "half the circle away"])
def test_who_has_what_we_do_not_remember_gets_the_whole(serial: int) -> None:
    journal = journal_of(zone_of(1))
    moved(journal, zone_of(2))
    assert [record for reply in replies(asking(serial), journal) for record in reply.answer] == [
        record for reply in replies(asking(None, kind=Type.AXFR), journal) for record in reply.answer
    ]


def test_over_udp_a_difference_travels_when_it_fits_and_else_the_soa_alone() -> None:
    journal, secondary = journal_of(zone_of(1)), Secondary()
    secondary.transfer(journal, "AXFR")
    zone = zone_of(2, {**SERVICES, ("default", "new"): PublishedService(("10.96.0.99",))})
    moved(journal, zone)
    secondary.transfer(journal, "IXFR", Transport.UDP)
    assert secondary.records() == records_of(zone)
    many = {("default", f"service-{each}"): PublishedService((f"10.96.1.{each}",)) for each in range(60)}
    moved(journal, zone_of(3, SERVICES | many))
    moved(journal, zone_of(4, SERVICES | many | {("default", "one"): PublishedService(("10.96.0.98",))}))
    with pytest.raises(dns.xfr.UseTCP):
        secondary.transfer(journal, "IXFR", Transport.UDP)
    assert types(replies(asking(2, Transport.UDP, edns=Edns(4096)), journal)) == [Type.SOA]
    assert len(types(replies(asking(3, Transport.UDP), journal))) == 5


@pytest.mark.parametrize(
    ("query", "zone", "expected"),
    [
        pytest.param(asking(1), zone_of(1), None, id="nothing is against it"),
        pytest.param(asking(1, Transport.UDP), zone_of(1), None, id="IXFR over UDP"),
        pytest.param(asking(None, kind=Type.AXFR), zone_of(1), None, id="AXFR over TCP"),
        pytest.param(asking(None, Transport.UDP, Type.AXFR), zone_of(1), Rcode.FORMERR, id="AXFR over UDP"),
        pytest.param(asking(None), zone_of(1), Rcode.FORMERR, id="IXFR without a serial"),
        pytest.param(asking(1), zone_of(1, synced=False), Rcode.SERVFAIL, id="not all is known yet"),
        pytest.param(asking(1, edns=Edns(1232, version=1)), zone_of(1), Rcode.BADVERS, id="another version of EDNS"),
        pytest.param(
            Query(1, Question(from_text("svc.cluster.local"), Type.AXFR), client="127.0.0.1", transport=Transport.TCP),
            zone_of(1),
            Rcode.NOTAUTH,
            id="no apex",
        ),
        pytest.param(
            Query(1, Question(from_text("CLUSTER.local"), Type.AXFR), client="127.0.0.1", transport=Transport.TCP),
            zone_of(1),
            None,
            id="any case",
        ),
        pytest.param(
            Query(1, Question(APEX, Type.AXFR, Class.CHAOS), client="127.0.0.1", transport=Transport.TCP),
            zone_of(1),
            Rcode.REFUSED,
            id="another class",
        ),
        pytest.param(
            Query(1, Question(from_text("org"), Type.AXFR), client="192.0.2.1", transport=Transport.TCP),
            zone_of(1),
            Rcode.REFUSED,
            id="a stranger learns nothing",
        ),
    ],
)
def test_what_is_refused_is_refused_in_the_right_words(query: Query, zone: Zone, expected: Rcode | None) -> None:
    reply = refused(query, zone, HERE)
    assert (None if reply is None else reply.rcode) == expected


@pytest.mark.parametrize(
    ("client", "ranges", "expected"),
    [
        pytest.param("192.0.2.1", (), False, id="nobody by default"),
        pytest.param("192.0.2.1", ("192.0.2.0/24",), True, id="within a range"),
        pytest.param("192.0.3.1", ("192.0.2.0/24",), False, id="outside it"),
        pytest.param("2001:db8::1", ("192.0.2.0/24", "2001:db8::/32"), True, id="of the other family"),
        pytest.param("", ("0.0.0.0/0", "::/0"), False, id="ourselves need none"),
    ],
)
def test_who_may_have_a_zone(client: str, ranges: Sequence[str], expected: bool) -> None:
    assert may(client, [ip_network(each) for each in ranges]) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(dns.message.make_query("cluster.local", "AXFR").to_wire(), True, id="AXFR"),
        pytest.param(dns.message.make_query(".", "IXFR").to_wire(), True, id="IXFR of the root"),
        pytest.param(dns.message.make_query("axfr.cluster.local", "A").to_wire(), False, id="A"),
        pytest.param(dns.message.make_response(dns.message.make_query("x", "AXFR")).to_wire(), False, id="an answer"),
        pytest.param(dns.message.make_query("cluster.local", "AXFR").to_wire()[:-3], False, id="cut off"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_a_transfer_is_known_at_a_glance(message: bytes, expected: bool) -> None:
    assert is_transfer(message) == expected


@given(st.binary(max_size=64))
def test_no_message_breaks_the_glance(message: bytes) -> None:
    is_transfer(message)
    is_transfer(bytes(4) + b"\0\1" + message)


@pytest.mark.parametrize(
    ("transport", "options", "expected"),
    [
        pytest.param(Transport.TCP, ((11, b""),), ((11, b"\0\x64"),), id="asked over TCP: 100 tenths of a second"),
        pytest.param(Transport.UDP, ((11, b""),), (), id="over UDP it means nothing"),
        pytest.param(Transport.TCP, ((10, b"12345678"),), (), id="not asked"),
        pytest.param(Transport.TCP, None, (), id="no EDNS"),
    ],
)
def test_a_client_that_asks_is_told_how_long_it_may_stay(
    transport: Transport, options: tuple[tuple[int, bytes], ...] | None, expected: tuple[tuple[int, bytes], ...]
) -> None:
    edns = None if options is None else Edns(1232, options=options)
    assert keepalive(asking(1, transport, edns=edns)) == expected
