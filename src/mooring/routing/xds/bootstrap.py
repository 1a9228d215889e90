"""With what does Envoy begin? A bootstrap that tells it to ask for everything else over one Unix socket.

No port but the readiness one is opened by it, and the admin interface is on a Unix socket. Envoy opens no listener at all
before the first answers for clusters and listeners have come, so readiness tells that there is something to serve.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mooring.routing.placement import Placement
from mooring.routing.table import FrontDoor

READY_PATH = "/readyz"
ADS_CLUSTER = "mooring.ads"
NODE = "mooring"
RUNTIME = {"re2.max_program_size.error_level": 2**31 - 1}
"""The size of regular expressions is judged before (patterns.py)."""
UNCOUNTED = "vhost."
"""A virtual cluster tells methods apart (retries.py); what each host had of them is nobody's question."""
NAMES: Mapping[str, Any] = {
    "name": "envoy.network.dns_resolver.cares",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "query_timeout_seconds": 1,
        "query_tries": 2,
    },
}
"""Envoy takes no other cluster while one waits for the address of its name: by default 75 s if nobody answers, with these 3."""
RETRY = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
"""A control process that is started again is found at once."""


def ads_path(placement: Placement) -> str:
    """The Unix socket on which the control process serves delta ADS."""
    return f"{placement.folder}/ads.sock"


def admin_path(placement: Placement) -> str:
    """The Unix socket of Envoy's admin interface."""
    return f"{placement.folder}/admin.sock"


def bootstrap(placement: Placement, node: str = NODE, connections: int = FrontDoor().connections) -> bytes:
    """A JSON document for `envoy --config-path`. `node`: what Envoy calls itself; `connections`: more are not accepted,
    whatever a later table's front door says."""
    return msgspec.json.encode(_document(placement, node, connections))


def _document(placement: Placement, node: str, connections: int) -> Mapping[str, object]:
    return {
        "node": {"id": node, "cluster": "mooring"},
        "admin": {"address": {"pipe": {"path": admin_path(placement), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": ADS_CLUSTER, "retry_policy": RETRY}}],
            },
            "cds_config": _over_ads(),
            "lds_config": _over_ads(),
        },
        "static_resources": {"clusters": [_ads_cluster(placement)], "listeners": [_ready(placement)]},
        "cluster_manager": {"enable_deferred_cluster_creation": True},
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "stats_config": {"stats_matcher": {"exclusion_list": {"patterns": [{"prefix": UNCOUNTED}]}}},
        "typed_dns_resolver_config": NAMES,
        "overload_manager": _overload(connections),
        "layered_runtime": {"layers": [{"name": "static", "static_layer": RUNTIME}]},
    }


def _over_ads() -> Mapping[str, object]:
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _ads_cluster(placement: Placement) -> Mapping[str, object]:
    protocol = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": ads_path(placement)}}}}
    return {
        "name": ADS_CLUSTER,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": ADS_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
    }


def _ready(placement: Placement) -> Mapping[str, object]:
    """Answers by itself, so that it goes on when the control process is away; `healthcheck/fail` of the admin makes it 503."""
    first, *others = (_address(host, placement.ready_port) for host in placement.addresses)
    return {
        "name": "mooring.ready",
        "address": first,
        "additional_addresses": [{"address": address} for address in others],
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": _ready_manager()}]}],
    }


def _address(host: str, port: int) -> Mapping[str, object]:
    return {"socket_address": {"address": host, "port_value": port, "ipv4_compat": host == "::"}}


def _ready_manager() -> Mapping[str, object]:
    extensions = "type.googleapis.com/envoy.extensions.filters"
    check = {
        "@type": f"{extensions}.http.health_check.v3.HealthCheck",
        "pass_through_mode": False,
        "headers": [{"name": ":path", "string_match": {"exact": READY_PATH}}],
    }
    nothing = {"name": "none", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 404}}]}
    return {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "mooring.ready",
        "request_headers_timeout": "5s",
        "stream_idle_timeout": "5s",
        "common_http_protocol_options": {"idle_timeout": "30s"},
        "route_config": {"name": "ready", "virtual_hosts": [nothing]},
        "http_filters": [
            {"name": "envoy.filters.http.health_check", "typed_config": check},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}},
        ],
    }


def _overload(connections: int) -> Mapping[str, object]:
    active = {
        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": str(connections),
    }
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": active}
    return {"refresh_interval": "0.25s", "resource_monitors": [monitor]}
