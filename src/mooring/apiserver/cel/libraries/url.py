"""URLs: url, isURL and their parts (apiserver/pkg/cel/library/urls.go)."""

import re
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from mooring.apiserver.cel.libraries.function import Function, opaque

URL = "kubernetes.URL"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BAD = re.compile(r"[\x00-\x20\x7f]|%(?![0-9A-Fa-f]{2})")
_SAFE = "/:@!$&'()*+,;=-._~"


def _split(text: str) -> SplitResult:
    """An absolute URI or an absolute path, as HTTP requests carry it. Raises ValueError."""
    try:
        if not (text.startswith("/") or _SCHEME.match(text)) or _BAD.search(text):
            raise ValueError("invalid URI for request")
        found = urlsplit(text)
        _ = found.port
    except ValueError as error:
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": {error}') from None
    return found


def _is_url(text: str) -> bool:
    try:
        _split(text)
    except ValueError:
        return False
    return True


def _part(name: str) -> Any:
    def part(url: dict[str, Any]) -> Any:
        found = _split(url["value"])
        host = found.netloc.rpartition("@")[2]
        match name:
            case "scheme":
                return found.scheme
            case "host":
                return host
            case "hostname":
                return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
            case "port":
                return "" if found.port is None else str(found.port)
            case "path":
                return quote(unquote(found.path), safe=_SAFE)
        return parse_qs(found.query, keep_blank_values=True)

    return part


def _url(text: str) -> dict[str, Any]:
    _split(text)
    return opaque(URL, text)


FUNCTIONS = (
    Function("url", ("string",), URL, _url, member=False),
    Function("isURL", ("string",), "bool", _is_url, member=False),
    Function("getScheme", (URL,), "string", _part("scheme")),
    Function("getHost", (URL,), "string", _part("host")),
    Function("getHostname", (URL,), "string", _part("hostname")),
    Function("getPort", (URL,), "string", _part("port")),
    Function("getEscapedPath", (URL,), "string", _part("path")),
    Function("getQuery", (URL,), "map<list<string>>", _part("query")),
)
