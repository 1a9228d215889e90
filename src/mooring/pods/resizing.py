"""What has a container of what it is to have? Its CPU and memory may change while it runs (KEP-1287).

Three things differ while that goes on: what the spec wishes, what the node has allotted to the pod, and what a run was given.
What a run was given stands in its own files, and what was allotted in the pod's status: an agent that comes anew decides again.
"""

from typing import Any, Literal

from msgspec import Struct, structs

from mooring.model.pod import Container, Pod, Quantities, Resources
from mooring.pods.observed import PodSeen, Run
from mooring.pods.quantity import parse

Document = dict[str, Any]
RESIZABLE = ("cpu", "memory")
_NONE: Quantities = {}
_STATUSES = ("initContainerStatuses", "containerStatuses")


class Refusal(Struct, frozen=True):
    """Why the node does not allot what is wished: it never can (Infeasible), or others have it (Deferred)."""

    reason: Literal["Infeasible", "Deferred"]
    message: str


def resizable(pod: Pod) -> tuple[Container, ...]:
    return (*(one for one in pod.spec.init_containers or () if one.sidecar), *pod.spec.containers)


def allotted(pod: Pod, seen: PodSeen | None, before: Document) -> Pod:
    """The pod with what its containers have, by the status `before`: the same pod where that is what it wishes."""
    told = {one.get("name"): one.get("allocatedResources") for group in _STATUSES for one in before.get(group) or ()}
    had = {one.name: _had(one, seen, told.get(one.name)) for one in resizable(pod)}
    if all(same(one.resources, had[one.name]) for one in resizable(pod)):
        return pod

    def given(containers: tuple[Container, ...] | None) -> tuple[Container, ...]:
        return tuple(structs.replace(one, resources=had.get(one.name, one.resources)) for one in containers or ())

    spec = structs.replace(
        pod.spec, containers=given(pod.spec.containers), init_containers=given(pod.spec.init_containers) or None
    )
    return structs.replace(pod, spec=spec)


def _had(container: Container, seen: PodSeen | None, told: Quantities | None) -> Resources:
    run = seen.latest(container.name) if seen else None
    if run is not None and run.resources is not None:
        return run.resources
    if told:
        return structs.replace(container.resources, requests={**(container.resources.requests or {}), **told})
    return container.resources


def same(one: Resources, other: Resources) -> bool:
    """As far as it can change."""
    return one == other or not _differing(one, other)


def _differing(one: Resources, other: Resources) -> set[str]:
    pairs = ((one.requests or _NONE, other.requests or _NONE), (one.limits or _NONE, other.limits or _NONE))
    return {name for name in RESIZABLE for left, right in pairs if _amount(left, name) != _amount(right, name)}


def _amount(quantities: Quantities, name: str) -> object:
    return parse(quantities[name]) if name in quantities else None


def differs(container: Container, run: Run) -> bool:
    """Whether a run was given other than its container is to have. Of an older agent's run nobody knows."""
    return run.resources is not None and not same(container.resources, run.resources)


def restarts(container: Container, run: Run) -> bool:
    """Whether what differs asks for a new run, by the container's resizePolicy."""
    anew = {policy.resource for policy in container.resize_policy or () if policy.restart == "RestartContainer"}
    return run.resources is not None and bool(anew & _differing(container.resources, run.resources))


def shown(container: Container, run: Run) -> Document:
    """Of a container's status. Limits count where the kernel holds them: `run.held`."""
    document: Document = {"resources": {}}
    given = run.resources or container.resources
    if container.resources.requests:
        document["allocatedResources"] = dict(container.resources.requests)
    if limits := {name: value for name, value in (given.limits or _NONE).items() if name in run.held}:
        document["resources"]["limits"] = limits
    if given.requests:
        document["resources"]["requests"] = dict(given.requests)
    return document
