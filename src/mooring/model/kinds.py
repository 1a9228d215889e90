"""Which kinds are there? The one table that discovery, storage, validation, OpenAPI and the clients read."""

from msgspec import Struct

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Kind(Struct, frozen=True, gc=False):
    """One API kind. `group` is '' for core; `plural` is the resource name in URLs."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return self.kind + "List"

    @property
    def group_resource(self) -> str:
        """As upstream's messages write it: 'services', 'deployments.apps'."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def prefix(self) -> str:
        """The store prefix under which all objects of the kind live, e.g. '/core/services/'."""
        return f"/{self.group or 'core'}/{self.plural}/"

    def key(self, namespace: str, name: str) -> str:
        """The store key, e.g. '/core/services/default/web', '/core/nodes/a'."""
        return f"{self.prefix}{namespace}/{name}" if self.namespaced else self.prefix + name

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, an object or its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


NAMESPACE = Kind("", "v1", "Namespace", "namespaces", "namespace", False, ("ns",), (), ("status", "finalize"))
NODE = Kind("", "v1", "Node", "nodes", "node", False, ("no",), (), ("status",))
POD = Kind("", "v1", "Pod", "pods", "pod", True, ("po",), ("all",), ("status", "log", "exec", "binding"))
SERVICE = Kind("", "v1", "Service", "services", "service", True, ("svc",), ("all",), ("status",))
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", "endpoints", True, ("ep",))
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", "configmap", True, ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", "secret", True)
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", True, ("sa",), (), ("token",))
CORE_EVENT = Kind("", "v1", "Event", "events", "event", True, ("ev",))
EVENT = Kind("events.k8s.io", "v1", "Event", "events", "event", True, ("ev",))
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice", True)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments", "deployment", True, ("deploy",), ("all",), ("status", "scale"))
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets", "replicaset", True, ("rs",), ("all",), ("status", "scale"))
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", "lease", True)
SERVICE_CIDR = Kind("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", "servicecidr", False, (), (), ("status",))
IP_ADDRESS = Kind("networking.k8s.io", "v1", "IPAddress", "ipaddresses", "ipaddress", False, ("ip",))
INGRESS = Kind("networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", True, ("ing",), (), ("status",))
INGRESS_CLASS = Kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass", False)

KINDS: tuple[Kind, ...] = (
    NAMESPACE, NODE, POD, SERVICE, ENDPOINTS, CONFIG_MAP, SECRET, SERVICE_ACCOUNT, CORE_EVENT, EVENT,
    ENDPOINT_SLICE, DEPLOYMENT, REPLICA_SET, LEASE, SERVICE_CIDR, IP_ADDRESS, INGRESS, INGRESS_CLASS,
)  # fmt: skip

BY_RESOURCE = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
BY_KIND = {(kind.api_version, kind.kind): kind for kind in KINDS}
