"""Where does a request below .../proxy go? To a pod, to one of a Service's endpoints, or to a node's kubelet.

Addresses come from objects alone, and never lead to the API server's own machine or link: loopback and link-local ones are
refused, in upstream's words. The path is made straight before it goes on, so that it cannot climb out of what it is below.
Source: ResourceLocation of k8s.io/kubernetes/pkg/registry/core/{pod,service,node}, apimachinery's util/proxy.
"""

import ipaddress
from typing import Any
from urllib.parse import quote, urlencode

from mooring.apiserver import errors
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Onward, Proxy, Response
from mooring.apiserver.errors import StatusError, bad_request
from mooring.apiserver.kubelet import kubelet_address, upgrades
from mooring.apiserver.strategy import Document
from mooring.model import codec
from mooring.model.kinds import ENDPOINTS, POD, SERVICE, Kind
from mooring.store.records import Record

_SCHEMES = ("http", "https")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def proxy(call: Call) -> Proxy | Response:
    """Any method on pods|services|nodes/[scheme:]name[:port]/proxy/..., but CONNECT, which is none of a path."""
    if call.request.method == "CONNECT":
        raise errors.method_not_allowed(call.kind, call.request.method)
    path, prefix = call.target.path, call.kind.path(call.namespace, call.name, "proxy")
    if not path and call.request.method in ("GET", "HEAD") and not upgrades(call):
        # What is relative on the page that comes back must be found below, not beside.
        query = f"?{urlencode(call.request.query)}" if call.request.query else ""
        return Response(301, b"", "text/plain", (("Location", quote(prefix, safe="/:") + "/" + query),))
    node, scheme, address, port = _LOCATE[call.kind.plural](call, *_split(call))
    return Proxy(node, address, port, straight(path), call.request.query, Onward(scheme, prefix))


def straight(path: str) -> str:
    """An absolute path without empty parts, '.' and '..'; a slash at its end stays."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts) + ("/" if parts and path.endswith("/") else "")


def proxyable(address: str) -> bool:
    """Go's IP.IsGlobalUnicast: no loopback, link-local, multicast or unspecified address, in whatever spelling."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    within_the_host = ip.is_loopback or ip.is_link_local or ip.is_unspecified
    return not (within_the_host or ip.is_multicast or str(ip) == "255.255.255.255")


def _split(call: Call) -> tuple[str, str, str]:
    """Scheme, name and port of [scheme:]name[:port], each may be ''. Raises StatusError 400."""
    parts = call.name.split(":")
    scheme, name, port = {1: ("", *parts, ""), 2: ("", *parts), 3: tuple(parts)}.get(len(parts), ("?", "", ""))
    if not name or scheme not in ("", *_SCHEMES):
        raise _invalid(call)
    return scheme, name, port


def _invalid(call: Call) -> StatusError:
    return bad_request(f"invalid {call.kind.singular} request {errors.quote(call.name)}")


def _unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)


def _existing(call: Call, kind: Kind, name: str) -> Document:
    record: Record | None = call.snapshot.get(kind.key(call.namespace if kind.namespaced else "", name))
    if record is None:
        raise errors.not_found(kind, name)
    document: Document = codec.decode(record.value)
    return document


def _number(call: Call, port: str) -> int:
    """Raises StatusError 400."""
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise _invalid(call)
    return int(port)


def _pod(call: Call, scheme: str, name: str, port: str) -> tuple[str, str, str, int]:
    """Its first address. Without a port, the first that one of its containers names."""
    pod = _existing(call, POD, name)
    scheme = scheme or "http"
    named = [each for container in pod["spec"].get("containers") or () for each in container.get("ports") or ()]
    if not port:
        number = named[0]["containerPort"] if named else _DEFAULT_PORTS[scheme]
    else:
        found = next((each["containerPort"] for each in named if each.get("name") == port), None)
        number = found or _number(call, port)
    address = _address_of(pod)
    if not proxyable(address):
        raise bad_request("address not allowed")
    return "", scheme, address, number


def _address_of(pod: Document) -> str:
    addresses = (pod.get("status") or {}).get("podIPs") or ()
    return str(addresses[0].get("ip", "")) if addresses else ""


def _service(call: Call, scheme: str, name: str, port: str) -> tuple[str, str, str, int]:
    """One of its ready endpoints, by chance. The port is the Service's own, by number or name."""
    if port.isascii() and port.isdecimal():
        service = _existing(call, SERVICE, name)
        named = [each.get("name", "") for each in service["spec"].get("ports") or () if each.get("port") == int(port[:9])]
        if not named:
            raise _unavailable(f"no service port {port} found for service {errors.quote(name)}")
        port = named[0]
    found = [
        (address["ip"], each["port"])
        for subset in _existing(call, ENDPOINTS, name).get("subsets") or ()
        for each in subset.get("ports") or ()
        if each.get("name", "") == port
        for address in subset.get("addresses") or ()
        if _is_pods(call, address)
    ]
    if not found:
        raise _unavailable(f"no endpoints available for service {errors.quote(name)}")
    address, number = found[call.env.rng.randrange(len(found))]
    return "", scheme or "http", address, number


def _is_pods(call: Call, address: dict[str, Any]) -> bool:
    """Whether an endpoint is what it says: the address of a pod of the same namespace. Anybody may write Endpoints."""
    target = address.get("targetRef") or {}
    if target.get("namespace") != call.namespace or not proxyable(address.get("ip", "")):
        return False
    record = call.snapshot.get(POD.key(call.namespace, str(target.get("name", ""))))
    if record is None:
        return False
    addresses = (codec.decode(record.value).get("status") or {}).get("podIPs") or ()
    return any(each.get("ip") == address["ip"] for each in addresses)


def _node(call: Call, scheme: str, name: str, port: str) -> tuple[str, str, str, int]:
    """Its kubelet, and nothing else that listens there."""
    address, number = kubelet_address(call, name)
    if port and _number(call, port) != number:
        raise bad_request(f"node {errors.quote(name)} is proxied to its kubelet only, port {number}")
    if not proxyable(address):
        raise bad_request("address not allowed")
    return name, "kubelet", address, number


_LOCATE = {"pods": _pod, "services": _service, "nodes": _node}
