"""How many replicas? autoscaling/v1 Scale, read from and written to whatever can be scaled, where its kind has the numbers."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver import errors, patch, read, render, write
from mooring.apiserver.admission import chain
from mooring.apiserver.admission.operation import UPDATE
from mooring.apiserver.apply import scaling
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Outcome, Response
from mooring.apiserver.custom.definition import ScalePaths
from mooring.apiserver.custom.strategy import at
from mooring.apiserver.resources import REPLICAS
from mooring.apiserver.shape import built_in
from mooring.apiserver.strategy import Document, FieldError
from mooring.model.kinds import Kind
from mooring.store.records import Record

SCALE = Kind("autoscaling", "v1", "Scale", "scales", "scale", True)


def get(call: Call) -> Response:
    record = read.existing(call)
    return render.plain(call.request, scale_of(call.resource.load(record.value), record.mod_revision, call.resource.scale))


def scale_of(document: Document, revision: int, paths: ScalePaths | None = REPLICAS) -> Document:
    """The Scale of an object whose numbers are at `paths`."""
    paths = paths or REPLICAS
    meta, spec = document["metadata"], document.get("spec") or {}
    shown = {name: meta[name] for name in ("name", "namespace", "uid", "creationTimestamp") if name in meta}
    current: Document = {"replicas": _number(document, paths.status, 0)}
    text = (
        at(document, paths.selector)
        if paths.selector
        else selector_text(spec.get("selector") or {})
        if paths is REPLICAS
        else ""
    )
    if text:
        current["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": SCALE.api_version,
        "metadata": shown | {"resourceVersion": str(revision)},
        "spec": {"replicas": _number(document, paths.spec, 1 if paths is REPLICAS else 0)},
        "status": current,
    }


def _number(document: Document, path: Sequence[str], absent: int) -> int:
    """What stands there, unless it is no number of replicas: then its own validation says so."""
    value = at(document, path)
    return value if type(value) is int else absent


def _put(document: Document, path: Sequence[str], value: int) -> None:
    for name in path[:-1]:
        inner = document.get(name)
        document[name] = document = dict(inner) if isinstance(inner, dict) else {}
    document[path[-1]] = value


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
    if media == patch.APPLY_PATCH:
        return _apply(call)
    if media not in (patch.JSON_PATCH, patch.MERGE_PATCH, patch.STRATEGIC_PATCH):
        raise errors.unsupported_media_type(f"{patch.JSON_PATCH}, {patch.MERGE_PATCH}, {patch.STRATEGIC_PATCH}")
    record = read.existing(call)
    current = scale_of(call.resource.load(record.value), record.mod_revision, call.resource.scale)
    return _set(call, record, *patch.patched(call, current, SCALE, built_in(SCALE), media))


def _apply(call: Call) -> Outcome:
    record = read.existing(call)
    document = call.resource.load(record.value)
    managers = document["metadata"].get("managedFields") or []
    paths = call.resource.scale or REPLICAS
    live = scale_of(document, record.mod_revision, paths)
    scale, managers, warnings = scaling.applied(call, SCALE, live, managers, paths.spec)
    call.managers_decided = True
    return _set(call, record, scale, warnings, managers)


def _set(
    call: Call, record: Record, scale: Document, warnings: tuple[str, ...], managers: list[Document] | None = None
) -> Outcome:
    """`managers`: of the object, where they are decided already."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise errors.invalid(SCALE, call.name, [FieldError("FieldValueInvalid", "spec.replicas", why)])
    document = call.resource.load(record.value)
    scale = chain.review(call, UPDATE, scale, scale_of(document, record.mod_revision, call.resource.scale), SCALE)
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    _put(document, (call.resource.scale or REPLICAS).spec, replicas)
    for name in ("name", "namespace", "uid", "resourceVersion"):
        if given := scale["metadata"].get(name):
            document["metadata"][name] = given
    if managers:
        document["metadata"]["managedFields"] = managers
    return write.change(call, record, document, warnings, _shown)


def _shown(call: Call, value: bytes, revision: int, status: int, warnings: Sequence[str]) -> Response:
    return render.plain(
        call.request,
        scale_of(call.resource.load(value), revision, call.resource.scale),
        status,
        render.warning_headers(warnings),
    )
