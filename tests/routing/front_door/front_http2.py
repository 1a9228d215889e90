"""An HTTP/2 client that may say what a good one would not."""

import contextlib
from collections.abc import Sequence
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from tests.routing.front_door.front_lab import HOST, connected, secure

Header = tuple[str, str]


class Http2:
    """`ended` is set when the proxy has closed the connection or said GOAWAY; `reset` are the streams that it reset."""

    def __init__(self, port: int, name: str = HOST) -> None:
        self.connection = secure(protocols=["h2"]).wrap_socket(connected(port), server_hostname=name)
        config = h2.config.H2Configuration(
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            validate_inbound_headers=False,
        )
        self.state = h2.connection.H2Connection(config)
        self.state.initiate_connection()
        self.statuses: dict[int, int] = {}
        self.bodies: dict[int, bytes] = {}
        self.trailers: dict[int, list[Header]] = {}
        self.reset: set[int] = set()
        self.done: set[int] = set()
        self.ended = self.pinged = False
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(
        self,
        headers: Sequence[Header] = (),
        path: str = "/",
        body: bytes | None = None,
        method: str = "GET",
        host: str = HOST,
        end: bool = True,
    ) -> int:
        """The stream's number. `headers` come behind the four of HTTP/2."""
        stream = self.state.get_next_available_stream_id()
        first = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        self.state.send_headers(stream, [*first, *headers], end_stream=end and body is None)
        if body is not None:
            self.state.send_data(stream, body, end_stream=end)
        self.flush()
        return stream

    def flush(self) -> None:
        self.raw(self.state.data_to_send())

    def raw(self, octets: bytes) -> None:
        if self.ended:
            return
        try:
            self.connection.sendall(octets)
        except OSError:
            self.ended = True

    def read(self) -> None:
        """What has come, or the next that does."""
        try:
            data = self.connection.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return
        with contextlib.suppress(h2.exceptions.ProtocolError):
            for event in self.state.receive_data(data):
                self._take(event)
        self.flush()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.statuses[event.stream_id] = int(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] = self.bodies.get(event.stream_id, b"") + event.data
            self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers[event.stream_id] = [(str(name), str(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.StreamReset):
            self.reset.add(event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.done.add(event.stream_id)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pinged = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.ended = True

    def result(self, stream: int) -> int:
        """The status; 0 for a stream that was reset, or a connection that was ended."""
        while not (stream in self.done or stream in self.reset or self.ended):
            self.read()
        return self.statuses.get(stream, 0) if stream in self.done else 0
