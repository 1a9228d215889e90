"""May this user grant what this role or binding grants? Nobody gives away more than they hold.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping;
pkg/registry/rbac/*/policybased.
"""

from typing import Any

from mooring.apiserver import access, errors
from mooring.apiserver.authorization import rbac
from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.authorization.rules import Rule, rule, uncovered
from mooring.apiserver.call import Call
from mooring.apiserver.errors import quote
from mooring.apiserver.kinds.workloads import matches
from mooring.model import codec
from mooring.model.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING

Document = dict[str, Any]

_GRANTING = frozenset({ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING})
_COLLECTED = frozenset({"ownerReferences", "finalizers", "managedFields"})


def check(call: Call, document: Document, old: Document | None) -> None:
    """Of a Role, ClusterRole or binding about to be written. Raises StatusError 403."""
    if call.kind not in _GRANTING or access.MASTERS in call.request.user.groups:
        return
    if old is not None and _but_collection(document) == _but_collection(old):
        return
    if call.kind in (ROLE, CLUSTER_ROLE):
        _check_role(call, document, old)
    else:
        _check_binding(call, document)


def _but_collection(document: Document) -> Document:
    """All but what the garbage collector changes, and who wrote what (upstream's IsOnlyMutatingGCFields)."""
    kept = {name: value for name, value in document["metadata"].items() if name not in _COLLECTED and value}
    return {**document, "metadata": kept}


def _check_role(call: Call, document: Document, old: Document | None) -> None:
    rules = [rule(each) for each in document.get("rules") or ()]
    only_rules = old is not None and _but_collection({**document, "rules": old.get("rules")}) == _but_collection(old)
    if only_rules and _is_sum(call, document):
        return
    if _may(call, "escalate", document["metadata"]["name"], call.kind.plural):
        return
    if document.get("aggregationRule"):
        # Whoever says what is aggregated says what is granted, whatever that will be.
        rules.append(Rule(("*",), ("*",), ("*",)))
        rules.append(Rule(("*",), paths=("*",)))
    _check_held(call, document, rules)


def _is_sum(call: Call, document: Document) -> bool:
    """Whether the rules are those of roles that are aggregated here: they will be there in any case, whoever writes them."""
    selectors = (document.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    if call.kind is not CLUSTER_ROLE or not selectors:
        return False
    given: list[Document] = []
    for record in call.snapshot.scan(CLUSTER_ROLE.prefix):
        part = codec.decode(record.value)
        labels = part["metadata"].get("labels") or {}
        if part["metadata"]["name"] != document["metadata"]["name"] and any(matches(each, labels) for each in selectors):
            given += part.get("rules") or ()
    return all(each in given for each in document.get("rules") or ())


def _check_binding(call: Call, document: Document) -> None:
    reference = document.get("roleRef") or {}
    name, plural = reference.get("name", ""), "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
    if _may(call, "bind", name, plural):
        return
    rules, error = rbac.role_rules(reference, call.namespace, call.snapshot)
    if error:
        raise errors.not_found(CLUSTER_ROLE if plural == "clusterroles" else ROLE, name)
    _check_held(call, document, list(rules))


def _may(call: Call, verb: str, name: str, plural: str) -> bool:
    asked = Attributes(call.request.user, verb, CLUSTER_ROLE.group, "v1", plural, "", call.namespace, name)
    return access.authorize(asked, call.snapshot).allowed


def _check_held(call: Call, document: Document, rules: list[Rule]) -> None:
    user = call.request.user
    held, failures = rbac.index(call.snapshot).rules(user, call.namespace)
    if not (missing := uncovered(rules, held)):
        return
    lines = "\n".join(str(each) for each in sorted(missing, key=str))
    who = f"user {quote(user.name)} (groups=[{' '.join(map(quote, user.groups))}])"
    why = f"{who} is attempting to grant RBAC permissions not currently held:\n{lines}"
    if failures:
        why += f"; resolution errors: [{', '.join(failures)}]"
    raise errors.forbidden(call.kind, document["metadata"].get("name", ""), why)
