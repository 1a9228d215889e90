"""What do webhooks say? Mutating ones are asked one after the other and change the object, validating ones all at once.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/ and
apiserver/pkg/admission/plugin/webhook. Asking is the edge's: here are the questions (webhook_client.py) and what answers mean.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from mooring.apiserver import errors, patch_json
from mooring.apiserver.admission import bindings
from mooring.apiserver.admission.matching import Condition, Selection, conditions_hold, rule
from mooring.apiserver.admission.operation import CONNECT, Operation, request_of
from mooring.apiserver.cel.environment import CelError
from mooring.apiserver.contract import Answer, Env, Question
from mooring.apiserver.errors import StatusError, quote
from mooring.apiserver.patch_errors import BadPatch, PatchFailed, TooManyOperations
from mooring.apiserver.resources import Resource
from mooring.apiserver.shape import built_in
from mooring.apiserver.webhook_client import Unreachable, question
from mooring.model import codec
from mooring.model.kinds import (
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
    Kind,
)
from mooring.store.snapshot import Snapshot

Document = dict[str, Any]

_UNSEEN = frozenset({
    MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION, VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
})  # fmt: skip
"""Never shown to webhooks, or a broken one could not be removed."""
_DEFAULT_TIMEOUT = 10
_REVIEW = "AdmissionReview", "admission.k8s.io/v1"
_WARNING, _WARNED = 256, 4096
"""Characters of one warning, and of all that one webhook gives."""
_INVALID = "received invalid webhook response"


class Webhook(Struct, frozen=True):
    """One webhook of a configuration. `lenient`: failurePolicy Ignore. `timeout` in seconds."""

    name: str
    configuration: str
    client: Document
    selection: Selection
    conditions: tuple[Condition, ...]
    lenient: bool
    dry_runs: bool
    timeout: int
    reinvoked: bool = False


def webhooks(kind: Kind, snapshot: Snapshot) -> tuple[Webhook, ...]:
    """Of all configurations of a kind, in the order in which they are asked: by the configuration's name, then as listed."""
    compute = _mutating if kind is MUTATING_WEBHOOK_CONFIGURATION else _validating
    return snapshot.derived(compute, kind.prefix)


def _mutating(snapshot: Snapshot) -> tuple[Webhook, ...]:
    return tuple(_read(MUTATING_WEBHOOK_CONFIGURATION, snapshot))


def _validating(snapshot: Snapshot) -> tuple[Webhook, ...]:
    return tuple(_read(VALIDATING_WEBHOOK_CONFIGURATION, snapshot))


def _read(kind: Kind, snapshot: Snapshot) -> Iterable[Webhook]:
    for record in snapshot.scan(kind.prefix):
        configuration = codec.decode(record.value)
        for each in configuration.get("webhooks") or ():
            selection = Selection(
                tuple(rule(one) for one in each.get("rules") or ()),
                namespaces=each.get("namespaceSelector"),
                objects=each.get("objectSelector"),
                exact=each.get("matchPolicy") == "Exact",
            )
            yield Webhook(
                each.get("name", ""),
                configuration["metadata"]["name"],
                each.get("clientConfig") or {},
                selection,
                bindings.conditions(each.get("matchConditions")),
                each.get("failurePolicy") == "Ignore",
                each.get("sideEffects") in ("None", "NoneOnDryRun"),
                each.get("timeoutSeconds") or _DEFAULT_TIMEOUT,
                each.get("reinvocationPolicy") == "IfNeeded",
            )


class Failed(Exception):
    """The webhook gave no verdict; what then happens is its failurePolicy's to say."""


class Verdict(Struct, frozen=True):
    patch: Any = None
    warnings: tuple[str, ...] = ()


def validate(seen: Operation) -> tuple[str, ...]:
    """Warnings. Raises StatusError when one denies or, strict, gives no verdict; Unanswered until all have been asked."""
    asked = []
    for webhook in webhooks(VALIDATING_WEBHOOK_CONFIGURATION, seen.call.snapshot):
        if (resource := _wanted(webhook, seen)) is not None:
            asked.append((webhook, _question(webhook, seen, resource)))
    questions = tuple(each for _, each in asked if isinstance(each, Question))
    answers = dict(zip(questions, seen.call.env.answer(*questions), strict=True)) if questions else {}
    warnings: list[str] = []
    for webhook, each in asked:
        verdict = _verdict(webhook, answers[each] if isinstance(each, Question) else each, seen)
        warnings += verdict.warnings if verdict else ()
    return tuple(warnings)


def mutate(seen: Operation) -> tuple[Document | None, tuple[str, ...]]:
    """The object as webhooks want it, and warnings. Those that ask for it are asked again when later ones changed something."""
    known = webhooks(MUTATING_WEBHOOK_CONFIGURATION, seen.call.snapshot)
    if not known:
        return seen.document, ()
    document, warnings, changed_after = _round(known, seen)
    again = [webhook for webhook in known if webhook.reinvoked and webhook.name in changed_after]
    if again:
        document, more, _ = _round(again, msgspec.structs.replace(seen, document=document))
        warnings += more
    return document, tuple(warnings)


def _round(asked: Sequence[Webhook], seen: Operation) -> tuple[Document | None, list[str], set[str]]:
    """Asks one after the other. Also: after which of them another one has changed the object."""
    document = seen.document
    warnings: list[str] = []
    called: list[str] = []
    changed_after: set[str] = set()
    for webhook in asked:
        now = msgspec.structs.replace(seen, document=document)
        resource = _wanted(webhook, now)
        if resource is None:
            continue
        each = _question(webhook, now, resource)
        verdict = _verdict(webhook, seen.call.env.answer(each)[0] if isinstance(each, Question) else each, now)
        called.append(webhook.name)
        if verdict is None:
            continue
        warnings += verdict.warnings
        if verdict.patch and document is not None:
            before, document = document, _patched(webhook, now, resource, verdict.patch)
            if not codec.same(document, before):
                changed_after |= set(called[:-1])
    return document, warnings, changed_after


def _wanted(webhook: Webhook, seen: Operation) -> Resource | None:
    """The version by which the webhook wants to see the operation. Raises StatusError when its conditions fail, strict."""
    if seen.call.kind in _UNSEEN:
        return None
    resource = webhook.selection.sees(seen)
    if resource is None or not webhook.conditions:
        return resource
    try:
        bound = bindings.bind(seen.seen_as(resource), resource)
        return resource if conditions_hold(webhook.conditions, bound.evaluate) else None
    except CelError as error:
        if webhook.lenient:
            return None
        why = f"failed to process match conditions for webhook {quote(webhook.name)}: {error}"
        raise errors.forbidden(seen.call.kind, seen.name, why) from None


def _question(webhook: Webhook, seen: Operation, resource: Resource) -> Question | Failed:
    if seen.dry_run and not webhook.dry_runs:
        raise errors.bad_request(f"admission webhook {quote(webhook.name)} does not support dry run")
    uid = seen.call.env.request_id  # the same however often the request is decided
    review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}
    body = codec.encode(review | {"request": request_of(seen.seen_as(resource), resource, uid)})
    try:
        asked = question(webhook.client, body, float(webhook.timeout), seen.call.snapshot)
    except Unreachable as error:
        return Failed(str(error))
    mark = "&" if "?" in asked.url else "?"
    return msgspec.structs.replace(asked, url=f"{asked.url}{mark}timeout={webhook.timeout}s")


def _verdict(webhook: Webhook, answer: Answer | Failed, seen: Operation) -> Verdict | None:
    """None when it gave none and may be passed over. Raises StatusError."""
    try:
        if isinstance(answer, Failed):
            raise answer
        return _read_answer(webhook, answer, seen.call.env)
    except Failed as failure:
        if webhook.lenient:
            return None
        raise errors.internal(f"failed calling webhook {quote(webhook.name)}: {failure}") from None


def _read_answer(webhook: Webhook, answer: Answer, env: Env) -> Verdict:
    if answer.error:
        raise Failed(f"failed to call webhook: {answer.error}")
    if not 200 <= answer.status < 300:
        raise Failed(f"failed to call webhook: the server responded with the status code {answer.status}")
    try:
        review = codec.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failed(f"failed to call webhook: the answer is no JSON: {error}") from None
    if not isinstance(review, dict) or (review.get("kind"), review.get("apiVersion")) != _REVIEW:
        raise Failed(f"{_INVALID}: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview")
    response = review.get("response")
    if not isinstance(response, dict):
        raise Failed("webhook response was absent")
    if response.get("uid") != env.request_id:
        given = quote(str(response.get("uid", "")))
        raise Failed(f"{_INVALID}: expected response.uid={quote(env.request_id)}, got {given}")
    texts = response.get("warnings") or ()
    if not isinstance(texts, list | tuple):
        raise Failed(f"{_INVALID}: warnings must be a list")
    warnings = _bounded(map(str, texts))
    notes = response.get("auditAnnotations") or {}
    if not isinstance(notes, dict):
        raise Failed(f"{_INVALID}: auditAnnotations must be an object")
    for key, value in notes.items():
        env.note(f"{webhook.name}/{key}", str(value))
    if response.get("allowed") is not True:
        raise _denied(webhook, response)
    return Verdict(_patch(response), warnings)


def _bounded(texts: Iterable[str]) -> tuple[str, ...]:
    """Warnings become headers: each is cut, and what would make them too long together is left out, as upstream does."""
    kept: list[str] = []
    left = _WARNED
    for text in texts:
        if not (text := text[: min(_WARNING, left)]):
            break
        kept.append(text)
        left -= len(text)
    return tuple(kept)


def _patch(response: Document) -> Any:
    patch, kind = response.get("patch"), response.get("patchType")
    if not patch:
        if kind:
            raise Failed(f"{_INVALID}: webhook returned response.patchType but not response.patch")
        return None
    if kind != "JSONPatch":
        raise Failed(f"{_INVALID}: webhook returned invalid response.patchType of {quote(str(kind or ''))}")
    try:
        return codec.decode(base64.b64decode(patch))
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise Failed(f"received undecodable patch in webhook response: {error}") from None


def _denied(webhook: Webhook, response: Document) -> StatusError:
    status = response.get("status") if isinstance(response.get("status"), dict) else {}
    assert isinstance(status, dict)
    said, reason = status.get("message"), status.get("reason")
    denied = f"admission webhook {quote(webhook.name)} denied the request"
    message = f"{denied}: {said or reason}" if said or reason else f"{denied} without explanation"
    code = status.get("code")
    code = code if isinstance(code, int) and 400 <= code <= 599 else 400
    details = status.get("details") if isinstance(status.get("details"), dict) else None
    return StatusError(code, str(reason or ""), message, details)


def _patched(webhook: Webhook, seen: Operation, resource: Resource, patch: Any) -> Document:
    """The document in the call's own version, the patch applied to the version that the webhook saw. Raises StatusError."""
    own = seen.call.resource
    shown = seen.seen_as(resource)
    try:
        document = patch_json.apply(codec.decode(codec.encode(shown.document)), patch)
    except (BadPatch, PatchFailed, TooManyOperations, RecursionError) as error:
        raise errors.internal(f"failed calling webhook {quote(webhook.name)}: failed to apply its patch: {error}") from None
    before = shown.document or {}
    if not isinstance(document, dict) or not isinstance(
        document.get("metadata"), dict if "metadata" in before else dict | None
    ):
        raise errors.internal(f"webhook {quote(webhook.name)} left no object")
    if any(document.get(name) != before.get(name) for name in ("kind", "apiVersion")):
        raise errors.internal(f"webhook {quote(webhook.name)} returned an object of another kind")
    if seen.verb == CONNECT:
        return document
    shape = resource.shape if seen.kind == seen.call.kind else built_in(seen.kind)
    structure = shape.check(document)
    if structure.type_errors:
        why = structure.type_errors[0]
        raise errors.internal(f"webhook {quote(webhook.name)} returned an object of another form: {why}")
    if structure.unknown_fields:
        shape.drop_unknown(document)
    return document if resource is own else own.from_stored(resource.to_stored(document))
