"""Do gRPC, WebSocket, HTTP/2 and the PROXY protocol pass a real NGINX, and does it drain?"""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import struct

import aiohttp
import grpc
import grpc.aio
import msgspec
import websockets
from aiohttp import web
from nginx_gateway import ADDRESS, backends, certificate, gateway, host, route, table

from mooring.edges.nginx.launch import prepared
from mooring.edges.nginx.process import answer, request
from mooring.routing.table import (
    Answer,
    Chain,
    ClientCertificates,
    Cluster,
    Endpoints,
    ErrorPages,
    ExternalAuth,
    Filters,
    FrontDoor,
    HeaderChanges,
    Member,
    Speaks,
    Template,
    Terminate,
    UpstreamTls,
)


async def test_grpc_passes_with_its_trailers_and_streams(tmp_path):
    async def say(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        context.set_trailing_metadata((("x-trailer", "here"),))
        return b"said " + body

    async def chat(bodies, context):
        async for body in bodies:
            yield b"chatted " + body

    server = grpc.aio.server()
    handlers = {"Say": grpc.unary_unary_rpc_method_handler(say), "Chat": grpc.stream_stream_rpc_method_handler(chat)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_insecure_port(f"{ADDRESS}:0")
    await server.start()
    made = certificate("a.test")
    try:
        async with gateway(tmp_path / "g") as nginx:
            cluster = Cluster("one", Endpoints("one"), Speaks.GRPC)
            wish = table(host(route("all")), clusters=(cluster,), certificates={"a.test": made})
            await nginx.serves(wish, {"one": (Member(ADDRESS, port),)})
            credentials = grpc.ssl_channel_credentials(made.chain)
            options = [("grpc.ssl_target_name_override", "a.test"), ("grpc.default_authority", "a.test")]
            async with grpc.aio.secure_channel(f"{ADDRESS}:{nginx.https_port}", credentials, options) as channel:
                call = channel.unary_unary("/test.Echo/Say")(b"hello")
                assert b"said hello" == await call
                assert ("x-trailer", "here") in tuple(await call.trailing_metadata())
                stream = channel.stream_stream("/test.Echo/Chat")()
                for word in (b"a", b"b"):
                    await stream.write(word)
                    assert b"chatted " + word == await stream.read()
                await stream.done_writing()
                nginx.proxy.endpoints({"one": ()})
                codes = set()

                async def is_unavailable() -> bool:
                    try:
                        await channel.unary_unary("/test.Echo/Say")(b"hello")
                    except grpc.aio.AioRpcError as error:
                        codes.add((error.code(), error.details()))
                    return (grpc.StatusCode.UNAVAILABLE, "no ready endpoint") in codes

                await nginx.until(is_unavailable)
    finally:
        await server.stop(0)


async def test_websocket_passes_and_outlives_a_reload(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        port = nginx.placement.bound(80)
        async with websockets.connect(f"ws://a.test:{port}/chat", host=ADDRESS, port=port) as stream:
            await stream.send("before")
            assert "one: before" == await stream.recv()
            await nginx.serves(table(host(route("other"))), {})
            await stream.send("after")
            assert "one: after" == await stream.recv()


async def test_http2_and_hsts(tmp_path):
    wishes = {"a.test": "max-age=600", "b.test": "max-age=500", "c.test": ""}
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        wish = table(
            *(msgspec.structs.replace(host(route(name), hosts=(name,)), hsts=hsts) for name, hsts in wishes.items()),
            certificates={name: certificate(name) for name in wishes},
            front_door=FrontDoor(server_header=""),
        )
        await nginx.serves(wish, {"one": (made["one"].member,)})
        for name, hsts in wishes.items():
            words = ("curl", "-sk", "--http2", "-D-", "-o", "/dev/null", "--resolve", f"{name}:{nginx.https_port}:{ADDRESS}")
            curl = await asyncio.create_subprocess_exec(
                *words, f"https://{name}:{nginx.https_port}/", stdout=asyncio.subprocess.PIPE
            )
            said, _ = await curl.communicate()
            assert said.startswith(b"HTTP/2 200")
            told = [line.partition(b": ")[2] for line in said.splitlines() if line.startswith(b"strict-transport-security")]
            assert [hsts.encode()] * bool(hsts) == told
            assert b"server: backend" in said
        await nginx.serves(table(host(route("all")), front_door=FrontDoor(server_header="mine")), {})
        assert ["mine", "mine"] == [(await nginx.get("/", name))[1]["server"] for name in ("a.test", "nobody.test")]


async def test_tls_and_http2_to_backends(tmp_path):
    made = certificate("inner.test")
    (tmp_path / "pair").write_bytes(made.chain + made.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair")

    async def reply(request: web.Request) -> web.Response:
        return web.Response(text=request.transport.get_extra_info("ssl_object").version())

    app = web.Application()
    app.router.add_get("/", reply)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, ADDRESS, 0, ssl_context=context).start()
    member = Member(ADDRESS, runner.addresses[0][1])
    try:
        async with gateway(tmp_path / "g") as nginx:
            good = Cluster("one", Endpoints("one"), tls=UpstreamTls("inner.test", made.chain))
            other = Cluster("two", Endpoints("one"), tls=UpstreamTls("other.test", made.chain))
            wish = table(host(route("good", "/"), route("other", "/other", "two")), clusters=(good, other))
            wish = table(host(route("other", "/other", "two"), route("good", "/")), clusters=(good, other))
            await nginx.serves(wish, {"one": (member,)})
            assert (200, "TLSv1.3") == (await nginx.get("/"))[::2]
            assert 502 == (await nginx.get("/other"))[0]
    finally:
        await runner.cleanup()


async def test_the_proxy_protocol_and_trusted_proxies_tell_the_client(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        believing = FrontDoor(trusted_proxies=("127.0.0.0/8",))
        await nginx.serves(table(host(route("all")), front_door=believing), {"one": (made["one"].member,)})
        given = {"X-Forwarded-For": "6.6.6.6, 9.9.9.9", "X-Forwarded-Proto": "https"}
        headers = (await nginx.seen("/", headers=given))["headers"]
        assert ("9.9.9.9", "6.6.6.6, 9.9.9.9, 127.0.0.1", "https") == tuple(
            headers[name] for name in ("x-real-ip", "x-forwarded-for", "x-forwarded-proto")
        )
        await nginx.serves(table(host(route("all")), front_door=FrontDoor(proxy_protocol=True)), {})
        reader, writer = await asyncio.open_connection(ADDRESS, nginx.placement.bound(80))
        writer.write(b"PROXY TCP4 9.8.7.6 127.0.0.1 1234 80\r\nGET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        headers = json.loads(body)["headers"]
        assert ("9.8.7.6", "9.8.7.6") == (headers["x-real-ip"], headers["x-forwarded-for"])


async def _records(reader: asyncio.StreamReader) -> dict[int, bytes]:
    """What is sent of a FastCGI request, by the type of its records, until its body has ended."""
    sent: dict[int, bytes] = {}
    while True:
        _, kind, _, length, padding, _ = struct.unpack("!BBHHBB", await reader.readexactly(8))
        content = await reader.readexactly(length)
        await reader.readexactly(padding)
        sent[kind] = sent.get(kind, b"") + content
        if kind == 5 and not content:
            return sent


def _parameters(octets: bytes) -> dict[str, str]:
    found, at = {}, 0
    while at < len(octets):
        lengths = []
        for _ in range(2):
            is_long = octets[at] > 127
            lengths.append(struct.unpack_from("!I", octets, at)[0] & 2**31 - 1 if is_long else octets[at])
            at += 4 if is_long else 1
        name, value = octets[at : at + lengths[0]], octets[at + lengths[0] : at + sum(lengths)]
        found[name.decode()], at = value.decode(), at + sum(lengths)
    return found


async def test_fastcgi_is_told_what_other_backends_are(tmp_path):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                told = _parameters((await _records(reader))[4])
                status = 404 if told["SCRIPT_NAME"] == "/gone" else 200
                said = f"Status: {status}\r\nContent-Type: text/plain\r\n\r\n{json.dumps(told)}".encode()
                writer.write(struct.pack("!BBHHBB", 1, 6, 1, len(said), 0, 0) + said)
                writer.write(struct.pack("!BBHHBBIBxxx", 1, 3, 1, 8, 0, 0, 0, 0))
                await writer.drain()
        writer.close()

    claims = {
        "SSL-Client-Verify": "SUCCESS",
        "X-Auth": "no",
        "Authorization": "Basic YTpi",
        "X-Real-IP": "192.0.2.9",
        "X-A": "1",
    }
    guarded = Filters(
        external_auth=ExternalAuth("two", "auth.test", Template(("/check",)), take=("x-auth",)),
        request_headers=HeaderChanges(set=(("x-set", "2"),), remove=("authorization",)),
        error_pages=ErrorPages((404,), "two"),
    )
    async with backends("two") as made, gateway(tmp_path / "g") as nginx:
        server = await asyncio.start_server(answer, ADDRESS, 0)
        members = {"one": (Member(ADDRESS, server.sockets[0].getsockname()[1]),), "two": (made["two"].member,)}
        wish = table(host(route("all", filters=guarded)), clusters=(Cluster("one", Endpoints("one"), Speaks.FASTCGI), "two"))
        await nginx.serves(wish, members)
        told = await nginx.seen("/a.php?b", headers=claims)
        names = (
            "SSL_CLIENT_VERIFY",
            "X_AUTH",
            "AUTHORIZATION",
            "X_REAL_IP",
            "X_FORWARDED_PROTO",
            "X_A",
            "X_SET",
            "PROXY",
            "HOST",
        )
        found = [told.get(f"HTTP_{name}", "") for name in names]
        assert ["", "yes", "", "127.0.0.1", "http", "1", "2", "", "a.test"] == found
        assert ("/a.php", "b", "GET") == (told["SCRIPT_NAME"], told["QUERY_STRING"], told["REQUEST_METHOD"])
        _, headers, _ = await nginx.get("/gone")
        assert "two" == headers.get("x-backend")
        server.close()


async def test_smuggling_is_refused(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})

        async def status(head: str) -> str:
            reader, writer = await asyncio.open_connection(ADDRESS, nginx.placement.bound(80))
            writer.write(head.replace("\n", "\r\n").encode())
            line = await reader.readline()
            writer.close()
            return line.split()[1].decode()

        both = "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n"
        twice = "POST / HTTP/1.1\nHost: a.test\nContent-Length: 5\nContent-Length: 6\n\nhello"
        hosts = "GET / HTTP/1.1\nHost: a.test\nHost: b.test\n\n"
        long = f"GET / HTTP/1.1\nHost: a.test\nX: {'x' * 70000}\n\n"
        fragment = "GET /x#/../secret HTTP/1.1\nHost: a.test\n\n"
        assert ["400", "400", "400", "431", "400"] == [await status(head) for head in (both, twice, hosts, long, fragment)]
        seen = await nginx.seen("/", headers={"under_score": "1"})
        assert "under_score" not in seen["headers"]
        reader, writer = await asyncio.open_connection(ADDRESS, nginx.placement.bound(80))
        writer.write(b"GET http://a.test/ HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n")
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
        assert "a.test" == json.loads(body)["headers"]["host"]


async def test_a_drained_nginx_ends_what_it_has_begun_and_nothing_else(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        await nginx.serves(table(host(route("all"))), {"one": (made["one"].member,)})
        launch = prepared(nginx.placement, 2)  # a second time, with NGINX running: changes nothing
        assert 200 == (await nginx.get("/"))[0]
        slow = asyncio.create_task(nginx.get("/?slow"))
        await nginx.until(lambda: made["one"].seen == 2)

        def ask(path: str, method: str, target: str) -> str:
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(path)
                control.sendall(request(target).replace(b"POST", method.encode(), 1))
                received = b""
                while more := control.recv(4096):
                    received += more
            return answer(received)

        for each in launch.drain:
            await asyncio.to_thread(ask, *each)
        assert 503 == await nginx.ready()
        status, headers, _ = await nginx.get("/")
        assert (200, "close") == (status, headers["connection"])

        async def active(count: int) -> bool:
            return f"connections: {count}" == (await asyncio.to_thread(ask, *launch.active)).strip()

        await nginx.until(lambda: active(1))  # the slow one's alone
        made["one"].go_on.set()
        assert 200 == (await slow)[0]
        await nginx.until(lambda: active(0))
        nginx.process.send_signal(signal.SIGTERM)
        assert 0 == await nginx.process.wait()


async def test_client_certificates(tmp_path):
    mine = certificate("client.test")
    (tmp_path / "client").write_bytes(mine.chain + mine.key)
    hosts = (host(route("secured"), hosts=("secured.test",)), host(route("open"), hosts=("open.test",)))
    elsewhere = host(route("421", action=Answer(421)), hosts=("secured.test",))
    served = {"secured.test": certificate("secured.test"), "open.test": certificate("open.test")}
    chains = (
        Chain(("secured.test",), hosts[:1], Terminate("secured.test", ClientCertificates(mine.chain, hand_on=True))),
        Chain(("open.test", "*"), (elsewhere, hosts[1]), Terminate("open.test")),
    )
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        wish = table(*hosts, chains=chains, certificates=served)
        await nginx.serves(wish, {"one": (made["one"].member,)})

        async def ask(name: str, asked: str, with_mine: bool) -> tuple[int, str]:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if with_mine:
                context.load_cert_chain(tmp_path / "client")
            url = f"https://{ADDRESS}:{nginx.https_port}/"
            more = {"headers": {"Host": name}, "server_hostname": asked, "ssl": context}
            async with aiohttp.ClientSession() as session, session.get(url, **more) as reply:
                return reply.status, await reply.text()

        status, body = await ask("secured.test", "secured.test", True)
        headers = json.loads(body)["headers"]
        assert (200, "SUCCESS", "CN=client.test") == (status, headers["ssl-client-verify"], headers["ssl-client-subject-dn"])
        assert headers["ssl-client-cert"].startswith("-----BEGIN%20CERTIFICATE")
        assert 400 == (await ask("secured.test", "secured.test", False))[0]
        assert 421 == (await ask("secured.test", "open.test", False))[0]
        assert 421 == (await ask("secured.test", "nobody.test", False))[0]
        assert 200 == (await ask("open.test", "open.test", False))[0]
