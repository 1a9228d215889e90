"""What do clients learn of a proxy from its own answers, and what do its sockets let others do?"""

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.routing.front_door.front_lab import Lab, connected, lab, listeners, processes, replied, sockets, table, told

ROWS: dict[str, tuple[int, dict[str, object]]] = {
    "no such host": (404, {"path": "/", "host": "c.test"}),
    "no endpoint": (503, {"path": "/empty"}),
    "a broken rule, whose reason names a Secret": (503, {"path": "/gone"}),
    "a client that is not allowed": (403, {"path": "/secret"}),
    "a body that is too large": (413, {"path": "/small", "method": "POST", "body": b"x" * 200}),
    "a body that is too large, not taken in whole": (413, {"path": "/unbuffered", "method": "POST", "body": b"x" * 200}),
    "a path that could mean two things": (400, {"path": "/x%2f"}),
    "NUL in a header": (400, {"path": "/x", "headers": ["X-A: 1\x00"]}),
    "headers that are too large": (431, {"path": "/x", "headers": ["X-A: " + "x" * 100_000]}),
    "an unknown coding": (501, {"path": "/x", "method": "POST", "headers": ["Transfer-Encoding: gzip"]}),
    "an endpoint that does not answer": (502, {"path": "/mute"}),
}
OTHERWISE = {("envoy", "an endpoint that does not answer"): 503}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("front")


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[Lab]:
    with lab(folder) as found:
        found.serve(table())
        found.serve_as_it_is(table())
        yield found


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_own_answers_say_their_status_and_no_more(front: Lab, proxy: str, row: str) -> None:
    status, asked = ROWS[row]
    reply = front.ask(proxy, **asked)  # type: ignore[arg-type]
    assert (OTHERWISE.get((proxy, row), status), b"", "") == (reply.status, reply.body, reply.one("server"))
    names = {name for name, _ in reply.headers}
    assert set() == names - {"x-frame-options", "date", "content-type", "content-length", "connection", "transfer-encoding"}


def test_a_route_of_its_own_says_what_it_is_told(front: Lab) -> None:
    for proxy in front.proxies:
        reply = front.ask(proxy, "/exact")
        assert (200, b"exact", "") == (reply.status, reply.body, reply.one("server")), proxy


def test_own_answers_have_the_routes_headers(front: Lab) -> None:
    """Policies for browsers hold for refusals too."""
    for proxy in front.proxies:
        reply = front.ask(proxy, "/secret")
        assert (403, "DENY") == (reply.status, reply.one("x-frame-options")), proxy


def test_a_backend_does_not_send_the_proxy_elsewhere(front: Lab) -> None:
    """NGINX would serve another path in its stead, whoever's that is."""
    for proxy in front.proxies:
        assert "/redirect" == told(front.ask(proxy, "/redirect"))["path"], proxy


def test_the_backends_server_is_left(front: Lab) -> None:
    """And nothing is added to its answer that tells of the proxy."""
    for proxy in front.proxies:
        reply = front.ask(proxy)
        assert ("backend", {"server", "content-length", "date", "connection"}) == (
            reply.one("server"),
            {name for name, _ in reply.headers},
        ), proxy


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_nobody_else_may_speak_to_its_sockets(front: Lab, folder: Path, proxy: str) -> None:
    """Whoever may write to a Unix socket may connect to it; NGINX makes its own writable for all, so its folder is closed."""
    found = [each for each in (folder / proxy).rglob("*") if stat.S_ISSOCK(each.stat().st_mode)]
    assert found
    for each in found:
        is_closed = any(above.stat().st_mode & 0o077 == 0 for above in each.parents if above.is_relative_to(folder / proxy))
        assert is_closed or each.stat().st_mode & 0o022 == 0, each
    assert 0o600 == (folder / "envoy" / "admin.sock").stat().st_mode & 0o777


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_no_port_is_open_but_the_doors_and_readiness(front: Lab, proxy: str) -> None:
    door, pids = front.port(proxy), processes(front.port(proxy))
    own = {port for port, inode in listeners() if any(inode in sockets(pid) for pid in pids)}
    assert (True, 2) == (door in own, len(own))
    (ready,) = own - {door}
    with connected(ready) as connection, connection.makefile("rb") as stream:
        connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: ready\r\n\r\n")
        assert 200 == replied(stream).status
