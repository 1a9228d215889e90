"""How many replicas? autoscaling/v1 Scale, read from and written to a Deployment or ReplicaSet."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver import errors, patch, read, render, write
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Outcome, Response
from mooring.apiserver.shape import built_in
from mooring.apiserver.strategy import Document, FieldError
from mooring.model import codec
from mooring.model.kinds import Kind
from mooring.store.records import Record

SCALE = Kind("autoscaling", "v1", "Scale", "scales", "scale", True)


def get(call: Call) -> Response:
    record = read.existing(call)
    return render.plain(call.request, scale_of(call.resource.load(record.value), record.mod_revision))


def scale_of(document: Document, revision: int) -> Document:
    """The Scale of a Deployment or ReplicaSet."""
    meta, spec, status = document["metadata"], document.get("spec") or {}, document.get("status") or {}
    shown = {name: meta[name] for name in ("name", "namespace", "uid", "creationTimestamp") if name in meta}
    current: Document = {"replicas": status.get("replicas", 0)}
    if text := selector_text(spec.get("selector") or {}):
        current["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": SCALE.api_version,
        "metadata": shown | {"resourceVersion": str(revision)},
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": current,
    }


def selector_text(selector: dict[str, Any]) -> str:
    """A LabelSelector in the string form, e.g. 'app=web,tier in (a,b)'."""
    parts = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or ():
        key, operator, values = term["key"], term["operator"], ",".join(sorted(term.get("values") or ()))
        texts = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}
        parts.append((key, texts[operator]))
    return ",".join(text for _, text in sorted(parts))


def update(call: Call) -> Outcome:
    record = read.existing(call)
    received = call.receive(SCALE, built_in(SCALE))
    return _set(call, record, received.document, received.warnings)


def patch_(call: Call) -> Outcome:
    media = call.request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if media not in (patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_PATCH):
        raise errors.unsupported_media_type(f"{patch.JSON_PATCH}, {patch.MERGE_PATCH}, {patch.STRATEGIC_PATCH}")
    record = read.existing(call)
    current = scale_of(call.resource.load(record.value), record.mod_revision)
    return _set(call, record, *patch.patched(call, current, SCALE, built_in(SCALE), media))


def _set(call: Call, record: Record, scale: Document, warnings: tuple[str, ...]) -> Outcome:
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise errors.invalid(SCALE, call.name, [FieldError("FieldValueInvalid", "spec.replicas", why)])
    document = call.resource.load(record.value)
    document["spec"]["replicas"] = replicas
    for name in ("name", "namespace", "uid", "resourceVersion"):
        if given := scale["metadata"].get(name):
            document["metadata"][name] = given
    return write.change(call, record, document, warnings, _shown)


def _shown(call: Call, value: bytes, revision: int, status: int, warnings: Sequence[str]) -> Response:
    return render.plain(call.request, scale_of(codec.decode(value), revision), status, render.warning_headers(warnings))
