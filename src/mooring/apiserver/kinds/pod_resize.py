"""Which resizes of a pod's containers are refused, and in which words? CPU and memory may change while it runs, nothing else.

Source: podResizeStrategy (pkg/registry/core/pod) and ValidatePodResize in k8s.io/kubernetes/pkg/apis/core/validation.
"""

from typing import Any

from mooring.apiserver.kinds.container_validation import RESIZABLE, amount
from mooring.apiserver.kinds.pod_defaults import is_mirror, quality_of_service
from mooring.apiserver.kinds.problems import forbidden, invalid
from mooring.apiserver.strategy import Document, FieldError

Spec = dict[str, Any]

_BROUGHT = ("resources", "resizePolicy")
"""What a request to the subresource may say of a container."""
_GROUPS = ("containers", "initContainers")
_RESTART = "RestartContainer"


def keep_all_but_resources(document: Document, old: Document) -> None:
    """Leaves the document as it is when its containers are not the pod's: then it is refused."""
    given = {group: document["spec"].get(group) or [] for group in _GROUPS}
    if not _same_containers(document["spec"], old["spec"]):
        return
    document["spec"] = dict(old["spec"])
    for group, containers in given.items():
        if containers:
            pairs = zip(old["spec"][group], containers, strict=True)
            document["spec"][group] = [_with(before, after) for before, after in pairs]


def _with(before: Spec, after: Spec) -> Spec:
    kept = {name: value for name, value in before.items() if name not in _BROUGHT}
    return kept | {name: after[name] for name in _BROUGHT if name in after}


def _same_containers(spec: Spec, before: Spec) -> bool:
    return all(
        [one.get("name") for one in spec.get(group) or ()] == [one.get("name") for one in before.get(group) or ()]
        for group in _GROUPS
    )


def check_resize(document: Document, old: Document) -> list[FieldError]:
    spec, before = document["spec"], old["spec"]
    if is_mirror(old):
        return [forbidden("", "static pods cannot be resized")]
    if any((each.get("resources") or {}).get(kind) for each in (spec, before) for kind in ("requests", "limits")):
        return [forbidden("", "pods with pod-level resources cannot be resized")]
    if not _same_containers(spec, before):
        return [forbidden("spec", "only cpu and memory resources are mutable")]
    found: list[FieldError] = []
    quality = (old.get("status") or {}).get("qosClass") or quality_of_service(before)
    if quality_of_service(spec) != quality:
        found.append(invalid("spec", quality, "Pod QOS Class may not change as a result of resizing"))
    if not _supported(old):
        found.append(forbidden("spec", "Pod running on node without support for resize"))
    for group in reversed(_GROUPS):
        for place, (was, wanted) in enumerate(zip(before.get(group) or (), spec.get(group) or (), strict=True)):
            found += _check_container(wanted, was, group, place)
    return found


def _supported(pod: Document) -> bool:
    """A node that can do it tells what its containers have."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    running = [one for one in statuses if (one.get("state") or {}).get("running") is not None]
    return not running or running[0].get("resources") is not None


def _check_container(wanted: Spec, was: Spec, group: str, place: int) -> list[FieldError]:
    sidecar = was.get("restartPolicy") == "Always"
    if group == "initContainers" and not sidecar:
        if _without_empty(wanted) != _without_empty(was):
            return [forbidden("spec", "resources for non-sidecar init containers are immutable")]
        return []
    field = f"spec.{group}[{place}].resources"
    after, before = wanted.get("resources") or {}, was.get("resources") or {}
    found = [
        forbidden(f"{field}.{kind}", f"resource {kind} cannot be removed")
        for kind in ("requests", "limits")
        if (before.get(kind) or {}).keys() - (after.get(kind) or {}).keys()
    ]
    found += _check_memory(after, before, wanted.get("resizePolicy") or (), f"{field}.limits[memory]")
    if _fixed(wanted) != _fixed(was):
        which = "for sidecar containers " if group == "initContainers" else ""
        found.append(forbidden("spec", f"only cpu and memory resources {which}are mutable"))
    return found


def _check_memory(after: Spec, before: Spec, policies: Any, field: str) -> list[FieldError]:
    """What a process has cannot be taken from it, unless it starts anew."""
    if any(policy.get("resourceName") == "memory" and policy.get("restartPolicy") == _RESTART for policy in policies):
        return []
    limit, previous = ((each.get("limits") or {}).get("memory") for each in (after, before))
    if limit is None or (previous is not None and amount(limit) >= amount(previous)):
        return []
    word = "added" if previous is None else "decreased"
    return [forbidden(field, f"memory limits cannot be {word} unless resizePolicy is {_RESTART}")]


def _fixed(container: Spec) -> Spec:
    """What must be as it was: all but CPU and memory, and what is to happen when they change."""
    resources = container.get("resources") or {}
    left = {
        kind: {name: value for name, value in (resources.get(kind) or {}).items() if name not in RESIZABLE}
        for kind in ("requests", "limits")
    }
    return _without_empty({**container, "resources": _without_empty({**resources, **left})})


def _without_empty(container: Spec) -> Spec:
    return {name: value for name, value in container.items() if value not in ({}, [], "")}
