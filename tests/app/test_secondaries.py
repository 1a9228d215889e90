"""Do secondaries of a node follow the objects of the API, by nothing but the settings?"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import dns.asyncquery
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.versioned
import dns.xfr
import pytest

from mooring.app.secondaries import with_secondaries
from mooring.control.dns import ZoneKeeper
from mooring.control.informer import Informer
from mooring.dns import wire
from mooring.dns.records import Rcode, Reply, Transport
from mooring.dns.settings import decode
from mooring.dns.zone import ZoneOptions
from mooring.edges.dns.server import DnsServer, bind
from mooring.edges.dns.streams import Replies
from mooring.edges.memory.api import MemoryApi
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NAMESPACE, SERVICE, Kind
from mooring.model.service import Service, service

PORTS = [{"port": 80, "name": "http"}]


async def nobody(message: bytes, client: str, transport: Transport) -> Replies:
    return wire.write(wire.read(message, client, transport), Reply(Rcode.REFUSED))


async def create(api: MemoryApi, kind: Kind, body: dict[str, Any]) -> None:
    document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    await api.write("create", kind, "default" if kind.namespaced else "", body["metadata"]["name"], document)


class Told(asyncio.DatagramProtocol):
    """Serials that it was told of, and answers."""

    def __init__(self) -> None:
        self.serials: list[int] = []
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        message = dns.message.from_wire(data)
        self.serials.append(message.answer[0][0].serial)
        self._transport.sendto(dns.message.make_response(message).to_wire(), addr)


@contextlib.asynccontextmanager
async def node(api: MemoryApi, transfer: dict[str, Any]) -> AsyncIterator[tuple[ZoneKeeper, int]]:
    """Its names and its port."""
    services: Informer[Service] = Informer(api, SERVICE, service)
    slices: Informer[EndpointSlice] = Informer(api, ENDPOINT_SLICE, endpoint_slice)
    names = ZoneKeeper(api, services, slices, ZoneOptions(reverse=("10.96.0.0/16",)))
    async with contextlib.AsyncExitStack() as cleanup, asyncio.TaskGroup() as tasks:
        kept = [tasks.create_task(each.run()) for each in (services, slices, names)]
        respond = with_secondaries(decode({"transfer": transfer}, "test"), names, nobody, tasks, cleanup, "127.0.0.1")
        server = DnsServer(respond)
        sockets = bind("127.0.0.1", 0)
        await server.start(sockets)
        await names.wait_synced()
        try:
            yield names, sockets[0].getsockname()[1]
        finally:
            await server.close()
            for task in (*kept, *(each for each in asyncio.all_tasks() if each.get_name() == "NOTIFY")):
                task.cancel()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def furnished() -> MemoryApi:
    api = MemoryApi()
    await create(api, NAMESPACE, {"metadata": {"name": "default"}})
    await create(api, SERVICE, {"metadata": {"name": "web"}, "spec": {"ports": PORTS, "clusterIP": "10.96.0.20"}})
    return api


async def test_a_secondary_is_told_and_takes_what_has_changed() -> None:
    api, told = await furnished(), Told()
    listening, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: told, local_addr=("127.0.0.1", 0))
    where = f"127.0.0.1:{listening.get_extra_info('sockname')[1]}"
    zone = dns.versioned.Zone(dns.name.from_text("cluster.local"), relativize=False)
    async with node(api, {"to": ["127.0.0.1/32"], "notify": [where]}) as (names, port):
        await until(lambda: told.serials.count(names.zone.serial) >= 2)
        await dns.asyncquery.inbound_xfr("127.0.0.1", zone, port=port, timeout=30, lifetime=30)
        assert zone.get_rdataset("web.default.svc.cluster.local.", "A") is not None
        await create(
            api, SERVICE, {"metadata": {"name": "db"}, "spec": {"type": "ExternalName", "externalName": "db.example.org"}}
        )
        await api.write("delete", SERVICE, "default", "web")
        await until(lambda: ("default", "db") in names.zone.services and ("default", "web") not in names.zone.services)
        await until(lambda: told.serials.count(names.zone.serial) >= 2)
        await dns.asyncquery.inbound_xfr("127.0.0.1", zone, port=port, timeout=30, lifetime=30)
        assert zone.get_rdataset("web.default.svc.cluster.local.", "A") is None
        assert str(zone.get_rdataset("db.default.svc.cluster.local.", "CNAME")[0]) == "db.example.org."
        assert zone.get_rdataset(zone.origin, dns.rdatatype.SOA)[0].serial == names.zone.serial
    listening.close()


@pytest.mark.parametrize("transfer", [{}, {"to": ["192.0.2.0/24"]}], ids=["nobody", "somebody else"])
async def test_nobody_else_has_the_zones(transfer: dict[str, Any]) -> None:
    async with node(await furnished(), transfer) as (_, port):
        asked = dns.message.make_query("cluster.local", "AXFR")
        assert (await dns.asyncquery.tcp(asked, "127.0.0.1", port=port, timeout=30)).rcode() == dns.rcode.REFUSED
