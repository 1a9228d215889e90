"""Which addresses do the words of a person mean? Where a packet starts and where it goes, in words of the cluster.

--from  POD  pod/POD  node/NODE  outside  outside/NODE  ADDRESS  ADDRESS/NODE
to      web:80  web.shop:80/udp  svc/web:80  pod/NAME:8080  node/NODE:30080  NODE:30080  localhost:30080  ADDRESS:PORT
"""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, structs

from mooring.app.objects import Objects
from mooring.endpoints.addresses import canonical, is_ipv6
from mooring.model.service import Service
from mooring.services.view import Protocol

Document = dict[str, Any]
LOOPBACK = "127.0.0.1"
LOCALHOST = "localhost"
_KINDS = {
    "po": "pod",
    "pod": "pod",
    "pods": "pod",
    "no": "node",
    "node": "node",
    "nodes": "node",
    "svc": "service",
    "service": "service",
    "services": "service",
}


class PlaceError(Exception):
    """The words mean nothing in this cluster. `usage`: in none."""

    def __init__(self, message: str, usage: bool = False) -> None:
        super().__init__(message)
        self.usage = usage


class Destination(Struct, frozen=True):
    """`owner` is the node that the address belongs to, or ''; `title` says who has it: 'service/web in default'."""

    address: str
    port: int
    protocol: Protocol
    owner: str = ""
    title: str = ""


class Origin(Struct, frozen=True):
    """Where a packet starts: an address, and the node whose tables it meets first. `kind` is pod, node or outside."""

    kind: str
    address: str
    node: str
    title: str
    uid: str = ""
    """Of the pod."""


def parse_destination(text: str) -> tuple[str, int, Protocol]:
    """'web:80', '10.96.0.10:53/udp', '[fd00:96::1]:80' to host, port and protocol. Raises PlaceError."""
    where, port_and_protocol = _split(text)
    port, _, protocol = port_and_protocol.partition("/")
    if not where or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise PlaceError(f"{text!r} is no destination: say HOST:PORT, with /udp or /sctp unless it is TCP", usage=True)
    try:
        return where.removeprefix("[").removesuffix("]"), int(port), Protocol((protocol or "tcp").upper())
    except ValueError:
        raise PlaceError(f"{protocol!r} is no protocol: tcp, udp or sctp", usage=True) from None


def _split(text: str) -> tuple[str, str]:
    where, _, rest = text.rpartition(":")
    return where, rest


def destination(text: str, objects: Objects, namespace: str) -> Destination:
    """Raises PlaceError."""
    host, port, protocol = parse_destination(text)
    address, title = _address(host, objects, namespace)
    return Destination(address, port, protocol, objects.owner(address), title)


def _address(host: str, objects: Objects, namespace: str) -> tuple[str, str]:
    """An address as it is, a Service's name as its cluster IP, a pod's or a node's as its first address."""
    if host == LOCALHOST:
        return LOOPBACK, ""
    try:
        address = canonical(host)
    except ValueError:
        return _named(host, objects, namespace)
    return address, _holder(address, objects)


def _named(host: str, objects: Objects, namespace: str) -> tuple[str, str]:
    word, _, name = host.partition("/") if "/" in host else ("", "", host)
    if word and word not in _KINDS:
        raise PlaceError(f"{word!r} is nothing that packets go to: service, pod or node", usage=True)
    kind = _KINDS.get(word, "")
    if kind in ("", "service"):
        short, _, rest = name.partition(".")
        wanted = rest.split(".")[0] or namespace, short
        service = next((each for each in objects.services if (each.metadata.namespace, each.metadata.name) == wanted), None)
        if service:
            return _cluster_ip(service), f"service/{short} in {wanted[0]}"
    if kind in ("", "pod") and (pod := pod_named(objects, namespace, name)):
        return _addresses(pod)[0], f"pod/{name} in {namespace}"
    if kind in ("", "node") and (node := objects.node(name)) and node.internal_ips:
        return canonical(node.internal_ips[0]), f"node/{name}"
    if kind:
        raise PlaceError(f"there is no {kind} {name!r}" + (f" in namespace {namespace!r}" if kind != "node" else ""))
    raise PlaceError(f"{host!r} is neither an address nor a Service or pod in namespace {namespace!r}, nor a node")


def _cluster_ip(service: Service) -> str:
    name, home, spec = service.metadata.name, service.metadata.namespace, service.spec
    if spec.type == "ExternalName":
        raise PlaceError(f"service/{name} in {home} is a name for {spec.external_name}: no packet is sent to it")
    if spec.cluster_ip in ("", "None"):
        raise PlaceError(f"service/{name} in {home} has no cluster IP: its names lead straight to the pods; say pod/NAME:PORT")
    return canonical(spec.cluster_ip)


def is_loopback(address: str) -> bool:
    return address == "::1" or address.startswith("127.")


def pod_of(objects: Objects, address: str) -> str:
    """namespace/name of the pod whose own address this is, or ''."""
    found = _pod_at(objects, address)
    return f"{found['metadata']['namespace']}/{found['metadata']['name']}" if found else ""


def _holder(address: str, objects: Objects) -> str:
    if pod := _pod_at(objects, address):
        return f"pod/{pod['metadata']['name']} in {pod['metadata']['namespace']}"
    owner = objects.node(objects.owner(address)) if objects.owner(address) else None
    return f"node/{owner.metadata.name}" if owner and address in owner.internal_ips else ""


def origin(text: str, objects: Objects, namespace: str, to: Destination, outside: Callable[[str], Sequence[str]]) -> Origin:
    """Where `text` says that a packet to `to` starts. Raises PlaceError.

    `outside(address)` gives the external client's address, and the address of the node it sends the packet to if it knows.
    """
    kind, _, name = text.partition("/") if "/" in text else ("", "", text)
    if "outside" in (kind, text):
        return _outside(name if kind else "", objects, to, outside(to.address))
    if _KINDS.get(kind) == "node":
        return _from_node(_known(objects, name), to)
    try:
        address = canonical(kind or name)
    except ValueError:
        return _from_pod(name, objects, namespace, to)
    return _from_address(address, name if kind else "", objects, to)


def _known(objects: Objects, name: str) -> Any:
    node = objects.node(name)
    if node is None:
        raise PlaceError(f"no node {name!r}; there are {', '.join(sorted(each.metadata.name for each in objects.nodes))}")
    return node


def _from_node(node: Any, to: Destination) -> Origin:
    """To an address of its own a node sends from that very address."""
    name = node.metadata.name
    if is_loopback(to.address) or (to.owner == name and to.address in node.internal_ips):
        return Origin("node", to.address, name, f"node/{name}")
    address = _of_family(node.internal_ips, is_ipv6(to.address), f"node/{name}")
    return Origin("node", address, name, f"node/{name}")


def _from_pod(name: str, objects: Objects, namespace: str, to: Destination) -> Origin:
    pod = pod_named(objects, namespace, name)
    if pod is None:
        raise PlaceError(f"no pod {name!r} in namespace {namespace!r}")
    title = f"pod/{name}"
    place = pod["spec"].get("nodeName", "")
    if pod["spec"].get("hostNetwork"):
        return structs.replace(_from_node(_known(objects, place), to), title=f"{title}, in the network of node/{place},")
    if not place:
        raise PlaceError(f"{title} is on no node yet")
    address = _of_family(_addresses(pod), is_ipv6(to.address), title)
    return Origin("pod", address, place, title, pod["metadata"]["uid"])


def _from_address(address: str, entry: str, objects: Objects, to: Destination) -> Origin:
    """Whoever has it; else somebody outside."""
    if is_ipv6(address) is not is_ipv6(to.address):
        raise PlaceError(f"{address} cannot reach {to.address}: they are of two families", usage=True)
    if pod := _pod_at(objects, address):
        return _from_pod(pod["metadata"]["name"], objects, pod["metadata"]["namespace"], to)
    owner = objects.owner(address)
    if owner and address in _known(objects, owner).internal_ips:
        return _from_node(_known(objects, owner), to)
    return _outside(entry, objects, to, (address, ""))


def _outside(entry: str, objects: Objects, to: Destination, known: Sequence[str]) -> Origin:
    """It enters where it is told to; else at the node that has the address; else where it is routed to; else at the first."""
    address, via = known
    if not address:
        raise PlaceError(f"the outside has no {'IPv6' if is_ipv6(to.address) else 'IPv4'} address, which the destination needs")
    names = sorted(each.metadata.name for each in objects.nodes)
    if not names:
        raise PlaceError("the cluster has no node")
    node = entry or to.owner or (objects.owner(via) if via else "") or names[0]
    return Origin("outside", address, _known(objects, node).metadata.name, "outside")


def pod_named(objects: Objects, namespace: str, name: str) -> Document | None:
    """None when there is none."""
    wanted = (namespace, name)
    return next((pod for pod in objects.pods if (pod["metadata"]["namespace"], pod["metadata"]["name"]) == wanted), None)


def _pod_at(objects: Objects, address: str) -> Document | None:
    """A pod of the node's own network has no address of its own."""
    return next((pod for pod in objects.pods if address in _ips(pod) and not pod["spec"].get("hostNetwork")), None)


def _ips(pod: Document) -> tuple[str, ...]:
    return tuple(each["ip"] for each in (pod.get("status") or {}).get("podIPs") or ())


def _addresses(pod: Document) -> tuple[str, ...]:
    found = _ips(pod)
    if not found:
        raise PlaceError(f"pod/{pod['metadata']['name']} has no address yet")
    return tuple(map(canonical, found))


def _of_family(addresses: Sequence[str], ipv6: bool, title: str) -> str:
    for address in map(canonical, addresses):
        if is_ipv6(address) is ipv6:
            return address
    raise PlaceError(f"{title} has no {'IPv6' if ipv6 else 'IPv4'} address, which the destination needs")
