"""Which kinds are there? The one table that discovery, storage, validation, OpenAPI and the clients read."""

from msgspec import Struct, structs

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Kind(Struct, frozen=True, gc=False, cache_hash=True):
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
    verbs: tuple[str, ...] = ALL_VERBS
    list_name: str = ""
    """The kind of its lists where that is not the kind with 'List' behind, as definitions may say."""
    api_version: str = ""
    """'v1', 'apps/v1'. This and `prefix` follow from the others: every request asks for them."""
    prefix: str = ""
    """The store prefix under which all objects of the kind live, e.g. '/core/services/'."""

    def __post_init__(self) -> None:
        structs.force_setattr(self, "api_version", f"{self.group}/{self.version}" if self.group else self.version)
        structs.force_setattr(self, "prefix", f"/{self.group or 'core'}/{self.plural}/")

    @property
    def stored(self) -> bool:
        """False for what is asked and answered but never kept: reviews."""
        return "get" in self.verbs

    @property
    def list_kind(self) -> str:
        return self.list_name or self.kind + "List"

    @property
    def group_resource(self) -> str:
        """As upstream's messages write it: 'services', 'deployments.apps'."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

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
NODE = Kind("", "v1", "Node", "nodes", "node", False, ("no",), (), ("status", "proxy"))
POD = Kind(
    "", "v1", "Pod", "pods", "pod", True, ("po",), ("all",),
    ("status", "log", "exec", "binding", "eviction", "attach", "portforward", "proxy", "ephemeralcontainers", "resize"),
)  # fmt: skip
SERVICE = Kind("", "v1", "Service", "services", "service", True, ("svc",), ("all",), ("status", "proxy"))
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

STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", "statefulset", True, ("sts",), ("all",), ("status", "scale"))
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets", "daemonset", True, ("ds",), ("all",), ("status",))
CONTROLLER_REVISION = Kind("apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision", True)
JOB = Kind("batch", "v1", "Job", "jobs", "job", True, (), ("all",), ("status",))
PERSISTENT_VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume", False, ("pv",), (), ("status",))
PERSISTENT_VOLUME_CLAIM = Kind(
    "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", True, ("pvc",), (), ("status",)
)
STORAGE_CLASS = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", "storageclass", False, ("sc",))
POD_DISRUPTION_BUDGET = Kind(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", True, ("pdb",), (), ("status",)
)

_RBAC = "rbac.authorization.k8s.io"
ROLE = Kind(_RBAC, "v1", "Role", "roles", "role", True)
ROLE_BINDING = Kind(_RBAC, "v1", "RoleBinding", "rolebindings", "rolebinding", True)
CLUSTER_ROLE = Kind(_RBAC, "v1", "ClusterRole", "clusterroles", "clusterrole", False)
CLUSTER_ROLE_BINDING = Kind(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", False)

CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "customresourcedefinition", False,
    ("crd", "crds"), ("api-extensions",), ("status",),
)  # fmt: skip

_ADMISSION = "admissionregistration.k8s.io"
_EXTENSIONS = ("api-extensions",)
MUTATING_WEBHOOK_CONFIGURATION = Kind(
    _ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration", False,
    (), _EXTENSIONS,
)  # fmt: skip
VALIDATING_WEBHOOK_CONFIGURATION = Kind(
    _ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "validatingwebhookconfiguration",
    False, (), _EXTENSIONS,
)  # fmt: skip
VALIDATING_ADMISSION_POLICY = Kind(
    _ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "validatingadmissionpolicy", False,
    (), _EXTENSIONS, ("status",),
)  # fmt: skip
VALIDATING_ADMISSION_POLICY_BINDING = Kind(
    _ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings",
    "validatingadmissionpolicybinding", False, (), _EXTENSIONS,
)  # fmt: skip

_ASKED = ("create",)


def _review(group: str, kind: str, namespaced: bool = False) -> Kind:
    return Kind(group, "v1", kind, kind.lower() + "s", kind.lower(), namespaced, verbs=_ASKED)


TOKEN_REVIEW = _review("authentication.k8s.io", "TokenReview")
SELF_SUBJECT_REVIEW = _review("authentication.k8s.io", "SelfSubjectReview")
SUBJECT_ACCESS_REVIEW = _review("authorization.k8s.io", "SubjectAccessReview")
SELF_SUBJECT_ACCESS_REVIEW = _review("authorization.k8s.io", "SelfSubjectAccessReview")
LOCAL_SUBJECT_ACCESS_REVIEW = _review("authorization.k8s.io", "LocalSubjectAccessReview", True)
SELF_SUBJECT_RULES_REVIEW = _review("authorization.k8s.io", "SelfSubjectRulesReview")
BINDING = Kind("", "v1", "Binding", "bindings", "binding", True, verbs=_ASKED)

KINDS: tuple[Kind, ...] = (
    NAMESPACE, NODE, POD, SERVICE, ENDPOINTS, CONFIG_MAP, SECRET, SERVICE_ACCOUNT, CORE_EVENT, EVENT,
    ENDPOINT_SLICE, DEPLOYMENT, REPLICA_SET, LEASE, SERVICE_CIDR, IP_ADDRESS, INGRESS, INGRESS_CLASS,
    STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION, JOB, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS,
    POD_DISRUPTION_BUDGET, ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, CUSTOM_RESOURCE_DEFINITION,
    MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION, VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING, TOKEN_REVIEW, SELF_SUBJECT_REVIEW, SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW, LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_RULES_REVIEW, BINDING,
)  # fmt: skip
STORED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.stored)

BY_RESOURCE = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
BY_KIND = {(kind.api_version, kind.kind): kind for kind in KINDS}
