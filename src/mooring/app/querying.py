"""What becomes of a name that a pod asks for? Each name of its search path, who answers it, and what the real server says.

The chain is the one that nodes run (dns/chain_order.py), on a Zone read from the API. What only another server knows is not
asked for: then the answer is open, and the note names whom the cluster's DNS would ask.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from random import Random

import dns.rdata
import dns.rdataclass
import dns.rdatatype
from msgspec import Struct

from mooring.app.connection import Connection
from mooring.app.objects import Objects, decoded, listed, read
from mooring.app.places import Destination, Origin, PlaceError, origin, pod_named
from mooring.app.resolver import ResolverOptions, chain_of, zone_options
from mooring.app.tracing import DNS_SERVICE
from mooring.control.dns import pod_addresses
from mooring.dns import search
from mooring.dns.build import build_zone
from mooring.dns.chain import Beside, Context, Exchange, Note, Sent, Steps
from mooring.dns.chain_order import Chain
from mooring.dns.names import BadName, Name, from_text
from mooring.dns.records import Query, Question, Rcode, Reply
from mooring.dns.settings import DnsSettings
from mooring.dns.wording import kind_text, rcode_text
from mooring.dns.zone import Zone
from mooring.endpoints.addresses import canonical
from mooring.model.ingress import ingress
from mooring.model.kinds import INGRESS, NAMESPACE
from mooring.model.pod import pod
from mooring.pods import resolv_conf
from mooring.pods.resolv_conf import NodeDns, resolver
from mooring.services.view import Protocol

NODATA = "NODATA"
"""NOERROR without a record of the type: the name exists."""
OPEN = ""
THE_NODES_OWN = "a name server of the node's own"
"""Whom nodes ask where the settings name nobody; which that is, only the node knows."""
_EFFECTS_LIMIT = 64
"""Steps that are looked at, so that a chain which never ends does not keep us; the first other server ends them anyway."""


class Said(Struct, frozen=True):
    """An answer as people read it. `outcome`: NOERROR, NODATA, NXDOMAIN...; '' when it is open. `records`: 'TYPE DATA'."""

    outcome: str
    records: tuple[str, ...] = ()
    upstream: str = ""
    """The server that the cluster's DNS would ask, and by whose word alone the answer is known."""
    found: bool = False
    """Whether a record of the asked type is among them: an alias that leads nowhere is no answer."""


class Live(Struct, frozen=True):
    """What a server answered. `said` None: `error` says why there is no answer."""

    server: str
    said: Said | None
    seconds: float = 0.0
    error: str = ""


class Asked(Struct, frozen=True):
    """One name of the search path. `because`: which rule put it there. `server` '' when nobody would be asked."""

    name: str
    because: str
    server: str
    foreseen: Said
    notes: tuple[Note, ...] = ()
    live: Live | None = None
    difference: str = ""

    @property
    def settled(self) -> bool:
        """Whether a resolver stops here."""
        return self.said.found

    @property
    def said(self) -> Said:
        """The last word: the server's own, else what was foreseen."""
        return self.live.said if self.live and self.live.said else self.foreseen


class Asker(Struct, frozen=True):
    """Who asks. `ours`: the addresses at which the cluster's DNS answers; another name server of the pod is a stranger."""

    origin: Origin
    config: search.ResolverConfig
    ours: frozenset[str]

    @property
    def title(self) -> str:
        return self.origin.title

    @property
    def address(self) -> str:
        return self.origin.address


Ask = Callable[[str, str, int], Live]
"""(server, name, type) -> what it really answers, asked from where the asker is."""


def ask(chain: Chain, asker: Asker, name: str, kind: int, live: Ask | None = None) -> Iterator[Asked]:
    """Every name up to the one that has an answer, as the resolver library asks for them (dns/search.py)."""
    server = next(iter(asker.config.nameservers), "")
    for candidate in search.candidates(name, asker.config):
        asked = _foreseen(chain, asker, candidate, kind, server)
        if live is not None and server:
            asked = compared(asked, live(server, candidate.name, kind))
        yield asked
        if asked.settled:
            return


def _foreseen(chain: Chain, asker: Asker, candidate: search.Candidate, kind: int, server: str) -> Asked:
    try:
        wire = from_text(candidate.name)
    except BadName as error:
        note = Note("resolver", "not asked", f"no name can be like that: {error}")
        return Asked(candidate.name, candidate.because, "", Said(Rcode.NXDOMAIN.name), (note,))
    if not server:
        return Asked(
            candidate.name, candidate.because, "", Said(OPEN), (Note("resolver", "not asked", "there is no name server"),)
        )
    if server not in asker.ours:
        note = Note("resolver", f"asks {server}", "the pod's resolv.conf names it, and it is not this cluster's DNS")
        return Asked(candidate.name, candidate.because, server, Said(OPEN, upstream=server), (note,))
    said, notes = _walked(chain, asker, wire, kind)
    return Asked(candidate.name, candidate.because, server, said, notes)


def _walked(chain: Chain, asker: Asker, name: Name, kind: int) -> tuple[Said, tuple[Note, ...]]:
    """The chain, with nothing carried out: an exchange with another server is noted and remains without a reply."""
    context = Context(0.0, [], chain.whole)
    steps = chain.head(Query(0, Question(name, kind), client=asker.address), context)
    upstreams: list[str] = []
    reply = _finished(steps, upstreams)
    notes = tuple(context.notes)
    if upstreams:
        return Said(OPEN, upstream=" or ".join(dict.fromkeys(upstreams))), notes
    assert reply is not None
    return said_of(reply.rcode, [(each.type, each.data) for each in reply.answer], kind), notes


def _finished(steps: Steps, upstreams: list[str]) -> Reply | None:
    sent: Sent = None
    for _ in range(_EFFECTS_LIMIT):
        try:
            effect = steps.send(sent)
        except StopIteration as done:
            reply: Reply = done.value
            return reply
        sent = None
        if isinstance(effect, Exchange):
            upstreams.append(effect.upstream.address if effect.upstream.address == THE_NODES_OWN else str(effect.upstream))
            return None
        if isinstance(effect, Beside):
            sent = _finished(effect.steps, upstreams)
            if upstreams:
                return None
    return None


def said_of(rcode: int, records: Sequence[tuple[int, bytes]], kind: int) -> Said:
    """An rcode and the answer's records as (type, data), to a question for `kind`."""
    texts = tuple(itertools.starmap(record_text, records))
    outcome = NODATA if rcode == Rcode.NOERROR and not texts else rcode_text(rcode)
    return Said(outcome, texts, found=rcode == Rcode.NOERROR and any(each == kind for each, _ in records))


def record_text(kind: int, data: bytes) -> str:
    """'A 10.96.0.10', 'CNAME db.example.org.': without the TTL, which runs."""
    rdata = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.RdataType.make(kind), data, 0, len(data))
    return f"{kind_text(kind)} {rdata}"


def compared(asked: Asked, live: Live) -> Asked:
    """With what was really answered, and in words what is otherwise than foreseen."""
    return Asked(asked.name, asked.because, asked.server, asked.foreseen, asked.notes, live, _difference(asked.foreseen, live))


def _difference(foreseen: Said, live: Live) -> str:
    if live.said is None:
        return f"{live.server} did not answer: {live.error}"
    if foreseen.outcome == OPEN:
        return ""
    if foreseen.outcome != live.said.outcome:
        return f"{foreseen.outcome} was foreseen, {live.server} answers {live.said.outcome}"
    missing, more = (_only(one, other) for one, other in ((foreseen, live.said), (live.said, foreseen)))
    if missing or more:
        words = [f"without {', '.join(missing)}"] * bool(missing) + [f"with {', '.join(more)}"] * bool(more)
        return f"{live.server} answers {' and '.join(words)}"
    return ""


def _only(one: Said, other: Said) -> Sequence[str]:
    lower = {each.lower() for each in other.records}
    return [each for each in one.records if each.lower() not in lower]


class Naming(Struct, frozen=True):
    """With which options the nodes answer names. `ranges`: of Services and pods; () for those that the API knows of."""

    domain: str = "cluster.local"
    settings: DnsSettings = DnsSettings()
    ranges: tuple[str, ...] = ()
    resolv_conf: str | None = None
    """The text of the nodes' own; None: not known here."""


class Names(Struct, frozen=True):
    """What the API and the settings say about names now. `dns`: what nodes tell their pods."""

    objects: Objects
    zone: Zone
    chain: Chain
    dns: NodeDns


def read_names(connection: Connection, naming: Naming) -> Names:
    """Raises Refused, Unreachable, DnsSettingsError."""
    objects = read(connection)
    cluster_dns = tuple(
        canonical(address)
        for each in objects.services
        if (each.metadata.namespace, each.metadata.name) == DNS_SERVICE
        for address in each.spec.cluster_ips or ()
    )
    ranges = naming.ranges or (*objects.service_cidrs, *(each for node in objects.nodes for each in node.spec.pod_cidrs or ()))
    options = zone_options(naming.settings, naming.domain, ranges, cluster_dns)
    zone = build_zone(
        options,
        objects.services,
        objects.slices,
        [each["metadata"]["name"] for each in listed(connection, NAMESPACE)],
        decoded(listed(connection, INGRESS), ingress) if options.external else (),
        [(each.namespace, each.addresses) for each in map(pod_addresses, objects.pods)],
    )
    chain = chain_of(resolving(naming, cluster_dns, (*ranges, *_hosts(objects))), lambda: zone, Random(0))
    return Names(objects, zone, chain, NodeDns(cluster_dns, naming.domain, naming.resolv_conf or ""))


def resolving(naming: Naming, cluster_dns: Sequence[str], ranges: Sequence[str]) -> ResolverOptions:
    """As the nodes do it, at `cluster_dns` and for clients in `ranges`."""
    own = resolv_conf.read(naming.resolv_conf or "")
    servers = (THE_NODES_OWN,) if naming.resolv_conf is None else own.nameservers
    return ResolverOptions(naming.settings, cluster_dns, ranges, servers, own.searches)


def _hosts(objects: Objects) -> Iterator[str]:
    """The nodes' own addresses, as ranges."""
    for node in objects.nodes:
        for address in node.internal_ips:
            yield f"{address}/{128 if ':' in address else 32}"


def asker(names: Names, source: str, namespace: str) -> Asker:
    """A pod, whose resolv.conf is foreseen; or a node, which asks the cluster's DNS for the very name. Raises PlaceError."""
    objects, cluster_dns = names.objects, names.dns.cluster
    if source.partition("/")[0] == "outside":
        raise PlaceError(f"--from {source}: names are asked for by a pod or a node", usage=True)
    to = Destination(next(iter(cluster_dns), "0.0.0.0"), 53, Protocol.UDP)
    start = origin(source, objects, namespace, to, lambda _: ("", ""))
    document = None if source.startswith("no") and "/" in source else pod_named(objects, namespace, source.rpartition("/")[2])
    if document is None and start.kind != "node":
        raise PlaceError(f"--from {source}: names are asked for by a pod or a node", usage=True)
    config = search.ResolverConfig(cluster_dns)
    if document is not None:
        config = search.config(resolver(pod(document), names.dns).text)
    return Asker(start, config, frozenset(cluster_dns))
