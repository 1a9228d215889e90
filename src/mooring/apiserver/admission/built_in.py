"""What is refused without asking anybody? The admission plugins of upstream that concern the kinds there are.

NamespaceLifecycle (namespaces.py), the defaults of Pods, classes and storage (kinds/) have their own places; here are those
that only refuse. https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from mooring.apiserver import errors
from mooring.apiserver.admission.operation import CONNECT, CREATE, DELETE, UPDATE, Operation
from mooring.apiserver.authorization.node import LEASE_NAMESPACE, node_name
from mooring.apiserver.errors import StatusError, quote
from mooring.model import codec
from mooring.model.kinds import LEASE, NODE, POD, SERVICE, SERVICE_ACCOUNT

DENY_EXTERNAL_IPS = "DenyServiceExternalIPs"
OPTIONAL = (DENY_EXTERNAL_IPS,)
"""Plugins that are off unless Settings.enable_admission_plugins names them."""
_MIRROR = "kubernetes.io/config.mirror"
_RESTRICTED_LABELS = "node-restriction.kubernetes.io/"


def _forbidden(seen: Operation, why: str) -> StatusError:
    return errors.forbidden(seen.call.kind, seen.name, why)


def service_account(seen: Operation) -> None:
    """A new Pod's ServiceAccount must be there. `default` may still be on its way: the Pod then waits for its token."""
    if seen.call.kind != POD or seen.verb != CREATE or seen.subresource or seen.document is None:
        return
    name = (seen.document.get("spec") or {}).get("serviceAccountName") or "default"
    namespace = seen.call.namespace
    if name != "default" and seen.call.snapshot.get(SERVICE_ACCOUNT.key(namespace, name)) is None:
        why = f"error looking up service account {namespace}/{name}: serviceaccount {quote(name)} not found"
        raise _forbidden(seen, why)


def deny_external_ips(seen: Operation) -> None:
    """No Service gets an external IP that it has not had before."""
    if DENY_EXTERNAL_IPS not in seen.call.env.settings.enable_admission_plugins:
        return
    if seen.call.kind != SERVICE or seen.subresource or seen.document is None:
        return
    had = set(((seen.old or {}).get("spec") or {}).get("externalIPs") or ())
    if set((seen.document.get("spec") or {}).get("externalIPs") or ()) - had:
        raise _forbidden(seen, "Use of external IPs is denied by admission control")


def node_restriction(seen: Operation) -> None:
    """A node writes itself, its Lease, and Pods that are bound to it; nothing of another's."""
    node = node_name(seen.call.request.user)
    if not node or seen.verb == CONNECT:
        return
    kind = seen.call.kind
    if kind == NODE:
        _restrict_node(seen, node)
    elif kind == POD:
        _restrict_pod(seen, node)
    elif kind == LEASE and (seen.call.namespace != LEASE_NAMESPACE or seen.name != node):
        raise _forbidden(seen, f"can only access node lease with the same name as the requesting node: {quote(seen.name)}")
    elif kind == SERVICE_ACCOUNT and seen.subresource == "token":
        _restrict_token(seen, node)


def _restrict_node(seen: Operation, node: str) -> None:
    if seen.name != node:
        raise _forbidden(seen, f"node {quote(node)} is not allowed to modify node {quote(seen.name)}")
    if seen.verb == DELETE:
        raise _forbidden(seen, f"node {quote(node)} cannot delete itself")
    now, before = (((each or {}).get("metadata") or {}).get("labels") or {} for each in (seen.document, seen.old))
    changed = sorted(
        key for key in now.keys() | before.keys() if key.startswith(_RESTRICTED_LABELS) and now.get(key) != before.get(key)
    )
    if changed:
        raise _forbidden(seen, f"is not allowed to modify labels: {', '.join(changed)}")
    if seen.verb == UPDATE and not seen.subresource:
        taints, had = (((each or {}).get("spec") or {}).get("taints") for each in (seen.document, seen.old))
        if taints != had:
            raise _forbidden(seen, f"node {quote(node)} is not allowed to modify taints")


def _restrict_pod(seen: Operation, node: str) -> None:
    pod = (seen.old if seen.old is not None else seen.document) or {}
    bound = (pod.get("spec") or {}).get("nodeName", "")
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    if seen.verb == CREATE and not seen.subresource and _MIRROR not in annotations:
        why = f"pod does not have {quote(_MIRROR)} annotation, node {quote(node)} can only create mirror pods"
        raise _forbidden(seen, why)
    if seen.verb != CREATE and bound != node:
        word = "delete" if seen.verb == DELETE else "update status for"
        raise _forbidden(seen, f"node {quote(node)} can only {word} pods with spec.nodeName set to itself")


def _restrict_token(seen: Operation, node: str) -> None:
    reference = ((seen.document or {}).get("spec") or {}).get("boundObjectRef") or {}
    if reference.get("kind") != "Pod" or reference.get("apiVersion") != "v1":
        raise _forbidden(seen, "node requested token not bound to a pod")
    record = seen.call.snapshot.get(POD.key(seen.call.namespace, reference.get("name", "")))
    if record is None or (codec.decode(record.value).get("spec") or {}).get("nodeName") != node:
        raise _forbidden(seen, "node requested token bound to a pod scheduled on a different node")
