"""What is there? GET of an object and LIST of a collection, with upstream's resourceVersion semantics.

https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from itertools import islice

import msgspec
from msgspec import Struct

from mooring.apiserver import continue_token, errors, render
from mooring.apiserver.call import Call
from mooring.apiserver.continue_token import INCONSISTENT, Token
from mooring.apiserver.contract import Facet, Response
from mooring.apiserver.errors import quote
from mooring.apiserver.remembered import remembered
from mooring.apiserver.resources import Resource
from mooring.apiserver.selectors import (
    FieldTerm,
    Matcher,
    check_fields,
    field_terms,
    fields_match,
    label_equality,
    label_matcher,
)
from mooring.apiserver.strategy import FieldError
from mooring.model.kinds import Kind
from mooring.store.records import Compacted, FutureRevision, Record

_INCONSISTENT_TEXT = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with "
    "the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)
_TOO_OLD_LIST = "The resourceVersion for the provided list is too old."
_DIGITS = 20
"""Of the greatest resourceVersion: Python is slow with very long numbers, and refuses the longest."""
_MOST = 1 << 31
"""Objects of a page: nobody holds more."""
_CACHED = 20_000
"""Enough for the labels of every object of a large collection; keyed by the stored bytes, so it can never be wrong."""
_LARGE = 16 * 1024
"""Stored bytes that are not held for their labels: there may be very many versions of a large object."""


# Selection --------------------------------------------------------------------------------------------------------------


class _Meta(Struct, gc=False):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class _Labelled(Struct, gc=False):
    metadata: _Meta


_labelled = msgspec.json.Decoder(_Labelled)


@remembered(_CACHED, _LARGE)
def _meta_of(value: bytes) -> _Meta:
    return _labelled.decode(value).metadata


@remembered(_CACHED, _LARGE)
def _fields_of(resource: Resource, value: bytes) -> dict[str, str]:
    document = resource.load(value)
    meta = document["metadata"]
    own = resource.strategy.fields(document)
    return own | {"metadata.name": meta["name"], "metadata.namespace": meta.get("namespace", "")}


@lru_cache
def _own_fields(resource: Resource) -> frozenset[str]:
    kind: Kind = resource.kind
    empty = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {"name": ""}, "spec": {}, "status": {}}
    return frozenset(resource.strategy.fields(empty))


class Selection(Struct, frozen=True):
    """What the request's selectors see. `only` is the name when the field selector asks for exactly one."""

    resource: Resource
    labels: Matcher | None
    terms: tuple[FieldTerm, ...]
    only: str = ""

    @property
    def everything(self) -> bool:
        return self.labels is None and not self.terms

    def sees(self, record: Record) -> bool:
        if self.labels is not None and not self.labels(_meta_of(record.value).labels or {}):
            return False
        return not self.terms or fields_match(self.terms, _fields_of(self.resource, record.value))


def selection(call: Call) -> Selection:
    """Raises StatusError 400."""
    terms = field_terms(call.query("fieldSelector"))
    check_fields(terms, _own_fields(call.resource))
    only = next((value for label, value, equal in terms if label == "metadata.name" and equal), "")
    if call.name:  # the legacy /watch/ path of one object
        terms, only = (*terms, FieldTerm(("metadata.name", call.name, True))), call.name
    return Selection(call.resource, label_matcher(call.query("labelSelector")), terms, only)


def facet(call: Call, wanted: Selection) -> Facet | None:
    """What an object must have for `wanted` to see it: the first label that has to have one value, or else the first field."""
    if equal := label_equality(call.query("labelSelector")):
        return Facet(equal[0], equal[1], partial(_label, equal[0]))
    equals = [(field, value) for field, value, equal in wanted.terms if equal]
    if not equals or wanted.resource.rests_on:  # fields of a defined kind may be known only after a webhook has been asked
        return None
    field, value = equals[0]
    return Facet((wanted.resource, field), value, partial(_field, wanted.resource, field))


def _label(label: str, record: Record) -> str | None:
    return (_meta_of(record.value).labels or {}).get(label)


def _field(resource: Resource, field: str, record: Record) -> str:
    return _fields_of(resource, record.value).get(field, "")


def records(call: Call, wanted: Selection, after: str = "", revision: int = 0) -> Iterable[Record]:
    """The records of the call's collection that `wanted` sees, in key order. Raises Compacted, FutureRevision."""
    if wanted.only and (call.namespace or not call.kind.namespaced):
        key = call.resource.key(call.namespace, wanted.only)
        record = call.snapshot.get(key, revision) if key > after else None
        return (record,) if record and wanted.sees(record) else ()
    found = call.snapshot.scan(call.resource.prefix(call.namespace), after, 0, revision)
    if wanted.terms:
        found = call.resource.gathered(found)
    return found if wanted.everything else filter(wanted.sees, found)


# Versions ---------------------------------------------------------------------------------------------------------------


def parse_version(text: str) -> int:
    """A resourceVersion; '' is 0. Raises StatusError 400."""
    if not text:
        return 0
    digits = text.lstrip("0") or "0"
    wrong = "" if text.isascii() and text.isdigit() else "invalid syntax"
    if not wrong and (len(digits) > _DIGITS or int(digits) >= 1 << 64):
        wrong = "value out of range"
    if wrong:
        raise errors.bad_request(f"invalid resource version {quote(text)}: strconv.ParseUint: parsing {quote(text)}: {wrong}")
    return int(digits)


def not_newer_than_now(call: Call, version: int) -> None:
    """Raises StatusError 504 when the store has not reached `version`."""
    if version > call.snapshot.revision:
        raise errors.too_large_resource_version(version, call.snapshot.revision)


def check_match(call: Call) -> None:
    """resourceVersionMatch's own rules (validation of ListOptions). Raises StatusError 422."""
    match, version = call.query("resourceVersionMatch"), call.query("resourceVersion")
    initial = call.has_query("sendInitialEvents")
    found = _match_errors(call, match, version, initial) if match or initial else []
    if found:
        raise errors.invalid_kind("meta.k8s.io", "ListOptions", "", found)


def _match_errors(call: Call, match: str, version: str, initial: bool) -> list[FieldError]:
    def forbidden(field: str, why: str) -> list[FieldError]:
        return [FieldError("FieldValueForbidden", field, f"Forbidden: {why}")]

    field = "resourceVersionMatch"
    if call.verb == "watch":
        if match and not initial:
            return forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        if initial and match != "NotOlderThan":
            return forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        if initial and not call.flag("allowWatchBookmarks") and call.flag("sendInitialEvents"):
            return forbidden("allowWatchBookmarks", "sendInitialEvents is forbidden unless allowWatchBookmarks is set")
        return []
    if initial:
        return forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if not version:
        return forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
    if call.query("continue"):
        return forbidden(field, "resourceVersionMatch is forbidden for continue")
    if match not in ("Exact", "NotOlderThan"):
        why = f'Unsupported value: {quote(match)}: supported values: "Exact", "NotOlderThan", ""'
        return [FieldError("FieldValueNotSupported", field, why)]
    if match == "Exact" and version == "0":
        return forbidden(field, 'resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    return []


# GET --------------------------------------------------------------------------------------------------------------------


def existing(call: Call) -> Record:
    """The record of the object the path names. Raises StatusError 404."""
    record = call.snapshot.get(call.resource.key(call.namespace, call.name))
    if record is None:
        raise errors.not_found(call.kind, call.name)
    return record


def get(call: Call) -> Response:
    not_newer_than_now(call, parse_version(call.query("resourceVersion")))
    record = existing(call)
    return render.one(call, record.value, record.mod_revision)


# LIST -------------------------------------------------------------------------------------------------------------------


def list_(call: Call) -> Response:
    check_match(call)
    wanted = selection(call)
    limit = min(max(call.number("limit") or 0, 0), _MOST)
    version = parse_version(call.query("resourceVersion"))
    if text := call.query("continue"):
        if version:
            raise errors.bad_request("specifying resource version is not allowed when using continue")
        return _next_page(call, wanted, limit, continue_token.decode(text))
    match = call.query("resourceVersionMatch")
    exact = version and (match == "Exact" or (limit and not match))
    not_newer_than_now(call, version)
    if not exact or version == call.snapshot.revision:
        return _page(call, wanted, limit, Token(call.snapshot.revision, ""), at=0)
    try:
        return _page(call, wanted, limit, Token(version, ""), at=version)
    except Compacted:
        raise errors.expired(_TOO_OLD_LIST) from None


def _next_page(call: Call, wanted: Selection, limit: int, token: Token) -> Response:
    if token.revision == INCONSISTENT:
        return _page(call, wanted, limit, Token(call.snapshot.revision, token.start), at=0)
    try:
        return _page(call, wanted, limit, token, at=0 if token.revision == call.snapshot.revision else token.revision)
    except Compacted:
        again = continue_token.encode(Token(INCONSISTENT, token.start))
        raise errors.expired(_INCONSISTENT_TEXT, again) from None
    except FutureRevision:
        raise errors.too_large_resource_version(token.revision, call.snapshot.revision) from None


def _page(call: Call, wanted: Selection, limit: int, token: Token, at: int) -> Response:
    """At most `limit` objects after the token's start as of revision `at` (0 for now)."""
    prefix = call.resource.prefix(call.namespace)
    after = prefix + token.start if token.start else ""
    meta: dict[str, str | int] = {"resourceVersion": str(token.revision)}
    if not limit:
        return render.many(call, records(call, wanted, after, at), meta)
    found = _some(call, wanted, after, at, limit + 1)
    page = found[:limit]
    if len(found) > limit:
        left = _left(call, wanted, token, after, at, limit)
        start = page[-1].key.removeprefix(prefix)
        meta["continue"] = continue_token.encode(Token(token.revision, start, left))
        if left >= 0:
            meta["remainingItemCount"] = left
    return render.many(call, page, meta)


def _some(call: Call, wanted: Selection, after: str, at: int, limit: int) -> Sequence[Record]:
    if wanted.everything:
        return list(call.snapshot.scan(call.resource.prefix(call.namespace), after, limit, at))
    return list(islice(records(call, wanted, after, at), limit))


def _left(call: Call, wanted: Selection, token: Token, after: str, at: int, given: int) -> int:
    """How many remain after this page at the pinned revision; -1 with selectors, as upstream leaves it out."""
    if not wanted.everything:
        return -1
    if token.left >= 0:
        return token.left - given
    prefix = call.resource.prefix(call.namespace)
    if not at and not after:
        return call.snapshot.count(prefix) - given
    return sum(1 for _ in call.snapshot.scan(prefix, after, 0, at)) - given
