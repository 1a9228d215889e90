"""What is one request to the kubelet's API, and how is it answered or taken over? Plain text, as the kubelet's answers are."""

import asyncio
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
from msgspec import Struct

MAX_HEAD = 64 * 1024
HEAD_SECONDS = 10.0


class Refused(Exception):
    """An HTTP error answer in plain text."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Exchange:
    """One connection, which carries one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = b""
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def request(self) -> "Request | None":
        """None when it is not HTTP. Raises TimeoutError, EOFError, LimitOverrunError."""
        async with asyncio.timeout(HEAD_SECONDS):
            self.head = await self.reader.readuntil(b"\r\n\r\n")
        self._http.receive_data(self.head)
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError:
            return None
        assert isinstance(event, h11.Request)
        try:
            url = urlsplit(event.target.decode("ascii", "replace"))
        except ValueError:
            return None
        return Request(
            event.method.decode("ascii"),
            tuple(unquote(part) for part in url.path.split("/")[1:]),
            tuple(parse_qsl(url.query, keep_blank_values=True)),
            tuple((name.decode().lower(), value.decode("latin-1")) for name, value in event.headers),
        )

    async def answer(
        self,
        status: int,
        body: bytes,
        content_type: str = "text/plain; charset=utf-8",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """A whole answer, unless another has begun."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        fields = [("Content-Type", content_type), ("Content-Length", str(len(body))), ("Connection", "close"), *headers]
        self.writer.write(self._http.send(h11.Response(status_code=status, headers=fields)))
        self.writer.write(self._http.send(h11.Data(data=body)))
        self.writer.write(self._http.send(h11.EndOfMessage()))
        await self.writer.drain()

    def begin(self) -> None:
        """The head of an answer that follows in `piece`s."""
        fields = [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked"), ("Connection", "close")]
        self.writer.write(self._http.send(h11.Response(status_code=200, headers=fields)))

    async def piece(self, data: bytes) -> None:
        self.writer.write(self._http.send(h11.Data(data=data)))
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(self._http.send(h11.EndOfMessage()))
        await self.writer.drain()

    async def switch(self, protocol: str, headers: tuple[tuple[str, str], ...]) -> None:
        """101: from now on both speak another protocol."""
        fields = [("Connection", "Upgrade"), ("Upgrade", protocol), *headers]
        self.writer.write(self._http.send(h11.InformationalResponse(status_code=101, headers=fields)))
        await self.writer.drain()


class Request(Struct, frozen=True):
    """`path` is split at slashes, then decoded, so that an encoded slash stays within its part."""

    method: str
    path: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def listed(self, name: str) -> tuple[str, ...]:
        """The members of a header that is a list, over all its lines."""
        return tuple(part.strip() for key, value in self.headers if key == name for part in value.split(",") if part.strip())

    def values(self, *names: str) -> tuple[str, ...]:
        return tuple(value for name, value in self.query if name in names)

    def flag(self, *names: str) -> bool:
        return any(value.lower() in ("1", "true", "t") for value in self.values(*names))

    @property
    def upgrade(self) -> str:
        """'websocket', 'spdy/3.1', or what else is asked for; '' when no upgrade is."""
        asked = any(part.lower() == "upgrade" for part in self.listed("connection"))
        return self.header("upgrade").lower() if asked else ""


def agree(request: Request, known: tuple[str, ...]) -> str:
    """The version of the streams' protocol: the client's first that is known, '' when it names none. Raises Refused(403)."""
    offered = request.listed("x-stream-protocol-version")
    agreed = next((each for each in offered if each in known), "")
    if offered and not agreed:
        text = f"client supports [{' '.join(offered)}], server accepts [{' '.join(known)}]"
        accepted = tuple(("X-Accepted-Stream-Protocol-Versions", each) for each in known)
        raise Refused(403, f"unable to upgrade: unable to negotiate protocol: {text}", accepted)
    return agreed
