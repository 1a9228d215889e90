"""What does a create or an update write? One path for all of them: defaults, preparation, validation, allocation, transaction.

Order as upstream's generic registry (apiserver/pkg/registry/generic/registry/store.go, .../rest/{create,update}.go). Every
Write compares the revisions it was decided from; after a Conflict the same request is decided again from the new snapshot.
"""

from collections.abc import Callable, Sequence

from mooring.apiserver import access, errors, metadata, namespaces, render
from mooring.apiserver.admission import chain
from mooring.apiserver.admission.operation import CREATE, UPDATE
from mooring.apiserver.apply import ownership
from mooring.apiserver.authorization import escalation
from mooring.apiserver.body import Received
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Outcome, Response, Write
from mooring.apiserver.errors import bad_request, quote
from mooring.apiserver.strategy import Claim, Document, FieldError
from mooring.model import codec
from mooring.model.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CORE_EVENT,
    ENDPOINTS,
    EVENT,
    LEASE,
    ROLE,
    ROLE_BINDING,
    SERVICE,
)
from mooring.store.records import Compare, Delete, Put, Record, Txn

_CREATED_BY_PUT = frozenset(
    {SERVICE, ENDPOINTS, LEASE, CORE_EVENT, EVENT, ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING}
)
"""Upstream's AllowCreateOnUpdate."""
_NAME_ATTEMPTS = 8

Answer = Callable[[Call, bytes, int, int, Sequence[str]], Response]
"""(call, stored value, revision, status, warnings): how a written object is shown; render.one for all but Scale."""


def body_of(call: Call) -> Received:
    """The request's document. Raises StatusError 400, 413, 415."""
    return call.receive(call.kind, call.resource.shape)


# Create -----------------------------------------------------------------------------------------------------------------


def create(call: Call) -> Outcome:
    received = body_of(call)
    return create_document(call, received.document, received.warnings)


def create_document(call: Call, document: Document, complaints: Sequence[str]) -> Outcome:
    """Creates the object as received, unless it is there. Raises StatusError."""
    kind, strategy, meta = call.kind, call.resource.strategy, document["metadata"]
    if call.verb != "create" and (refusal := access.denial(call.request, call.target, "create", call.snapshot, call.env)):
        raise refusal  # PUT and apply create what is not there
    _settle_namespace(call, meta)
    if meta.get("resourceVersion") not in (None, "", "0"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    compares: tuple[Compare, ...] = ()
    if kind.namespaced:
        compares = (namespaces.check_open(call, meta.get("name", "")),)
    if chain.others_are_asked(call):
        strategy.default(document)
        document = chain.mutate(call, CREATE, document, None)
        meta = document["metadata"]
        _settle_namespace(call, meta)
    metadata.begin(meta, call.env.now, call.env.rng)
    generated = not meta.get("name") and bool(meta.get("generateName"))
    if generated:
        meta["name"] = _free_name(call, meta["generateName"])
    strategy.default(document)
    ownership.created(call, document)
    strategy.prepare_create(document, call.env)
    if strategy.generation:
        meta["generation"] = 1
    escalation.check(call, document, None)
    _refuse_invalid(call, document, strategy.validate(document, None, ""))
    chain.validate(call, CREATE, document, None)
    name = meta["name"]
    key = call.resource.key(call.namespace, name)
    if call.snapshot.get(key) is not None:
        raise errors.generate_name_conflict(kind, name) if generated else errors.already_exists(kind, name)
    warnings = (*complaints, *call.told, *strategy.warnings(document, None))
    claim = _claim(call, document, None, name)
    value = call.resource.store(document)
    if call.dry_run:
        return render.one(call, value, 0, 201, warnings)
    call.accepted  # noqa: B018  (a form we cannot give is refused before anything is written)
    txn = Txn((Compare(key, 0), *compares, *claim.compares), (Put(key, value), *claim.operations))
    return Write(txn, lambda committed: render.one(call, value, committed.revision, 201, warnings))


def _settle_namespace(call: Call, meta: Document) -> None:
    """The namespace of the body must be the URL's; an absent one is filled in."""
    given = meta.get("namespace") or ""
    if given and given != call.namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if call.namespace:
        meta["namespace"] = call.namespace
    else:
        meta.pop("namespace", None)


def _free_name(call: Call, base: str) -> str:
    for _ in range(_NAME_ATTEMPTS):
        name = metadata.generated_name(base, call.env.rng)
        if call.snapshot.get(call.resource.key(call.namespace, name)) is None:
            break
    return name


def _refuse_invalid(call: Call, document: Document, found: Sequence[FieldError]) -> None:
    if found:
        raise errors.invalid(call.kind, document["metadata"].get("name") or "", found)


def _claim(call: Call, document: Document | None, old: Document | None, name: str) -> Claim:
    """The strategy's allocations. Raises StatusError 422, or 500 when a range is full."""
    claim = call.resource.strategy.claim(document, old, call.snapshot, call.env)
    if claim.errors:
        raise errors.invalid(call.kind, name, claim.errors)
    if claim.unavailable:
        raise errors.internal(claim.unavailable)
    return claim


# Update -----------------------------------------------------------------------------------------------------------------


def update(call: Call) -> Outcome:
    received = body_of(call)
    meta = received.document["metadata"]
    check_name(meta.get("name"), call.name)
    record = call.snapshot.get(call.resource.key(call.namespace, call.name))
    if record is None:
        if call.kind not in _CREATED_BY_PUT or call.target.subresource:
            raise errors.not_found(call.kind, call.name)
        if meta.get("uid"):
            raise errors.conflict(
                call.kind, call.name, f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: "
            )
        return create_document(call, received.document, received.warnings)
    if not meta.get("resourceVersion") and call.resource.needs_version:
        why = "Invalid value: 0: must be specified for an update"
        raise errors.invalid(call.kind, call.name, [FieldError("FieldValueInvalid", "metadata.resourceVersion", why)])
    return change(call, record, received.document, received.warnings)


def check_name(given: object, name: str) -> None:
    """Raises StatusError 400 when the body has no name or another than the URL."""
    if not given:
        raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def change(
    call: Call, record: Record, document: Document, complaints: Sequence[str] = (), answer: Answer = render.one
) -> Outcome:
    """Replaces the object by `document`, as far as this subresource may. The object goes when its last finalizer does."""
    old = call.resource.load(record.value)
    prepared, claim = _prepare(call, record, old, document)
    warnings = (*complaints, *call.told, *call.resource.strategy.warnings(prepared, old))
    leaves = metadata.may_go(prepared) and not metadata.may_go(old)
    if not leaves and codec.same(prepared, old) and not claim.operations and call.resource.current(record.value):
        return answer(call, record.value, record.mod_revision, 200, warnings)
    value = call.resource.store(prepared)
    if call.dry_run:
        return answer(call, value, record.mod_revision, 200, warnings)
    call.accepted  # noqa: B018
    if leaves:
        txn = removal(call, record)
    else:
        txn = Txn((Compare(record.key, record.mod_revision), *claim.compares), (Put(record.key, value), *claim.operations))
    return Write(txn, lambda committed: answer(call, value, committed.revision, 200, warnings))


def _prepare(call: Call, record: Record, old: Document, document: Document) -> tuple[Document, Claim]:
    """The document as it would be stored, validated, with its allocations. Raises StatusError."""
    strategy, meta = call.resource.strategy, document["metadata"]
    check_name(meta.get("name"), call.name)
    _settle_namespace(call, meta)
    _check_preconditions(call, record, old, meta)
    # Scale changes the spec, so strategies see it as an update of the main resource.
    subresource = "" if call.target.subresource == "scale" else call.target.subresource
    strategy.default(document)
    reviewed = call.target.subresource != "scale"  # a Scale is reviewed as what it is
    if reviewed and chain.others_are_asked(call):
        document = chain.mutate(call, UPDATE, document, old)
        strategy.default(document)
        meta = document["metadata"]
        check_name(meta.get("name"), call.name)
        _settle_namespace(call, meta)
    metadata.carry_over(meta, old["metadata"])
    ownership.changed(call, old, document)
    strategy.prepare_update(document, old, subresource, call.env)
    if strategy.generation and subresource != "status" and _content(document) != _content(old):
        document["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    escalation.check(call, document, old)
    _refuse_invalid(call, document, strategy.validate(document, old, subresource))
    if reviewed:
        chain.validate(call, UPDATE, document, old)
    return document, _claim(call, document, old, call.name)


def _check_preconditions(call: Call, record: Record, old: Document, meta: Document) -> None:
    if (uid := meta.get("uid")) and uid != old["metadata"].get("uid"):
        have = old["metadata"].get("uid")
        raise errors.conflict(
            call.kind, call.name, f"Precondition failed: UID in precondition: {uid}, UID in object meta: {have}"
        )
    version = meta.get("resourceVersion")
    if version in (None, "", "0"):
        return
    if not (version.isascii() and version.isdigit()):
        why = f"Invalid value: {quote(version)}: must be a resource version this server gave out"
        raise errors.invalid(call.kind, call.name, [FieldError("FieldValueInvalid", "metadata.resourceVersion", why)])
    if version.lstrip("0") != str(record.mod_revision):
        raise errors.conflict(call.kind, call.name)


def _content(document: Document) -> Document:
    return {name: value for name, value in document.items() if name not in ("metadata", "status")}


def removal(call: Call, record: Record) -> Txn:
    """Removes the object and releases what it claimed."""
    released = _claim(call, None, call.resource.load(record.value), call.name)
    return Txn((Compare(record.key, record.mod_revision), *released.compares), (Delete(record.key), *released.operations))
