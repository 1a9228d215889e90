"""Who may ask? Anonymous users see health and the version only; whoever has proved an identity may do everything."""

from mooring.apiserver import errors
from mooring.apiserver.contract import ANONYMOUS, Request
from mooring.apiserver.errors import StatusError, quote
from mooring.apiserver.paths import Target

_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")


def denial(request: Request, target: Target | None, verb: str) -> StatusError | None:
    """The 403 for this request, or None when it may go on."""
    user = request.user
    if user.name != ANONYMOUS.name and "system:unauthenticated" not in user.groups:
        return None
    if target is None:
        if request.method in ("GET", "HEAD") and _is_public(request.path):
            return None
        return errors.forbidden_path(user.name, request.method.lower(), request.path)
    kind = target.kind
    resource = f"{kind.plural}/{target.subresource}" if target.subresource else kind.plural
    where = f"in the namespace {quote(target.namespace)}" if target.namespace else "at the cluster scope"
    why = f"User {quote(user.name)} cannot {verb} resource {quote(resource)} in API group {quote(kind.group)} {where}"
    return errors.forbidden(kind, target.name, why)


def _is_public(path: str) -> bool:
    return any(path == public or path.startswith(public + "/") for public in _PUBLIC)
