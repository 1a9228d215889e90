"""Do forwarded ports carry what they should, in each protocol, and nothing more than they may?"""

import asyncio
import base64
import socket
import struct
from collections.abc import AsyncIterator

import pytest
from stream_clients import Wire, data
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Request, TextMessage

from mooring.edges.kubelet import forward
from mooring.edges.kubelet.forward import Forwarding, forward_channels, ports
from mooring.edges.kubelet.multiplexer import Tunnel
from mooring.edges.kubelet.request import Refused
from mooring.edges.kubelet.websocket import WebSocket
from mooring.edges.pods.streams import PodConnection
from mooring.ports.pods import RuntimeFailure

DEADLINE = 60


class Pod:
    """A listener on localhost that answers with what it was sent, in capitals, and counts who is there."""

    def __init__(self) -> None:
        self.there = 0
        self.port = 0
        self.quiet, self.silent = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.there += 1
        try:
            while text := await reader.read(65536):
                if text == b"reset":
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if text == b"bye":
                    return
                if text == b"silence":
                    self.quiet.set()
                    await self.silent.wait()
                writer.write(text.upper())
                await writer.drain()
            writer.write(b"[end]")
        except ConnectionError:
            pass
        finally:
            self.there -= 1
            writer.close()

    async def connect(self, port: int) -> PodConnection:
        if port == 81:
            raise RuntimeFailure("DialError", "nobody listens")
        return PodConnection(*await asyncio.open_connection("127.0.0.1", self.port))


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    made = Pod()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # Else the kernel may hold tens of megabytes.
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(made.serve, sock=listening)
    made.port = listening.getsockname()[1]
    yield made
    made.silent.set()
    server.close()


@pytest.fixture
async def wire(pod: Pod) -> AsyncIterator[Wire]:
    made = Wire()
    made.forwarding = Forwarding(made, "p", pod.connect, pair_seconds=0.05)
    running = asyncio.create_task(made.forwarding.run(ping_seconds=600))
    yield made
    made.leave()
    async with asyncio.timeout(DEADLINE):
        await running


async def until(condition) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_connection_from_beginning_to_end(wire: Wire, pod: Pod) -> None:
    wire.say(wire.client.pair(1, "80", "0"), data(1, fin=True), data(3, b"hello"))
    await wire.until(lambda: wire.text(3) == b"HELLO")
    wire.say(data(3, b" there", fin=True))
    await wire.until(lambda: wire.ended(3) and wire.ended(1))
    assert (b"HELLO THERE[end]", b"") == (wire.text(3), wire.text(1))
    await until(lambda: pod.there == 0)


async def test_many_connections_at_once_do_not_mix(wire: Wire, pod: Pod) -> None:
    for number in range(100):
        wire.say(wire.client.pair(4 * number + 1, "80", str(number)))
    await until(lambda: pod.there == 100)
    for number in range(100):
        wire.say(data(4 * number + 3, b"number %d" % number, fin=True))
    await wire.until(lambda: all(wire.ended(4 * number + 3) for number in range(100)))
    assert all(wire.text(4 * number + 3) == b"NUMBER %d[end]" % number for number in range(100))


async def test_a_failure_is_told_on_the_error_stream_and_the_others_go_on(wire: Wire) -> None:
    wire.say(wire.client.pair(1, "81", "0"), wire.client.pair(5, "80", "1"), data(3, b"lost"), data(7, b"x", fin=True))
    await wire.until(lambda: wire.ended(3) and wire.ended(1) and wire.ended(7))
    assert b"error forwarding port 81 to pod p, uid : nobody listens" == wire.text(1)
    assert b"X[end]" == wire.text(7)


async def test_a_pod_that_hangs_up_ends_the_stream(wire: Wire, pod: Pod) -> None:
    for first, last in ((1, b"bye"), (5, b"reset")):
        wire.say(wire.client.pair(first, "80", last.decode()), data(first + 2, last))
        await wire.until(lambda first=first: wire.ended(first + 2))
    wire.say(data(3, b"nobody reads this", fin=True), data(7, fin=True))
    await wire.until(lambda: wire.ended(1) and wire.ended(5))
    assert (b"", b"") == (wire.text(1), wire.text(5)), "that happens to connections, and is no failure"


async def test_a_client_that_resets_its_stream_ends_the_pods_connection(wire: Wire, pod: Pod) -> None:
    wire.say(wire.client.pair(1, "80", "0"), data(3, b"x"))
    await wire.until(lambda: wire.text(3) == b"X")
    wire.say(wire.forwarding._mux._connection.reset(3, 5))
    await until(lambda: pod.there == 0)


async def test_a_client_that_goes_takes_its_connections_with_it(pod: Pod) -> None:
    wire = Wire()
    running = asyncio.create_task(Forwarding(wire, "p", pod.connect).run())
    wire.say(*(wire.client.pair(4 * number + 1, "80", str(number)) for number in range(5)))
    await until(lambda: pod.there == 5)
    wire.leave()
    await running
    await until(lambda: pod.there == 0)


async def test_a_client_that_cannot_be_written_to_is_found_out_by_asking(pod: Pod) -> None:
    class Broken(Wire):
        async def send(self, frame: bytes) -> None:
            raise ConnectionResetError

    async with asyncio.timeout(DEADLINE):
        await Forwarding(Broken(), "p", pod.connect).run(ping_seconds=0.01)


async def test_what_a_pod_does_not_read_is_not_held(wire: Wire, pod: Pod) -> None:
    wire.say(wire.client.pair(1, "80", "0"), data(3, b"silence"))
    await asyncio.wait_for(pod.quiet.wait(), DEADLINE)
    size = 256
    for _ in range(size):
        wire.say(data(3, bytes(64 * 1024)))
    seen = -1
    while seen != wire.taken:  # As much as fits into the kernel's buffers and ours: then it stands still.
        seen = wire.taken
        await asyncio.sleep(0.1)
    assert wire.taken < size * 64 * 1024
    pod.silent.set()
    wire.say(data(3, fin=True))
    await wire.until(lambda: wire.ended(3))
    assert size * 64 * 1024 + len(b"silence[end]") == len(wire.text(3))


@pytest.mark.parametrize(
    "headers",
    [
        {"streamtype": "data"},
        {"streamtype": "data", "port": "0"},
        {"streamtype": "data", "port": "65536"},
        {"streamtype": "data", "port": "http"},
        {"streamtype": "data", "port": "8" * 5000},
        {"streamtype": "spam", "port": "80"},
        {"port": "80"},
    ],
    ids=["no port", "zero", "too large", "a name", "digits without end", "another type", "no type"],
)
async def test_streams_that_mean_nothing_are_refused(wire: Wire, headers: dict[str, str]) -> None:
    wire.say(wire.client.open(1, requestid="0", **headers))
    await wire.until(lambda: wire.kinds(1))
    assert ["reset"] == wire.kinds(1)


async def test_the_second_stream_of_a_kind_is_an_error(wire: Wire) -> None:
    for stream in (1, 3):
        wire.say(wire.client.open(stream, streamtype="error", port="80", requestid="7"))
    await wire.until(lambda: wire.kinds(3))
    assert ["reset"] == wire.kinds(3)
    await wire.until(lambda: wire.text(1))
    assert b"error processing stream for request 7: error stream already assigned" == wire.text(1)


async def test_half_a_pair_is_not_waited_for_without_end(wire: Wire) -> None:
    wire.say(wire.client.open(1, streamtype="error", port="80", requestid="7"))
    await wire.until(lambda: wire.ended(1))
    assert b"(request=7) timed out waiting for streams" == wire.text(1)


async def test_old_clients_name_no_request(wire: Wire) -> None:
    wire.say(wire.client.pair(1, "80"), wire.client.pair(5, "80"), data(3, b"a", fin=True), data(7, b"b", fin=True))
    await wire.until(lambda: wire.ended(3) and wire.ended(7))
    assert (b"A[end]", b"B[end]") == (wire.text(3), wire.text(7))


# WebSockets


class Browser:
    """A WebSocket's client against `serve`, over real connections."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.connection = WSConnection(ConnectionType.CLIENT)
        self.messages: list[bytes | str] = []
        self.over = False
        self.part = None

    async def hear(self, condition) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                octets = await self.reader.read(65536)
                if not octets:
                    self.over = True
                    assert condition(), self.messages
                    return
                self.connection.receive_data(octets)
                for event in self.connection.events():
                    if isinstance(event, BytesMessage | TextMessage):
                        data = bytes(event.data) if isinstance(event, BytesMessage) else event.data
                        self.part = data if self.part is None else self.part + data
                        if event.message_finished:
                            self.messages.append(self.part)
                            self.part = None
                    elif isinstance(event, AcceptConnection):
                        self.messages.append(event.subprotocol or "")
                    elif isinstance(event, CloseConnection):
                        self.over = True

    def say(self, event) -> None:
        self.writer.write(self.connection.send(event))

    def on(self, channel: int) -> bytes:
        return b"".join(each[1:] for each in self.messages if isinstance(each, bytes) and each[0] == channel)


@pytest.fixture
async def browse(pod: Pod):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = WebSocket(reader, writer)
        protocol = await sock.accept(await reader.readuntil(b"\r\n\r\n"), (forward.TUNNEL, *forward.CHANNEL_PROTOCOLS))
        if protocol == forward.TUNNEL:
            await Forwarding(Tunnel(sock), "p", pod.connect).run()
        elif protocol is not None:
            await forward_channels(sock, protocol, (80, 81), "p", pod.connect)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    opened: list[Browser] = []

    async def begin(*protocols: str) -> Browser:
        made = Browser(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        made.say(Request(host="h", target="/", subprotocols=list(protocols)))
        await made.hear(lambda: made.messages)
        opened.append(made)
        return made

    yield begin
    for each in opened:
        each.writer.close()
    server.close()


async def test_spdy_within_a_websocket(browse) -> None:
    browser, wire = await browse(forward.TUNNEL), Wire()
    octets = wire.client.pair(1, "80", "0") + data(3, b"hello", fin=True)
    for at in range(0, len(octets), 7):  # However the frames are cut into messages.
        browser.say(BytesMessage(octets[at : at + 7]))
    assert forward.TUNNEL == browser.messages.pop(0)

    def heard() -> bool:
        while browser.messages:
            wire.heard += wire.client.frames(browser.messages.pop(0))
        return wire.ended(3)

    await browser.hear(heard)
    assert b"HELLO[end]" == wire.text(3)


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", ""])
async def test_channels_begin_with_their_port(browse, protocol: str) -> None:
    browser = await browse(*[protocol] * bool(protocol))
    browser.say(BytesMessage(b"\0hello"))
    await browser.hear(lambda: b"HELLO" in browser.on(0) and len(browser.on(3)) > 2)
    assert (struct.pack("<H", 80) + b"HELLO", struct.pack("<H", 80)) == (browser.on(0), browser.on(1))
    told = b"error forwarding port 81 to pod p, uid : nobody listens"
    assert (struct.pack("<H", 81), struct.pack("<H", 81) + told) == (browser.on(2), browser.on(3))
    browser.say(BytesMessage(b"\0" + b"x" * 2_000_000))  # As the Python client's, which reads a megabyte at once.
    await browser.hear(lambda: len(browser.on(0)) == 2_000_007)
    browser.say(BytesMessage(b"\0bye"))
    await browser.hear(lambda: browser.over)


async def test_channels_in_base64(browse) -> None:
    browser = await browse("v4.base64.channel.k8s.io")
    browser.say(TextMessage("0" + base64.b64encode(b"hello").decode()))
    wanted = "0" + base64.b64encode(b"HELLO").decode()
    await browser.hear(lambda: wanted in browser.messages)
    browser.say(TextMessage("0 not base64"))
    await browser.hear(lambda: browser.over)


async def test_a_websocket_that_closes_ends_the_pods_connections(browse, pod: Pod) -> None:
    browser = await browse("v4.channel.k8s.io")
    await until(lambda: pod.there == 1)
    browser.say(CloseConnection(1000))
    await until(lambda: pod.there == 0)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((), 'query parameter "port" is required'),
        (("",), 'query parameter "port" cannot be empty'),
        (("80,x",), 'unable to parse "80,x" as a port: strconv.ParseUint: parsing "x": invalid syntax'),
        (("0",), 'port "0" must be > 0'),
        ((",".join(["80"] * 128),), "128 ports are more than the 127 that one WebSocket can carry"),
    ],
)
def test_ports_of_a_query(values: tuple[str, ...], told: str) -> None:
    with pytest.raises(Refused) as caught:
        ports(values)
    assert (400, told) == (caught.value.status, caught.value.text)
    assert (80, 81, 82) == ports(("80,81", "82"))
