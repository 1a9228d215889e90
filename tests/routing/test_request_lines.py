"""Is a line of requests.txt read as it is meant, and what is none refused?"""

from pathlib import Path

import pytest

from mooring.routing.simulate import CLOSED, Request
from mooring.testing.requests import Answered, Expected, compared, read_line, read_requests

INGRESS = """
kind: Ingress
metadata: {name: web, namespace: default}
spec: {ingressClassName: mooring-envoy, defaultBackend: {service: {name: web, port: {name: http}}}}
---
kind: Service
metadata: {name: web, namespace: default, uid: u}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 81, targetPort: 8080}]}
---
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.0.1]}]
"""


@pytest.mark.parametrize(
    ("line", "request_", "expected"),
    [
        pytest.param("GET http://a.org/ : 404", Request("a.org"), Expected(404), id="the least"),
        pytest.param(
            "PUT https://a.org:8443/x?y=z [X-A: b c] X-D: e from 127.0.0.2 sni b.org certificate : closed",
            Request("a.org:8443", "/x?y=z", "PUT", "https", 8443, (("X-A", "b c"), ("X-D", "e")), "127.0.0.2", "b.org", True),
            Expected(CLOSED),
            id="the most of a request",
        ),
        pytest.param(
            'GET http://a.org : 200 d/a:80 | d/b:81 path=/x?y host=in header X-A="b c" sees X-D= location=http://b/',
            Request("a.org"),
            Expected(200, frozenset(("d/a:80", "d/b:81")), "http://b/", "/x?y", "in", (("x-a", "b c"),), (("x-d", ""),)),
            id="the most of an answer",
        ),
        pytest.param(
            "GET http://10.0.0.1?a=b [Host: c.org:80] : 200",
            Request("c.org:80", "/?a=b"),
            Expected(200),
            id="a Host of its own",
        ),
    ],
)
def test_a_line_is_read(line: str, request_: Request, expected: Expected) -> None:
    assert (read_line(line).request, read_line(line).expected) == (request_, expected)


@pytest.mark.parametrize(
    "line",
    [
        "GET http://a.org/",
        "GET a.org : 200",
        "GET ftp://a.org/ : 200",
        "GET http://a.org/ nonsense : 200",
        "GET http://a.org/ from : 200",
        "GET http://a.org/ : fine",
        "GET http://a.org/ : 200 nonsense",
        "GET http://a.org/ : 200 header X-A",
    ],
)
def test_what_is_no_line_is_refused_by_name(line: str) -> None:
    with pytest.raises(ValueError, match="request line"):
        read_line(line)


def test_only_what_was_written_is_compared() -> None:
    answered = Answered(200, frozenset(("d/a:80",)), "", "/x", "a.org", {"x-a": "b"}, {"x-c": "d"})
    for written in (Expected(200), Expected(200, path="/x", headers=(("x-a", "b"), ("x-z", "")), sees=(("x-c", "d"),))):
        expected, told = compared(written, answered)
        assert expected == told
    expected, told = compared(Expected(200, host="b.org"), answered)
    assert (expected.host, told.host) == ("b.org", "a.org")


def test_a_folder_is_a_scenario(tmp_path: Path) -> None:
    folder = tmp_path / "ingress" / "one"
    folder.mkdir(parents=True)
    (folder / "input.yaml").write_text(INGRESS)
    (folder / "requests.txt").write_text("# all\nGET http://a.org/ : 200 default/web:81  # any host\n\n")
    (folder / "lacks.txt").write_text("# why\nenvoy: it cannot\n  GET http://a.org/ : 200 default/web:81\n")
    found = read_requests(folder)
    assert (found.title, found.class_name, [each.line for each in found.asks]) == (
        "ingress/one",
        "mooring-envoy",
        ["GET http://a.org/ : 200 default/web:81"],
    )
    assert [(each.proxy, each.sentence, len(each.lines)) for each in found.lacks] == [("envoy", "it cannot", 1)]
    assert [each.address for each in found.members["default/web:81"]] == ["10.244.0.1"]
    (folder / "lacks.txt").write_text("envoy: it cannot\n  GET http://b.org/ : 200\n")
    with pytest.raises(ValueError, match="not a lack"):
        read_requests(folder)
