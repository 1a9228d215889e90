"""Which keys and certificates does a cluster need, and where are they?

One directory, files 0600. An identity is one PEM file, key and certificate together, so that replacing it is atomic: nobody
ever loads a key with another's certificate. Every file is made once, used again, and renewed before it expires, when its
names change or when its authority does. Names are upstream's (kubernetes.io/docs/setup/best-practices/certificates).
"""

import base64
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)
_SKEW = timedelta(hours=1)
"""Certificates hold from a little before they are made: clocks differ."""


class Subject(Struct, frozen=True):
    """Who a certificate is for. `names` are the DNS names and addresses it may serve as; without them it is a client's only."""

    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()


ADMIN = Subject("kubernetes-admin", "system:masters")
CONTROLLERS = Subject("system:kube-controller-manager")
KUBELET_CLIENT = Subject("kube-apiserver-kubelet-client", "system:masters")


class Identity(Struct, frozen=True):
    """A file with a private key and its certificate, PEM."""

    path: Path

    @property
    def certificate(self) -> bytes:
        return _split(self.path.read_bytes())[1]

    @property
    def key(self) -> bytes:
        return _split(self.path.read_bytes())[0]


class DamagedKey(Exception):
    """A file that cannot be made anew without forgetting what it signed is not what it should be: which, and what to do."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged\n  what to do: restore it from a copy, or forget the cluster that it belongs to: "
            "`mooring down --purge`"
        )


class Pki:
    """The keys under one directory. Safe to use from several processes at once: who makes a file holds the directory's lock."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory (0700) and the authority when they are not there."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._authority = self._made_authority()

    @property
    def authority(self) -> Path:
        """The CA's certificate alone: what clients trust."""
        return self._directory / "ca.crt"

    def server(self, names: Sequence[str]) -> Identity:
        """The API server's own, for these DNS names and addresses and those every cluster has."""
        always = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1", "::1")
        return self._identity("apiserver", Subject("kube-apiserver", names=tuple(sorted({*always, *names}))))

    def admin(self) -> Identity:
        return self._identity("admin", ADMIN)

    def controllers(self) -> Identity:
        return self._identity("controllers", CONTROLLERS)

    def kubelet_client(self) -> Identity:
        """What the API server shows to kubelets."""
        return self._identity("apiserver-kubelet-client", KUBELET_CLIENT)

    def node(self, name: str, addresses: Sequence[str] = ()) -> Identity:
        """A node's: client of the API server, and server of the kubelet API under its name and addresses."""
        names = tuple(sorted({name, *addresses}))
        return self._identity(f"node-{name}", Subject(f"system:node:{name}", "system:nodes", names))

    def service_account_key(self) -> Path:
        """The key that signs service accounts' tokens (ES256), PEM. Never renewed: tokens die with it. Raises DamagedKey."""
        path = self._directory / "sa.key"
        with self._lock():
            if not path.exists():
                _write(path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
        try:
            load_pem_private_key(path.read_bytes(), None)
        except ValueError as error:
            raise DamagedKey(path) from error
        return path

    def _identity(self, stem: str, subject: Subject) -> Identity:
        path = self._directory / f"{stem}.pem"
        with self._lock():
            if not self._serves(path, subject):
                key = ec.generate_private_key(ec.SECP256R1())
                _write(path, _key_pem(key) + self._signed(key, subject).public_bytes(Encoding.PEM))
        return Identity(path)

    def _serves(self, path: Path, subject: Subject) -> bool:
        """Whether the file holds a certificate for the subject, by our authority, that lives long enough."""
        try:
            certificate = x509.load_pem_x509_certificate(_split(path.read_bytes())[1])
            certificate.verify_directly_issued_by(_certificate(self._authority))
        except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
            return False
        return certificate.subject == _name(subject) and _names(certificate) == set(subject.names) and _lasts(certificate)

    def _signed(self, key: ec.EllipticCurvePrivateKey, subject: Subject) -> x509.Certificate:
        authority = _certificate(self._authority)
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if subject.names else [])]
        builder = (
            _builder(_name(subject), key.public_key(), LEAF_LIFE)
            .issuer_name(authority.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(_key(self._authority).public_key()), critical=False
            )
        )
        if subject.names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in subject.names]), critical=False
            )
        return builder.sign(_key(self._authority), SHA256())

    def _made_authority(self) -> bytes:
        """The CA's key and certificate, the latter made anew near its end for the same key: what it signed stays good."""
        path = self._directory / "ca.pem"
        with self._lock():
            try:
                found = path.read_bytes()
                key = _key(found)
                usable = _lasts(_certificate(found))
            except FileNotFoundError:
                key, usable = ec.generate_private_key(ec.SECP256R1()), False
            except ValueError as error:
                raise DamagedKey(path) from error
            if not usable:
                found = _key_pem(key) + _self_signed(key).public_bytes(Encoding.PEM)
                _write(path, found)
            certificate = _split(found)[1]
            if not self.authority.exists() or self.authority.read_bytes() != certificate:
                _write(self.authority, certificate)
        return found

    @contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self._directory / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def kubeconfig(server: str, authority: Path, identity: Identity, cluster: str = "mooring", user: str = "admin") -> str:
    """A kubeconfig with everything in it, for one cluster and user. `server` is the URL. Keep it 0600 (`write_private`)."""

    def data(value: bytes) -> str:
        return base64.b64encode(value).decode()

    credentials = {"client-certificate-data": data(identity.certificate), "client-key-data": data(identity.key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": data(authority.read_bytes())}}
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "preferences": {},
    }
    return yaml.safe_dump(document, sort_keys=False)


def write_private(path: Path, text: str) -> None:
    """Puts a secret in its place, whole and 0600."""
    _write(path, text.encode())


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def _builder(subject: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name(Subject("mooring-ca"))
    return (
        _builder(name, key.public_key(), AUTHORITY_LIFE)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def _usage(signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(subject: Subject) -> x509.Name:
    organization = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.organization)] if subject.organization else []
    return x509.Name([*organization, x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in alternatives}


def _lasts(certificate: x509.Certificate) -> bool:
    return certificate.not_valid_after_utc - RENEW_BEFORE > datetime.now(UTC)


def _split(pem: bytes) -> tuple[bytes, bytes]:
    """The key and the certificate of an identity's file."""
    at = pem.index(b"-----BEGIN CERTIFICATE")
    return pem[:at], pem[at:]


def _certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(_split(pem)[1])


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(_split(pem)[0], None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
