"""core/v1 Node, as logic sees it."""

from functools import lru_cache
from ipaddress import ip_address

import msgspec
from msgspec import Struct, field

from mooring.model.meta import Document, Meta

ZONE_LABEL = "topology.kubernetes.io/zone"


@lru_cache(maxsize=4096)
def _is_address(text: str) -> bool:
    try:
        return not getattr(ip_address(text), "scope_id", None)
    except ValueError:
        return False


class NodeAddress(Struct, frozen=True, gc=False):
    type: str = ""
    address: str = ""


class Taint(Struct, frozen=True, gc=False):
    key: str
    effect: str
    value: str = ""


class NodeSpec(Struct, frozen=True, gc=False):
    pod_cidr: str = field(name="podCIDR", default="")
    pod_cidrs: tuple[str, ...] | None = field(name="podCIDRs", default=None)
    unschedulable: bool = False
    taints: tuple[Taint, ...] | None = None


class NodeCondition(Struct, frozen=True, gc=False):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class NodeStatus(Struct, frozen=True, gc=False):
    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[NodeCondition, ...] | None = None
    capacity: dict[str, str] | None = None
    allocatable: dict[str, str] | None = None


class Node(Struct, frozen=True, gc=False):
    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def internal_ips(self) -> tuple[str, ...]:
        """Those that are addresses: the API takes any text from a node."""
        return tuple(a.address for a in self.status.addresses or () if a.type == "InternalIP" and _is_address(a.address))

    @property
    def zone(self) -> str:
        return (self.metadata.labels or {}).get(ZONE_LABEL, "")


def node(document: Document) -> Node:
    """The view of a document. Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(document, Node)
