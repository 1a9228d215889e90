"""Which requests do the bytes of one connection spell? Sans-I/O, over httptools (llhttp, strict).

Bytes go in with `feed`; complete requests come out of `ready`, in order. The first broken or too large request ends the
conversation: `refusal` says how to answer it, after the requests before it. Limits: RFC 9110, 9112.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

import httptools
from msgspec import Struct

from mooring.apiserver.contract import Response
from mooring.edges.http.server_status import CROWDED, HEADERS_TOO_LARGE, TOO_LARGE, bad_request

MAX_HEAD = 64 * 1024
"""Bytes of request line and headers. Upstream allows 1 MiB; the longest real ones (tokens, selectors) are some 20 KiB."""
MAX_HELD = 256 * 1024 * 1024
MAX_USER = 64 * 1024 * 1024
"""Of these, for bodies of one user that do not come at once."""
MAX_STRANGERS = 4 * 1024 * 1024
"""Of these, for all who show neither a certificate nor a token."""
MAX_STRANGER = 64 * 1024
"""For a body of one of them."""
_AROUND = 3
"""Bytes around a header's name and value, at least."""
_FRAMING = 8
"""Bytes around each byte of a body that comes in chunks of one, and then some."""


class Room:
    """The bytes of request bodies that all connections together may hold: read, and not answered yet. Or a part of that."""

    def __init__(self, limit: int = MAX_HELD, within: "Room | None" = None) -> None:
        self._left, self._within = limit, within

    def take(self, size: int) -> bool:
        """Whether there was room; then it is taken."""
        if size > self._left or (self._within and not self._within.take(size)):
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        self._left += size
        if self._within:
            self._within.give(size)


class Message(Struct):
    """One request as it was on the wire. `target` is the undecoded request target, `path` its decoded path."""

    method: str
    target: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    http_1_1: bool
    upgrade: bool
    room: Room | None = None
    """Where its body is."""


Judge = Callable[[Message], Response | Room | None]
"""Asked without the body, when that does not come at once: what the request is refused for whatever its body says, or in whose
room the body may be."""


class Phase(Enum):
    """What the peer owes us."""

    IDLE = "nothing"
    HEAD = "the rest of a request's head"
    BODY = "the rest of a request's body"
    OVER = "nothing more: refused, or upgraded"


class RequestParser:
    def __init__(self, max_body: int, room: Room, strangers: Room | None = None, judge: Judge = lambda message: None) -> None:
        """`strangers`: the room for bodies of those who do not say who they are."""
        self.known = False
        """Whether the peer has said who it is, by a certificate."""
        self.unread = False
        """Whether the peer may still be sending the body of a request that was refused."""
        self.ready: deque[Message] = deque()
        self.refusal: Response | None = None
        self.wants_continue = False
        """The request being read waits for '100 Continue' before it sends its body."""
        self.rest = bytearray()
        """Bytes after an upgrade request: they are the new protocol's."""
        self._max_body, self._room, self._strangers, self._judge = max_body, room, strangers or room, judge
        self._held: dict[Room, int] = {}
        self._judged = False
        self._begun = 0
        self._parser: Any = httptools.HttpRequestParser(self)
        self.phase = Phase.IDLE

    def feed(self, data: bytes) -> None:
        if self.phase is Phase.OVER:
            if self.refusal is None:
                self.rest += data
            return
        was_in_head, was_in_body, begun = self.phase is Phase.HEAD, self.phase is Phase.BODY, self._begun
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest += data[upgrade.args[0] :]
            self.phase = Phase.OVER
        except (httptools.HttpParserError, _Refused, ValueError) as error:
            self._refuse(error)
        else:
            if self.phase is Phase.BODY and not self._judged:
                self._judged = True
                self._look_at_head()
            if begun != self._begun:
                pass  # what came is not of one message alone
            elif was_in_head and self.phase is Phase.HEAD:
                self._head_fed += len(data)  # of a line that does not end
                if self._head_fed > MAX_HEAD:
                    self._refuse(_Refused(HEADERS_TOO_LARGE))
            elif was_in_body and self.phase is Phase.BODY:
                self._body_read += len(data)
                if self._body_read > MAX_HEAD + _FRAMING * self._body_size:  # trailers
                    self._refuse(_Refused(HEADERS_TOO_LARGE))

    @property
    def ahead(self) -> int:
        """Bytes of bodies, and of what follows an upgrade, that nobody has asked for yet."""
        reading = self._body_size if self.phase is Phase.BODY else 0
        return reading + len(self.rest) + sum(len(message.body) for message in self.ready)

    def release(self, message: Message | None = None) -> None:
        """The body of a message is needed no more; None: nothing that was read is."""
        if message is None:
            for room, size in self._held.items():
                room.give(size)
            self._held.clear()
        elif message.room is not None:
            self._give(message.room, len(message.body))

    def _give(self, room: Room, size: int) -> None:
        size = min(size, self._held.get(room, 0))
        if size:
            self._held[room] -= size
            room.give(size)

    def _look_at_head(self) -> None:
        try:
            verdict = self._judge(self._message(b""))
            if isinstance(verdict, Response):
                raise _Refused(verdict)
            if verdict is not None and self._place is self._room:
                self._move(verdict)
        except _Refused as error:
            self._refuse(error)

    def _move(self, room: Room) -> None:
        size, self._place, before = self._body_size, room, self._place
        self._give(before, size)
        if not room.take(size):
            self._body_size = 0
            raise _Refused(CROWDED)
        self._held[room] = self._held.get(room, 0) + size

    def _refuse(self, error: BaseException) -> None:
        if self.phase is Phase.BODY:
            self.unread, self.wants_continue = True, False
            self._give(self._place, self._body_size)
            self._body.clear()
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
        self.refusal = cause.response if isinstance(cause, _Refused) else bad_request(f"malformed HTTP request: {error}")
        self.phase = Phase.OVER

    # What llhttp tells

    def on_message_begin(self) -> None:
        self.phase = Phase.HEAD
        self._begun += 1
        self._head_fed = self._head_size = 0
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_size = self._body_read = 0
        self._judged = False

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is Phase.BODY:
            return  # a trailer: whatever it says, it says too late
        self._head_size += len(name) + len(value) + _AROUND
        if self._head_size > MAX_HEAD:
            raise _Refused(HEADERS_TOO_LARGE)
        key, text = _header_name(name), value.decode("latin-1")
        if key in self._headers:
            # Users and groups may hold commas; no header holds a line's end.
            text = self._headers[key] + ("\n" if key.startswith("impersonate-") else ", ") + text
        self._headers[key] = text

    def on_headers_complete(self) -> None:
        headers = self._headers
        self._http_1_1 = http_1_1 = self._parser.get_http_version() != "1.0"
        if http_1_1 and "host" not in headers:
            raise _Refused(bad_request("missing required Host header"))
        self.phase = Phase.BODY
        stranger = not self.known and "authorization" not in headers
        self._place = self._strangers if stranger else self._room
        self._limit = min(MAX_STRANGER, self._max_body) if stranger else self._max_body
        if int(headers.get("content-length") or 0) > self._limit:
            verdict = self._judge(self._message(b""))
            raise _Refused(verdict if isinstance(verdict, Response) else TOO_LARGE)
        self.wants_continue = http_1_1 and "expect" in headers and headers["expect"].lower() == "100-continue"

    def on_body(self, body: bytes) -> None:
        self.wants_continue = False
        if self._body_size + len(body) > self._limit:
            raise _Refused(TOO_LARGE)
        if not self._place.take(len(body)):
            raise _Refused(CROWDED)
        self._held[self._place] = self._held.get(self._place, 0) + len(body)
        self._body_size += len(body)
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.wants_continue = False
        self.ready.append(self._message(b"".join(self._body)))
        self.phase = Phase.IDLE

    def _message(self, body: bytes) -> Message:
        target = self._target.decode("latin-1")
        path, query = _split(target)
        return Message(
            self._parser.get_method().decode("latin-1"),
            target,
            path,
            query,
            self._headers,
            body,
            self._parser.should_keep_alive(),
            self._http_1_1,
            self._parser.should_upgrade(),
            self._place if body else None,
        )


class _Refused(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@lru_cache(1024)
def _header_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _split(target: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    if not target.startswith("/"):  # absolute form (RFC 9112 3.2.2); anything else is of no use to us
        scheme, separator, rest = target.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            raise _Refused(bad_request(f"request target {target[:100]!r} is not a path"))
        target = "/" + rest.partition("/")[2]
    if "?" not in target and "#" not in target and "%" not in target:
        return target, ()
    path, _, query = target.partition("#")[0].partition("?")
    if "%" in path:
        path = unquote(path)
    return path, tuple(parse_qsl(query, keep_blank_values=True)) if query else ()
