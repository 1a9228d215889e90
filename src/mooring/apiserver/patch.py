"""What does a PATCH write? The patched object, on the same path as an update; without a resourceVersion it never conflicts."""

from typing import Any

from mooring.apiserver import errors, patch_json, patch_merge, patch_strategic, read, write
from mooring.apiserver.apply import applying
from mooring.apiserver.body import checked, parse
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Outcome
from mooring.apiserver.errors import StatusError, bad_request
from mooring.apiserver.negotiate import JSON
from mooring.apiserver.patch_errors import BadPatch, PatchFailed, TooManyOperations, go_map
from mooring.apiserver.shape import Shape
from mooring.apiserver.strategy import Document, FieldError
from mooring.model import codec
from mooring.model.kinds import Kind

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_MEMBERS = frozenset({"op", "path", "from", "value"})


def patch(call: Call) -> Outcome:
    media = call.request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if media == APPLY_PATCH:
        return applying.apply(call)
    if media not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH):
        raise errors.unsupported_media_type(f"{JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_PATCH}, {APPLY_PATCH}")
    if call.has_query("force"):
        why = "Forbidden: may not be specified for non-apply patch"
        raise call.bad_options([FieldError("FieldValueForbidden", "force", why)])
    record = read.existing(call)
    document = call.resource.load(record.value)
    document["metadata"]["resourceVersion"] = str(record.mod_revision)
    received, warnings = patched(call, document, call.kind, call.resource.shape, media)
    if _meta_of(received).get("resourceVersion") == str(record.mod_revision):
        received["metadata"].pop("resourceVersion", None)
    return write.change(call, record, received, warnings)


def _meta_of(document: Document) -> Document:
    found: Document = document["metadata"]
    return found


def patched(call: Call, document: Document, kind: Kind, shape: Shape, media: str) -> tuple[Document, tuple[str, ...]]:
    """`document`, which is of `kind`, with the request's patch applied and its structure checked. Raises StatusError."""
    body = call.request.body
    try:
        changes, duplicates = parse(body, JSON, kind.kind, find_duplicates=call.validation != "Ignore")
    except StatusError as error:
        raise bad_request(f"error decoding patch: {error.message}") from None
    complaints = _complaints(changes, duplicates, media) if call.validation != "Ignore" else ()
    result = _apply(document, changes, shape, media)
    if not isinstance(result, dict) or not isinstance(result.get("metadata"), dict):
        raise errors.unprocessable("the patch does not leave an object")
    if (result.get("kind"), result.get("apiVersion")) != (kind.kind, kind.api_version):
        # The kind of an object is not its own to change.
        raise bad_request(
            f"the API version in the data ({result.get('apiVersion')}, Kind={result.get('kind')}) "
            f"does not match the expected API version ({kind.api_version}, Kind={kind.kind})"
        )

    def refusal(why: str) -> StatusError:
        shown = go_map(changes) if media == STRATEGIC_PATCH else codec.encode(result).decode()
        message = f"Invalid value: {errors.quote(shown)}: {why}"
        return errors.invalid_kind("", "", "", [FieldError("FieldValueInvalid", "patch", message)])

    received = checked(result, kind, shape, call.validation, complaints, refusal)
    call.complaints = received.warnings
    return received.document, received.warnings


def _complaints(changes: Any, duplicates: tuple[str, ...], media: str) -> tuple[str, ...]:
    """Of a JSON patch, about members of its operations too."""
    if media != JSON_PATCH or not isinstance(changes, list):
        return duplicates
    unknown = [
        f"unknown field {errors.quote(f'[{place}].{name}')}"
        for place, operation in enumerate(changes)
        if isinstance(operation, dict)
        for name in operation
        if name not in _MEMBERS
    ]
    return tuple(f"json patch {each}" for each in (*unknown, *duplicates))


def _apply(document: Document, changes: Any, shape: Shape, media: str) -> Any:
    try:
        if media == JSON_PATCH:
            return patch_json.apply(document, changes)
        if media == MERGE_PATCH:
            return patch_merge.apply(document, changes)
        if shape.patch_meta is None:
            raise errors.unsupported_media_type(f"{JSON_PATCH}, {MERGE_PATCH}, {APPLY_PATCH}")
        return patch_strategic.apply(document, changes, shape.patch_meta)
    except BadPatch as error:
        raise bad_request(str(error)) from None
    except PatchFailed as error:
        raise errors.unprocessable(str(error)) from None
    except TooManyOperations as error:
        raise errors.too_large(str(error)) from None
    except RecursionError:
        raise bad_request("exceeded max depth") from None
