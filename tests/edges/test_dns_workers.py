"""Do worker processes answer from the table, hand over what they cannot, and outlive agents, tables and their own deaths?"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import pytest
from msgspec import Struct, structs
from prometheus_client import CollectorRegistry

from mooring.dns.owners import Change
from mooring.dns.records import Transport
from mooring.dns.table import MAGIC
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns import counters, hotpath, plainpath
from mooring.edges.dns.pool import WorkerPool, adopted, end_found
from mooring.edges.dns.publisher import Publisher, TableOptions
from mooring.edges.dns.server import bind
from mooring.edges.dns.slow import SlowPath
from mooring.services.names import PublishedService

DEADLINE = 60.0
STARTED: set[int] = set()
"""Workers that outlive their agents, to be ended with the test."""
Held = tuple[socket.socket, ...]
WEB = ("default", "web")


def zone(address: str = "10.96.0.10", serial: int = 1, synced: bool = True) -> Zone:
    return Zone(ZoneOptions(), {WEB: PublishedService((address,))}, {"default"}, serial, synced)


async def echo(message: bytes, client: str, transport: Transport) -> bytes:
    """The agent's answer, by which tests know it."""
    reply = dns.message.make_response(dns.message.from_wire(message))
    reply.set_rcode(dns.rcode.NOTAUTH)
    return reply.to_wire()


class Lab(Struct):
    """One agent: publisher, pool and slow path around sockets that somebody else holds."""

    folder: Path
    sockets: tuple[socket.socket, ...]
    publisher: Publisher
    pool: WorkerPool
    slow: SlowPath
    counting: counters.Counting

    async def ask(self, name: str = "web.default.svc.cluster.local", kind: str = "A", **options: object) -> dns.message.Message:
        question = dns.message.make_query(name, kind, **options)
        host, port = self.sockets[0].getsockname()[:2]
        return await dns.asyncquery.udp(question, host, port=port, timeout=DEADLINE)

    async def until(self, what: Callable[[dns.message.Message], bool], *asked: str) -> dns.message.Message:
        async with asyncio.timeout(DEADLINE):
            while not what(reply := await self.ask(*asked)):
                await asyncio.sleep(0.002)
            return reply


@asynccontextmanager
async def agent(
    folder: Path,
    held: Held,
    now: Zone | None = None,
    options: TableOptions | None = None,
    *,
    reading: bool = True,
) -> AsyncIterator[Lab]:
    """With a worker for each UDP socket. `reading`: at once, what they hand over."""
    sockets = {number: (each,) for number, each in enumerate(held[:-1])}
    publisher = Publisher(folder, options)
    publisher.replace(now or zone())
    counting = counters.Counting(echo)
    slow = SlowPath(folder, counting.respond, sockets)
    slow.listen()
    if reading:
        slow.read()
    pool = WorkerPool(folder, sockets, None)
    running = asyncio.create_task(pool.run())
    try:
        yield Lab(folder, held, publisher, pool, slow, counting)
    finally:
        STARTED.update(worker.pid for worker in pool.workers.values())
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await slow.close()
        publisher.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    """What a supervisor holds: the sockets of two workers. They end with the test."""
    sockets = bind(request.param, 0, readers=2)
    yield sockets
    for each in sockets:
        each.close()
    for pid in STARTED:
        with contextlib.suppress(OSError):
            if str(tmp_path) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
    STARTED.clear()


def addresses(reply: dns.message.Message) -> list[str]:
    return sorted(each.address for rrset in reply.answer for each in rrset)


async def test_workers_answer_what_is_in_the_table_and_the_agent_the_rest(tmp_path: Path, held: Held) -> None:
    async with agent(tmp_path, held) as lab:
        for number in range(8):
            found = await lab.ask("WEB.default.svc.cluster.local", use_edns=bool(number % 2))
            assert (["10.96.0.10"], dns.rcode.NOERROR) == (addresses(found), found.rcode())
            assert found.flags & dns.flags.AA
        missing = await lab.ask("web.default.svc.cluster.local.default.svc.cluster.local")
        assert dns.rcode.NXDOMAIN == missing.rcode()
        assert ["cluster.local."] == [str(rrset.name) for rrset in missing.authority]
        for asked in (("example.com",), ("web.default.svc.cluster.local", "ANY")):
            assert dns.rcode.NOTAUTH == (await lab.ask(*asked)).rcode()


async def test_a_change_is_answered_at_once(tmp_path: Path, held: Held) -> None:
    async with agent(tmp_path, held) as lab:
        before = zone()
        for number in range(2, 200):
            after = zone(f"10.96.1.{number}", number)
            lab.publisher.change(after, Change(WEB, before.services[WEB], after.services[WEB]))
            assert [f"10.96.1.{number}"] == addresses(await lab.ask())
            before = after
        soa = await lab.ask("cluster.local", "SOA")
        assert 199 == next(iter(soa.answer[0])).serial
        lab.publisher.change(structs.replace(before, services={}), Change(WEB, before.services[WEB], None))
        assert dns.rcode.NXDOMAIN == (await lab.ask()).rcode()


async def test_until_synced_an_unknown_name_fails_and_a_known_one_does_not(tmp_path: Path, held: Held) -> None:
    async with agent(tmp_path, held, zone(synced=False)) as lab:
        assert ["10.96.0.10"] == addresses(await lab.ask())
        assert dns.rcode.SERVFAIL == (await lab.ask("nobody.default.svc.cluster.local")).rcode()
        lab.publisher.change(zone())
        assert dns.rcode.NXDOMAIN == (await lab.ask("nobody.default.svc.cluster.local")).rcode()


async def test_a_worker_that_is_killed_is_started_again_and_nothing_that_waits_is_lost(tmp_path: Path, held: Held) -> None:
    async with agent(tmp_path, held) as lab:
        await lab.until(lambda reply: len(lab.pool.workers) == 2)
        victims = [worker.pid for worker in lab.pool.workers.values()]
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        replies = await asyncio.gather(*(lab.ask() for _ in range(50)))
        assert [["10.96.0.10"]] * 50 == [addresses(each) for each in replies]
        assert 2 == lab.pool.restarts
        assert not set(victims) & {worker.pid for worker in lab.pool.workers.values()}


async def test_workers_outlive_the_agent_and_the_next_takes_them_over_with_its_table(tmp_path: Path, held: Held) -> None:
    async with agent(tmp_path, held) as lab:
        await asyncio.gather(*(lab.ask() for _ in range(20)))
        first = {worker.pid for worker in lab.pool.workers.values()}
        table = (tmp_path / "table").stat().st_ino
    assert ["10.96.0.10"] == addresses(await lab.ask())
    async with agent(tmp_path, held, zone("10.96.7.7", 2)) as lab:
        assert ["10.96.7.7"] == addresses(await lab.ask())
        assert table != (tmp_path / "table").stat().st_ino
        assert first == {worker.pid for worker in lab.pool.workers.values()}
        # Handing over works again as soon as the worker has found the new agent.
        async with asyncio.timeout(DEADLINE):
            while True:
                with contextlib.suppress(dns.exception.Timeout):
                    question = dns.message.make_query("example.com", "A")
                    host, port = held[0].getsockname()[:2]
                    assert dns.rcode.NOTAUTH == (await dns.asyncquery.udp(question, host, port=port, timeout=0.1)).rcode()
                    break


async def test_workers_with_other_sockets_or_another_number_are_ended(tmp_path: Path, held: Held) -> None:
    async with agent(tmp_path, held) as lab:
        await asyncio.gather(*(lab.ask() for _ in range(20)))
        first = {worker.pid for worker in lab.pool.workers.values()}
    others = bind("127.0.0.1", 0)
    async with agent(tmp_path, others) as lab:
        assert ["10.96.0.10"] == addresses(await lab.ask())
        async with asyncio.timeout(DEADLINE):
            while any(_runs(pid) for pid in first):
                await asyncio.sleep(0.01)
    for each in others:
        each.close()


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_who_may_not_ask_is_refused_and_who_asks_too_much_is_not_answered(tmp_path: Path, held: Held) -> None:
    nobody = TableOptions(prefixes=((4, 8, bytes((10, 0, 0, 0))), (6, 16, bytes((0xFD, 0)) + bytes(14))))
    async with agent(tmp_path, held, options=nobody) as lab:
        assert dns.rcode.REFUSED == (await lab.ask()).rcode()
        assert dns.rcode.REFUSED == (await lab.ask("example.com", "ANY")).rcode()
    async with agent(tmp_path, held, options=TableOptions(rate=1, burst=3)) as lab:
        asked = asyncio.gather(*(lab.ask() for _ in range(40)), return_exceptions=True)
        async with asyncio.timeout(DEADLINE):
            while not counters.read(tmp_path)[plainpath.LIMITED]:
                await asyncio.sleep(0.01)
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked


def burst(client: socket.socket, folder: Path) -> tuple[int, int]:
    """Asks 200 times; the agent, which runs in this thread, does nothing until workers have handed all over or lost it."""
    question = dns.message.make_query("example.com", "A").to_wire()
    for _ in range(200):
        client.send(question)
    end = time.monotonic() + DEADLINE
    while True:
        counted = counters.read(folder)
        handed, lost = counted[plainpath.HANDED], counted[plainpath.LOST]
        if handed + lost > 200 or time.monotonic() > end:
            return handed, lost
        time.sleep(0.001)


async def test_a_burst_waits_for_a_busy_agent_and_nothing_of_it_is_lost(tmp_path: Path, held: Held) -> None:
    """A Unix datagram socket would hold ten."""
    async with agent(tmp_path, held) as lab:
        assert dns.rcode.NOTAUTH == (await lab.ask("example.com")).rcode()
        with socket.socket(held[0].family, socket.SOCK_DGRAM) as client:
            client.connect(held[0].getsockname())
            assert (201, 0) == burst(client, tmp_path)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(DEADLINE):
                replies = [await loop.sock_recv(client, 512) for _ in range(200)]
        assert {dns.rcode.NOTAUTH} == {dns.message.from_wire(reply).rcode() for reply in replies}


async def test_what_is_handed_over_before_the_agent_can_answer_waits_for_it(tmp_path: Path, held: Held) -> None:
    async with agent(tmp_path, held, reading=False) as lab:
        asked = asyncio.create_task(lab.ask("example.com"))
        async with asyncio.timeout(DEADLINE):
            while not counters.read(tmp_path)[plainpath.HANDED]:
                await asyncio.sleep(0.001)
        await asyncio.wait({asked}, timeout=0.05)
        assert not asked.done()
        lab.slow.read()
        assert dns.rcode.NOTAUTH == (await asked).rcode()


LOCKS = {
    "nobody has written who it is yet": ("", False),
    "a worker without sockets": (f"{os.getpid()} {MAGIC} \n", True),
    "a worker with sockets that are not ours": (f"{os.getpid()} {MAGIC} 7,8\n", False),
    "a worker of another version": (f"{os.getpid()} 7 \n", False),
}


@pytest.mark.parametrize(("told", "expected"), LOCKS.values(), ids=LOCKS)
def test_whom_a_held_lock_tells(tmp_path: Path, told: str, expected: bool) -> None:
    lock = tmp_path / "worker-0.lock"
    lock.write_text(told)
    with lock.open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        found = adopted(tmp_path, 0, ())
        assert expected == (found is not None)
        if found is not None:
            assert os.getpid() == found.pid
            os.close(found.pidfd)
        if not told:
            end_found(tmp_path, 0)


async def test_their_counters_become_metrics_with_coredns_names(tmp_path: Path, held: Held) -> None:
    registry = CollectorRegistry()
    async with agent(tmp_path, held) as lab:
        counters.WorkerMetrics(tmp_path, lab.counting, registry)
        await lab.ask()
        await lab.ask("web.default.svc.cluster.local", "AAAA")
        await lab.ask("nobody.default.svc.cluster.local")
        await lab.ask("example.com")
    common = {"server": "dns://:53", "zone": ".", "view": ""}
    asked = {**common, "proto": "udp", "family": "2" if held[0].family == socket.AF_INET6 else "1"}
    expected = [
        (3.0, "coredns_dns_requests_total", {**asked, "type": "A"}),
        (1.0, "coredns_dns_requests_total", {**asked, "type": "AAAA"}),
        (2.0, "coredns_dns_responses_total", {**common, "rcode": "NOERROR", "plugin": "table"}),
        (1.0, "coredns_dns_responses_total", {**common, "rcode": "NXDOMAIN", "plugin": "table"}),
        (1.0, "coredns_dns_responses_total", {**common, "rcode": "NOTAUTH", "plugin": ""}),
        (4.0, "coredns_dns_request_duration_seconds_count", {"server": "dns://:53", "zone": "."}),
        (1.0, "mooring_dns_worker_handed_over_total", {}),
    ]
    # A worker counts some things after its reply is on the way.
    async with asyncio.timeout(DEADLINE):
        while (found := [(registry.get_sample_value(name, labels), name, labels) for _, name, labels in expected]) != expected:
            await asyncio.sleep(0.01)
    assert expected == found


@pytest.mark.parametrize("loop", [hotpath, plainpath], ids=["in C", "in Python"])
async def test_both_loops_do_the_same(tmp_path: Path, loop: object, monkeypatch: pytest.MonkeyPatch) -> None:
    Publisher(tmp_path).replace(zone())
    udp, tcp = bind("127.0.0.1", 0)
    agents, workers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stopped, stop = socket.socketpair()
    counted = bytearray(counters.COUNTERS_SIZE)
    arguments = (str(tmp_path / "table"), (udp.fileno(),), stopped.fileno(), workers.fileno(), 7, counted, -1)
    serving = asyncio.create_task(asyncio.to_thread(loop.serve, *arguments))  # type: ignore[attr-defined]
    try:
        host, port = udp.getsockname()
        reply = await dns.asyncquery.udp(
            dns.message.make_query("web.default.svc.cluster.local", "A"), host, port=port, timeout=DEADLINE
        )
        assert ["10.96.0.10"] == addresses(reply)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", 0))
            question = dns.message.make_query("example.com", "A").to_wire()
            client.sendto(question, (host, port))
            handed = await asyncio.to_thread(agents.recv, 4096)
            head = (
                bytes((7, 0, 4, 0)) + client.getsockname()[1].to_bytes(2, "big") + bytes(6) + bytes((127, 0, 0, 1)) + bytes(12)
            )
            assert head + question == handed
        # The counters of what it hands over follow the message.
        async with asyncio.timeout(DEADLINE):
            while counters.WORDS.unpack(counted)[plainpath.HANDED] == 0:
                await asyncio.sleep(0.001)
        stop.send(b".")
        assert loop.STOPPED == await asyncio.wait_for(serving, DEADLINE)  # type: ignore[attr-defined]
        words = counters.WORDS.unpack(counted)
        assert (1, 1) == (words[plainpath.HITS], words[plainpath.HANDED])
    finally:
        stop.close()
        await serving
        for each in (udp, tcp, agents, workers, stopped):
            each.close()
