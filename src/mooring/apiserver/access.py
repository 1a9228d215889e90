"""Who may ask? Members of system:masters everything; everyone else what the node authorizer or RBAC allows.

Order and words as upstream's authorizers (Node, then RBAC) and its filter WithAuthorization.
"""

from mooring.apiserver import errors
from mooring.apiserver.authorization import node, rbac
from mooring.apiserver.authorization.attributes import Attributes, of_request
from mooring.apiserver.authorization.rbac import Verdict
from mooring.apiserver.contract import Env, Request
from mooring.apiserver.errors import StatusError, quote
from mooring.apiserver.paths import Target
from mooring.model.kinds import Kind
from mooring.store.snapshot import Snapshot

MASTERS = "system:masters"
_ALWAYS_ALLOWED = ("/healthz", "/livez", "/readyz")
"""Upstream's --authorization-always-allow-paths: load balancers ask them."""


_DECISION, _REASON = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
"""What the audit log tells of each request."""


def authorize(asked: Attributes, snapshot: Snapshot) -> Verdict:
    """Whether this may be done, and why or why not."""
    if MASTERS in asked.user.groups:
        return Verdict(True)
    verdict = node.decide(asked, snapshot)
    if verdict.allowed:
        return verdict
    other = rbac.index(snapshot).decide(asked)
    if other.allowed or not verdict.reason:
        return other
    return Verdict(False, ", ".join(filter(None, (verdict.reason, other.reason))))


def denial(request: Request, target: Target | None, verb: str, snapshot: Snapshot, env: Env) -> StatusError | None:
    """The 403 for this request, or None when it may go on."""
    if MASTERS in request.user.groups:
        env.note(_DECISION, "allow")
        return None
    if target is None and request.path in _ALWAYS_ALLOWED and request.method in ("GET", "HEAD"):
        return None
    asked = of_request(request, target, verb)
    verdict = authorize(asked, snapshot)
    env.note(_DECISION, "allow" if verdict.allowed else "forbid")
    env.note(_REASON, verdict.reason)
    if verdict.allowed:
        return None
    if target is None:
        return errors.forbidden_path(request.user.name, asked.verb, request.path)
    return forbidden(asked, target.kind, verdict.reason)


def forbidden(asked: Attributes, kind: Kind, reason: str = "") -> StatusError:
    """Upstream's responsewriters.ForbiddenStatusError."""
    where = f"in the namespace {quote(asked.namespace)}" if asked.namespace else "at the cluster scope"
    why = (
        f"User {quote(asked.user.name)} cannot {asked.verb} resource {quote(asked.combined)} in API group {quote(asked.group)} "
        f"{where}"
    )
    return errors.forbidden(kind, asked.name, f"{why}: {reason}" if reason else why)
