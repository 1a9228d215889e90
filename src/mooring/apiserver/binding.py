"""Which node shall run this pod? POST pods/<name>/binding, as the scheduler sends it, or bindings, which names it."""

from mooring.apiserver import errors, metadata, read, render
from mooring.apiserver.admission import chain
from mooring.apiserver.admission.operation import CREATE
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Outcome, Write
from mooring.apiserver.paths import Target
from mooring.apiserver.resources import resource_of
from mooring.apiserver.shape import built_in
from mooring.apiserver.strategy import Document, FieldError
from mooring.model.kinds import BINDING, POD
from mooring.store.records import Compare, Put, Txn


def create(call: Call) -> Outcome:
    """A Binding as an object of its own, that is stored nowhere."""
    binding, warnings = _admitted(call)
    name = binding["metadata"].get("name")
    if not name:
        missing = FieldError("FieldValueRequired", "metadata.name", "Required value: name is required")
        raise errors.invalid(BINDING, "", [missing])
    target = Target(resource_of(POD), call.namespace, name, "binding")
    return _assigned(Call(call.request, target, call.verb, call.snapshot, call.env), binding, warnings)


def bind(call: Call) -> Outcome:
    binding, warnings = _admitted(call)
    return _assigned(call, binding, warnings)


def _admitted(call: Call) -> tuple[Document, tuple[str, ...]]:
    received = call.receive(BINDING, built_in(BINDING))
    binding = chain.review(call, CREATE, received.document, None, BINDING)
    return binding, (*received.warnings, *call.told)


def _assigned(call: Call, binding: Document, warnings: tuple[str, ...]) -> Outcome:
    """Sets spec.nodeName once and for all, with the condition PodScheduled. Answers with a Status, 201."""
    node = _target(call, binding)
    record = read.existing(call)
    pod = call.resource.load(record.value)
    meta, spec = pod["metadata"], pod["spec"]
    if uid := binding["metadata"].get("uid"):
        _check(
            call,
            uid == meta.get("uid"),
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {meta.get('uid')}",
        )
    _check(call, not meta.get("deletionTimestamp"), f"pod {call.name} is being deleted, cannot be assigned to a host")
    assigned = spec.get("nodeName")
    _check(call, not assigned, f'pod {call.name} is already assigned to node "{assigned}"')
    _check(call, not spec.get("schedulingGates"), f"pod {call.name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    if annotations := binding["metadata"].get("annotations"):
        meta["annotations"] = {**(meta.get("annotations") or {}), **annotations}
    _set_scheduled(pod, metadata.timestamp(call.env.now))
    done = render.plain(call.request, errors.success(code=201), 201, render.warning_headers(warnings))
    if call.dry_run:
        return done
    txn = Txn((Compare(record.key, record.mod_revision),), (Put(record.key, call.resource.store(pod)),))
    return Write(txn, lambda _: done)


def _target(call: Call, binding: Document) -> str:
    given = binding["metadata"].get("name")
    if given not in (None, "", call.name):
        raise errors.bad_request(f"name in URL ({call.name}) does not match name in Binding object: {given}")
    target = binding.get("target") or {}
    found = []
    if target.get("kind") not in (None, "", "Node"):
        why = f'Unsupported value: {errors.quote(target["kind"])}: supported values: "Node", "<empty>"'
        found.append(FieldError("FieldValueNotSupported", "target.kind", why))
    if not target.get("name"):
        found.append(FieldError("FieldValueRequired", "target.name", "Required value"))
    if found:
        raise errors.invalid(BINDING, call.name, found)
    name: str = target["name"]
    return name


def _check(call: Call, holds: bool, why: str) -> None:
    if not holds:
        raise errors.conflict(call.kind, call.name, why, subject="pods/binding")


def _set_scheduled(pod: Document, now: str) -> None:
    status = pod.setdefault("status", {})
    status.pop("nominatedNodeName", None)
    others = [condition for condition in status.get("conditions") or () if condition.get("type") != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    status["conditions"] = [*others, {name: value for name, value in scheduled.items() if value is not None}]
