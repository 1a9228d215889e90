"""Which UDP flows does a change make stale? Those to a frontend whose answers come from no endpoint that serves it.

conntrack remembers a UDP flow's endpoint as long as packets come, and a client with a fixed source port never lets it go; so
when an endpoint goes, or the first one comes, or a frontend appears or goes, such flows must be forgotten. Their next packet is
decided anew. An endpoint serves while it is ready or draining: traffic policies and topology decide where a new flow goes and
never end one that is there, as in kube-proxy; and one that comes back at the same address and port takes its flows up again.
TCP and SCTP end by themselves and are left alone.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec import Struct

from mooring.dataplane.ruleset import FRONTENDS, PROTOCOL_NUMBERS, SET_SPECS, Elements, unpack
from mooring.services.view import Protocol, ServiceName, ServicePort

Place = tuple[str, int]
"""(address in canonical text form, port)"""

NOBODY: frozenset[Place] = frozenset()


class Flow(Struct, frozen=True, gc=False):
    """A UDP flow: who sent it, to which address it was sent, and who answers (the same when it was not rewritten)."""

    source: Place
    destination: Place
    server: Place
    zone: int = 0


class Serving:
    """Who serves each UDP frontend: what must be remembered between two changes. Of several claims the first name's counts."""

    def __init__(self) -> None:
        self._claims: dict[Place, dict[ServiceName, frozenset[Place]]] = {}
        self._frontends: dict[ServiceName, frozenset[Place]] = {}

    def change(self, name: ServiceName, ports: Sequence[ServicePort]) -> frozenset[Place]:
        """A Service is now `ports`, () when it is gone: the frontends to which this may have left stale flows."""
        wanted = _frontends(ports)
        places = self._frontends.get(name, NOBODY) | wanted.keys()
        before = {place: self._served(place) for place in places}
        for place in places:
            claims = self._claims.setdefault(place, {})
            claims.pop(name, None)
            if place in wanted:
                claims[name] = wanted[place]
            if not claims:
                del self._claims[place]
        if wanted:
            self._frontends[name] = frozenset(wanted)
        else:
            self._frontends.pop(name, None)
        return frozenset(place for place in places if _may_be_stale(before[place], self._served(place)))

    def frontends(self) -> frozenset[Place]:
        """All of them: an agent that does not know what happened before it suspects each."""
        return frozenset(self._claims)

    def stale(self, flows: Iterable[Flow], among: Collection[Place]) -> list[Flow]:
        """The flows to forget, of those to some frontends. Who serves now counts, not who did when a frontend was suspected."""
        return [
            flow
            for flow in flows
            if flow.destination in among and flow.server not in (self._served(flow.destination) or NOBODY)
        ]

    def _served(self, place: Place) -> frozenset[Place] | None:
        claims = self._claims.get(place)
        return claims[min(claims)] if claims else None


def frontends_in(elements: Elements) -> Iterator[Place]:
    """The UDP frontends that tables hold."""
    for (family, name), items in elements.items():
        if name == FRONTENDS:
            for key in items:
                address, protocol, port = unpack(family, SET_SPECS[FRONTENDS].key, key)
                if protocol == PROTOCOL_NUMBERS[Protocol.UDP]:
                    yield str(address), int(port)


def _may_be_stale(before: frozenset[Place] | None, after: frozenset[Place] | None) -> bool:
    """Before there was an endpoint, flows went elsewhere or nowhere; afterwards those of the endpoints that left are wrong."""
    return not before or after is None or not before <= after


def _frontends(ports: Sequence[ServicePort]) -> dict[Place, frozenset[Place]]:
    found: dict[Place, frozenset[Place]] = {}
    for port in ports:
        if port.name.protocol is Protocol.UDP:
            serving = frozenset((each.address, each.port) for each in (*port.cluster, *port.local, *port.retained))
            for frontend in port.frontends:
                found[(frontend.address, frontend.port)] = serving
    return found
