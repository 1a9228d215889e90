"""May something be created in this namespace, and may this namespace be deleted? (admission plugin NamespaceLifecycle)"""

from mooring.apiserver import errors
from mooring.apiserver.call import Call
from mooring.model import codec
from mooring.model.kinds import NAMESPACE
from mooring.store.records import Compare

IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


def check_open(call: Call, name: str) -> Compare:
    """The namespace exists and is not going. The Compare makes it so at the commit too: a namespace found empty stays empty.

    Raises StatusError 404, 403.
    """
    record = call.snapshot.get(NAMESPACE.key("", call.namespace))
    if record is None:
        raise errors.not_found(NAMESPACE, call.namespace)
    if b'"deletionTimestamp"' in record.value and codec.decode(record.value)["metadata"].get("deletionTimestamp"):
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {call.namespace} is being terminated",
            "field": "metadata.namespace",
        }
        why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
        raise errors.forbidden(call.kind, name, why, [cause])
    return Compare(record.key, record.mod_revision)


def check_mortal(call: Call, name: str) -> None:
    """Raises StatusError 403."""
    if call.kind == NAMESPACE and name in IMMORTAL:
        raise errors.forbidden(call.kind, name, "this namespace may not be deleted")
