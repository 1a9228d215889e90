"""How does a command run in a pod through the API server? Over a WebSocket whose messages carry a channel number first.

Protocols v4.channel.k8s.io and v5 (which can say that standard input has ended): KEP-4006, and
https://pkg.go.dev/k8s.io/apimachinery/pkg/util/remotecommand.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import struct
import sys
import termios
import threading
import tty
from collections.abc import Iterator

import aiohttp
from msgspec import Struct

from mooring.app.connection import Refused, Unreachable
from mooring.cli.main import CommandError
from mooring.edges.http.kubeconfig import Access
from mooring.model.kinds import POD

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5 = "v5.channel.k8s.io"
_LONGEST_REFUSAL = 64 * 1024


class Wanted(Struct, frozen=True):
    namespace: str
    pod: str
    container: str
    argv: tuple[str, ...]
    stdin: bool
    tty: bool


async def run(access: Access, wanted: Wanted) -> int:
    """Runs the command with our standard streams; returns its exit code. Raises Refused, Unreachable, CommandError."""
    query = [("command", word) for word in wanted.argv] + [("stdout", "true")]
    query += [("stderr", "true")] * (not wanted.tty) + [("stdin", "true")] * wanted.stdin + [("tty", "true")] * wanted.tty
    query += [("container", wanted.container)] * bool(wanted.container)
    url = access.server + POD.path(wanted.namespace, wanted.pod, "exec")
    headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
    tls = access.tls() if url.startswith("https:") else False
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        try:
            async with session.ws_connect(
                url, params=query, protocols=(V5, "v4.channel.k8s.io"), headers=headers, max_msg_size=0
            ) as socket:
                return await _converse(socket, wanted)
        except aiohttp.WSServerHandshakeError as error:
            raise await _refusal(session, url, query, headers, error) from error
        except (OSError, aiohttp.ClientError) as error:
            raise Unreachable(f"cannot reach {access.server}: {error}") from error


async def _converse(socket: aiohttp.ClientWebSocketResponse, wanted: Wanted) -> int:
    with _terminal() if wanted.tty and sys.stdin.isatty() else contextlib.nullcontext():
        speaking = [asyncio.create_task(_speak(socket))] if wanted.stdin else []
        if wanted.tty and sys.stdout.isatty():
            speaking.append(asyncio.create_task(_follow_size(socket)))
        try:
            return await _listen(socket)
        finally:
            for task in speaking:
                task.cancel()


async def _listen(socket: aiohttp.ClientWebSocketResponse) -> int:
    outputs = {STDOUT: sys.stdout.buffer, STDERR: sys.stderr.buffer}
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel in outputs:
            outputs[channel].write(data)
            outputs[channel].flush()
        elif channel == ERROR and data:
            return _exit_code(json.loads(data))
    raise Unreachable("the connection to the pod broke off")


def _exit_code(status: dict[str, object]) -> int:
    """From the Status that ends a run: Success, or NonZeroExitCode with the code among its causes."""
    if status.get("status") == "Success":
        return 0
    details = status.get("details")
    for cause in details.get("causes") or () if isinstance(details, dict) else ():
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise CommandError(str(status.get("message") or status))


async def _speak(socket: aiohttp.ClientWebSocketResponse) -> None:
    typed = _typed()
    while data := await typed.get():
        await socket.send_bytes(bytes([STDIN]) + data)
    if socket.protocol == V5:
        await socket.send_bytes(bytes([CLOSE, STDIN]))


def _typed() -> asyncio.Queue[bytes]:
    """Standard input, b"" at its end. A thread reads it, since making it non-blocking would change it for everybody who shares
    it, the shell and our own standard output among them; a daemon, since a read cannot be called off.
    """
    loop, typed = asyncio.get_running_loop(), asyncio.Queue[bytes]()

    def read() -> None:
        data = b" "
        while data:
            try:
                data = os.read(0, 32768)
            except OSError:
                data = b""
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody listens any more
                loop.call_soon_threadsafe(typed.put_nowait, data)

    threading.Thread(target=read, daemon=True, name="stdin").start()
    return typed


async def _follow_size(socket: aiohttp.ClientWebSocketResponse) -> None:
    changed = asyncio.Event()
    changed.set()
    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, changed.set)
    while await changed.wait():
        changed.clear()
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8))
        await socket.send_bytes(bytes([RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode())


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """Keys go to the pod as they are, Ctrl-C too; what was typed ahead is kept."""
    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


async def _refusal(
    session: aiohttp.ClientSession,
    url: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    error: aiohttp.WSServerHandshakeError,
) -> Refused:
    """The client library throws the body of a refused upgrade away: asking again, for another one that begins nothing before
    its streams are open, brings the Status, or a kubelet's words."""
    headers = {**headers, "Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    async with session.get(url, params=query, headers=headers) as answer:
        if answer.status < 400:
            return Refused(error.status, "", error.message, {})
        text = (await answer.content.read(_LONGEST_REFUSAL)).decode(errors="replace")
    try:
        status = json.loads(text)
    except ValueError:
        return Refused(error.status, "", text.strip() or error.message, {})
    status = status if isinstance(status, dict) else {}
    return Refused(error.status, status.get("reason", ""), status.get("message") or error.message, status)
