"""What does a DELETE write? Removal, or a mark that the object is going while finalizers or a grace period hold it.

Rules: apiserver/pkg/registry/rest/delete.go and registry/generic/registry/store.go; the finalizers `orphan` and
`foregroundDeletion` are carried out by the garbage collector.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from mooring.apiserver import body, errors, metadata, namespaces, read, render, write
from mooring.apiserver.admission import chain
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Outcome, Question, Response, Unanswered, Write
from mooring.apiserver.errors import bad_request, quote
from mooring.apiserver.kinds.custom_resource_definition import marked_for_deletion
from mooring.apiserver.metadata import FOREGROUND, ORPHAN
from mooring.apiserver.negotiate import body_media
from mooring.apiserver.strategy import Document, FieldError
from mooring.model.kinds import (
    CORE_EVENT,
    CUSTOM_RESOURCE_DEFINITION,
    EVENT,
    JOB,
    NAMESPACE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    STORAGE_CLASS,
)
from mooring.store.records import Compare, Delete, Put, Record, Txn

RETURNED = frozenset({POD, SERVICE, SERVICE_ACCOUNT, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS})
"""Kinds whose deletion answers with the object (upstream's ReturnDeletedObject); others answer with a Status."""
_ORPHANING = frozenset({JOB})
"""Kinds whose dependents stay unless the request says otherwise, as it was in the first versions of their API."""
_UNCOLLECTED = frozenset({CORE_EVENT, EVENT})
"""Kinds that the garbage collector does not look at: its finalizers would hold them for ever."""
_PRESERVED = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
_HEAD = {"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions"}
_ASKED = ("gracePeriodSeconds", "preconditions", "orphanDependents", "propagationPolicy", "dryRun")
_POLICIES = ("Background", "Foreground", "Orphan")
_DEFAULT_GRACE = 30
_LONGEST = (1 << 63) // 10**9
"""Seconds: as long as Go's durations last."""
_ASKED_AT_ONCE = 256


class Options(Struct, frozen=True):
    """DeleteOptions. `asked` is the document of them, as admission sees it."""

    asked: Document
    grace: int | None = None
    uid: str = ""
    version: str = ""
    policy: str = ""
    orphan: bool | None = None
    dry_run: bool = False


class Going(Struct, frozen=True):
    """What becomes of one object: removed when `removed`, else `document` is stored (unchanged when `pending`)."""

    document: Document
    removed: bool = False
    pending: bool = False


# Options ----------------------------------------------------------------------------------------------------------------


def options(call: Call, given: Document | None = None) -> Options:
    """Of the request's body, or of a document inside it. Raises StatusError 400, 415, 422."""
    if given is None:
        given = _body(call) if call.request.body.strip() else _query(call)
    given = {name: value for name, value in given.items() if value is not None}
    grace, orphan = given.get("gracePeriodSeconds"), given.get("orphanDependents")
    policy, dry_run, preconditions = given.get("propagationPolicy", ""), given.get("dryRun", []), given.get("preconditions", {})
    _check_types(grace, policy, orphan, dry_run, preconditions)
    call.check_dry_run(dry_run)
    found = []
    if policy and orphan is not None:
        why = f"Invalid value: {quote(policy)}: orphanDependents and deletionPropagation cannot be both set"
        found.append(FieldError("FieldValueInvalid", "propagationPolicy", why))
    if policy and policy not in _POLICIES:
        supported = ", ".join(quote(known) for known in (*_POLICIES, "nil"))
        why = f"Unsupported value: {quote(policy)}: supported values: {supported}"
        found.append(FieldError("FieldValueNotSupported", "propagationPolicy", why))
    if found:
        raise call.bad_options(found)
    uid, version = preconditions.get("uid") or "", preconditions.get("resourceVersion") or ""
    dry = "All" in dry_run or call.dry_run
    asked = {name: given[name] for name in _ASKED if name in given} | ({"dryRun": ["All"]} if dry else {})
    return Options({**_HEAD, **asked}, grace, uid, version, policy, orphan, dry)


def _query(call: Call) -> Document:
    """Read only when there is no body, as upstream; but a dry run is one wherever it is asked for."""
    orphan = call.flag("orphanDependents") if call.query("orphanDependents") else None
    found = {"gracePeriodSeconds": call.number("gracePeriodSeconds"), "orphanDependents": orphan}
    return {**found, "propagationPolicy": call.query("propagationPolicy") or None}


def _body(call: Call) -> Document:
    given, _ = body.parse(call.request.body, body_media(call.request.headers.get("content-type", "")), "DeleteOptions")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise bad_request(f"json: cannot unmarshal {body.json_word(given)} into Go value of type v1.DeleteOptions")
    if given.get("kind") not in (None, "", "DeleteOptions"):
        raise bad_request(f"no kind {quote(str(given['kind']))} is registered for a deletion: DeleteOptions is expected")
    return given


def _check_types(grace: Any, policy: Any, orphan: Any, dry_run: Any, preconditions: Any) -> None:
    wrong = (
        ("gracePeriodSeconds", "int64", grace is not None and (type(grace) is not int or grace.bit_length() > 63)),
        ("propagationPolicy", "string", not isinstance(policy, str)),
        ("orphanDependents", "bool", orphan is not None and not isinstance(orphan, bool)),
        ("dryRun", "[]string", not isinstance(dry_run, list) or not all(isinstance(item, str) for item in dry_run)),
        ("preconditions", "v1.Preconditions",
         not isinstance(preconditions, dict) or not all(isinstance(item, str | None) for item in preconditions.values())),
    )  # fmt: skip
    for field, go_type, is_wrong in wrong:
        if is_wrong:
            raise bad_request(f"json: cannot unmarshal into Go struct field DeleteOptions.{field} of type {go_type}")


# Deciding ---------------------------------------------------------------------------------------------------------------


def decide(call: Call, document: Document, wish: Options, now: datetime) -> Going:
    """What becomes of `document`, a private copy. Pure."""
    meta = document["metadata"]
    deleting = "deletionTimestamp" in meta
    if deleting and meta.get("deletionGracePeriodSeconds"):
        if not _shorten(meta, wish.grace):
            return Going(document, pending=True)
    elif deleting and metadata.finalizers_left(document):
        if call.kind == NAMESPACE or not _set_collection_finalizers(call, meta, wish):
            return Going(document, pending=True)
    elif not deleting:
        if call.kind == CUSTOM_RESOURCE_DEFINITION:
            marked_for_deletion(document, now)
        _set_collection_finalizers(call, meta, wish)
        grace = _grace(call, document, wish)
        if grace > 0 or metadata.finalizers_left(document):
            meta["deletionTimestamp"] = metadata.timestamp(now + timedelta(seconds=grace))
            if call.kind == NAMESPACE:
                document.setdefault("status", {})["phase"] = "Terminating"
            else:
                meta["deletionGracePeriodSeconds"] = grace
            if "generation" in meta:
                meta["generation"] += 1
    held = metadata.finalizers_left(document) or bool(meta.get("deletionGracePeriodSeconds"))
    return Going(document, removed=not held)


def _grace(call: Call, document: Document, wish: Options) -> int:
    """Seconds. Only running pods end gracefully."""
    if call.kind == NAMESPACE or call.resource.strategy.delete_at_once(document):
        return 0
    spec = document.get("spec") or {}
    grace = wish.grace if wish.grace is not None else spec.get("terminationGracePeriodSeconds", _DEFAULT_GRACE)
    return _bounded(grace)


def _bounded(grace: int) -> int:
    """A negative wish means one second, as upstream; whoever reckons with a longer one than _LONGEST leaves the calendar."""
    return 1 if grace < 0 else min(grace, _LONGEST)


def _shorten(meta: Document, wanted: int | None) -> bool:
    """A deletion under way may only be made quicker. True when it was."""
    had = meta.get("deletionGracePeriodSeconds")
    if wanted is None or had is None:
        return False
    grace = _bounded(wanted)
    if grace >= had:
        return False
    ends = datetime.fromisoformat(meta["deletionTimestamp"]) - timedelta(seconds=had - grace)
    meta["deletionTimestamp"], meta["deletionGracePeriodSeconds"] = metadata.timestamp(ends), grace
    return True


def _set_collection_finalizers(call: Call, meta: Document, wish: Options) -> bool:
    """`orphan` and `foregroundDeletion` as the options ask; when they are silent those already there stand, else the kind's
    own rule. True when they were others."""
    have = list(meta.get("finalizers") or ())
    orphan = foreground = False
    if call.kind in _UNCOLLECTED:
        pass
    elif wish.orphan is not None:
        orphan = wish.orphan
    elif wish.policy:
        orphan, foreground = wish.policy == "Orphan", wish.policy == "Foreground"
    else:
        orphan, foreground = ORPHAN in have, FOREGROUND in have
        orphan = orphan or (call.kind in _ORPHANING and not foreground)
    wanted = [name for name in have if name not in (ORPHAN, FOREGROUND)]
    wanted += [ORPHAN] * orphan + [FOREGROUND] * foreground
    if set(wanted) == set(have):
        return False
    meta["finalizers"] = wanted
    return True


def check_preconditions(call: Call, record: Record, document: Document, wish: Options) -> None:
    meta, subject = document["metadata"], call.kind.kind + (f".{call.kind.group}" if call.kind.group else "")

    def stale(what: str, asked: str, have: object, happened: str) -> errors.StatusError:
        why = f"the {what} in the precondition ({asked}) does not match the {what} in record ({have}). {happened}"
        return errors.conflict(call.kind, meta["name"], why, subject=subject)

    if wish.uid and wish.uid != meta.get("uid"):
        raise stale("UID", wish.uid, meta.get("uid"), "The object might have been deleted and then recreated")
    if wish.version and wish.version != str(record.mod_revision):
        raise stale("ResourceVersion", wish.version, record.mod_revision, "The object might have been modified")


# One object -------------------------------------------------------------------------------------------------------------


def delete(call: Call) -> Outcome:
    wish = options(call)
    record = read.existing(call)
    document = call.resource.load(record.value)
    namespaces.check_mortal(call, call.name)
    check_preconditions(call, record, document, wish)
    chain.deletion(call, call.resource.load(record.value), wish.asked)
    going = decide(call, document, wish, call.env.now)
    if going.removed:
        return _removed(call, record, going, wish)
    status = 202 if wish.orphan is False else 200
    if going.pending:
        return render.one(call, record.value, record.mod_revision, status)
    value = call.resource.store(going.document)
    if wish.dry_run:
        return render.one(call, value, record.mod_revision, status)
    txn = Txn((Compare(record.key, record.mod_revision),), (Put(record.key, value),))
    silent = call.kind in _ORPHANING and not wish.policy and wish.orphan is None
    warnings = (*call.told, *((_PRESERVED,) if silent else ()))
    return Write(txn, lambda committed: render.one(call, value, committed.revision, status, warnings))


def _removed(call: Call, record: Record, going: Going, wish: Options) -> Outcome:
    value = call.resource.store(going.document)

    def answer(revision: int) -> Response:
        if call.kind in RETURNED:
            return render.one(call, value, revision)
        details = errors.details_of(call.kind, call.name, going.document["metadata"].get("uid", ""))
        return render.plain(call.request, errors.success(details))

    if wish.dry_run:
        return answer(record.mod_revision)
    return Write(write.removal(call, record), lambda committed: answer(committed.revision))


# A collection -----------------------------------------------------------------------------------------------------------


def _admit(call: Call, records: Sequence[Record], wish: Options) -> None:
    """Asks about many objects at once, not about one after the other. Raises StatusError, Unanswered."""
    questions: list[Question] = []
    for record in records:
        try:
            chain.deletion(call, call.resource.load(record.value), wish.asked)
        except Unanswered as unknown:
            questions += unknown.questions
            if len(questions) >= _ASKED_AT_ONCE:
                break
    if questions:
        raise Unanswered(tuple(dict.fromkeys(questions)))


def delete_collection(call: Call) -> Outcome:
    """Every object the selectors see, in one transaction. Answers with the list of them as they were."""
    if call.kind == NAMESPACE:
        raise errors.method_not_allowed(call.kind, "deletecollection")
    wish = options(call)
    found: Sequence[Record] = list(call.resource.gathered(read.records(call, read.selection(call))))
    _admit(call, found, wish)
    compares: dict[str, Compare] = {}
    operations: dict[str, Put | Delete] = {}
    for record in found:
        document = call.resource.load(record.value)
        check_preconditions(call, record, document, wish)
        going = decide(call, document, wish, call.env.now)
        if going.pending:
            continue
        if going.removed:
            txn = write.removal(call, record)
        else:
            value = call.resource.store(going.document)
            txn = Txn((Compare(record.key, record.mod_revision),), (Put(record.key, value),))
        compares.update((compare.key, compare) for compare in txn.compares)
        operations.update((operation.key, operation) for operation in txn.operations)
    meta = {"resourceVersion": str(call.snapshot.revision)}
    if wish.dry_run or not operations:
        return render.many(call, found, meta)
    whole = Txn(tuple(compares.values()), tuple(operations.values()))
    return Write(whole, lambda committed: render.many(call, found, {"resourceVersion": str(committed.revision)}))
