"""What does `mooring.dev/echo-grpc` answer? Who it is, and then what it is sent, over gRPC and over WebSocket.

    gRPC       /mooring.Echo/Say    any message: answered with the identity, as JSON; the trailer `pod` names the pod
               /mooring.Echo/Chat   a stream: the identity first, then each message as it came
    WebSocket  any path             the identity first, then each message as it came
    HTTP       GET /ready           200

ECHO_GRPC and ECHO_HTTP are the ports. SIGTERM lets streams go on for two seconds.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
from aiohttp import WSMsgType, web

GRACE = 2.0


def identity(**more: Any) -> dict[str, Any]:
    names = {"pod": "POD_NAME", "namespace": "POD_NAMESPACE", "ip": "POD_IP", "node": "NODE_NAME"}
    return {field: os.environ.get(name, "") for field, name in names.items()} | more


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Messages are bytes: whoever asks needs no description of them."""

    def service(self, details: Any) -> Any:
        metadata = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        about = json.dumps(identity(method=details.method, headers=metadata)).encode()

        async def say(message: bytes, context: Any) -> bytes:
            context.set_trailing_metadata((("pod", os.environ.get("POD_NAME", "")),))
            return about

        async def chat(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            yield about
            async for message in messages:
                yield message

        if details.method == "/mooring.Echo/Say":
            return grpc.unary_unary_rpc_method_handler(say)
        return grpc.stream_stream_rpc_method_handler(chat) if details.method == "/mooring.Echo/Chat" else None


async def http(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return web.Response(text="ready on\n") if request.path == "/ready" else web.Response(status=404)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    await socket.send_str(json.dumps(identity(path=request.path_qs, headers=headers)))
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


async def main() -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Echo(),))
    server.add_insecure_port(f"[::]:{os.environ.get('ECHO_GRPC', '9090')}")
    await server.start()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", http)
    runner = web.AppRunner(application, shutdown_timeout=GRACE)
    await runner.setup()
    await web.TCPSite(runner, None, int(os.environ.get("ECHO_HTTP", "8080"))).start()
    await ended.wait()
    await server.stop(GRACE)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
