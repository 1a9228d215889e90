"""What does the core/v1 Endpoints object of a Service hold? Deprecated since v1.33 (KEP-4974), still written for old readers.

Subsets group the addresses that have the same ports, ready and not ready apart. At most 1,000 addresses are listed, ready ones
first, and an annotation says when some are missing.
"""

import math
from collections.abc import Iterable

from mooring.endpoints.desired import families, ports_key
from mooring.endpoints.pods import Document, PodFacts, address_of, resolved_ports
from mooring.endpoints.slices import HEADLESS_LABEL, TRIGGER_ANNOTATION, is_headless
from mooring.model.kinds import ENDPOINTS

MANAGED_BY_LABEL = "endpoints.kubernetes.io/managed-by"
MANAGED_BY = "endpoint-controller"
OVER_CAPACITY_ANNOTATION = "endpoints.kubernetes.io/over-capacity"
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"
CAPACITY = 1000


def desired_object(service: Document, pods: Iterable[tuple[Document, PodFacts]], existing: Document | None) -> Document:
    """The Endpoints object as it should be; equal to `existing` when nothing is to be written."""
    pods = list(pods)
    subsets, truncated = truncate(repack(service, pods))
    labels = {key: value for key, value in (service["metadata"].get("labels") or {}).items() if key != HEADLESS_LABEL}
    labels[MANAGED_BY_LABEL] = MANAGED_BY
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    held = existing or {"metadata": {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"]}}
    annotations = dict(held["metadata"].get("annotations") or {})
    annotations.pop(OVER_CAPACITY_ANNOTATION, None)
    if truncated:
        annotations[OVER_CAPACITY_ANNOTATION] = "truncated"
    metadata = {**held["metadata"], "labels": labels, "annotations": annotations}
    if not annotations:
        del metadata["annotations"]
    wanted = {"kind": ENDPOINTS.kind, "apiVersion": ENDPOINTS.api_version, "metadata": metadata, "subsets": subsets}
    if existing is not None and {**existing, "subsets": existing.get("subsets") or []} == wanted:
        return existing
    moment = trigger(service, pods, existing)
    if moment:
        metadata["annotations"] = {**annotations, TRIGGER_ANNOTATION: moment}
    return wanted


def trigger(service: Document, pods: Iterable[tuple[Document, PodFacts]], existing: Document | None) -> str:
    """The first moment, RFC 3339, to which what is written now goes back and what was written before did not; '' if unknown."""
    last = ((existing or {"metadata": {}})["metadata"].get("annotations") or {}).get(TRIGGER_ANNOTATION, "")
    moments = [facts.since for _, facts in pods if facts.since > last]
    if existing is None:
        moments.append(service["metadata"].get("creationTimestamp") or "")
    return min(filter(None, moments), default=last)


def repack(service: Document, pods: Iterable[tuple[Document, PodFacts]]) -> list[Document]:
    """Subsets in canonical order: one for each set of ports, addresses sorted."""
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    family = families(service)[0]
    found: dict[object, tuple[list[Document], list[Document], list[Document]]] = {}
    for pod, facts in pods:
        if facts.terminal or (facts.terminating and not publish):
            continue
        address = address_of(facts, family)
        if not address and not service["spec"].get("ipFamilies") and facts.addresses:
            address = facts.addresses[0]  # headless, of no family yet: the pod's primary address
        ports = [{field: value for field, value in port.items() if value != ""} for port in resolved_ports(service, pod)]
        if not address or (service["spec"].get("ports") and not ports):
            continue
        subset = found.setdefault(ports_key(ports), ([], [], ports))
        subset[0 if publish or facts.ready else 1].append(endpoint_address(facts, address, service["metadata"]["name"]))
    subsets = []
    for ready, waiting, ports in found.values():
        parts = {"addresses": by_address(ready), "notReadyAddresses": by_address(waiting), "ports": by_port(ports)}
        subsets.append({field: value for field, value in parts.items() if value})
    return sorted(subsets, key=lambda subset: [tuple(map(str, port.values())) for port in subset.get("ports", ())])


def endpoint_address(facts: PodFacts, address: str, service_name: str) -> Document:
    document: Document = {"ip": address}
    if facts.hostname and facts.subdomain == service_name:
        document["hostname"] = facts.hostname
    if facts.node:
        document["nodeName"] = facts.node
    document["targetRef"] = {"kind": "Pod", "namespace": facts.namespace, "name": facts.name, "uid": facts.uid}
    return document


def by_address(addresses: list[Document]) -> list[Document]:
    return sorted(addresses, key=lambda address: (address["ip"], address["targetRef"]["name"]))


def by_port(ports: list[Document]) -> list[Document]:
    return sorted(ports, key=lambda port: (port["port"], port["protocol"], port.get("name", "")))


def truncate(subsets: list[Document]) -> tuple[list[Document], bool]:
    """At most CAPACITY addresses, in proportion to each subset's, ready ones before the others; and whether any is missing."""
    ready = sum(len(subset.get("addresses", ())) for subset in subsets)
    waiting = sum(len(subset.get("notReadyAddresses", ())) for subset in subsets)
    if ready + waiting <= CAPACITY:
        return subsets, False
    field, total, room = "notReadyAddresses", waiting, CAPACITY - ready
    if ready > CAPACITY:
        field, total, room = "addresses", ready, CAPACITY
    left = room
    kept = []
    for subset in subsets:
        # Rounded up, so that the last subset may get less than its part.
        quota = min(left, math.ceil(len(subset.get(field, ())) / total * room))
        left -= quota
        cut = {**subset, field: subset.get(field, [])[:quota]}
        if field == "addresses":
            cut.pop("notReadyAddresses", None)
        cut = {name: value for name, value in cut.items() if value}
        if cut.keys() & {"addresses", "notReadyAddresses"}:
            kept.append(cut)
    return kept, True
