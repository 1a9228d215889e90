"""How does one look into a running pod? Commands executed in its containers, and their logs."""

import asyncio
import contextlib
import fcntl
import os
import pty
import socket
import struct
import termios
from collections.abc import AsyncIterator

from mooring.edges.pods import pod_files
from mooring.edges.pods.logs import read_log
from mooring.edges.pods.runtime import PodRuntime
from mooring.edges.pods.shim_link import ShimGone, receive, send
from mooring.ports.pods import LogOptions, RuntimeFailure

_CHUNK, _MOST = 64 * 1024, 1024 * 1024


class PodProcess:
    """The Process port: a connection to the shim, which lives as long as the command, and the near ends of its streams."""

    def __init__(self, connection: socket.socket, near: dict[str, int], terminal: bool) -> None:
        self.connection, self.terminal = connection, terminal
        self.stdin, self.stdout, self.stderr = near.get("stdin"), near.get("stdout"), near.get("stderr")
        self._code = asyncio.ensure_future(self._ended())

    def resize(self, columns: int, rows: int) -> None:
        if self.terminal and self.stdout is not None:
            fcntl.ioctl(self.stdout, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    async def kill(self) -> None:
        if not self._code.done():
            with contextlib.suppress(ShimGone, OSError):
                send(self.connection, {"op": "signal", "signal": 9})
            await self.wait()

    def close(self) -> None:
        for descriptor in {self.stdin, self.stdout, self.stderr} - {None}:
            os.close(descriptor)  # type: ignore[arg-type]
        self.stdin = self.stdout = self.stderr = None

    async def output(self) -> bytes:
        """All of stdout and stderr; for commands that say little."""
        parts = await asyncio.gather(*(_read_all(one) for one in (self.stdout, self.stderr) if one is not None))
        return b"".join(parts)

    async def _ended(self) -> int:
        try:
            while True:
                message = await receive(self.connection)
                if "exited" in message:
                    return int(message["exited"])
        except ShimGone:
            return 137
        finally:
            self.connection.close()


class PodStreams:
    """The Streams port."""

    def __init__(self, runtime: PodRuntime) -> None:
        self.runtime = runtime

    async def exec(
        self, uid: str, container: str, argv: tuple[str, ...], *, stdin: bool = False, tty: bool = False, stderr: bool = True
    ) -> PodProcess:
        link = self.runtime.link(uid)
        if link is None or not argv:
            raise RuntimeFailure("ContainerNotRunning", f"container {container} is not running" if argv else "no command given")
        near, far = _terminal() if tty else _pipes(stdin, stderr)
        try:
            connection = link.connect()
            try:
                send(connection, {"op": "exec", "container": container, "argv": list(argv), "terminal": tty}, far)
                answer = await receive(connection)
            except BaseException:
                connection.close()
                raise
        except BaseException as error:
            for descriptor in set(near.values()):
                os.close(descriptor)
            if isinstance(error, ShimGone):
                raise RuntimeFailure("ContainerNotRunning", str(error)) from error
            raise
        finally:
            for descriptor in set(far):
                os.close(descriptor)
        if "failed" in answer:
            connection.close()
            for descriptor in set(near.values()):
                os.close(descriptor)
            raise RuntimeFailure("ExecError", answer["failed"])
        return PodProcess(connection, near, tty)

    async def logs(self, uid: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        directory = self.runtime.directory(uid)
        attempts = pod_files.attempts(directory, container) if directory else []
        wanted = attempts[:-1] if options.previous else attempts
        if not wanted:
            seen = self.runtime.seen(uid)
            name = seen.name if seen else uid
            what = "previous terminated " if options.previous else ""
            lack = "not found" if options.previous else "is not available"
            raise RuntimeFailure("ContainerNotFound", f'{what}container "{container}" in pod "{name}" {lack}')
        attempt = int(wanted[-1].name)

        def ended() -> bool:
            seen = self.runtime.seen(uid)
            runs = [run for run in (seen.runs.get(container, ()) if seen else ()) if run.attempt == attempt]
            return not runs or not runs[-1].running

        async for chunk in read_log(wanted[-1], options, ended):
            yield chunk


def _terminal() -> tuple[dict[str, int], list[int]]:
    near, far = pty.openpty()
    return {"stdin": near, "stdout": near}, [far, far, far]


def _pipes(stdin: bool, stderr: bool) -> tuple[dict[str, int], list[int]]:
    """Near ends by stream, far ends for stdin, stdout, stderr. What is not wanted is /dev/null."""
    near: dict[str, int] = {}
    out, out_far = os.pipe2(os.O_CLOEXEC)
    near["stdout"] = out
    if stdin:
        in_far, near["stdin"] = os.pipe2(os.O_CLOEXEC)
    else:
        in_far = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    if stderr:
        near["stderr"], err_far = os.pipe2(os.O_CLOEXEC)
    else:
        err_far = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
    return near, [in_far, out_far, err_far]


async def _read_all(descriptor: int) -> bytes:
    """To the end, at most `_MOST` bytes."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    parts: list[bytes] = []
    os.set_blocking(descriptor, False)
    loop.add_reader(descriptor, ready.set)
    try:
        while sum(len(part) for part in parts) < _MOST:
            try:
                data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                ready.clear()
                await ready.wait()
                continue
            if not data:
                break
            parts.append(data)
    finally:
        loop.remove_reader(descriptor)
    return b"".join(parts)
