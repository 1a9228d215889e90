"""What may a node ask for? The objects of its own pods, and what every kubelet needs.

https://kubernetes.io/docs/reference/access-authn-authz/node/ (plugin/pkg/auth/authorizer/node). What a node may write, its own
Node, Lease and pods and no other's, is checked where writes are admitted (upstream's NodeRestriction).
"""

from typing import Any

from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.authorization.rbac import Verdict
from mooring.apiserver.authorization.rules import Rule, allows
from mooring.apiserver.contract import User
from mooring.apiserver.kinds.pod_defaults import containers_of
from mooring.model import codec
from mooring.model.kinds import PERSISTENT_VOLUME_CLAIM, POD
from mooring.store.snapshot import Snapshot

PREFIX = "system:node:"
GROUP = "system:nodes"
_READ = ("get", "list", "watch")
LEASE_NAMESPACE = "kube-node-lease"


def node_name(user: User) -> str:
    """The node that a user is, '' for any other user."""
    return user.name.removeprefix(PREFIX) if user.name.startswith(PREFIX) and GROUP in user.groups else ""


RULES = (
    Rule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
    Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews", "localsubjectaccessreviews")),
    Rule(_READ, ("",), ("services", "namespaces")),
    Rule(("create", "patch", "update"), ("",), ("nodes",)),
    Rule(("patch", "update"), ("",), ("nodes/status",)),
    Rule(("create", "patch", "update"), ("", "events.k8s.io"), ("events",)),
    Rule(("create", "delete"), ("",), ("pods",)),
    Rule(("patch", "update"), ("",), ("pods/status",)),
    Rule(("create",), ("",), ("pods/eviction",)),
    Rule(_READ, ("discovery.k8s.io",), ("endpointslices",)),
    Rule(_READ, ("storage.k8s.io",), ("storageclasses",)),
)
"""As upstream's bootstrappolicy.NodeRules, for the kinds there are; of pods and nodes, a node reads its own."""
_OWN = {"secrets": _READ, "configmaps": _READ, "persistentvolumeclaims": ("get",), "persistentvolumes": ("get",)}


def decide(asked: Attributes, snapshot: Snapshot) -> Verdict:
    """For a node; not allowed with no reason for anyone else."""
    node = node_name(asked.user)
    if not node:
        return Verdict(False)
    if not asked.group and asked.resource in _OWN and not asked.subresource:
        return _of_its_pods(asked, node, snapshot)
    if not asked.group and asked.combined in ("pods", "nodes") and asked.verb in _READ:
        return (_pods if asked.resource == "pods" else _nodes)(asked, node, snapshot)
    if not asked.group and asked.combined == "serviceaccounts/token":
        used = asked.verb == "create" and any(
            (pod.get("spec") or {}).get("serviceAccountName", "default") == asked.name
            for pod in pods_of(node, snapshot, asked.namespace)
        )
        return Verdict(used, "" if used else f"no relationship found between node {node!r} and this object")
    if asked.group == "coordination.k8s.io" and asked.resource == "leases":
        own = asked.namespace == LEASE_NAMESPACE and (asked.name == node or asked.verb == "create")
        return Verdict(own and asked.verb in ("get", "create", "update", "patch", "delete"))
    return Verdict(any(allows(rule, asked) for rule in RULES))


def _of_its_pods(asked: Attributes, node: str, snapshot: Snapshot) -> Verdict:
    if asked.verb not in _OWN[asked.resource]:
        only = "read resources" if _OWN[asked.resource] is _READ else "get individual resources"
        return Verdict(False, f"can only {only} of this type")
    if not asked.name:
        return Verdict(False, "No Object name found")
    if not asked.namespace and asked.resource != "persistentvolumes":
        # A pod of one namespace that uses a Secret says nothing about Secrets of that name in others.
        return Verdict(False, "can only read namespaced object of this type")
    for pod in pods_of(node, snapshot, asked.namespace):
        if asked.name in referenced(pod, asked.resource, snapshot):
            return Verdict(True)
    return Verdict(False, f"no relationship found between node '{node}' and this object")


def _pods(asked: Attributes, node: str, snapshot: Snapshot) -> Verdict:
    """KEP-4601: those bound to it, all by the selector that says so."""
    if ("spec.nodeName", node) in asked.fields:
        return Verdict(True)
    record = snapshot.get(POD.key(asked.namespace, asked.name)) if asked.name else None
    if record and (codec.decode(record.value).get("spec") or {}).get("nodeName") == node:
        return Verdict(True)
    if asked.verb == "get":
        return Verdict(False, f"no relationship found between node '{node}' and this object")
    return Verdict(False, "can only list/watch pods with spec.nodeName field selector")


def _nodes(asked: Attributes, node: str, snapshot: Snapshot) -> Verdict:
    if asked.name == node:
        return Verdict(True)
    which = f"'{asked.name}'" if asked.name else "all nodes"
    return Verdict(False, f"node '{node}' cannot read {which}, only its own Node object")


def pods_of(node: str, snapshot: Snapshot, namespace: str = "") -> list[dict[str, Any]]:
    """The pods bound to a node, in a namespace or ('') in all. Only those whose octets name the node are decoded."""
    prefix = f"{POD.prefix}{namespace}/" if namespace else POD.prefix
    named = codec.encode(node)
    pods = [codec.decode(record.value) for record in snapshot.scan(prefix) if named in record.value]
    return [pod for pod in pods if (pod.get("spec") or {}).get("nodeName") == node]


def referenced(pod: dict[str, Any], resource: str, snapshot: Snapshot) -> set[str]:
    """Names of the Secrets, ConfigMaps, claims or volumes that a pod uses: volumes, projections, environment, pull secrets."""
    spec = pod.get("spec") or {}
    volumes = spec.get("volumes") or []
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if volume.get("persistentVolumeClaim")}
    claims |= {f"{pod['metadata']['name']}-{volume['name']}" for volume in volumes if volume.get("ephemeral")}
    if resource == "persistentvolumeclaims":
        return claims
    if resource == "persistentvolumes":
        records = (snapshot.get(PERSISTENT_VOLUME_CLAIM.key(pod["metadata"]["namespace"], claim)) for claim in claims)
        return {(codec.decode(record.value).get("spec") or {}).get("volumeName", "") for record in records if record} - {""}
    secret = resource == "secrets"
    found = {reference.get("name", "") for reference in spec.get("imagePullSecrets") or ()} if secret else set()
    for volume in volumes:
        sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
        for source in sources:
            held = source.get("secret" if secret else "configMap") or {}
            found.add(held.get("secretName" if secret and source is volume else "name") or held.get("name", ""))
    for container in containers_of(spec):
        for entry in container.get("envFrom") or ():
            found.add((entry.get("secretRef" if secret else "configMapRef") or {}).get("name", ""))
        for entry in container.get("env") or ():
            source = entry.get("valueFrom") or {}
            found.add((source.get("secretKeyRef" if secret else "configMapKeyRef") or {}).get("name", ""))
    return found - {""}
