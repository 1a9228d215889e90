"""How does Envoy reach a backend? A Cluster of the table as one of Envoy's: endpoints by EDS, or a name that it looks up."""

import ipaddress
from collections.abc import Mapping

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster as EnvoyCluster
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from mooring.routing.table import Balance, Certificate, Cluster, Endpoints, Fixed, Speaks, UpstreamTls
from mooring.routing.xds import retries, secrets
from mooring.routing.xds.tls import parameters
from mooring.routing.xds.wire import encoded, packed, seconds

IDLE = 55.0
"""Seconds after which an idle connection to a backend is closed: before common servers do it themselves (60 and more), so that
no request meets a connection just gone."""

_PLENTY = 10**6
"""The front door's limits hold, not Envoy's breakers (1,024 by default), which would answer 503 in a busy moment."""

_POLICIES = {
    Balance.ROUND_ROBIN: EnvoyCluster.ROUND_ROBIN,
    Balance.LEAST_REQUEST: EnvoyCluster.LEAST_REQUEST,
    Balance.EWMA: EnvoyCluster.LEAST_REQUEST,
    Balance.HASH: EnvoyCluster.RING_HASH,
}


def cluster(wish: Cluster, has_retries: bool) -> bytes:
    """A serialised Cluster message. `has_retries`: all its requests are tried again as usual."""
    out = EnvoyCluster(name=wish.name, lb_policy=_POLICIES[wish.balance])
    out.connect_timeout.CopyFrom(seconds(wish.connect or 5.0))
    out.common_lb_config.healthy_panic_threshold.SetInParent()
    out.circuit_breakers.thresholds.append(_breakers())
    if isinstance(wish.where, Endpoints):
        out.type = EnvoyCluster.EDS
        out.eds_cluster_config.service_name = wish.where.set
        out.eds_cluster_config.eds_config.CopyFrom(over_ads())
    else:
        _fixed(out, wish.where)
    if wish.speaks is not Speaks.OPAQUE:
        options = out.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
        options.CopyFrom(packed(_protocol(wish.speaks, has_retries)))
    if wish.tls is not None:
        out.transport_socket.name = "envoy.transport_sockets.tls"
        out.transport_socket.typed_config.CopyFrom(packed(_tls(wish.tls, wish.speaks)))
    return encoded(out)


def fault(wish: Cluster, certificates: Mapping[str, Certificate]) -> str | None:
    """Why Envoy cannot have it; its routes answer 503 then."""
    if wish.speaks is Speaks.FASTCGI:
        return "Envoy does not speak FastCGI"
    if wish.tls is None:
        return None
    if wish.tls.certificate and wish.tls.certificate not in certificates:
        return f"there is no certificate {wish.tls.certificate}"
    return secrets.authorities_fault(wish.tls.authorities) if wish.tls.authorities else None


def over_ads() -> ConfigSource:
    """From the server that told of the rest."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def _fixed(out: EnvoyCluster, where: Fixed) -> None:
    try:
        ipaddress.ip_address(where.host)
        out.type = EnvoyCluster.STATIC
    except ValueError:
        out.type = EnvoyCluster.STRICT_DNS
        out.respect_dns_ttl = True
        out.dns_lookup_family = EnvoyCluster.ALL
    out.load_assignment.cluster_name = out.name
    address = out.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address = where.host
    address.port_value = where.port


def _breakers() -> CircuitBreakers.Thresholds:
    out = CircuitBreakers.Thresholds()
    for limit in (out.max_connections, out.max_pending_requests, out.max_requests, out.max_retries):
        limit.value = _PLENTY
    return out


def _protocol(speaks: Speaks, has_retries: bool) -> HttpProtocolOptions:
    out = HttpProtocolOptions()
    out.common_http_protocol_options.idle_timeout.CopyFrom(seconds(IDLE))
    if has_retries:
        out.retry_policy.CopyFrom(retries.usual())
    if speaks in (Speaks.HTTP2, Speaks.GRPC):
        out.explicit_http_config.http2_protocol_options.SetInParent()
    else:
        out.explicit_http_config.http_protocol_options.SetInParent()
    return out


def _tls(tls: UpstreamTls, speaks: Speaks) -> UpstreamTlsContext:
    out = UpstreamTlsContext(sni=tls.name)
    common = out.common_tls_context
    common.tls_params.CopyFrom(parameters(tls.minimum, tls.ciphers))
    common.alpn_protocols.append("h2" if speaks in (Speaks.HTTP2, Speaks.GRPC) else "http/1.1")
    if tls.certificate:
        common.tls_certificate_sds_secret_configs.add(name=tls.certificate).sds_config.CopyFrom(over_ads())
    if tls.authorities:
        validation = common.validation_context
        validation.trusted_ca.inline_bytes = tls.authorities
        validation.max_verify_depth.value = tls.depth
        if tls.name:
            name = validation.match_typed_subject_alt_names.add()
            name.san_type = name.DNS
            name.matcher.exact = tls.name
    return out
