"""What do the manifests do? Two states of one cluster compared: addresses, names, flows, and what has to be said besides."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mooring.app.forecast.fork import Objects
from mooring.app.forecast.grouping import grouped
from mooring.app.forecast.picture import Picture, concerned
from mooring.app.forecast.rehearsal import Outcome
from mooring.app.forecast.report import Address, Door, Flow, Forecast, NameChange, ObjectChange, ServiceChange
from mooring.control.conditions import condition
from mooring.control.pod_state import node_of, ready
from mooring.control.reconciler import Document
from mooring.control.reconcilers.load_balancers import CONDITION
from mooring.dataplane.flows import LOSSES, Effect, flows
from mooring.dataplane.reach import Way
from mooring.dataplane.trace import Outcome as Verdict
from mooring.endpoints.select import Endpoint
from mooring.model.kinds import POD, SERVICE
from mooring.model.service import Service
from mooring.services.cluster_ip import all_addresses
from mooring.services.headless import is_headless
from mooring.services.view import Entry, ServiceName

WORDS = {
    "lost": (Effect.LOST, Effect.NARROWED),
    "gained": (Effect.GAINED, Effect.WIDENED),
    "moved": (Effect.MOVED,),
    "changed": (Effect.BALANCE, Effect.SOURCE, Effect.AFFINITY),
    "leads nowhere": (Effect.CLOSED,),
    "rolled": (Effect.ROLLED,),
}
"""The words of the summary, and for which effects they stand; a Service is told under the first that applies."""


def forecast(outcome: Outcome, objects: Sequence[ObjectChange], manifests: Iterable[Document]) -> Forecast:
    """`objects` says what became of each manifest; `manifests` which addresses were asked for."""
    names = concerned(outcome.without, outcome.with_)
    before, after = Picture(outcome.without, names), Picture(outcome.with_, names)
    known = _Known(before, manifests)
    changes = flows(before.reach, after.reach, before.workload, after.workload)
    told = grouped(changes, before, after, known.door)
    records = tuple(_names(before, after, known))
    services = tuple(_services(before, after, known))
    lost = any(effect in LOSSES for change in changes for effect in change.effects)
    return Forecast(
        summary=_summary(told, services, records, objects, after),
        lost=lost or any(each.change == "lost" for each in records),
        objects=tuple(objects),
        services=services,
        names=records,
        flows=told,
        notes=tuple(_notes(outcome, before, after)),
    )


class _Known:
    """Which values are certain: those that were there before, and those that a manifest asks for."""

    def __init__(self, before: Picture, manifests: Iterable[Document]) -> None:
        self._values: dict[ServiceName, set[str]] = {}
        for name, service in before.services.items():
            self._values[name] = {each.value or "" for each in addresses(service)}
        for document in manifests:
            metadata = document.get("metadata") or {}
            name = metadata.get("namespace", ""), metadata.get("name", "")
            self._values.setdefault(name, set()).update(_asked(document.get("spec") or {}))

    def value(self, service: ServiceName, what: str, value: str) -> str | None:
        """None for what the server has yet to choose."""
        chosen = what in ("cluster IP", "node port", "health check node port")
        return None if chosen and value not in self._values.get(service, set()) else value

    def door(self, way: Way) -> Door:
        if way.entry is Entry.NODE_PORT:
            number = self.value(way.service, "node port", str(way.port))
            return Door(way.entry.value, "", int(number) if number else None, way.protocol.value)
        what = "cluster IP" if way.entry is Entry.CLUSTER_IP else ""
        return Door(way.entry.value, self.value(way.service, what, way.address), way.port, way.protocol.value)


def _asked(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from map(str, spec.get("clusterIPs") or ())
    yield str(spec.get("clusterIP", ""))
    yield str(spec.get("healthCheckNodePort", ""))
    for port in spec.get("ports") or ():
        yield str(port.get("nodePort", "") if isinstance(port, dict) else "")


# Addresses --------------------------------------------------------------------------------------------------------------


def addresses(service: Service) -> set[Address]:
    """Everything that belongs to a Service alone, and the addresses that are led to it."""
    spec = service.spec
    found = {Address("cluster IP", each) for each in all_addresses(service)}
    for port in spec.ports or ():
        if port.node_port:
            found.add(Address("node port", str(port.node_port), f"{port.port}/{port.protocol}"))
    if spec.health_check_node_port:
        found.add(Address("health check node port", str(spec.health_check_node_port)))
    found |= {Address("load balancer", each.ip or each.hostname) for each in service.status.load_balancer.ingress or ()}
    return found | {Address("external IP", each) for each in spec.external_ips or ()}


def _services(before: Picture, after: Picture, known: _Known) -> Iterator[ServiceChange]:
    for name in sorted({*before.services, *after.services}):
        was, is_ = before.services.get(name), after.services.get(name)
        had, has = (addresses(each) if each else set() for each in (was, is_))
        types = tuple(each.spec.type if each else "" for each in (was, is_))
        if had == has and types[0] == types[1]:
            continue
        allocated = (Address(a.what, known.value(name, a.what, a.value or ""), a.port) for a in sorted(has - had))
        change = "created" if was is None else "deleted" if is_ is None else "changed"
        yield ServiceChange("/".join(name), change, types[0], types[1], tuple(sorted(had - has)), tuple(allocated))


# Names ------------------------------------------------------------------------------------------------------------------


def _names(before: Picture, after: Picture, known: _Known) -> Iterator[NameChange]:
    for name, kind in sorted({*before.records, *after.records}):
        service, old = before.records.get((name, kind), (None, ()))
        owner, new = after.records.get((name, kind), (service, ()))
        if old == new or owner is None:
            continue
        others_before = any(each == name for each, _ in before.records)
        others_after = any(each == name and (kind == "CNAME" or other == "CNAME") for each, other in after.records)
        if not new:
            change = "changed" if others_after else "lost"
        elif not old:
            change = "changed" if others_before else "gained"
        else:
            rolled = _served(before, owner, old) == _served(after, owner, new) and is_headless(after.services[owner])
            change = "rolled" if rolled else "changed"
        yield NameChange(name, kind, change, old, tuple(_certain(each, owner, before, after, known) for each in new))


def _served(picture: Picture, service: ServiceName, found: Iterable[str]) -> set[str]:
    return {picture.workload(service, Endpoint(address, 0)) for address in found}


def _certain(address: str, owner: ServiceName, before: Picture, after: Picture, known: _Known) -> str | None:
    """None for a cluster IP that is yet to be chosen, and for a pod that does not exist yet."""
    service = after.services[owner]
    if service.spec.type == "ExternalName":
        return address
    if not is_headless(service):
        return known.value(owner, "cluster IP", address)
    pod = after.pod(owner, address)
    return None if pod is not None and not before.has(pod) else address


# The rest ---------------------------------------------------------------------------------------------------------------


def _summary(
    told: Sequence[Flow],
    services: Sequence[ServiceChange],
    names: Sequence[NameChange],
    objects: Sequence[ObjectChange],
    after: Picture,
) -> str:
    """One line: what is lost, gained and moved, each Service once."""
    open_still = {"/".join(way.service) for way, end in after.reach.items() if end.outcome is Verdict.FORWARD}
    words: dict[str, dict[str, None]] = {}
    seen: set[str] = set()
    for word, effects in WORDS.items():
        values = {each.value for each in effects}
        for flow in told:
            if flow.effect in values and flow.service not in seen:
                seen.add(flow.service)
                part = " in part" if word == "lost" and flow.service in open_still else ""
                words.setdefault(word, {})[flow.service + part] = None
    for each in names:
        namespaced = "/".join(reversed(each.name.split(".")[-3:-1]))
        if each.change in ("lost", "gained") and namespaced not in seen:
            words.setdefault(each.change, {})[f"the name {each.name}"] = None
    if words:
        return "; ".join(f"{word}: {_listed(list(words[word]))}" for word in WORDS if word in words)
    if services or names:
        return "nothing reachable changes but addresses and names"
    changed = any(each.change not in ("unchanged", "refused") for each in objects)
    return "nothing changes for traffic" if changed else "nothing changes"


def _listed(words: list[str], most: int = 4) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def _notes(outcome: Outcome, before: Picture, after: Picture) -> Iterator[str]:
    """What was assumed, what stands in the way, and what this cannot know."""
    yield from _pods(outcome.without, outcome.with_, after)
    for refused in outcome.refusals:
        whose = "/".join(part for part in refused.task[1] if part)
        yield f"{refused.task[0]} {whose}: {refused.refusal.error}"
    for claim, owner in sorted(after.shadowed.items(), key=lambda each: each[0][:3]):
        if claim not in before.shadowed:
            service, address, port, protocol = claim
            yield f"{'/'.join(service)} does not get {address}:{port}/{protocol.value}: {'/'.join(owner)} has it"
    for name, held in sorted(after.services.items()):
        if held.spec.type == "LoadBalancer" and not held.status.load_balancer.ingress:
            yield _pending(name, outcome.with_)
    yield from _lingering(outcome.without, outcome.with_)
    if outcome.unsettled:
        yield f"the forecast never came to rest: {outcome.unsettled}"
    unquiet = concerned(outcome.now, outcome.without)
    now, without = Picture(outcome.now, unquiet), Picture(outcome.without, unquiet)
    going = sorted({"/".join(each.way.service) for each in flows(now.reach, without.reach, now.workload, without.workload)})
    if going:
        yield f"the cluster is not at rest: without the manifests too, something changes for {_listed(going)}"


def _pods(before: Objects, after: Objects, picture: Picture) -> Iterator[str]:
    """The pods that do not exist yet: which come up, which find no node."""
    new = [each for key, each in after[POD].items() if key not in before[POD] or _uid(each) != _uid(before[POD][key])]
    coming = Counter(f"{picture.controller(each)} in {each['metadata']['namespace']}" for each in new if ready(each))
    for whose, number in sorted(coming.items()):
        yield f"assumed: {_count(number, 'new pod')} of {whose} will become ready"
    waiting: Counter[tuple[str, str]] = Counter()
    for each in new:
        if not ready(each):
            said = (condition(each, "PodScheduled") or {}).get("message", "") if not node_of(each) else "its node is not ready"
            waiting[(f"{picture.controller(each)} in {each['metadata']['namespace']}", said)] += 1
    for (whose, why), number in sorted(waiting.items()):
        yield f"{_count(number, 'new pod')} of {whose} will not become ready: {why or 'nobody places them'}"


def _pending(name: ServiceName, objects: Objects) -> str:
    said = condition(objects[SERVICE][name], CONDITION) or {}
    why = said.get("message") or "its provider decides which address it gets"
    return f"{'/'.join(name)} has no load balancer address: {why}"


def _lingering(before: Objects, after: Objects) -> Iterator[str]:
    """What was to be deleted and is still there."""
    for kind, objects in after.items():
        for key, each in sorted(objects.items()):
            was = before[kind].get(key)
            if each["metadata"].get("deletionTimestamp") and not (was and was["metadata"].get("deletionTimestamp")):
                kept = [*(each["metadata"].get("finalizers") or ()), *((each.get("spec") or {}).get("finalizers") or ())]
                until = (
                    f"its finalizers are taken off: {', '.join(map(str, kept))}" if kept else "its node says that it has ended"
                )
                yield f"{kind.singular}/{key[1]} stays until {until}"


def _uid(document: Document) -> str:
    return str(document["metadata"].get("uid", ""))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
