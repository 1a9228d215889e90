"""How do a process and a client talk until one of them ends? Pumps between file descriptors and a Link."""

import asyncio
import os
from typing import Any

from mooring.edges.kubelet.links import CHUNK, Channel, Input, InputEnded, Link, Resized
from mooring.ports.pods import Process


def exit_status(code: int) -> dict[str, Any]:
    """The Status of the error channel, as upstream's remote command protocol v4 has it."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}}
    if code == 0:
        return status | {"status": "Success"}
    return status | {
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": "InternalError",
        "message": message,
        "code": 500,
    }


async def converse(process: Process, link: Link) -> None:
    """Runs until the process has ended and its output is told. A client that goes away takes the process with it."""
    listening = asyncio.create_task(_listen(process, link))
    talking = asyncio.create_task(_talk(process, link))
    try:
        await asyncio.wait({listening, talking}, return_when=asyncio.FIRST_COMPLETED)
        if not talking.done():
            await process.kill()
        code = await process.wait()
        await talking
        await link.finish(exit_status(code))
    except ConnectionError:
        await process.kill()
        await process.wait()
    finally:
        listening.cancel()
        talking.cancel()
        await asyncio.gather(listening, talking, return_exceptions=True)
        process.close()


async def _talk(process: Process, link: Link) -> None:
    outputs = [(process.stdout, Channel.STDOUT), (process.stderr, Channel.STDERR)]
    await asyncio.gather(*(_pump(fd, link, channel) for fd, channel in outputs if fd is not None))


async def _pump(fd: int, link: Link, channel: Channel) -> None:
    while data := await read(fd):
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
            if stdin == process.stdout:
                await write(stdin, b"\x04")  # A terminal has no half close: end of transmission.
            else:
                os.close(stdin)
                process.stdin = None
            stdin = None


async def read(fd: int) -> bytes:
    """Up to CHUNK bytes; b'' at the end. The end of a terminal is EIO."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    while True:
        try:
            return os.read(fd, CHUNK)
        except BlockingIOError:
            ready = loop.create_future()
            loop.add_reader(fd, _wake, ready)
            try:
                await ready
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
