"""What does the API say now of everything that a node's packets depend on? One reading, and each node's view of it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from mooring.app.connection import Connection, Refused
from mooring.endpoints.addresses import canonical_range, contains, readable
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE, SERVICE_CIDR, Kind
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.services.build import build_view
from mooring.services.locality import ANNOTATION
from mooring.services.view import NodeView

Document = dict[str, Any]
Value = TypeVar("Value")


class BadOptions(Exception):
    """What a node's agent says it runs with means nothing: which node, which option."""


class Objects(Struct, frozen=True):
    """`pods` are documents, for their names and places only."""

    nodes: tuple[Node, ...]
    services: tuple[Service, ...]
    slices: tuple[EndpointSlice, ...]
    service_cidrs: tuple[str, ...]
    pods: tuple[Document, ...] = ()

    def node(self, name: str) -> Node | None:
        return next((each for each in self.nodes if each.metadata.name == name), None)

    def view(self, name: str) -> NodeView:
        """What the named node must do. Raises KeyError, BadOptions."""
        chosen = self.node(name)
        if chosen is None:
            raise KeyError(name)
        try:
            return build_view(chosen, self.services, self.slices, self.service_cidrs)
        except ValueError as error:
            raise BadOptions(f"node/{name}: annotation {ANNOTATION}: {error}") from error

    def owner(self, address: str) -> str:
        """The node that has this address, or in whose pod range it is; '' when none."""
        found = next((each for each in self.nodes if address in _own(each)), None)
        found = found or next((each for each in self.nodes if any(contains(cidr, address) for cidr in _pods(each))), None)
        return found.metadata.name if found else ""


def read(connection: Connection, *, pods: bool = True) -> Objects:
    """Raises Refused, Unreachable. What the model cannot read, no agent can either: it is left out."""
    ranges = [cidr for each in listed(connection, SERVICE_CIDR) for cidr in (each.get("spec") or {}).get("cidrs") or ()]
    return Objects(
        decoded(listed(connection, NODE), node),
        decoded(listed(connection, SERVICE), service),
        decoded(listed(connection, ENDPOINT_SLICE), endpoint_slice),
        tuple(sorted(set(ranges))),
        tuple(listed(connection, POD)) if pods else (),
    )


def listed(connection: Connection, kind: Kind) -> list[Document]:
    """All objects of a kind. Nothing where the server does not know the kind: ServiceCIDRs came with Kubernetes 1.33."""
    try:
        return connection.get(kind.path()).get("items") or []
    except Refused as refusal:
        if refusal.code == 404 and kind is SERVICE_CIDR:
            return []
        raise


def decoded(documents: Iterable[Document], decode: Callable[[Document], Value]) -> tuple[Value, ...]:
    """Those that the view can read."""
    found = []
    for each in documents:
        try:
            found.append(decode(each))
        except msgspec.ValidationError:
            continue
    return tuple(found)


def _pods(each: Node) -> Iterator[str]:
    for cidr in each.spec.pod_cidrs or (each.spec.pod_cidr,):
        with suppress(ValueError):
            yield canonical_range(cidr)


def _own(each: Node) -> tuple[str, ...]:
    return readable(address.address for address in each.status.addresses or () if address.type in ("InternalIP", "ExternalIP"))
