"""May somebody do something? authorizer.group('').resource('pods').check('create') (apiserver/pkg/cel/library/authz.go).

What is asked is put together here, as a map; who answers is bound to each evaluation, since answers change with the cluster.
"""

from collections.abc import Callable
from typing import Any

from mooring.apiserver.cel.libraries.function import Function, opaque
from mooring.apiserver.kinds import formats

AUTHORIZER, PATH, GROUP, RESOURCE, DECISION = (
    f"kubernetes.authorization.{name}" for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
)
CHECK = "check"
Opaque = dict[str, Any]


def authorizer(user: Opaque) -> Opaque:
    """Of a user as an AdmissionRequest shows one (userInfo)."""
    return opaque(AUTHORIZER, None, user=user)


def decision(allowed: bool, reason: str, error: str = "") -> Opaque:
    return opaque(DECISION, allowed, reason=reason, error=error)


def resource_check(user: Opaque, group: str, resource: str, **more: str) -> Opaque:
    return opaque(RESOURCE, resource, user=user, group=group, **more)


def _path(asker: Opaque, path: str) -> Opaque:
    if not path.strip():
        raise ValueError("path must not be empty")
    return opaque(PATH, path, user=asker["user"])


def _resource(group: Opaque, resource: str) -> Opaque:
    if not resource.strip():
        raise ValueError("resource must not be empty")
    return resource_check(group["user"], group["value"], resource)


def _service_account(asker: Opaque, namespace: str, name: str) -> Opaque:
    if formats.subdomain(name):
        raise ValueError("Invalid service account name")
    if formats.label(namespace):
        raise ValueError("Invalid service account namespace")
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    return authorizer({"username": f"system:serviceaccount:{namespace}:{name}", "groups": groups})


def _narrowed(name: str) -> Callable[[Opaque, str], Opaque]:
    return lambda check, value: {**check, name: value}


FUNCTIONS = (
    Function("path", (AUTHORIZER, "string"), PATH, _path),
    Function("group", (AUTHORIZER, "string"), GROUP, lambda asker, group: opaque(GROUP, group, user=asker["user"])),
    Function("serviceAccount", (AUTHORIZER, "string", "string"), AUTHORIZER, _service_account),
    Function("resource", (GROUP, "string"), RESOURCE, _resource),
    *(
        Function(name, (RESOURCE, "string"), RESOURCE, _narrowed(name))
        for name in ("subresource", "namespace", "name", "fieldSelector", "labelSelector")
    ),
    Function(CHECK, (PATH, "string"), DECISION, None),
    Function(CHECK, (RESOURCE, "string"), DECISION, None),
    Function("allowed", (DECISION,), "bool", lambda found: found["value"]),
    Function("reason", (DECISION,), "string", lambda found: found["reason"]),
    Function("errored", (DECISION,), "bool", lambda found: bool(found["error"])),
    Function("error", (DECISION,), "string", lambda found: found["error"]),
)
