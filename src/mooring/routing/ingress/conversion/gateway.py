"""Which Gateway API objects (v1, standard channel) say what a RouteTable made of Ingresses says, and what can they not?

What they cannot say is a remark, never silence; a rule whose guard they cannot say is printed without backends, and a host
whose client certificates they cannot ask for without its listener: closed, not open.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct, structs

from mooring.routing.ingress.conversion import front, rules
from mooring.routing.ingress.conversion.backends import GROUP, Backends, grant
from mooring.routing.ingress.conversion.front import Front, GatewayName, slug
from mooring.routing.ingress.conversion.remark import Document, Mark, Remark
from mooring.routing.ingress.conversion.sources import namespace_of, owner_of
from mooring.routing.ingress.objects import Objects, Translation
from mooring.routing.table import Forward, Passthrough, Route, RouteTable, VirtualHost

MOST_HOSTNAMES = 16
DEFAULTS = Remark(
    "",
    Mark.CHANGES,
    "limits that hold unasked (bodies of 1 MiB, pauses of 60 s, what is tried again) are up to the implementation",
    "see what it offers",
)

Spec = dict[str, Any]


class Converted(Struct, frozen=True):
    documents: tuple[Document, ...]
    remarks: tuple[Remark, ...]


def convert(translation: Translation, objects: Objects, name: GatewayName) -> Converted:
    """`objects` as they were translated. Documents: the Gateway, its ListenerSets, routes, policies, ReferenceGrants."""
    door = front.front(translation, objects, name)
    backends = Backends(translation.table, translation.sets, objects)
    routes = Routes(translation.table, backends, door)
    for virtual_host, hosts, listeners, ending in _places(translation.table, door):
        routes.add(virtual_host, hosts, listeners, ending)
    for host, passthrough in door.passed.items():
        routes.pass_through(host, passthrough)
    documents = (*door.documents, *routes.documents.values(), *routes.grants())
    return Converted(documents, (*door.remarks, *routes.remarks, DEFAULTS))


def _places(table: RouteTable, door: Front) -> Iterator[tuple[VirtualHost, list[str], list[str], str]]:
    """Each virtual host, those of its hosts that it serves at the same listeners, these, and the end of its routes' names."""
    plain = {host: each for each in _plain(table) for host in each.hosts}
    secure = {host: each for host, each in _secure(table).items() if host not in door.passed}
    found: dict[tuple[int, tuple[str, ...], str], tuple[VirtualHost, list[str]]] = {}

    def place(virtual_host: VirtualHost, host: str, listeners: Sequence[str], ending: str) -> None:
        found.setdefault((id(virtual_host), tuple(listeners), ending), (virtual_host, []))[1].append(host)

    for host in dict.fromkeys([*plain, *secure]):
        at, listener = plain.get(host), door.listener_of(host)
        over = secure.get(host) if listener else None
        if at and over and listener and (at is over or (at.routes, at.hsts) == (over.routes, over.hsts)):
            place(at, host, [front.HTTP, listener], "")
            continue
        if at:
            place(at, host, [front.HTTP], "-http" if over else "")
        if over and listener:
            place(over, host, [listener], "")
    for (_, listeners, ending), (virtual_host, hosts) in found.items():
        yield virtual_host, hosts, list(listeners), ending


def _plain(table: RouteTable) -> Iterator[VirtualHost]:
    for listener in table.listeners:
        if not listener.is_tls:
            for chain in listener.chains:
                yield from chain.virtual_hosts


def _secure(table: RouteTable) -> dict[str, VirtualHost]:
    """By host. In chains of other names a host may be answered 421, so its own chain's comes first."""
    found: dict[str, VirtualHost] = {}
    own: dict[str, VirtualHost] = {}
    for chain in (chain for listener in table.listeners if listener.is_tls for chain in listener.chains):
        names = {*chain.server_names}
        for virtual_host in chain.virtual_hosts:
            for host in virtual_host.hosts:
                found.setdefault(host, virtual_host)
                if host in names:
                    own[host] = virtual_host
                elif "*." + host.partition(".")[2] in names:
                    own.setdefault(host, virtual_host)
    return found | own


def _strict(route: Route, hsts: str) -> Route:
    """With Strict-Transport-Security as a header like any other, if it sets none itself."""
    name, changes = "strict-transport-security", route.filters.response_headers
    if not hsts or any(each == name for each, _ in changes.set):
        return route
    told = structs.replace(changes, set=(*changes.set, (name, hsts)))
    return structs.replace(route, filters=structs.replace(route.filters, response_headers=told))


class Routes:
    """Collects what the routes of all virtual hosts need."""

    def __init__(self, table: RouteTable, backends: Backends, door: Front) -> None:
        self._table, self._backends, self._door = table, backends, door
        self.documents: dict[tuple[str, str, str], Document] = {}
        self.remarks: list[Remark] = []
        self._granted: dict[tuple[str, str, str], Document] = {}

    def add(self, virtual_host: VirtualHost, hosts: list[str], listeners: list[str], ending: str) -> None:
        """The routes of one virtual host, an object for each namespace that they come from."""
        by_namespace: dict[str, list[Route]] = {}
        for route in virtual_host.routes:
            whose = namespace_of(route.source) or namespace_of(virtual_host.source)
            by_namespace.setdefault(whose, []).append(_strict(route, virtual_host.hsts))
        wild = [host for host in hosts if host.startswith("*.") and not virtual_host.many_labels]
        for host in wild:
            source = virtual_host.source or (virtual_host.routes[0].source if virtual_host.routes else "")
            words = f"{host} stands for one label in an Ingress, for any number of them here"
            self.remarks.append(Remark(source, Mark.CHANGES, words))
        for namespace, routes in by_namespace.items():
            made, remarks = rules.rules(routes, self._backends, namespace)
            self.remarks += remarks
            self._policies(made)
            for at in range(0, len(hosts), MOST_HOSTNAMES):
                self._routes(namespace, routes, made, hosts[at : at + MOST_HOSTNAMES], listeners, ending)

    def _routes(
        self, namespace: str, routes: list[Route], made: list[rules.Rule], hosts: list[str], listeners: list[str], ending: str
    ) -> None:
        named = {target.cluster for route in routes if isinstance(route.action, Forward) for target in route.action.to}
        is_grpc = rules.speaks_grpc(routes, [self._table.clusters.get(each) for each in named], made)
        kind = "GRPCRoute" if is_grpc else "HTTPRoute"
        first = f"{owner_of(routes[0].source)[1] or 'default'}-{slug(hosts[0])}{ending}"
        for part in rules.parts(made):
            listed: list[Spec] = []
            for rule in part:
                if is_grpc:
                    spec, remarks = rules.grpc(rule)
                    self.remarks += remarks
                    listed.append(spec)
                else:
                    listed.append({"matches": rule.matches, **rule.body})
            spec = {"parentRefs": [self._door.parent(each, namespace) for each in listeners]}
            if hosts != ["*"]:
                spec["hostnames"] = hosts
            self._keep(kind, namespace, first, {**spec, "rules": listed})
            self._grant(kind, namespace, listed)

    def _keep(self, kind: str, namespace: str, name: str, spec: Spec) -> None:
        name = name[:240].rstrip("-.")
        numbers = ("", *(f"-{number}" for number in range(2, 10_000)))
        free = next(name + each for each in numbers if (kind, namespace, name + each) not in self.documents)
        metadata = {"name": free, "namespace": namespace}
        document = {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, "spec": spec}
        self.documents[kind, namespace, free] = document

    def _policies(self, made: list[rules.Rule]) -> None:
        for rule in made:
            for document in rule.policies:
                metadata = document["metadata"]
                key = (document["kind"], metadata["namespace"], metadata["name"])
                if self.documents.setdefault(key, document) != document:
                    words = f"{metadata['name']} holds for a Service's port, and another rule wants it otherwise"
                    self.remarks.append(Remark(rule.source, Mark.CANNOT, words, "use one way of TLS to one Service"))

    def pass_through(self, host: str, passthrough: Passthrough) -> None:
        source, backend = passthrough.source, self._backends.of(passthrough.cluster)
        namespace, owner = owner_of(source)
        if backend is None:
            words = f"{passthrough.cluster} is no Service's port whose number is known here"
            self.remarks.append(Remark(source, Mark.CANNOT, words, "give the Service's manifest too", ("ssl-passthrough",)))
            return
        listed: list[Spec] = [{"backendRefs": [backend.reference(namespace)]}]
        listener = self._door.listener_of(host)
        assert listener
        spec = {"parentRefs": [self._door.parent(listener, namespace)], "hostnames": [host], "rules": listed}
        self._keep("TLSRoute", namespace, f"{owner}-{slug(host)}", spec)
        self._grant("TLSRoute", namespace, listed)

    def _grant(self, kind: str, namespace: str, listed: list[Spec]) -> None:
        for rule in listed:
            mirrored = [each["requestMirror"]["backendRef"] for each in rule.get("filters", ()) if "requestMirror" in each]
            for reference in [*rule.get("backendRefs", ()), *mirrored]:
                away = reference.get("namespace")
                if away:
                    made = grant(kind, namespace, "Service", (away, reference["name"]))
                    self._granted[kind, namespace, f"{away}/{reference['name']}"] = made

    def grants(self) -> Iterator[Document]:
        taken: dict[tuple[str, str], Document] = {}
        for document in self._granted.values():
            metadata = document["metadata"]
            key = (metadata["namespace"], metadata["name"])
            if key in taken:
                # The same Service for routes of another kind: one grant for both.
                known = taken[key]
                known["spec"]["from"].extend(each for each in document["spec"]["from"] if each not in known["spec"]["from"])
                continue
            taken[key] = document
        yield from taken.values()
