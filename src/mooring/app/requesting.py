"""What becomes of a request from some place of the cluster? Which proxies it meets, and what their RouteTable makes of it."""

import hashlib
import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct, structs

from mooring.app import objects as reading
from mooring.app.connection import Connection, Refused
from mooring.app.objects import listed
from mooring.app.places import Destination, Origin, PlaceError, origin, pod_of
from mooring.app.tracing import Hop, foresee
from mooring.app.tracing import Reached as Proxy
from mooring.control.ingress_class import NAMESPACE_NAME, proxies_name
from mooring.dataplane.trace import Outcome
from mooring.endpoints.addresses import canonical
from mooring.model.ingress import PROXIES, IngressClass
from mooring.model.kinds import CONFIG_MAP, INGRESS, INGRESS_CLASS, SECRET, Kind
from mooring.model.meta import Document
from mooring.model.service import Service
from mooring.routing.ingress.build import build
from mooring.routing.ingress.documents import objects
from mooring.routing.ingress.members import members
from mooring.routing.ingress.objects import Objects, Translation
from mooring.routing.nginx.lacks import lacks as nginx_lacks
from mooring.routing.simulate import CLOSED, Request, Seen, Share, Step, simulate
from mooring.routing.simulation.matching import plain_host, rank, virtual_host
from mooring.routing.table import Certificate, Endpoints
from mooring.routing.xds.lacks import lacks as envoy_lacks
from mooring.services.view import Protocol

IS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
OWN_CERTIFICATE = Certificate(b"", b"", "the proxies themselves")
"""Stands in for the one that the proxies have made, which is known to them alone."""
LACKS = {"envoy": envoy_lacks, "nginx": nginx_lacks}


Outside = Callable[[str], tuple[str, str]]
"""(address) -> the external client's address of that family, and the node's to which it sends what is for that."""


class Cluster(Struct, frozen=True):
    """What the API says now. `unread`: kinds that it does not show us."""

    objects: reading.Objects
    routing: Objects
    unread: tuple[str, ...] = ()


class Front(Struct, frozen=True):
    """The proxies of one IngressClass. `addresses`: their Service's, () while there are none."""

    class_name: str
    proxy: str
    translation: Translation
    addresses: tuple[str, ...]
    is_default: bool

    @property
    def service(self) -> str:
        return f"{NAMESPACE_NAME}/{proxies_name(self.class_name)}"


class Endpoint(Struct, frozen=True):
    """Whom a proxy may hand the request to, as people know it. `address` '' for nobody: that part is answered 503."""

    cluster: str
    probability: float
    address: str = ""
    port: int = 0
    pod: str = ""
    node: str = ""


class Live(Struct, frozen=True):
    """What a proxy did. `route` and `upstream` are from its access log; `pod` '' when none has the request in its log."""

    status: int
    seconds: float
    location: str = ""
    pod: str = ""
    route: str = ""
    upstream: str = ""
    error: str = ""


class Told(Struct, frozen=True):
    """The whole answer. `hops` and `proxies`: the packet's way to the proxies; `steps`: what is decided of the request."""

    origin: Origin
    method: str
    url: str
    class_name: str
    proxy: str
    address: str
    status: int
    steps: tuple[Step, ...]
    hops: tuple[Hop, ...] = ()
    proxies: tuple[Proxy, ...] = ()
    virtual_host: str = ""
    route: str = ""
    source: str = ""
    location: str = ""
    certificate: str = ""
    """SHA-256 of the one that is shown, where it is known."""
    headers: tuple[tuple[str, str], ...] = ()
    seen: Seen | None = None
    endpoints: tuple[Endpoint, ...] = ()
    provided: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    """What this proxy cannot do of the route."""
    notes: tuple[str, ...] = ()
    live: Live | None = None
    differences: tuple[str, ...] = ()

    @property
    def is_served(self) -> bool:
        return CLOSED != self.status < 400


def read(connection: Connection) -> Cluster:
    """Raises Refused, Unreachable. Secrets and ConfigMaps that may not be read count as absent."""
    unread: list[str] = []
    documents: list[Document] = []
    for kind in (INGRESS, INGRESS_CLASS, SECRET, CONFIG_MAP):
        documents += _items(connection, kind, unread)
    found = reading.read(connection)
    services = {(each.metadata.namespace, each.metadata.name): each for each in found.services}
    routing = structs.replace(objects(documents), services=services, default_certificate=OWN_CERTIFICATE)
    return Cluster(found, routing, tuple(unread))


def _items(connection: Connection, kind: Kind, unread: list[str]) -> list[Document]:
    """Lists leave out the kind of their items."""
    try:
        return [{**each, "kind": kind.kind} for each in listed(connection, kind)]
    except Refused as refusal:
        if refusal.code != 403 or kind not in (SECRET, CONFIG_MAP):
            raise
        unread.append(kind.kind)
        return []


def fronts(cluster: Cluster, now: datetime) -> list[Front]:
    """Of every class of ours, the default one first."""
    classes = (each for each in cluster.routing.classes.values() if each.spec.controller in PROXIES)
    found = [front(cluster, each, now) for each in classes]
    return sorted(found, key=lambda each: (not each.is_default, each.class_name))


def front(cluster: Cluster, ingress_class: IngressClass, now: datetime) -> Front:
    name = ingress_class.metadata.name
    service = cluster.routing.services.get((NAMESPACE_NAME, proxies_name(name)))
    return Front(
        name,
        PROXIES[ingress_class.spec.controller],
        build(cluster.routing, name, now),
        addresses(service),
        (ingress_class.metadata.annotations or {}).get(IS_DEFAULT) == "true",
    )


def addresses(service: Service | None) -> tuple[str, ...]:
    ingress = service.status.load_balancer.ingress if service else None
    return tuple(canonical(each.ip) for each in ingress or () if each.ip)


def chosen(found: Sequence[Front], host: str, class_name: str = "") -> tuple[Front, Step]:
    """Whose proxies a request for `host` is meant for, and why. Raises PlaceError."""
    if class_name:
        named = next((each for each in found if each.class_name == class_name), None)
        if named is None:
            known = ", ".join(each.class_name for each in found) or "none"
            raise PlaceError(f"no IngressClass {class_name!r} of ours; there are {known}", usage=True)
        return named, Step(f"class {class_name}", "it was asked for")
    if not found:
        raise PlaceError(f"there is no IngressClass whose controller is {' or '.join(PROXIES)}")
    at = next((each for each in found if plain_host(host).strip("[]") in each.addresses), None)
    if at is not None:
        return at, Step(f"class {at.class_name}", f"{plain_host(host)} is the address of service {at.service}")
    best = min(found, key=lambda each: _nearness(each, host))
    by = _owner(best, host)
    if by is None:
        return best, Step(f"class {best.class_name}", f"no class has an Ingress for {plain_host(host)}; this is the first")
    also = [each.class_name for each in found if each is not best and _nearness(each, host) == _nearness(best, host)]
    because = f"its Ingresses have the host {by}" + (f", as those of {', '.join(also)} have" if also else "")
    return best, Step(f"class {best.class_name}", because)


def _nearness(front: Front, host: str) -> tuple[bool, tuple[int, int]]:
    by = _owner(front, host)
    return by is None, rank(by or "*")


def _owner(front: Front, host: str) -> str | None:
    """The name by which some virtual host of the class has this one."""
    everywhere = [
        host
        for each in front.translation.table.listeners
        for chain in each.chains
        for host in chain.virtual_hosts
        if host.routes
    ]
    found = virtual_host(everywhere, plain_host(host))
    return found[1] if found else None


class Place(Struct, frozen=True):
    """Where a request starts, as a person says it. `own_links`: the pods' links are made, and named, by us."""

    source: str
    namespace: str
    outside: Outside
    own_links: bool = False


def foretell(cluster: Cluster, front: Front, why: Step, request: Request, place: Place) -> Told:
    """Follows the first packet to the proxies, and the request through their table. Raises PlaceError, BadOptions."""
    told = _arrived(cluster, front, why, request, place)
    if not told.proxies:
        return told
    seen_as = sorted({each.sees for each in told.proxies})
    table = front.translation.table
    walked = simulate(
        table, structs.replace(request, client=seen_as[0]), members(front.translation.sets, cluster.objects.slices)
    )
    notes = [f"Other proxies see {', '.join(seen_as[1:])} as the client."] if len(seen_as) > 1 else []
    notes += [f"{each}s may not be read: what comes of them is not known." for each in cluster.unread]
    return structs.replace(
        told,
        status=walked.status,
        steps=(*told.steps, *walked.steps),
        virtual_host=walked.virtual_host,
        route=walked.route,
        source=walked.source,
        location=walked.location,
        certificate=fingerprint(table.certificates.get(walked.certificate, OWN_CERTIFICATE)) if walked.certificate else "",
        headers=walked.headers,
        seen=walked.seen,
        endpoints=tuple(_endpoints(cluster, front, walked.shares)),
        provided=walked.provided,
        lacks=tuple(says for where, says in LACKS[front.proxy](table) if walked.source and where == walked.source),
        notes=tuple(notes),
    )


def _arrived(cluster: Cluster, front: Front, why: Step, request: Request, place: Place) -> Told:
    """As far as the proxies; without any, the last step says why."""
    url = f"{request.scheme}://{request.host}{request.path}"
    told = Told(Origin("outside", "", "", place.source), request.method, url, front.class_name, front.proxy, "", CLOSED, (why,))
    if not front.addresses:
        there = (NAMESPACE_NAME, proxies_name(front.class_name)) in cluster.routing.services
        lacks = "has no address in status.loadBalancer" if there else "is not there: the first Ingress of the class makes it"
        nobody = Step("no connection: the proxies have no address", f"service {front.service} {lacks}")
        return structs.replace(told, steps=(why, nobody))
    address = front.addresses[0]
    title = f"service/{proxies_name(front.class_name)} in {NAMESPACE_NAME}"
    to = Destination(address, request.to_port, Protocol.TCP, cluster.objects.owner(address), title)
    start = origin(place.source, cluster.objects, place.namespace, to, place.outside)
    way = foresee(cluster.objects, start, to, own_links=place.own_links)
    steps = [why, _led(front, request)]
    if way.outcome is not Outcome.FORWARD:
        steps.append(Step(f"no connection to {address}, port {to.port}", f"the packet's way ends with {way.outcome.value}"))
    arrived = way.endpoints if way.outcome is Outcome.FORWARD else ()
    return structs.replace(told, origin=start, address=address, steps=tuple(steps), hops=way.hops, proxies=arrived)


def _led(front: Front, request: Request) -> Step:
    """How the client comes to the address: names are not looked up, an Ingress's status tells where they must lead."""
    host = plain_host(request.host)
    address = front.addresses[0]
    if host.strip("[]") == address:
        return Step(f"to {address}, port {request.to_port}", f"it is the address of service {front.service}")
    return Step(
        f"{host} must lead to {address}, port {request.to_port}",
        f"the address of service {front.service}, which the Ingresses of the class have as their status",
    )


def fingerprint(certificate: Certificate) -> str:
    """SHA-256 of the first certificate of the chain, '' where it cannot be read."""
    try:
        first = certificate.chain.decode("ascii").partition("-----END CERTIFICATE-----")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1] + "\n")).hexdigest()
    except (ValueError, UnicodeDecodeError):
        return ""


def _endpoints(cluster: Cluster, front: Front, shares: Sequence[Share]) -> Iterator[Endpoint]:
    for each in shares:
        if each.member is None:
            yield Endpoint(each.cluster, each.probability)
            continue
        where = front.translation.table.clusters[each.cluster].where
        found = front.translation.sets.get(where.set) if isinstance(where, Endpoints) else None
        home = found.namespace if found else ""
        pod = f"{home}/{each.member.name}" if each.member.name and home else pod_of(cluster.objects, each.member.address)
        node = _node(cluster, pod)
        yield Endpoint(each.cluster, each.probability, each.member.address, each.member.port, pod, node)


def _node(cluster: Cluster, pod: str) -> str:
    name = tuple(pod.split("/"))
    for each in cluster.objects.pods:
        if (each["metadata"]["namespace"], each["metadata"]["name"]) == name:
            return str(each["spec"].get("nodeName", ""))
    return ""
