"""How does an object or a list look on the wire? In the form the client accepts: as it is, as a Table, or metadata alone.

Stored bytes are joined, not decoded, wherever the client asks for plain JSON.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import yaml

from mooring.apiserver import table
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Env, Request, Response
from mooring.apiserver.errors import StatusError, not_acceptable
from mooring.apiserver.negotiate import JSON, YAML, accepted
from mooring.apiserver.pieces import Pieces, listed
from mooring.apiserver.resources import raw_metadata
from mooring.apiserver.strategy import Document
from mooring.model import codec
from mooring.store.records import Record

_META_API = "meta.k8s.io"
_WARNINGS_LENGTH, _WARNING_LENGTH = 4096, 256
_WARNINGS = 80
"""Clients in Python take at most 100 headers."""
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_BY_HAND = ("curl/", "Wget/", "Mozilla/5.0")


def plain(request: Request, document: Document, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A document that is no stored object (Status, Scale, discovery...), as JSON or YAML."""
    media = accepted(request.headers.get("accept", "")).media
    return _response(request, media, codec.encode(document), status, headers)


def failure(request: Request, error: StatusError) -> Response:
    """A Status; JSON when the client accepts nothing that we speak."""
    headers: tuple[tuple[str, str], ...] = ()
    if error.details and "retryAfterSeconds" in error.details:
        headers = (("Retry-After", str(error.details["retryAfterSeconds"])),)
    try:
        media = accepted(request.headers.get("accept", "")).media
    except StatusError:
        media = JSON
    return _response(request, media, codec.encode(error.document()), error.code, headers + warning_headers(error.warnings))


def one(call: Call, value: bytes, revision: int, status: int = 200, warnings: Sequence[str] = ()) -> Response:
    """One stored object in the served form. `revision` 0 leaves resourceVersion out (a dry-run create)."""
    form = call.accepted
    if form.transform.endswith("List"):
        raise not_acceptable(f"you requested {form.transform}, but the requested object is not a list ({_go_name(call)})")
    if form.transform == "Table":
        body = table.whole(call, [(value, revision)], {"resourceVersion": str(revision)} if revision else {}, call.env)
    else:
        body = item(call, value, revision)
    return _response(call.request, form.media, body, status, warning_headers(warnings))


def item(call: Call, value: bytes, revision: int) -> bytes:
    """One object as a watch frame or an answer carries it: whole, metadata alone, or a Table of one row as of this moment."""
    form = call.accepted
    if form.transform == "Table":
        now = call.env.clock() if call.env.clock else call.env.now
        env = Env(now, call.env.rng, call.env.settings)
        return table.whole(call, [(value, revision)], {"resourceVersion": str(revision)}, env)
    value = call.resource.served(value)
    if form.transform:
        return b'{"kind":"PartialObjectMetadata","apiVersion":"%s/%s","metadata":%s}' % (
            _META_API.encode(), form.version.encode(), raw_metadata(value, revision),
        )  # fmt: skip
    return codec.stamp(value, revision) if revision else value


def many(call: Call, records: Iterable[Record], meta: Document) -> Response:
    """A list. `meta` is its metadata: resourceVersion, continue, remainingItemCount."""
    form, records = call.accepted, call.resource.gathered(records)
    if form.transform == "PartialObjectMetadata":
        name = _go_name(call) + "List"
        raise not_acceptable(f"you requested {form.transform}, but the requested object is a list ({name})")
    if form.transform == "Table":
        body = table.whole(call, ((record.value, record.mod_revision) for record in records), meta, call.env)
        return _response(call.request, form.media, body)
    kind, api_version = call.kind.list_kind, call.kind.api_version
    if not form.transform and not call.resource.converts:
        head = codec.encode({"kind": kind, "apiVersion": api_version, "metadata": meta})
        return _response(call.request, form.media, listed(head, records))
    items = b",".join([item(call, record.value, record.mod_revision) for record in records])
    if form.transform:
        kind, api_version = form.transform, f"{_META_API}/{form.version}"
    head = codec.encode({"kind": kind, "apiVersion": api_version, "metadata": meta})
    return _response(call.request, form.media, b'%s,"items":[%s]}' % (head[:-1], items))


def warning_headers(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """RFC 7234 Warning headers, code 299, as upstream sends them: each text once, cut short when there is very much to say."""
    if not texts:
        return ()
    shown, room = list(dict.fromkeys(texts)), _WARNINGS_LENGTH
    if sum(map(len, shown)) > room:
        shown = [text[:_WARNING_LENGTH] for text in shown]
    found = []
    for text in shown[:_WARNINGS]:
        if room <= 0:
            break
        room -= len(text)
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        found.append(("Warning", f'299 - "{escaped}"'))
    return tuple(found)


def _response(
    request: Request, media: str, body: bytes | Pieces, status: int = 200, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    if media == YAML:
        return Response(status, to_yaml(codec.decode(bytes(body))), YAML, headers)
    if _pretty(request):
        body = msgspec.json.format(bytes(body), indent=2) + b"\n"
    return Response(status, body, JSON, headers)


def _pretty(request: Request) -> bool:
    """When asked for, and for people who ask by hand, unless they say no."""
    if request.query:
        for name, value in request.query:
            if name == "pretty" and value:
                return value in _TRUE
    return request.headers.get("user-agent", "").startswith(_BY_HAND)


def to_yaml(value: Any) -> bytes:
    text: bytes = yaml.dump(value, Dumper=yaml.CSafeDumper, allow_unicode=True, encoding="utf-8", default_flow_style=False)
    return text


def _go_name(call: Call) -> str:
    return f"{call.kind.version}.{call.kind.kind}"
