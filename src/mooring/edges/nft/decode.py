"""What does the kernel say its tables hold? Dumps of elements and rules, back as the values that were put in."""

import struct
from collections.abc import Iterator

from mooring.dataplane.ruleset import SetSpec
from mooring.edges.nft.netlink import attributes

_GENERIC = 4
_INTERVAL_END = 1


def elements_of(payload: bytes, spec: SetSpec) -> Iterator[tuple[bytes, bytes]]:
    """The elements in one message of a dump. Ends of one field's ranges come as (end, b'\\1'), all else as it was put in."""
    for kind, value in attributes(payload, _GENERIC):
        if kind == 3:
            yield from _list(value, spec)


def _list(nest: bytes, spec: SetSpec) -> Iterator[tuple[bytes, bytes]]:
    """All entries of a list. Where all look the same, which a map of plain data does, they are unpacked at one go."""
    if spec.data and not spec.is_verdict_map and len(nest) >= 24:
        size, key_length = struct.unpack_from("=H", nest)[0], struct.unpack_from("=H", nest, 8)[0] - 4
        key_space = key_length + 3 & ~3
        data_space = size - 12 - key_space - 8
        if data_space > 0 and len(nest) % size == 0:
            entries = list(struct.iter_unpack(f"=H10s{key_space}s8s{data_space}s", nest))
            if all(entry[0] == size and entry[1] == entries[0][1] and entry[3] == entries[0][3] for entry in entries):
                yield from ((key, data) for _, _, key, _, data in entries)
                return
    for _, entry in attributes(nest):
        yield _entry(entry)


def _entry(entry: bytes) -> tuple[bytes, bytes]:
    key, last, data = b"", b"", b""
    for kind, value in attributes(entry):
        if kind == 1:
            key = _value(value)
        elif kind == 10:
            last = _value(value)
        elif kind == 2:
            data = _value(value)
        elif kind == 3 and int.from_bytes(value, "big") & _INTERVAL_END:
            data = b"\1"
    return key + last, data


def _value(data: bytes) -> bytes:
    """NFTA_DATA_VALUE, padded to registers, or the chain of an NFTA_DATA_VERDICT."""
    for kind, value in attributes(data):
        if kind == 1:
            return value + bytes(-len(value) % 4)
        for part, chain in attributes(value):
            if part == 2:
                return chain.rstrip(b"\0")
    return b""


def ranges(found: dict[bytes, bytes], ends: list[bytes]) -> dict[bytes, bytes]:
    """The starts and ends of an interval set, as the keys (first, last) they were put in with."""
    starts = sorted(found)
    stops = sorted(int.from_bytes(end, "big") - 1 for end in ends)
    whole = {}
    for start in starts:
        first = int.from_bytes(start, "big")
        last = next((stop for stop in stops if stop >= first), (1 << len(start) * 8) - 1)
        whole[start + last.to_bytes(len(start), "big")] = b""
    return whole


def rule_chain(payload: bytes) -> str:
    """The chain of a dumped rule."""
    return next((value.rstrip(b"\0").decode() for kind, value in attributes(payload, _GENERIC) if kind == 2), "")


def table_comment(payload: bytes) -> str:
    """The comment of a table, as user_comment wrote it."""
    for kind, value in attributes(payload, _GENERIC):
        if kind == 6 and len(value) > 2 and value[0] == 0:
            return value[2 : 2 + value[1]].rstrip(b"\0").decode()
    return ""


def generation(payload: bytes) -> int:
    """NFTA_GEN_ID: one more with every commit of anybody's."""
    return next((int.from_bytes(value, "big") for kind, value in attributes(payload, _GENERIC) if kind == 1), 0)
