"""Do changes reach a real NGINX without breaking an exchange?"""

import asyncio
import contextlib
import ssl
from collections.abc import Coroutine

import aiohttp
from nginx_gateway import ADDRESS, Gateway, backends, certificate, gateway, host, route, start, table

from mooring.edges.nginx.proxy import NginxProxy
from mooring.routing.table import Member, Policy, WeightedCluster


class Load:
    """Keep-alive clients that ask without pause. A request that dies on a connection that has answered before, without an
    octet of an answer, is sent again on a new one (RFC 9112, 9.3.1), and counted."""

    def __init__(self, nginx: Gateway, clients: int = 4) -> None:
        self._nginx, self._clients = nginx, clients
        self._is_over = False
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []
        self.again = 0
        self.count = 0

    async def beside(self, change: Coroutine[None, None, None], least: int) -> None:
        """While the change is made, and until so many have been answered."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._client())
            await change
            await self._nginx.until(lambda: self.count > least)
            self._is_over = True

    async def _client(self) -> None:
        reader = writer = None
        port = self._nginx.placement.bound(80)
        fresh = True
        while not self._is_over:
            if writer is None:
                reader, writer = await asyncio.open_connection(ADDRESS, port)
                fresh = True
            try:
                writer.write(b"GET /load HTTP/1.1\r\nHost: a.test\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, OSError) as error:
                partial = getattr(error, "partial", b"")
                if fresh or partial:
                    self.failures.append(f"{error!r} {partial!r}")
                self.again += 1
                writer.close()
                writer = None
                continue
            fresh = False
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            body = await reader.readexactly(int(fields[b"content-length"]))
            status = head.split(b" ", 2)[1]
            self.count += 1
            if status == b"200":
                name = body.split(b'"')[3].decode()
                self.answers[name] = self.answers.get(name, 0) + 1
            else:
                self.failures.append(f"{status!r} {body!r}")
            if fields[b"connection"] == b"close":
                writer.close()
                writer = None
        if writer is not None:
            writer.close()


async def test_certificates_are_chosen_by_name_and_rotate_without_touching_open_connections(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        hosts = (host(route("all"), hosts=("a.test", "b.test")),)
        certificates = {name: certificate(name) for name in ("a.test", "b.test", "*")}
        await nginx.serves(table(*hosts, certificates=certificates), {"one": (made["one"].member,)})
        names = [await nginx.subject(name) for name in ("a.test", "b.test", "c.test")]
        assert ["CN=a.test", "CN=b.test", "CN=*"] == names
        context = ssl.create_default_context(cadata=certificates["a.test"].chain.decode())
        opened: list[str] = []
        trace = aiohttp.TraceConfig()

        async def remember(*_: object) -> None:
            opened.append("connection")

        trace.on_connection_create_end.append(remember)
        async with aiohttp.ClientSession(trace_configs=[trace]) as session:
            address = f"https://{ADDRESS}:{nginx.https_port}/"

            async def ask() -> tuple[int, int]:
                async with session.get(address, headers={"Host": "a.test"}, ssl=context, server_hostname="a.test") as answer:
                    await answer.read()
                    return answer.status, len(opened)

            assert (200, 1) == await ask()
            generation = (await nginx.proxy._control.state())["loaded"]
            rotated = certificates | {"a.test": certificate("new.test")}
            await nginx.serves(
                table(*hosts, chains=table(*hosts, certificates=certificates).listeners[1].chains, certificates=rotated), {}
            )
            assert "CN=new.test" == await nginx.subject("a.test")
            assert (200, 1) == await ask()
            assert generation == (await nginx.proxy._control.state())["loaded"]


async def test_endpoints_change_under_load_without_a_failure(tmp_path):
    async with backends("one", "two", "three") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(
            table(host(route("all"))),
            {"one": (made["one"].member,)},
        )
        load = Load(nginx)

        async def change() -> None:
            members = [each.member for each in made.values()]
            for turn in range(24):
                nginx.proxy.endpoints({"one": tuple(members[: turn % 3 + 1])})
                await asyncio.sleep(0.05)

        await load.beside(change(), 100)
        assert [] == load.failures
        assert 0 == load.again
        assert {"one", "two", "three"} == load.answers.keys()


async def test_routes_change_under_load_without_a_failure(tmp_path):
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        members = {name: (one.member,) for name, one in made.items()}
        await nginx.serves(table(host(route("all"))), members)
        load = Load(nginx)

        async def change() -> None:
            for turn in range(40):
                weights = (WeightedCluster("one", turn % 4), WeightedCluster("two", 1))
                nginx.proxy.apply(table(host(route(f"new{turn // 4}", f"/new{turn // 4}"), route("all", to=weights))))
                await asyncio.sleep(0.05)

        await load.beside(change(), 500)
        assert load.again < 10
        assert [] == load.failures


async def test_weights_change_without_a_reload(tmp_path):
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:

        def wish(one: int, two: int):
            return table(host(route("all", to=(WeightedCluster("one", one), WeightedCluster("two", two)))))

        await nginx.serves(wish(1, 1), {name: (one.member,) for name, one in made.items()})
        generation = (await nginx.proxy._control.state())["loaded"]
        assert {"one", "two"} == {(await nginx.seen("/"))["name"] for _ in range(30)}
        await nginx.serves(wish(0, 1), {})
        assert {"two"} == {(await nginx.seen("/"))["name"] for _ in range(20)}
        assert generation == (await nginx.proxy._control.state())["loaded"]


async def test_a_restarted_nginx_is_told_everything_again(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        await nginx.kill()
        nginx.process = await start(nginx.placement, nginx.log)
        await nginx.until(lambda: _is_ok(nginx))


async def _is_ok(nginx: Gateway) -> bool:
    with contextlib.suppress(OSError, aiohttp.ClientError):
        return (await nginx.get("/"))[0] == 200
    return False


async def test_without_endpoints_and_with_a_dead_one(tmp_path):
    async with gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": ()})
        assert 503 == (await nginx.get("/"))[0]
        nginx.proxy.endpoints({"one": (Member(ADDRESS, 1),)})
        await nginx.until(lambda: _is(nginx, 502))


async def _is(nginx: Gateway, status: int) -> bool:
    return (await nginx.get("/"))[0] == status


async def test_routes_hosts_and_clusters_change_without_a_reload(tmp_path):
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        members = {name: (each.member,) for name, each in made.items()}
        certificates = {"*": certificate("any.test")}
        await nginx.serves(table(host(route("all")), clusters=("one",), certificates=certificates), members)
        generation = (await nginx.proxy._control.state())["loaded"]
        hosts = (
            host(route("path", "/path", "two"), route("all", to="two")),
            host(route("wild", to="one"), hosts=("*.wild.test",)),
        )
        await nginx.serves(table(*hosts, certificates=certificates), {})
        asked = [("/", "a.test"), ("/path/x", "a.test"), ("/", "x.wild.test")]
        assert ["two", "two", "one"] == [(await nginx.seen(path, name))["name"] for path, name in asked]
        await nginx.serves(table(host(route("path", "/path")), certificates=certificates), {})
        asked = [("/", "a.test"), ("/path/x", "a.test"), ("/", "x.wild.test")]
        assert [404, 200, 404] == [(await nginx.get(path, name))[0] for path, name in asked]
        assert generation == (await nginx.proxy._control.state())["loaded"]


async def test_until_a_reload_what_serves_is_not_touched_by_another_control(tmp_path):
    """The second control's table has groups that the workers do not know yet."""
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        members = {"one": (made["one"].member,)}
        await nginx.serves(table(host(route("all"))), members)
        load = Load(nginx)

        async def other() -> None:
            proxy = NginxProxy(nginx.placement, certificate("spare"), between=0.4, closing=0.1)
            running = asyncio.create_task(proxy.run())
            proxy.endpoints(members)
            wish = table(host(route("all", policy=Policy(read=7.0))))
            proxy.apply(wish)
            await nginx.until(lambda: proxy.in_force is wish)
            running.cancel()
            await asyncio.wait([running])

        nginx.running.cancel()
        await asyncio.wait([nginx.running])
        nginx.running = asyncio.create_task(asyncio.Event().wait())
        await load.beside(other(), 20)
        assert [] == load.failures
