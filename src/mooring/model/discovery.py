"""discovery.k8s.io/v1 EndpointSlice, as logic sees it."""

import msgspec
from msgspec import Struct, field

from mooring.model.meta import Document, Meta

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"


class Conditions(Struct, frozen=True, gc=False):
    """Nil ready and serving read as true, nil terminating as false (reference: EndpointConditions)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(Struct, frozen=True, gc=False):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Hint(Struct, frozen=True, gc=False):
    name: str


class Hints(Struct, frozen=True, gc=False):
    for_zones: tuple[Hint, ...] | None = field(name="forZones", default=None)
    for_nodes: tuple[Hint, ...] | None = field(name="forNodes", default=None)


class SliceEndpoint(Struct, frozen=True, gc=False):
    """Only the first address has meaning."""

    addresses: tuple[str, ...]
    conditions: Conditions | None = None
    hostname: str | None = None
    node_name: str | None = field(name="nodeName", default=None)
    zone: str | None = None
    target_ref: TargetRef | None = field(name="targetRef", default=None)
    hints: Hints | None = None


class SlicePort(Struct, frozen=True, gc=False):
    """A nil port means all ports; the dataplane ignores such entries."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    app_protocol: str | None = field(name="appProtocol", default=None)


class EndpointSlice(Struct, frozen=True, gc=False):
    metadata: Meta
    address_type: str = field(name="addressType")
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None

    @property
    def service(self) -> tuple[str, str]:
        """(namespace, name) of the Service it belongs to, by label; name is '' when unlabelled."""
        return self.metadata.namespace, (self.metadata.labels or {}).get(SERVICE_NAME_LABEL, "")


def endpoint_slice(document: Document) -> EndpointSlice:
    """The view of a document. Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(document, EndpointSlice)
