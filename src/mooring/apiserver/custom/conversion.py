"""How does an object of one version become one of another? By its apiVersion alone, or by what a webhook answers.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from mooring.apiserver.contract import Env
from mooring.apiserver.custom.definition import Definition
from mooring.apiserver.errors import StatusError
from mooring.apiserver.webhook_client import Unreachable, question
from mooring.model import codec
from mooring.store.snapshot import Snapshot

Document = dict[str, Any]

TIMEOUT = 30.0
"""Seconds, as upstream's."""
_REVIEWS = ("v1", "v1beta1")
_GROUP = "apiextensions.k8s.io"


def by_webhook(definition: Definition) -> bool:
    return definition.conversion.get("strategy") == "Webhook"


def renamed(document: Document, api_version: str) -> Document:
    """The conversion None."""
    return {**document, "apiVersion": api_version}


def asked(
    documents: Sequence[Document], api_version: str, definition: Definition, env: Env, snapshot: Snapshot
) -> list[Document]:
    """What the webhook makes of documents. Raises Unanswered until it has been asked, StatusError 500 when it fails."""
    webhook = definition.conversion.get("webhook") or {}
    version = next((one for one in webhook.get("conversionReviewVersions") or () if one in _REVIEWS), "v1")
    content = codec.encode([api_version, documents])
    review = {
        "kind": "ConversionReview",
        "apiVersion": f"{_GROUP}/{version}",
        "request": {"uid": _identity(content), "desiredAPIVersion": api_version, "objects": list(documents)},
    }
    try:
        asking = question(webhook.get("clientConfig") or {}, codec.encode(review), TIMEOUT, snapshot)
    except Unreachable as error:
        raise _failed(documents, str(error)) from None
    (answer,) = env.answer(asking)
    if answer.error or answer.status != 200:
        why = answer.error or f"the server responded with the status code {answer.status}"
        raise _failed(documents, f"Post {asking.url!r}: {why}".replace("'", '"'))
    return _converted(answer.body, review, documents, api_version)


def _identity(content: bytes) -> str:
    """A UUID of the content: the same review however often the request is decided."""
    digits = hashlib.sha256(content).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"


def _failed(documents: Sequence[Document], why: str) -> StatusError:
    first = documents[0]
    text = f"conversion webhook for {first.get('apiVersion')}, Kind={first.get('kind')} failed: {why}"
    return StatusError(500, "", text)


def _converted(body: bytes, review: Document, documents: Sequence[Document], api_version: str) -> list[Document]:
    try:
        answer = codec.decode(body)
        response = answer["response"]
        result, objects = response.get("result") or {}, response.get("convertedObjects") or []
        if not isinstance(result, dict) or not isinstance(objects, list):
            raise TypeError
        if answer.get("kind") != review["kind"] or answer.get("apiVersion") != review["apiVersion"]:
            expected = f"{review['apiVersion']}, Kind={review['kind']}"
            raise _failed(
                documents,
                f"invalid API Version/Kind: expected {expected}, got {answer.get('apiVersion')}, Kind={answer.get('kind')}",
            )
        if response.get("uid") != review["request"]["uid"]:
            raise _failed(documents, f'expected response.uid="{review["request"]["uid"]}", got "{response.get("uid")}"')
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, RecursionError):
        raise _failed(documents, "the answer is no ConversionReview with a response") from None
    if result.get("status") != "Success":
        raise _failed(documents, result.get("message") or "no message")
    if len(objects) != len(documents):
        raise _failed(documents, f"webhook returned {len(objects)} objects, expected {len(documents)}")
    return [
        _checked(new, old, place, api_version, documents)
        for place, (new, old) in enumerate(zip(objects, documents, strict=True))
    ]


def _checked(new: Any, old: Document, place: int, api_version: str, documents: Sequence[Document]) -> Document:
    """A webhook may change anything but what the object is, and of metadata only labels and annotations."""
    where = f"invalid converted object at index {place}"
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise _failed(documents, f"{where}: invalid metadata of type {type(new).__name__} in converted object")
    if new.get("apiVersion") != api_version:
        raise _failed(documents, f"{where}: invalid groupVersion (expected {api_version}, received {new.get('apiVersion')})")
    if new.get("kind") != old.get("kind"):
        raise _failed(documents, f"{where}: invalid kind (expected {old.get('kind')}, received {new.get('kind')})")
    for name in ("name", "namespace", "uid"):
        if (new["metadata"].get(name) or "") != (old["metadata"].get(name) or ""):
            raise _failed(
                documents, f"{where}: must have the same {name}: {old['metadata'].get(name)} != {new['metadata'].get(name)}"
            )
    metadata = dict(old["metadata"])
    for name in ("labels", "annotations"):
        metadata.pop(name, None)
        if given := new["metadata"].get(name):
            if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
                raise _failed(documents, f"{where}: invalid metadata.{name} in converted object")
            metadata[name] = given
    return {**new, "metadata": metadata}
