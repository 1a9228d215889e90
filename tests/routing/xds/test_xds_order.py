"""Does a real Envoy find the first route that matches, in lists long enough for a tree of paths?

`MOORING_ROUTE_TABLES` says how many tables, `MOORING_SEED` which.
"""

import os
import random
from collections.abc import Iterator

import pytest
from tests.routing.proxy_lab import Loop, RealProxy, envoy

from mooring.routing.simulate import Request, simulate
from mooring.routing.table import (
    Answer,
    Chain,
    Condition,
    How,
    Listener,
    Match,
    Part,
    PathKind,
    PathMatch,
    Route,
    RouteTable,
    VirtualHost,
)
from mooring.routing.xds import matcher

TABLES = int(os.environ.get("MOORING_ROUTE_TABLES", "6"))
SEED = int(os.environ.get("MOORING_SEED", "1"))
REQUESTS = 80
PIECES = ["/a", "/b", "/ab", "/A", "/a.b", "/c/d"]
PATTERNS = ["/a/.*", "/[ab]", "/.*b", "/a{1,2}(/.*)?"]
CONDITIONS = [
    Condition(Part.METHOD, How.EXACT, value="POST"),
    Condition(Part.METHOD, How.EXACT, value="GET", invert=True),
    Condition(Part.HEADER, How.EXACT, "x-v", "v"),
    Condition(Part.HEADER, How.PRESENT, "x-v", invert=True),
    Condition(Part.QUERY, How.EXACT, "q", "v"),
    Condition(Part.QUERY, How.REGEX, "q", "v|w", invert=True),
    Condition(Part.COOKIE, How.EXACT, "c", "v"),
    Condition(Part.COOKIE, How.PREFIX, "c", "w", invert=True),
]
HOSTS = ["a.test", "*.a.test", "*.test", "*"]
ASKED = ["a.test", "b.a.test:8080", "c.b.a.test", "b.test", "C.b.test", "other.org"]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProxy]:
    with Loop() as loop, envoy(loop, tmp_path_factory.mktemp("envoy")) as found:
        yield found


def a_path(drawn: random.Random) -> str:
    return "".join(drawn.choices(PIECES, k=drawn.randint(1, 3)))


def a_match(drawn: random.Random) -> Match:
    kind = drawn.choices(list(PathKind), [9, 9, 9, 1, 1])[0]
    value = drawn.choice(PATTERNS) if kind in (PathKind.REGEX, PathKind.REGEX_PREFIX) else a_path(drawn)
    conditions = tuple(drawn.sample(CONDITIONS, drawn.choice([0, 0, 1, 2])))
    return Match(PathMatch(kind, value, drawn.random() < 0.05), conditions)


def a_table(drawn: random.Random) -> RouteTable:
    hosts = []
    for name in HOSTS:
        matches = [a_match(drawn) for _ in range(drawn.randint(matcher.SCANNED + 1, 40))]
        if drawn.random() < 0.5:
            matches.insert(drawn.randrange(len(matches)), Match())
        routes = tuple(Route(f"{name} {place}", each, Answer(200, f"{name} {place}")) for place, each in enumerate(matches))
        hosts.append(VirtualHost(name, (name,), routes, many_labels=drawn.random() < 0.5))
    return RouteTable((Listener("http", 80, (Chain(("*",), tuple(hosts)),)),))


def a_request(drawn: random.Random) -> Request:
    headers = [("X-V", drawn.choice(["v", "w"]))] if drawn.random() < 0.5 else []
    headers += [("Cookie", f"b=1; c={drawn.choice(['v', 'w'])}")] if drawn.random() < 0.5 else []
    path = a_path(drawn) + drawn.choice(["", "/", "?q=v", "?x=1&q=w", "/?q"])
    return Request(drawn.choice(ASKED), path, drawn.choice(["GET", "POST"]), headers=tuple(headers))


@pytest.mark.parametrize("number", range(TABLES))
def test_the_first_that_matches_wins(proxy: RealProxy, number: int) -> None:
    drawn = random.Random(SEED * 1000 + number)
    table = a_table(drawn)
    proxy.serve(table, {})
    wrong = []
    for request in (a_request(drawn) for _ in range(REQUESTS)):
        told, reply = simulate(table, request), proxy.ask(request)
        if (told.status, told.body.encode() if told.status == 200 else b"") != (reply.status, reply.body):
            wrong.append((request, told.body, reply))
    assert [] == wrong
