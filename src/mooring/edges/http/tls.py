"""Which TLS does the API server speak, to its clients and to kubelets?"""

import ssl
from pathlib import Path


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


def client_context(authority: Path, identity: Path | None = None) -> ssl.SSLContext:
    """Trusts `authority` alone, and shows `identity` (PEM: key and chain) when given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(authority)
    if identity:
        context.load_cert_chain(identity)
    context.set_alpn_protocols(["http/1.1"])
    return context
