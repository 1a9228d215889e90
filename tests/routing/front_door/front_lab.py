"""Both real proxies in front of one backend that remembers what it is told, and clients that say what octets a test wants."""

import contextlib
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO, TypeVar

from msgspec import Struct
from tests.routing.front_door.front_backend import Backend, Heard, chunks, exactly, lines
from tests.routing.proxy_lab import RealProxy, both

from mooring.routing.table import (
    Access,
    Answer,
    Certificate,
    Chain,
    Cluster,
    Endpoints,
    Filters,
    Forward,
    FrontDoor,
    HeaderChanges,
    Listener,
    Match,
    PathKind,
    PathMatch,
    Policy,
    Redirect,
    Route,
    RouteTable,
    Template,
    Terminate,
    Variable,
    VirtualHost,
    WeightedCluster,
)
from mooring.testing.certificates import self_signed

PATIENCE = 60.0
HOST = "a.test"
ECHO = Forward((WeightedCluster("echo"),))
CLUSTERS = {name: Cluster(name, Endpoints(name)) for name in ("echo", "empty")}
NOT_FROM_HERE = Filters(
    access=Access(allowed=("192.0.2.1/32",)), response_headers=HeaderChanges(set=(("x-frame-options", "DENY"),))
)
WHERE = Template((Variable.SCHEME, "://", Variable.HOST))
Result = TypeVar("Result")


def at(path: str, kind: PathKind = PathKind.PREFIX) -> Match:
    return Match(PathMatch(kind, path))


ROUTES = (
    Route("secret", at("/secret"), ECHO, NOT_FROM_HERE),
    Route("exact", at("/exact", PathKind.EXACT), Answer(200, "exact")),
    Route("empty", at("/empty"), Forward((WeightedCluster("empty"),))),
    Route("gone", at("/gone"), Answer(503, because="the Secret shop/token is not there")),
    Route("small", at("/small"), ECHO, policy=Policy(body=100)),
    Route("small stream", at("/unbuffered"), ECHO, policy=Policy(body=100, buffer_request=False)),
    Route("big", at("/big"), ECHO, policy=Policy(body=0, buffer_request=False, buffer_response=False)),
    Route("stream", at("/stream"), ECHO, policy=Policy(buffer_response=False)),
    Route("told", at("/told"), Redirect(302, url=WHERE), Filters(response_headers=HeaderChanges(set=(("x-where", WHERE),)))),
    Route("named", at("/named"), ECHO, Filters(request_headers=HeaderChanges(set=(("x-where", WHERE),)))),
    Route("all", at("/"), ECHO),
)
HOSTS = (VirtualHost("a", (HOST,), ROUTES), VirtualHost("b", ("b.test",), (Route("b", Match(), Answer(200, "host b")),)))


def table(front: FrontDoor | None = None, hosts: tuple[VirtualHost, ...] = HOSTS, tls: bool = False) -> RouteTable:
    """`tls`: on port 443 too, with a certificate for each host and one for all others."""
    listeners: tuple[Listener, ...] = (Listener("http", 80, (Chain(("*",), hosts),)),)
    certificates: dict[str, Certificate] = {}
    if tls:
        chains = [Chain(("*",), hosts, Terminate("default"))]
        certificates["default"] = self_signed("default.test")
        for name in (host for each in hosts for host in each.hosts if host != "*"):
            chains.append(Chain((name,), hosts, Terminate(name)))
            certificates[name] = self_signed(name)
        listeners += (Listener("https", 443, tuple(chains)),)
    return RouteTable(listeners, CLUSTERS, certificates, front or FrontDoor())


class Reply(Struct, frozen=True):
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    trailers: tuple[tuple[str, str], ...] = ()

    def one(self, name: str) -> str:
        return " | ".join(value for each, value in self.headers if each == name)


class Lab:
    """`heard` is what the backend was told since the last question."""

    def __init__(self, proxies: Sequence[RealProxy], backend: Backend) -> None:
        self.proxies, self.backend = {each.name: each for each in proxies}, backend

    def serve(self, wish: RouteTable) -> None:
        for proxy in self.proxies.values():
            proxy.serve(wish, {"echo": (self.backend.member,)})

    def serve_as_it_is(self, wish: RouteTable, first: bytes = b"") -> None:
        """Without what tells the lab that it is in force, which the PROXY protocol would keep out and which names the server:
        until a request behind the octets `first` is answered by the backend."""

        def is_answered(proxy: str) -> bool:
            with connected(self.port(proxy)) as connection, connection.makefile("rb") as stream:
                try:
                    connection.sendall(first + AFTER)
                    return replied(stream).one("server") == "backend"
                except (EOFError, OSError):
                    return False

        for name, proxy in self.proxies.items():
            proxy.apply(wish, {"echo": (self.backend.member,)})
            until(lambda proxy=proxy: proxy.has_taken(wish), f"{name} does not take it")
            until(lambda name=name: is_answered(name), f"{name} does not serve")

    @property
    def heard(self) -> list[Heard]:
        return self.backend.heard

    def port(self, proxy: str, port: int = 80) -> int:
        return self.proxies[proxy].ports[port]

    def raw(self, proxy: str, octets: bytes) -> tuple[int, ...]:
        """The status of each answer on a connection of its own, from which `octets` come and then, unless the proxy has ended
        it, a plain request that ends it: that one's answer is not told. What was smuggled in would be answered before."""
        self.heard.clear()
        with connected(self.port(proxy)) as connection, connection.makefile("rb") as stream:
            connection.sendall(octets)
            with contextlib.suppress(OSError, EOFError):
                first = replied(stream)
                if first.one("connection").lower() == "close":
                    return (first.status,)
                with contextlib.suppress(OSError):
                    connection.sendall(AFTER)
                return (first.status, *statuses(stream))
        return ()

    def ask(
        self, proxy: str, path: str = "/", method: str = "GET", body: bytes = b"", headers: Sequence[str] = (), host: str = HOST
    ) -> Reply:
        """`headers` are whole lines. A body is sent with its length."""
        self.heard.clear()
        length = [f"Content-Length: {len(body)}"] if body else []
        head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *length, *headers, "", ""])
        with connected(self.port(proxy)) as connection, connection.makefile("rb") as stream:
            with contextlib.suppress(OSError):
                connection.sendall(head.encode("latin-1") + body)
            return replied(stream, method)


AFTER = f"GET /after HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    with Backend() as backend, both(folder) as proxies:
        yield Lab(proxies, backend)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def replied(stream: BinaryIO, method: str = "GET") -> Reply:
    """The next answer; interim ones are passed over. Raises EOFError if there is none."""
    first = stream.readline()
    if not first.startswith(b"HTTP/1."):
        raise EOFError
    status = int(first.split()[1])
    headers = tuple(lines(stream))
    if status in (100, 103):
        return replied(stream, method)
    fields = dict(headers)
    body, trailers = b"", ()
    if method == "HEAD" or status in (204, 304):
        pass
    elif "transfer-encoding" in fields:
        body = b"".join(chunks(stream))
        trailers = tuple(lines(stream))
    elif "content-length" in fields:
        body = exactly(stream, int(fields["content-length"]))
    else:
        body = stream.read()
    return Reply(status, headers, body, trailers)


def statuses(stream: BinaryIO) -> tuple[int, ...]:
    """Of all further answers, but for that to AFTER."""
    found = []
    with contextlib.suppress(OSError, EOFError):
        while True:
            reply = replied(stream)
            if b'"/after"' not in reply.body:
                found.append(reply.status)
    return tuple(found)


def until(found: Callable[[], Result], why: str, patience: float = PATIENCE) -> Result:
    """The first true result."""
    end = monotonic() + patience
    while not (result := found()):
        assert monotonic() < end, why
        sleep(0.01)
    return result


def listeners() -> Iterator[tuple[int, str]]:
    """(port, inode) of each TCP socket of this network namespace that listens."""
    for family in ("tcp", "tcp6"):
        for line in Path("/proc/net", family).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                yield int(fields[1].rpartition(":")[2], 16), fields[9]


def sockets(pid: int) -> frozenset[str]:
    """The inodes of a process; none if it is gone."""
    try:
        targets = [os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return frozenset()
    return frozenset(each[8:-1] for each in targets if each.startswith("socket:["))


def processes(port: int) -> frozenset[int]:
    """Those that listen at this port."""
    inode = dict(listeners())[port]
    return frozenset(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if inode in sockets(pid))


def resident(port: int) -> int:
    """Octets of memory that the processes that listen at this port hold."""
    fields = [Path(f"/proc/{pid}/statm").read_text().split() for pid in processes(port)]
    return sum(int(each[1]) for each in fields) * os.sysconf("SC_PAGESIZE")


def secure(minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2, protocols: Sequence[str] = ()) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def told(reply: Reply) -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads(reply.body)
    return found
