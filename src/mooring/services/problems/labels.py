"""Does anybody carry packets for this Service at all? Labels that hand it to others, and its own end."""

from collections.abc import Callable, Iterator

from mooring.services.headless import is_headless
from mooring.services.problems.problem import Case, Problem, Severity
from mooring.services.problems.words import listing
from mooring.services.proxied import HEADLESS_LABEL, OTHER_PROXY_LABEL


def left_to_others(case: Case) -> Iterator[Problem]:
    """Two labels whose value means nothing: their presence is enough."""
    if case.service.spec.type == "ExternalName" or is_headless(case.service):
        return
    labels = case.service.metadata.labels or {}
    for label, whose in ((OTHER_PROXY_LABEL, "another proxy's"), (HEADLESS_LABEL, "nobody's")):
        if label in labels:
            sentence = (
                f"the label {label}, whatever its value, makes the Service's packets {whose}: no node here translates them"
            )
            fix = "remove the label, unless that is what is wanted"
            severity = Severity.NOTE if label == OTHER_PROXY_LABEL else Severity.WARNING
            yield case.problem("ProxiedByOthers", severity, f"metadata.labels[{label}]", sentence, fix)


def being_deleted(case: Case) -> Iterator[Problem]:
    metadata = case.document["metadata"]
    if metadata.get("deletionTimestamp"):
        waits = listing(metadata.get("finalizers") or ()) or "nothing"
        sentence = (
            f"it is being deleted since {metadata['deletionTimestamp']} and serves until its finalizers are gone: {waits}"
        )
        fix = "see that who owns the finalizer runs; remove the finalizer by hand only when what it guards is cleaned up"
        yield case.problem("BeingDeleted", Severity.WARNING, "metadata.deletionTimestamp", sentence, fix)


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (left_to_others, being_deleted)
