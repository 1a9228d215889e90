"""Which chains and rules does a packet meet in the kernel? A table of its own marks the packet, the kernel tells each step.

The table belongs to the socket that made it (NFT_TABLE_F_OWNER, Linux 5.12): the kernel takes it away with the socket, however
the process ends, and nobody else can change it meanwhile. Numbers from linux/netfilter/nf_tables.h and nfnetlink.h.
"""

import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Self

from msgspec import Struct

from mooring.dataplane.ruleset import PROTOCOL_NUMBERS
from mooring.dataplane.sighting import Flow
from mooring.edges.nft import encode
from mooring.edges.nft.encode import Batch
from mooring.edges.nft.listener import Listener
from mooring.edges.nft.netlink import (
    CREATE,
    NetlinkError,
    NetlinkSocket,
    attribute,
    attributes,
    nested,
    number,
    text,
)
from mooring.ports.firewall import FirewallError

PREFIX = "mrg-trace-"
PRIORITY = -310
"""Before connection tracking (-200) and even before raw (-300): what comes first is told too."""

_TRACE = encode.NF_TABLES | 17
_GROUP = 9  # NFNLGRP_NFTRACE
_OWNER = 0x2
_ACCEPT = 1
_HOOKS = {"prerouting": 0, "output": 3}
_NETWORK, _TRANSPORT = 1, 2
_L4PROTO, _NFTRACE = 16, 12
_REGISTER, _WIDE_REGISTER = 8, 1  # NFT_REG32_00, NFT_REG_1: the same place
_KINDS = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {0: "drop", 1: "accept", 2: "stolen", 3: "queue", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
_FAMILIES = {socket.AF_INET: "ip", socket.AF_INET6: "ip6", 1: "inet", 5: "netdev", 7: "bridge"}


class Event(Struct, frozen=True):
    """One step. `packet` is the kernel's number of the packet; `kind` is rule, return or policy; `handle` names the rule."""

    packet: int
    family: str
    table: str
    chain: str
    kind: str
    handle: int
    verdict: str


class PacketWatch:
    """Tells what the chains of a network namespace do with the packets of one flow, while the context lasts."""

    def __init__(self, namespace: str, flow: Flow) -> None:
        self._namespace, self._flow = namespace, flow
        self._family = "ip6" if ":" in flow.destination[0] else "ip"
        self.table = PREFIX + secrets.token_hex(4)

    def __enter__(self) -> Self:
        """Raises FirewallError."""
        with ExitStack() as left:
            try:
                owner = NetlinkSocket(self._namespace)
                left.callback(owner.close)
                self._listener = Listener(self._namespace, _GROUP)
                left.callback(self._listener.close)
                batch = self._batch(owner.next_sequence)
                owner.send(batch.finish())
                owner.collect(batch.last)
            except (NetlinkError, OSError) as error:
                raise FirewallError(f"watching packets in {self._namespace}: {error}") from error
            self._left = left.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()

    def events(self) -> list[Event]:
        """What was told since the last time."""
        return [_event(payload) for kind, payload in self._listener.messages() if kind == _TRACE]

    def _batch(self, next_sequence: Callable[[], int]) -> Batch:
        batch = Batch(next_sequence)
        batch.add(encode.NEW_TABLE, CREATE, self._family, self.table, text(1, self.table), number(2, _OWNER))
        rule = nested(4, *(nested(1, *each) for each in self._expressions()))
        for name, hook in _HOOKS.items():
            where = (text(1, self.table), text(3, name), nested(4, number(1, hook), number(2, PRIORITY)))
            batch.add(encode.NEW_CHAIN, CREATE, self._family, name, *where, text(7, "filter"), number(5, _ACCEPT))
            batch.add(encode.NEW_RULE, CREATE, self._family, name, text(1, self.table), text(2, name), rule)
        return batch

    def _expressions(self) -> Iterator[list[bytes]]:
        """Just this flow: meta nftrace set 1."""
        flow, protocol = self._flow, bytes([PROTOCOL_NUMBERS[self._flow.protocol]])
        first = {"ip": 12, "ip6": 8}[self._family]
        source, destination = (ip_address(each[0]).packed for each in (flow.source, flow.destination))
        ports = b"".join(each[1].to_bytes(2, "big") for each in (flow.source, flow.destination))
        yield _named("meta", number(1, _REGISTER), number(2, _L4PROTO))
        yield _equals(protocol)
        yield _loaded(_NETWORK, first, len(source))
        yield _equals(source)
        yield _loaded(_NETWORK, first + len(source), len(destination))
        yield _equals(destination)
        yield _loaded(_TRANSPORT, 0, 4)
        yield _equals(ports)
        yield _named("immediate", number(1, _REGISTER), nested(2, attribute(1, b"\1")))
        yield _named("meta", number(2, _NFTRACE), number(3, _REGISTER))


def _named(name: str, *payload: bytes) -> list[bytes]:
    return [text(1, name), nested(2, *payload)]


def _loaded(base: int, offset: int, length: int) -> list[bytes]:
    return _named("payload", number(1, _WIDE_REGISTER), number(2, base), number(3, offset), number(4, length))


def _equals(value: bytes) -> list[bytes]:
    return _named("cmp", number(1, _WIDE_REGISTER), number(2, 0), nested(3, attribute(1, value)))


def _event(payload: bytes) -> Event:
    found = dict(attributes(payload, 4))
    verdict = dict(attributes(found.get(5, b"")))
    code = int.from_bytes(verdict.get(1, found.get(16, b"\1")), "big", signed=True)
    words = f"{_VERDICTS.get(code & 0xFF if code >= 0 else code, code)} {_text(verdict.get(2, b''))}".rstrip()
    return Event(
        packet=_number(found.get(6, b"")),
        family=_FAMILIES.get(payload[0], ""),
        table=_text(found.get(1, b"")),
        chain=_text(found.get(2, b"")),
        kind=_KINDS.get(_number(found.get(4, b"")), ""),
        handle=_number(found.get(3, b"")),
        verdict=words,
    )


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
