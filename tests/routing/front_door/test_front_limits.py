"""How much, how many and how slow may a client be?"""

import contextlib
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec import structs
from tests.routing.front_door.front_backend import chunk
from tests.routing.front_door.front_lab import CLUSTERS, ECHO, HOST, Lab, at, connected, lab, replied, table, until
from tests.routing.proxy_lab import SPARE, Loop, RealProxy, placed, started

from mooring.edges.envoy import launch as envoy_launch
from mooring.edges.envoy.proxy import EnvoyProxy
from mooring.routing.table import FrontDoor, Policy, Route, RouteTable, VirtualHost
from mooring.routing.xds.bootstrap import admin_path, bootstrap
from mooring.routing.xds.emit import Emitter

BOTH = pytest.mark.parametrize("proxy", ["envoy", "nginx"])
DOOR = FrontDoor(header_octets=16 * 1024, header_count=20)
HASTY = FrontDoor(header_timeout=1.0, body_timeout=1.0, idle_timeout=1.0, stream_idle_timeout=1.0)


def slow(front: FrontDoor) -> RouteTable:
    """Envoy has one time for all pauses of an exchange, the route's."""
    made = table(front)
    (listener,) = made.listeners
    (chain,) = listener.chains
    routes = (Route("slow", at("/slow"), ECHO, policy=Policy(read=1.0, send=1.0)), *chain.virtual_hosts[0].routes)
    chain = structs.replace(chain, virtual_hosts=(VirtualHost("a", (HOST,), routes),))
    return structs.replace(made, listeners=(structs.replace(listener, chains=(chain,)),), clusters=CLUSTERS)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("front")) as found:
        found.serve(table(DOOR))
        yield found


SIZES: dict[str, tuple[str, Sequence[str], tuple[int, int]]] = {
    # (path, headers, (Envoy's, NGINX's))
    "one line of 3 kB": ("/x", ["X-A: " + "x" * 3000], (200, 200)),
    "lines of 12 kB": ("/x", [f"X-{n}: " + "x" * 3000 for n in range(4)], (200, 200)),
    # NGINX reads them into four buffers, and a line must fit into one.
    "one line of 12 kB": ("/x", ["X-A: " + "x" * 12_000], (200, 431)),
    "one line of 20 kB": ("/x", ["X-A: " + "x" * 20_000], (431, 431)),
    "lines of 20 kB": ("/x", [f"X-{n}: " + "x" * 2000 for n in range(10)], (431, 431)),
    "a target of 3 kB": ("/" + "x" * 3000, [], (200, 200)),
    "a target of 20 kB": ("/" + "x" * 20_000, [], (431, 414)),
    "15 lines": ("/x", [f"X-{n}: 1" for n in range(15)], (200, 200)),
    # NGINX counts none: their octets are limited.
    "30 lines": ("/x", [f"X-{n}: 1" for n in range(30)], (431, 200)),
}


@BOTH
@pytest.mark.parametrize("row", SIZES)
def test_heads_are_limited(front: Lab, proxy: str, row: str) -> None:
    path, headers, expected = SIZES[row]
    assert expected[proxy == "nginx"] == front.ask(proxy, path, headers=headers).status


@BOTH
@pytest.mark.parametrize(
    ("path", "octets", "expected"), [("/small", 100, 200), ("/small", 101, 413), ("/unbuffered", 101, 413)]
)
def test_declared_bodies_are_limited(front: Lab, proxy: str, path: str, octets: int, expected: int) -> None:
    assert expected == front.ask(proxy, path, method="POST", body=b"x" * octets).status
    assert (expected == 200) == bool(front.heard)


@BOTH
@pytest.mark.parametrize(("pieces", "expected"), [(2, 200), (5, 413)])
def test_bodies_of_chunks_are_limited(front: Lab, proxy: str, pieces: int, expected: int) -> None:
    body = chunk(b"x" * 50) * pieces + b"0\r\n\r\n"
    head = f"POST /small HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert (expected,) == front.raw(proxy, head.encode() + body)
    assert (expected == 200) == bool(front.heard)


HEAD = f"Host: {HOST}\r\n"
SLOW = {
    "not an octet": (b"", b""),
    "a head that never ends": (f"GET /slow HTTP/1.1\r\n{HEAD}".encode(), b"X-A: 1\r\n"),
    "a body that stops": (f"POST /slow HTTP/1.1\r\n{HEAD}Content-Length: 100\r\n\r\nhello".encode(), b""),
    "a body of chunks that stops": (
        f"POST /slow HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".encode(),
        b"",
    ),
    "nothing after an answer": (f"GET /x HTTP/1.1\r\n{HEAD}\r\n".encode(), b""),
}
PATIENT = {("envoy", "nothing after an answer")}
"""It waits 5 s more for such a client."""
AGAIN = 0.2
"""Seconds between two pieces of a slow client."""


def test_slow_clients_are_cut(front: Lab) -> None:
    """All at a time, for they take a second or more."""
    front.serve(slow(HASTY))
    with ThreadPoolExecutor(2 * len(SLOW)) as pool:
        cut = {
            (proxy, row): pool.submit(until_cut, front.port(proxy), *SLOW[row])
            for proxy in front.proxies
            for row in SLOW
            if (proxy, row) not in PATIENT
        }
        assert dict.fromkeys(cut, True) == {each: found.result() for each, found in cut.items()}


def until_cut(port: int, first: bytes, piece: bytes) -> bool:
    """Whether the proxy ends the connection, on which `piece` goes on and on."""
    end = time.monotonic() + 60
    with connected(port) as connection:
        connection.sendall(first)
        connection.settimeout(AGAIN)
        while time.monotonic() < end:
            try:
                if not connection.recv(65536):
                    return True
            except TimeoutError:
                with contextlib.suppress(OSError):
                    connection.sendall(piece)
            except OSError:
                return True
    return False


MOST = 8


def test_envoy_accepts_so_many_connections(tmp_path: Path) -> None:
    """What is told when it starts; readiness is beside it."""
    placement = placed(tmp_path)
    file = tmp_path / "envoy.json"
    file.write_bytes(bootstrap(placement, connections=MOST))
    with Loop() as loop, contextlib.ExitStack() as held:
        proxy = loop.do(lambda: EnvoyProxy(placement, Emitter(placement), SPARE))
        loop.start(proxy.run())
        with started(envoy_launch.launch(file, admin_path(placement), 1), tmp_path):
            door = RealProxy("envoy", loop, proxy, placement.ports)
            door.serve(table(), {})
            door.client.forget()
            answers = [status(held, placement.ports[80], "/exact") for _ in range(2 * MOST)]
            assert (True, 0) == (MOST // 2 <= answers.count(200) <= MOST, answers[-1])
            assert 200 == status(held, placement.ready_port, "/readyz")
            held.close()
            until(lambda: status(held, placement.ports[80], "/exact") == 200, "it does not accept again")


def status(held: contextlib.ExitStack, port: int, path: str) -> int:
    """On a connection that stays open; 0 for none."""
    connection = held.enter_context(connected(port))
    stream = held.enter_context(connection.makefile("rb"))
    try:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{HEAD}\r\n".encode())
        return replied(stream).status
    except (EOFError, OSError):
        return 0


def test_idle_connections_keep_nobody_out(front: Lab) -> None:
    """More than NGINX has places for: it ends those that were idle longest."""
    front.serve(table(FrontDoor(connections=16)))
    with contextlib.ExitStack() as held:
        port = front.port("nginx")
        for _ in range(600):
            with contextlib.suppress(OSError):
                held.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        assert 200 == front.ask("nginx").status
        with connected(port) as connection, connection.makefile("rb") as stream:
            connection.sendall(f"GET /x HTTP/1.1\r\n{HEAD}\r\n".encode())
            assert 200 == replied(stream).status
