"""For which zone is each endpoint, so that zones get endpoints in proportion to their processors?

The annotation service.kubernetes.io/topology-mode: Auto (KEP-2433). An endpoint is for its own zone first; where a zone has
more than its share, endpoints are lent to zones that have less, and stay lent while the shares allow it. Where no split keeps
every zone's load within 20 % of its share, there are no hints at all, and the reason is told.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum

from msgspec import Struct

from mooring.endpoints.desired import Desired, EndpointKey, endpoint_key, zone_of
from mooring.endpoints.pods import Document

MODE_ANNOTATION = "service.kubernetes.io/topology-mode"
HINTS_ANNOTATION = "service.kubernetes.io/topology-aware-hints"
EXCLUDED_LABELS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
OVERLOAD = 0.2


class Disabled(Enum):
    """Why there are no hints, in upstream's words."""

    NODE_INFO = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
    ONE_ZONE = "Nodes only ready in one zone"
    ENDPOINTS = "Insufficient number of endpoints"
    OVERLOAD = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
    NO_ZONE = "One or more endpoints do not have a zone specified"


class Share(Struct, frozen=True):
    """How many endpoints a zone should have at least and at most."""

    minimum: int
    maximum: int


def wants_auto(service: Document) -> bool:
    """The older annotation wins where both are given."""
    annotations = service["metadata"].get("annotations") or {}
    value = annotations.get(HINTS_ANNOTATION, annotations.get(MODE_ANNOTATION, ""))
    return value in ("Auto", "auto")


def zone_cpu(nodes: Iterable[Document]) -> dict[str, float] | Disabled:
    """Each zone's part of all allocatable CPU, over ready nodes that are not the control plane's."""
    cpu: dict[str, float] = {}
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        if any(label in labels for label in EXCLUDED_LABELS) or not is_ready(node):
            continue
        zone = zone_of(node)
        amount = cores(((node.get("status") or {}).get("allocatable") or {}).get("cpu", "0"))
        if not zone or not amount:
            return Disabled.NODE_INFO
        cpu[zone] = cpu.get(zone, 0.0) + amount
    total = sum(cpu.values())
    return {zone: amount / total for zone, amount in sorted(cpu.items())} if cpu else Disabled.NODE_INFO


def node_facts(node: Document | None) -> tuple[object, ...]:
    """What of a Node matters to `zone_cpu`: unchanged facts mean unchanged shares."""
    if node is None:
        return ()
    labels = node["metadata"].get("labels") or {}
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return zone_of(node), any(label in labels for label in EXCLUDED_LABELS), is_ready(node), allocatable.get("cpu")


def is_ready(node: Document) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any((condition.get("type"), condition.get("status")) == ("Ready", "True") for condition in conditions)


def cores(quantity: str | int) -> float:
    """A CPU quantity in cores: '4', '3920m', '1.5'. 0 for what is none."""
    text = str(quantity)
    try:
        return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        return 0.0


def shares(cpu: Mapping[str, float], count: int) -> dict[str, Share] | Disabled:
    """How `count` ready endpoints may be split over the zones."""
    if len(cpu) < 2:
        return Disabled.ONE_ZONE
    if len(cpu) > count:
        return Disabled.ENDPOINTS
    minimum = {zone: math.ceil(ratio * count / (1 + OVERLOAD)) for zone, ratio in cpu.items()}
    spare = count - sum(minimum.values())
    if spare < 0:
        return Disabled.OVERLOAD
    return {zone: Share(least, least + spare) for zone, least in minimum.items()}


def give_hints(desired: Desired, existing: Iterable[Document], cpu: Mapping[str, float] | Disabled) -> Disabled | None:
    """Puts forZones into the ready endpoints of `desired`, or into none of them and says why not."""
    ready = {
        key: endpoint
        for group in desired.groups.values()
        for key, endpoint in group.endpoints.items()
        if endpoint["conditions"]["ready"]
    }
    if isinstance(cpu, Disabled):
        return cpu
    split = shares(cpu, len(ready))
    if isinstance(split, Disabled):
        return split
    if not all(endpoint.get("zone") for endpoint in ready.values()):
        return Disabled.NO_ZONE
    own = {key: str(endpoint["zone"]) for key, endpoint in ready.items()}
    for key, zone in assign(own, lent(existing), split).items():
        ready[key]["hints"] = {"forZones": [{"name": zone}]}
    return None


def lent(existing: Iterable[Document]) -> dict[EndpointKey, str]:
    """The zone that each endpoint is for until now."""
    found = {}
    for slice_ in existing:
        for endpoint in slice_.get("endpoints") or ():
            zones = (endpoint.get("hints") or {}).get("forZones")
            if zones:
                found[endpoint_key(endpoint)] = str(zones[0]["name"])
    return found


def assign(
    own: Mapping[EndpointKey, str], before: Mapping[EndpointKey, str], split: Mapping[str, Share]
) -> dict[EndpointKey, str]:
    """A zone for every endpoint within the shares, moving as few as possible: those lent before stay lent."""
    given = {key: before[key] if before.get(key) in split else zone for key, zone in own.items()}
    members: dict[str, dict[str, list[EndpointKey]]] = {zone: {} for zone in split}
    """By the zone they are for, then by their own."""
    for key in sorted(given, reverse=True):
        members.setdefault(given[key], {}).setdefault(own[key], []).append(key)
    counts = Counter(given.values())
    while (move := next_move(counts, split)) is not None:
        giver, taker = move
        homes = members[giver]
        # Back home first, then one that is lent anyway, then one of the giver's own.
        home = min((zone for zone in homes if homes[zone]), key=lambda zone: (zone != taker, zone == giver, zone))
        moving = homes[home].pop()
        members[taker].setdefault(home, []).append(moving)
        given[moving] = taker
        counts[giver] -= 1
        counts[taker] += 1
    return given


def next_move(counts: Mapping[str, int], split: Mapping[str, Share]) -> tuple[str, str] | None:
    """(giver, taker), None when every zone is within its share. Zones without a share give all they have."""
    over = {zone: count - (split[zone].maximum if zone in split else 0) for zone, count in counts.items()}
    lack = {zone: share.minimum - counts.get(zone, 0) for zone, share in split.items()}
    giver, taker = max(over, key=lambda zone: (over[zone], zone)), max(lack, key=lambda zone: (lack[zone], zone))
    if over[giver] <= 0 and lack[taker] <= 0:
        return None
    if over[giver] <= 0:
        giver = min(lack, key=lambda zone: (lack[zone], zone))
    elif lack[taker] <= 0:
        taker = min(split, key=lambda zone: (over.get(zone, -split[zone].maximum), zone))
    return giver, taker
