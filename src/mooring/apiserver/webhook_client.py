"""Where does a webhook's clientConfig lead? To a URL, or to a ready endpoint of a Service: a Question for the edge to send.

Upstream: apiserver/pkg/util/webhook. A Service is resolved from what the store holds, as kube-proxy would balance it; of its
endpoints, one is chosen by the body, so that the same question goes to the same place however often a request is decided.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from mooring.apiserver.contract import Question
from mooring.model import codec
from mooring.model.discovery import SERVICE_NAME_LABEL
from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.store.snapshot import Snapshot

Document = dict[str, Any]

DEFAULT_PORT = 443


class Unreachable(Exception):
    """There is nobody to ask, in words for people."""


def question(config: Document, body: bytes, timeout: float, snapshot: Snapshot) -> Question:
    """The question that a clientConfig (admission's or conversion's) makes of a body. Raises Unreachable."""
    ca = _certificates(config.get("caBundle") or "")
    if service := config.get("service"):
        return _of_service(service, ca, body, timeout, snapshot)
    url = config.get("url") or ""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    except ValueError as error:
        raise Unreachable(f"{url}: {error}") from None
    if parts.scheme != "https" or not host:
        raise Unreachable(f"{url}: not an https URL with a host")
    return Question(url, (host, port), host, ca, body, timeout)


def _certificates(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise Unreachable(f"unable to load root certificates: {error}") from None


def _of_service(service: Document, ca: bytes, body: bytes, timeout: float, snapshot: Snapshot) -> Question:
    namespace, name = service.get("namespace") or "", service.get("name") or ""
    port = service.get("port") or DEFAULT_PORT
    server_name = f"{name}.{namespace}.svc"
    record = snapshot.get(SERVICE.key(namespace, name))
    if record is None:
        raise Unreachable(f'service "{name}" not found')
    spec: Document = codec.decode(record.value).get("spec") or {}
    url = f"https://{server_name}:{port}/{(service.get('path') or '').lstrip('/')}"
    if spec.get("type") == "ExternalName":
        return Question(url, (spec.get("externalName") or "", port), server_name, ca, body, timeout)
    asked = next((one for one in spec.get("ports") or () if one.get("port") == port), None)
    if asked is None:
        raise Unreachable(f'no service port {port} found for service "{name}"')
    found = sorted(_ready(namespace, name, asked.get("name") or "", snapshot))
    if not found:
        raise Unreachable(f'no endpoints available for service "{name}"')
    chosen = found[int.from_bytes(hashlib.sha256(body).digest()[:8]) % len(found)]
    return Question(url, chosen, server_name, ca, body, timeout)


def _ready(namespace: str, name: str, port: str, snapshot: Snapshot) -> Iterator[tuple[str, int]]:
    """(address, port) of the Service's ready endpoints."""
    mark = name.encode()
    for record in snapshot.scan(f"{ENDPOINT_SLICE.prefix}{namespace}/"):
        if mark not in record.value:
            continue
        document = codec.decode(record.value)
        if (document["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL) != name or document.get("addressType") == "FQDN":
            continue
        number = next((one.get("port") for one in document.get("ports") or () if (one.get("name") or "") == port), None)
        for endpoint in document.get("endpoints") or ():
            if number and (endpoint.get("conditions") or {}).get("ready", True) and endpoint.get("addresses"):
                yield endpoint["addresses"][0], number
