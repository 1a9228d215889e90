"""What do /openapi/v2 and /openapi/v3 answer: in which form, and what may the client keep, for how long?

As k8s.io/kube-openapi/pkg/handler and handler3: every document has its content's hash for an ETag; a v3 document that is asked
for by its hash never changes, one asked for by another hash has moved.
"""

from mooring.apiserver import errors, openapi
from mooring.apiserver.contract import Request, Response
from mooring.apiserver.negotiate import JSON
from mooring.apiserver.registry import Registry

_ANYTHING = ("*/*", "application/*")
_ACCEPTED = f"{JSON}, {openapi.V2_PROTOBUF_ASKED}@v1.0+protobuf"
_FOR_EVER = ("Cache-Control", "public, immutable")
_TEXT = "text/plain; charset=utf-8"


def respond(request: Request, path: str, registry: Registry) -> Response | None:
    """The answer to what follows /openapi/; None when nothing of that name is there. Raises StatusError 406."""
    match path.split("/"):
        case ["v2"]:
            media = _media(request, openapi.V2_PROTOBUF_ASKED)
            if media == JSON:
                return _kept(request, openapi.openapi_v2(registry), JSON, openapi.hash_of("v2", registry))
            body = openapi.openapi_v2_protobuf(registry)
            return _kept(request, body, openapi.V2_PROTOBUF, openapi.hash_of("v2+protobuf", registry))
        case ["v3"]:
            return _kept(request, openapi.openapi_v3_index(registry), _media(request), openapi.hash_of("v3", registry))
        case ["v3", *rest]:
            return _v3(request, "/".join(rest), registry)
    return None


def _v3(request: Request, group_version: str, registry: Registry) -> Response | None:
    document = openapi.openapi_v3(group_version, registry)
    if document is None:
        return None
    media = _media(request)
    asked = next((value for name, value in request.query if name == "hash"), "")
    now = openapi.v3_hash(group_version, registry)
    if asked and asked != now:
        return Response(301, b"", _TEXT, (("Location", f"/{openapi.v3_location(group_version, registry)}"),))
    return _kept(request, document, media, now, (_FOR_EVER,) if asked else ())


def _media(request: Request, protobuf: str = "") -> str:
    """JSON, or the protobuf that is asked for where there is one. Raises StatusError 406."""
    accept = request.headers.get("accept", "")
    for clause in accept.split(","):
        media = clause.partition(";")[0].strip().lower()
        if media in ("", JSON, *_ANYTHING):
            return JSON
        if protobuf and media.startswith(protobuf):
            return protobuf
    raise errors.not_acceptable(_ACCEPTED if protobuf else JSON)


def _kept(request: Request, body: bytes, media: str, content: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    tag = f'"{content}"'
    headers = (("ETag", tag), ("Vary", "Accept"), *headers)
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if tag in known or known == ["*"]:
        return Response(304, b"", media, headers)
    return Response(200, body, media, headers)
