"""On which nodes does a DaemonSet want a Pod, what is such a Pod, and for which node was one made?

Upstream: NodeShouldRunDaemonPod in pkg/controller/daemon and pkg/controller/daemon/util. The scheduler binds these Pods as any
others: each names its node by an affinity to the field metadata.name.
"""

from collections.abc import Iterable, Sequence

from mooring.control.history import REVISION_HASH
from mooring.control.naming import next_names
from mooring.control.owners import controller_reference
from mooring.control.pod_state import node_of
from mooring.control.reconciler import Document
from mooring.control.scheduling.filters import matches_affinity
from mooring.control.scheduling.tolerations import NOT_READY, UNREACHABLE, UNSCHEDULABLE, intolerable
from mooring.model.kinds import DAEMON_SET

GENERATION = "pod-template-generation"
GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
NODE_NAME = "metadata.name"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_BORNE = (
    (NOT_READY, "NoExecute"),
    (UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE, "NoSchedule"),
)
_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


def tolerating(spec: Document) -> Document:
    """The Pod spec with what every daemon bears: a node that is down, cordoned or under pressure."""
    borne = [*_BORNE, *([_NETWORK] if spec.get("hostNetwork") else [])]
    held = list(spec.get("tolerations") or ())
    for key, effect in borne:
        wanted = {"key": key, "operator": "Exists", "effect": effect}
        # One of the same key, operator, value and effect is replaced, so that it has no end.
        held = [each for each in held if {**each, "tolerationSeconds": None} != {**wanted, "tolerationSeconds": None}]
        held.append(wanted)
    return {**spec, "tolerations": held}


def wanted_on(node: Document, spec: Document) -> tuple[bool, bool]:
    """(whether to start a Pod there, whether one that runs there may stay). `spec` tolerates already."""
    name = node["metadata"]["name"]
    pod: Document = {"spec": spec}
    if (spec.get("nodeName") or name) != name or not matches_affinity(pod, node):
        return False, False
    taints = (node.get("spec") or {}).get("taints") or ()
    if intolerable(pod, taints, ("NoSchedule", "NoExecute")) is None:
        return True, True
    return False, intolerable(pod, taints, ("NoExecute",)) is None


def target_of(pod: Document) -> str:
    """The node a Pod runs on or was made for, '' when it tells neither."""
    if node_of(pod):
        return node_of(pod)
    required = (((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED) or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == NODE_NAME and field.get("operator") == "In" and len(field.get("values") or ()) == 1:
                return str(field["values"][0])
    return ""


def new_pods(owner: Document, nodes: Sequence[str], hash: str, taken: Iterable[str]) -> list[Document]:
    """A Pod for each of the nodes."""
    metadata, template = owner["metadata"], owner["spec"]["template"]
    base, inherited = f"{metadata['name']}-", template.get("metadata") or {}
    generation = (metadata.get("annotations") or {}).get(GENERATION_ANNOTATION)
    labels = {
        **(inherited.get("labels") or {}),
        **({GENERATION: generation} if generation else {}),
        REVISION_HASH: hash,
    }
    spec = tolerating(template.get("spec") or {})
    version = (metadata["uid"], metadata.get("resourceVersion", ""))
    return [
        {
            "metadata": {
                "name": name,
                "generateName": base,
                "namespace": metadata["namespace"],
                "labels": labels,
                **{field: inherited[field] for field in ("annotations", "finalizers") if inherited.get(field)},
                "ownerReferences": [controller_reference(DAEMON_SET, owner)],
            },
            "spec": {**spec, "affinity": _bound_to(spec.get("affinity") or {}, node)},
        }
        for name, node in zip(next_names(base, version, taken, len(nodes)), nodes, strict=True)
    ]


def _bound_to(affinity: Document, node: str) -> Document:
    """The affinity with what it required of a node replaced by this very node, which has been found to meet it."""
    term = {"matchFields": [{"key": NODE_NAME, "operator": "In", "values": [node]}]}
    return {**affinity, "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), REQUIRED: {"nodeSelectorTerms": [term]}}}
