"""What is our side of zone transfers in tests? The real server and Transfers, with a Zone that the test changes."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from ipaddress import ip_network

import dns.message
import dns.rdatatype
from msgspec.structs import replace

from mooring.dns import wire
from mooring.dns.layout import layout
from mooring.dns.notify import Secondary
from mooring.dns.owners import Change, apex_soa, apexes
from mooring.dns.records import Rcode, Reply, Transport
from mooring.dns.shared import SharedNames
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns.notify import Notifier
from mooring.edges.dns.server import DnsServer, bind
from mooring.edges.dns.streams import Replies
from mooring.edges.dns.transfers import Transfers
from mooring.services.names import NamedPort, PublishedService

OPTIONS = ZoneOptions(reverse=("10.96.0.0/16",), addresses=("10.96.0.10",))
HTTP = NamedPort("http", "tcp", 80)


class Primary:
    """Our side. `asked` counts transfers by zone, type and what came: 'one record', 'differences' or 'whole'."""

    def __init__(self, port: int, *secondaries: int) -> None:
        services = {("default", f"service-{each}"): PublishedService((f"10.96.1.{each}",), (HTTP,)) for each in range(50)}
        self.port = port
        self.shared = SharedNames(layout(OPTIONS))
        for key, service in services.items():
            self.shared.change(key, None, service)
        self.zone = Zone(OPTIONS, services, {"default"}, 100, shared=self.shared)
        self.asked: Counter[tuple[str, str, str]] = Counter()
        self.transfers = Transfers(lambda: self.zone, (ip_network("127.0.0.1/32"),), self._respond)
        self.notifier = Notifier(lambda: self.zone, [Secondary("127.0.0.1", each) for each in secondaries], "127.0.0.1")

    def change(self, name: str, service: PublishedService | None) -> None:
        key = ("default", name)
        change = Change(key, self.zone.services.get(key), service)
        services = {each: kept for each, kept in self.zone.services.items() if each != key}
        if service is not None:
            services[key] = service
        self.shared.change(key, change.before, change.after)
        self.zone = replace(self.zone, services=services, serial=self.zone.serial + 1)
        self.transfers.changed(change)
        self.notifier.changed()

    async def respond(self, message: bytes, client: str, transport: Transport) -> Replies:
        found = await self.transfers.respond(message, client, transport)
        if found is None or isinstance(found, bytes):
            return found

        async def counted() -> AsyncGenerator[bytes, None]:
            first = True
            async for octets in found:
                if first:
                    self._count(octets)
                first = False
                yield octets

        return counted()

    def _count(self, octets: bytes) -> None:
        reply = dns.message.from_wire(octets, xfr=True, one_rr_per_rrset=True)
        kinds = [each.rdtype for each in reply.answer[:2]]
        what = "one record" if len(kinds) < 2 else "differences" if kinds[1] == dns.rdatatype.SOA else "whole"
        asked = reply.question[0]
        self.asked[asked.name.to_text(True), dns.rdatatype.to_text(asked.rdtype), what] += 1

    async def _respond(self, message: bytes, client: str, transport: Transport) -> Replies:
        """Secondaries look at the SOA first."""
        query = wire.read(message, client, transport)
        apex = query.question.name.lower()
        soa = apex_soa(self.zone, apex) if apex in apexes(OPTIONS) else None
        return wire.write(query, Reply(Rcode.NOERROR, (soa,) if soa else (), authoritative=True))


@contextlib.asynccontextmanager
async def primary(*secondaries: int, port: int = 0) -> AsyncIterator[Primary]:
    sockets = bind("127.0.0.1", port)
    ours = Primary(sockets[0].getsockname()[1], *secondaries)
    server = DnsServer(ours.respond)
    await server.start(sockets)
    telling = asyncio.create_task(ours.notifier.run())
    try:
        yield ours
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await server.close()
