"""Which UDP flows does a change make stale? Those to a frontend whose answers come from no endpoint of it.

conntrack remembers a UDP flow's endpoint as long as packets come, and a client with a fixed source port never lets it go; so
when an endpoint goes, or the first one comes, or a frontend appears or goes, such flows must be forgotten. Their next packet is
decided anew. Policy and topology are not considered, as in kube-proxy. TCP and SCTP end by themselves and are left alone.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from mooring.services.view import Protocol, ServicePort

Place = tuple[str, int]
"""(address in canonical text form, port)"""

Suspects = Mapping[Place, frozenset[Place]]
"""frontend -> the endpoints that may serve it; a flow to the frontend served by another is stale."""


class Flow(Struct, frozen=True, gc=False):
    """A UDP flow: who sent it, to which address it was sent, and who answers (the same when it was not rewritten)."""

    source: Place
    destination: Place
    server: Place
    zone: int = 0


def suspects(before: Sequence[ServicePort], after: Sequence[ServicePort]) -> Suspects:
    """The frontends to which a change of one Service may have left stale flows; empty when it cannot have."""
    had, has = _serving(before), _serving(after)
    found: dict[Place, frozenset[Place]] = {}
    for frontend in had.keys() | has.keys():
        old, new = had.get(frontend), has.get(frontend, frozenset())
        if old is None or not old or not old <= new or frontend not in has:
            found[frontend] = new
    return found


def all_suspects(services: Iterable[Sequence[ServicePort]]) -> Suspects:
    """Every UDP frontend: for an agent that does not know what happened before it."""
    return {frontend: serving for ports in services for frontend, serving in _serving(ports).items()}


def stale(flows: Iterable[Flow], among: Suspects) -> list[Flow]:
    """The flows to forget."""
    return [flow for flow in flows if (alive := among.get(flow.destination)) is not None and flow.server not in alive]


def _serving(ports: Sequence[ServicePort]) -> dict[Place, frozenset[Place]]:
    found: dict[Place, frozenset[Place]] = {}
    for port in ports:
        if port.name.protocol is Protocol.UDP:
            serving = frozenset((each.address, each.port) for each in port.cluster + port.local)
            for frontend in port.frontends:
                found[(frontend.address, frontend.port)] = serving
    return found
