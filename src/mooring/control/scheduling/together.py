"""On which nodes can this Pod run, all nodes and all Pods considered together? Each node's refusals, in upstream's words."""

from collections.abc import Callable, Mapping

from mooring.control.reconciler import Document
from mooring.control.scheduling.filters import unfit
from mooring.control.scheduling.pod_affinity import pod_affinity
from mooring.control.scheduling.situation import Situation, Verdict
from mooring.control.scheduling.topology_spread import topology_spread
from mooring.control.scheduling.volumes import volumes

FILTERS: tuple[Callable[[Document, Situation], Verdict], ...] = (volumes, topology_spread, pod_affinity)
"""In upstream's order, after those that look at one node alone."""


def refusals(pod: Document, situation: Situation) -> Mapping[str, list[str]]:
    """By node name: [] where the Pod can run, else the reasons of the first filter that refuses."""
    verdicts = [prepare(pod, situation) for prepare in FILTERS]
    found: dict[str, list[str]] = {}
    for node, residents in situation.placed():
        reasons = unfit(pod, node, residents)
        for verdict in verdicts:
            reasons = reasons or verdict(node)
        found[node["metadata"]["name"]] = reasons
    return found
