"""Which TLS does Envoy speak? Versions, ciphers, and what it asks of clients."""

from collections.abc import Iterable

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import ConfigSource
from envoy.extensions.transport_sockets.quic.v3.quic_transport_pb2 import QuicDownstreamTransport
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsParameters
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from mooring.routing.table import ClientCertificates, FrontDoor, Terminate
from mooring.routing.xds import secrets
from mooring.routing.xds.wire import packed

_VERSIONS = {"1.2": TlsParameters.TLSv1_2, "1.3": TlsParameters.TLSv1_3}

_KNOWN = frozenset(
    f"{key}-{cipher}"
    for key in ("ECDHE-ECDSA", "ECDHE-RSA")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305", "AES128-SHA", "AES256-SHA")
) | {"AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA"}
"""Those of BoringSSL; it refuses a list with any other."""


def parameters(minimum: str, ciphers: str) -> TlsParameters:
    """TLS 1.2 is the least, whatever is asked. Ciphers that are not known are left out; without any, Envoy's own are used."""
    out = TlsParameters(
        tls_minimum_protocol_version=_VERSIONS.get(minimum, TlsParameters.TLSv1_2),
        tls_maximum_protocol_version=TlsParameters.TLSv1_3,
    )
    out.cipher_suites.extend(known(ciphers))
    return out


def known(ciphers: str) -> list[str]:
    return [name for name in ciphers.split(":") if name in _KNOWN]


def downstream(
    tls: Terminate, certificates: Iterable[str], door: FrontDoor, protocols: tuple[str, ...], sds: ConfigSource
) -> DownstreamTlsContext:
    """`certificates`: one of them is shown, by the name asked for."""
    out = DownstreamTlsContext()
    common = out.common_tls_context
    common.tls_params.CopyFrom(parameters(door.tls_minimum, tls.ciphers or door.ciphers))
    common.alpn_protocols.extend(protocols)
    for name in certificates:
        common.tls_certificate_sds_secret_configs.add(name=name).sds_config.CopyFrom(sds)
    if tls.clients is not None:
        common.validation_context.CopyFrom(_clients(tls.clients))
        out.require_client_certificate.value = False
        # A resumed session would not be validated again.
        out.disable_stateless_session_resumption = True
        out.disable_stateful_session_resumption = True
    return out


def _clients(clients: ClientCertificates) -> CertificateValidationContext:
    """The handshake takes any certificate: the script answers 400 or redirects, as a proxy can only after it."""
    out = CertificateValidationContext(trust_chain_verification=CertificateValidationContext.ACCEPT_UNTRUSTED)
    out.trusted_ca.inline_bytes = clients.authorities
    out.max_verify_depth.value = clients.depth
    if clients.revoked:
        out.crl.inline_bytes = clients.revoked
        out.only_verify_leaf_cert_crl = True
    return out


def clients_fault(clients: ClientCertificates) -> str | None:
    """Why they cannot be judged; nobody may come in then."""
    return secrets.authorities_fault(clients.authorities) or (
        secrets.revoked_fault(clients.revoked) if clients.revoked else None
    )


def over_tcp(context: DownstreamTlsContext) -> TransportSocket:
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=packed(context))


def over_quic(context: DownstreamTlsContext) -> TransportSocket:
    return TransportSocket(
        name="envoy.transport_sockets.quic", typed_config=packed(QuicDownstreamTransport(downstream_tls_context=context))
    )
