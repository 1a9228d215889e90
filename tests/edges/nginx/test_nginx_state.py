"""Is what NGINX looks up whole at every moment: while tables change, workers end, memory is full, and hosts overlap?"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from msgspec import structs
from nginx_gateway import ADDRESS, Gateway, backends, certificate, gateway, host, route, table

from mooring.edges.nginx import proxy
from mooring.edges.nginx.process import request
from mooring.routing.nginx.front import CONTROL
from mooring.routing.table import (
    Answer,
    Chain,
    ClientCertificates,
    Filters,
    HeaderChanges,
    Passthrough,
    Policy,
    RateLimit,
    RouteTable,
    Terminate,
    VirtualHost,
    WeightedCluster,
)


async def secure(nginx: Gateway, name: str, path: str = "/", asked: str = "") -> tuple[int, str, str]:
    """Over TLS without a certificate of the client's: status, body, HSTS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = aiohttp.client.URL(f"https://{ADDRESS}:{nginx.https_port}{path}", encoded=True)
    more = {"headers": {"Host": name}, "server_hostname": asked or name, "ssl": context}
    async with aiohttp.ClientSession() as session, session.get(url, **more) as reply:
        return reply.status, await reply.text(), ", ".join(reply.headers.getall("Strict-Transport-Security", []))


def says(name: str, *hosts: str, hsts: str = "") -> VirtualHost:
    return structs.replace(host(route(name, action=Answer(200, name)), hosts=hosts), hsts=hsts)


async def test_who_asks_for_client_certificates_asks_nobody_else(tmp_path):
    """Of a wildcard with certificates there may be hosts without, and of one without hosts with; and the one for all."""
    mine = certificate("client.test")
    asks = Terminate("any", ClientCertificates(mine.chain))
    open_, shut = says("open", "open.m.test", "*.w.m.test"), says("shut", "*.m.test")
    rest = says("rest", "rest.test", "*.rest.test")
    everybody = (open_, rest)
    async with backends() as _, gateway(tmp_path / "g") as nginx:
        for shut_for, served, all_shut in ((("*.m.test",), shut, False), (("*",), says("shut", "*"), True)):
            chains = (
                Chain(shut_for, (served,), asks),
                Chain(("open.m.test", "*.w.m.test", "rest.test", *(() if all_shut else ("*",))), everybody, Terminate("any")),
            )
            wish = table(open_, rest, chains=chains, certificates={"any": certificate("any")})
            await nginx.serves(wish, {})
            assert () == nginx.rejections
            assert (200, "open") == (await secure(nginx, "open.m.test"))[:2]
            assert (200, "open") == (await secure(nginx, "x.w.m.test"))[:2]
            assert (200, "rest") == (await secure(nginx, "rest.test"))[:2]
            assert 400 == (await secure(nginx, "x.m.test"))[0]
            assert 404 if not all_shut else 400 == (await secure(nginx, "nobody.test"))[0]


async def test_tls_that_is_handed_on_takes_no_other_host_with_it(tmp_path):
    here = says("here", "here.p.test")
    chains = (
        Chain(("*.p.test",), (), Passthrough("one")),
        Chain(("here.p.test", "*"), (here,), Terminate("any")),
    )
    async with backends() as _, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(here, chains=chains, certificates={"any": certificate("any")}), {})
        assert (200, "here") == (await secure(nginx, "here.p.test"))[:2]
        with pytest.raises(aiohttp.ClientError):
            await secure(nginx, "x.p.test")


async def test_routes_of_equal_limits_are_counted_by_themselves(tmp_path):
    once = Filters(rate=RateLimit(per_minute=1, burst=0))
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        routes = (route("first", "/first", filters=once), route("second", "/second", filters=once))
        await nginx.serves(table(host(*routes)), {"one": (made["one"].member,)})
        refused = once.rate.status
        asked = ("/first", "/first", "/second", "/second", "/first")
        assert [200, refused, 200, refused, refused] == [(await nginx.get(path))[0] for path in asked]


async def test_hsts_is_told_to_no_host_that_does_not_want_it(tmp_path):
    hosts = (says("strict", "strict.test", hsts="max-age=600"), says("lax", "lax.test"))
    async with backends() as _, gateway(tmp_path / "g") as nginx:
        names = {each.name: certificate(each.name) for each in hosts}
        await nginx.serves(table(*hosts, certificates=names), {})
        assert (200, "strict", "max-age=600") == await secure(nginx, "strict.test")
        for path, status in (("/", 200), ("/%2f", 400), ("/" + "x" * 70_000, 414)):
            assert (status, "") == (await secure(nginx, "lax.test", path))[::2], path[:9]


async def test_hsts_that_a_route_sets_is_said_alone(tmp_path):
    sets = Filters(response_headers=HeaderChanges(set=(("Strict-Transport-Security", "max-age=1"),)))
    routes = (
        route("own", "/own", filters=sets),
        route("answers", "/answers", action=Answer(200, "x"), filters=sets),
        route("all"),
    )
    strict = structs.replace(host(*routes, hosts=("strict.test",)), hsts="max-age=600")
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        wish = table(strict, certificates={"strict.test": certificate("strict.test")})
        await nginx.serves(wish, {"one": (made["one"].member,)})
        for path, told in (("/own", "max-age=1"), ("/answers", "max-age=1"), ("/", "max-age=600")):
            assert (200, told) == (await secure(nginx, "strict.test", path))[::2], path


async def test_a_wildcard_stands_for_something(tmp_path):
    async with backends() as _, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(says("one", "*.a.test"), structs.replace(says("many", "*.b.test"), many_labels=True)), {})
        asked = ("x.a.test", ".a.test", "y.x.a.test", ".b.test", "y.x.b.test", "X.A.TEST.:80")
        assert [200, 404, 404, 404, 200, 200] == [(await nginx.get("/", name))[0] for name in asked]


@contextlib.asynccontextmanager
async def asked_all_the_time(nginx: Gateway, path: str) -> AsyncIterator[set[int]]:
    statuses: set[int] = set()

    async def ask() -> None:
        while True:
            statuses.add((await nginx.get(path))[0])

    asking = asyncio.create_task(ask())
    yield statuses
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking


async def test_other_clusters_share_no_weights_with_those_before(tmp_path):
    def split(*names: str, read: float) -> RouteTable:
        to = tuple(WeightedCluster(name, 1) for name in names)
        routes = (route("canary", "/", to), route("other", "/other", policy=Policy(read=read)))
        return table(host(*routes), clusters=("one", "two", "three", "four"))

    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        members = (made["one"].member,)
        await nginx.serves(split("one", "two", read=50.0), dict.fromkeys(("one", "two", "three", "four"), members))
        async with asked_all_the_time(nginx, "/") as statuses:
            await nginx.serves(split("three", "four", read=51.0), {})
        assert {200} == statuses


async def test_what_no_table_names_is_forgotten_however_many_follow(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "_FORGET", 0.3)
    monkeypatch.setattr(proxy, "_FORGET_SET", 0.3)
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        nginx.proxy._again = 0.02
        member = (made["one"].member,)
        names = [f"set{number}" for number in range(30)]
        most = 0
        for number, name in enumerate(names):
            await nginx.serves(table(host(route(name, f"/{number}", name)), clusters=(name,)), {name: member})
            await asyncio.sleep(0.05)
            assert 200 == (await nginx.get(f"/{number}"))[0]
            most = max(most, len(nginx.proxy._sent))
        assert most < 45, "a tree and a set each"
        nginx.proxy.apply(table(host(route("set0", "/0", "set0")), clusters=("set0",)))
        nginx.proxy.endpoints({"set0": member})
        await nginx.until(lambda: _is_answered(nginx, "/0"))


async def test_what_a_former_control_told_is_forgotten_too(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "_FORGET", 0.0)
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        members = {"one": (made["one"].member,)}
        await nginx.serves(table(host(route("all"))), members)
        nginx.running.cancel()
        await asyncio.wait([nginx.running])
        other = nginx.proxy = proxy.NginxProxy(nginx.placement, certificate("spare"), between=0.4, closing=0.1, again=0.02)
        nginx.running = asyncio.create_task(other.run())
        assert not other._has_unknown
        told: list[bool] = []
        replace = other._control.replace

        async def replaced(*what: object) -> frozenset[tuple[str, str]]:
            told.append(other._has_unknown)
            return await replace(*what)

        other._control.replace = replaced
        await nginx.serves(table(host(route("all", policy=Policy(read=7.0)))), members)
        await nginx.until(lambda: True in told and not other._has_unknown)
        assert 200 == (await nginx.get("/"))[0]


async def _is_answered(nginx: Gateway, path: str) -> bool:
    return 200 == (await nginx.get(path))[0]


async def test_an_answer_that_was_long_in_coming_is_changed_as_its_route_said(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "_FORGET", 0.0)
    changes = Filters(response_headers=HeaderChanges(set=(("X-Said", "by the route"),)))
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        nginx.proxy._again = 0.02
        await nginx.serves(table(host(route("slow", filters=changes))), {"one": (made["one"].member,)})
        asked = asyncio.create_task(nginx.get("/?slow"))
        await nginx.until(lambda: made["one"].seen)
        before = set(nginx.proxy._sent)
        await nginx.serves(table(host(route("slow"))), {})
        await nginx.until(lambda: not any(name.startswith("leaf/") for _, name in nginx.proxy._sent) and before)
        for _ in range(8):  # every worker hears of it
            assert 200 == (await nginx.get("/"))[0]
        made["one"].go_on.set()
        status, headers, _ = await asked
        assert (200, "by the route") == (status, headers["x-said"])


async def tell(nginx: Gateway, path: str, body: bytes = b"") -> str:
    reader, writer = await asyncio.open_unix_connection(f"{nginx.placement.folder}/{CONTROL}")
    writer.write(request(path, body))
    received = (await reader.read()).decode()
    writer.close()
    return received.partition("\r\n\r\n")[2]


def record(key: str, value: bytes | None) -> bytes:
    return f"S {len(key)} {-1 if value is None else len(value)}\n{key}".encode() + (value or b"")


async def test_what_finds_no_room_leaves_what_was_there(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        for size in (1 << 20, 1 << 16, 1 << 12, 1 << 8, 32):
            number = 0
            while "full" not in await tell(nginx, "/store", record(f"fill/{size}/{number}", b"x" * size)):
                number += 1
        many = table(*(host(route(f"r{at}"), hosts=("a.test", f"h{at}.test")) for at in range(2000)))
        nginx.proxy.apply(many)
        await nginx.until(lambda: nginx.rejections)
        assert 200 == (await nginx.get("/"))[0]


async def test_one_that_has_only_just_begun_says_so(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        nginx.running.cancel()  # nobody tells it anything again
        await asyncio.wait([nginx.running])
        generation = nginx.proxy._config.generation
        await tell(nginx, "/store", record(f"index/{generation}/http", None))
        await tell(nginx, "/store", record("index/other/http", b"de"))
        assert 503 == (await nginx.get("/"))[0]
