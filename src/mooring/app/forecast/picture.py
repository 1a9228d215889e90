"""What do some Services mean in one state of the cluster? Their views on every node, their names, and what serves them.

Only the Services that may differ between two states are looked at: all of a large cluster's would take a while on each node.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from functools import cached_property
from typing import TypeVar

import msgspec

from mooring.app.forecast.fork import Objects
from mooring.control.owners import controller_of
from mooring.control.reconciler import Document
from mooring.dataplane.reach import Reach, Way, reach, shadowed
from mooring.endpoints.addresses import readable
from mooring.endpoints.select import Endpoint
from mooring.model.discovery import SERVICE_NAME_LABEL, EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, POD, REPLICA_SET, SERVICE, SERVICE_CIDR
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.services.build import build_view, by_service
from mooring.services.locality import Locality, ProxyOptions, locality, options_of
from mooring.services.names import published, told
from mooring.services.view import NodeView, Protocol, ServiceName

T = TypeVar("T")
Claim = tuple[ServiceName, str, int, Protocol]
Records = Mapping[tuple[str, str], tuple[ServiceName, tuple[str, ...]]]
"""Whose a name is and what it leads to, by name and record type: {('web.default.svc', 'A'): (..., ('10.96.0.7',))}."""


class Picture:
    """`only` are the Services to look at."""

    def __init__(self, objects: Objects, only: Iterable[ServiceName]) -> None:
        self._objects = objects
        wanted = set(only)
        found = _views((each for key, each in objects[SERVICE].items() if key in wanted), service)
        self.services: dict[ServiceName, Service] = {(each.metadata.namespace, each.metadata.name): each for each in found}
        slices = (each for each in objects[ENDPOINT_SLICE].values() if service_of(each) in wanted)
        self.slices: dict[ServiceName, list[EndpointSlice]] = by_service(_views(slices, endpoint_slice))
        self.nodes: dict[str, Node] = {each.metadata.name: each for each in _views(objects[NODE].values(), node)}

    @cached_property
    def views(self) -> dict[str, NodeView]:
        """By node."""
        cidrs = [cidr for each in self._objects[SERVICE_CIDR].values() for cidr in each["spec"]["cidrs"]]
        slices = [each for found in self.slices.values() for each in found]
        return {
            name: build_view(each, self.services.values(), slices, cidrs, options(each)) for name, each in self.nodes.items()
        }

    @cached_property
    def reach(self) -> dict[Way, Reach]:
        """Of all nodes together."""
        return {way: end for view in self.views.values() for way, end in reach(view).items()}

    @cached_property
    def shadowed(self) -> dict[Claim, ServiceName]:
        """Which frontends a Service claims in vain on any node, and who has each instead."""
        return {claim: owner for view in self.views.values() for claim, owner in shadowed(view).items()}

    @cached_property
    def records(self) -> Records:
        """The names in the cluster's domain, without the domain."""
        found: dict[tuple[str, str], tuple[ServiceName, tuple[str, ...]]] = {}
        for name, each in self.services.items():
            own = f"{name[1]}.{name[0]}.svc"
            if each.spec.type == "ExternalName":
                found[(own, "CNAME")] = name, (each.spec.external_name,)
            for host, all_addresses in told(published(each, self.slices.get(name, ()))).items():
                for kind, colon in (("A", False), ("AAAA", True)):
                    addresses = tuple(each for each in all_addresses if (":" in each) is colon)
                    if addresses:
                        found[(f"{host}.{own}" if host else own, kind)] = name, addresses
        return found

    def workload(self, service: ServiceName, endpoint: Endpoint) -> str:
        """What serves at an endpoint: 'deployment/web', 'pod/web-0', or the bare address where no Pod is named."""
        pod = self.pod(service, endpoint.address)
        return self.controller(pod) if pod else endpoint.address

    def pod(self, service: ServiceName, address: str) -> Document | None:
        """The Pod behind an endpoint of a Service."""
        name = self._pod_names.get((service, address))
        return self._objects[POD].get(name) if name else None

    def has(self, pod: Document) -> bool:
        """Whether this very Pod is there."""
        held = self._objects[POD].get((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        return held is not None and held["metadata"]["uid"] == pod["metadata"]["uid"]

    @cached_property
    def _pod_names(self) -> dict[tuple[ServiceName, str], tuple[str, str]]:
        return {
            (name, address): (each.target_ref.namespace or name[0], each.target_ref.name)
            for name, found in self.slices.items()
            for slice_ in found
            for each in slice_.endpoints or ()
            if each.target_ref and each.target_ref.kind == "Pod"
            for address in readable(each.addresses[:1])
        }

    def controller(self, pod: Document) -> str:
        """The top of the chain: a ReplicaSet comes and goes with each version of its Deployment."""
        owner = controller_of(pod)
        if owner is None:
            return f"pod/{pod['metadata']['name']}"
        if owner["kind"] == REPLICA_SET.kind:
            replicas = self._objects[REPLICA_SET].get((pod["metadata"]["namespace"], owner["name"]))
            owner = (controller_of(replicas) if replicas else None) or owner
        return f"{owner['kind'].lower()}/{owner['name']}"


def concerned(before: Objects, after: Objects) -> set[ServiceName]:
    """The Services whose packets or names may differ: they or their slices differ, or those of another that claims the same
    address and port; all, when a node differs in what Services depend on.
    """
    services = {*before[SERVICE], *after[SERVICE]}
    if _localities(before) != _localities(after):
        return services
    found = {name for name in services if _differs(before[SERVICE].get(name), after[SERVICE].get(name))}
    for key in {*before[ENDPOINT_SLICE], *after[ENDPOINT_SLICE]}:
        was, is_ = before[ENDPOINT_SLICE].get(key), after[ENDPOINT_SLICE].get(key)
        if _differs(was, is_):
            found |= {service_of(each) for each in (was, is_) if each is not None}
    found &= services
    hosts = {address for each in _localities(after).values() for address in each.addresses}
    claims = {name: _claims(before[SERVICE].get(name), hosts) | _claims(after[SERVICE].get(name), hosts) for name in services}
    shared = {claim for name in found for claim in claims[name]}
    return found | {name for name in services if claims[name] & shared}


def _differs(was: Document | None, is_: Document | None) -> bool:
    return was is not is_ and was != is_


def service_of(slice_: Document) -> ServiceName:
    """(namespace, name) of the Service that a slice is labelled with; name is '' when it is not."""
    metadata = slice_["metadata"]
    return metadata.get("namespace", ""), (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL, "")


def options(found: Node) -> ProxyOptions:
    """What the node's agent runs with; the defaults where that cannot be read or means nothing."""
    try:
        chosen = options_of(found)
        locality(found, chosen)
    except (ValueError, msgspec.ValidationError):
        return ProxyOptions()
    return chosen


def _localities(objects: Objects) -> dict[str, Locality]:
    return {each.metadata.name: locality(each, options(each)) for each in _views(objects[NODE].values(), node)}


def _claims(document: Document | None, hosts: Set[str]) -> set[tuple[str, int]]:
    """Every address and port that a Service claims; '' stands for the nodes' own addresses (`hosts`), where node ports are."""
    if document is None:
        return set()
    spec = document.get("spec") or {}
    ports = spec.get("ports") or ()
    ingress = ((document.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    claimed = [*(spec.get("clusterIPs") or ()), *(spec.get("externalIPs") or ()), *(each.get("ip") or "" for each in ingress)]
    doors = {("" if address in hosts else address, port["port"]) for address in readable(claimed) for port in ports}
    return doors | {("", port["nodePort"]) for port in ports if port.get("nodePort")}


def _views(documents: Iterable[Document], view: Callable[[Document], T]) -> Iterator[T]:
    """Those that can be read; the dataplane leaves the others out too."""
    for document in documents:
        try:
            yield view(document)
        except msgspec.ValidationError:
            continue
