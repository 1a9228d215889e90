"""Are zones handed over through real sockets, whole and as they change, to those who may have them and nobody else?"""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network
from random import Random

import dns.asyncquery
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.versioned
import dns.xfr
import pytest
from dns_primary import HTTP, Primary, primary
from msgspec.structs import replace

from mooring.dns.layout import layout
from mooring.dns.names import to_text
from mooring.dns.owners import everything
from mooring.dns.records import Transport
from mooring.dns.zone import Zone
from mooring.edges.dns import transfers
from mooring.edges.dns.streams import Replies
from mooring.edges.dns.transfers import Transfers
from mooring.services.names import PublishedEndpoint, PublishedService

Shown = set[tuple[str, str, int, str]]
APEX = "cluster.local"


@pytest.fixture
async def ours() -> AsyncIterator[Primary]:
    async with primary() as made:
        yield made


def secondary(apex: str = APEX) -> dns.versioned.Zone:
    return dns.versioned.Zone(dns.name.from_text(apex), relativize=False)


async def transfer(zone: dns.versioned.Zone, port: int, mode: dns.query.UDPMode = dns.query.UDPMode.NEVER) -> Shown:
    """AXFR of what it has nothing of, IXFR of what it has; all records afterwards."""
    await dns.asyncquery.inbound_xfr("127.0.0.1", zone, port=port, timeout=60, lifetime=60, udp_mode=mode)
    return {
        (str(name), dns.rdatatype.to_text(rdataset.rdtype), rdataset.ttl, rdata.to_text())
        for name, rdataset in zone.iterate_rdatasets()
        for rdata in rdataset
    }


def words(kind: int, data: bytes) -> str:
    return dns.rdata.from_wire(1, kind, data, 0, len(data)).to_text()


def all_of(zone: Zone, apex: str = APEX) -> Shown:
    return {
        (
            f"{to_text(name)}.",
            dns.rdatatype.to_text(each.type),
            each.ttl,
            dns.rdata.from_wire(1, each.type, data, 0, len(data)).to_text(),
        )
        for name, given in everything(zone)
        if to_text(layout(zone.options).apex(name) or b"\0") == apex
        for each in given.rrsets
        for data in each.data
    }


async def asked(ours: Primary, kind: str, name: str = APEX, *, tcp: bool = True) -> dns.rcode.Rcode:
    ask = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return (await ask(dns.message.make_query(name, kind), "127.0.0.1", port=ours.port, timeout=60)).rcode()


@pytest.mark.parametrize("apex", [APEX, "96.10.in-addr.arpa"])
@pytest.mark.parametrize("mode", [dns.query.UDPMode.NEVER, dns.query.UDPMode.TRY_FIRST], ids=["TCP", "UDP first"])
async def test_dnspython_takes_a_zone_and_follows_it(ours: Primary, apex: str, mode: dns.query.UDPMode) -> None:
    zone, rng = secondary(apex), Random(apex)
    assert await transfer(zone, ours.port, mode) == all_of(ours.zone, apex)
    for _ in range(8):
        for _ in range(rng.randrange(4)):
            ours.change(f"service-{rng.randrange(55)}", PublishedService((f"10.96.7.{rng.randrange(250)}",), (HTTP,)))
        assert await transfer(zone, ours.port, mode) == all_of(ours.zone, apex)


@pytest.mark.parametrize("apex", [APEX, "96.10.in-addr.arpa"])
async def test_changes_while_everything_is_taken_down_are_in_what_is_handed_over(
    ours: Primary, apex: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "IN_ONE_GO", 0)
    rng = Random(4)
    for _ in range(4):
        ours.transfers = Transfers(lambda: ours.zone, (ip_network("127.0.0.1/32"),), ours.transfers.respond)
        taking = asyncio.create_task(transfer(secondary(apex), ours.port))
        while not ours.transfers._journals:
            await asyncio.sleep(0)
        changes = 0
        while not ours.transfers._complete:
            name, address = f"service-{rng.randrange(55)}", f"10.96.1.{rng.randrange(60)}"
            endpoints = (PublishedEndpoint("pod", address, (HTTP,)),)
            ours.change(name, rng.choice([None, PublishedService((address,), (HTTP,)), PublishedService(endpoints=endpoints)]))
            changes += 1
            await asyncio.sleep(0)
        at_the_end = all_of(ours.zone, apex)
        assert (await taking, changes > 10) == (at_the_end, True)


async def test_one_transfer_of_a_connection_does_not_keep_another_question_waiting(ours: Primary) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
    queries = [dns.message.make_query(APEX, kind) for kind in ("AXFR", "SOA")]
    for query in queries:
        octets = query.to_wire()
        writer.write(len(octets).to_bytes(2, "big") + octets)
    answers = []
    async with asyncio.timeout(60):
        while {query.id for query in queries} - set(answers):
            octets = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            answers.append(int.from_bytes(octets[:2], "big"))
    writer.close()


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
async def test_strangers_are_refused_whatever_they_ask_for(ours: Primary, kind: str) -> None:
    ours.transfers = Transfers(lambda: ours.zone, (), ours.transfers.respond)
    for name in (APEX, "nowhere.example"):
        assert await asked(ours, kind, name) == dns.rcode.REFUSED


async def test_a_zone_that_is_not_yet_whole_is_not_handed_over(ours: Primary) -> None:
    ours.zone = replace(ours.zone, synced=False)
    with pytest.raises(dns.xfr.TransferError, match="SERVFAIL"):
        await transfer(secondary(), ours.port)
    ours.zone = replace(ours.zone, synced=True)
    assert await transfer(secondary(), ours.port) == all_of(ours.zone)


async def test_what_is_no_zone_of_ours_or_asked_wrongly_is_told_so(ours: Primary) -> None:
    assert await asked(ours, "AXFR", "svc.cluster.local") == dns.rcode.NOTAUTH
    assert await asked(ours, "AXFR", tcp=False) == dns.rcode.FORMERR
    assert await asked(ours, "IXFR") == dns.rcode.FORMERR


async def test_a_transfer_that_cannot_be_read_is_a_format_error(ours: Primary) -> None:
    octets = bytearray(dns.message.make_query(APEX, "AXFR").to_wire())
    octets[11] = 1  # an additional record, which is not there
    reader, writer = await asyncio.open_connection("127.0.0.1", ours.port)
    writer.write(len(octets).to_bytes(2, "big") + octets)
    async with asyncio.timeout(60):
        answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    assert (answer[:2], answer[3] & 0xF) == (bytes(octets[:2]), dns.rcode.FORMERR)
    writer.close()


async def test_nothing_is_held_before_the_first_transfer(ours: Primary) -> None:
    ours.change("new", PublishedService(("10.96.3.3",), (HTTP,)))
    assert ours.transfers._journals == {}


async def test_no_message_breaks_it(ours: Primary) -> None:
    async def other(message: bytes, client: str, transport: Transport) -> Replies:
        return None

    rng, answering = Random(7), Transfers(lambda: ours.zone, (ip_network("127.0.0.1/32"),), other)
    for _ in range(600):
        query, _ = dns.xfr.make_query(secondary(), serial=rng.choice([0, 99, 1 << 31]))
        octets = bytearray(query.to_wire())
        for _ in range(rng.randrange(4)):
            octets[rng.randrange(2, len(octets))] = rng.randrange(256)
        message = bytes(octets[: rng.randrange(len(octets)) if rng.random() < 0.2 else None])
        for transport in Transport:
            found = await answering.respond(message, "127.0.0.1", transport)
            for reply in [] if found is None else [found] if isinstance(found, bytes) else [each async for each in found]:
                assert reply[:2] == message[:2]
