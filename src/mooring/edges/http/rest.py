"""How is the Kubernetes API spoken, whatever carries it? ports.api.Api as requests, pages, frames and Status errors.

A Transport carries bytes: HTTPS in client.py, the server's own core in edges/memory/api.py.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from random import Random
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import msgspec

from mooring.model.kinds import Kind
from mooring.ports.api import ApiError, ApiUnavailable, Document, Listing, WatchEvent

PAGE = 500
"""Objects a list request asks for at a time, as client-go's pager."""
WATCH_SECONDS = 300
"""Watches are asked to last this long and up to as much again, so that they do not all end at once (client-go's reflector)."""
REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 409: "Conflict",
    410: "Gone", 413: "RequestEntityTooLarge", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError",
    503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip
"""For answers that are not a Status."""
METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
JSON = "application/json"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Transport(Protocol):
    """Paths are not percent-encoded; query values are plain. Both raise ApiUnavailable when there is no answer."""

    async def exchange(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        """One request: the answer's status and body."""

    def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """A watch's lines until the server ends it. Raises ApiError (see `refusal`) when it is not granted."""

    async def close(self) -> None: ...


class RestApi:
    """ports.api.Api over a Transport, and a context manager that closes it."""

    def __init__(self, transport: Transport, rng: Random | None = None) -> None:
        self._transport, self._rng = transport, rng or Random()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, raised: BaseException | None, at: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        query = selectors(labels, fields) | {"limit": str(PAGE)}
        items: list[Document] = []
        while True:
            page = await self.request("GET", kind.path(namespace), query)
            for item in page.get("items") or ():
                # Lists of upstream's server leave these two out of their items.
                item.setdefault("kind", kind.kind)
                item.setdefault("apiVersion", kind.api_version)
                items.append(item)
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(items, metadata.get("resourceVersion") or "0")
            query["continue"] = metadata["continue"]

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        query = selectors(labels, fields) | {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS + self._rng.randrange(WATCH_SECONDS)),
        }
        async with aclosing(self._transport.stream(kind.path(namespace), query)) as lines:  # type: ignore[type-var]
            async for line in lines:
                yield watch_event(line)

    async def get(self, kind: Kind, namespace: str, name: str) -> Document:
        document: Document = await self.request("GET", kind.path(namespace, name))
        return document

    async def write(
        self,
        verb: Literal["create", "update", "patch", "delete"],
        kind: Kind,
        namespace: str,
        name: str,
        body: Any = None,
        *,
        subresource: str = "",
        patch_type: str = "application/merge-patch+json",
    ) -> Document:
        collection = verb == "create" and not subresource
        path = kind.path(namespace, "" if collection else name, subresource)
        content_type = patch_type if verb == "patch" else JSON
        document: Document = await self.request(METHODS[verb], path, body=body, content_type=content_type)
        return document

    async def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, content_type: str = JSON
    ) -> Any:
        """One request, its JSON answer decoded. Raises ApiError, ApiUnavailable."""
        headers = {"accept": JSON} if body is None else {"accept": JSON, "content-type": content_type}
        data = b"" if body is None else _encode(body)
        status, answer = await self._transport.exchange(method, path, query or {}, headers, data)
        if status >= 400:
            raise refusal(status, answer)
        try:
            return _decode(answer)
        except msgspec.DecodeError as error:
            raise ApiUnavailable(f"{method} {path} was answered by something that is not JSON: {error}") from error


class Frame(msgspec.Struct):
    """metav1.WatchEvent"""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: Document


def watch_event(line: bytes) -> WatchEvent:
    """One frame of a watch. Raises ApiError for an ERROR frame, ApiUnavailable for bytes that are no frame."""
    try:
        frame = _decode_frame(line)
    except msgspec.DecodeError as error:
        raise ApiUnavailable(f"a watch sent something that is not an event: {error}") from error
    if frame.type == "ERROR":
        raise status_error(frame.object.get("code") or 500, frame.object)
    return WatchEvent(frame.type, frame.object)


_decode_frame = msgspec.json.Decoder(Frame).decode


def refusal(code: int, body: bytes) -> ApiError:
    """The ApiError of an answer, whose body is a Status or, from a proxy in between, anything at all."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if isinstance(document, dict) and document.get("kind") == "Status":
        return status_error(code, document)
    text = body[:256].decode(errors="replace").strip()
    return ApiError(code, REASONS.get(code, "Unknown"), text or f"the server answered {code}")


def status_error(code: int, status: Document) -> ApiError:
    reason = status.get("reason") or REASONS.get(code, "Unknown")
    return ApiError(code, reason, status.get("message") or reason, status.get("details"))


def selectors(labels: str, fields: str) -> dict[str, str]:
    """The query parameters, only those that are set."""
    given = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in given.items() if value}
