"""Which certificate does Envoy show? Those of the table that it will take; a key that does not fit takes nothing else down."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mooring.routing.table import Certificate
from mooring.routing.xds.wire import encoded

SMALLEST_RSA = 2048
"""Bits; Envoy refuses shorter keys."""


def secret(name: str, certificate: Certificate) -> bytes:
    """A serialised Secret message."""
    out = Secret(name=name)
    out.tls_certificate.certificate_chain.inline_bytes = certificate.chain
    out.tls_certificate.private_key.inline_bytes = certificate.key
    return encoded(out)


def covered(certificate: Certificate) -> frozenset[str]:
    """The DNS names it is for, in lower case; none where it cannot be read or does not say."""
    try:
        leaf = x509.load_pem_x509_certificates(certificate.chain)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return frozenset()
    return frozenset(name.lower() for name in names.get_values_for_type(x509.DNSName))


def fault(certificate: Certificate) -> str | None:
    """Why Envoy would refuse it, None if it would not."""
    try:
        chain = x509.load_pem_x509_certificates(certificate.chain)
        key = load_pem_private_key(certificate.key, None)
        public = chain[0].public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"the certificate or its key cannot be read: {error}"
    own = key.public_key()
    if public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != own.public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        return "the key is not the certificate's"
    if isinstance(public, RSAPublicKey):
        return f"its RSA key has {public.key_size} bits, fewer than {SMALLEST_RSA}" if public.key_size < SMALLEST_RSA else None
    if isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1 | SECP384R1 | SECP521R1):
        return None
    return "its key is neither RSA nor on one of the curves P-256, P-384 and P-521"


def authorities_fault(pem: bytes) -> str | None:
    """Why these certificates cannot be trusted by, None if they can."""
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        return f"the authorities' certificates cannot be read: {error}"
    return None


def revoked_fault(pem: bytes) -> str | None:
    """Why this revocation list cannot be used, None if it can."""
    try:
        x509.load_pem_x509_crl(pem)
    except ValueError as error:
        return f"the list of revoked certificates cannot be read: {error}"
    return None
