"""Which roles and bindings does every cluster have? Upstream's, and those that Mooring's own processes work with.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
(plugin/pkg/auth/authorizer/rbac/bootstrappolicy), for the kinds there are. Long because it is a table.
"""

from typing import Any

from mooring.apiserver.authorization import node
from mooring.apiserver.authorization.rules import Rule, document

Document = dict[str, Any]

_API = "rbac.authorization.k8s.io/v1"
_GROUP = "rbac.authorization.k8s.io"
_META = {
    "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
}
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_ALL = ("*",)


def _role(name: str, *rules: Rule, into: str = "", aggregates: str = "") -> Document:
    """`into`: the role that this one is aggregated to. `aggregates`: this one is the sum of those with the label."""
    meta: Document = {"name": name, "labels": dict(_META["labels"]), "annotations": dict(_META["annotations"])}
    if into:
        meta["labels"][_AGGREGATE + into] = "true"
    found: Document = {"apiVersion": _API, "kind": "ClusterRole", "metadata": meta}
    if aggregates:
        selector = {"matchLabels": {_AGGREGATE + aggregates: "true"}}
        found["aggregationRule"] = {"clusterRoleSelectors": [selector]}
    found["rules"] = [document(rule) for rule in rules]
    return found


def _binding(role: str, *subjects: tuple[str, str], name: str = "") -> Document:
    return {
        "apiVersion": _API,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name or role, **_META},
        "roleRef": {"apiGroup": _GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _GROUP, "kind": kind, "name": subject} for kind, subject in subjects],
    }


def _events(*verbs: str) -> Rule:
    return Rule(verbs or ("create", "patch", "update"), ("", "events.k8s.io"), ("events",))


# What people may do -----------------------------------------------------------------------------------------------------

_CORE_VIEWED = (
    "configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods", "serviceaccounts",
    "services", "services/status", "bindings", "events", "namespaces/status", "pods/log", "pods/status", "namespaces",
)  # fmt: skip
_WORKLOADS = (
    "controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale", "deployments/status",
    "replicasets", "replicasets/scale", "replicasets/status", "statefulsets", "statefulsets/scale", "statefulsets/status",
)  # fmt: skip
_WRITTEN_WORKLOADS = tuple(name for name in _WORKLOADS if not name.endswith("/status") and name != "controllerrevisions")
_INGRESSES = ("ingresses", "ingresses/status")

_VIEW = (
    Rule(_READ, ("",), _CORE_VIEWED),
    Rule(_READ, ("discovery.k8s.io",), ("endpointslices",)),
    Rule(_READ, ("apps",), _WORKLOADS),
    Rule(_READ, ("batch",), ("jobs", "jobs/status")),
    Rule(_READ, ("policy",), ("poddisruptionbudgets", "poddisruptionbudgets/status")),
    Rule(_READ, ("networking.k8s.io",), _INGRESSES),
)
_EDIT = (
    Rule(_READ, ("",), ("pods/attach", "pods/proxy", "pods/exec", "pods/portforward", "secrets", "services/proxy")),
    Rule(("impersonate",), ("",), ("serviceaccounts",)),
    Rule(_WRITE, ("",), ("pods", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward")),
    Rule(("create",), ("",), ("pods/eviction",)),
    Rule(
        _WRITE, ("",),
        ("configmaps", "events", "persistentvolumeclaims", "secrets", "serviceaccounts", "services", "services/proxy"),
    ),
    Rule(("create",), ("",), ("serviceaccounts/token",)),
    Rule(_WRITE, ("apps",), _WRITTEN_WORKLOADS),
    Rule(_WRITE, ("batch",), ("jobs",)),
    Rule(_WRITE, ("policy",), ("poddisruptionbudgets",)),
    Rule(_WRITE, ("networking.k8s.io",), ("ingresses",)),
    Rule((*_WRITE, *_READ), ("coordination.k8s.io",), ("leases",)),
)  # fmt: skip
_ADMIN = (
    Rule(("create",), ("authorization.k8s.io",), ("localsubjectaccessreviews",)),
    Rule((*_WRITE, *_READ), (_GROUP,), ("roles", "rolebindings")),
)

# What Mooring's processes may do ----------------------------------------------------------------------------------------

_CONTROLLERS = (
    # The garbage collector takes owners and finalizers off, and it and namespaces that end delete, whatever the kind is.
    Rule(("list", "watch", "patch", "delete"), _ALL, _ALL),
    Rule(
        ("create",), ("",),
        ("configmaps", "endpoints", "namespaces", "persistentvolumeclaims", "pods", "pods/binding", "serviceaccounts",
         "services"),
    ),
    Rule(("create",), ("apps",), ("controllerrevisions", "deployments", "replicasets")),
    Rule(("create",), ("discovery.k8s.io",), ("endpointslices",)),
    Rule(("create",), ("networking.k8s.io",), ("ingressclasses", "ipaddresses", "servicecidrs")),
    Rule(("create",), ("storage.k8s.io",), ("storageclasses",)),
    Rule(("update",), ("",), ("endpoints", "namespaces/finalize")),
    Rule(("update",), ("discovery.k8s.io",), ("endpointslices",)),
    _events(),
)  # fmt: skip
"""What the reconcilers write, together. The sum of aggregated roles is written without `escalate`: see escalation.py."""
_GATEWAY = (
    Rule(("list", "watch"), ("",), ("services", "secrets", "configmaps")),
    Rule(("list", "watch"), ("discovery.k8s.io",), ("endpointslices",)),
    Rule(("list", "watch"), ("networking.k8s.io",), ("ingresses",)),
    Rule(_READ, ("networking.k8s.io",), ("ingressclasses",)),
    _events(),
)
_PROXIER = (
    Rule(("list", "watch"), ("",), ("services", "endpoints")),
    Rule(_READ, ("",), ("nodes",)),
    _events(),
    Rule(("list", "watch"), ("discovery.k8s.io",), ("endpointslices",)),
    Rule(("list", "watch"), ("networking.k8s.io",), ("servicecidrs",)),
)
_PROVISIONER = (
    Rule(("create", "delete", "list", "patch", "watch"), ("",), ("persistentvolumes",)),
    Rule(("list", "watch"), ("",), ("persistentvolumeclaims",)),
    Rule(_READ, ("storage.k8s.io",), ("storageclasses",)),
    _events(),
)
"""Nodes have it. Of volumes they write only those that lie on themselves: see admission/node_restriction.py."""
_DNS = (
    Rule(("list", "watch"), ("",), ("endpoints", "services", "namespaces", "nodes")),
    Rule(("list", "watch"), ("discovery.k8s.io",), ("endpointslices",)),
    Rule(("list", "watch"), ("networking.k8s.io",), ("ingresses",)),
)
_DNS_PODS = (Rule(("list", "watch"), ("",), ("pods",)),)
"""Only where names of pods are verified, or pods' search paths walked for them: a node sees other nodes' pods then."""

_PUBLIC = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", *_PUBLIC[:1], "/livez", "/openapi", "/openapi/*", "/readyz", *_PUBLIC[3:])
_MONITORED = ("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*")
_ISSUER = ("/.well-known/openid-configuration", "/openid/v1/jwks")

CLUSTER_ROLES: tuple[Document, ...] = (
    _role("cluster-admin", Rule(_ALL, _ALL, _ALL), Rule(_ALL, paths=_ALL)),
    _role("system:discovery", Rule(("get",), paths=_DISCOVERY)),
    _role("system:public-info-viewer", Rule(("get",), paths=_PUBLIC)),
    _role(
        "system:basic-user",
        Rule(("create",), ("authorization.k8s.io",), ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
        Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
    ),
    _role("system:monitoring", Rule(("get",), paths=_MONITORED)),
    _role("system:service-account-issuer-discovery", Rule(("get",), paths=_ISSUER)),
    _role("admin", aggregates="admin"),
    _role("edit", into="admin", aggregates="edit"),
    _role("view", into="edit", aggregates="view"),
    _role("system:aggregate-to-admin", *_ADMIN, into="admin"),
    _role("system:aggregate-to-edit", *_EDIT, into="edit"),
    _role("system:aggregate-to-view", *_VIEW, into="view"),
    _role("system:kubelet-api-admin", Rule(_READ, ("",), ("nodes",)), Rule(("proxy",), ("",), ("nodes",)),
          Rule(_ALL, ("",), ("nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats"))),
    _role(
        "system:auth-delegator",
        Rule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
        Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),
    ),
    _role("system:node", *node.RULES),
    _role("system:node-proxier", *_PROXIER),
    _role("system:kube-dns", *_DNS),
    _role("system:persistent-volume-provisioner", *_PROVISIONER),
    _role("system:kube-controller-manager", *_CONTROLLERS),
    _role("mooring:dns-pods", *_DNS_PODS),
    _role("mooring:gateway", *_GATEWAY),
)  # fmt: skip

_EVERYONE = ("Group", "system:authenticated")
CLUSTER_ROLE_BINDINGS: tuple[Document, ...] = (
    _binding("cluster-admin", ("Group", "system:masters")),
    _binding("system:discovery", _EVERYONE),
    _binding("system:basic-user", _EVERYONE),
    _binding("system:public-info-viewer", _EVERYONE, ("Group", "system:unauthenticated")),
    _binding("system:monitoring", ("Group", "system:monitoring")),
    _binding("system:service-account-issuer-discovery", ("Group", "system:serviceaccounts")),
    _binding("system:kube-controller-manager", ("User", "system:kube-controller-manager")),
    _binding("system:node-proxier", ("Group", node.GROUP)),
    _binding("system:kube-dns", ("Group", node.GROUP)),
    _binding("system:persistent-volume-provisioner", ("Group", node.GROUP)),
    _binding("mooring:gateway", ("Group", "system:serviceaccounts:mooring-system")),
)
NODES_READ_PODS = _binding("mooring:dns-pods", ("Group", node.GROUP))
"""There when Settings.nodes_read_pods says so."""
