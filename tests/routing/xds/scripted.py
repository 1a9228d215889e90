"""A backend that answers as the test says, and remembers what it was asked."""

import http.server
import threading
from collections.abc import Callable, Mapping
from typing import Self

from msgspec import Struct

from mooring.routing.table import Member


class Seen(Struct, frozen=True):
    """Header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Said(Struct, frozen=True):
    """`status` 0: the connection is closed without a word."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Scripted:
    def __init__(self, answer: Callable[[Seen], Said] = lambda seen: Said()) -> None:
        self.seen: list[Seen] = []
        self._answer = answer

    def __enter__(self) -> Self:
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, self.rfile.read(length))
                backend.seen.append(seen)
                said = backend._answer(seen)
                if not said.status:
                    self.close_connection = True
                    return
                self.send_response(said.status)
                for name, value in said.headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said.body)

            def log_message(self, *_: object) -> None:
                """The test says what went wrong."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def member(self) -> Member:
        return Member("127.0.0.1", self._server.server_port)
