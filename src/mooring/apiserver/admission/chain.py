"""In which order is a write admitted? Mutating webhooks, then, on the finished object, everything that may only refuse.

Order as upstream's recommended plugin order (pkg/kubeapiserver/options/plugins.go).
"""

from collections.abc import Callable

from mooring.apiserver.admission import built_in, node_restriction, policies, webhooks
from mooring.apiserver.admission.operation import CONNECT, DELETE, Operation, operation
from mooring.apiserver.authorization.node import node_name
from mooring.apiserver.call import Call
from mooring.apiserver.strategy import Document
from mooring.model.kinds import (
    MUTATING_WEBHOOK_CONFIGURATION,
    POD,
    SERVICE,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
    Kind,
)
from mooring.store.snapshot import Snapshot

Check = Callable[[Operation], None]

REFUSING: tuple[Check, ...] = (node_restriction.node_restriction, built_in.service_account, built_in.deny_external_ips)
_ASKED = (
    MUTATING_WEBHOOK_CONFIGURATION.prefix, VALIDATING_WEBHOOK_CONFIGURATION.prefix, VALIDATING_ADMISSION_POLICY_BINDING.prefix,
)  # fmt: skip


def _anybody(snapshot: Snapshot) -> bool:
    return any(snapshot.count(prefix) for prefix in _ASKED)


def others_are_asked(call: Call) -> bool:
    """Whether there is any webhook or policy at all: mostly there is none, and nothing needs to be shown."""
    return call.snapshot.derived(_anybody, *_ASKED)


def _checked(call: Call) -> bool:
    """Whether REFUSING may have something to say about everybody, not only about nodes."""
    kind = call.kind
    return kind is POD or (kind is SERVICE and built_in.DENY_EXTERNAL_IPS in call.env.settings.enable_admission_plugins)


def mutate(call: Call, verb: str, document: Document, old: Document | None, kind: Kind | None = None) -> Document:
    """The document as it may go on; warnings go to `call.told`. Raises StatusError, Unanswered."""
    if not others_are_asked(call):
        return document
    changed, warnings = webhooks.mutate(operation(call, verb, document, old, kind))
    call.told += warnings
    return changed if changed is not None else document


def validate(call: Call, verb: str, document: Document | None, old: Document | None, kind: Kind | None = None) -> None:
    """Warnings go to `call.told`. Raises StatusError, Unanswered."""
    asked = others_are_asked(call)
    if asked or _checked(call) or node_name(call.request.user):
        _validate(operation(call, verb, document, old, kind), asked)


def _validate(seen: Operation, asked: bool) -> None:
    for check in REFUSING:
        check(seen)
    if asked:
        call = seen.call
        notes = policies.validate(seen)
        call.told += notes.warnings
        for key, value in notes.annotations:
            call.env.note(key, value)
        call.told += webhooks.validate(seen)


def review(call: Call, verb: str, document: Document, old: Document | None, kind: Kind) -> Document:
    """What is sent to a subresource (Scale, Eviction, Binding, TokenRequest), mutated and validated."""
    document = mutate(call, verb, document, old, kind)
    validate(call, verb, document, old, kind)
    return document


def connect(call: Call, options: Document, kind: Kind) -> None:
    """exec, attach, port-forward and proxy: `options` is what is asked for, e.g. a PodExecOptions."""
    review(call, CONNECT, options, None, kind)


def deletion(call: Call, old: Document, options: Document) -> None:
    """Of an object about to be deleted, or marked as going; `options` are DeleteOptions."""
    asked, seen = others_are_asked(call), Operation(call, DELETE, None, old, call.kind, options)
    if asked:
        _, warnings = webhooks.mutate(seen)
        call.told += warnings
    _validate(seen, asked)
