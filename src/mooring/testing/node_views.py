"""How does a test say what a node must do? Node views by hand, with the arms that Kubernetes gives a Service's ports."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

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

_HAIRPIN, _ALWAYS = Masquerade.HAIRPIN, Masquerade.ALWAYS


class Door(Struct, frozen=True):
    """Where a service port is entered. `policy` LOCAL: internalTrafficPolicy for a cluster IP, else externalTrafficPolicy."""

    entry: Entry
    address: str
    port: int = 80
    policy: Pool = Pool.CLUSTER
    allowed: tuple[str, ...] | None = None


class Manners(Struct, frozen=True):
    """What holds for a whole node and shows in every arm."""

    detects_pods: bool = True
    masquerade_all: bool = False


USUAL = Manners()


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


def frontend(door: Door, cluster: Sequence[Endpoint], local: Sequence[Endpoint], manners: Manners = USUAL) -> Frontend:
    """The arms of kube-proxy's masquerade table for pods, the node and the outside."""
    pods_known = manners.detects_pods
    if door.entry is Entry.CLUSTER_IP:
        away = _ALWAYS if pods_known or manners.masquerade_all else _HAIRPIN
        own = _ALWAYS if manners.masquerade_all else _HAIRPIN
        sources = ((door.policy, own if pods_known else away), (door.policy, away), (door.policy, away))
    elif door.policy is Pool.CLUSTER:
        sources = ((Pool.CLUSTER, _ALWAYS),) * 3
    else:
        outside = (Pool.LOCAL, _HAIRPIN)
        sources = ((Pool.CLUSTER, _HAIRPIN) if pods_known else outside, (Pool.CLUSTER, _ALWAYS), outside)
    arms = [arm(policy, cluster, local, masquerade) for policy, masquerade in sources]
    return Frontend(door.entry, door.address, door.port, *arms, door.allowed)


def port_with(
    service: str,
    doors: Sequence[Door],
    endpoints: Sequence[Endpoint],
    protocol: Protocol = Protocol.TCP,
    affinity: int = 0,
    manners: Manners = USUAL,
    name: str = "",
) -> ServicePort:
    """One port of a Service with any number of doors, all of one family."""
    family = Family.IPV6 if ":" in doors[0].address else Family.IPV4
    cluster = tuple(sorted(set(endpoints)))
    local = tuple(each for each in cluster if each.local)
    frontends = tuple(frontend(door, cluster, local, manners) for door in doors)
    name = name or f"{protocol.value.lower()}-{doors[0].port}"
    return ServicePort(ServicePortName("default", service, name, protocol, family), frontends, cluster, local, affinity)


def service_port(
    service: str,
    address: str,
    endpoints: Sequence[Endpoint],
    port: int = 80,
    protocol: Protocol = Protocol.TCP,
    policy: Pool = Pool.CLUSTER,
) -> ServicePort:
    """A cluster IP's port, with the arms a ClusterIP has."""
    return port_with(service, [Door(Entry.CLUSTER_IP, address, port, policy)], endpoints, protocol)


def external_port(service: str, address: str, endpoints: Sequence[Endpoint], policy: Pool, port: int = 80) -> ServicePort:
    """An external address's port: with policy Local, pods and the node reach all endpoints and the outside only local ones."""
    return port_with(service, [Door(Entry.EXTERNAL_IP, address, port, policy)], endpoints, name=f"ext-{port}")


def node_view(services: Mapping[str, Sequence[ServicePort]], service_cidrs: Sequence[str] = SERVICE_CIDRS) -> NodeView:
    ports: dict[ServiceName, tuple[ServicePort, ...]] = {("default", name): tuple(each) for name, each in services.items()}
    return NodeView("a", ports, tuple(service_cidrs), POD_CIDRS, NODE_ADDRESSES)


FOUR = [here("10.244.1.2"), here("10.244.1.3"), here("10.244.1.2", 9090), there("10.244.2.2"), there("10.244.2.3")]
SIX = [here("fd00:244:1::2"), there("fd00:244:2::2"), there("fd00:244:2::3")]
