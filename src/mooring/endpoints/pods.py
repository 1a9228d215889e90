"""What does a pod say about serving? Its addresses, ports and conditions, as endpoints are made from them.

Rules: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#conditions and KEP-1672 (terminating endpoints).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

Document = dict[str, Any]


class PodFacts(Struct, frozen=True, gc=False):
    """Equal facts make equal endpoints, so a change of a pod that leaves them equal concerns no Service."""

    namespace: str
    name: str
    uid: str
    addresses: tuple[str, ...]
    node: str
    ready: bool
    terminating: bool
    terminal: bool
    hostname: str
    subdomain: str
    since: str
    """When the Ready condition last changed, RFC 3339; '' when it never did."""


def pod_facts(pod: Document) -> PodFacts:
    metadata, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    ready, since = False, ""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready":
            ready, since = condition.get("status") == "True", condition.get("lastTransitionTime") or ""
    addresses = tuple(entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip"))
    if not addresses and status.get("podIP"):
        addresses = (status["podIP"],)
    return PodFacts(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        addresses=addresses,
        node=spec.get("nodeName") or "",
        ready=ready,
        terminating=bool(metadata.get("deletionTimestamp")),
        terminal=status.get("phase") in ("Succeeded", "Failed"),
        hostname=spec.get("hostname") or "",
        subdomain=spec.get("subdomain") or "",
        since=since,
    )


def address_of(facts: PodFacts, family: str) -> str:
    """The pod's first address of the family ('IPv4' or 'IPv6'), '' if it has none."""
    for address in facts.addresses:
        if (":" in address) == (family == "IPv6"):
            return address
    return ""


def selects(selector: Mapping[str, str] | None, labels: Mapping[str, str] | None) -> bool:
    """Does a Service's selector choose these labels? An absent or empty selector chooses nothing."""
    if not selector or not labels:
        return False
    return all(labels.get(key) == value for key, value in selector.items())


def resolved_ports(service: Document, pod: Document) -> tuple[Document, ...]:
    """The Service's ports as this pod has them; a named targetPort that the pod does not have is left out."""
    ports = []
    for port in service["spec"].get("ports") or ():
        number = target_number(port, pod)
        if number:
            ports.append(slice_port(port, number))
    return tuple(ports)


def slice_port(port: Document, number: int) -> Document:
    """A discovery/v1 EndpointPort for a Service's port."""
    resolved: Document = {"name": port.get("name") or "", "protocol": port.get("protocol") or "TCP", "port": number}
    if port.get("appProtocol"):
        resolved["appProtocol"] = port["appProtocol"]
    return resolved


def target_number(port: Document, pod: Document) -> int:
    """The port number that a Service's port has on this pod, 0 when its name is unknown there."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    protocol = port.get("protocol") or "TCP"
    for container in serving_containers(pod.get("spec") or {}):
        for candidate in container.get("ports") or ():
            if candidate.get("name") == target and (candidate.get("protocol") or "TCP") == protocol:
                return int(candidate["containerPort"])
    return 0


def serving_containers(spec: Document) -> Iterable[Document]:
    """Containers, then sidecars: init containers that are restarted always (KEP-753) serve as long as the pod does."""
    yield from spec.get("containers") or ()
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            yield container
