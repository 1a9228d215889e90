"""Which TLS does the API server speak, to its clients and to kubelets?"""

import ssl
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificates


def server_context(identity: Path, client_authority: Path) -> ssl.SSLContext:
    """TLS 1.2+ with a certificate from `identity` (PEM: key and chain).

    Clients may show a certificate; one that `client_authority` (PEM) has not signed ends the handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(identity)
    context.load_verify_locations(client_authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    # A session ticket costs a write a connection and saves little: our clients keep their connections.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    return context


class Authorities:
    """A bundle of certificates (PEM) of those who sign others. Raises ValueError for what is none."""

    def __init__(self, bundle: bytes) -> None:
        self._certificates = frozenset(load_pem_x509_certificates(bundle))
        self._known: dict[bytes, bool] = {}

    def lacks(self, others: "Authorities") -> bool:
        """Whether some of the others are none of these."""
        return bool(others._certificates - self._certificates)

    def signed(self, certificate: bytes) -> bool:
        """Whether one of them has signed this one (DER), directly. When is another question."""
        if certificate not in self._known:
            self._known[certificate] = self._has_signed(certificate)
        return self._known[certificate]

    def _has_signed(self, certificate: bytes) -> bool:
        leaf = load_der_x509_certificate(certificate)
        for authority in self._certificates:
            try:
                leaf.verify_directly_issued_by(authority)
                return True
            except (ValueError, TypeError, InvalidSignature):
                continue
        return False


def client_context(authority: Path, identity: Path | None = None) -> ssl.SSLContext:
    """Trusts `authority` alone, and shows `identity` (PEM: key and chain) when given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authority)
    if identity:
        context.load_cert_chain(identity)
    context.set_alpn_protocols(["http/1.1"])
    return context
