"""How are requests and answers carried? Times, sizes, buffers and new attempts: a Policy."""

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family, no_op, refused
from mooring.routing.ingress.annotations.notes import Notes
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import Policy, Retry, RetryOn

_BUFFERS = "the proxies choose their buffers themselves"
_COOKIES = "the proxies do not change the backend's cookies; let the backend set them for the path and host that clients see"
_LOCATION = (
    "upstream rewrites the backend's Location headers only then; let the backend answer with paths, or with X-Forwarded-Prefix"
)

_ANNOTATIONS = (
    Annotation("proxy-connect-timeout", "seconds, 1 or more", "Default 5."),
    Annotation("proxy-read-timeout", "seconds, 1 or more", "Default 60: the longest pause between two octets of the answer."),
    Annotation("proxy-send-timeout", "seconds, 1 or more", "Default 60: the longest pause while the request is sent."),
    Annotation(
        "proxy-next-upstream",
        "error, timeout, invalid_header, http_NNN, non_idempotent, off; space-separated",
        "When the next endpoint is tried: default error and timeout. Requests that are not idempotent are tried again only "
        "with non_idempotent, or before an octet was sent.",
    ),
    Annotation("proxy-next-upstream-timeout", "seconds", "For all attempts together; default 0, no limit."),
    Annotation(
        "proxy-next-upstream-tries",
        "a number",
        "Attempts, the first included; default 3. At most 100; 0, in NGINX no limit, is 100.",
    ),
    Annotation("proxy-request-buffering", "on, off", "Default on: the body is taken in whole first, where the proxy can."),
    Annotation("proxy-buffering", "on, off", "Default off: answers go on as they come."),
    Annotation("proxy-body-size", "a size; 0 for no limit", "Default 1m; a larger body is answered with 413."),
    no_op("client-body-buffer-size", "a size", _BUFFERS),
    Annotation(
        "proxy-buffer-size",
        "a size",
        "Nothing: the proxies choose their buffers themselves. A size above 16k is told, for the headers of answers may have "
        "no more with NGINX; 60 KiB with Envoy.",
    ),
    no_op("proxy-buffers-number", "a number", _BUFFERS),
    no_op("proxy-busy-buffers-size", "a size", _BUFFERS),
    no_op("proxy-max-temp-file-size", "a size", "how much of an answer is kept is up to the proxy"),
    no_op("proxy-http-version", "1.0, 1.1", "backends are spoken to in HTTP/1.1, or as backend-protocol says"),
    refused("proxy-cookie-domain", "off, or FROM TO", _COOKIES),
    refused("proxy-cookie-path", "off, or FROM TO", _COOKIES),
    refused("proxy-redirect-from", "off, default, or a URL", _LOCATION),
    refused("proxy-redirect-to", "a URL", _LOCATION),
    Annotation(
        "connection-proxy-header",
        "close, keep-alive",
        "Backends see no Upgrade, so no WebSocket; connections to them are kept or closed as the proxy sees fit.",
    ),
)

HEADERS = 16 * 1024
"""Octets of an answer's headers that every proxy takes."""
_LONGEST = 2_147_483
"""Seconds: more milliseconds than that do not fit into NGINX's timers."""

_CONDITIONS = {
    "error": (RetryOn.CONNECT, RetryOn.ERROR),
    "timeout": (RetryOn.TIMEOUT,),
    "invalid_header": (RetryOn.INVALID,),
}
_STATUSES = frozenset((403, 404, 429, 500, 502, 503, 504))


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    if notes.size("proxy-buffer-size", 0) > HEADERS:
        notes.refuse(
            "proxy-buffer-size", "an answer's headers may have 16 KiB with NGINX and 60 KiB with Envoy", "more is a 502"
        )
    usual = wishes.policy
    policy = Policy(
        connect=float(notes.integer("proxy-connect-timeout", int(usual.connect), 1, _LONGEST)),
        read=float(notes.integer("proxy-read-timeout", int(usual.read), 1, _LONGEST)),
        send=float(notes.integer("proxy-send-timeout", int(usual.send), 1, _LONGEST)),
        retry=_retry(notes, usual.retry),
        body=notes.size("proxy-body-size", usual.body),
        buffer_request=notes.choice("proxy-request-buffering", ("on", "off"), "on") == "on",
        buffer_response=notes.choice("proxy-buffering", ("on", "off"), "off") == "on",
        websocket=not notes.choice("connection-proxy-header", ("close", "keep-alive"), ""),
    )
    return structs.replace(wishes, policy=policy)


def _retry(notes: Notes, usual: Retry) -> Retry:
    attempts = notes.integer("proxy-next-upstream-tries", usual.attempts) or 100
    limit = notes.integer("proxy-next-upstream-timeout", 0, 0, _LONGEST)
    usual = structs.replace(usual, attempts=min(attempts, 100), timeout=float(limit))
    words = notes.values.get("proxy-next-upstream", "").split()
    if not words:
        return usual
    statuses = {
        int(word[5:]) for word in words if word[:5] == "http_" and word[5:].isascii() and word[5:].isdigit() and len(word) == 8
    }
    rest = {word for word in words if word[:5] != "http_"}
    if len({word for word in words if word[:5] == "http_"}) != len(statuses) or not (
        statuses <= _STATUSES and rest <= {*_CONDITIONS, "non_idempotent", "off"}
    ):
        notes.bad("proxy-next-upstream", "has a word that is none of its conditions", "taken as error timeout")
        return usual
    if "off" in rest:
        return structs.replace(usual, attempts=1, on=())
    found = [condition for word, conditions in _CONDITIONS.items() if word in rest for condition in conditions]
    on = (*found, RetryOn.STATUS) if statuses else tuple(found)
    return structs.replace(usual, on=on, statuses=tuple(sorted(statuses)), non_idempotent="non_idempotent" in rest)


TRANSFER = Family(_ANNOTATIONS, _read)
