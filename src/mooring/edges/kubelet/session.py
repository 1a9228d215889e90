"""How do a process and a client talk until one of them ends? Pumps between file descriptors and a Link.

Nothing is held but the piece under way: who reads slowly makes the other wait. A client that does not even answer the
connection's own signs of life any more ends its side.
"""

import asyncio
import os
from typing import Any

from mooring.edges.kubelet.links import Channel, Input, InputEnded, Link, Resized
from mooring.edges.kubelet.websocket import CHUNK
from mooring.ports.pods import Process

PING_SECONDS = 5.0
"""Between signs of life asked for: a client that has gone while nothing was read of it shows then."""


def exit_status(code: int) -> dict[str, Any]:
    """The Status of the error channel, as upstream's remote command protocol v4 has it."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def attached_status(code: int) -> dict[str, Any]:
    """Who was attached is not told how the container ended: its status says that."""
    return exit_status(0)


def failure_status(message: str) -> dict[str, Any]:
    """As upstream's NewInternalError."""
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "InternalError",
        "message": f"Internal error occurred: {message}",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


async def converse(process: Process, link: Link, status: Any = exit_status, ping_seconds: float = PING_SECONDS) -> None:
    """Runs until the process has ended and its output is told; `status` makes of its exit code what is told last.

    A client that goes away takes a command with it, and is detached from a container.
    """
    listening = asyncio.create_task(_listen(process, link))
    talking = asyncio.create_task(_talk(process, link))
    asking = asyncio.create_task(_ask(link, ping_seconds))
    tasks = (listening, talking, asking)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not talking.done():
            await process.kill()
            return
        await talking
        await link.finish(status(await process.wait()))
    except ConnectionError:
        await process.kill()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        process.close()


async def _ask(link: Link, seconds: float) -> None:
    """Ends when the client has gone."""
    try:
        while True:
            await asyncio.sleep(seconds)
            await link.ping()
    except ConnectionError:
        return


async def _talk(process: Process, link: Link) -> None:
    """All output. What runs on in the background of a terminal is not waited for: the terminal ends with its command."""
    over = asyncio.ensure_future(process.wait()) if process.terminal is not None else None
    outputs = [(process.stdout, Channel.STDOUT), (process.stderr, Channel.STDERR)]
    await asyncio.gather(*(_pump(fd, link, channel, over) for fd, channel in outputs if fd is not None))


async def _pump(fd: int, link: Link, channel: Channel, over: "asyncio.Future[int] | None") -> None:
    while data := await read(fd, over):
        await link.send(channel, data)


async def _listen(process: Process, link: Link) -> None:
    """Feeds stdin and sizes to the process until the client goes away."""
    stdin = process.stdin
    async for event in link.events():
        if isinstance(event, Resized):
            process.resize(event.columns, event.rows)
        elif isinstance(event, Input) and stdin is not None:
            try:
                await write(stdin, event.data)
            except OSError:
                stdin = None  # The process reads no more; the rest is for nobody.
        elif isinstance(event, InputEnded) and stdin is not None:
            await process.end_input()
            stdin = None


async def read(fd: int, over: "asyncio.Future[int] | None" = None) -> bytes:
    """Up to CHUNK bytes; b'' at the end. The end of a terminal is EIO, or `over` when there is nothing more."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    while True:
        try:
            return os.read(fd, CHUNK)
        except BlockingIOError:
            if over is not None and over.done():
                return b""
            ready = loop.create_future()
            loop.add_reader(fd, _wake, ready)
            try:
                await asyncio.wait([ready, over] if over else [ready], return_when=asyncio.FIRST_COMPLETED)
            finally:
                loop.remove_reader(fd)
        except OSError:
            return b""


async def write(fd: int, data: bytes) -> None:
    """All of `data`. Raises OSError when nobody reads."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_writer(fd, _wake, ready)
            try:
                await ready
            finally:
                loop.remove_writer(fd)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
