"""How is each decision about a packet told? What was decided, and the object and field that caused it."""

from msgspec import Struct

from mooring.model.discovery import SERVICE_NAME_LABEL
from mooring.model.node import ZONE_LABEL
from mooring.services.view import (
    Arm,
    Entry,
    Frontend,
    Masquerade,
    NodeView,
    Pool,
    Protocol,
    Reason,
    ServicePort,
    ServicePortName,
    Verdict,
)


class Step(Struct, frozen=True):
    """One decision. `because` names the object and field that caused it."""

    decision: str
    because: str


def reached(view: NodeView, name: ServicePortName, frontend: Frontend) -> Step:
    """The packet's destination is a frontend."""
    number = f"{frontend.port}/{name.protocol.value}"
    match frontend.entry:
        case Entry.CLUSTER_IP:
            field = f"spec.clusterIPs, spec.ports {number}"
        case Entry.NODE_PORT:
            field = f"spec.ports[..].nodePort {number}; node/{view.node} answers node ports at {frontend.address}"
        case Entry.LOAD_BALANCER:
            field = f"status.loadBalancer.ingress[..].ip {frontend.address}, spec.ports {number}"
        case Entry.EXTERNAL_IP:
            field = f"spec.externalIPs {frontend.address}, spec.ports {number}"
    return Step(
        f"{_where(frontend.address, frontend.port)}/{name.protocol.value} is the {frontend.entry.value} of {_title(name)}",
        f"{_object(name)}: {field}",
    )


def guarded(view: NodeView, name: ServicePortName, frontend: Frontend, source: str, among: str | None) -> Step:
    """The frontend is not for everybody. `among` is the range that the source is in, None when it is in none."""
    ranges = ", ".join(frontend.allowed or ()) or "none of this family"
    if not frontend.allowed_by:
        cause = f"{frontend.address} is a loopback address of node/{view.node}: only the node itself reaches it"
    else:
        cause = f"{_object(name)}: {frontend.allowed_by} allows {ranges}"
    if among is None:
        return Step(f"drop: {source} may not come in here", cause)
    return Step(f"{source} may come in: {among} contains it", cause)


def decided(port: ServicePort, frontend: Frontend, arm: Arm) -> Step:
    """The verdict of the source's arm."""
    pool = port.cluster if arm.pool is Pool.CLUSTER else port.local
    kind = "Local " if arm.pool is Pool.LOCAL else ""
    count = len(pool) if arm.verdict is Verdict.FORWARD else 0
    found = f"{count} usable {kind.lower()}endpoint{'' if count == 1 else 's'}"
    return Step(f"{arm.verdict.value}: {arm.reason.value}", f"{_policy(frontend, arm)}; {found} in {_slices(port.name)}")


def _policy(frontend: Frontend, arm: Arm) -> str:
    if arm.verdict is Verdict.REJECT:
        return "no policy finds any"
    internal = frontend.entry is Entry.CLUSTER_IP
    field = "spec.internalTrafficPolicy" if internal else "spec.externalTrafficPolicy"
    if arm.pool is Pool.LOCAL:
        return f"{field} Local"
    if not internal and frontend.outside.pool is Pool.LOCAL:
        return f"{field} Local binds only who comes from outside"
    return f"{field} Cluster"


def hinted(view: NodeView, name: ServicePortName, reason: Reason) -> Step:
    """Hints leave some ready endpoints to others."""
    if reason is Reason.SAME_NODE:
        meant, because = f"node/{view.node}", f"hints.forNodes of every ready endpoint in {_slices(name)}"
    else:
        meant = f"zone {view.zone}"
        because = f"hints.forZones of every ready endpoint in {_slices(name)}; node/{view.node}: label {ZONE_LABEL}"
    return Step(f"only endpoints meant for {meant} are used from here", because)


def remembered(port: ServicePort) -> Step:
    """The client keeps its endpoint."""
    seconds = f"{port.affinity} second{'' if port.affinity == 1 else 's'}"
    return Step(
        f"a client that has been here in the last {seconds} goes to the same endpoint again, if it is still one",
        f"{_object(port.name)}: spec.sessionAffinity ClientIP, spec.sessionAffinityConfig.clientIP.timeoutSeconds",
    )


def masqueraded(view: NodeView, name: ServicePortName, frontend: Frontend, arm: Arm, source: str) -> Step:
    """Some endpoint, or every one, sees the node."""
    if arm.masquerade is Masquerade.HAIRPIN:
        return Step("the pod sees this node's address when it reaches itself", "a hairpin is always masqueraded")
    if frontend.entry is not Entry.CLUSTER_IP and frontend.outside.pool is not Pool.LOCAL:
        because = (
            f"{_object(name)}: spec.externalTrafficPolicy Cluster, so answers must come back here, whatever node they leave"
        )
    elif frontend.pod.masquerade is Masquerade.ALWAYS:
        because = f"node/{view.node}: masquerade-all"
    else:
        because = f"the source is {source}, so answers must come back here"
    return Step("the endpoint sees this node's address", because)


def no_such_port(name: ServicePortName, address: str, port: int, protocol: Protocol) -> Step:
    """A cluster IP at a port that its Service does not have."""
    return Step(
        f"reject: {address} belongs to {name.namespace}/{name.service}, which has no such port",
        f"{_object(name)}: spec.ports has no {port}/{protocol.value}",
    )


def answered_here(view: NodeView, address: str) -> Step:
    """A server of the node's own answers there."""
    return Step("pass: this node answers here itself, and conntrack is not asked", f"node/{view.node}: cluster-dns {address}")


def own_address(
    view: NodeView, address: str, port: int, protocol: Protocol, elsewhere: tuple[ServicePortName, Frontend] | None
) -> Step:
    """The node's own address, at a port that is no node port there. `elsewhere`: it is one at another address of the node."""
    if elsewhere is None:
        return Step(
            "pass: the address is this node's own", f"node/{view.node}: no Service has node port {port}/{protocol.value}"
        )
    name, frontend = elsewhere
    return Step(
        f"pass: node port {port}/{protocol.value} of {_title(name)} does not answer at {address}",
        f"node/{view.node}: nodeport-addresses has {frontend.address}, not {address}",
    )


def left_alone(name: ServicePortName, frontend: Frontend, port: int, protocol: Protocol) -> Step:
    """An outer address of a Service, at a port that the Service does not have: that may be somebody else's."""
    field = "status.loadBalancer.ingress" if frontend.entry is Entry.LOAD_BALANCER else "spec.externalIPs"
    return Step(
        f"pass: {frontend.address} belongs to {name.namespace}/{name.service}, but this port is left alone",
        f"{_object(name)}: {field} has {frontend.address}, spec.ports has no {port}/{protocol.value}",
    )


def _object(name: ServicePortName) -> str:
    return f"service/{name.service} in {name.namespace}"


def _slices(name: ServicePortName) -> str:
    return f"the EndpointSlices labelled {SERVICE_NAME_LABEL}={name.service}"


def _title(name: ServicePortName) -> str:
    return f"{name.namespace}/{name.service}" + (f" port {name.port}" if name.port else "")


def _where(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
