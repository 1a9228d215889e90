"""What of a request goes on to a pod, a Service or a kubelet below .../proxy, and what of the answer comes back?

Never the user's credentials. Redirects lead below the proxy's own path, and CORS is the API server's own business.
Source: util/proxy of apimachinery.
"""

from collections.abc import Iterable
from urllib.parse import quote, urlsplit, urlunsplit

from mooring.apiserver.contract import Proxy
from mooring.edges.http.authn import BEARER_PROTOCOL
from mooring.edges.http.server_parser import Message

HOP_BY_HOP = frozenset(
    # RFC 9110 7.6.1. `upgrade` and `connection` are written anew.
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "host",
        "expect",
    )
)
_CREDENTIALS = ("authorization", "impersonate-", "x-remote-")
"""Beginnings of what says who asks: that is between the user and the API server."""
_CORS = frozenset(f"access-control-allow-{what}" for what in ("credentials", "headers", "methods", "origin"))
Headers = Iterable[tuple[str, str]]


def fit(headers: Headers) -> list[tuple[str, str]]:
    """The headers that go on: not those of the connection, nor those that its sender names in `Connection`, nor credentials."""
    given = list(headers)
    named = {part.strip().lower() for name, value in given if name.lower() == "connection" for part in value.split(",")}
    passed = []
    for name, value in given:
        low = name.lower()
        if low in HOP_BY_HOP or low in named or low.startswith(_CREDENTIALS):
            continue
        if low == "sec-websocket-protocol":
            value = ", ".join(part.strip() for part in value.split(",") if not part.strip().startswith(BEARER_PROTOCOL))
            if not value:
                continue
        passed.append((name, value))
    return passed


def forwarded(message: Message, proxy: Proxy, client: str, scheme: str) -> list[tuple[str, str]]:
    """X-Forwarded-*: who asked, by which name, for what."""
    assert proxy.onward
    before = message.headers.get("x-forwarded-for", "")
    found = [("X-Forwarded-For", f"{before}, {client}" if before else client)] if client else []
    found.append(("X-Forwarded-Uri", quote(proxy.onward.prefix + proxy.path, safe="/:@!$&'()*+,;=~-._")))
    return [*found, ("X-Forwarded-Host", message.headers.get("host", "")), ("X-Forwarded-Proto", scheme)]


def answered(headers: Headers, message: Message, proxy: Proxy) -> tuple[tuple[str, str], ...]:
    """The headers that come back."""
    found = []
    for name, value in fit(headers):
        low = name.lower()
        if low == "location":
            found.append((name, relocated(value, message, proxy)))
        elif low not in _CORS and low != "date":
            found.append((name, value))
    return tuple(found)


def relocated(location: str, message: Message, proxy: Proxy) -> str:
    """A redirect within the same host, below the proxy's path. One elsewhere, or relative, is as it was."""
    assert proxy.onward
    try:
        url = urlsplit(location)
        port = url.port
    except ValueError:
        return location
    hosts = ("", message.headers.get("host", "").lower(), host_and_port(proxy).lower())
    here = url.netloc.lower() in hosts or (url.hostname == proxy.address and port is None)
    if not here or not url.path.startswith("/"):
        return location
    path = url.path if url.path.startswith(proxy.onward.prefix) else proxy.onward.prefix + url.path
    return urlunsplit(("", "", path, url.query, url.fragment))


def host_and_port(proxy: Proxy) -> str:
    return f"[{proxy.address}]:{proxy.port}" if ":" in proxy.address else f"{proxy.address}:{proxy.port}"
