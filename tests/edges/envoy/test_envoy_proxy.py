"""Does a real Envoy follow EnvoyProxy: endpoints at once, routes without a lost request, bad parts kept apart?"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest
from envoy.extensions.network.dns_resolver.cares.v3 import cares_dns_resolver_pb2  # noqa: F401
from envoy_lab import DEADLINE, Lab, backend, lab, running, table, to

from mooring.edges.envoy.stream import Stream
from mooring.routing.table import Member
from mooring.routing.xds.bootstrap import NAMES
from mooring.routing.xds.wire import ROUTES


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Lab]:
    async with lab(tmp_path) as made:
        yield made


@pytest.fixture
async def backends() -> AsyncIterator[dict[str, Member]]:
    async with AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(backend(name)) for name in ("a", "b", "c")}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


class Load:
    """A steady load on one keep-alive connection; `failed` holds every answer that is not 200."""

    def __init__(self, made: Lab, session: aiohttp.ClientSession, host: str) -> None:
        self.failed: list[tuple[int, str]] = []
        self.answered = 0
        self._task = asyncio.create_task(self._run(made, session, host))

    async def _run(self, made: Lab, session: aiohttp.ClientSession, host: str) -> None:
        while True:
            got = await made.get(session, host)
            self.answered += 1
            if got[0] != 200:
                self.failed.append(got)
            await asyncio.sleep(0.002)

    async def stop(self, least: int) -> None:
        """Once so many are answered."""
        end = asyncio.get_running_loop().time() + DEADLINE
        while self.answered < least:
            assert asyncio.get_running_loop().time() < end, f"only {self.answered} are answered"
            await asyncio.sleep(0.005)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


async def test_first_configuration_then_endpoints_alone(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply({"*": [to("web")]}, {"web": {}})
        await one.until(session, "any", (200, "a"))
        sent = one.proxy.ads.responses
        one.proxy.endpoints({"web": (backends["b"],)})
        await one.until(session, "any", (200, "b"))
        assert sent + 1 == one.proxy.ads.responses
        one.proxy.endpoints({"web": ()})
        await one.until(session, "any", (503, "no healthy upstream"))


async def test_routes_clusters_and_endpoints_change_without_a_lost_request(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    async with running(one):
        one.proxy.endpoints({"c0": (backends["a"],)})
        one.apply({"*": [to("c0")]}, {"c0": {}})
        await one.until(session, "any", (200, "a"))
        load = Load(one, session, "any")
        for number in range(1, 12):
            name = f"c{number}"
            member = backends["abc"[number % 3]]
            one.proxy.endpoints({name: (member,)})
            # Another cluster, and a change of it in place, which Envoy warms up anew.
            one.apply({"*": [to(name)]}, {name: {}})
            await one.until(session, "any", (200, member.name))
            one.apply({"*": [to(name)]}, {name: {"connect_timeout": "2s"}})
            await asyncio.sleep(0.05)
        end = asyncio.get_running_loop().time() + DEADLINE
        while b"c1::" in await clusters(one):
            assert asyncio.get_running_loop().time() < end, "clusters that nothing names are never taken away"
            await asyncio.sleep(0.05)
        await load.stop(50)
        assert [] == load.failed


async def clusters(one: Lab) -> bytes:
    connector = aiohttp.UnixConnector(str(one.folder / "admin.sock"))
    async with aiohttp.ClientSession(connector=connector) as admin, admin.get("http://localhost/clusters") as answer:
        return await answer.read()


BAD_REGEX = {"name": "bad", "match": {"safe_regex": {"regex": "("}}, "route": {"cluster": "web"}}
BAD_REWRITE = {
    "name": "bad",
    "match": {"prefix": "/x"},
    "route": {"cluster": "web", "regex_rewrite": {"pattern": {"regex": "("}, "substitution": "x"}},
}


async def test_one_bad_route_takes_nothing_else_down(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    hosts = {f"h{number}": [to("web")] for number in range(9)}
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply({**hosts, "h3": [BAD_REWRITE, to("web")], "h7": [BAD_REGEX, to("web")]}, {"web": {}})
        await one.until_rejected({"ingress shop/h3", "ingress shop/h7"})
        for host in hosts:
            await one.until(session, host, (200, "a"))
        # Its own requests fall to no other rule; a pattern that cannot be understood takes none.
        await one.until(session, "h3", (503, ""), "/x")
        await one.until(session, "h7", (200, "a"), "/x")

        # A neighbour's change gets in at once; the bad one stays out and is not tried again.
        tellings = len(one.told)
        one.apply({**hosts, "h3": [BAD_REWRITE, to("web")], "new": [to("web")]}, {"web": {}})
        await one.until(session, "new", (200, "a"))
        await one.until_rejected({"ingress shop/h3"})
        await one.until(session, "h3", (503, ""), "/x")
        assert tellings + 1 == len(one.told)

        one.apply(hosts, {"web": {}})
        await one.until_rejected(set())
        await one.until(session, "h3", (200, "a"), "/x")


async def test_a_bad_route_in_a_tree_of_paths_is_closed_alone(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    def leaf(*routes: dict[str, object]) -> dict[str, object]:
        kind = "type.googleapis.com/envoy.config.route.v3.RouteList"
        return {"action": {"name": "routes", "typed_config": {"@type": kind, "routes": list(routes)}}}

    path = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    tree = {"/x": leaf(BAD_REWRITE, to("web")), "/y": leaf(to("web"))}
    matcher = {
        "matcher_tree": {
            "input": {"name": "path", "typed_config": {"@type": path, "header_name": ":path"}},
            "prefix_match_map": {"map": tree},
        },
        "on_no_match": leaf(to("web")),
    }
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply({"h": matcher, "g": [to("web")]}, {"web": {}})
        await one.until_rejected({"ingress shop/h"})
        await one.until(session, "h", (503, ""), "/x")
        for path in ("/y", "/"):
            await one.until(session, "h", (200, "a"), path)
        await one.until(session, "g", (200, "a"))


async def test_a_route_that_becomes_bad_stays_as_it_was(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    good = {"name": "bad", "match": {"prefix": "/x"}, "route": {"cluster": "web"}}
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],), "other": (backends["b"],)})
        one.apply({"h": [good], "g": [to("web")]}, {"web": {}, "other": {}})
        await one.until(session, "h", (200, "a"), "/x")
        one.apply({"h": [BAD_REWRITE], "g": [to("other")]}, {"web": {}, "other": {}})
        await one.until_rejected({"ingress shop/h"})
        await one.until(session, "g", (200, "b"))
        await one.until(session, "h", (200, "a"), "/x")


async def test_a_bad_cluster_is_refused_alone_and_its_next_version_taken(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    bad = {"connect_timeout": "-1s"}
    names = [f"c{number}" for number in range(6)]
    hosts = {name: [to(name)] for name in names}
    async with running(one):
        one.proxy.endpoints(dict.fromkeys(names, (backends["a"],)))
        one.apply(hosts, {name: bad if name == "c4" else {} for name in names})
        await one.until_rejected({"ingress shop/c4"})
        for name in names:
            await one.until(session, name, (503, "") if name == "c4" else (200, "a"))
        one.apply(hosts, {name: {} for name in names})
        await one.until(session, "c4", (200, "a"))
        await one.until_rejected(set())


async def test_control_dies_and_comes_back_unnoticed_and_tells_only_what_differs(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    hosts = {"any": [to("web")], "other": [to("web")]}
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply(hosts, {"web": {}})
        await one.until(session, "any", (200, "a"))
    load = Load(one, session, "any")
    await asyncio.sleep(0.2)
    async with running(one):
        # Envoy is back and waits; it is told nothing before there is a table.
        end = asyncio.get_running_loop().time() + DEADLINE
        while not one.proxy.ads.clients:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.01)
        assert (200, "a") == await one.get(session, "other")
        assert 0 == one.proxy.ads.responses
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply({**hosts, "other": [{**to("web"), "direct_response": {"status": 204}} | {"route": None}]}, {"web": {}})
        await one.until(session, "other", (204, ""))
        assert 1 == one.proxy.ads.responses
    await load.stop(20)
    assert [] == load.failed


async def test_control_dies_between_a_cluster_and_its_endpoints_and_its_successor_loses_no_request(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply({"any": [to("web")]}, {"web": {}})
        await one.until(session, "any", (200, "a"))
        with monkeypatch.context() as dying:
            dying.setattr(Stream, "_renew_endpoints", lambda *_: None)
            sent = one.proxy.ads.responses
            one.apply({"any": [to("web")]}, {"web": {"connect_timeout": "2s"}})
            await until_warming(one)
            assert sent + 1 == one.proxy.ads.responses
    load = Load(one, session, "any")
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],), "more": (backends["b"],)})
        one.apply({"any": [to("more")]}, {"web": {"connect_timeout": "2s"}, "more": {}})
        await one.until(session, "any", (200, "b"))
        await load.stop(20)
    assert [] == load.failed


async def test_a_name_that_nobody_answers_for_holds_other_clusters_up_for_seconds_and_loses_no_request(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        server = {"socket_address": {"address": "127.0.0.1", "port_value": silent.getsockname()[1]}}
        resolver = {**NAMES, "typed_config": {**NAMES["typed_config"], "resolvers": [server]}}
        place = {"endpoint": {"address": {"socket_address": {"address": "far.example", "port_value": 80}}}}
        slow = {
            "type": "STRICT_DNS",
            "dns_lookup_family": "ALL",
            "eds_cluster_config": None,
            "load_assignment": {"cluster_name": "slow", "endpoints": [{"lb_endpoints": [place]}]},
            "typed_dns_resolver_config": resolver,
        }
        async with running(one):
            one.proxy.endpoints({"web": (backends["a"],)})
            one.apply({"any": [to("web")]}, {"web": {}})
            await one.until(session, "any", (200, "a"))
            load = Load(one, session, "any")
            one.apply({"any": [to("web")]}, {"web": {}, "slow": slow})
            await until_warming(one)
            one.proxy.endpoints({"more": (backends["b"],)})
            one.apply({"any": [to("more")]}, {"web": {}, "slow": slow, "more": {}})
            await one.until(session, "any", (200, "b"))
            await load.stop(20)
            assert [] == load.failed


async def until_warming(one: Lab) -> None:
    """Waits until a cluster lacks what it needs."""
    connector = aiohttp.UnixConnector(str(one.folder / "admin.sock"))
    end = asyncio.get_running_loop().time() + DEADLINE
    async with aiohttp.ClientSession(connector=connector) as admin:
        while True:
            async with admin.get("http://localhost/stats?filter=cluster_manager.warming_clusters") as answer:
                if b"warming_clusters: 1" in await answer.read():
                    return
            assert asyncio.get_running_loop().time() < end, "no cluster is being warmed"
            await asyncio.sleep(0.01)


async def test_control_comes_back_to_a_bad_route_and_no_other_route_is_away_meanwhile(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    hosts = {f"h{number}": [to("web")] for number in range(40)}
    hosts["h3"] = [BAD_REWRITE, to("web")]
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply(hosts, {"web": {}})
        await one.until_rejected({"ingress shop/h3"})
        await one.until(session, "h0", (200, "a"))
        await one.until(session, "h3", (503, ""), "/x")
    load, one.rejections = Load(one, session, "h0"), ()
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply(hosts, {"web": {}})
        await one.until_rejected({"ingress shop/h3"})
        one.apply({**hosts, "new": [to("web")]}, {"web": {}})
        await one.until(session, "new", (200, "a"))
        assert 1 == one.proxy.ads.responses
        assert (503, "") == await one.get(session, "h3", "/x")
        one.apply({**hosts, "h3": [to("web")]}, {"web": {}})
        await one.until_rejected(set())
        await one.until(session, "h3", (200, "a"), "/x")
    await load.stop(20)
    assert [] == load.failed


async def test_what_envoy_has_of_an_earlier_control_outlives_a_bad_version(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    hosts = {"any": [to("web")], "other": [to("other")]}
    members = {"web": (backends["a"],), "other": (backends["b"],)}
    async with running(one):
        one.proxy.endpoints(members)
        one.apply(hosts, {"web": {}, "other": {}})
        await one.until(session, "any", (200, "a"))
    async with running(one):
        one.proxy.endpoints(members)
        one.apply(hosts | {"new": [to("other")]}, {"web": {"connect_timeout": "-1s"}, "other": {}})
        await one.until_rejected({"ingress shop/web"})
        await one.until(session, "new", (200, "b"))
        assert (200, "a") == await one.get(session, "any")
        one.apply(hosts, {"web": {"connect_timeout": "3s"}, "other": {}})
        await one.until_rejected(set())
        await one.until(session, "new", (404, ""))
        assert (200, "a") == await one.get(session, "any")


async def test_what_envoy_has_of_an_earlier_control_is_what_a_bad_route_falls_back_to(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    route = {**to("web"), "name": "same"}
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply({"any": [route]}, {"web": {}})
        await one.until(session, "any", (200, "a"))
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply({"any": [route]}, {"web": {}})
        await one.until(session, "any", (200, "a"))
        end = asyncio.get_running_loop().time() + DEADLINE
        while not one.proxy.ads.clients or not one.proxy._held[ROUTES]["http"].accepted:
            assert asyncio.get_running_loop().time() < end, "what Envoy says it has is not heard"
            await asyncio.sleep(0.01)
        one.apply({"any": [{**BAD_REWRITE, "name": "same"}], "new": [to("web")]}, {"web": {}})
        await one.until_rejected({"ingress shop/any"})
        await one.until(session, "new", (200, "a"))
        assert (200, "a") == await one.get(session, "any")


async def test_a_table_that_cannot_be_made_stops_nothing(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    async with running(one):
        one.proxy.endpoints({"web": (backends["a"],)})
        one.apply({"any": [to("web")]}, {"web": {}})
        await one.until(session, "any", (200, "a"))
        one.emitter.resources = {ROUTES: {"http": None}}  # type: ignore[dict-item]
        one.proxy.apply(table(["any"], ["web"]))
        await asyncio.sleep(0.05)
        one.proxy.endpoints({"web": (backends["b"],)})
        await one.until(session, "any", (200, "b"))
        one.apply({"any": [to("web")], "new": [to("web")]}, {"web": {}})
        await one.until(session, "new", (200, "b"))


async def test_what_was_refused_for_a_reason_that_is_gone_is_tried_again(
    one: Lab, backends: dict[str, Member], session: aiohttp.ClientSession
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", one.port))
        other.listen()
        async with running(one):
            one.proxy._again = 0.1
            one.proxy.endpoints({"web": (backends["a"],)})
            one.apply({"any": [to("web")]}, {"web": {}})
            end = asyncio.get_running_loop().time() + DEADLINE
            while not one.rejections:
                assert asyncio.get_running_loop().time() < end, "a port that is taken is no reason to refuse"
                await asyncio.sleep(0.01)
            other.close()
            await one.until_rejected(set())
            await one.until(session, "any", (200, "a"))
