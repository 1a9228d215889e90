"""Ingresses with only what matters spelt out, and the translation of them: for the tests of this folder."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from msgspec import structs

from mooring.model.meta import Document
from mooring.routing.finding import Finding
from mooring.routing.ingress.annotations.notes import PREFIX
from mooring.routing.ingress.build import build
from mooring.routing.ingress.documents import objects
from mooring.routing.ingress.memo import Memo
from mooring.routing.ingress.objects import Objects, Translation
from mooring.routing.table import Chain, Route, VirtualHost
from mooring.testing.certificates import self_signed

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CLASS = "mooring-envoy"
Path = tuple[str, str, str]
"""(type, path, `service:port`)"""


def ingress_class(name: str = CLASS, controller: str = "mooring.dev/envoy", **spec: Any) -> Document:
    return {"kind": "IngressClass", "metadata": {"name": name}, "spec": {"controller": controller, **spec}}


def ingress(
    name: str = "web",
    *rules: tuple[str, list[Path] | None],
    annotations: dict[str, str] | None = None,
    default: str = "",
    tls: list[Document] | None = None,
    day: int = 1,
    class_name: str | None = CLASS,
) -> Document:
    """Made on that day of January; annotations without their prefix."""
    metadata = {
        "name": name,
        "namespace": "shop",
        "creationTimestamp": f"2026-01-{day:02}T00:00:00Z",
        "annotations": {PREFIX + key: value for key, value in (annotations or {}).items()},
    }
    spec: Document = {"rules": [_rule(host, paths) for host, paths in rules]}
    if class_name is not None:
        spec["ingressClassName"] = class_name
    if default:
        spec["defaultBackend"] = backend(default)
    if tls is not None:
        spec["tls"] = tls
    return {"kind": "Ingress", "metadata": metadata, "spec": spec}


def _rule(host: str, paths: list[Path] | None) -> Document:
    if paths is None:
        return {"host": host}
    http = {"paths": [{"path": path, "pathType": kind, "backend": backend(to)} for kind, path, to in paths]}
    return {"host": host, "http": http} if host else {"http": http}


def backend(to: str) -> Document:
    name, _, port = to.partition(":")
    return {"service": {"name": name, "port": {"number": int(port)} if port.isdigit() else {"name": port}}}


def service(name: str = "web", *ports: Document, **spec: Any) -> Document:
    known = list(ports) or [{"name": "http", "port": 80}]
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.9", "ports": known, **spec},
    }


def secret(name: str, certificate: bytes, key: bytes, kind: str = "kubernetes.io/tls") -> Document:
    data = {"tls.crt": certificate.decode("latin-1"), "tls.key": key.decode("latin-1")}
    return {"kind": "Secret", "metadata": {"name": name, "namespace": "shop"}, "type": kind, "stringData": data}


def tls_secret(name: str, *hosts: str) -> Document:
    pair = self_signed(*hosts)
    return secret(name, pair.chain, pair.key)


def known(*documents: Document, default_certificate: bool = True) -> Objects:
    """With a class of ours unless one is given."""
    classes = [] if any(each["kind"] == "IngressClass" for each in documents) else [ingress_class()]
    certificate = self_signed("default.invalid") if default_certificate else None
    return structs.replace(objects([*documents, *classes]), default_certificate=certificate)


def translated(*documents: Document, default_certificate: bool = True, memo: Memo | None = None) -> Translation:
    return build(known(*documents, default_certificate=default_certificate), CLASS, NOW, memo)


def told(found: Translation) -> list[tuple[str, str, str, str]]:
    """(name, reason, field, effect) of every finding."""
    return [(each.about.name, each.reason, each.field, each.effect) for each in found.findings]


def texts(findings: tuple[Finding, ...]) -> list[str]:
    return [each.text for each in findings]


def plain_host(found: Translation, name: str) -> VirtualHost | None:
    return next((each for each in found.table.listeners[0].chains[0].virtual_hosts if name in each.hosts), None)


def routes(found: Translation, host: str) -> tuple[Route, ...]:
    """Of the plain listener."""
    there = plain_host(found, host)
    return there.routes if there else ()


def chains(found: Translation) -> dict[str, Chain]:
    """Of the TLS listener, by each of their server names."""
    listener = next((each for each in found.table.listeners if each.is_tls), None)
    return {name: chain for chain in (listener.chains if listener else ()) for name in chain.server_names}


def statuses(chain: Chain) -> dict[str, int]:
    """By host, the status with which its first route answers by itself, 0 if it does not."""
    return {
        host: getattr(each.routes[0].action, "status", 0) if each.routes else 404
        for each in chain.virtual_hosts
        for host in each.hosts
    }


@lru_cache
def pair(
    kind: str = "p256",
    common_name: str = "a.example.com",
    names: tuple[str, ...] = ("a.example.com",),
    begins: int = -10,
    ends: int = 10,
    password: bytes = b"",
) -> tuple[bytes, bytes]:
    """A certificate with its key, valid for these days about NOW."""
    key: Any = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "k256": lambda: ec.generate_private_key(ec.SECP256K1()),
        "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
        "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(NOW + timedelta(days=begins))
    made = made.not_valid_after(NOW + timedelta(days=ends))
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    signed = made.sign(key, None if kind == "ed25519" else hashes.SHA256())
    form: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return (
        signed.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, form),
    )
