"""Asks web servers as real clients do, in the network namespace where it is started: curl for HTTP/1.1 and HTTP/2, aioquic for
HTTP/3, grpcio, websockets.

A JSON list of questions as the first argument, a JSON list of answers out. A question: {"by": "1.1" | "2" | "3" | "grpc" |
"websocket", "address", "host", "path", "tls", "authority" (a file), "headers", "method", "octets" (of a body)}; an answer:
{"status", "headers", "body", "by"}, or {"failed": words}. With "times" so many requests go over one connection, and the body is
the list of all bodies.
"""

import asyncio
import http.client
import json
import ssl
import subprocess
import sys

PATIENCE = 20.0


def curl(question):
    secure = question.get("tls", False)
    port = 443 if secure else 80
    command = ["curl", "-sS", "-i", f"--http{question['by']}", "--max-time", str(PATIENCE), "-X", question.get("method", "GET")]
    command += ["--resolve", f"{question['host']}:{port}:{question['address']}"]
    if secure:
        command += ["--cacert", question["authority"]]
    for name, value in question.get("headers", {}).items():
        command += ["-H", f"{name}: {value}"]
    body = b""
    if "octets" in question:
        command += ["-H", "Expect:", "--data-binary", "@-"]
        body = b"x" * question["octets"]
    url = f"http{'s' if secure else ''}://{question['host']}{question.get('path', '/')}"
    done = subprocess.run([*command, url], input=body, capture_output=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.decode().strip()}
    head, _, content = done.stdout.decode("utf-8", "replace").partition("\r\n\r\n")
    lines = head.splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    version, status = lines[0].split()[:2]
    return {"status": int(status), "headers": headers, "body": content, "by": version.removeprefix("HTTP/")}


def repeated(question):
    connection = http.client.HTTPConnection(question["address"], timeout=PATIENCE)
    bodies = []
    for _ in range(question["times"]):
        connection.request("GET", question["path"], headers={"Host": question["host"], **question.get("headers", {})})
        answer = connection.getresponse()
        bodies.append(answer.read().decode())
    return {"status": answer.status, "headers": {}, "body": bodies, "by": "1.1"}


async def http3(question):
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.h3.events import DataReceived, HeadersReceived
    from aioquic.quic.configuration import QuicConfiguration

    class Client(QuicConnectionProtocol):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self.http = H3Connection(self._quic)
            self.headers, self.body, self.over = [], b"", asyncio.get_running_loop().create_future()

        def quic_event_received(self, event):
            for each in self.http.handle_event(event):
                if isinstance(each, HeadersReceived):
                    self.headers += each.headers
                elif isinstance(each, DataReceived):
                    self.body += each.data
                if getattr(each, "stream_ended", False) and not self.over.done():
                    self.over.set_result(None)

    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=question["host"])
    configuration.load_verify_locations(question["authority"])
    async with connect(question["address"], 443, configuration=configuration, create_protocol=Client) as client:
        asked = [
            (":method", question.get("method", "GET")),
            (":scheme", "https"),
            (":authority", question["host"]),
            (":path", question.get("path", "/")),
            *question.get("headers", {}).items(),
        ]
        stream = client._quic.get_next_available_stream_id()
        client.http.send_headers(stream, [(name.encode(), value.encode()) for name, value in asked], end_stream=True)
        client.transmit()
        await client.over
        headers = {name.decode(): value.decode() for name, value in client.headers}
        return {"status": int(headers.pop(":status")), "headers": headers, "body": client.body.decode(), "by": "3"}


def grpc(question):
    """One call, then a stream of two messages: the body is what came back of both."""
    import grpc

    with open(question["authority"], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = [("grpc.ssl_target_name_override", question["host"]), ("grpc.default_authority", question["host"])]
    with grpc.secure_channel(f"{question['address']}:443", credentials, options) as channel:
        metadata = tuple(question.get("headers", {}).items())
        call = channel.unary_unary("/mooring.Echo/Say").with_call
        said, told = call(b"hello", timeout=PATIENCE, metadata=metadata, wait_for_ready=True)
        chat = channel.stream_stream("/mooring.Echo/Chat")(iter((b"one", b"two")), timeout=PATIENCE)
        echoed = [each.decode() for each in chat][1:]
        trailers = dict(told.trailing_metadata())
        return {"status": 200, "headers": trailers, "body": [json.loads(said), echoed], "by": "grpc"}


async def websocket(question):
    from websockets.asyncio.client import connect

    context = None
    if question.get("tls"):
        context = ssl.create_default_context(cafile=question["authority"])
    scheme, port = ("wss", 443) if context else ("ws", 80)
    more = {"server_hostname": question["host"]} if context else {}
    async with connect(
        f"{scheme}://{question['host']}{question.get('path', '/')}",
        host=question["address"],
        port=port,
        ssl=context,
        additional_headers=question.get("headers", {}),
        **more,
    ) as made:
        first = json.loads(await made.recv())
        await made.send("one")
        await made.send(b"two")
        echoed = [await made.recv(), (await made.recv()).decode()]
        return {"status": made.response.status_code, "headers": {}, "body": [first, echoed], "by": "websocket"}


WAYS = {"1.1": curl, "2": curl, "3": http3, "grpc": grpc, "websocket": websocket}


def ask(question):
    way = repeated if "times" in question else WAYS[question["by"]]
    try:
        if asyncio.iscoroutinefunction(way):
            return asyncio.run(asyncio.wait_for(way(question), PATIENCE))
        return way(question)
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


print(json.dumps([ask(each) for each in json.loads(sys.argv[1])]))
