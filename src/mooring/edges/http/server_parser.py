"""Which requests do the bytes of one connection spell? Sans-I/O, over httptools (llhttp, strict).

Bytes go in with `feed`; complete requests come out of `ready`, in order. The first broken or too large request ends the
conversation: `refusal` says how to answer it, after the requests before it. Limits: RFC 9110, 9112.
"""

from collections import deque
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl, unquote

import httptools
from msgspec import Struct

from mooring.apiserver.contract import Response
from mooring.edges.http.server_status import CROWDED, HEADERS_TOO_LARGE, TOO_LARGE, bad_request

MAX_HEAD = 64 * 1024
"""Bytes of request line and headers. Upstream allows 1 MiB; the longest real ones (tokens, selectors) are some 20 KiB."""
MAX_HELD = 256 * 1024 * 1024
_FRAMING = 8
"""Bytes around each byte of a body that comes in chunks of one, and then some."""


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


class Phase(Enum):
    """What the peer owes us."""

    IDLE = "nothing"
    HEAD = "the rest of a request's head"
    BODY = "the rest of a request's body"
    OVER = "nothing more: refused, or upgraded"


class Room:
    """The bytes of request bodies that all connections together may hold: read, and not answered yet."""

    def __init__(self, limit: int = MAX_HELD) -> None:
        self._left = limit

    def take(self, size: int) -> bool:
        """Whether there was room; then it is taken."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        self._left += size


class RequestParser:
    def __init__(self, max_body: int, room: Room) -> None:
        self.ready: deque[Message] = deque()
        self.refusal: Response | None = None
        self.wants_continue = False
        """The request being read waits for '100 Continue' before it sends its body."""
        self.rest = bytearray()
        """Bytes after an upgrade request: they are the new protocol's."""
        self._max_body, self._room, self._held = max_body, room, 0
        self._parser: Any = httptools.HttpRequestParser(self)
        self.phase = Phase.IDLE

    def feed(self, data: bytes) -> None:
        if self.phase is Phase.OVER:
            if self.refusal is None:
                self.rest += data
            return
        was_in_head, was_in_body = self.phase is Phase.HEAD, self.phase is Phase.BODY
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.rest += data[upgrade.args[0] :]
            self.phase = Phase.OVER
        except (httptools.HttpParserError, _Refused, ValueError) as error:
            self._refuse(error)
        else:
            if was_in_head and self.phase is Phase.HEAD:
                self._head_size += len(data)
                if self._head_size > MAX_HEAD:
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

    def release(self, size: int | None = None) -> None:
        """A body of this size is needed no more; None: nothing that was read is."""
        size = self._held if size is None else min(size, self._held)
        self._held -= size
        self._room.give(size)

    def _refuse(self, error: BaseException) -> None:
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
        self.refusal = cause.response if isinstance(cause, _Refused) else bad_request(f"malformed HTTP request: {error}")
        self.phase = Phase.OVER

    # What llhttp tells

    def on_message_begin(self) -> None:
        self.phase = Phase.HEAD
        self._head_size = 0
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_size = self._body_read = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is Phase.BODY:
            return  # a trailer: whatever it says, it says too late
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        before = self._headers.get(key)
        # Users and groups may hold commas; no header holds a line's end.
        separator = "\n" if key.startswith("impersonate-") else ", "
        self._headers[key] = text if before is None else before + separator + text

    def on_headers_complete(self) -> None:
        http_1_1 = self._parser.get_http_version() != "1.0"
        if http_1_1 and "host" not in self._headers:
            raise _Refused(bad_request("missing required Host header"))
        if int(self._headers.get("content-length") or 0) > self._max_body:
            raise _Refused(TOO_LARGE)
        self.phase = Phase.BODY
        self.wants_continue = http_1_1 and self._headers.get("expect", "").lower() == "100-continue"

    def on_body(self, body: bytes) -> None:
        self.wants_continue = False
        self._body_size += len(body)
        if self._body_size > self._max_body:
            raise _Refused(TOO_LARGE)
        if not self._room.take(len(body)):
            raise _Refused(CROWDED)
        self._held += len(body)
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.wants_continue = False
        target = self._target.decode("latin-1")
        path, query = _split(target)
        self.ready.append(
            Message(
                method=self._parser.get_method().decode("latin-1"),
                target=target,
                path=path,
                query=query,
                headers=self._headers,
                body=b"".join(self._body),
                keep_alive=self._parser.should_keep_alive(),
                http_1_1=self._parser.get_http_version() != "1.0",
                upgrade=self._parser.should_upgrade(),
            )
        )
        self.phase = Phase.IDLE


class _Refused(Exception):
    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def _split(target: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    if not target.startswith("/"):  # absolute form (RFC 9112 3.2.2); anything else is of no use to us
        scheme, separator, rest = target.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            raise _Refused(bad_request(f"request target {target[:100]!r} is not a path"))
        target = "/" + rest.partition("/")[2]
    path, _, query = target.partition("#")[0].partition("?")
    if "%" in path:
        path = unquote(path)
    return path, tuple(parse_qsl(query, keep_blank_values=True)) if query else ()
