"""How does a test say what a node must do? Node views by hand, with the arms that Kubernetes gives a Service's ports."""

from collections.abc import Mapping, Sequence

from mooring.services.view import (
    Arm,
    Endpoint,
    Entry,
    Family,
    Frontend,
    Masquerade,
    NodeView,
    Pool,
    Protocol,
    Reason,
    ServiceName,
    ServicePort,
    ServicePortName,
    Verdict,
)

SERVICE_CIDRS = ("10.96.0.0/16", "fd00:96::/112")
POD_CIDRS = ("10.244.1.0/24", "fd00:244:1::/64")
NODE_ADDRESSES = ("172.30.0.11", "fd00:30::11")


def here(address: str, port: int = 8080) -> Endpoint:
    return Endpoint(address, port, "a", True)


def there(address: str, port: int = 8080) -> Endpoint:
    return Endpoint(address, port, "b", False)


def arm(policy: Pool, cluster: Sequence[Endpoint], local: Sequence[Endpoint], masquerade: Masquerade) -> Arm:
    if not cluster and not local:
        return Arm(Verdict.REJECT, Reason.NO_ENDPOINTS)
    if policy is Pool.LOCAL and not local:
        return Arm(Verdict.DROP, Reason.NO_LOCAL_ENDPOINTS, Pool.LOCAL)
    return Arm(Verdict.FORWARD, Reason.ENDPOINTS, policy, masquerade)


def service_port(
    service: str,
    address: str,
    endpoints: Sequence[Endpoint],
    port: int = 80,
    protocol: Protocol = Protocol.TCP,
    policy: Pool = Pool.CLUSTER,
) -> ServicePort:
    """A cluster IP's port, with the arms a ClusterIP has."""
    family = Family.IPV6 if ":" in address else Family.IPV4
    cluster = tuple(sorted(set(endpoints)))
    local = tuple(each for each in cluster if each.local)
    pod, away = (arm(policy, cluster, local, masquerade) for masquerade in (Masquerade.HAIRPIN, Masquerade.ALWAYS))
    frontend = Frontend(Entry.CLUSTER_IP, address, port, pod, away, away)
    name = ServicePortName("default", service, f"{protocol.value.lower()}-{port}", protocol, family)
    return ServicePort(name, (frontend,), cluster, local)


def external_port(service: str, address: str, endpoints: Sequence[Endpoint], policy: Pool, port: int = 80) -> ServicePort:
    """An external address's port: with policy Local, pods and the node reach all endpoints and the outside only local ones."""
    cluster = tuple(sorted(set(endpoints)))
    local = tuple(each for each in cluster if each.local)
    inside = Masquerade.HAIRPIN if policy is Pool.LOCAL else Masquerade.ALWAYS
    pod = arm(Pool.CLUSTER, cluster, local, inside)
    node = arm(Pool.CLUSTER, cluster, local, Masquerade.ALWAYS)
    outside = arm(policy, cluster, local, inside)
    frontend = Frontend(Entry.EXTERNAL_IP, address, port, pod, node, outside)
    family = Family.IPV6 if ":" in address else Family.IPV4
    return ServicePort(ServicePortName("default", service, f"ext-{port}", Protocol.TCP, family), (frontend,), cluster, local)


def node_view(services: Mapping[str, Sequence[ServicePort]], service_cidrs: Sequence[str] = SERVICE_CIDRS) -> NodeView:
    ports: dict[ServiceName, tuple[ServicePort, ...]] = {("default", name): tuple(each) for name, each in services.items()}
    return NodeView("a", ports, tuple(service_cidrs), POD_CIDRS, NODE_ADDRESSES)


FOUR = [here("10.244.1.2"), here("10.244.1.3"), here("10.244.1.2", 9090), there("10.244.2.2"), there("10.244.2.3")]
SIX = [here("fd00:244:1::2"), there("fd00:244:2::2"), there("fd00:244:2::3")]
