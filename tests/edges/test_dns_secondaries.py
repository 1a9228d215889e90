"""Do the DNS servers that people have, Knot DNS, NSD and BIND, follow our zones?

They are started with the guide's configurations, on loopback; our side is the real one but for the Zone, which the tests
change.
"""

import asyncio
import contextlib
from pathlib import Path
from random import Random

import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.zone
import pytest
from dns_primary import HTTP, primary
from dns_secondaries import KINDS, PATIENCE, ZONES, running

from mooring.services.names import PublishedEndpoint, PublishedService
from mooring.testing.ports import free_port

Shown = set[tuple[str, str, int, str]]


async def ask(port: int, name: str, kind: str = "A", patience: float = PATIENCE) -> list[str]:
    """The records' data; none when nobody answers."""
    try:
        reply = await dns.asyncquery.udp(dns.message.make_query(name, kind), "127.0.0.1", port=port, timeout=patience)
    except (dns.exception.Timeout, OSError):
        return []
    return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)


async def serial_at(port: int, zone: str) -> int:
    found = await ask(port, zone, "SOA", patience=1)
    return int(found[0].split()[2]) if found else 0


def said(log: Path) -> str:
    return log.read_text()[-4000:]


async def followed(port: int, serial: int, log: Path) -> None:
    """Waits until a secondary has this serial of every zone."""
    try:
        async with asyncio.timeout(PATIENCE):
            for zone in ZONES:
                while await serial_at(port, zone) != serial:
                    await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"never at serial {serial}; it says:\n{said(log)}")


async def taken(port: int, zone: str) -> Shown:
    """All records of a zone, by AXFR."""
    found = dns.zone.Zone(dns.name.from_text(zone), relativize=False)
    await dns.asyncquery.inbound_xfr("127.0.0.1", found, port=port, timeout=PATIENCE, lifetime=PATIENCE)
    return {
        (str(name), dns.rdatatype.to_text(rdataset.rdtype), rdataset.ttl, rdata.to_text())
        for name, rdataset in found.iterate_rdatasets()
        for rdata in rdataset
    }


def random_service(rng: Random) -> PublishedService | None:
    match rng.randrange(5):
        case 0:
            return None
        case 1:
            return PublishedService(alias=f"host-{rng.randrange(3)}.example.org")
        case 2:
            hosts = rng.sample(range(9), rng.randrange(4))
            return PublishedService(
                endpoints=tuple(PublishedEndpoint(f"pod-{each}", f"10.96.9.{each}", (HTTP,)) for each in hosts)
            )
        case _:
            return PublishedService((f"10.96.2.{rng.randrange(250)}",), (HTTP,) * rng.randrange(2))


@pytest.mark.parametrize("kind", list(KINDS))
async def test_a_secondary_follows_every_change_by_differences(kind: str, tmp_path: Path) -> None:
    port, rng = free_port(), Random(kind)
    async with primary(port) as ours, running(KINDS[kind], tmp_path, port, ours.port) as log:
        await followed(port, 100, log)
        assert await ask(port, "service-7.default.svc.cluster.local") == ["10.96.1.7"]
        ours.change("new", PublishedService(("10.96.3.3",), (HTTP,)))
        await followed(port, 101, log)
        assert await ask(port, "new.default.svc.cluster.local") == ["10.96.3.3"]
        assert await ask(port, "3.3.96.10.in-addr.arpa", "PTR") == ["new.default.svc.cluster.local."]
        for _ in range(5):
            for _ in range(rng.randrange(1, 8)):
                ours.change(f"service-{rng.randrange(60)}", random_service(rng))
            await followed(port, ours.zone.serial, log)
            for zone in ZONES:
                assert await taken(port, zone) == await taken(ours.port, zone)
        for zone in ZONES:
            assert ours.asked[zone, "IXFR", "differences"] >= 6, (ours.asked, said(log))
            assert ours.asked[zone, "IXFR", "whole"] == 0, (ours.asked, said(log))


@pytest.mark.parametrize("kind", list(KINDS))
async def test_a_secondary_answers_while_we_are_away_and_takes_the_whole_when_we_have_forgotten_its_serial(
    kind: str, tmp_path: Path
) -> None:
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        async with primary(port, port=free_port()) as ours:
            log = await stack.enter_async_context(running(KINDS[kind], tmp_path, port, ours.port))
            await followed(port, 100, log)
        assert await ask(port, "service-7.default.svc.cluster.local") == ["10.96.1.7"]
        async with primary(port, port=ours.port) as again:
            for each in range(10):
                again.change(f"service-{each}", None)
            await followed(port, 110, log)
            assert await ask(port, "service-7.default.svc.cluster.local") == []
            for zone in ZONES:
                assert await taken(port, zone) == await taken(again.port, zone)
            assert {zone for zone, asked, what in again.asked if what == "whole"} == set(ZONES)
