"""What the loops need of a Kubernetes API server, embedded or real: five methods over whole documents."""

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

from msgspec import Struct

from mooring.model.kinds import Kind

Document = dict[str, Any]


class Listing(Struct, frozen=True):
    items: list[Document]
    resource_version: str


class WatchEvent(Struct, frozen=True, gc=False):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Document


class ApiError(Exception):
    """The server refused: `code` is the HTTP status, `reason` the Status reason (NotFound, Conflict, Expired...)."""

    def __init__(self, code: int, reason: str, message: str, details: Document | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details = code, reason, message, details or {}

    @property
    def passing(self) -> bool:
        """Whether the same may be granted a little later: too many asked, or the server is not well."""
        return self.code == 429 or self.code >= 500


class ApiUnavailable(Exception):
    """No answer: connection refused, reset or timed out. The write may or may not have happened."""


class Api(Protocol):
    async def list(self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "") -> Listing:
        """All objects of a kind (every namespace when ''), following `continue` to the end."""

    def watch(
        self, kind: Kind, resource_version: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version`, with bookmarks. Ends quietly when the server ends it.

        Raises ApiError(410, "Expired") when the version is too old.
        """

    async def get(self, kind: Kind, namespace: str, name: str) -> Document: ...

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
        """One write. `body` is the document (create, update), the patch, or DeleteOptions. Raises ApiError, ApiUnavailable."""

    async def close(self) -> None: ...
