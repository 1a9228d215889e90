"""How are messages exchanged with a client over one WebSocket (RFC 6455)? wsproto spells the frames, this is the connection.

What comes is handed on piece by piece, so a frame may be as long as it likes without being held; a whole message may not.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Container, Sequence
from contextlib import suppress
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

CHUNK = 32 * 1024
MAX_MESSAGE = 1 << 20
"""Bytes of a message that is held until it is whole; a longer one ends the connection."""
TOO_BIG = 1009
SILENCE_SECONDS = 4 * 3600.0
"""A client of a stream that has sent nothing for so long, no answer to a PING either, is waited for no more; upstream's
--streaming-connection-idle-timeout. One whose output a person has stopped answers none meanwhile."""


async def heard(reader: asyncio.StreamReader) -> bytes:
    """What the client sends next; b'' when it has gone or is silent for too long."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await reader.read(CHUNK)
    except TimeoutError:
        return b""


class WebSocket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._connection = WSConnection(ConnectionType.SERVER)

    async def accept(self, head: bytes, known: Sequence[str], early: bytes = b"") -> str | None:
        """Answers the upgrade `head` with the first of `known` that the client offers; '' is for one that offers none.

        None when there is no such, or no WebSocket: the client has been refused (400, as upstream).
        """
        try:
            self._connection.receive_data(head + early)
            request = next(iter(self._connection.events()), None)
        except RemoteProtocolError:
            request = None
        offered = (request.subprotocols or [""]) if isinstance(request, Request) else []
        agreed = next((protocol for protocol in known if protocol in offered), None)
        if agreed is None:
            if isinstance(request, Request):
                await self._write(RejectConnection(status_code=400))
            else:
                self._writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return None
        await self._write(AcceptConnection(subprotocol=agreed or None))
        return agreed

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes of all messages, one after another. Ends when the client is gone or breaks the protocol."""
        async for event in self._events():
            if event.data:
                yield event.data.encode() if isinstance(event.data, str) else bytes(event.data)

    async def channelled(self, streamed: Container[int], *, text: bool = False) -> AsyncIterator[tuple[int, bytes]]:
        """(channel, data): each message begins with the number of its channel, and in the `text` form is base64 after it.

        What is on a `streamed` channel comes as it arrives; any other message, and every text, as a whole. Ends as `pieces`,
        and at a message that would have to be held and is too long, or no base64.
        """
        channel, pending = -1, bytearray()
        async for event in self._events():
            data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
            if channel < 0 and data:
                channel, data = max(data[0] - ord("0"), 0) if text else data[0], data[1:]
            at_once = channel in streamed and not text
            if at_once and data:
                yield channel, data
            elif not at_once:
                pending += data
            if len(pending) > MAX_MESSAGE:
                with suppress(ConnectionError):
                    await self._write(CloseConnection(code=TOO_BIG))
                return
            if event.message_finished:
                if channel >= 0 and not at_once:
                    try:
                        yield channel, base64.b64decode(pending, validate=True) if text else bytes(pending)
                    except binascii.Error:
                        return
                channel = -1
                pending.clear()

    async def _events(self) -> AsyncIterator[Message[Any]]:
        data = b""
        while True:
            try:
                self._connection.receive_data(data)
                for event in self._connection.events():
                    if isinstance(event, CloseConnection):
                        with suppress(ConnectionError):
                            await self._write(event.response())
                        return
                    if isinstance(event, Ping):
                        await self._write(event.response())
                    elif isinstance(event, BytesMessage | TextMessage):
                        yield event
            except (RemoteProtocolError, LocalProtocolError):
                return
            if not (data := await heard(self._reader)):
                return

    async def send(self, data: bytes | str) -> None:
        """Waits while the client reads slowly. Raises ConnectionError when it has gone."""
        await self._write(TextMessage(data) if isinstance(data, str) else BytesMessage(data))

    async def ping(self) -> None:
        await self._write(Ping())

    async def close(self) -> None:
        with suppress(ConnectionError):
            await self._write(CloseConnection(code=1000))

    async def _write(self, event: Any) -> None:
        try:
            self._writer.write(self._connection.send(event))
        except LocalProtocolError as error:
            raise ConnectionError(str(error)) from error
        await self._writer.drain()
