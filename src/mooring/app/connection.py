"""How does a command speak to an API server? Blocking HTTP over the standard library, quick to import and easy to follow.

The loops use edges/http; a command sends a few requests and wants to have started before the user's finger leaves the key.
"""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from mooring.edges.http.kubeconfig import Access

Document = dict[str, Any]
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class Refused(Exception):
    """The server's answer is an error: its code, the Status reason and message, and the Status itself."""

    def __init__(self, code: int, reason: str, message: str, status: Document) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.status = code, reason, message, status


class Unreachable(Exception):
    """No answer: the connection failed, or the certificates do not fit."""


class Connection:
    """One keep-alive connection, opened when first needed and again when the server closed it."""

    def __init__(self, access: Access, timeout: float | None = 30.0) -> None:
        self.access = access
        self._url = urlsplit(access.server)
        self._timeout = timeout
        self._tls = access.tls() if self._url.scheme == "https" else None
        self._http: http.client.HTTPConnection | None = None

    def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = "application/json") -> Document:
        return self.send("GET", path, query=query, accept=accept)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> Document:
        """One request, its JSON answer. Raises Refused, Unreachable."""
        data = self.raw(method, path, body, query=query, accept=accept, content_type=content_type)
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise Unreachable(f"{self.access.server}{path} did not answer with JSON") from error
        return answer if isinstance(answer, dict) else {"items": answer}

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        accept: str = "*/*",
        content_type: str = "application/json",
    ) -> bytes:
        """One request, the body of its answer. Raises Refused, Unreachable."""
        response = self._answer(method, path, body, query, accept, content_type)
        try:
            return response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.access.server}: the answer broke off: {error}") from error

    def stream(self, path: str, query: Mapping[str, str] | None = None, accept: str = "*/*") -> Iterator[bytes]:
        """What arrives, as it arrives, until the server ends it (`?watch=1`, `?follow=true`). Raises Refused, Unreachable."""
        response = self._answer("GET", path, None, query, accept, "application/json", patient=True)
        try:
            while chunk := response.read1(65536):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.access.server}: the answer broke off: {error}") from error
        finally:
            self.close()

    def lines(self, path: str, query: Mapping[str, str] | None = None, accept: str = "application/json") -> Iterator[Document]:
        """A stream of JSON lines, decoded."""
        rest = b""
        for chunk in self.stream(path, query, accept):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (json.loads(line) for line in whole if line.strip())

    def close(self) -> None:
        if self._http:
            self._http.close()
            self._http = None

    def _answer(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, str] | None,
        accept: str,
        content_type: str,
        patient: bool = False,
    ) -> http.client.HTTPResponse:
        url = self._url.path + path + ("?" + urlencode(query) if query else "")
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Accept": accept, "User-Agent": "mooring"}
        if data is not None:
            headers["Content-Type"] = content_type
        token = Path(self.access.token_file).read_text().strip() if self.access.token_file else self.access.token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        for attempt in (1, 2):
            fresh = self._http is None
            try:
                connection = self._http = self._http or self._connect()
                connection.request(method, url, data, headers)
                if patient and connection.sock:
                    connection.sock.settimeout(None)
                response = connection.getresponse()
                break
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A kept connection the server has closed meanwhile: nothing was read, so a safe request may be sent again.
                if fresh or attempt == 2 or method != "GET":
                    raise Unreachable(f"cannot reach {self.access.server}: {_why(error)}") from error
        if response.status >= 400:
            raise _refusal(response)
        return response

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port or 80, timeout=self._timeout)
        return http.client.HTTPSConnection(host, port or 443, timeout=self._timeout, context=self._tls)


def _refusal(response: http.client.HTTPResponse) -> Refused:
    text = response.read().decode(errors="replace")
    try:
        status = json.loads(text)
        return Refused(response.status, status.get("reason", ""), status.get("message", "") or text, status)
    except (ValueError, AttributeError):
        return Refused(response.status, "", text.strip() or f"{response.status} {response.reason}", {})


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
