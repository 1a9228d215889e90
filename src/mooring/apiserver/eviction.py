"""May this pod be disturbed? POST pods/<name>/eviction (policy/v1 Eviction), as `kubectl drain` sends it.

A pod's budget says how many may go at once (PodDisruptionBudget.status, kept by control/reconcilers/disruption_budgets.py).
An eviction takes one from it in the very transaction that deletes the pod: of two that meet, the second is decided again, from
what the first has left. Upstream: pkg/registry/core/pod/storage/eviction.go.
"""

from typing import Any

from msgspec import Struct, structs

from mooring.apiserver import body, delete, errors, metadata, read, render, write
from mooring.apiserver.admission import chain
from mooring.apiserver.admission.operation import CREATE
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Outcome, Write
from mooring.apiserver.errors import StatusError
from mooring.apiserver.kinds.workloads import matches
from mooring.apiserver.negotiate import body_media
from mooring.apiserver.resources import resource_of
from mooring.apiserver.shape import built_in
from mooring.apiserver.strategy import Document
from mooring.model.kinds import POD_DISRUPTION_BUDGET, Kind
from mooring.store.records import Compare, Put, Record, Txn

EVICTION = Kind("policy", "v1", "Eviction", "evictions", "eviction", True)
BETA = Kind("policy", "v1beta1", "Eviction", "evictions", "eviction", True)
"""The same in its older version, which upstream takes too."""
VIOLATION = "Cannot evict pod as it would violate the pod's disruption budget."
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
ALLOWED = "DisruptionAllowed"
MOST_DISRUPTED = 2000
"""Pods a budget may have let go that its controller has not seen go."""
_RETRY_SECONDS = 10
_UNPROTECTED = ("Succeeded", "Failed", "Pending")


def evict(call: Call) -> Outcome:
    """Answers with a Status, 201. Raises StatusError 400, 404, 409; 429 when the budget is used up, 500 for two budgets."""
    received = call.receive(_version(call), built_in(EVICTION))
    eviction = received.document
    if eviction["metadata"].get("name") != call.name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    wish = delete.options(call, eviction.get("deleteOptions") or {})
    wish = _admitted(call, eviction, wish)
    record = read.existing(call)
    pod = call.resource.load(record.value)
    delete.check_preconditions(call, record, pod, wish)
    taken = _taken(call, pod)
    done = render.plain(call.request, errors.success(code=201), 201, render.warning_headers((*received.warnings, *call.told)))
    going = delete.decide(call, pod, wish, call.env.now)
    if wish.dry_run or going.pending:
        return done
    if going.removed:
        txn = write.removal(call, record)
    else:
        _tell_disruption(going.document, metadata.timestamp(call.env.now))
        txn = Txn((Compare(record.key, record.mod_revision),), (Put(record.key, call.resource.store(going.document)),))
    if taken is not None:
        budget = resource_of(POD_DISRUPTION_BUDGET).store(taken.document)
        txn = Txn(
            (*txn.compares, Compare(taken.record.key, taken.record.mod_revision)),
            (*txn.operations, Put(taken.record.key, budget)),
        )
    return Write(txn, lambda _: done)


def _admitted(call: Call, eviction: Document, wish: delete.Options) -> delete.Options:
    """What is to be done, when webhooks have had their say in it. A dry run stays one: that was promised."""
    changed = chain.review(call, CREATE, eviction, None, EVICTION)
    if changed["metadata"].get("name") != call.name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    if changed.get("deleteOptions") == eviction.get("deleteOptions"):
        return wish
    now = delete.options(call, changed.get("deleteOptions") or {})
    return structs.replace(now, dry_run=wish.dry_run or now.dry_run)


def _version(call: Call) -> Kind:
    given, _ = body.parse(call.request.body, body_media(call.request.headers.get("content-type", "")), EVICTION.kind)
    return BETA if isinstance(given, dict) and given.get("apiVersion") == BETA.api_version else EVICTION


class _Budget(Struct, frozen=True):
    record: Record
    document: Document


def _taken(call: Call, pod: Document) -> _Budget | None:
    """The pod's budget after this eviction, None when none is touched. Raises StatusError 403, 429, 500."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    if status.get("phase") in _UNPROTECTED or meta.get("deletionTimestamp"):
        return None
    budgets = _budgets(call, meta.get("labels") or {})
    if len(budgets) > 1:
        raise StatusError(500, "", SEVERAL)
    if not budgets or (not _ready(status) and _lets_unhealthy_go(budgets[0].document)):
        return None
    budget = budgets[0].document
    _check(budget)
    _decrement(budget, call.name, metadata.timestamp(call.env.now))
    return budgets[0]


def _budgets(call: Call, labels: dict[str, str]) -> list[_Budget]:
    resource, found = resource_of(POD_DISRUPTION_BUDGET), []
    for record in call.snapshot.scan(resource.prefix(call.namespace)):
        document = resource.load(record.value)
        selector = document["spec"].get("selector")
        if selector is not None and matches(selector, labels):
            found.append(_Budget(record, document))
    return found


def _ready(status: Document) -> bool:
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in status.get("conditions") or ())


def _lets_unhealthy_go(budget: Document) -> bool:
    """KEP-3017: always when the budget says so, else when enough others are healthy."""
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy", 0)
    return bool(desired > 0 and status.get("currentHealthy", 0) >= desired)


def _check(budget: Document) -> None:
    status, meta = budget.get("status") or {}, budget["metadata"]
    name, allowed = meta["name"], status.get("disruptionsAllowed", 0)
    if status.get("observedGeneration", 0) < meta.get("generation", 0):
        why = f"The disruption budget {name} is still being processed by the server."
        raise _too_many(why, _RETRY_SECONDS)
    if allowed < 0:
        raise errors.forbidden(POD_DISRUPTION_BUDGET, name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > MOST_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise errors.forbidden(POD_DISRUPTION_BUDGET, name, why)
    if allowed == 0:
        needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        why = f"The disruption budget {name} needs {needs} healthy pods and has {has} currently"
        held: Document = next((one for one in status.get("conditions") or () if one.get("type") == ALLOWED), {})
        if held.get("status") == "False" and held.get("reason") == "SyncFailed":
            why = f"The disruption budget {name} does not allow evicting pods currently because it failed sync: "
            why += held.get("message", "")
        raise _too_many(why)


def _too_many(why: str, retry_seconds: int = 0) -> StatusError:
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if retry_seconds:
        details["retryAfterSeconds"] = retry_seconds
    return StatusError(429, "TooManyRequests", VIOLATION, details)


def _decrement(budget: Document, pod: str, now: str) -> None:
    status = budget.setdefault("status", {})
    status["disruptionsAllowed"] -= 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod: now}
    if status["disruptionsAllowed"] > 0:
        return
    conditions = status.get("conditions") or []
    held: Document = next((one for one in conditions if one.get("type") == ALLOWED), {})
    none_left = {
        "type": ALLOWED,
        "status": "False",
        "observedGeneration": status.get("observedGeneration", 0),
        "lastTransitionTime": held.get("lastTransitionTime", now) if held.get("status") == "False" else now,
        "reason": "InsufficientPods",
        "message": "",
    }
    status["conditions"] = [*(one for one in conditions if one is not held), none_left]


def _tell_disruption(pod: Document, now: str) -> None:
    """The condition by which Jobs and people know why the pod ended (KEP-3329)."""
    status = pod.setdefault("status", {})
    others = [one for one in status.get("conditions") or () if one.get("type") != "DisruptionTarget"]
    told = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now,
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    status["conditions"] = [*others, {name: value for name, value in told.items() if value is not None}]
