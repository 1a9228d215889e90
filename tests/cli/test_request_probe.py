"""Does `trace request --live` send what it should, find it in the proxies' logs, and tell what was done otherwise?"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from msgspec import structs
from tests.routing.echo import Echo

from mooring.app import request_probe
from mooring.app.connection import Refused
from mooring.app.places import Origin
from mooring.app.request_probe import differences, looked_up, marked
from mooring.app.requesting import Endpoint, Live, Told
from mooring.cli.trace_request import lines
from mooring.edges.live.request import Answered, Sent, send
from mooring.routing.simulate import CLOSED, OPAQUE, Request, Seen

HERE = "/proc/self/ns/net"
SEEN = Seen("GET", "web.org", "/")
TOLD = Told(
    Origin("outside", "198.51.100.7", "a", "outside"),
    "GET",
    "http://web.org/",
    "mooring-envoy",
    "envoy",
    "172.30.9.1",
    200,
    (),
    route="default/web/0.0",
    seen=SEEN,
    endpoints=(Endpoint("default/web:80", 0.5, "10.244.0.2", 8080), Endpoint("default/web:80", 0.5, "10.244.0.3", 8080)),
)
LIVE = Live(200, 0.001, pod="proxy-1", route="default/web/0.0", upstream="10.244.0.3:8080")
OWN = structs.replace(TOLD, status=404, seen=None, endpoints=(), route="")
MOVED = structs.replace(TOLD, status=308, seen=None, endpoints=(), location="https://web.org/")
HALF = structs.replace(TOLD, endpoints=(TOLD.endpoints[0], Endpoint("default/none:80", 0.5)))
FAR = structs.replace(TOLD, endpoints=(Endpoint("default/far:80", 1.0, "db.example.org", 80),))
ITSELF = structs.replace(LIVE, status=503, upstream="")


@pytest.mark.parametrize(
    ("told", "live", "expected"),
    [
        pytest.param(TOLD, LIVE, [], id="one of the foreseen endpoints"),
        pytest.param(TOLD, structs.replace(LIVE, status=404), [], id="what the backend answers is its own affair"),
        pytest.param(
            TOLD,
            structs.replace(LIVE, upstream="10.244.0.9:8080"),
            ["10.244.0.9:8080 was asked, which is none of the foreseen"],
            id="another endpoint",
        ),
        pytest.param(
            TOLD,
            structs.replace(LIVE, route="default/other/0.0"),
            ["route default/web/0.0 was foreseen, default/other/0.0 has it"],
            id="another route",
        ),
        pytest.param(TOLD, ITSELF, ["an endpoint was foreseen, and the proxy itself answers 503"], id="none"),
        pytest.param(HALF, ITSELF, [], id="none, as a part of the requests meets"),
        pytest.param(FAR, LIVE, [], id="a name's addresses are the proxy's to look up"),
        pytest.param(OWN, structs.replace(ITSELF, status=404, route=""), [], id="the proxy's own answer"),
        pytest.param(
            OWN,
            LIVE,
            [
                "route none was foreseen, default/web/0.0 has it",
                "404 was foreseen, and 200 answered",
                "no endpoint was foreseen, and 10.244.0.3:8080 was asked",
            ],
            id="served, though 404 was foreseen",
        ),
        pytest.param(MOVED, structs.replace(ITSELF, status=308, location="https://web.org/"), [], id="a redirect"),
        pytest.param(
            MOVED,
            structs.replace(ITSELF, status=308),
            ["a redirect to https://web.org/ was foreseen, to nowhere it is"],
            id="a redirect to elsewhere",
        ),
        pytest.param(structs.replace(TOLD, provided=("auth answers 2xx",)), structs.replace(ITSELF, status=401), [], id="open"),
        pytest.param(
            TOLD, Live(0, 0.1, error="refused"), ["an answer was foreseen, and there is no answer: refused"], id="dead"
        ),
        pytest.param(structs.replace(OWN, status=CLOSED), Live(0, 0.1, error="refused"), [], id="no answer, as foreseen"),
        pytest.param(
            structs.replace(OWN, status=CLOSED), LIVE, ["no answer was foreseen, and the proxies answer 200"], id="an answer"
        ),
        pytest.param(
            structs.replace(TOLD, status=OPAQUE, seen=None, route=""), structs.replace(LIVE, route=""), [], id="opaque"
        ),
        pytest.param(TOLD, structs.replace(LIVE, pod="", route="", upstream=""), [], id="no log tells"),
    ],
)
def test_what_was_done_otherwise_is_told(told: Told, live: Live, expected: list[str]) -> None:
    assert list(differences(told, live, Answered(0.0, live.status))) == expected


def test_another_certificate_is_told() -> None:
    told = structs.replace(TOLD, certificate="a" * 64)
    assert list(differences(told, LIVE, Answered(0.0, 200, certificate="b" * 64))) == [
        f"the certificate {'a' * 16}... was foreseen, {'b' * 16}... is shown"
    ]


def test_the_page_compares_both() -> None:
    told = structs.replace(TOLD, live=LIVE)
    page = "\n".join(lines(told)).splitlines()
    assert page[page.index("LIVE: answered 200 by proxy-1 in 1.0 ms") :] == [
        "LIVE: answered 200 by proxy-1 in 1.0 ms",
        "           FORESEEN          THE PROXY",
        "status     the backend's     200",
        "route      default/web/0.0   default/web/0.0",
        "endpoint   one of 2          10.244.0.3:8080",
        "",
        "The proxy did what was foreseen.",
    ]
    different = structs.replace(told, differences=("404 was foreseen, and 200 answered",))
    assert "DIFFERENT!  404 was foreseen, and 200 answered" in list(lines(different))


def test_each_request_has_an_id_of_its_own() -> None:
    asked = Request("web.org", headers=(("x-request-id", "theirs"), ("A", "b")))
    one, other = marked(asked), marked(asked)
    assert one.headers == (("A", "b"), ("X-Request-ID", one.request_id))
    assert one.request_id != other.request_id


class Server:
    """An API server with the logs of some pods. `asked` are the questions."""

    def __init__(self, logs: Mapping[str, str]) -> None:
        self._logs = logs

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/mooring-system/pods"
        assert query == {"labelSelector": "app.kubernetes.io/name=mooring-ingress,mooring.dev/ingress-class=mooring-envoy"}
        return {"items": [{"metadata": {"name": name}} for name in self._logs]}

    def raw(self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None) -> bytes:
        name = path.split("/")[-2]
        if not self._logs[name]:
            raise Refused(400, "BadRequest", "it has not started", {})
        return self._logs[name].encode()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_probe, "PATIENCE", 0.0)


@pytest.mark.usefixtures("impatient")
def test_the_request_is_found_in_whichever_log_has_it() -> None:
    line = json.dumps({"request_id": "id-1", "route": "r", "upstream": None, "status": 200})
    server: Any = Server({"fresh": "", "one": "text of id-1\n{broken id-1\n", "two": f"noise\n{line}\n"})
    found = looked_up(server, "mooring-envoy", "id-1")
    assert found is not None
    assert (found.pod, found.entry["route"]) == ("two", "r")
    assert looked_up(server, "mooring-envoy", "id-2") is None


@pytest.fixture
def backend() -> Iterator[int]:
    with Echo() as echo:
        yield echo.port(0)


@pytest.mark.root
@pytest.mark.parametrize("tls", [False, True])
def test_a_request_is_sent_as_it_is_written(backend: int, tls: bool) -> None:
    sent = Sent("127.0.0.1", backend, "POST", "//a/../b?c=%zz", (("Host", "web.org"), ("X-A", "1")), tls, "web.org")
    answered = send(HERE, sent)
    told = json.loads(answered.body)
    assert (answered.status, answered.error, len(answered.certificate)) == (200, "", 64 if tls else 0)
    assert (told["method"], told["path"]) == ("POST", "//a/../b?c=%zz")
    assert told["headers"] == [["host", "web.org"], ["x-a", "1"], ["connection", "close"], ["content-length", "0"]]


@pytest.mark.root
def test_nobody_there_is_an_error_in_words(backend: int) -> None:
    assert send(HERE, Sent("127.0.0.1", 1, "GET", "/", ())).error == "Connection refused"
