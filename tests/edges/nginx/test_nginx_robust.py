"""Does NGINX stay true when tables fail, tests are slow, memory is full, names are silent and connections never end?"""

import asyncio
import threading

import aiohttp
from msgspec import structs
from nginx_gateway import Gateway, backends, certificate, gateway, host, route, table

from mooring.app.gateway_supervisor import Supervisor
from mooring.edges.dns import names
from mooring.edges.nginx import process, proxy, trials
from mooring.edges.nginx.launch import prepared
from mooring.routing.nginx import emit
from mooring.routing.table import (
    Certificate,
    Chain,
    Cluster,
    Endpoints,
    Fixed,
    Policy,
    Route,
    RouteTable,
    Terminate,
    UpstreamTls,
)


async def until_named(nginx: Gateway, server_name: str, subject: str) -> None:
    async def is_named() -> bool:
        return f"CN={subject}" == await nginx.subject(server_name)

    await nginx.until(is_named)


async def until_answered(nginx: Gateway, path: str, name: str) -> None:
    async def is_answered() -> bool:
        return name == (await nginx.seen(path))["name"]

    await nginx.until(is_answered)


async def test_a_table_that_cannot_be_made_stops_nothing(tmp_path, monkeypatch):
    def fails(wish: RouteTable, *others: object) -> object:
        if "bad" in wish.clusters:
            raise KeyError("a mistake of ours")
        return emit.emit(wish, *others)

    monkeypatch.setattr(trials, "emit", fails)
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        nginx.proxy.apply(table(host(route("all")), clusters=("one", "bad")))
        await nginx.until(lambda: nginx.rejections)
        nginx.proxy.endpoints({"one": (made["two"].member,)})
        await until_answered(nginx, "/", "two")
        await nginx.serves(table(host(route("more", "/more"), route("all"))), {})
        assert () == nginx.rejections


async def test_certificates_and_endpoints_wait_for_no_test(tmp_path, monkeypatch):
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        before, after = certificate("before"), certificate("after")
        hosts = host(route("all"), hosts=("a.test",))
        await nginx.serves(table(hosts, certificates={"a.test": before}), {"one": (made["one"].member,)})
        go = asyncio.Event()
        test = trials.Trials._test

        async def slow(self, config):
            await go.wait()
            return await test(self, config)

        monkeypatch.setattr(trials.Trials, "_test", slow)
        changed = host(route("more", "/more", "two"), route("all"), hosts=("a.test",))
        nginx.proxy.apply(table(changed, certificates={"a.test": before}))
        nginx.proxy.endpoints({"one": (made["two"].member,), "two": (made["one"].member,)})
        last = table(changed, certificates={"a.test": after})
        nginx.proxy.apply(last)
        await until_named(nginx, "a.test", "after")
        await until_answered(nginx, "/", "two")
        go.set()
        await nginx.until(lambda: nginx.proxy.in_force is last)
        assert "CN=after" == await nginx.subject("a.test")
        await until_answered(nginx, "/more", "one")


async def test_what_finds_no_room_takes_nobody_elses(tmp_path, monkeypatch):
    real = emit.http_block

    def small(*given):
        for each in real(*given):
            is_certificates = "mooring_certificates" in each.words
            yield structs.replace(each, words=("mooring_certificates", "256k")) if is_certificates else each

    monkeypatch.setattr(emit, "http_block", small)
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        good, large = certificate("good"), certificate("large")
        large = structs.replace(large, chain=large.chain + b"\n" * 150_000)
        certificates = {f"n{number}.test": structs.replace(large, source=f"secret {number}") for number in range(3)}
        hosts = host(route("all"), hosts=("a.test", *certificates))
        chains = tuple(Chain((name,), (hosts,), Terminate(name)) for name in ("a.test", "*", *certificates))
        everything = {"a.test": good, "*": certificate("spare"), **certificates}
        await nginx.serves(table(hosts, certificates=everything, chains=chains), {"one": (made["one"].member,)})
        assert "CN=good" == await nginx.subject("a.test")
        full = {each.source for each in nginx.rejections}
        assert full and full <= {"secret 0", "secret 1", "secret 2"}
        assert {f"CN={name}" for name in ("spare", "large")} >= {await nginx.subject(name) for name in certificates}
        nginx.proxy.endpoints({"one": (made["two"].member,)})
        await until_answered(nginx, "/", "two")


async def test_a_certificate_of_any_length_is_judged_before(tmp_path):
    long = certificate("long")
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        wish = Certificate(long.chain + b"\n" * 1_000_000, long.key, "secret long")
        await nginx.serves(table(host(route("all")), certificates={"a.test": wish}), {"one": (made["one"].member,)})
        assert ["secret long"] == [each.source for each in nginx.rejections]


async def test_names_that_are_silent_keep_nobody_waiting(tmp_path, monkeypatch):
    silence = threading.Event()
    asked: list[str] = []

    def resolve(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(name)
        if name == "silent.test":
            silence.wait(100.0)
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(names.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(proxy, "_PATIENCE", 0.05)
    silent = [Cluster(f"silent {number}", Fixed("silent.test", number)) for number in range(1, 40)]
    try:
        async with backends("one") as made, gateway(tmp_path / "g") as nginx:
            for number in range(3):
                routes = [route(f"r{each.where.port}", f"/{each.where.port}", each.name) for each in silent]
                wish = table(host(*routes, route(f"all {number}", f"/x{number}")), clusters=("one", *silent))
                await nginx.serves(wish, {"one": (made["one"].member,)})
                assert 200 == (await nginx.get(f"/x{number}"))[0]
            assert len(asked) < 20  # each name once at a time, in threads that nothing else needs
            silence.set()
    finally:
        silence.set()


async def test_what_was_refused_is_not_searched_again_and_comes_back(tmp_path, monkeypatch):
    tests = 0
    test = trials.Trials._test

    async def counted(self, config):
        nonlocal tests
        tests += 1
        return await test(self, config)

    monkeypatch.setattr(trials.Trials, "_test", counted)
    upstream = UpstreamTls("x", authorities=b"-----BEGIN NONSENSE")
    bad = Cluster("bad", Endpoints("one"), tls=upstream)

    def setting(name: str) -> Route:
        return route(name, f"/{name}", policy=Policy(read=ord(name)))

    def wish(*more: str, cluster: Cluster = bad) -> RouteTable:
        return table(host(route("bad", "/bad", "bad"), *map(setting, more)), clusters=("one", cluster))

    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(wish("a"), {"one": (made["one"].member,)})
        assert ["ingress bad"] == [each.source for each in nginx.rejections]
        for more in ("b", "c"):
            tests = 0
            await nginx.serves(wish(more), {})
            assert (1, ["ingress bad"]) == (tests, [each.source for each in nginx.rejections])
        # The reason of the second lies in the first, which changes.
        nginx.proxy._trials._off = {"c": (trials._part("c", wish("c")), "a reason that is gone")} | nginx.proxy._trials._off
        await nginx.serves(wish("c", cluster=structs.replace(bad, tls=None)), {})
        assert () == nginx.rejections
        assert 200 == (await nginx.get("/bad"))[0]


async def test_old_workers_are_counted_and_make_reloads_rarer(tmp_path):
    assert [0.0, 0.0, 2.0, 4.0, 32.0] == [proxy.rarely(number) for number in (0, 4, 5, 6, 100)]
    async with backends("one") as made, gateway(tmp_path / "g") as nginx, aiohttp.ClientSession() as session:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        await nginx.until(lambda: 0 == process.generations(nginx.placement.folder))
        opened = []
        for number in range(2):
            opened.append(await session.ws_connect(f"{nginx.http}/ws", headers={"Host": "a.test"}))
            await nginx.serves(table(host(route("all", policy=Policy(read=50.0 + number)))), {})
        await nginx.until(lambda: 1 <= process.generations(nginx.placement.folder) <= 2)
        for each in opened:
            await each.close()
        await nginx.until(lambda: 0 == process.generations(nginx.placement.folder))


async def test_members_of_former_tables_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "_FORGET", 0.0)
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        member = (made["one"].member,)
        await nginx.serves(table(host(route("all"))), {"one": member, "two": member, "unknown": member})
        await nginx.until(lambda: nginx.proxy._members.keys() == {"one"})
        await nginx.serves(table(host(route("more", "/more", "two"), route("all"))), {"two": member})
        assert 200 == (await nginx.get("/more"))[0]


async def test_what_a_table_on_its_way_needs_is_not_forgotten_with_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "_FORGET", 0.0)
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        member = (made["one"].member,)
        nginx.proxy._again = 0.01  # looks for what can be forgotten all the time
        for number in range(3):
            name = f"set {number}"
            wish = table(host(route(name, "/", name)), clusters=(name,))
            await nginx.serves(wish, {name: member})
            await until_answered(nginx, "/", "one")


async def test_who_asks_hears_how_many_connections_are_left(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx, aiohttp.ClientSession() as session:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        launch = prepared(nginx.placement, 1)
        plan = {"drain": launch.drain, "active": launch.active}
        supervisor = Supervisor(tmp_path, 1.0, [])
        supervisor._plan = plan
        opened = await session.ws_connect(f"{nginx.http}/ws", headers={"Host": "a.test"})
        await nginx.until(lambda: supervisor._active() == 1)
        await opened.close()
