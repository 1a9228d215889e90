"""What is refused without asking anybody? The admission plugins of upstream that concern the kinds there are.

NamespaceLifecycle (namespaces.py), NodeRestriction (node_restriction.py), the defaults of Pods, classes and storage (kinds/)
have their own places; here are the others that only refuse. https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from mooring.apiserver import errors
from mooring.apiserver.admission.operation import CREATE, Operation
from mooring.apiserver.errors import StatusError, quote
from mooring.apiserver.kinds.pod_defaults import is_mirror
from mooring.model.kinds import POD, SERVICE, SERVICE_ACCOUNT

DENY_EXTERNAL_IPS = "DenyServiceExternalIPs"
OPTIONAL = (DENY_EXTERNAL_IPS,)
"""Plugins that are off unless Settings.enable_admission_plugins names them."""


def _forbidden(seen: Operation, why: str) -> StatusError:
    return errors.forbidden(seen.call.kind, seen.name, why)


def service_account(seen: Operation) -> None:
    """A new Pod's ServiceAccount must be there. `default` may still be on its way: the Pod then waits for its token."""
    if seen.call.kind != POD or seen.verb != CREATE or seen.subresource or seen.document is None:
        return
    if is_mirror(seen.document):
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
