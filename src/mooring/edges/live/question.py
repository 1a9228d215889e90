"""What does a name server really answer, asked from inside a network namespace? One question over UDP, then TCP if need be."""

import contextlib
import socket
from time import monotonic

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
from msgspec import Struct

from mooring.edges.netlink import namespaces

PATIENCE = 5.0
"""Seconds, as long as a resolver waits for its first try."""
PORT = 53


class Answered(Struct, frozen=True):
    """`rcode` and the answer section's records as (type, uncompressed data); `error` says why there is none."""

    seconds: float
    rcode: int = 0
    records: tuple[tuple[int, bytes], ...] = ()
    error: str = ""


def ask(place: str, server: str, name: str, kind: int) -> Answered:
    """`place` is the file that holds the namespace; `name` without its final dot. Never raises for what the network does."""
    query = dns.message.make_query(f"{name}.", kind)
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    begun = monotonic()
    try:
        with contextlib.closing(namespaces.within(place, lambda: socket.socket(family, socket.SOCK_DGRAM))) as channel:
            channel.setblocking(False)
            reply = dns.query.udp(query, server, PATIENCE, PORT, sock=channel, ignore_errors=True)
        if reply.flags & dns.flags.TC:
            with contextlib.closing(namespaces.within(place, lambda: _connected(family, server))) as stream:
                reply = dns.query.tcp(query, server, PATIENCE, PORT, sock=stream)
    except (OSError, EOFError, dns.exception.DNSException) as error:
        return Answered(monotonic() - begun, error=str(error) or type(error).__name__)
    records = tuple((int(rrset.rdtype), rdata.to_wire() or b"") for rrset in reply.answer for rdata in rrset)
    return Answered(monotonic() - begun, int(reply.rcode()), records)


def _connected(family: int, server: str) -> socket.socket:
    stream = socket.socket(family, socket.SOCK_STREAM)
    stream.settimeout(PATIENCE)
    try:
        stream.connect((server, PORT))
    except OSError:
        stream.close()
        raise
    stream.setblocking(False)
    return stream
