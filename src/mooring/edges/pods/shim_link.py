"""How does the agent talk to a pod's shim? One connection per request, one that stays for its events.

The socket is reached through /proc/self/fd of its directory: a path in a deep data directory may exceed the 107 bytes that
sun_path holds (man 7 unix).
"""

import array
import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_PACKET = 256 * 1024
Message = dict[str, Any]


class ShimGone(ConnectionError):
    """Nothing answers at the pod's socket."""


class ShimLink:
    """The socket of one pod's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def connect(self) -> socket.socket:
        """A non-blocking connection. Raises ShimGone."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            directory = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{directory}/shim.sock")
            finally:
                os.close(directory)
        except OSError as error:
            connection.close()
            raise ShimGone(f"{self.directory}: {error}") from error
        return connection

    async def ask(self, request: Message) -> Message:
        """One request, one answer. Raises ShimGone when the shim dies meanwhile."""
        connection = self.connect()
        try:
            send(connection, request)
            return await receive(connection)
        finally:
            connection.close()

    def watch(self, exited: Callable[[str], None], gone: Callable[[], None]) -> Callable[[], None]:
        """Calls `exited(container)` at each exit and `gone()` once when the shim dies. Returns the undo. Raises ShimGone."""
        connection = self.connect()
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if connection.fileno() >= 0:
                loop.remove_reader(connection)
                connection.close()

        def readable() -> None:
            try:
                data = connection.recv(_PACKET)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                stop()
                gone()
            elif (name := json.loads(data).get("exited")) is not None:
                exited(name)

        send(connection, {"op": "watch"})
        loop.add_reader(connection, readable)
        return stop


def send(connection: socket.socket, request: Message, descriptors: Sequence[int] = ()) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        connection.sendmsg([json.dumps(request).encode()], rights)
    except OSError as error:
        raise ShimGone(str(error)) from error


async def receive(connection: socket.socket) -> Message:
    """The next message. Raises ShimGone."""
    return (await receive_rights(connection, 0))[0]


async def receive_rights(connection: socket.socket, most: int = 1) -> tuple[Message, list[int]]:
    """The next message and the descriptors that came with it, which are the caller's. Raises ShimGone.

    Its reader is gone the moment this is cancelled, before the descriptor is closed.
    """
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(connection, _PACKET, most, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            await _readable(connection)
            continue
        except OSError:
            data = b""
        if not data:
            raise ShimGone("the pod's shim has gone")
        message: Message = json.loads(data)
        return message, descriptors


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, lambda: ready.done() or ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(connection)
