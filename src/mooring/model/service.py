"""core/v1 Service, as logic sees it. Field meanings: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/service-v1/"""

import msgspec
from msgspec import Struct, field

from mooring.model.meta import Document, IntOrString, Meta


class ServicePortSpec(Struct, frozen=True, gc=False):
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: IntOrString | None = field(name="targetPort", default=None)
    node_port: int = field(name="nodePort", default=0)
    app_protocol: str | None = field(name="appProtocol", default=None)


class ClientIPConfig(Struct, frozen=True, gc=False):
    timeout_seconds: int = field(name="timeoutSeconds", default=10800)


class SessionAffinityConfig(Struct, frozen=True, gc=False):
    client_ip: ClientIPConfig | None = field(name="clientIP", default=None)


class ServiceSpec(Struct, frozen=True, gc=False):
    type: str = "ClusterIP"
    selector: dict[str, str] | None = None
    ports: tuple[ServicePortSpec, ...] | None = None
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] | None = field(name="clusterIPs", default=None)
    ip_families: tuple[str, ...] | None = field(name="ipFamilies", default=None)
    ip_family_policy: str | None = field(name="ipFamilyPolicy", default=None)
    external_ips: tuple[str, ...] | None = field(name="externalIPs", default=None)
    external_name: str = field(name="externalName", default="")
    external_traffic_policy: str = field(name="externalTrafficPolicy", default="")
    internal_traffic_policy: str | None = field(name="internalTrafficPolicy", default=None)
    health_check_node_port: int = field(name="healthCheckNodePort", default=0)
    session_affinity: str = field(name="sessionAffinity", default="None")
    session_affinity_config: SessionAffinityConfig | None = field(name="sessionAffinityConfig", default=None)
    load_balancer_source_ranges: tuple[str, ...] | None = field(name="loadBalancerSourceRanges", default=None)
    load_balancer_class: str | None = field(name="loadBalancerClass", default=None)
    publish_not_ready_addresses: bool = field(name="publishNotReadyAddresses", default=False)
    traffic_distribution: str | None = field(name="trafficDistribution", default=None)


class LoadBalancerIngress(Struct, frozen=True, gc=False):
    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = field(name="ipMode", default=None)


class LoadBalancerStatus(Struct, frozen=True, gc=False):
    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(Struct, frozen=True, gc=False):
    load_balancer: LoadBalancerStatus = field(name="loadBalancer", default=LoadBalancerStatus())


class Service(Struct, frozen=True, gc=False):
    metadata: Meta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


def service(document: Document) -> Service:
    """The view of a document. Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(document, Service)
