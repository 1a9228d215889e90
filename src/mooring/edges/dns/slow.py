"""How does the agent answer what workers hand over? It listens where they look for it, and replies from the
socket that was asked.

A Unix socket that keeps messages apart (SOCK_SEQPACKET) and holds some ten thousand of them; each tells which worker's which
socket was asked by whom. Too many at once are dropped, as by any busy server: clients ask again.
"""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from mooring.dns.records import Transport
from mooring.edges.dns.streams import Responder
from mooring.edges.dns.worker import ASK_SOCKET

log = structlog.get_logger("dns")

HEAD = 28
"""Octets before the message: worker, socket, 4 or 6, 0, port (2), 0 (2), scope (4), address (16)."""
LARGEST = 4096
AT_ONCE = 64
"""Messages taken from one worker before other work has its turn."""
OUTSTANDING = 4096
BACKLOG = 64
ACCEPT_PAUSE = 0.1
"""Seconds after which it is tried again where a worker could not be let in."""

Sockets = Mapping[int, Sequence[socket.socket]]
"""By the number of the worker: its UDP sockets, in their order."""


class SlowPath:
    """Listens in the workers' folder until closed. `dropped` counts questions that came while too many were being answered."""

    def __init__(self, folder: Path, respond: Responder, sockets: Sockets) -> None:
        self._folder, self._respond, self._sockets = folder, respond, sockets
        self._listening: socket.socket | None = None
        self._workers: set[socket.socket] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self.dropped = 0

    def start(self) -> None:
        """Raises OSError."""
        self.listen()
        self.read()

    def listen(self) -> None:
        """Takes the place of whoever listened before; what workers hand over waits until `read`. Raises OSError."""
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Bound beside and renamed over: a worker always finds somebody. By a short name: a Unix address has 107 octets.
            short, name = Path(f"/proc/self/fd/{folder}"), f".{ASK_SOCKET}.{os.getpid()}"
            (short / name).unlink(missing_ok=True)
            listening.bind(str(short / name))
            listening.listen(BACKLOG)
            os.rename(short / name, short / ASK_SOCKET)
        except OSError:
            listening.close()
            raise
        finally:
            os.close(folder)
        self._listening = listening

    def read(self) -> None:
        """Begins to take and answer what was handed over."""
        if self._listening is not None:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    async def close(self) -> None:
        """Workers look for the next agent from now on."""
        loop = asyncio.get_running_loop()
        for each in (*self._workers, *((self._listening,) if self._listening else ())):
            loop.remove_reader(each)
            each.close()
        self._workers.clear()
        self._listening = None
        for answer in self._answers:
            answer.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)

    def _accept(self) -> None:
        assert self._listening is not None
        try:
            worker, _ = self._listening.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is left: not again and again at once
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listening)
            loop.call_later(ACCEPT_PAUSE, self.read)
            return
        worker.setblocking(False)
        self._workers.add(worker)
        asyncio.get_running_loop().add_reader(worker, self._read, worker)

    def _read(self, worker: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                handed = worker.recv(HEAD + LARGEST)
            except BlockingIOError:
                return
            except OSError:
                handed = b""
            if not handed:
                asyncio.get_running_loop().remove_reader(worker)
                self._workers.discard(worker)
                worker.close()
                return
            self._take(handed)

    def _take(self, handed: bytes) -> None:
        sockets = self._sockets.get(handed[0], ())
        if len(handed) < HEAD or handed[1] >= len(sockets):
            return
        if len(self._answers) >= OUTSTANDING:
            self.dropped += 1
            return
        answer = asyncio.get_running_loop().create_task(self._answer(sockets[handed[1]], _client(handed), handed[HEAD:]))
        self._answers.add(answer)
        answer.add_done_callback(self._answers.discard)

    async def _answer(self, udp: socket.socket, client: "Client", message: bytes) -> None:
        """A message that breaks the responder costs a log line, never the server."""
        try:
            reply = await self._respond(message, client[0].partition("%")[0], Transport.UDP)
            if isinstance(reply, bytes):
                udp.sendto(reply, socket.MSG_DONTWAIT, client)
        except OSError as error:
            log.debug("a reply found no way", client=client[0], error=str(error))
        except Exception:
            log.exception("no answer", message=message[:64].hex())


Client = tuple[str, int] | tuple[str, int, int, int]


def _client(handed: bytes) -> Client:
    port = int.from_bytes(handed[4:6], "big")
    if handed[2] == 4:
        return socket.inet_ntop(socket.AF_INET, handed[12:16]), port
    return socket.inet_ntop(socket.AF_INET6, handed[12:28]), port, 0, int.from_bytes(handed[8:12], "little")
