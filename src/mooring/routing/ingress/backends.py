"""Where does an Ingress's backend lead? To one port of a Service, which becomes a cluster; or nowhere, and why.

https://kubernetes.io/docs/concepts/services-networking/ingress/#the-ingress-resource
"""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from mooring.model.ingress import IngressBackend
from mooring.model.service import Service, ServicePortSpec
from mooring.routing.ingress.inward import is_inward, is_odd_address
from mooring.routing.ingress.objects import Objects, SetOf
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import Balance, Cluster, Endpoints, Fixed, Speaks, UpstreamTls

_SPEAKS: dict[str, tuple[Speaks, bool]] = {
    "kubernetes.io/h2c": (Speaks.HTTP2, False),
    "kubernetes.io/ws": (Speaks.HTTP1, False),
    "kubernetes.io/wss": (Speaks.HTTP1, True),
    "h2c": (Speaks.HTTP2, False),
    "grpc": (Speaks.GRPC, False),
    "grpcs": (Speaks.GRPC, True),
    "http": (Speaks.HTTP1, False),
    "https": (Speaks.HTTP1, True),
    "ws": (Speaks.HTTP1, False),
    "wss": (Speaks.HTTP1, True),
}
"""appProtocol: (what is spoken, whether in TLS). KEP-3726's names and the IANA ones that people write; others are HTTP/1.1."""


class Target(Struct, frozen=True, gc=False, cache_hash=True):
    """One port of a Service. `external`: where an ExternalName leads, '' for other types."""

    namespace: str
    service: str
    port: int
    port_name: str = ""
    app_protocol: str = ""
    external: str = ""
    external_port: int = 0
    cluster_ip: str = ""

    @property
    def name(self) -> str:
        return f"{self.namespace}/{self.service}:{self.port}"

    def before(self, others: Sequence["Target"]) -> SetOf:
        """Its endpoints; without any those of the first of the others, and so on."""
        rest = [each for each in others if each != self]
        fallback: SetOf | Fixed | None = None
        if rest:
            first = rest[0]
            fallback = Fixed(first.external, first.external_port) if first.external else first.before(rest[1:])
        return SetOf(self.namespace, self.service, self.port_name, fallback)


class Lost(Struct, frozen=True, gc=False):
    """A backend that leads nowhere. `reason` and `message` as in a Finding."""

    reason: str
    message: str


def resolve(backend: IngressBackend, namespace: str, objects: Objects) -> Target | Lost:
    """The port that a backend of an Ingress in `namespace` means."""
    if backend.resource is not None:
        kind = backend.resource.kind
        return Lost("UnsupportedBackend", f"a backend of kind {kind} ({backend.resource.name}) is not supported, only Services")
    if backend.service is None:
        return Lost("UnsupportedBackend", "no backend is named")
    name, wanted = backend.service.name, backend.service.port
    service = objects.services.get((namespace, name))
    if service is None:
        return Lost("ServiceNotFound", f"there is no Service {namespace}/{name}")
    ports = [each for each in service.spec.ports or () if each.protocol == "TCP"]
    if wanted.name:
        port = next((each for each in ports if each.name == wanted.name), None)
    else:
        port = next((each for each in ports if each.port == wanted.number), None)
    if port is None and service.spec.type == "ExternalName" and wanted.number:
        port = ServicePortSpec(wanted.number)
    if port is None:
        known = ", ".join(f"{each.name} {each.port}".strip() for each in ports) or "none"
        return Lost(
            "PortNotFound", f"Service {namespace}/{name} has no TCP port {wanted.name or wanted.number}; it has {known}"
        )
    return _target(service, port)


def first_port(namespace: str, name: str, objects: Objects) -> Target | Lost:
    """The first TCP port of a Service, for what names no port."""
    service = objects.services.get((namespace, name))
    if service is None:
        return Lost("ServiceNotFound", f"there is no Service {namespace}/{name}")
    port = next((each for each in service.spec.ports or () if each.protocol == "TCP"), None)
    if port is None:
        return Lost("PortNotFound", f"Service {namespace}/{name} has no TCP port")
    return _target(service, port)


def _target(service: Service, port: ServicePortSpec) -> Target | Lost:
    metadata, spec = service.metadata, service.spec
    external, external_port = "", 0
    if spec.type == "ExternalName":
        external = spec.external_name.rstrip(".").lower()
        external_port = port.target_port if isinstance(port.target_port, int) and port.target_port else port.port
        if not external or is_inward(external) or is_odd_address(external):
            message = f"Service {metadata.namespace}/{metadata.name} leads to {external or 'no name'}"
            return Lost("ExternalNameRefused", f"{message}, which means the proxy's own machine or what only that may ask")
    cluster_ip = "" if external or spec.cluster_ip == "None" else spec.cluster_ip
    protocol = port.app_protocol or ""
    return Target(metadata.namespace, metadata.name, port.port, port.name, protocol, external, external_port, cluster_ip)


def cluster_of(target: Target, wishes: Wishes, *fallbacks: Target) -> tuple[Cluster, SetOf | None]:
    """The cluster that a target is under an Ingress's wishes, and the endpoint set that it names. While the target has no
    endpoint, the first of `fallbacks` that can has its requests.

    The name is the target's, with a suffix where anything is not as it is without wishes: equal names are equal clusters.
    """
    speaks, tls = _SPEAKS.get(target.app_protocol.lower(), (Speaks.HTTP1, False))
    upstream = (wishes.tls or UpstreamTls()) if tls else wishes.tls
    if wishes.speaks is not None:
        speaks, upstream = wishes.speaks, wishes.tls
    balance = Balance.HASH if wishes.hash_on else wishes.balance
    members: SetOf | None = None
    where: Endpoints | Fixed
    if target.external:
        where = Fixed(target.external, target.external_port)
    elif wishes.service_upstream and target.cluster_ip:
        where = Fixed(target.cluster_ip, target.port)
    else:
        names = dict.fromkeys(each.name for each in (target, *fallbacks))
        members, where = target.before(fallbacks), Endpoints("|".join(names))
    connect = wishes.policy.connect
    options = (speaks, upstream, balance, connect, where)
    name = target.name
    if options != (Speaks.HTTP1, None, Balance.ROUND_ROBIN, 5.0, Endpoints(target.name)):
        name += "~" + hashlib.blake2s(msgspec.json.encode(options), digest_size=4).hexdigest()
    source = f"service {target.namespace}/{target.service}"
    return Cluster(name, where, speaks, upstream, balance, connect, source), members
