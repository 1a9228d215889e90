"""How does the edge itself say no? In Status objects worded as upstream's apimachinery (pkg/api/errors), as the core does."""

import msgspec

from mooring.apiserver.contract import Response


def status(code: int, reason: str, message: str, headers: tuple[tuple[str, str], ...] = (), retry_after: int = 0) -> Response:
    """A failure as a metav1.Status. `retry_after` in seconds, told in details and header."""
    document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    document |= {"reason": reason}
    if retry_after:
        document |= {"details": {"retryAfterSeconds": retry_after}}
        headers = (*headers, ("Retry-After", str(retry_after)))
    return Response(code, msgspec.json.encode(document | {"code": code}), headers=headers)


UNAUTHORIZED = status(401, "Unauthorized", "Unauthorized")
TOO_LARGE = status(413, "RequestEntityTooLarge", "Request entity too large: limit is reached")
HEADERS_TOO_LARGE = status(431, "BadRequest", "request header fields too large")
BODY_TIMEOUT = status(408, "Timeout", "the request body did not arrive in time")
CONTENDED = status(429, "TooManyRequests", "the object is being changed by many at once, please try again later", retry_after=1)
TOO_MANY = status(429, "TooManyRequests", "too many requests, please try again later", retry_after=1)
LATE = status(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
CROWDED = status(429, "TooManyRequests", "too many requests are being sent, please try again later", retry_after=1)
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}


def bad_request(message: str) -> Response:
    return status(400, "BadRequest", message)


def internal(message: str) -> Response:
    """As upstream's NewInternalError."""
    return status(500, "InternalError", f"Internal error occurred: {message}")


def bad_gateway(message: str) -> Response:
    """The kubelet could not be reached or did not speak HTTP: upstream's proxy error."""
    return status(502, "BadGateway", message)


def unreachable(why: str) -> Response:
    """What a proxy subresource leads to does not answer, in upstream's words."""
    return status(503, "ServiceUnavailable", f"error trying to reach service: {why}")


def refused(code: int, text: str) -> Response:
    """What a kubelet answered in plain text, as a Status: clients show the text of no other (GenericHttpResponseChecker)."""
    if code == 500:
        return internal(text)
    return status(code, _REASONS.get(code, ""), text)
