"""Does a look-up hold what workers keep of earlier ones? Paths and names seen, whose turn it is, ids drawn in advance."""

import asyncio
import json

from nginx_gateway import ADDRESS, Gateway, backends, gateway, host, route, table

from mooring.routing.table import Answer, Filters, HeaderChanges


class Asking:
    """One connection, so one worker, which answers in order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, nginx: Gateway) -> "Asking":
        return cls(*await asyncio.open_connection(ADDRESS, nginx.placement.bound(80)))

    def send(self, path: str, name: str = "a.test", fields: str = "") -> None:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{fields}\r\n".encode())

    def begin(self, path: str) -> None:
        """A request whose body's last octet is still to come."""
        self._writer.write(f"POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\n1".encode())

    def end(self) -> None:
        self._writer.write(b"2")

    async def answer(self) -> tuple[int, str]:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:-2])
        body = await self._reader.readexactly(int(fields["content-length"]))
        return int(head[0].split(" ")[1]), body.decode()

    async def answers(self, *asked: tuple[str, str]) -> list[tuple[int, str]]:
        for path, name in asked:
            self.send(path, name)
        return [await self.answer() for _ in asked]

    def close(self) -> None:
        self._writer.close()


async def test_more_paths_and_names_than_a_worker_remembers(tmp_path):
    def of(name: str) -> tuple[str, ...]:
        return tuple(f"{name} {path}" for path in ("left", "right"))

    def virtual(name: str, *hosts: str) -> object:
        routes = (route(each, "/" + each.split(" ")[1], action=Answer(200, each)) for each in of(name))
        return host(*routes, hosts=hosts)

    async with gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(virtual("exact", "a.test"), virtual("wild", "*.w.test")), {})
        asking = await Asking.of(nginx)
        for begun in range(0, 5000, 200):
            asked = [
                (f"/{side}/{number}{'x' * (number % 7 * 60)}", "a.test" if number % 2 else f"n{number}.w.test")
                for number in range(begun, begun + 100)
                for side in ("left", "right")
            ]
            expected = [(200, f"{'exact' if name == 'a.test' else 'wild'} {path.split('/')[1]}") for path, name in asked]
            assert expected == await asking.answers(*asked)
        for _ in range(2):
            assert (404, "") == (await asking.answers(("/elsewhere", "a.test")))[0]
            assert (404, "") == (await asking.answers(("/left", "a.w.nowhere")))[0]
        asking.close()


async def test_a_longer_prefix_takes_a_path_that_was_seen(tmp_path):
    def served(*paths: str) -> object:
        return host(*(route(path, path, action=Answer(200, path)) for path in paths))

    async with gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(served("/a")), {})
        asking = await Asking.of(nginx)
        assert [(200, "/a"), (404, "")] == await asking.answers(("/a/b/c", "a.test"), ("/z", "a.test"))
        await nginx.serves(table(served("/a/b", "/a", "/")), {})
        assert [(200, "/a/b"), (200, "/")] == await asking.answers(("/a/b/c", "a.test"), ("/z", "a.test"))
        await nginx.serves(table(served("/a")), {})
        assert [(200, "/a"), (404, "")] == await asking.answers(("/a/b/c", "a.test"), ("/z", "a.test"))
        asking.close()


async def test_slow_bodies_reach_each_its_own_backend(tmp_path):
    """Others are looked up between a request's look-up and the choice of its endpoint."""
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        routes = (route("one", "/one", "one"), route("two", "/two", "two"))
        await nginx.serves(table(host(*routes)), {name: (each.member,) for name, each in made.items()})
        names = [("one", "two")[number % 2] for number in range(8)]
        asking = [await Asking.of(nginx) for _ in names]
        for each, name in zip(asking, names, strict=True):
            each.begin(f"/{name}")
        for name in names[1:4]:
            assert name == (await nginx.seen(f"/{name}"))["name"]
        for each in reversed(asking):
            each.end()
        assert names == [json.loads((await each.answer())[1])["name"] for each in asking]
        for each in asking:
            each.close()


async def test_workers_that_end_hear_of_endpoints(tmp_path):
    """A reload begins while requests' bodies are on their way. Those that end before the endpoint changes go to the former one,
    and so their workers have looked; those that end later go to the new one."""
    async with backends("one", "two") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        asking = [await Asking.of(nginx) for _ in range(12)]
        for each in asking:
            each.begin("/")
        told = Filters(response_headers=HeaderChanges(set=(("X-Told", "yes"),)))
        loaded = (await nginx.proxy._control.state())["loaded"]
        await nginx.serves(table(host(route("new", "/new", filters=told), route("all"))), {})
        assert loaded != (await nginx.proxy._control.state())["loaded"]
        for name, some in (("one", asking[::2]), ("two", asking[1::2])):
            nginx.proxy.endpoints({"one": (made[name].member,)})
            await nginx.until(lambda name=name: _is_served_by(nginx, name))
            for each in some:
                each.end()
                assert name == json.loads((await each.answer())[1])["name"]
                each.close()


async def _is_served_by(nginx: Gateway, name: str) -> bool:
    return (await nginx.seen("/"))["name"] == name


async def test_ids_of_requests_and_long_names_of_headers(tmp_path):
    name = "X-" + "Long-" * 60 + "Name"
    sets = Filters(request_headers=HeaderChanges(set=((name, "value"),)))
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("long", "/long", filters=sets), route("all"))), {"one": (made["one"].member,)})
        asking = await Asking.of(nginx)
        ids = set()
        for _ in range(280):
            asking.send("/")
            ids.add(json.loads((await asking.answer())[1])["headers"]["x-request-id"])
        assert 280 == len(ids)
        assert {(32, True)} == {(len(each), set(each) <= set("0123456789abcdef")) for each in ids}
        asking.send("/long", fields="X-Request-ID: given-1\r\n")
        headers = json.loads((await asking.answer())[1])["headers"]
        assert ("given-1", "value") == (headers["x-request-id"], headers[name.lower()])
        asking.close()
