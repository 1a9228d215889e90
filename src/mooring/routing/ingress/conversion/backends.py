"""Which Service does a cluster of the RouteTable stand for, and what must be said about it in Gateway API's words?"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from mooring.model.service import Service, ServicePortSpec
from mooring.routing.ingress.conversion.assumed import ASSUMED
from mooring.routing.ingress.conversion.remark import Document, Mark, Remark
from mooring.routing.ingress.objects import Name, Objects, SetOf
from mooring.routing.table import Balance, Cluster, Endpoints, Fixed, RouteTable, Speaks, UpstreamTls

APP_PROTOCOLS = {Speaks.HTTP2: "kubernetes.io/h2c", Speaks.GRPC: "kubernetes.io/h2c"}
GROUP = "gateway.networking.k8s.io"
PROXY_SSL = ("backend-protocol", "proxy-ssl-secret", "proxy-ssl-verify", "proxy-ssl-name", "proxy-ssl-server-name")


class Backend(Struct, frozen=True):
    """A Service's port. `name` is the Service's name, `port` its number."""

    namespace: str
    name: str
    port: int
    port_name: str = ""

    def reference(self, namespace: str) -> dict[str, object]:
        """As backendRefs of a route in `namespace` write it."""
        away = {} if self.namespace == namespace else {"namespace": self.namespace}
        return {"name": self.name, **away, "port": self.port}


class Backends:
    """Looks clusters up. Pure: it only keeps what it is given."""

    def __init__(self, table: RouteTable, sets: Mapping[str, SetOf], objects: Objects) -> None:
        self._table, self._sets, self._objects = table, sets, objects
        self._by_source = {f"service {namespace}/{name}": (namespace, name) for namespace, name in objects.services}
        self._by_address = {
            address: key
            for key, service in objects.services.items()
            for address in (service.spec.cluster_ip, service.spec.external_name.rstrip("."))
            if address and address != "None"
        }

    def of(self, cluster: str) -> Backend | None:
        """None: no Service can be named for it."""
        found = self._table.clusters.get(cluster)
        if found is None:
            return None
        if isinstance(found.where, Endpoints):
            wanted = self._sets.get(found.where.set)
            return self._port(wanted) if wanted else None
        return self._fixed(found.where, found.source)

    def _port(self, wanted: SetOf) -> Backend | None:
        service = self._objects.services.get((wanted.namespace, wanted.service))
        port = next((each for each in _ports(service) if each.name == wanted.port), None)
        return _backend((wanted.namespace, wanted.service), port) if port and port.port else None

    def _fixed(self, where: Fixed, source: str) -> Backend | None:
        """Several Services may have the same external name: the one that the cluster was made of, if it was of any."""
        key = self._by_source.get(source) or self._by_address.get(where.host.rstrip("."))
        if key is None:
            return None
        port = next((each for each in _ports(self._objects.services[key]) if each.port == where.port), None)
        return _backend(key, port) if port else Backend(*key, where.port)

    def remarks(self, cluster: str, source: str) -> Iterator[Remark]:
        """What of a cluster Gateway API leaves to others, but for its TLS."""
        found, backend = self._table.clusters.get(cluster), self.of(cluster)
        if found is None or backend is None:
            return
        service = self._objects.services.get((backend.namespace, backend.name))
        yield from _speech(found, backend, service, source)
        if service and service.spec.type == "ExternalName":
            yield Remark(
                source,
                Mark.CANNOT,
                f"Service {backend.name} is of type ExternalName, which implementations are told not to follow",
                "name endpoints of it in an EndpointSlice",
            )
        if isinstance(found.where, Fixed) and service and service.spec.type != "ExternalName":
            yield Remark(
                source,
                Mark.CHANGES,
                "whether the Service's cluster IP or its endpoints are sent to is up to the implementation",
                annotations=("service-upstream",),
            )
        if found.balance != Balance.ROUND_ROBIN:
            yield Remark(
                source,
                Mark.CHANGES,
                f"balancing by {found.balance.value} is up to the implementation",
                annotations=("load-balance", "upstream-hash-by"),
            )

    def tls(self, cluster: str) -> UpstreamTls | None:
        found = self._table.clusters.get(cluster)
        return found.tls if found else None

    def fallback(self, cluster: str) -> str:
        """Who has its requests while it has no ready endpoint, '' for nobody."""
        found = self._table.clusters.get(cluster)
        wanted = self._sets.get(found.where.set) if found and isinstance(found.where, Endpoints) else None
        other = wanted.fallback if wanted else None
        return other.host if isinstance(other, Fixed) else other.service if other else ""


def _speech(found: Cluster, backend: Backend, service: Service | None, source: str) -> Iterator[Remark]:
    if found.speaks == Speaks.FASTCGI:
        yield Remark(
            source,
            Mark.CANNOT,
            "backends that speak FastCGI cannot be named",
            "put a web server beside them",
            ("backend-protocol",),
        )
    wanted = APP_PROTOCOLS.get(found.speaks)
    port = next((each for each in _ports(service) if each.port == backend.port), None)
    if wanted and found.tls is None and (port is None or port.app_protocol not in (wanted, "grpc", "h2c")):
        yield Remark(
            source,
            Mark.CHANGES,
            f"that the backend speaks {found.speaks.value} is said by its Service",
            f"set appProtocol: {wanted} on port {backend.port} of Service {backend.name}",
            ("backend-protocol",),
        )


def tls_policy(backend: Backend, tls: UpstreamTls, source: str) -> tuple[list[Document], list[Remark]]:
    """The BackendTLSPolicy for a Service's port that is spoken to in TLS, and the ConfigMap of its authorities."""
    name = f"{backend.name}-{backend.port}-tls"
    metadata = {"name": name, "namespace": backend.namespace}
    documents: list[Document] = []
    trust: dict[str, object] = {"wellKnownCACertificates": "System"}
    if tls.authorities:
        trust = {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": name}]}
        authorities = {"ca.crt": tls.authorities.decode("utf-8", "replace")}
        documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": authorities})
    target = {"group": "", "kind": "Service", "name": backend.name}
    if backend.port_name:
        target["sectionName"] = backend.port_name
    validation = {**trust, "hostname": tls.name or f"{backend.name}.{backend.namespace}.svc"}
    spec = {"targetRefs": [target], "validation": validation}
    documents.append({"apiVersion": f"{GROUP}/v1", "kind": "BackendTLSPolicy", "metadata": metadata, "spec": spec})
    return documents, [*_tls_remarks(backend, tls, name, source)]


def _tls_remarks(backend: Backend, tls: UpstreamTls, policy: str, source: str) -> Iterator[Remark]:
    if not tls.authorities:
        words = f"the certificate of Service {backend.name} is always checked, and nothing says by which authority"
        todo = f"name its authority in caCertificateRefs of BackendTLSPolicy {policy}"
        yield Remark(source, Mark.CANNOT, words, todo, PROXY_SSL)
    if tls.certificate:
        words = "a client certificate is shown to all backends of a Gateway or to none"
        todo = "set spec.tls.backend.clientCertificateRef of the Gateway, or have the backends trust the Gateway otherwise"
        yield Remark(source, Mark.CANNOT, words, todo, ("proxy-ssl-secret",))


def grant(source_kind: str, source_namespace: str, kind: str, key: Name) -> Document:
    """A ReferenceGrant by which objects of one kind and namespace may name one object of another."""
    namespace, name = key
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ReferenceGrant",
        "metadata": {"name": f"{source_namespace}-to-{name}"[:253].rstrip("-."), "namespace": namespace},
        "spec": {
            "from": [{"group": GROUP, "kind": source_kind, "namespace": source_namespace}],
            "to": [{"group": "", "kind": kind, "name": name}],
        },
    }


def _backend(key: Name, port: ServicePortSpec) -> Backend:
    return Backend(*key, port.port, "" if port.name.startswith(ASSUMED) else port.name)


def _ports(service: Service | None) -> tuple[ServicePortSpec, ...]:
    return (service.spec.ports or ()) if service else ()
