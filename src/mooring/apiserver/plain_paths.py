"""What do the paths answer that are no resource: health, version, discovery, OpenAPI, who signs tokens?"""

import json
from functools import partial
from typing import Any

from mooring.apiserver import discovery, errors, openapi_answers, render
from mooring.apiserver.contract import Aside, Request, Response, Settings
from mooring.apiserver.negotiate import JSON
from mooring.apiserver.registry import Registry

_HEALTH = ("healthz", "livez", "readyz")
_CHECKS = ("ping", "store")
"""`store` holds whenever the core is asked: it answers from the store's own state."""
_FOR_AN_HOUR = (("Cache-Control", "public, max-age=3600"),)
_TEXT = "text/plain; charset=utf-8"


def respond(request: Request, registry: Registry, settings: Settings) -> Response | Aside:
    """Raises StatusError 404, 405."""
    if request.path.startswith("/openapi"):
        return Aside(partial(_told, request, registry, settings))
    return _respond(request, registry, settings)


def _told(request: Request, registry: Registry, settings: Settings) -> Response:
    try:
        return _respond(request, registry, settings)
    except errors.StatusError as error:
        return render.failure(request, error)


def _respond(request: Request, registry: Registry, settings: Settings) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise errors.path_method_not_allowed() if _get(request, registry, settings) else errors.no_such_path()
    answer = _get(request, registry, settings)
    if answer is None:
        raise errors.no_such_path()
    return answer


def _get(request: Request, registry: Registry, settings: Settings) -> Response | None:
    match request.path.strip("/").split("/"):
        case [""]:
            return render.plain(request, {"paths": _paths(registry)})
        case ["version"]:
            return render.plain(request, discovery.VERSION)
        case [health, *check] if health in _HEALTH:
            return _health(request, health, check)
        case ["openapi", *rest]:
            return openapi_answers.respond(request, "/".join(rest), registry)
        case [".well-known", "openid-configuration"] if settings.token_keys and settings.issuer.startswith("https://"):
            return Response(200, _json(_issuer(settings.issuer, settings.token_keys())), JSON, _FOR_AN_HOUR)
        case ["openid", "v1", "jwks"] if settings.token_keys and settings.issuer.startswith("https://"):
            return Response(200, _json({"keys": settings.token_keys()}), "application/jwk-set+json", _FOR_AN_HOUR)
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


def _issuer(issuer: str, keys: list[dict[str, Any]]) -> dict[str, Any]:
    """OpenID Connect's discovery document, for those who verify service accounts' tokens outside of the cluster."""
    return {
        "issuer": issuer,
        "jwks_uri": f"{issuer.rstrip('/')}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted({key["alg"] for key in keys}),
    }


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _paths(registry: Registry) -> list[str]:
    found = ["/api", "/api/v1", "/apis"]
    for group, versions in discovery.groups(registry).items():
        found += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
    more = ("/.well-known/openid-configuration", "/openid/v1/jwks", "/openapi/v2", "/openapi/v3", "/version")
    return sorted([*found, *(f"/{health}" for health in _HEALTH), *more])
