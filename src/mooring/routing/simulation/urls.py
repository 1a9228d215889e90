"""Which request does a URL stand for?"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from mooring.routing.simulate import Request


def request_of(method: str, url: str, headers: Sequence[tuple[str, str]] = (), **fields: Any) -> Request:
    """The path goes as it is written. A Host among the headers wins over the URL's. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no URL of http or https")
    after = url.partition("://")[2].partition("#")[0]
    path = after[min((at for at in (after.find("/"), after.find("?")) if at >= 0), default=len(after)) :]
    host = next((value for name, value in headers if name.lower() == "host"), parts.netloc.rpartition("@")[2])
    return Request(
        host=host,
        path=path if path.startswith("/") else f"/{path}",
        method=method,
        scheme=parts.scheme,
        port=parts.port or 0,
        headers=tuple(each for each in headers if each[0].lower() != "host"),
        **fields,
    )
