"""How is a certificate of the cluster made, and what does one say? X.509 by `cryptography`, in PEM."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

AUTHORITY = "mooring-ca"
_SKEW = timedelta(hours=1)
"""Certificates hold from a little before they are made: clocks differ."""


class Subject(Struct, frozen=True):
    """Who a certificate is for. `names` are the DNS names and addresses it may serve as; without them it is a client's only."""

    common_name: str
    organization: str = ""
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"CN={self.common_name}" + (f",O={self.organization}" if self.organization else "")


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def self_signed(key: ec.EllipticCurvePrivateKey, life: timedelta) -> bytes:
    """An authority's certificate. All are of one name: their key identifiers tell them apart."""
    name = _name(Subject(AUTHORITY))
    return (
        _builder(name, key.public_key(), life)
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )


def signed(authority: bytes, key: ec.EllipticCurvePrivateKey, subject: Subject, life: timedelta) -> bytes:
    """A certificate for the key, by an authority (PEM: its key and certificate)."""
    signer = private_key(authority)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if subject.names else [])]
    builder = (
        _builder(_name(subject), key.public_key(), life)
        .issuer_name(certificate(authority).subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if subject.names:
        names = x509.SubjectAlternativeName([_general(name) for name in subject.names])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, SHA256()).public_bytes(Encoding.PEM)


def subject_of(found: x509.Certificate) -> Subject:
    """The subject of a certificate that `signed` made; its names are sorted."""

    def value(kind: x509.ObjectIdentifier) -> str:
        return next((str(each.value) for each in found.subject.get_attributes_for_oid(kind)), "")

    return Subject(value(NameOID.COMMON_NAME), value(NameOID.ORGANIZATION_NAME), tuple(sorted(_names(found))))


def lasts(found: x509.Certificate, margin: timedelta) -> bool:
    return found.not_valid_after_utc - margin > datetime.now(UTC)


def split(pem: bytes) -> tuple[bytes, bytes]:
    """The key and the certificate of an identity's file."""
    at = pem.index(b"-----BEGIN CERTIFICATE")
    return pem[:at], pem[at:]


def certificate(pem: bytes) -> x509.Certificate:
    """The first one of an identity's file, or of a bundle."""
    return x509.load_pem_x509_certificate(split(pem)[1])


def bundle(pems: Iterable[bytes]) -> bytes:
    """The certificates of some files, each once, in their order."""
    found = {x509.load_pem_x509_certificate(split(pem)[1]).public_bytes(Encoding.PEM): None for pem in pems}
    return b"".join(found)


def private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem[: pem.find(b"-----BEGIN CERTIFICATE")] if b"CERTIFICATE" in pem else pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(private_pem: bytes) -> bytes:
    """The public half of a private key of any type."""
    return load_pem_private_key(private_pem, None).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


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


def _names(found: x509.Certificate) -> set[str]:
    try:
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in alternatives}
