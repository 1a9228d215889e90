"""What is written of each request? One line of JSON with the same keys, whatever a client sends."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from msgspec import structs
from tests.routing.front_door.front_lab import HOST, Lab, lab, table, until

from mooring.routing.table import FrontDoor, Policy, Route, VirtualHost

BOTH = pytest.mark.parametrize("proxy", ["envoy", "nginx"])
KEYS = {
    "time", "method", "scheme", "authority", "path", "protocol", "status", "flags", "details", "bytes_received", "bytes_sent",
    "duration", "client", "forwarded_for", "request_id", "traceparent", "route", "cluster", "upstream", "user_agent",
}  # fmt: skip
NUMBERS = {"status", "bytes_received", "bytes_sent", "duration"}
Line = Mapping[str, object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("front")


@pytest.fixture(scope="module")
def front(folder: Path) -> Iterator[Lab]:
    with lab(folder) as found:
        wish = table()
        (listener,) = wish.listeners
        (chain,) = listener.chains
        first = chain.virtual_hosts[0]
        quiet = Route(
            "quiet",
            structs.replace(first.routes[-1].match, path=structs.replace(first.routes[-1].match.path, value="/quiet")),
            first.routes[-1].action,
            policy=Policy(access_log=False),
        )
        named = structs.replace(
            first.routes[-1],
            name='a "route"\\',
            match=structs.replace(first.routes[-1].match, path=structs.replace(first.routes[-1].match.path, value="/named")),
        )
        hosts = (VirtualHost(first.name, first.hosts, (quiet, named, *first.routes)), *chain.virtual_hosts[1:])
        found.serve(table(hosts=hosts))
        yield found


def lines(folder: Path, proxy: str) -> list[Line]:
    """Without one that is still being written."""
    whole, _, _ = (folder / proxy / "access.log").read_bytes().rpartition(b"\n")
    return [json.loads(each) for each in whole.splitlines()]


def of(folder: Path, proxy: str, name: str) -> Line:
    """The line of the request with this id."""
    found = until(
        lambda: [each for each in lines(folder, proxy) if each["request_id"] == name], f"{proxy} wrote nothing of {name}"
    )
    assert 1 == len(found)
    return found[0]


@BOTH
def test_a_line_tells_of_a_request(front: Lab, folder: Path, proxy: str) -> None:
    context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = ["X-Request-ID: told", "User-Agent: test", f"traceparent: {context}", "X-Forwarded-For: 192.0.2.1"]
    front.ask(proxy, "/x?a=b", method="POST", body=b"12345", headers=headers)
    line = of(folder, proxy, "told")
    expected = {
        "method": "POST", "scheme": "http", "authority": HOST, "path": "/x?a=b", "protocol": "HTTP/1.1", "status": 200,
        "flags": "-", "client": "127.0.0.1", "forwarded_for": "127.0.0.1", "request_id": "told", "traceparent": context,
        "route": "all", "cluster": "echo", "upstream": f"127.0.0.1:{front.backend.member.port}", "user_agent": "test",
    }  # fmt: skip
    assert expected == {key: line[key] for key in expected}
    assert KEYS == set(line)
    assert (str(line["time"])[10:11], True) == ("T", all(isinstance(line[key], int) for key in NUMBERS))
    # On the wire: the heads count too.
    assert (True, True) == (100 < int(str(line["bytes_received"])) < 1000, 100 < int(str(line["bytes_sent"])) < 2000)


ABSENT = {"envoy": None, "nginx": ""}
"""What stands for a value that is not there."""
ODD = {
    "quotes": b'GET /"quo\\te" HTTP/1.1\r\nHost: a.test\r\nUser-Agent: "\\"</script>\r\n',
    "UTF-8": "GET /%E2%82%AC HTTP/1.1\r\nHost: a.test\r\nUser-Agent: €\r\n".encode(),
    "no UTF-8": b"GET /x HTTP/1.1\r\nHost: a.test\r\nUser-Agent: a\xff\xc0\xaf\xed\xa0\x80\r\n",
    "no UTF-8 in the path": b"GET /\xff HTTP/1.1\r\nHost: a.test\r\n",
    "control octets": b"GET /x HTTP/1.1\r\nHost: a.test\r\nUser-Agent: \x01\x1b[31m\r\n",
    "another line": b'GET /x HTTP/1.1\r\nHost: a.test\r\nUser-Agent: a\\n{"status":200}\r\n',
    "a trace that is none": b'GET /x HTTP/1.1\r\nHost: a.test\r\ntraceparent: \xff"\r\n',
    "a host that is none": b'GET /x HTTP/1.1\r\nHost: \xff"\\\r\n',
    "a route's name": b"GET /named HTTP/1.1\r\nHost: a.test\r\n",
    "no HTTP": b'\x00\xff"\\ \r\n',
    "too much": b"GET /x HTTP/1.1\r\nHost: a.test\r\nUser-Agent: " + b"\xff" * 100_000 + b"\r\n",
}


@BOTH
def test_a_line_is_json_whatever_a_client_says(front: Lab, folder: Path, proxy: str) -> None:
    for octets in ODD.values():
        front.raw(proxy, octets + b"Connection: close\r\n\r\n")
    front.ask(proxy, headers=["X-Request-ID: last"])
    last = of(folder, proxy, "last")
    assert (ABSENT[proxy], ABSENT[proxy]) == (last["traceparent"], last["user_agent"])
    until(lambda: len(lines(folder, proxy)) >= len(ODD), f"{proxy} did not write of all")
    found = lines(folder, proxy)
    for line in found:
        assert (KEYS, NUMBERS) == (set(line), {key for key, value in line.items() if isinstance(value, int)})
        assert ABSENT[proxy] is None or None not in line.values()
    assert {("all", "echo")} == {(line["route"], line["cluster"]) for line in found if "€" in str(line["user_agent"])}


@BOTH
def test_a_route_may_be_silent(front: Lab, folder: Path, proxy: str) -> None:
    front.ask(proxy, "/quiet", headers=["X-Request-ID: silent"])
    front.ask(proxy, headers=["X-Request-ID: after-it"])
    of(folder, proxy, "after-it")
    assert [] == [each for each in lines(folder, proxy) if each["request_id"] == "silent"]


def test_a_line_is_json_whatever_a_believed_proxy_says(front: Lab, folder: Path) -> None:
    front.serve(table(FrontDoor(trusted_hops=1)))
    for proxy in front.proxies:
        head = b'GET /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: "\\\xff\r\nX-Request-ID: believed\r\n'
        front.raw(proxy, head + b"Connection: close\r\n\r\n")
        assert KEYS == set(of(folder, proxy, "believed"))
