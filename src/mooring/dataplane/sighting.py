"""Did the kernel do with a packet what was foreseen? What was seen of a probe at each node, and every difference in words.

What counts is what the node's tables decided: forwarded, to whom, and as whom the sender is seen. That an endpoint itself
refuses or stays silent is told, but is no difference; nor is it that a node hides its pods from the outside, which is no
Service's doing.
"""

from collections.abc import Sequence
from enum import Enum

from msgspec import Struct

from mooring.dataplane.egress import Egress
from mooring.dataplane.trace import Choice, Outcome, Source, Trace
from mooring.services.view import Protocol

Place = tuple[str, int]
"""(address in canonical text form, port)"""


class Flow(Struct, frozen=True):
    """The probe's packets, as their sender sends them."""

    source: Place
    destination: Place
    protocol: Protocol


class Met(Enum):
    """What the probe met. The value completes 'the probe ...'."""

    ANSWERED = "was answered"
    REFUSED = "was refused"
    SILENCE = "got no answer"
    NO_ROUTE = "had no route"


class Tracked(Struct, frozen=True):
    """What connection tracking says of the flow: who answers it, and as whom that one sees the sender."""

    server: Place
    client: Place
    redirected: bool
    masqueraded: bool


class Line(Struct, frozen=True):
    """One thing that a chain did with the probe's first packet. `rule` says in words which rule, '' for a chain's end."""

    table: str
    chain: str
    verdict: str
    rule: str = ""


class Sighting(Struct, frozen=True):
    """What one node's kernel did. No lines and nothing tracked: the packet never came here.

    `untracked`: the tables kept it from connection tracking, since the node answers it itself.
    """

    node: str
    addresses: tuple[str, ...]
    """The node's own: as one of them a masqueraded sender is seen."""
    lines: tuple[Line, ...] = ()
    tracked: Tracked | None = None
    dropped: bool = False
    untracked: bool = False


class Seen(Struct, frozen=True):
    """What came of the probe, and what each node on its way did with it."""

    flow: Flow
    met: Met
    sightings: tuple[Sighting, ...]


def outcome(sighting: Sighting, met: Met) -> Outcome | None:
    """What became of the packet at this node; None when it never came here, or was lost."""
    if sighting.tracked:
        return Outcome.FORWARD if sighting.tracked.redirected else Outcome.PASS
    if sighting.dropped:
        return Outcome.REJECT if met is Met.REFUSED else Outcome.DROP
    return Outcome.PASS if sighting.untracked else None


KEPT = Egress()
"""Of nodes that hide no pod from anybody, or of which we do not know."""


def hidden_from_outside(hop: Trace, sighting: Sighting, egress: Egress = KEPT) -> bool:
    """Whether the node lent a pod its address because the packet left the cluster, and for no other reason."""
    tracked = sighting.tracked
    if tracked is None or not tracked.masqueraded or tracked.client[0] not in sighting.addresses:
        return False
    chosen = _chosen(hop, tracked.server)
    return not (chosen and chosen.masqueraded) and egress.hides(hop.packet.source, tracked.server[0])


def differences(foreseen: Sequence[Trace], seen: Seen, egress: Egress = KEPT) -> tuple[str, ...]:
    """Hop by hop, each in a sentence; empty when the kernel did what was foreseen."""
    return tuple(
        f"{sighting.node}: {told}"
        for hop, sighting in zip(foreseen, seen.sightings, strict=True)
        for told in _differences(hop, sighting, outcome(sighting, seen.met), egress)
    )


def _differences(hop: Trace, sighting: Sighting, became: Outcome | None, egress: Egress) -> list[str]:
    if became is None:
        lost = "went through the tables and was lost after them" if sighting.lines else "was never seen here"
        return [f"foreseen {hop.outcome.value}, but the packet {lost}"]
    if became is not hop.outcome:
        return [f"foreseen {hop.outcome.value}, but the kernel did {became.value}"]
    if hop.outcome is not Outcome.FORWARD or sighting.tracked is None:
        return []
    server = sighting.tracked.server
    chosen = _chosen(hop, server)
    if chosen is None:
        choices = ", ".join(place((each.endpoint.address, each.endpoint.port)) for each in hop.choices)
        return [f"the kernel chose {place(server)}, which is not foreseen: {choices}"]
    if hidden_from_outside(hop, sighting, egress):
        return []
    return _source_differences(hop, sighting, sighting.tracked, chosen.masqueraded)


def _chosen(hop: Trace, server: Place) -> Choice | None:
    return next((each for each in hop.choices if (each.endpoint.address, each.endpoint.port) == server), None)


def _source_differences(hop: Trace, sighting: Sighting, tracked: Tracked, masqueraded: bool) -> list[str]:
    seen = tracked.client[0]
    if not masqueraded:
        # The node's own packets may be masqueraded to the very address they have: then only the port tells.
        hidden = seen != hop.packet.source or tracked.masqueraded
        return [f"foreseen that the endpoint sees {hop.packet.source}, but it sees {seen}, masqueraded"] if hidden else []
    if seen in sighting.addresses and (tracked.masqueraded or hop.source is Source.NODE):
        return []
    return [f"foreseen that the endpoint sees an address of {sighting.node}, but it sees {seen}"]


def place(where: Place) -> str:
    address, port = where
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
