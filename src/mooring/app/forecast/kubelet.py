"""What do the nodes do meanwhile? The assumption: what is new there comes up, what is deleted goes, all else stays as it is.

A Pod that the cluster already runs keeps its state, ready or not: nobody can know whether it will change. A new one gets an
address of the range for benchmarks (RFC 2544, RFC 5180), which no cluster uses, so that nobody takes it for a real one. On a
node that is not ready nothing moves.
"""

from collections.abc import Iterable
from ipaddress import ip_address
from itertools import count

from mooring.control.amend import amend, delete
from mooring.control.conditions import true, with_condition
from mooring.control.pod_state import node_of, ready, terminal, terminating
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, World
from mooring.control.times import stamp
from mooring.model.kinds import NODE, POD

STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons for which a container waits while all is well."""
CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
FOUR, SIX = 0xC6120000, 0x20010002 << 96
"""198.18.0.0/15 and 2001:2::/48."""


def is_starting(pod: Document) -> bool:
    """Its node has begun with it, or has yet to, and reports no trouble."""
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = [((each.get("state") or {}).get("waiting") or {}).get("reason", "") for each in containers]
    return status.get("phase", "Pending") == "Pending" and set(waiting) <= STARTING


class AssumedKubelet:
    """A reconciler in the place of every node's agent. `standing` are the uids of the Pods that stay as they are, `taken` the
    addresses that no new one gets.
    """

    name = "assumed-kubelet"
    watches = (POD, NODE)
    serial = True

    def __init__(self, standing: frozenset[str], taken: frozenset[str]) -> None:
        self._standing = standing
        self._free = {
            family: (text for number in count(first + 1) if (text := str(ip_address(number))) not in taken)
            for family, first in (("IPv4", FOUR), ("IPv6", SIX))
        }

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.after is None:
            return ()
        if change.kind == NODE:
            pods = world.indexed(POD, "node", change.after["metadata"]["name"])
            return [_key(pod) for pod in pods] if change.before is None or _ready(change.before) != _ready(change.after) else ()
        return [_key(change.after)] if node_of(change.after) else ()

    def plan(self, key: Key, world: World) -> Plan:
        pod = world.get(POD, *key)
        node = world.get(NODE, "", node_of(pod)) if pod else None
        if pod is None or node is None or not _ready(node):
            return NOTHING
        if terminating(pod):
            return Plan((delete(POD, pod, grace=0),)) if pod["metadata"].get("deletionGracePeriodSeconds") != 0 else NOTHING
        if pod["metadata"]["uid"] in self._standing or terminal(pod) or ready(pod):
            return NOTHING
        return Plan(amend(POD, pod, {**pod, "status": self._running(pod, node, world)}))

    def _running(self, pod: Document, node: Document, world: World) -> Document:
        status = dict(pod.get("status") or {})
        conditions = status.get("conditions") or []
        for type in (*CONDITIONS, *(gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ())):
            conditions = with_condition(conditions, {"type": type, "status": "True"}, world.now)
        hosts = _own_addresses(node)
        own = not pod["spec"].get("hostNetwork")
        addresses = [next(self._free[family]) for family in _families(node, world)] if own else hosts
        return {
            **status,
            "phase": "Running",
            "conditions": conditions,
            "startTime": status.get("startTime") or stamp(world.now),
            **({"hostIP": hosts[0], "hostIPs": [{"ip": each} for each in hosts]} if hosts else {}),
            "podIP": addresses[0] if addresses else "",
            "podIPs": [{"ip": each} for each in addresses],
        }


def _key(pod: Document) -> Key:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _ready(node: Document) -> bool:
    return true(node, "Ready")


def _own_addresses(node: Document) -> list[str]:
    addresses = (node.get("status") or {}).get("addresses") or ()
    return [each["address"] for each in addresses if each["type"] == "InternalIP"]


def _families(node: Document, world: World) -> list[str]:
    """Those of the node's Pod ranges, else of the Pods it has, else IPv4."""
    spec = node.get("spec") or {}
    ranges = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    if not ranges:
        pods = world.indexed(POD, "node", node["metadata"]["name"])
        ranges = [each["ip"] for pod in pods for each in (pod.get("status") or {}).get("podIPs") or ()]
    return list(dict.fromkeys("IPv6" if ":" in each else "IPv4" for each in ranges)) or ["IPv4"]
