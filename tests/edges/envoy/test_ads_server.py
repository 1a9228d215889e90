"""Does whoever asks for configuration always find the server that serves now?"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from mooring.edges.envoy.ads import SERVICE, AdsServer
from mooring.edges.envoy.stream import Resource, Snapshot
from mooring.routing.xds.wire import CLUSTER

DEADLINE = 60.0


@asynccontextmanager
async def serving(path: Path, version: str) -> AsyncIterator[None]:
    """A server of one cluster in this version, for as long as the block lasts."""
    server = AdsServer(path, lambda verdict: None)
    server.publish(Snapshot({CLUSTER: {"web": Resource(version, b"")}}))
    listening = listened(path)
    task = asyncio.create_task(server.run())
    await until(lambda: listened(path) > listening and path.exists())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(true: Callable[[], bool]) -> None:
    end = asyncio.get_running_loop().time() + DEADLINE
    while not true():
        assert asyncio.get_running_loop().time() < end, "it never came true"
        await asyncio.sleep(0.001)


def listened(path: Path) -> int:
    """How many sockets in the folder are listened on, by the kernel's word."""
    lines = (line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:])
    return sum(len(words) > 7 and words[3] == "00010000" and words[7].startswith(f"{path.parent}/") for words in lines)


async def version(path: Path) -> str:
    """Of the cluster that a new client is told."""

    async def ask() -> AsyncIterator[bytes]:
        yield DeltaDiscoveryRequest(type_url=CLUSTER).SerializeToString()

    # Its own connection: channels to the same address share one.
    async with grpc.aio.insecure_channel(f"unix:{path}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.stream_stream(f"/{SERVICE}/DeltaAggregatedResources")(ask())
        response = DeltaDiscoveryResponse.FromString(await asyncio.wait_for(call.read(), DEADLINE))
        (cluster,) = response.resources
        told: str = cluster.version
        return told


async def test_a_server_that_ends_does_not_take_the_next_ones_place_away(tmp_path: Path) -> None:
    path = tmp_path / "ads.sock"
    async with AsyncExitStack() as next_one:
        async with serving(path, "1"):
            assert "1" == await version(path)
            await next_one.enter_async_context(serving(path, "2"))
            assert "2" == await version(path)
        # gRPC puts things away in a thread of its own, later than it says.
        await until(lambda: listened(path) == 1)
        assert "2" == await version(path)


async def test_a_socket_that_was_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "ads.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(ConnectionRefusedError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    async with serving(path, "1"):
        assert "1" == await version(path)
        assert ["ads.sock"] == os.listdir(tmp_path)
