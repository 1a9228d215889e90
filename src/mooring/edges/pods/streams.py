"""How does one look into a running pod? Commands executed in its containers, their own streams, connections and logs."""

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
import termios
from collections.abc import AsyncIterator

from mooring.edges.pods import pod_files
from mooring.edges.pods.logs import read_log
from mooring.edges.pods.runtime import PodRuntime
from mooring.edges.pods.shim_link import ShimGone, ShimLink, receive, receive_rights, send
from mooring.ports.pods import LogOptions, RuntimeFailure

_CHUNK, _MOST = 64 * 1024, 1024 * 1024
_DIAL_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
"""For a shim to answer what needs no time. One of an earlier release does not know how to."""
_END_OF_FILE = b"\x04"


class _Running:
    """A connection to the shim, which lives as long as the command or the attachment, and the near ends of its streams."""

    def __init__(self, connection: socket.socket, near: dict[str, int], terminal: int | None) -> None:
        self.connection, self.terminal = connection, terminal
        self.stdin, self.stdout, self.stderr = near.get("stdin"), near.get("stdout"), near.get("stderr")
        self._code = asyncio.ensure_future(self._ended())

    def resize(self, columns: int, rows: int) -> None:
        if self.terminal is not None:
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def wait(self) -> int:
        return await asyncio.shield(self._code)

    async def end_input(self) -> None:
        if self.terminal is not None and self.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(self.stdin, _END_OF_FILE)
        elif self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def close(self) -> None:
        for descriptor in {self.stdin, self.stdout, self.stderr, self.terminal} - {None}:
            os.close(descriptor)  # type: ignore[arg-type]
        self.stdin = self.stdout = self.stderr = self.terminal = None
        # Not before: the shim keeps what it still has to say for as long as somebody is there.
        self._code.cancel()
        self._code.add_done_callback(lambda _: self.connection.close())

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


class PodProcess(_Running):
    """The Process port of a command."""

    async def kill(self) -> None:
        if not self._code.done():
            with contextlib.suppress(ShimGone, OSError):
                send(self.connection, {"op": "signal", "signal": 9})
            await self.wait()


class Attachment(_Running):
    """The Process port of a container's first process."""

    async def end_input(self) -> None:
        await super().end_input()
        with contextlib.suppress(ShimGone, OSError):
            send(self.connection, {"op": "end-input"})

    async def kill(self) -> None:
        """Detaches."""
        if not self._code.done():
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            await self.wait()


class PodConnection:
    """The Connection port: a socket of the pod's network."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(_CHUNK)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def write_eof(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()


class PodStreams:
    """The Streams port."""

    def __init__(self, runtime: PodRuntime) -> None:
        self.runtime = runtime

    def running(self, uid: str, container: str) -> bool:
        seen = self.runtime.seen(uid)
        run = seen.latest(container) if seen and seen.alive else None
        return run is not None and run.running

    async def exec(
        self, uid: str, container: str, argv: tuple[str, ...], *, stdin: bool = False, tty: bool = False, stderr: bool = True
    ) -> PodProcess:
        link = self._link(uid, container)
        if not argv:
            raise RuntimeFailure("ContainerNotRunning", "no command given")
        if tty:
            return await self._exec_on_terminal(link, container, argv)
        near, far = _pipes(stdin, stderr)
        request = {"op": "exec", "container": container, "argv": list(argv), "terminal": False}
        connection, _ = await _open(link, request, near, far, "ExecError")
        return PodProcess(connection, near, None)

    async def _exec_on_terminal(self, link: ShimLink, container: str, argv: tuple[str, ...]) -> PodProcess:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            request = {"op": "exec", "container": container, "argv": list(argv), "terminal": True}
            connection, _ = await _open(link, request, {}, [theirs.detach()], "ExecError")
            # The command sent its terminal before it was executed.
            _, (terminal,), _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        return PodProcess(connection, {"stdin": terminal, "stdout": terminal}, terminal)

    async def attach(
        self, uid: str, container: str, *, stdin: bool = False, stdout: bool = True, stderr: bool = True
    ) -> Attachment:
        link = self._link(uid, container)
        near: dict[str, int] = {}
        far: list[int] = []
        for name in [name for name, wanted in (("stdout", stdout), ("stderr", stderr)) if wanted]:
            near[name], end = os.pipe2(os.O_CLOEXEC)
            far.append(end)
        request = {"op": "attach", "container": container, "streams": list(near), "stdin": stdin}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                connection, (message, rights) = await _open(link, request, near, far, "ContainerNotRunning")
        except TimeoutError:
            raise RuntimeFailure("ContainerNotRunning", "the pod's shim does not answer") from None
        if rights and stdin:
            near["stdin"] = rights[0]
        return Attachment(connection, near, rights[0] if rights and message["attached"] else None)

    async def connect(self, uid: str, port: int) -> PodConnection:
        failures = []
        for version, host in ((4, "127.0.0.1"), (6, "::1")):
            try:
                sock = await self._socket(uid, version)
            except ShimGone as error:
                raise RuntimeFailure("DialError", str(error)) from error
            try:
                async with asyncio.timeout(_DIAL_SECONDS):
                    await asyncio.get_running_loop().sock_connect(sock, (host, port))
                    return PodConnection(*await asyncio.open_connection(sock=sock))
            except (OSError, TimeoutError) as error:
                sock.close()
                where = f"[{host}]" if version == 6 else host
                why = "i/o timeout" if isinstance(error, TimeoutError) else f"connect: {os.strerror(error.errno or 0).lower()}"
                failures.append(f"dial tcp{version} {where}:{port}: {why}")
            except BaseException:
                sock.close()
                raise
        seen = self.runtime.seen(uid)
        inside = f'failed to connect to localhost:{port} inside namespace "{seen.name if seen else uid}"'
        raise RuntimeFailure("DialError", f"{inside}, IPv4: {failures[0]} IPv6 {failures[1]} ")

    async def _socket(self, uid: str, version: int) -> socket.socket:
        """An unconnected one of the pod's network. Raises ShimGone."""
        link = self.runtime.link(uid)
        if link is None:
            raise ShimGone("the pod does not run")
        connection = link.connect()
        with connection:
            send(connection, {"op": "socket", "version": version})
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    message, rights = await receive_rights(connection)
            except TimeoutError:
                raise ShimGone("the pod's shim does not answer") from None
        if not rights:
            raise ShimGone(message.get("failed", "no socket"))
        made = socket.socket(fileno=rights[0])
        made.setblocking(False)
        return made

    def _link(self, uid: str, container: str) -> ShimLink:
        link = self.runtime.link(uid)
        if link is None:
            raise RuntimeFailure("ContainerNotRunning", f"container {container} is not running")
        return link

    async def logs(self, uid: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        directory = self.runtime.directory(uid)
        attempts = pod_files.attempts(directory, container) if directory else []
        begun = [folder for folder in attempts if (folder / "state.json").exists()]  # Not one that is still being made.
        wanted = begun[:-1] if options.previous else begun
        if not wanted:
            seen = self.runtime.seen(uid)
            name = seen.name if seen else uid
            what = "previous terminated " if options.previous else ""
            lack = "not found" if options.previous else "is not available"
            raise RuntimeFailure("ContainerNotFound", f'{what}container "{container}" in pod "{name}" {lack}')
        attempt = int(wanted[-1].name)

        def ended() -> bool:
            seen = self.runtime.seen(uid)
            if seen is None or not seen.alive:
                return True
            known = [run for run in seen.runs.get(container, ()) if run.attempt == attempt]
            run = known[-1] if known else pod_files.run_of(wanted[-1], True)  # On record, and not told of yet.
            return run is None or not run.running

        async for chunk in read_log(wanted[-1], options, ended):
            yield chunk


async def _open(
    link: ShimLink, request: dict[str, object], near: dict[str, int], far: list[int], trouble: str
) -> tuple[socket.socket, tuple[dict[str, object], list[int]]]:
    """A connection on which the shim has done what was asked. `far` is the shim's from now on; `near` is closed when it fails.

    Raises RuntimeFailure(trouble).
    """
    connection = None
    try:
        connection = link.connect()
        send(connection, request, far)
        answer = await receive_rights(connection)
        if "failed" in answer[0]:
            raise RuntimeFailure(trouble, answer[0]["failed"])
    except BaseException as error:
        if connection:
            connection.close()
        for descriptor in near.values():
            os.close(descriptor)
        if isinstance(error, ShimGone):
            raise RuntimeFailure("ContainerNotRunning", str(error)) from error
        raise
    finally:
        for descriptor in set(far):
            os.close(descriptor)
    return connection, answer


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
