"""Does the DNS server serve UDP and TCP, several questions on one connection, and survive a broken responder?"""

import asyncio

import dns.asyncquery
import dns.message
import pytest

from mooring.dns import wire
from mooring.dns.records import Rcode, Reply, Transport, address
from mooring.edges.dns.server import DnsServer, bind
from mooring.edges.dns.streams import Replies

QUERY = dns.message.make_query("web.default.svc.cluster.local.", "A")


async def respond(message: bytes, client: str, transport: Transport) -> Replies:
    query = wire.read(message, client, transport)
    return wire.write(query, Reply(Rcode.NOERROR, (address(query.question.name, 5, "10.96.0.10"),), authoritative=True))


async def start(server: DnsServer) -> int:
    sockets = bind("127.0.0.1", 0)
    await server.start(sockets)
    port: int = sockets[0].getsockname()[1]
    return port


async def test_one_address_answers_over_udp_and_tcp() -> None:
    server = DnsServer(respond)
    port = await start(server)
    try:
        over_udp = await dns.asyncquery.udp(QUERY, "127.0.0.1", port=port, timeout=60)
        over_tcp = await dns.asyncquery.tcp(QUERY, "127.0.0.1", port=port, timeout=60)
        assert over_udp.answer == over_tcp.answer != []
    finally:
        await server.close()


async def test_a_connection_carries_several_questions_sent_at_once() -> None:
    server = DnsServer(respond)
    port = await start(server)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        wire = QUERY.to_wire()
        writer.write((len(wire).to_bytes(2) + wire) * 3)
        for _ in range(3):
            length = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 60))
            assert dns.message.from_wire(await reader.readexactly(length)).answer
        writer.close()
    finally:
        await server.close()


async def test_a_message_that_breaks_the_responder_costs_only_its_own_reply() -> None:
    async def fragile(message: bytes, client: str, transport: Transport) -> Replies:
        if message == b"boom":
            raise RuntimeError("boom")
        return await respond(message, client, transport)

    server = DnsServer(fragile)
    port = await start(server)
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port)
        )
        transport.sendto(b"boom")
        transport.close()
        assert (await dns.asyncquery.udp(QUERY, "127.0.0.1", port=port, timeout=60)).answer
    finally:
        await server.close()


async def test_queries_wait_in_kept_sockets_while_the_server_restarts() -> None:
    udp, tcp = kept = bind("127.0.0.1", 0)
    port = udp.getsockname()[1]
    first = DnsServer(respond)
    await first.start((udp.dup(), tcp.dup()))
    await first.close()
    asked = asyncio.create_task(dns.asyncquery.udp(QUERY, "127.0.0.1", port=port, timeout=60))
    connected = asyncio.create_task(dns.asyncquery.tcp(QUERY, "127.0.0.1", port=port, timeout=60))
    await asyncio.wait({asked, connected}, timeout=0.05)
    assert not asked.done() and not connected.done()
    second = DnsServer(respond)
    await second.start(kept)
    try:
        assert (await asked).answer == (await connected).answer != []
    finally:
        await second.close()


def test_a_shared_address_is_bound_beside_a_worker_that_outlived_its_agent_but_not_beside_a_server() -> None:
    udp, tcp = bind("127.0.0.1", 0, shared=True)
    port = udp.getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", port, shared=True)
    tcp.close()
    with pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", port)
    again = bind("127.0.0.1", port, shared=True)
    assert [port, port] == [each.getsockname()[1] for each in again]
    for each in (udp, *again):
        each.close()
