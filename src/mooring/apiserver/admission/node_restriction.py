"""What may a node write? Itself, its Lease, Pods bound to it, volumes on it; nothing of another's, nor what gives it more.

Upstream: plugin/pkg/admission/noderestriction
(https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction).
"""

from typing import Any

from mooring.apiserver import access, errors
from mooring.apiserver.admission.operation import CONNECT, CREATE, DELETE, Operation
from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.authorization.node import LEASE_NAMESPACE, PREFIX, node_name, referenced
from mooring.apiserver.errors import StatusError, quote
from mooring.apiserver.kinds.pod_defaults import MIRROR, is_mirror
from mooring.model import codec
from mooring.model.kinds import LEASE, NODE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, SERVICE_ACCOUNT

Document = dict[str, Any]

_HOSTNAME = "kubernetes.io/hostname"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"
_RESTRICTED = "node-restriction.kubernetes.io"
_DOMAINS = ("kubernetes.io", "k8s.io")
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_OWN_LABELS = frozenset({
    "kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type", "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
})  # fmt: skip
"""Of the labels in Kubernetes' own domains, those that a node says of itself (kubeletapis.IsKubeletLabel)."""


def _forbidden(seen: Operation, why: str) -> StatusError:
    return errors.forbidden(seen.call.kind, seen.name, why)


def node_restriction(seen: Operation) -> None:
    """Raises StatusError 403. Other users are not concerned."""
    node = node_name(seen.call.request.user)
    if not node or seen.verb == CONNECT:
        return
    kind = seen.call.kind
    if kind == NODE:
        _of_node(seen, node)
    elif kind == POD:
        _of_pod(seen, node)
    elif kind == LEASE and (seen.call.namespace != LEASE_NAMESPACE or seen.name != node):
        raise _forbidden(seen, f"can only access node lease with the same name as the requesting node: {quote(seen.name)}")
    elif kind == SERVICE_ACCOUNT and seen.subresource == "token":
        _of_token(seen, node)
    elif kind == PERSISTENT_VOLUME:
        _of_volume(seen, node)


# Its Node ---------------------------------------------------------------------------------------------------------------


def _of_node(seen: Operation, node: str) -> None:
    if seen.name != node:
        raise _forbidden(seen, f"node {quote(node)} is not allowed to modify node {quote(seen.name)}")
    if seen.verb == DELETE:
        raise _forbidden(seen, f"node {quote(node)} cannot delete itself")
    now, before = _labels(seen.document), _labels(seen.old)
    refused = sorted(key for key in now.keys() | before.keys() if now.get(key) != before.get(key) and not _own_label(key))
    if seen.verb == CREATE:
        if refused:
            raise _forbidden(seen, f"node {quote(node)} is not allowed to set the following labels: {', '.join(refused)}")
        return
    if _taints(seen.document) != _taints(seen.old):
        raise _forbidden(seen, f"node {quote(node)} is not allowed to modify taints")
    if refused:
        raise _forbidden(seen, f"is not allowed to modify labels: {', '.join(refused)}")
    if _owners(seen.document) != _owners(seen.old):
        # Or it would be collected as an orphan, and could come back without its taints.
        raise _forbidden(seen, f"node {quote(node)} is not allowed to modify ownerReferences")


def _labels(document: Document | None) -> dict[str, str]:
    return ((document or {}).get("metadata") or {}).get("labels") or {}


def _owners(document: Document | None) -> list[Document]:
    return ((document or {}).get("metadata") or {}).get("ownerReferences") or []


def _taints(document: Document | None) -> list[Document]:
    return ((document or {}).get("spec") or {}).get("taints") or []


def _own_label(key: str) -> bool:
    domain = key.rpartition("/")[0]
    if _within(domain, (_RESTRICTED,)):
        return False
    return not _within(domain, _DOMAINS) or key in _OWN_LABELS or _within(domain, _OWN_DOMAINS)


def _within(domain: str, domains: tuple[str, ...]) -> bool:
    return any(domain == one or domain.endswith(f".{one}") for one in domains)


# Its Pods ---------------------------------------------------------------------------------------------------------------


def _of_pod(seen: Operation, node: str) -> None:
    if seen.verb == CREATE and not seen.subresource:
        _of_mirror(seen, seen.document or {}, node)
    elif seen.subresource == "eviction":
        record = seen.call.snapshot.get(POD.key(seen.call.namespace, seen.call.name))
        if record is not None and _bound(codec.decode(record.value)) != node:
            raise _forbidden(seen, f"node {node} can only evict pods with spec.nodeName set to itself")
    elif _bound(seen.old) != node:
        word = "delete" if seen.verb == DELETE else "update status for"
        raise _forbidden(seen, f"node {quote(node)} can only {word} pods with spec.nodeName set to itself")
    elif seen.verb != DELETE and _labels(seen.document) != _labels(seen.old):
        raise _forbidden(seen, f"node {quote(node)} cannot update labels through pod status")


def _bound(pod: Document | None) -> str:
    return str(((pod or {}).get("spec") or {}).get("nodeName", ""))


def _of_mirror(seen: Operation, pod: Document, node: str) -> None:
    """What runs on the node by its own will. It refers to no other object: a node may read what its pods refer to."""
    who = f"node {quote(node)}"
    if not is_mirror(pod):
        raise _forbidden(seen, f"pod does not have {quote(MIRROR)} annotation, {who} can only create mirror pods")
    if _bound(pod) != node:
        raise _forbidden(seen, f"{who} can only create pods with spec.nodeName set to itself")
    if why := _wrong_owner(seen, _owners(pod), node):
        raise _forbidden(seen, why)
    if pod["spec"].get("serviceAccountName"):
        raise _forbidden(seen, f"{who} can not create pods that reference a service account")
    for resource in ("secrets", "configmaps", "persistentvolumeclaims"):
        if referenced(pod, resource, seen.call.snapshot):
            raise _forbidden(seen, f"{who} can not create pods that reference {resource}")


def _wrong_owner(seen: Operation, owners: list[Document], node: str) -> str:
    who = f"node {quote(node)}"
    if len(owners) > 1:
        return f"{who} can only create pods with a single owner reference set to itself"
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        return f"{who} can only create pods with an owner reference set to itself"
    if not owner.get("controller"):
        return f"{who} can only create pods with a controller owner reference set to itself"
    if owner.get("blockOwnerDeletion"):
        return f"{who} must not set blockOwnerDeletion on an owner reference"
    record = seen.call.snapshot.get(NODE.key("", node))
    uid = codec.decode(record.value)["metadata"].get("uid") if record is not None else ""
    return "" if uid == owner.get("uid") else f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}"


# Tokens -----------------------------------------------------------------------------------------------------------------


def _of_token(seen: Operation, node: str) -> None:
    spec = (seen.document or {}).get("spec") or {}
    reference = spec.get("boundObjectRef") or {}
    name, uid = reference.get("name"), reference.get("uid")
    if reference.get("kind") != "Pod" or reference.get("apiVersion") != "v1" or not name:
        raise _forbidden(seen, "node requested token not bound to a pod")
    if not uid:
        raise _forbidden(seen, "node requested token with a pod binding without a uid")
    record = seen.call.snapshot.get(POD.key(seen.call.namespace, name))
    if record is None:
        raise errors.not_found(POD, name)
    pod = codec.decode(record.value)
    if (known := pod["metadata"].get("uid")) != uid:
        why = f"the UID in the bound object reference ({uid}) does not match the UID in record ({known}). "
        raise _forbidden(seen, why + "The object might have been deleted and then recreated")
    if _bound(pod) != node:
        raise _forbidden(seen, "node requested token bound to a pod scheduled on a different node")
    _of_audiences(seen, node, pod, spec.get("audiences") or [""])


def _of_audiences(seen: Operation, node: str, pod: Document, audiences: list[str]) -> None:
    """One that the pod mounts a token for, or that the node has the right to ask for (KEP-4412)."""
    if len(audiences) > 1:
        raise _forbidden(seen, "node may only request 0 or 1 audiences")
    sources = (
        source
        for volume in (pod.get("spec") or {}).get("volumes") or ()
        for source in (volume.get("projected") or {}).get("sources") or ()
    )
    mounted = {(source["serviceAccountToken"].get("audience") or "") for source in sources if source.get("serviceAccountToken")}
    user, audience = seen.call.request.user, audiences[0]
    asked = Attributes(user, "request-serviceaccounts-token-audience", "", "v1", audience, "", seen.call.namespace, seen.name)
    if audience not in mounted and not (audience and access.authorize(asked, seen.call.snapshot).allowed):
        why = f"audience {quote(audience)} not found in pod spec volume, "
        raise _forbidden(seen, f"{why}{PREFIX}{node} is not authorized to request tokens for this audience")


# Its volumes ------------------------------------------------------------------------------------------------------------


def _of_volume(seen: Operation, node: str) -> None:
    """As the provisioner of directories on itself: for claims that wait for it, and gone when their files are."""
    who = f"node {quote(node)}"
    if seen.verb == CREATE:
        if not _lies_on(seen.document, node) or not _awaited(seen, node):
            raise _forbidden(seen, f"{who} can only create local volumes on itself, for claims that have selected it")
        return
    if not _lies_on(seen.old, node):
        raise _forbidden(seen, f"{who} can only {'delete' if seen.verb == DELETE else 'modify'} local volumes on itself")
    if seen.verb != DELETE and _but_finalizers(seen.document) != _but_finalizers(seen.old):
        raise _forbidden(seen, f"{who} can only modify the finalizers of a volume")


def _lies_on(volume: Document | None, node: str) -> bool:
    spec = (volume or {}).get("spec") or {}
    terms = ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or ()
    here = {"matchExpressions": [{"key": _HOSTNAME, "operator": "In", "values": [node]}]}
    return bool(spec.get("local")) and list(terms) == [here]


def _awaited(seen: Operation, node: str) -> bool:
    reference = ((seen.document or {}).get("spec") or {}).get("claimRef") or {}
    key = PERSISTENT_VOLUME_CLAIM.key(reference.get("namespace", ""), reference.get("name", ""))
    record = seen.call.snapshot.get(key)
    meta = codec.decode(record.value)["metadata"] if record is not None else {}
    selected = (meta.get("annotations") or {}).get(_SELECTED_NODE)
    return bool(selected == node and meta.get("uid") == reference.get("uid"))


def _but_finalizers(volume: Document | None) -> list[Any]:
    """What a volume is and means, for who looks for a change."""
    meta = (volume or {}).get("metadata") or {}
    return [(volume or {}).get("spec"), *(meta.get(name) or None for name in ("labels", "annotations", "ownerReferences"))]
