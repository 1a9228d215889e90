"""How many Pods of a PodDisruptionBudget may be disturbed now? Its status, which evictions keep to (apiserver/eviction.py).

Upstream: pkg/controller/disruption. A Pod that an eviction has let go counts as gone from that moment on, though it is still
seen running, until it ends or two minutes have passed. The status is written only over the version that it was planned from, so
that an eviction in between is never undone.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil

from mooring.control.amend import amend
from mooring.control.conditions import find, with_condition
from mooring.control.owners import controller_of
from mooring.control.pod_state import ready, terminating
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, Report, World
from mooring.control.selectors import labels_of, selected, selects
from mooring.model.kinds import BY_KIND, DEPLOYMENT, POD, POD_DISRUPTION_BUDGET, REPLICA_SET, STATEFUL_SET, Kind

ALLOWED = "DisruptionAllowed"
PATIENCE = timedelta(minutes=2)
"""How long an evicted Pod counts as gone while it is still there (upstream's DeletionTimeout)."""
_SCALABLE: tuple[Kind, ...] = (DEPLOYMENT, REPLICA_SET, STATEFUL_SET)
UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the PDB "
    "cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set "
    '".spec.minAvailable" field of the PDB to an integer value.'
)


class Unknowable(Exception):
    """How many Pods there should be cannot be said; the text says why."""


class DisruptionBudgets:
    name = "disruption"
    watches = (POD_DISRUPTION_BUDGET, POD, *_SCALABLE)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        versions = [each for each in (change.before, change.after) if each]
        if change.kind == POD_DISRUPTION_BUDGET:
            return {_key(each) for each in versions}
        if change.kind == POD:
            return {key for each in versions for key in _budgets_of(each, world)}
        if change.before and change.after and _scale(change.before) == _scale(change.after):
            return ()
        return {_key(each) for each in world.list(POD_DISRUPTION_BUDGET, versions[0]["metadata"]["namespace"])}

    def plan(self, key: Key, world: World) -> Plan:
        budget = world.get(POD_DISRUPTION_BUDGET, *key)
        if budget is None or budget["metadata"].get("deletionTimestamp"):
            return NOTHING
        selector = budget["spec"].get("selector")
        pods = [] if selector is None else list(selected(world, POD, key[0], selector))
        reports = [] if pods else [Report(budget, "Normal", "NoPods", "No matching pods found")]
        try:
            expected, desired, unmanaged = expectations(budget["spec"], pods, world)
        except Unknowable as error:
            return _failed(budget, str(error), world.now)
        if unmanaged:
            reports.append(Report(budget, "Warning", "UnmanagedPods", UNMANAGED.format(_shown(selector))))
        disrupted = _disrupted(budget, pods, world.now)
        late = [pod for pod in pods if _late(budget, pod, world.now)]
        words = f"Pod was expected by PDB {key[0]}/{key[1]} to be deleted but it wasn't"
        reports += [Report(pod, "Warning", "NotDeleted", words) for pod in late]
        healthy = sum(ready(pod) and not terminating(pod) and _name(pod) not in disrupted for pod in pods)
        allowed = max(0, healthy - desired) if expected > 0 else 0
        status = _status(budget, allowed, healthy, desired, expected, disrupted, world.now)
        writes = amend(POD_DISRUPTION_BUDGET, budget, {**budget, "status": status})
        again = min((_age(moment, world.now) for moment in disrupted.values()), default=None)
        wait = None if again is None else max(0.0, (PATIENCE - again).total_seconds()) + 1
        return Plan(writes, tuple(reports) if writes else (), wait)


def _name(document: Document) -> str:
    return str(document["metadata"]["name"])


def _key(document: Document) -> Key:
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _scale(owner: Document) -> tuple[object, ...]:
    return (owner.get("spec") or {}).get("replicas"), owner["metadata"].get("uid")


def _budgets_of(pod: Document, world: World) -> Iterable[Key]:
    for each in world.list(POD_DISRUPTION_BUDGET, pod["metadata"]["namespace"]):
        selector = each["spec"].get("selector")
        if selector is not None and selects(selector, labels_of(pod)):
            yield _key(each)


def _shown(selector: Document | None) -> str:
    pairs = [f"{key}={value}" for key, value in ((selector or {}).get("matchLabels") or {}).items()]
    rules = (selector or {}).get("matchExpressions") or ()
    parts = [*pairs, *(f"{each['key']} {each['operator']} {each.get('values') or ''}".strip() for each in rules)]
    return f"&LabelSelector{{{','.join(sorted(parts))}}}"


# How many there should be -----------------------------------------------------------------------------------------------


def expectations(spec: Document, pods: Sequence[Document], world: World) -> tuple[int, int, bool]:
    """(Pods expected, healthy ones desired, whether some have no controller). Raises Unknowable."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if most is not None:
        expected, unmanaged = _expected(pods, world)
        return expected, max(0, expected - share(most, expected)), unmanaged
    if isinstance(least, int):
        return len(pods), least, False
    if least is not None:
        expected, unmanaged = _expected(pods, world)
        return expected, share(least, expected), unmanaged
    return 0, 0, False


def share(bound: int | str, of: int) -> int:
    """A number, or a percentage of `of`, rounded up."""
    return bound if isinstance(bound, int) else ceil(int(bound.removesuffix("%")) * of / 100)


def _expected(pods: Sequence[Document], world: World) -> tuple[int, bool]:
    """The sum of the scales of all controllers of the Pods. Pods without one count for nothing."""
    scales: dict[str, int] = {}
    looked_at: set[str] = set()
    unmanaged = False
    for pod in pods:
        reference = controller_of(pod)
        if reference is None:
            unmanaged = True
        elif reference["uid"] not in looked_at:
            looked_at.add(reference["uid"])
            scales.update([_scaled(pod, reference, world)])
    return sum(scales.values()), unmanaged


def _scaled(pod: Document, reference: Document, world: World) -> tuple[str, int]:
    """Whose scale counts for the Pod, and what it is: that of its controller, or of the controller's Deployment."""
    kind = BY_KIND.get((reference.get("apiVersion", ""), reference.get("kind", "")))
    if kind not in _SCALABLE:
        group = str(reference.get("apiVersion", "")).rpartition("/")[0]
        what = f"{str(reference.get('kind', '')).lower()}s" + (f".{group}" if group else "")
        raise Unknowable(f"{what} does not implement the scale subresource")
    owner = world.get(kind, pod["metadata"]["namespace"], reference["name"])
    if owner is None or owner["metadata"]["uid"] != reference["uid"]:
        raise Unknowable(f'found no controllers for pod "{_name(pod)}"')
    above = controller_of(owner)
    if kind == REPLICA_SET and above and BY_KIND.get((above.get("apiVersion", ""), above.get("kind", ""))) == DEPLOYMENT:
        deployment = world.get(DEPLOYMENT, pod["metadata"]["namespace"], above["name"])
        if deployment is not None and deployment["metadata"]["uid"] == above["uid"]:
            owner = deployment
    replicas = (owner.get("spec") or {}).get("replicas")
    return owner["metadata"]["uid"], 1 if replicas is None else int(replicas)


# What evictions have let go ---------------------------------------------------------------------------------------------


def _age(moment: str, now: datetime) -> timedelta:
    then = datetime.fromisoformat(moment)
    return now - (then if then.tzinfo else then.replace(tzinfo=UTC))


def _let_go(budget: Document) -> Mapping[str, str]:
    return (budget.get("status") or {}).get("disruptedPods") or {}


def _same(pod: Document, moment: str) -> bool:
    """False for a namesake made after the eviction."""
    return (pod["metadata"].get("creationTimestamp") or "") <= moment


def _disrupted(budget: Document, pods: Iterable[Document], now: datetime) -> dict[str, str]:
    let_go = _let_go(budget)
    still = (pod for pod in pods if not terminating(pod) and _name(pod) in let_go)
    return {
        _name(pod): let_go[_name(pod)]
        for pod in still
        if _same(pod, let_go[_name(pod)]) and _age(let_go[_name(pod)], now) < PATIENCE
    }


def _late(budget: Document, pod: Document, now: datetime) -> bool:
    moment = _let_go(budget).get(_name(pod))
    return bool(moment and not terminating(pod) and _same(pod, moment) and _age(moment, now) >= PATIENCE)


# Status -----------------------------------------------------------------------------------------------------------------


def _status(
    budget: Document,
    allowed: int,
    healthy: int,
    desired: int,
    expected: int,
    disrupted: Mapping[str, str],
    now: datetime,
) -> Document:
    generation = budget["metadata"].get("generation", 0)
    counts = {"disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected}
    status: Document = {**(budget.get("status") or {}), **counts, "observedGeneration": generation}
    status["disruptedPods"] = dict(disrupted) or None
    reason, word = ("SufficientPods", "True") if allowed > 0 else ("InsufficientPods", "False")
    said = {"type": ALLOWED, "status": word, "observedGeneration": generation, "reason": reason, "message": ""}
    status["conditions"] = _conditions(budget, said, now)
    return status


def _failed(budget: Document, why: str, now: datetime) -> Plan:
    """In doubt, nothing may be disturbed."""
    status = {**(budget.get("status") or {}), "disruptionsAllowed": 0}
    seen = status.get("observedGeneration", 0)
    said = {"type": ALLOWED, "status": "False", "observedGeneration": seen, "reason": "SyncFailed", "message": why}
    status["conditions"] = _conditions(budget, said, now)
    writes = amend(POD_DISRUPTION_BUDGET, budget, {**budget, "status": status})
    words = f"Failed to calculate the number of expected pods: {why}"
    return Plan(writes, (Report(budget, "Warning", "CalculateExpectedPodCountFailed", words),) if writes else ())


def _conditions(budget: Document, said: Document, now: datetime) -> list[Document]:
    held = (budget.get("status") or {}).get("conditions") or []
    known = find(held, said["type"])
    if known and {**known, **said} == known:
        return list(held)
    return with_condition(held, said, now)
