"""What do the paths answer that are no resource: health, version, discovery, OpenAPI?"""

from mooring.apiserver import discovery, errors, openapi_answers, render
from mooring.apiserver.contract import Request, Response
from mooring.apiserver.registry import Registry

_HEALTH = ("healthz", "livez", "readyz")
_CHECKS = ("ping", "store")
"""`store` holds whenever the core is asked: it answers from the store's own state."""
_TEXT = "text/plain; charset=utf-8"


def respond(request: Request, registry: Registry) -> Response:
    """Raises StatusError 404, 405."""
    if request.method not in ("GET", "HEAD"):
        raise errors.path_method_not_allowed() if _get(request, registry) else errors.no_such_path()
    answer = _get(request, registry)
    if answer is None:
        raise errors.no_such_path()
    return answer


def _get(request: Request, registry: Registry) -> Response | None:
    match request.path.strip("/").split("/"):
        case [""]:
            return render.plain(request, {"paths": _paths(registry)})
        case ["version"]:
            return render.plain(request, discovery.VERSION)
        case [health, *check] if health in _HEALTH:
            return _health(request, health, check)
        case ["openapi", *rest]:
            return openapi_answers.respond(request, "/".join(rest), registry)
        case ["api" | "apis", *_]:
            return discovery.respond(request, registry)
    return None


def _health(request: Request, name: str, check: list[str]) -> Response | None:
    if check:
        return Response(200, b"ok", _TEXT) if len(check) == 1 and check[0] in _CHECKS else None
    if any(parameter == "verbose" for parameter, _ in request.query):
        lines = "".join(f"[+]{one} ok\n" for one in _CHECKS) + f"{name} check passed\n"
        return Response(200, lines.encode(), _TEXT)
    return Response(200, b"ok", _TEXT)


def _paths(registry: Registry) -> list[str]:
    found = ["/api", "/api/v1", "/apis"]
    for group, versions in discovery.groups(registry).items():
        found += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
    return sorted([*found, *(f"/{health}" for health in _HEALTH), "/openapi/v2", "/openapi/v3", "/version"])
