"""Which names does a definition get? Those that no other definition of its group has; the rest it waits for.

NamesAccepted and Established, as upstream's pkg/controller/status/naming_controller.go and pkg/controller/establish.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from mooring.apiserver.metadata import timestamp

Document = dict[str, Any]

APPROVED = "api-approved.kubernetes.io"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
_BAD_APPROVAL = (
    f'protected groups must have approval annotation "{APPROVED}" with either a URL or a reason '
    f'starting with "unapproved", {_SEE}'
)
_KINDS, _RESOURCES = ("kind", "listKind"), ("plural", "singular")
_REASONS = {"plural": "PluralConflict", "singular": "SingularConflict", "kind": "KindConflict", "listKind": "ListKindConflict"}


def settle(document: Document, others: Iterable[Document], now: datetime) -> None:
    """Writes acceptedNames and the conditions that follow into the status. `others` are the group's other definitions."""
    asked: Document = document["spec"]["names"]
    status: Document = document.setdefault("status", {})
    before: Document = status.get("acceptedNames") or {}
    accepted, reason, messages = dict(before), "", list[str]()
    resources, kinds = _taken(others)
    for name in (*_RESOURCES, *_KINDS):
        wanted = asked.get(name) or ""
        if wanted != before.get(name) and wanted in (kinds if name in _KINDS else resources):
            reason, messages = _REASONS[name], [*messages, f'"{wanted}" is already in use']
        else:
            accepted[name] = wanted
    short = asked.get("shortNames") or []
    clashing = [name for name in short if name not in (before.get("shortNames") or ()) and name in resources]
    if clashing:
        reason = "ShortNamesConflict"
        messages += [f'"{name}" is already in use' for name in clashing]
    else:
        _put(accepted, "shortNames", short)
    _put(accepted, "categories", asked.get("categories") or [])
    status["acceptedNames"] = {"kind": "", "plural": "", **{name: value for name, value in accepted.items() if value}}
    if reason:
        _condition(status, "NamesAccepted", "False", reason, "; ".join(messages), now)
        if _held(status, "Established") != "True":
            _condition(status, "Established", "False", "NotAccepted", "not all names are accepted", now)
    else:
        _condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        if _held(status, "Established") != "True":
            _condition(status, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now)
    _approve(document, status, now)


def _put(document: Document, name: str, value: Any) -> None:
    if value:
        document[name] = value
    else:
        document.pop(name, None)


def _taken(others: Iterable[Document]) -> tuple[set[str], set[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources.update(filter(None, (names.get("plural"), names.get("singular"), *(names.get("shortNames") or ()))))
        kinds.update(filter(None, (names.get("kind"), names.get("listKind"))))
    return resources, kinds


def _held(status: Document, type: str) -> str:
    return next((str(each.get("status")) for each in status.get("conditions") or () if each.get("type") == type), "")


def _condition(status: Document, type: str, value: str, reason: str, message: str, now: datetime) -> None:
    conditions: list[Document] = status.setdefault("conditions", [])
    held = next((each for each in conditions if each.get("type") == type), None)
    said = {"status": value, "reason": reason, "message": message}
    if held is None:
        conditions.append({"type": type, "lastTransitionTime": timestamp(now), **said})
    elif held.get("status") != value:
        held.update(said, lastTransitionTime=timestamp(now))
    else:
        held.update(said)


def terminating(document: Document, now: datetime) -> None:
    """What a deletion says, when it has been asked for."""
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    _condition(document.setdefault("status", {}), "Terminating", "True", "InstanceDeletionPending", message, now)


# Approval ---------------------------------------------------------------------------------------------------------------


def protected(group: str) -> bool:
    """The community's own groups."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval(document: Document) -> tuple[str, str]:
    """('approved' | 'bypassed' | 'missing' | 'invalid', why)."""
    text = (document["metadata"].get("annotations") or {}).get(APPROVED)
    if not text:
        return "missing", f'protected groups must have approval annotation "{APPROVED}", {_SEE}'
    if text.startswith("unapproved"):
        return "bypassed", f'not approved: "{text}"'
    scheme, mark, rest = text.partition("://")
    if scheme and mark and rest.partition("/")[0]:
        return "approved", f"approved in {text}"
    return (
        "invalid",
        _BAD_APPROVAL,
    )


def _approve(document: Document, status: Document, now: datetime) -> None:
    if not protected(document["spec"]["group"]):
        return
    state, why = approval(document)
    reasons = {"approved": "ApprovedAnnotation", "bypassed": "UnapprovedAnnotation", "missing": "MissingAnnotation"}
    value = "True" if state == "approved" else "False"
    _condition(status, "KubernetesAPIApprovalPolicyConformant", value, reasons.get(state, "InvalidAnnotation"), why, now)
