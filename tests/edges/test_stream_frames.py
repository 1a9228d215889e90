"""Can any octets break the decoders of SPDY's and WebSockets' frames, or make them hold more than they may?"""

import asyncio
import json
import struct
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_clients import DEADLINE, SpdyClient, Wire, data
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, Request

from mooring.edges.kubelet import spdy
from mooring.edges.kubelet.forward import Forwarding
from mooring.edges.kubelet.links import Resized, resized
from mooring.edges.kubelet.multiplexer import ALL_HELD, HELD, MAX_STREAMS, Multiplexer, Stream
from mooring.edges.kubelet.websocket import MAX_MESSAGE, WebSocket
from mooring.ports.pods import RuntimeFailure

CONTROL = st.builds(
    lambda kind, flags, payload: struct.pack(">HHI", 0x8003, kind, (flags << 24) | len(payload)) + payload,
    st.sampled_from([*range(10), 0xFFFF]),
    st.integers(0, 255),
    st.binary(max_size=60),
)
PLAIN = st.builds(
    lambda stream, text, fin: data(stream, text, fin=fin), st.integers(0, 9), st.binary(max_size=60), st.booleans()
)
OPENING = st.lists(
    st.tuples(st.integers(0, 20), st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4)), max_size=5
)


def opening(streams: list[tuple[int, dict[str, str]]]) -> bytes:
    client = SpdyClient()
    return b"".join(client.open(number, **headers) for number, headers in streams)


@given(st.lists(st.one_of(CONTROL, PLAIN, st.binary(max_size=30), OPENING.map(opening)), max_size=8), st.data())
def test_any_octets_are_events_or_a_broken_connection(frames: list[bytes], draw: st.DataObject) -> None:
    connection, octets = spdy.Connection(), b"".join(frames)
    while octets:
        size = draw.draw(st.integers(1, len(octets)))
        try:
            for event in connection.receive(octets[:size]):
                assert isinstance(event, spdy.Opened | spdy.Data | spdy.Ended | spdy.Pinged | spdy.GoneAway)
        except spdy.SpdyError:
            return
        octets = octets[size:]


@given(st.lists(st.binary(max_size=2000), max_size=6), st.lists(st.integers(1, 500), min_size=1))
def test_however_it_is_cut_the_same_arrives(texts: list[bytes], cuts: list[int]) -> None:
    octets = SpdyClient().open(1, streamtype="data", port="80") + b"".join(data(1, text) for text in texts)
    connection, events = spdy.Connection(), []
    while octets:
        size = cuts[len(events) % len(cuts)]
        events += connection.receive(octets[:size])
        octets = octets[size:]
    assert spdy.Opened(1, {"streamtype": "data", "port": "80"}) == events[0]
    assert b"".join(texts) == b"".join(each.data for each in events[1:])


def block(plain: bytes) -> bytes:
    packer = zlib.compressobj(9, zdict=spdy.DICTIONARY)
    payload = struct.pack(">IIBB", 1, 0, 0, 0) + packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)
    return struct.pack(">HHI", 0x8003, spdy.SYN_STREAM, len(payload)) + payload


BROKEN = {
    "a block that unpacks to much": block(struct.pack(">II", 1, 50_000_000) + bytes(50_000_000)),
    "more headers than there are": block(struct.pack(">I", 9)),
    "many headers": block(struct.pack(">I", 101) + bytes(8 * 101)),
    "a header longer than its block": block(struct.pack(">II", 1, 5) + b"ab"),
    "not packed": struct.pack(">HHI", 0x8003, spdy.SYN_STREAM, 14) + struct.pack(">IIBB", 1, 0, 0, 0) + b"spam",
    "an even stream": SpdyClient().open(2, a="b"),
    "the same stream again": (lambda client: client.open(1, a="b") + client.open(1, a="b"))(SpdyClient()),
    "a huge frame": struct.pack(">II", 1, 0xFFFFFF),
    "another version": struct.pack(">HHI", 0x8002, spdy.PING, 4) + bytes(4),
}


@pytest.mark.parametrize("octets", BROKEN.values(), ids=BROKEN)
def test_what_breaks_the_protocol_ends_the_connection(octets: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(spdy.SpdyError):
        list(spdy.Connection().receive(octets))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_pings_answer_is_no_ping() -> None:
    connection = spdy.Connection()
    assert [] == list(connection.receive(connection.ping()))
    assert [spdy.Pinged(1)] == list(connection.receive(spdy.Connection.pong(1)))


async def test_a_stream_that_nobody_reads_holds_a_bounded_part_and_then_all_wait() -> None:
    wire, streams = Wire(), []
    mux = Multiplexer(wire, lambda stream: not streams.append(stream))
    running = asyncio.create_task(mux.run())
    wire.say(wire.client.open(1, a="b"), wire.client.open(3, a="b"))
    piece = bytes(32 * 1024)
    for _ in range(100):
        wire.say(data(1, piece))
    wire.say(data(3, b"after"))
    await wire.until(lambda: wire.taken > HELD)
    for _ in range(100):
        await asyncio.sleep(0)
    assert wire.taken < HELD + 3 * len(piece), "the rest was not even taken from the connection"
    total = 0
    while total < 100 * len(piece):
        total += len(await streams[0].read())
    assert b"after" == await streams[1].read()
    wire.leave()
    await running
    assert (b"", b"") == (await streams[0].read(), await streams[1].read())


async def test_all_streams_together_hold_no_more_than_a_connection_may() -> None:
    wire, streams = Wire(), []
    running = asyncio.create_task(Multiplexer(wire, lambda stream: not streams.append(stream)).run())
    for number in range(100):
        wire.say(wire.client.open(2 * number + 1, a="b"), data(2 * number + 1, bytes(100_000)))
    await wire.until(lambda: wire.taken > ALL_HELD)
    for _ in range(100):
        await asyncio.sleep(0)
    assert wire.taken < ALL_HELD + 300_000
    for number in range(100):
        await wire.until(lambda number=number: len(streams) > number)
        assert 100_000 == len(await streams[number].read())
    wire.leave()
    await running


FORWARDED = st.builds(
    lambda client, frames: b"".join(client.open(n, **h) for n, h in sorted(frames.items())),
    st.builds(SpdyClient),
    st.dictionaries(
        st.integers(0, 30).map(lambda number: 2 * number + 1),
        st.fixed_dictionaries({
            "streamtype": st.sampled_from(["data", "error", "spam"]),
            "port": st.sampled_from(["80", "81", "0", "x"]),
            "requestid": st.sampled_from(["1", "2", ""]),
        }),
        max_size=12,
    ),
)  # fmt: skip


class Nothing:
    """A connection to a pod that ends at once."""

    async def read(self) -> bytes:
        return b""

    async def write(self, octets: bytes) -> None:
        raise BrokenPipeError

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        pass


@given(FORWARDED, st.lists(st.one_of(PLAIN, CONTROL), max_size=10))
def test_any_frames_leave_nothing_behind_of_forwarded_ports(opened: bytes, frames: list[bytes]) -> None:
    async def connect(port: int) -> Nothing:
        if port == 81:
            raise RuntimeFailure("DialError", "nobody listens")
        return Nothing()

    async def run() -> None:
        wire = Wire()
        wire.say(opened, *frames)
        wire.leave()
        async with asyncio.timeout(DEADLINE):
            await Forwarding(wire, "p", connect).run()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


async def test_who_closes_a_stream_lets_the_others_go_on() -> None:
    wire, streams = Wire(), []
    running = asyncio.create_task(Multiplexer(wire, lambda stream: not streams.append(stream)).run())
    wire.say(
        wire.client.open(1, a="b"), wire.client.open(3, a="b"), *(data(1, bytes(100_000)) for _ in range(9)), data(3, b"x")
    )
    await wire.until(lambda: wire.taken > HELD)
    streams[0].close()
    assert b"x" == await streams[1].read()
    wire.leave()
    await running


async def test_streams_beyond_the_limit_are_refused() -> None:
    wire, streams = Wire(), []
    running = asyncio.create_task(Multiplexer(wire, lambda stream: not streams.append(stream)).run())
    wire.say(*(wire.client.open(2 * number + 1, a="b") for number in range(MAX_STREAMS + 1)))
    last = 2 * MAX_STREAMS + 1
    await wire.until(lambda: wire.kinds(last))
    assert (["reply"], ["reset"]) == (wire.kinds(last - 2), wire.kinds(last))
    streams[0].close()
    wire.say(wire.client.open(last + 2, a="b"))
    await wire.until(lambda: wire.kinds(last + 2))
    assert ["reply"] == wire.kinds(last + 2)
    wire.leave()
    await running


async def test_writing_waits_for_a_client_that_does_not_read() -> None:
    wire, streams = Wire(), []
    running = asyncio.create_task(Multiplexer(wire, lambda stream: not streams.append(stream)).run())
    wire.say(wire.client.open(1, a="b"))
    await wire.until(lambda: bool(streams))
    stream: Stream = streams[0]
    wire.open.clear()
    writing = asyncio.create_task(stream.write(b"x"))
    await asyncio.sleep(0)
    assert not writing.done()
    wire.open.set()
    await writing
    wire.leave()
    await running


# WebSockets


class Sink:
    """A StreamWriter's part that a WebSocket uses."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, octets: bytes) -> None:
        self.written += octets

    async def drain(self) -> None:
        await asyncio.sleep(0)


def hello(*protocols: str) -> tuple[WSConnection, bytes]:
    client = WSConnection(ConnectionType.CLIENT)
    return client, client.send(Request(host="h", target="/", subprotocols=list(protocols)))


async def opened(octets: bytes) -> tuple[WebSocket, Sink]:
    reader, sink = asyncio.StreamReader(), Sink()
    reader.feed_data(octets)
    reader.feed_eof()
    socket = WebSocket(reader, sink)
    assert "p" == await socket.accept(hello("p")[1], ("p",))
    return socket, sink


@given(st.binary(max_size=300))
def test_any_octets_are_messages_or_the_end(octets: bytes) -> None:
    async def run() -> None:
        socket, _ = await opened(octets)
        assert all([each[0] >= 0 async for each in socket.channelled((0,))])
        socket, _ = await opened(octets)
        assert all([each[0] >= 0 async for each in socket.channelled((), text=True)])
        socket, _ = await opened(octets)
        assert all([each async for each in socket.pieces()])

    asyncio.run(run())


def masked(*events: BytesMessage | Ping | CloseConnection) -> bytes:
    client, request = hello("p")
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(request)
    list(server.events())
    client.receive_data(server.send(AcceptConnection(subprotocol="p")))
    list(client.events())
    return b"".join(client.send(event) for event in events)


@given(st.lists(st.binary(max_size=2000), max_size=5))
async def test_messages_arrive_whole_and_in_order(texts: list[bytes]) -> None:
    octets = masked(*map(BytesMessage, texts), Ping(b"?"))
    socket, sink = await opened(octets)
    assert [(text[0], text[1:]) for text in texts if text] == [each async for each in socket.channelled(())]
    assert sink.written.endswith(b"\x8a\x01?"), "a ping is answered"
    socket, _ = await opened(octets)
    assert b"".join(texts) == b"".join([each async for each in socket.pieces()])


async def test_a_message_that_is_too_long_ends_the_connection_and_is_not_held() -> None:
    piece = BytesMessage(bytes(64 * 1024), message_finished=False)
    socket, sink = await opened(masked(*[piece] * 20, BytesMessage(b"end")))
    assert [] == [each async for each in socket.channelled(())]
    assert struct.pack(">H", 1009) in sink.written
    socket, _ = await opened(masked(*[piece] * 20, BytesMessage(b"end"), BytesMessage(b"\4next")))
    heard = [each async for each in socket.channelled((0,))]
    assert (20 * 64 * 1024 + 2, (4, b"next")) == (sum(len(data) for channel, data in heard if not channel), heard[-1])
    socket, _ = await opened(masked(*[piece] * 20, BytesMessage(b"end")))
    sizes = [len(each) async for each in socket.pieces()]
    assert (20 * 64 * 1024 + 3, True) == (sum(sizes), max(sizes) < MAX_MESSAGE), "a tunnel has no messages to hold"


async def test_a_frame_that_announces_more_than_it_brings_is_not_waited_for_in_memory() -> None:
    head = b"\x82\xff" + struct.pack(">Q", 1 << 40) + bytes(4)
    socket, _ = await opened(head + bytes(2 * MAX_MESSAGE))
    assert [] == [each async for each in socket.channelled(())]


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"spam\r\n\r\n", b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"]
)
async def test_what_is_no_websocket_is_refused(octets: bytes) -> None:
    sink = Sink()
    assert await WebSocket(asyncio.StreamReader(), sink).accept(octets, ("p", "")) is None
    assert sink.written.startswith(b"HTTP/1.1 400 ")


@given(
    st.one_of(
        st.binary(max_size=50),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text(),
            lambda inner: st.dictionaries(st.sampled_from(["Width", "Height"]), inner),
        ).map(lambda each: json.dumps(each).encode()),
    )
)
def test_a_size_is_a_size_or_nothing(text: bytes) -> None:
    found = resized(text)
    assert found is None or (isinstance(found, Resized) and 0 <= found.columns < 65536 and 0 <= found.rows < 65536)
