"""How does Envoy reach its configuration? Aggregated discovery (ADS), delta variant, as a gRPC server on a Unix socket.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol. Several clients at once are served, each what it lacks.
Before the first snapshot is published, clients wait: a server that has just started never tells them that there is nothing.
Messages are bytes of our own making, so gRPC serialises nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import grpc
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from mooring.edges.envoy.stream import LINGER, Snapshot, Stream, Verdict

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

log = structlog.get_logger("ads")


class AdsServer:
    """`heard` is told of every acceptance and rejection; `publish` hands over what is wished."""

    def __init__(self, socket: Path, heard: Callable[[Verdict], None], *, linger: float = LINGER) -> None:
        self.responses = 0
        """Sent so far."""
        self._socket, self._heard, self._linger = socket, heard, linger
        self._snapshot: Snapshot | None = None
        self._clients: set[asyncio.Event] = set()

    @property
    def clients(self) -> int:
        return len(self._clients)

    def publish(self, snapshot: Snapshot) -> None:
        """Every client is brought to this, from now on."""
        self._snapshot = snapshot
        for wake in self._clients:
            wake.set()

    async def run(self) -> None:
        """Serves until cancelled. Raises RuntimeError when the socket cannot be bound, OSError when it cannot be named.

        gRPC takes the name that it has bound away when it ends, and that may be after its end has been told: the name would be
        the next server's by then, which no client would find any more. So it binds a name that is only this server's.
        """
        server = grpc.aio.server(options=UNLIMITED)
        methods = {"DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        bound = self._socket.with_suffix(f".{token_hex(3)}")
        server.add_insecure_port(f"unix:{bound}")
        await server.start()
        try:
            bound.rename(self._socket)
            await server.wait_for_termination()
        finally:
            await server.stop(None)

    async def _delta(self, requests: AsyncIterator[bytes], context: Any) -> None:
        wake = asyncio.Event()
        stream = Stream(self._linger)
        self._clients.add(wake)
        reading = asyncio.create_task(self._read(requests, stream, wake))
        try:
            while not reading.done():
                await self._tell(stream, context)
                await self._wait(wake, stream)
            reading.result()
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception:
            log.exception("a conversation with a proxy failed; it will begin another one")
            raise
        finally:
            self._clients.discard(wake)
            reading.cancel()

    async def _read(self, requests: AsyncIterator[bytes], stream: Stream, wake: asyncio.Event) -> None:
        try:
            async for data in requests:
                verdict = stream.receive(DeltaDiscoveryRequest.FromString(data))
                if verdict is not None:
                    self._heard(verdict)
                wake.set()
        finally:
            wake.set()

    async def _tell(self, stream: Stream, context: Any) -> None:
        if self._snapshot is None:
            return
        for verdict in stream.claims():
            self._heard(verdict)
        for response in stream.responses(self._snapshot, asyncio.get_running_loop().time()):
            self.responses += 1
            await context.write(response)

    async def _wait(self, wake: asyncio.Event, stream: Stream) -> None:
        """Until something is new, or the stream wants to be asked again."""
        loop = asyncio.get_running_loop()
        timeout = None if stream.again_at is None else max(stream.again_at - loop.time(), 0.001)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await wake.wait()
        wake.clear()
