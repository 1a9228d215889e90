"""Which Services are of no use to somebody, though the API accepts them? Each such problem is told once, as an Event.

What is a problem is decided in services/problems; of those only the broken ones are told, and only once they have lasted: while
pods are just starting, nothing is said. A problem that stays away as long is forgotten, and told anew when it comes back; gone
for a moment, as with a container that keeps ending, it is the same. What another controller tells already is left to it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from mooring.control.cache import address
from mooring.control.loop import Outcome
from mooring.control.reconciler import Change, Document, Key, Plan, Report, World
from mooring.control.reconcilers.endpoint_slices import pod_keys
from mooring.control.service_pods import pods_of
from mooring.model.discovery import MANAGED_BY_LABEL, SERVICE_NAME_LABEL, EndpointSlice, endpoint_slice
from mooring.model.kinds import DEPLOYMENT, ENDPOINT_SLICE, NODE, POD, SERVICE, SERVICE_CIDR
from mooring.model.service import Service, service
from mooring.services.problems import Case, Problem, Severity, problems
from mooring.services.problems.listed import CONTROLLER, writer
from mooring.services.problems.names import target
from mooring.services.problems.problem import DOMAIN
from mooring.services.traffic_policy import LOCAL

GRACE = 30.0
"""Seconds that a problem must have lasted: pods start, and slices follow them, in less."""
TOLD_BY_OTHERS = frozenset({"SyncLoadBalancerFailed"})

Mark = tuple[str, str]
"""(reason, field): the same problem, though its words change as its causes do."""


class Lasting(Struct, frozen=True):
    """A problem: since when it is there, whether it has been told, and since when it is gone, None while it is there."""

    since: datetime
    told: bool
    gone: datetime | None = None


class State(Struct, frozen=True):
    """The problems of a Service (this one, not a namesake made later) at the last look."""

    uid: str
    problems: Mapping[Mark, Lasting]


class Memory:
    """What each Service's problems were when last planned. Written by the loop when a plan has been carried out."""

    def __init__(self) -> None:
        self._states: dict[Key, State] = {}

    def recall(self, key: Key, uid: str) -> Mapping[Mark, Lasting]:
        state = self._states.get(key)
        return state.problems if state and state.uid == uid else {}

    def planned(self, key: Key, plan: Plan, outcome: Outcome) -> None:
        if outcome != "success":
            return
        if plan.facts and plan.facts.problems:
            self._states[key] = plan.facts
        else:
            self._states.pop(key, None)


class ServiceProblems:
    name = "service-problems"
    watches = (SERVICE, POD, ENDPOINT_SLICE, NODE, SERVICE_CIDR, DEPLOYMENT)
    serial = False

    def __init__(self, grace: float = GRACE) -> None:
        """`grace` in seconds."""
        self._grace = grace
        self.observer = Memory()

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == POD:
            return pod_keys(change, world)
        either = change.after or change.before or {}
        metadata = either["metadata"]
        if change.kind == SERVICE:
            rivals = [*_rivals(change.before, world), *_rivals(change.after, world)]
            return dict.fromkeys([(metadata["namespace"], metadata["name"]), *map(_key, rivals)])
        if change.kind == ENDPOINT_SLICE:
            labels = metadata.get("labels") or {}
            key = metadata["namespace"], labels.get(SERVICE_NAME_LABEL, "")
            service = world.get(SERVICE, *key)
            return (key,) if service and (labels.get(MANAGED_BY_LABEL) != CONTROLLER or _reads_slices(service)) else ()
        return ()  # read where a Service asks for them; none of them breaks one by itself

    def plan(self, key: Key, world: World) -> Plan:
        document = world.get(SERVICE, *key)
        if document is None or document["metadata"].get("deletionTimestamp"):
            return Plan()
        uid, now = document["metadata"].get("uid", ""), world.now
        found = {_mark(each): each for each in problems(case(document, world)) if _is_told(each)}
        before = self._remembered(key, uid, now)
        state = {mark: Lasting(known.since, known.told, known.gone or now) for mark, known in before.items()}
        reports, again = [], []
        for mark, problem in found.items():
            known = before.get(mark, Lasting(now, told=False))
            left = self._grace - (now - known.since).total_seconds()
            if not known.told and left <= 0:
                reports.append(Report(document, "Warning", problem.reason, f"{problem.sentence}. To mend it: {problem.fix}"))
            elif not known.told:
                again.append(left)
            state[mark] = Lasting(known.since, told=left <= 0)
        return Plan(reports=tuple(reports), again_after=min(again, default=None), facts=State(uid, state))

    def _remembered(self, key: Key, uid: str, now: datetime) -> dict[Mark, Lasting]:
        """What was there at the last look, or has not been gone for long."""
        known = self.observer.recall(key, uid).items()
        return {mark: each for mark, each in known if not each.gone or (now - each.gone).total_seconds() < self._grace}


def _reads_slices(document: Document) -> bool:
    """Pods that a selector finds are looked at themselves: the slices made of them tell nothing more, but where they are."""
    spec = document["spec"]
    return not spec.get("selector") or LOCAL in (spec.get("internalTrafficPolicy"), spec.get("externalTrafficPolicy"))


def _is_told(problem: Problem) -> bool:
    return problem.severity is Severity.BROKEN and problem.reason not in TOLD_BY_OTHERS


def _mark(problem: Problem) -> Mark:
    """Where a pod or a slice is at fault, which of them changes often and is not the point."""
    return problem.reason, problem.field if problem.object.startswith("service/") else ""


def _key(document: Document) -> Key:
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _rivals(document: Document | None, world: World) -> Iterable[Document]:
    """Other Services with one of its external addresses."""
    if document is None:
        return ()
    found = {_key(each): each for one in address(document) for each in world.indexed(SERVICE, "address", one)}
    found.pop(_key(document), None)
    return found.values()


def case(document: Document, world: World) -> Case:
    """What of the world bears on a Service. Nothing is walked as a whole but where something is wrong already."""
    view = service(document)
    slices = tuple(_slices(document, world))
    pods = tuple(pods_of(document, world)) if view.spec.type != "ExternalName" else ()
    orphaned = not view.spec.selector and any(writer(each) == CONTROLLER for each in slices)
    namespace, pointed = view.metadata.namespace, target(view, DOMAIN)
    return Case(
        document=document,
        service=view,
        slices=slices,
        pods=pods,
        others=tuple(world.list(POD)) if orphaned else () if pods else tuple(_near(view, world)),
        every_pod=orphaned,
        workloads=() if pods else tuple(world.list(DEPLOYMENT, namespace)),
        nodes=tuple(_nodes(view, pods, world)),
        service_cidrs=tuple(world.list(SERVICE_CIDR)),
        rivals=tuple(service(each) for each in _rivals(document, world)),
        services=frozenset({pointed} if pointed and world.get(SERVICE, *pointed) else ()),
    )


def _slices(document: Document, world: World) -> Iterable[EndpointSlice]:
    for each in world.indexed(ENDPOINT_SLICE, "service", "/".join(_key(document))):
        try:
            yield endpoint_slice(each)
        except msgspec.ValidationError:
            continue  # no node reads it either


def _near(view: Service, world: World) -> Iterable[Document]:
    """Pods of its namespace with some of the selector's pairs."""
    namespace, selector = view.metadata.namespace, view.spec.selector or {}
    pairs = [f"{namespace}/{key}={value}" for key, value in selector.items()] if len(selector) > 1 else []
    return {_key(pod): pod for pair in pairs for pod in world.indexed(POD, "label", pair)}.values()


def _nodes(view: Service, pods: Iterable[Document], world: World) -> Iterable[Document]:
    """All of them where addresses or policies ask for it, or one is missing; else those of the pods."""
    spec = view.spec
    everywhere = spec.external_ips or LOCAL in (spec.internal_traffic_policy, spec.external_traffic_policy)
    names = {(pod.get("spec") or {}).get("nodeName") for pod in pods} - {None, ""}
    found = [world.get(NODE, "", name) for name in sorted(names)]
    if everywhere or spec.type == "LoadBalancer" or None in found:
        return world.list(NODE)
    return [each for each in found if each is not None]
