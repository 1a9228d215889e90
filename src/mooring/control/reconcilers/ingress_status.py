"""At which address is each Ingress of ours served, and what is wrong with it?

One key is a whole class: what its Ingresses mean is decided of all of them at once, as the proxies do (routing/ingress). Each
gets the addresses of the class's Service as its status, the first time once a proxy is there to answer; one that left our
classes loses them. Findings become Events, told once
they have lasted, so that a Service which follows its Ingress by a moment is no matter; told anew when they come back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from mooring.control.amend import amend
from mooring.control.ingress_class import (
    NAMESPACE_NAME,
    class_of,
    is_of_proxies,
    of_class,
    our_classes,
    proxies_name,
    proxy_of,
)
from mooring.control.loop import Outcome
from mooring.control.reconciler import Apply, Change, Document, Key, Plan, Report, World
from mooring.control.routing_objects import KINDS, SOME_CERTIFICATE, RoutingObjects, means_the_same
from mooring.model.kinds import DEPLOYMENT, INGRESS, INGRESS_CLASS, SERVICE, Kind
from mooring.routing.finding import Finding, Level, ObjectName
from mooring.routing.ingress.build import build
from mooring.routing.ingress.memo import Memo
from mooring.routing.ingress.objects import Translation
from mooring.routing.table import RouteTable

GRACE = 2.0
"""Seconds that a finding must have lasted: objects of one manifest come one after the other."""
HOLD_OFF = 0.5
"""Seconds between two looks at a class: what changes meanwhile, its own statuses too, is looked at together."""
RECHECK = 3600.0
"""Seconds after which all is looked at again: certificates expire without a change of anything."""
PORTS = ({"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"})
KIND_OF: Mapping[str, Kind] = {kind.kind: kind for kind in (INGRESS, INGRESS_CLASS)}

Mark = tuple[str, Finding]
"""(uid of the object, what there is to say): the same of a namesake made later is another."""


class Lasting(Struct, frozen=True):
    since: datetime
    told: bool


class Look(Struct, frozen=True):
    """When a class was last looked at, and what was found."""

    at: datetime
    found: Mapping[Mark, Lasting] = {}


class Memory:
    """What was found of each class when last planned. Written by the loop when a plan has been carried out."""

    def __init__(self) -> None:
        self._looks: dict[Key, Look] = {}

    def recall(self, key: Key) -> Look | None:
        return self._looks.get(key)

    def planned(self, key: Key, plan: Plan, outcome: Outcome) -> None:
        if outcome != "success":
            return
        if plan.facts:
            self._looks[key] = plan.facts
        else:
            self._looks.pop(key, None)


class IngressStatus:
    name = "ingress-status"
    watches = (*KINDS, DEPLOYMENT)
    serial = False

    def __init__(self, grace: float = GRACE, hold_off: float = HOLD_OFF) -> None:
        """Both in seconds."""
        self._grace, self._hold_off = grace, hold_off
        self._objects = RoutingObjects()
        self._memos: dict[str, Memo] = {}
        self.observer = Memory()

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        """("", name of the class), "" for the Ingresses of none."""
        either = change.after or change.before or {}
        if change.kind == INGRESS:
            return [("", name) for name in dict.fromkeys(map(class_of, filter(None, (change.before, change.after))))]
        if change.kind == INGRESS_CLASS:
            return [("", either["metadata"]["name"])]
        if change.kind in (SERVICE, DEPLOYMENT) and either["metadata"]["namespace"] == NAMESPACE_NAME:
            of_its_own = [("", name) for name in our_classes(world) if is_of_proxies(either, name)]
            if of_its_own:
                return of_its_own
        if change.kind == DEPLOYMENT or means_the_same(change.kind, change.before, change.after):
            return ()
        # Whom of all Ingresses it concerns is cheaper found by translating them, with what has not changed remembered.
        return [("", name) for name in our_classes(world) if _concerns(change.kind, either, name, world)]

    def plan(self, key: Key, world: World) -> Plan:
        name = key[1]
        ingress_class = world.get(INGRESS_CLASS, "", name) if name else None
        proxy = proxy_of(ingress_class)
        if not proxy:
            self._memos.pop(name, None)
            return Plan(tuple(_cleared(name, ingress_class is None, world)))
        last, now = self.observer.recall(key), world.now
        if last and (left := self._hold_off - (now - last.at).total_seconds()) > 0:
            return Plan(again_after=left, facts=last)
        memo = self._memos.setdefault(name, Memo())
        translation = build(self._objects.look(world), name, world.now, memo)
        writes = tuple(_told_addresses(translation, name, world))
        findings = (*translation.findings, *_lacking(translation, proxy, name))
        before = last.found if last else {}
        state, reports, again = {}, [], []
        for mark, document in _marks(findings, world):
            known = before.get(mark, Lasting(now, told=False))
            left = self._grace - (now - known.since).total_seconds()
            if not known.told and left <= 0:
                reports.append(_report(mark[1], document))
            elif not known.told:
                again.append(left)
            state[mark] = Lasting(known.since, told=left <= 0)
        return Plan(writes, tuple(reports), again_after=min(again, default=RECHECK), facts=Look(now, state))


def _concerns(kind: Kind, document: Document, name: str, world: World) -> bool:
    """Secrets and ConfigMaps may be named from any namespace, Services from their own alone."""
    if kind != SERVICE:
        return bool(of_class(name, world))
    return any(class_of(each) == name for each in world.list(INGRESS, document["metadata"]["namespace"]))


def _report(finding: Finding, document: Document) -> Report:
    return Report(document, "Warning" if finding.level is Level.WARNING else "Normal", finding.reason, finding.text)


def _marks(findings: Iterable[Finding], world: World) -> Iterator[tuple[Mark, Document]]:
    for finding in findings:
        about = finding.about
        document = world.get(KIND_OF[about.kind], about.namespace, about.name) if about.kind in KIND_OF else None
        if document is not None:
            yield (document["metadata"].get("uid", ""), finding), document


def _lacking(translation: Translation, proxy: str, class_name: str) -> Iterator[Finding]:
    """What this proxy cannot do of what was asked; told at the class where it is not an Ingress that asks."""
    for reason, told in _shortcomings(proxy):
        for source, sentence in told(translation.table):
            word, _, rest = source.partition(" ")
            name, _, field = rest.partition(" ")
            if word == INGRESS.singular and "/" in name:
                about = ObjectName(INGRESS.kind, *name.split("/", 1))
            else:
                about, field = ObjectName(INGRESS_CLASS.kind, "", class_name), source
            if source != SOME_CERTIFICATE.source:
                yield Finding(about, Level.WARNING, reason, field or "spec", sentence)


def _shortcomings(proxy: str) -> Iterator[tuple[str, Callable[[RouteTable], Iterable[tuple[str, str]]]]]:
    """An Event's reason, and what of a table the proxy cannot do, or would not take.

    Loaded with the first Ingress: Envoy's messages are 20 MB, which nobody without Ingresses should pay for.
    """
    if proxy == "envoy":
        from mooring.routing.xds import broken, lacks

        yield "Unsupported", lacks.lacks
        yield "Refused", broken.broken
    else:
        from mooring.routing.nginx.lacks import lacks as nginx_lacks

        yield "Unsupported", nginx_lacks


def _addresses(name: str, world: World) -> list[Document]:
    """Where the class's proxies are reached, as entries of a status."""
    service = world.get(SERVICE, NAMESPACE_NAME, proxies_name(name))
    if service is None or service["metadata"].get("deletionTimestamp"):
        return []
    balancers = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    places = [{word: each[word] for word in ("ip", "hostname") if each.get(word)} for each in balancers]
    places += [{"ip": address} for address in service["spec"].get("externalIPs") or ()]
    return [{**place, "ports": list(PORTS)} for place in places if place]


def _is_answered(name: str, world: World) -> bool:
    """True while a proxy of the class is ready."""
    deployment = world.get(DEPLOYMENT, NAMESPACE_NAME, proxies_name(name))
    return deployment is not None and bool((deployment.get("status") or {}).get("readyReplicas"))


def _told_addresses(translation: Translation, class_name: str, world: World) -> Iterator[Apply]:
    """Whoever has addresses keeps them while no proxy is ready: names outside should not come and go with pods."""
    addresses, answered = _addresses(class_name, world), _is_answered(class_name, world)
    for key in sorted(translation.served):
        document = world.get(INGRESS, *key)
        if document is None or document["metadata"].get("deletionTimestamp"):
            continue
        if answered or _held(document):
            yield from _with(document, addresses)


def _with(document: Document, addresses: list[Document]) -> tuple[Apply, ...]:
    """A patch of nothing else, blind: nobody else writes it."""
    balancer = {"ingress": addresses} if addresses else {}
    if _held(document) == addresses:
        return ()
    want = {**document, "status": {**(document.get("status") or {}), "loadBalancer": balancer}}
    return amend(INGRESS, document, want, blind_status=True)


def _held(document: Document) -> list[Document]:
    return list(((document.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ())


def _cleared(name: str, absent: bool, world: World) -> Iterator[Apply]:
    """Takes our addresses away from Ingresses of a class that is not ours.

    Ours are those of a Service of ours that is there; where there is no such class, so that nobody else serves it, also those
    that are written as we write them.
    """
    ours = [each for one in our_classes(world) for each in _addresses(one, world)]
    for document in of_class(name, world):
        held = _held(document)
        if held and all(each in ours or (absent and each.get("ports") == list(PORTS)) for each in held):
            yield from _with(document, [])
