"""What must be there though it is not among the files? What Ingresses name: taken for granted, and said so."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address

import msgspec
from msgspec import Struct

from mooring.model.ingress import Ingress, IngressBackend
from mooring.model.meta import Meta
from mooring.model.service import Service, ServicePortSpec, ServiceSpec
from mooring.routing.finding import ObjectName
from mooring.routing.ingress.annotations.notes import PREFIX
from mooring.routing.ingress.objects import Name, Objects, Secret
from mooring.routing.table import Certificate

ASSUMED = "assumed-"
"""Begins the names of ports of which only the number is known; never shown."""
FIRST_ADDRESS = IPv4Address("198.18.0.1")
"""Cluster IPs of Services that have none in their manifests, from the range for benchmarks (RFC 2544)."""
SECRETS = ("auth-secret", "auth-tls-secret", "proxy-ssl-secret")
CONFIG_MAPS = ("custom-headers", "auth-proxy-set-headers")
HASH = b"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
"""Stands for the passwords that a Secret holds; nobody is ever let in by it."""


class Completed(Struct, frozen=True):
    """`missing`: what was named and not there."""

    objects: Objects
    missing: tuple[ObjectName, ...] = ()


def complete(objects: Objects, certificate: Certificate) -> Completed:
    """`certificate`, any that holds together, stands for those that are in no file."""
    wanted: dict[Name, dict[int | str, None]] = {}
    secrets: dict[Name, Secret] = {}
    config_maps: dict[Name, Mapping[str, str]] = {}
    for ingress in objects.ingresses.values():
        for name, port in _named(ingress):
            wanted.setdefault((ingress.metadata.namespace, name), {})[port] = None
        secrets |= {name: each for name, each in _secrets(ingress, certificate) if name not in objects.secrets}
        config_maps |= {name: {} for name in _of(ingress, CONFIG_MAPS) if name not in objects.config_maps}
    missing = {key: ports for key, ports in wanted.items() if key not in objects.services}
    services = {**objects.services, **{key: _service(key, ports) for key, ports in missing.items()}}
    completed = msgspec.structs.replace(
        objects,
        services={key: _placed(service, number) for number, (key, service) in enumerate(services.items())},
        secrets={**objects.secrets, **secrets},
        config_maps={**objects.config_maps, **config_maps},
        default_certificate=objects.default_certificate or certificate,
    )
    of_kind = (("Service", missing), ("Secret", secrets), ("ConfigMap", config_maps))
    return Completed(completed, tuple(ObjectName(kind, *key) for kind, found in of_kind for key in sorted(found)))


def _named(ingress: Ingress) -> Iterator[tuple[str, int | str]]:
    backends: Iterable[IngressBackend] = (
        *((ingress.spec.default_backend,) if ingress.spec.default_backend else ()),
        *(path.backend for rule in ingress.spec.rules or () if rule.http for path in rule.http.paths),
    )
    for backend in backends:
        if backend.service:
            yield backend.service.name, backend.service.port.name or backend.service.port.number
    stand_in = (ingress.metadata.annotations or {}).get(f"{PREFIX}default-backend", "")
    if stand_in:
        yield stand_in, 80


def _secrets(ingress: Ingress, certificate: Certificate) -> Iterator[tuple[Name, Secret]]:
    """With all the keys that whoever names it may look for."""
    pair = {"tls.crt": certificate.chain, "tls.key": certificate.key, "ca.crt": certificate.chain}
    for tls in ingress.spec.tls or ():
        if tls.secret_name:
            yield (ingress.metadata.namespace, tls.secret_name), Secret("kubernetes.io/tls", pair)
    is_map = (ingress.metadata.annotations or {}).get(f"{PREFIX}auth-secret-type", "") == "auth-map"
    passwords = {"user": HASH} if is_map else {"auth": b"user:" + HASH}
    for name in _of(ingress, SECRETS[:1]):
        yield name, Secret("Opaque", passwords)
    for name in _of(ingress, SECRETS[1:]):
        yield name, Secret("Opaque", pair)


def _of(ingress: Ingress, annotations: tuple[str, ...]) -> Iterator[Name]:
    """What annotations name in the Ingress's own namespace: more they may not."""
    for annotation in annotations:
        namespace, _, name = (ingress.metadata.annotations or {}).get(PREFIX + annotation, "").strip().rpartition("/")
        if name and namespace in ("", ingress.metadata.namespace):
            yield ingress.metadata.namespace, name


def _service(key: Name, ports: Iterable[int | str]) -> Service:
    """A port of which only the name is known has the number 0."""
    listed = (
        ServicePortSpec(0, name=port) if isinstance(port, str) else ServicePortSpec(port, name=f"{ASSUMED}{port}")
        for port in ports
    )
    namespace, name = key
    return Service(Meta(name=name, namespace=namespace), ServiceSpec(ports=tuple(listed)))


def _placed(service: Service, number: int) -> Service:
    if service.spec.cluster_ip or service.spec.type == "ExternalName":
        return service
    spec = msgspec.structs.replace(service.spec, cluster_ip=str(FIRST_ADDRESS + number))
    return msgspec.structs.replace(service, spec=spec)
