"""Does the table say what `answer` says, whatever is asked, and is it right at every moment while it is written?"""

from random import Random

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.dns.dns_tables import LOOPBACK, question, table
from tests.dns.random_zones import near, zones

from mooring.dns.answer import answer
from mooring.dns.compile import Compiler
from mooring.dns.layout import parents
from mooring.dns.names import Name, from_text
from mooring.dns.owners import Asks, Given, Owners, everything
from mooring.dns.records import Edns, Query, Question, Rcode, Type
from mooring.dns.shared import index
from mooring.dns.table import Entry, EntryFlag, Flag, Settings, TableFull, TableWriter, TypeFlag, TypeSections, ZoneSoa, size
from mooring.dns.table_answer import ASK, DROP, TableReader
from mooring.dns.wire import write
from mooring.dns.zone import Zone, ZoneOptions
from mooring.services.names import NamedPort, PublishedEndpoint, PublishedService

KINDS = (Type.A, Type.AAAA, Type.SRV, Type.PTR, Type.CNAME, Type.TXT, Type.SOA, Type.NS, 99)
DNS = (NamedPort("dns", "udp", 53),)
MANY = PublishedService(endpoints=tuple(PublishedEndpoint(f"e{n}", f"10.244.{n >> 8}.{n & 255}", DNS) for n in range(600)))
SINGLE = PublishedService(("10.96.0.1", "fd00::1"), (NamedPort("http", "tcp", 80),))
ZONE = Zone(
    ZoneOptions(addresses=("10.96.0.10",), reverse=("10.96.0.0/16",)),
    {("default", "web"): SINGLE, ("default", "many"): MANY},
    {"default"},
    7,
)
WEB = from_text("web.default.svc.cluster.local")


def asked(buffer: memoryview, message: bytes, rotation: int = 0, client: bytes = LOOPBACK) -> bytes | str:
    return TableReader(buffer).answer(message, client, rotation).reply


def said(octets: bytes) -> tuple[object, ...]:
    """What a client understands, but for the order of records."""
    message = dns.message.from_wire(octets)
    sections = [
        frozenset((rrset.name, rrset.rdtype, rrset.ttl, str(each)) for rrset in section for each in rrset)
        for section in message.sections[1:]
    ]
    return message.id, int(message.flags), message.rcode(), message.question, message.edns, message.payload, *sections


@given(zones() | zones(synced=False), st.randoms(use_true_random=False), st.sampled_from((None, 100, 1232, 4096)))
def test_it_says_what_the_answer_is_or_leaves_it_to_the_agent(zone: Zone, rng: Random, payload: int | None) -> None:
    zone = structs.replace(zone, shared=index(zone))
    reader, names = TableReader(table(zone)), dict(everything(zone))
    edns = None if payload is None else Edns(payload)
    for known in rng.sample(sorted(names), min(len(names), 6)):
        for name in (known, *rng.sample(near(known), 5)):
            kind = rng.choice(KINDS)
            reply = reader.answer(question(name, kind, payload=payload), LOOPBACK, rng.randrange(100)).reply
            assert (reply == ASK) is of_the_agent(names, name.lower())
            if isinstance(reply, bytes):
                found = answer(zone, Question(name, kind)).reply
                assert said(write(Query(0x1234, Question(name, kind), edns=edns), found)) == said(reply)


def of_the_agent(names: Owners, name: Name) -> bool:
    """By the enumeration alone."""
    if name in names:
        return bool(names[name].asks & Asks.SELF)
    encloser = next((names[each] for each in parents(name) if each in names), None)
    return encloser is None or bool(encloser.asks & Asks.BELOW)


@pytest.mark.parametrize("payload", [None, 512, 1000, 1232, 4096])
@pytest.mark.parametrize("kind", [Type.A, Type.SRV], ids=["A", "SRV"])
def test_what_does_not_fit_is_left_out_whole_records_at_a_time_and_said(payload: int | None, kind: Type) -> None:
    reply = asked(table(ZONE), question(from_text("many.default.svc.cluster.local"), kind, payload=payload), 599)
    assert isinstance(reply, bytes)
    limit = min(max(payload or 512, 512), 1232)
    message = dns.message.from_wire(reply)
    assert message.flags & dns.flags.TC
    assert limit - 80 < len(reply) <= limit
    assert not message.additional


def test_additional_records_that_do_not_fit_are_left_out_silently() -> None:
    endpoints = tuple(PublishedEndpoint(f"endpoint-{n}", f"10.244.0.{n}", DNS) for n in range(7))
    zone = structs.replace(ZONE, services={("default", "few"): PublishedService(endpoints=endpoints)})
    message = dns.message.from_wire(asked(table(zone), question(from_text("few.default.svc.cluster.local"), Type.SRV)))
    assert not message.flags & dns.flags.TC
    assert (7, True) == (len(message.answer[0]), len(message.additional) < 7)


def test_every_address_comes_first_in_turn() -> None:
    buffer, name = table(ZONE), from_text("many.default.svc.cluster.local")
    firsts = set()
    for rotation in range(256):
        message = dns.message.from_wire(asked(buffer, question(name, Type.A, payload=1232), rotation))
        firsts.add(next(iter(message.answer[0])).address)
    assert 256 == len(firsts)


ODD = {
    "a reply": (question(WEB, 1, flags=0x8000), DROP),
    "less than a header": (question(WEB, 1)[:11], DROP),
    "a header alone": (question(WEB, 1)[:12], ASK),
    "a notify": (question(WEB, 1, flags=0x2000), ASK),
    "a truncated question": (question(WEB, 1)[:-1], ASK),
    "something after it": (question(WEB, 1) + b"\0", ASK),
    "ANY": (question(WEB, 255), ASK),
    "a transfer": (question(WEB, 252), ASK),
    "OPT as a type": (question(WEB, 41), ASK),
    "another class": (question(WEB, 1)[:-1] + b"\3", ASK),
    "a pointer in the name": (question(b"\3web\xc0\x0c", 1), ASK),
    "a long label": (question(b"\x40" + b"a" * 64 + b"\0", 1), ASK),
    "a name of 256 octets": (question((b"\x3f" + b"a" * 63) * 4 + b"\0", 1), ASK),
    "two questions": (question(WEB, 1)[:5] + b"\2" + question(WEB, 1)[6:], ASK),
    "an answer in the question": (question(WEB, 1)[:7] + b"\1" + question(WEB, 1)[8:], ASK),
    "EDNS version 1": (question(WEB, 1, payload=1232)[:-5] + b"\1" + question(WEB, 1, payload=1232)[-4:], ASK),
    "an EDNS option": (question(WEB, 1, payload=1232)[:-1] + b"\4\0\x0a\0\0", ASK),
    "a name elsewhere": (question(from_text("example.com"), 1), ASK),
    "the root": (question(b"\0", 1), ASK),
    "a pod's name": (question(from_text("10-0-0-1.default.pod.cluster.local"), 1), ASK),
}


@pytest.mark.parametrize(("message", "becomes"), ODD.values(), ids=ODD)
def test_what_is_unusual_is_dropped_or_left_to_the_agent(message: bytes, becomes: str) -> None:
    assert becomes == asked(table(ZONE), message)


def test_all_goes_to_the_agent_when_it_wants_to_see_all() -> None:
    assert ASK == asked(table(ZONE, Flag.SYNCED | Flag.ALL_TO_AGENT), question(WEB, 1))


PREFIXES = ((4, 12, bytes((10, 16, 0, 0))), (6, 20, bytes((0xFD, 0, 0xA0)) + bytes(13)))
CLIENTS = {
    "in the v4 prefix": (bytes((10, 31, 255, 255)), Rcode.NOERROR),
    "after it": (bytes((10, 32, 0, 0)), Rcode.REFUSED),
    "in the v6 prefix": (bytes((0xFD, 0, 0xAF)) + bytes(13), Rcode.NOERROR),
    "before it": (bytes((0xFD, 0, 0x9F)) + bytes(13), Rcode.REFUSED),
}


@pytest.mark.parametrize(("client", "rcode"), CLIENTS.values(), ids=CLIENTS)
def test_who_may_ask(client: bytes, rcode: Rcode) -> None:
    buffer = table(ZONE, prefixes=PREFIXES)
    for payload in (None, 1232):
        message = dns.message.from_wire(asked(buffer, question(WEB, 1, payload=payload), client=client))
        assert (rcode, 1, payload or 0) == (message.rcode(), len(message.question), message.payload)
    if rcode is Rcode.REFUSED:
        assert rcode == dns.message.from_wire(asked(buffer, question(WEB, 255), client=client)).rcode()


# While it is written --------------------------------------------------------------------------------------------------------

APEX = from_text("cluster.local")
SETTINGS = Settings([ZoneSoa(APEX, b"\0\6\0\1\0\0\0\5\0\x16" + b"\0\0" + bytes(20))])
NAMES = [b"\3" + bytes((97 + n // 26, 97 + n % 26, 97)) + APEX for n in range(200)]


def entry(name: bytes, address: int) -> Entry:
    octets = b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + address.to_bytes(4, "big")
    return Entry(name, 0, 0, (TypeSections(1, TypeFlag.ROTATES, 16, (1, 0, 0), octets),))


def small(octets: int = 1 << 16, slots: int = 1024) -> tuple[memoryview, TableWriter]:
    buffer = memoryview(bytearray(size(SETTINGS, 0, 0)[1] + octets))
    writer = TableWriter(buffer, slots, SETTINGS)
    writer.set_flags(Flag.SYNCED)
    writer.put(Entry(APEX, 0))
    return buffer, writer


@given(st.lists(st.tuples(st.integers(0, 199), st.integers(0, 3)), max_size=300))
def test_after_any_changes_it_has_exactly_the_names_that_were_put_last(steps: list[tuple[int, int]]) -> None:
    buffer, writer = small()
    wish: dict[bytes, int] = {}
    for which, address in steps:
        name = NAMES[which]
        if address:
            writer.put(entry(name, address))
            wish[name] = address
        else:
            writer.remove(name)
            wish.pop(name, None)
    assert len(wish) + 1 == len(writer)
    assert {APEX, *wish} == {name for name, _ in writer.entries()}
    for name in NAMES:
        reply = dns.message.from_wire(asked(buffer, question(name, 1)))
        assert (dns.rcode.NOERROR if name in wish else dns.rcode.NXDOMAIN) == reply.rcode()
        if name in wish:
            assert f"0.0.0.{wish[name]}" == next(iter(reply.answer[0])).address


def test_each_store_leaves_a_table_that_is_right() -> None:
    """A writer that is killed before any one of its stores leaves the old entry or the new one."""
    buffer, writer = small()
    name = NAMES[0]
    writer.put(entry(name, 1))
    seen = []

    def store(words: memoryview, place: int, number: int) -> None:
        seen.append(asked(buffer, question(name, 1))[-1])
        words[place] = number
        seen.append(asked(buffer, question(name, 1))[-1])

    writer._store = store
    writer.put(entry(name, 2))
    assert [1, 2] == seen


def test_a_full_table_says_so_and_is_as_it_was() -> None:
    buffer, writer = small(octets=0)
    put = 0
    with pytest.raises(TableFull):
        for round_ in range(1, 1 << 20):
            for name in NAMES:
                writer.put(entry(name, round_))
                put += 1
    assert put > 1000
    assert dns.rcode.NOERROR == dns.message.from_wire(asked(buffer, question(NAMES[0], 1))).rcode()


def test_names_without_an_end_of_slots_are_refused_before_a_search_would_not_end() -> None:
    _, writer = small(octets=1 << 22)
    with pytest.raises(TableFull):
        for number in range(2000):
            writer.put(entry(b"\4" + number.to_bytes(4, "big").translate(bytes(b | 0x80 for b in range(256))) + APEX, 1))
            writer.put(entry(b"\5" + number.to_bytes(5, "big") + APEX, 1))


def test_the_same_entry_is_not_written_again() -> None:
    _, writer = small()
    writer.put(entry(NAMES[0], 1))
    used = writer.used
    writer.put(entry(NAMES[0], 1))
    assert used == writer.used


def test_what_is_asked_by_flag_of_a_name_or_of_those_below_goes_to_the_agent() -> None:
    buffer, writer = small()
    writer.put(Entry(NAMES[0], 0, EntryFlag.ASK))
    writer.put(Entry(NAMES[1], 0, EntryFlag.ASK_BELOW))
    assert ASK == asked(buffer, question(NAMES[0], 1))
    assert dns.rcode.NOERROR == dns.message.from_wire(asked(buffer, question(NAMES[1], 1))).rcode()
    assert ASK == asked(buffer, question(b"\1x" + NAMES[1], 1))
    assert dns.rcode.NXDOMAIN == dns.message.from_wire(asked(buffer, question(b"\1x" + NAMES[0], 1))).rcode()


def test_what_is_searched_for_along_the_search_path_goes_to_the_agent() -> None:
    services = from_text("svc.cluster.local")
    compiler = Compiler([ZoneSoa(APEX, SETTINGS.zones[0].octets)], services)
    for name, flags in (
        ("cluster.local", 0),
        ("svc.cluster.local", 0),
        ("default.svc.cluster.local", EntryFlag.ASK_BELOW),
        ("web.default.svc.cluster.local", EntryFlag.ASK_BELOW),
    ):
        made = compiler.entry(from_text(name), Given())
        assert made is not None
        assert flags == made.flags


def test_another_version_is_no_table() -> None:
    buffer = table(ZONE)
    buffer[7] += 1
    with pytest.raises(ValueError, match="no table"):
        TableReader(buffer)


@given(st.randoms(use_true_random=False), st.integers(1, 400))
def test_damage_makes_answers_wrong_but_never_an_error(rng: Random, octets: int) -> None:
    whole = table(structs.replace(ZONE, services={("default", "web"): SINGLE}))
    buffer = memoryview(bytearray(whole))
    written = max(at for at in range(0, len(whole), 64) if any(whole[at : at + 64])) + 64
    for _ in range(octets):
        buffer[rng.randrange(8, written)] = rng.choice((0, 1, 0xC0, 0xFF, rng.randrange(256)))
    try:
        reader = TableReader(buffer)
    except ValueError:
        return
    for name in (WEB, APEX, from_text("x.default.svc.cluster.local"), from_text("_http._tcp.web.default.svc.cluster.local")):
        for kind in (Type.A, Type.SRV, Type.SOA):
            assert isinstance(reader.answer(question(name, kind, payload=1232), LOOPBACK, 5).reply, bytes | str)
