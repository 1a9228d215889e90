"""How busy is a gateway's control process, and with what? mooring_gateway_* metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mooring.routing.table import RouteTable

_SECONDS = tuple(0.001 * 2**step for step in range(14))


class GatewayMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, says: str) -> Gauge:
            return Gauge(f"mooring_gateway_{name}", says, registry=registry)

        def histogram(name: str, says: str) -> Histogram:
            return Histogram(f"mooring_gateway_{name}", says, buckets=_SECONDS, registry=registry)

        self.rebuilds = Counter("mooring_gateway_rebuilds", "Tables built, by result", ["result"], registry=registry)
        self.rebuild = histogram("rebuild_duration_seconds", "From taking up changes to handing over a table")
        self.endpoint_updates = Counter("mooring_gateway_endpoint_updates", "Endpoint sets handed over", registry=registry)
        self.endpoint_update = histogram("endpoint_update_duration_seconds", "From a slice's change to handing over its sets")
        self.updates = Counter(
            "mooring_gateway_xds_updates", "Resources that the proxy answered for", ["type", "result"], registry=registry
        )
        self.virtual_hosts = gauge("virtual_hosts", "In the last table")
        self.routes = gauge("routes", "In the last table")
        self.clusters = gauge("clusters", "In the last table")
        self.certificates = gauge("certificates", "In the last table")
        self.endpoints = gauge("endpoints", "In all endpoint sets of the last table")
        self.rejections = gauge("rejections", "Parts of the table that the proxy does not take")
        for result in ("success", "error"):
            self.rebuilds.labels(result)

    def show(self, table: RouteTable) -> None:
        hosts = {host.name: host for listener in table.listeners for chain in listener.chains for host in chain.virtual_hosts}
        self.virtual_hosts.set(len(hosts))
        self.routes.set(sum(len(host.routes) for host in hosts.values()))
        self.clusters.set(len(table.clusters))
        self.certificates.set(len(table.certificates))
