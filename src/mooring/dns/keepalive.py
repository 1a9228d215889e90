"""How long may a client keep its connection? It is told when it asks, by edns-tcp-keepalive (RFC 7828)."""

from mooring.dns.records import Query, Transport

OPTION = 11
IDLE = 10.0
"""Seconds that a connection over which nothing goes is kept."""


def keepalive(query: Query, idle: float = IDLE) -> tuple[tuple[int, bytes], ...]:
    """The option for the reply's OPT record; none over UDP. `idle` in seconds, told in tenths of them."""
    if query.transport is Transport.UDP or query.edns is None or all(code != OPTION for code, _ in query.edns.options):
        return ()
    return ((OPTION, min(int(idle * 10), 0xFFFF).to_bytes(2, "big")),)
