"""Which nodes' tables does a packet meet, one after the other? Where one lets it pass to another node, that one's follow.

A node knows node ports at its own addresses only, so a pod's packet to another node's node port passes the first node as it is
and is decided at the second, where it comes from outside.
"""

from collections.abc import Callable

from msgspec import structs

from mooring.dataplane.trace import Outcome, Packet, Trace, trace
from mooring.services.view import NodeView


def follow(
    view: Callable[[str], NodeView],
    first: str,
    packet: Packet,
    owner: str,
    local: tuple[str, ...] = (),
) -> tuple[tuple[str, Trace], ...]:
    """(node, what it decides) for each node, from `first` on. `owner` is the node that the destination belongs to, or ''.

    `local` are addresses that every node holds itself (cluster DNS).
    """
    found = trace(view(first), packet, local)
    passes = found.outcome is Outcome.PASS and packet.destination not in local
    if not passes or owner in ("", first):
        return ((first, found),)
    return ((first, found), (owner, trace(view(owner), structs.replace(packet, interface=""), local)))
