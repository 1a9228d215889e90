"""Does the C reader say exactly what the Python one says, of any zone, any datagram and any damage?"""

import ctypes
import mmap
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.dns.dns_tables import LOOPBACK, question, table
from tests.dns.random_zones import near, zones

from mooring.dns.names import from_text
from mooring.dns.owners import everything
from mooring.dns.records import Type
from mooring.dns.shared import index
from mooring.dns.table import Field, Flag
from mooring.dns.table_answer import TableReader
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns import hotpath
from mooring.services.names import NamedPort, PublishedEndpoint, PublishedService

KINDS = (Type.A, Type.AAAA, Type.SRV, Type.PTR, Type.SOA, Type.NS, 99, 255)
PORTS = (NamedPort("dns", "udp", 53),)
ZONE = Zone(
    ZoneOptions(addresses=("10.96.0.10",), reverse=("10.96.0.0/16",)),
    {
        ("default", "web"): PublishedService(("10.96.0.1",), PORTS),
        ("default", "many"): PublishedService(
            endpoints=tuple(PublishedEndpoint(f"e{n}", f"10.244.0.{n}", PORTS) for n in range(100))
        ),
    },
    {"default"},
    7,
)
TABLE = table(ZONE)
NAMES = sorted(name for name, _ in everything(structs.replace(ZONE, shared=index(ZONE))))
FLAGS = (0, Flag.SYNCED, Flag.SYNCED | Flag.RECURSION, Flag.ALL_TO_AGENT)
PREFIXES = ((4, 9, bytes((127, 128, 0, 0))), (4, 32, bytes((10, 0, 0, 1))), (6, 17, bytes((0xFD, 0, 0x80)) + bytes(13)))
CLIENTS = (LOOPBACK, bytes((10, 0, 0, 1)), bytes((127, 128, 3, 4)), bytes(16), bytes((0xFD, 0, 0xFF)) + bytes(13))


def both(buffer: memoryview, message: bytes, client: bytes = LOOPBACK, rotation: int = 0) -> tuple[bytes | str, bytes | str]:
    return TableReader(buffer).answer(message, client, rotation).reply, hotpath.answer(buffer, message, client, rotation)


@given(
    zones() | zones(synced=False), st.randoms(use_true_random=False), st.sampled_from((0, 1, Flag.SYNCED | Flag.RECURSION, 4))
)
def test_of_any_zone(zone: Zone, rng: Random, flags: int) -> None:
    zone = structs.replace(zone, shared=index(zone))
    buffer = table(zone, flags, prefixes=rng.choice(((), PREFIXES)))
    names = sorted(name for name, _ in everything(zone))
    for known in rng.sample(names, min(len(names), 10)):
        for name in (known, *rng.sample(near(known), 8)):
            payload = rng.choice((None, 0, 600, 1232, 65535))
            header = rng.choice((0x0100, 0x0110, 0, 0x0120, 0x0500))
            asked = question(name, rng.choice(KINDS), payload=payload, dnssec_ok=rng.random() < 0.3, flags=header)
            python, c = both(buffer, asked, rng.choice(CLIENTS), rng.randrange(1 << 32))
            assert python == c


@settings(max_examples=10 * settings.default.max_examples)  # they cost next to nothing
@given(st.randoms(use_true_random=False), st.binary(max_size=80))
def test_of_any_datagram(rng: Random, noise: bytes) -> None:
    message = bytearray(question(rng.choice(NAMES), rng.choice(KINDS), payload=rng.choice((None, 1232))))
    for _ in range(rng.randrange(6)):
        message[rng.randrange(len(message))] = rng.choice((0, 1, 0x3F, 0x40, 0xC0, 0xFF, rng.randrange(256)))
    for octets in (bytes(message), bytes(message[: rng.randrange(len(message))]), bytes(message) + noise, noise):
        python, c = both(TABLE, octets, rng.choice(CLIENTS))
        assert python == c


def guarded(table: memoryview) -> memoryview:
    """The table up to the end of its last entry, and a page after that which ends the process that reads it."""
    image = bytes(table[: table.cast("Q")[Field.USED // 8]])
    size = -(-len(image) // mmap.PAGESIZE) * mmap.PAGESIZE
    whole = mmap.mmap(-1, size + mmap.PAGESIZE)
    guard = ctypes.addressof(ctypes.c_char.from_buffer(whole)) + size
    assert 0 == ctypes.CDLL(None).mprotect(ctypes.c_void_p(guard), mmap.PAGESIZE, 0)
    found = memoryview(whole)[size - len(image) : size]
    found[:] = image
    return found


GUARDED = guarded(TABLE)
IMAGE = bytes(GUARDED)


@settings(max_examples=10 * settings.default.max_examples)  # they cost next to nothing
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_of_any_damage(rng: Random, octets: int) -> None:
    """The header, the slots, and above all entries; a place that leads elsewhere must not be followed."""
    buffer = GUARDED
    buffer[:] = IMAGE
    words = buffer.cast("Q")
    slots, at, arena = (words[field // 8] for field in (Field.SLOTS, Field.SLOTS_AT, Field.ARENA_AT))
    used = [at + 8 * number for number in range(slots) if words[at // 8 + number]]
    for _ in range(octets):
        where = rng.choice((rng.randrange(8, 104), rng.choice(used) + rng.randrange(8), rng.randrange(arena, len(IMAGE))))
        buffer[where] = rng.choice((0, 1, 0x7F, 0xC0, 0xFF, rng.randrange(256)))
    try:
        TableReader(buffer)
    except ValueError:
        with pytest.raises(ValueError, match="no table"):
            hotpath.answer(buffer, question(NAMES[0], 1), LOOPBACK)
        return
    for name in (rng.choice(NAMES), b"\1x" + rng.choice(NAMES), from_text("many.default.svc.cluster.local")):
        for kind in (Type.A, Type.SRV, Type.SOA):
            python, c = both(buffer, question(name, kind, payload=1232), rotation=rng.randrange(1 << 32))
            assert python == c


@pytest.mark.parametrize("size", [0, 8, 4095, 4096, 5000])
def test_of_a_table_that_ends_too_early(size: int) -> None:
    with pytest.raises(ValueError, match="no table"):
        hotpath.answer(TABLE[:size], question(NAMES[0], 1), LOOPBACK)


def test_a_store_is_one_word_within_the_buffer() -> None:
    buffer = bytearray(16)
    hotpath.store(buffer, 1, 0x0102030405060708)
    assert bytes(8) + bytes((8, 7, 6, 5, 4, 3, 2, 1)) == bytes(buffer)
    for index_ in (-1, 2):
        with pytest.raises(IndexError):
            hotpath.store(buffer, index_, 1)


@pytest.mark.parametrize("types", [1, 2, 16, 255])
@pytest.mark.parametrize("length", [1, 31, 255])
def test_of_a_last_entry_that_says_it_is_longer_than_the_table(types: int, length: int) -> None:
    """Its name, its types and its octets would lie after the end."""
    GUARDED[:] = IMAGE
    words = GUARDED.cast("Q")
    at, slots = words[Field.SLOTS_AT // 8], words[Field.SLOTS // 8]
    places = [word % (1 << 32) * 8 for word in words[at // 8 : at // 8 + slots] if word]
    last = max(places)
    GUARDED[last + 6], GUARDED[last + 7] = length, types
    for name in NAMES:
        python, c = both(GUARDED, question(name, 1, payload=1232))
        assert python == c
    end = len(IMAGE) - 8
    for number in range(slots):
        if words[at // 8 + number]:
            words[at // 8 + number] = words[at // 8 + number] >> 32 << 32 | end // 8
    GUARDED[end + 6], GUARDED[end + 7] = length, types
    for name in NAMES:
        python, c = both(GUARDED, question(name, 1, payload=1232))
        assert python == c
