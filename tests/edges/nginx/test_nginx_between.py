"""What may come between two steps of the gateway's control, and between two of a request?"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from aiohttp import web
from nginx_gateway import ADDRESS, Gateway, backends, certificate, gateway, host, route, start, table

from mooring.edges.nginx import proxy
from mooring.edges.nginx.proxy import NginxProxy
from mooring.routing.table import (
    Balance,
    Cluster,
    CookieAffinity,
    Endpoints,
    Filters,
    Forward,
    HashKey,
    HashOn,
    HeaderChanges,
    Member,
    Policy,
    WeightedCluster,
)


@contextlib.contextmanager
def refusing() -> Iterator[tuple[Member, socket.socket]]:
    """A port that nobody listens on yet."""
    with socket.socket() as held:
        held.bind((ADDRESS, 0))
        yield Member(ADDRESS, held.getsockname()[1]), held


async def is_heard(nginx: Gateway) -> bool:
    """Whether clients are let in."""
    try:
        _, writer = await asyncio.open_connection(ADDRESS, nginx.placement.bound(80))
    except OSError:
        return False
    writer.close()
    return True


async def until_ready_and_always_heard(nginx: Gateway) -> None:
    async def holds() -> bool:
        try:
            is_ready = await nginx.ready() == 200
        except aiohttp.ClientError:
            return False
        if is_ready and not await is_heard(nginx):
            raise RuntimeError("it says that it is ready, and lets nobody in")
        return is_ready

    await nginx.until(holds)


async def test_a_restarted_nginx_is_not_ready_before_it_listens(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        nginx.proxy._closing = 0.5
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        await nginx.kill()
        nginx.process = await start(nginx.placement, nginx.log)
        await until_ready_and_always_heard(nginx)
        assert 200 == (await nginx.get("/"))[0]


async def test_a_control_that_dies_before_the_first_reload_leaves_an_nginx_that_is_not_ready(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        members = {"one": (made["one"].member,)}
        loading = asyncio.Event()

        async def dies(_: object) -> str:
            loading.set()
            await asyncio.Event().wait()
            return ""

        nginx.proxy._reload = dies
        nginx.proxy.endpoints(members)
        nginx.proxy.apply(table(host(route("all"))))
        await asyncio.wait_for(loading.wait(), 60.0)
        nginx.running.cancel()
        await asyncio.wait([nginx.running])
        nginx.proxy = NginxProxy(nginx.placement, certificate("spare"), between=0.4, closing=0.5)
        nginx.running = asyncio.create_task(nginx.proxy.run())
        nginx.proxy.endpoints(members)
        nginx.proxy.apply(table(host(route("all"))))
        await until_ready_and_always_heard(nginx)


async def test_what_may_have_arrived_is_told_again(tmp_path):
    """The answer to a change is lost, and the change is taken back."""
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        before, after = table(host(route("all"))), table(host(route("all", to="two")))
        await nginx.serves(before, {name: (each.member,) for name, each in made.items()})
        store = nginx.proxy._control.store
        taken_back = table(host(route("all")))

        async def unheard(pairs):
            nginx.proxy._control.store = store
            await store(pairs)
            nginx.proxy.apply(taken_back)
            raise ConnectionError("no answer from the control socket")

        nginx.proxy._control.store = unheard
        nginx.proxy.apply(after)
        await nginx.until(lambda: nginx.proxy.in_force is taken_back)
        assert "one" == (await nginx.seen("/"))["name"]


async def test_another_try_is_another_endpoint_whoever_asks_in_between(tmp_path):
    clusters = [Cluster(each.name, Endpoints("one"), balance=each) for each in (Balance.ROUND_ROBIN, Balance.LEAST_REQUEST)]
    to = (WeightedCluster("ROUND_ROBIN"),)
    cookie = Forward(to, affinity=CookieAffinity("choice"))
    by_user = Forward(to, hash_on=(HashKey(HashOn.HEADER, "x-user"),))
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        with refusing() as (nobody, _):
            routes = [route(each.name, f"/{each.name}", each.name) for each in clusters]
            routes += [route("cookie", "/cookie", action=cookie), route("hash", "/hash", action=by_user)]
            await nginx.serves(table(host(*routes), clusters=clusters), {"one": (nobody, made["one"].member)})
            for each in routes:
                asked = (nginx.get(f"/{each.name}", headers={"X-User": str(number)}) for number in range(100))
                assert {200} == {status for status, _, _ in await asyncio.gather(*asked)}, each.name


async def test_an_endpoint_that_was_dead_has_no_requests_in_flight(tmp_path):
    least = Cluster("least", Endpoints("least"), balance=Balance.LEAST_REQUEST)

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"name": "late"})

    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        with refusing() as (late, held):
            await nginx.serves(table(host(route("all", to="least")), clusters=(least,)), {"least": (late,)})
            assert {502} == {(await nginx.get("/"))[0] for _ in range(20)}
            app = web.Application()
            app.router.add_get("/", answer)
            runner = web.AppRunner(app)
            await runner.setup()
            try:
                await web.SockSite(runner, held).start()
                nginx.proxy.endpoints({"least": (late, made["one"].member)})
                await nginx.until(lambda: made["one"].seen or _asked(nginx))
                names = [(await nginx.seen("/"))["name"] for _ in range(400)]
            finally:
                await runner.cleanup()
    # A half of them; a quarter if every choice between the two is lost.
    assert names.count("late") > 150


async def _asked(nginx: Gateway) -> bool:
    await nginx.get("/")
    return False


def make_forgetful(file: Path) -> None:
    """NGINX reads it with the first configuration."""
    file.write_text(re.sub(r"PERIOD = \d+", "PERIOD = -1", file.read_text()))


async def test_an_answer_that_took_longer_than_any_is_changed_as_its_route_said(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "_FORGET", 0.0)
    changes = [Filters(response_headers=HeaderChanges(set=(("X-Said", value),))) for value in ("by the route", "else")]
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        nginx.proxy._again = 0.02
        make_forgetful(Path(nginx.placement.folder, "lua/mooring/find.lua"))

        async def serves(name: str, *slow: Filters) -> None:
            routes = [route("slow", filters=each) for each in slow]
            wish = table(host(*routes, route("else", f"/{name}", filters=changes[1])))
            await nginx.serves(wish, {"one": (made["one"].member,)})

        await serves("first", changes[0])
        generation = nginx.proxy._config.generation
        asked = asyncio.create_task(nginx.get("/?slow"))
        await nginx.until(lambda: made["one"].seen)
        for number in range(3):
            await serves(str(number))
            await nginx.until(lambda: 1 == sum(name.startswith("leaf/") for _, name in nginx.proxy._sent))
            for _ in range(8):  # every worker hears of it
                assert 200 == (await nginx.get(f"/{number}"))[0]
        assert generation == nginx.proxy._config.generation
        made["one"].go_on.set()
        status, headers, _ = await asked
        assert (200, "by the route") == (status, headers["x-said"])


async def test_what_a_former_control_left_is_forgotten_without_what_requests_still_need(tmp_path):
    """A request that comes slowly comes to a worker of the configuration before."""
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        members = {"one": (made["one"].member,)}
        await nginx.serves(table(host(route("all"))), members)
        nginx.running.cancel()
        await asyncio.wait([nginx.running])
        other = nginx.proxy = NginxProxy(nginx.placement, certificate("spare"), between=0.4, closing=0.1, again=0.02)
        nginx.running = asyncio.create_task(other.run())
        await nginx.serves(table(host(route("all", policy=Policy(read=7.0)))), members)
        assert other._has_unknown
        reader, writer = await asyncio.open_connection(ADDRESS, nginx.placement.bound(80))
        writer.write(b"GET / HTTP/1.1\r\nHost: a.te")
        for _ in range(8):
            assert 200 == (await nginx.get("/"))[0]
        await nginx.serves(table(host(route("all", policy=Policy(read=8.0)))), {})
        other._forget = 0.0
        await nginx.until(lambda: not other._has_unknown)
        await nginx.serves(table(host(route("more", "/more"), route("all", policy=Policy(read=8.0)))), {})
        writer.write(b"st\r\nConnection: close\r\n\r\n")
        assert b"200" == (await reader.read()).split(b" ")[1]
        writer.close()


async def test_another_control_with_another_table_takes_nothing_from_requests_that_have_begun(tmp_path):
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        members = {name: (each.member,) for name, each in made.items()}
        await nginx.serves(table(host(route("all"))), members)
        reader, writer = await asyncio.open_connection(ADDRESS, nginx.placement.bound(80))
        writer.write(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\na")
        for _ in range(8):
            assert 200 == (await nginx.get("/"))[0]
        nginx.running.cancel()
        await asyncio.wait([nginx.running])
        nginx.proxy = NginxProxy(nginx.placement, certificate("spare"), between=0.4, closing=0.1)
        nginx.running = asyncio.create_task(nginx.proxy.run())
        await nginx.serves(table(host(route("all", to="two"))), {"two": members["two"]})
        assert "two" == (await nginx.seen("/"))["name"]
        writer.write(b"b")
        assert b"200" == (await reader.read()).split(b" ")[1]
        writer.close()


async def test_who_looks_after_nginx_knows_which_table_came_while_it_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "_FORGET", 0.0)
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        ask = nginx.proxy._control.state
        is_asked, go = asyncio.Event(), asyncio.Event()

        async def slow():
            answer = await ask()
            if asyncio.current_task() is watching and not is_asked.is_set():
                is_asked.set()
                await go.wait()
            return answer

        watching = next(each for each in asyncio.all_tasks() if "_watch" in repr(each.get_coro()))
        nginx.proxy._control.state = slow
        await asyncio.wait_for(is_asked.wait(), 60.0)
        await nginx.serves(table(host(route("all", to="two"))), {"two": (made["two"].member,)})
        nginx.proxy._has_unknown = True  # as after another control
        go.set()
        await nginx.until(lambda: not nginx.proxy._has_unknown)
        assert "two" == (await nginx.seen("/"))["name"]
        assert {"two"} == nginx.proxy._members.keys()


async def test_an_upload_that_outlasts_its_route_gets_the_endpoints_that_its_set_has_then(tmp_path, monkeypatch):
    """NGINX reads it to its end before it chooses one; meanwhile another Service has taken the route over."""
    monkeypatch.setattr(proxy, "_FORGET", 0.0)
    async with backends("one", "two", "later") as made, gateway(tmp_path / "g") as nginx:
        nginx.proxy._again = 0.02
        await nginx.serves(table(host(route("all"))), {name: (made[name].member,) for name in ("one", "two")})
        reader, writer = await asyncio.open_connection(ADDRESS, nginx.placement.bound(80))
        writer.write(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nConnection: close\r\n\r\na")
        for _ in range(8):
            assert 200 == (await nginx.get("/"))[0]
        await nginx.serves(table(host(route("all", to="two"))), {})
        await nginx.until(lambda: nginx.proxy._stale.keys() == {("S", "set/one")})
        nginx.proxy.endpoints({"one": (made["later"].member,)})
        await nginx.until(lambda: str(made["later"].member.port).encode() in nginx.proxy._sent["S", "set/one"])
        writer.write(b"b")
        answer = await reader.read()
        writer.close()
        assert (b"200", True) == (answer.split(b" ")[1], b'"later"' in answer), answer
