"""Who is a StatefulSet's Pod number n: its name, labels, host name and claims, and to whom do the claims belong?

Upstream: pkg/controller/statefulset/stateful_set_utils.go and stateful_pod_control.go.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mooring.control.history import REVISION_HASH
from mooring.control.owners import controller_reference, references
from mooring.control.pod_state import phase, ready, ready_for, terminating
from mooring.control.reconciler import Document, World
from mooring.control.selectors import labels_of
from mooring.model.kinds import PERSISTENT_VOLUME_CLAIM, POD, STATEFUL_SET

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"
_NAMED = re.compile(r"(.*)-([0-9]+)")


def ordinal_of(owner: Document, name: str) -> int | None:
    """The number of a Pod of this name, None when it cannot be one of this set."""
    parsed = _NAMED.fullmatch(name)
    if parsed is None or parsed[1] != owner["metadata"]["name"] or len(parsed[2]) > 10:
        return None
    return int(parsed[2])


def start_of(owner: Document) -> int:
    return int((owner["spec"].get("ordinals") or {}).get("start", 0))


def pod_name(owner: Document, ordinal: int) -> str:
    return f"{owner['metadata']['name']}-{ordinal}"


def revision_of(pod: Document) -> str:
    return labels_of(pod).get(REVISION_HASH, "")


def identity(owner: Document, ordinal: int) -> dict[str, str]:
    """The labels that tell a Pod's number."""
    return {POD_NAME: pod_name(owner, ordinal), POD_INDEX: str(ordinal)}


def running_and_ready(pod: Document) -> bool:
    return phase(pod) == "Running" and ready(pod)


def waits_for_availability(pod: Document, owner: Document, world: World) -> float:
    """Seconds until a ready Pod has been so for minReadySeconds, 0 when it has or is not ready."""
    lasted = ready_for(pod, world.now) if phase(pod) == "Running" else None
    minimum = owner["spec"].get("minReadySeconds", 0)
    return max(0.0, minimum - lasted) if lasted is not None else 0.0


def running_and_available(pod: Document, owner: Document, world: World) -> bool:
    return running_and_ready(pod) and not waits_for_availability(pod, owner, world)


def unavailable(pod: Document, owner: Document, world: World) -> bool:
    return terminating(pod) or not running_and_available(pod, owner, world)


def new_pod(owner: Document, template: Document, ordinal: int, revision: str) -> Document:
    metadata, spec = owner["metadata"], template.get("spec") or {}
    inherited = template.get("metadata") or {}
    name = pod_name(owner, ordinal)
    claims = [_volume(each, claim_name(owner, each, ordinal)) for each in claim_templates(owner)]
    taken = {each["name"] for each in claims}
    volumes = [*claims, *(each for each in spec.get("volumes") or () if each.get("name") not in taken)]
    subdomain = owner["spec"].get("serviceName")
    return {
        "metadata": {
            "name": name,
            "generateName": f"{metadata['name']}-",
            "namespace": metadata["namespace"],
            "labels": {**(inherited.get("labels") or {}), **identity(owner, ordinal), REVISION_HASH: revision},
            **{field: inherited[field] for field in ("annotations", "finalizers") if inherited.get(field)},
            "ownerReferences": [controller_reference(STATEFUL_SET, owner)],
        },
        "spec": {
            **{field: value for field, value in spec.items() if field not in ("volumes", "hostname", "subdomain")},
            "hostname": name,
            **({"subdomain": subdomain} if subdomain else {}),
            **({"volumes": volumes} if volumes else {}),
        },
    }


# Claims -----------------------------------------------------------------------------------------------------------------


def claim_templates(owner: Document) -> list[Document]:
    return owner["spec"].get("volumeClaimTemplates") or []


def claim_name(owner: Document, template: Document, ordinal: int) -> str:
    return f"{(template.get('metadata') or {}).get('name', '')}-{pod_name(owner, ordinal)}"


def _volume(template: Document, claim: str) -> Document:
    return {"name": (template.get("metadata") or {}).get("name", ""), "persistentVolumeClaim": {"claimName": claim}}


def claims_of(owner: Document, ordinal: int, world: World) -> Iterable[tuple[str, Document, Document | None]]:
    """(name, template, what is there of that name) of each claim of Pod number `ordinal`."""
    for template in claim_templates(owner):
        name = claim_name(owner, template, ordinal)
        yield name, template, world.get(PERSISTENT_VOLUME_CLAIM, owner["metadata"]["namespace"], name)


def new_claim(owner: Document, template: Document, ordinal: int) -> Document:
    """Owned as the retention policy asks, so far as the set goes: its Pod is not there yet."""
    inner = template.get("metadata") or {}
    labels = {**(inner.get("labels") or {}), **(owner["spec"]["selector"].get("matchLabels") or {})}
    kept = when_deleted(owner) == "Retain"
    return {
        "metadata": {
            **{name: inner[name] for name in ("annotations", "finalizers") if inner.get(name)},
            "name": claim_name(owner, template, ordinal),
            "namespace": owner["metadata"]["namespace"],
            **({"labels": labels} if labels else {}),
            **({} if kept else {"ownerReferences": [controller_reference(STATEFUL_SET, owner)]}),
        },
        "spec": template.get("spec") or {},
    }


def stale(claim: Document | None, owner: Document, ordinal: int) -> bool:
    """It belongs to an earlier Pod of the same name, and goes with it: not to be taken for a new one."""
    name = pod_name(owner, ordinal)
    return claim is not None and any(each.get("kind") == "Pod" and each.get("name") == name for each in references(claim))


def when_deleted(owner: Document) -> str:
    return _policy(owner).get("whenDeleted", "Retain")


def when_scaled(owner: Document) -> str:
    return _policy(owner).get("whenScaled", "Retain")


def _policy(owner: Document) -> Mapping[str, str]:
    return owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}


def kept_by_policy(claim: Document, owner: Document, pod: Document, condemned: bool) -> Document:
    """The claim with the owners that the retention policy gives it; unchanged where a stranger controls it.

    The owner whose end takes the claim along: the Pod when it goes by scaling and `whenScaled` says Delete, else the set when
    `whenDeleted` does.
    """
    ours = {owner["metadata"]["uid"], pod["metadata"]["uid"]}
    held = references(claim)
    if any(each.get("controller") and each.get("uid") not in ours for each in held):
        return claim
    wanted: dict[str, Any] | None = None
    if condemned and when_scaled(owner) == "Delete":
        wanted = controller_reference(POD, pod)
    elif when_deleted(owner) == "Delete":
        wanted = controller_reference(STATEFUL_SET, owner)
    if [each for each in held if each.get("uid") in ours] == ([wanted] if wanted else []):
        return claim
    others = [each for each in held if each.get("uid") not in ours]
    return {**claim, "metadata": {**claim["metadata"], "ownerReferences": [*others, *([wanted] if wanted else [])] or None}}
