"""Does a real NGINX route as the table says?"""

import pytest
import pytest_asyncio
from nginx_gateway import Gateway, backends, gateway, host, route, table

from mooring.routing.table import Condition, How, Part, PathKind, PathMatch, Redirect, WeightedCluster

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nginx(tmp_path_factory: pytest.TempPathFactory):
    async with backends("one", "two") as made, gateway(tmp_path_factory.mktemp("nginx") / "g") as gate:
        assert [] == [status for status in [await _ready(gate)] if status == 200]
        always = Condition(Part.HEADER, How.EXACT, "x-canary", "always")
        wish = table(
            host(
                route("exact", PathMatch(PathKind.EXACT, "/foo"), "one"),
                route("slash", PathMatch(PathKind.EXACT, "/slash/"), "one"),
                route("prefix", "/bar", "two"),
                route("go", "/go", action=Redirect(308, scheme="https", port=0)),
                route("header", "/canary", "two", conditions=(always,)),
                route("cookie", "/canary", "two", conditions=(Condition(Part.COOKIE, How.EXACT, "canary", "always"),)),
                route("query", "/canary", "two", conditions=(Condition(Part.QUERY, How.REGEX, "v", "[12]"),)),
                route("method", "/canary", "two", conditions=(Condition(Part.METHOD, How.EXACT, "", "PUT"),)),
                route("not", "/not", "two", conditions=(Condition(Part.HEADER, How.PRESENT, "x-not", invert=True),)),
                route("main", "/canary", "one"),
                route("pattern", PathMatch(PathKind.REGEX_PREFIX, "/re/[0-9]+"), "two"),
                route("whole pattern", PathMatch(PathKind.REGEX, "/whole/[0-9]+"), "two"),
                route("any case", PathMatch(PathKind.PREFIX, "/Case", ignore_case=True), "two"),
                route("none", "/none", (WeightedCluster("one", 0), WeightedCluster("two", 0))),
                route("blank", "/a%20b", "two"),
                route("deep", "/deep/er", "one"),
                route("letters", PathMatch(PathKind.STRING_PREFIX, "/deep/e"), "two"),
                route("deepest", "/deep/er/est", "two"),
            ),
            host(route("wild", "/", "two"), hosts=("*.foo.com",)),
            host(route("precise", "/", "one"), hosts=("www.foo.com",)),
        )
        await gate.serves(wish, {name: (one.member,) for name, one in made.items()})
        yield gate


async def _ready(gate: Gateway) -> int:
    try:
        return await gate.ready()
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/foo", "one"),
        ("/foo?x=/bar", "one"),
        ("/foo/", 404),
        ("/FOO", 404),
        ("/slash", 404),
        ("/slash/", "one"),
        ("/bar", "two"),
        ("/bar/", "two"),
        ("/bar/x?y=1", "two"),
        ("/barx", 404),
        ("//bar//a/../b", "two"),
        ("/bar/../foo", "one"),
        ("/canary", "one"),
        ("/canary?v=2", "two"),
        ("/canary?v=23", "one"),
        ("/not", "two"),
        ("/re/12", "two"),
        ("/re/12x", "two"),
        ("/re/x", 404),
        ("/whole/12", "two"),
        ("/whole/12x", 404),
        ("/cASE/x", "two"),
        ("/casex", 404),
        ("/none", 503),
        ("/a%20b", "two"),
        ("/deep/e", "two"),
        ("/deep/eel", "two"),
        ("/deep/er", "one"),
        ("/deep/er/x", "one"),
        ("/deep/erx/y", "two"),
        ("/deep/er/est", "one"),
        ("/deep", 404),
        ("/" + "a/" * 2000, 404),
        ("/", 404),
    ],
)
async def test_paths(nginx: Gateway, path: str, expected: str | int):
    assert expected == await _who(nginx, path)


@pytest.mark.parametrize(
    ("headers", "method", "expected"),
    [
        ({"X-Canary": "always"}, "GET", "two"),
        ({"X-Canary": "never"}, "GET", "one"),
        ({"Cookie": "a=b; canary=always"}, "GET", "two"),
        ({}, "PUT", "two"),
        ({}, "POST", "one"),
    ],
)
async def test_conditions(nginx: Gateway, headers: dict[str, str], method: str, expected: str):
    assert expected == await _who(nginx, "/canary", headers=headers, method=method)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.foo.com", "two"),
        ("X.FOO.com:8080", "two"),
        ("y.x.foo.com", 404),
        ("foo.com", 404),
        ("www.foo.com", "one"),
        ("a.test.", 404),
        ("nobody.test", 404),
    ],
)
async def test_hosts(nginx: Gateway, name: str, expected: str | int):
    assert expected == await _who(nginx, "/", host=name)


async def test_a_redirect_keeps_what_it_does_not_say(nginx: Gateway):
    status, headers, _ = await nginx.get("/go/on?x=1")
    assert (308, "https://a.test/go/on?x=1") == (status, headers["location"])


async def _who(nginx: Gateway, path: str, **more: object) -> str | int:
    status, headers, _ = await nginx.get(path, **more)
    return headers["x-backend"] if status == 200 else status
