"""How does the API server say no? Status objects, worded as upstream's (apimachinery/pkg/api/errors)."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mooring.apiserver.strategy import FieldError
from mooring.model.kinds import Kind

MOST_TOLD = 512 * 1024
"""Characters of causes: a small request may break rules a hundred thousand times."""
STALE = "the object has been modified; please apply your changes to the latest version and try again"


class StatusError(Exception):
    """The answer is a Status: `code` is the HTTP status, `reason` the machine-readable word, the rest as upstream."""

    def __init__(
        self, code: int, reason: str, message: str, details: dict[str, Any] | None = None, meta: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details, self.meta = code, reason, message, details, meta or {}
        self.warnings: Sequence[str] = ()
        """What the client is to be told beside."""

    def document(self) -> dict[str, Any]:
        """The v1 Status."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.meta,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status


def success(details: dict[str, Any] | None = None, code: int | None = None) -> dict[str, Any]:
    """The v1 Status of something done."""
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        status["details"] = details
    if code is not None:
        status["code"] = code
    return status


def quote(text: str) -> str:
    """Go's %q for the strings that occur in messages."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


def details_of(kind: Kind, name: str = "", uid: str = "") -> dict[str, Any]:
    """Status details naming a resource, empty fields left out as upstream's omitempty does."""
    found = {"name": name, "group": kind.group, "kind": kind.plural, "uid": uid}
    return {key: value for key, value in found.items() if value}


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str, causes: Sequence[dict[str, str]] = ()) -> StatusError:
    subject = f"{kind.group_resource} {quote(name)}" if name else kind.group_resource
    details = details_of(kind, name)
    if causes:
        details["causes"] = list(causes)
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def forbidden_path(user: str, verb: str, path: str) -> StatusError:
    return StatusError(403, "Forbidden", f"forbidden: User {quote(user)} cannot {verb} path {quote(path)}", {})


def not_found(kind: Kind, name: str) -> StatusError:
    return StatusError(404, "NotFound", f"{kind.group_resource} {quote(name)} not found", details_of(kind, name))


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed(kind: Kind, action: str) -> StatusError:
    message = f"{action} is not supported on resources of kind {quote(kind.group_resource)}"
    return StatusError(405, "MethodNotAllowed", message, details_of(kind))


def path_method_not_allowed() -> StatusError:
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable(accepted: str) -> StatusError:
    return StatusError(406, "NotAcceptable", f"only the following media types are accepted: {accepted}")


def unsupported_media_type(accepted: str) -> StatusError:
    message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    return StatusError(415, "UnsupportedMediaType", message)


def already_exists(kind: Kind, name: str) -> StatusError:
    return StatusError(409, "AlreadyExists", f"{kind.group_resource} {quote(name)} already exists", details_of(kind, name))


def generate_name_conflict(kind: Kind, name: str) -> StatusError:
    message = (
        f"{kind.group_resource} {quote(name)} already exists, the server was not able to generate a unique name for the object"
    )
    return StatusError(409, "AlreadyExists", message, details_of(kind, name) | {"retryAfterSeconds": 1})


def conflict(kind: Kind, name: str, why: str = STALE, subject: str = "") -> StatusError:
    """409. Upstream names the resource, and in a few places the kind or subresource (`subject`)."""
    message = f"Operation cannot be fulfilled on {subject or kind.group_resource} {quote(name)}: {why}"
    return StatusError(409, "Conflict", message, details_of(kind, name))


def expired(message: str, continue_token: str = "") -> StatusError:
    return StatusError(410, "Expired", message, meta={"continue": continue_token} if continue_token else None)


def too_large(message: str) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


def unprocessable(why: str) -> StatusError:
    """A patch that cannot be applied. Upstream leaves out why; we say it."""
    return StatusError(422, "Invalid", f"the server rejected our request due to an error in our request: {why}", {})


def invalid(kind: Kind, name: str, errors: Iterable[FieldError]) -> StatusError:
    """422 with one cause per broken rule."""
    return invalid_kind(kind.group, kind.kind, name, errors)


def invalid_kind(group: str, kind: str, name: str, errors: Iterable[FieldError]) -> StatusError:
    causes = [{"reason": error.type, "message": error.message, "field": error.field} for error in _first(errors)]
    sentences = list(dict.fromkeys(f"{cause['field']}: {cause['message']}" for cause in causes))
    told = sentences[0] if len(sentences) == 1 else f"[{', '.join(sentences)}]"
    details = {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}
    qualified = f"{kind}.{group}" if group else kind
    return StatusError(422, "Invalid", f"{qualified} {quote(name)} is invalid: {told}", details | {"causes": causes})


def _first(errors: Iterable[FieldError]) -> Iterator[FieldError]:
    """As many as there is room for."""
    left = MOST_TOLD
    for error in errors:
        yield error
        left -= len(error.message) + len(error.field)
        if left <= 0:
            return


def internal(why: str) -> StatusError:
    return StatusError(500, "InternalError", f"Internal error occurred: {why}", {"causes": [{"message": why}]})


def too_large_resource_version(asked: int, current: int) -> StatusError:
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return StatusError(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1})
