"""Why does a pod not serve? The first thing that stands in its way, by its status, its node and its events."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct

from mooring.endpoints.pods import PodFacts, pod_facts

Document = dict[str, Any]

STARTING = ("ContainerCreating", "PodInitializing")
"""Waiting reasons of what has just not started yet."""
LONGEST = 240
"""Letters taken from somebody else's message."""


class Cause(Struct, frozen=True):
    """`text` completes 'pod/web-1 ...'; pods with equal texts are told together."""

    text: str
    field: str
    fix: str


class Circumstances(Struct, frozen=True):
    """`nodes` by name, None when they are not known; `events` of the pods."""

    nodes: dict[str, Document] | None = None
    events: tuple[Document, ...] = ()


def why_not(pod: Document, facts: PodFacts, around: Circumstances) -> Cause | None:
    """None for a pod that serves: ready, not ending, with an address, on a node that is known."""
    if facts.ready and facts.addresses and not facts.terminating and not facts.terminal and _known(facts.node, around):
        return None
    return next((cause for check in CHECKS if (cause := check(pod, around))), _unknown(pod))


def _known(node: str, around: Circumstances) -> bool:
    return around.nodes is None or node in around.nodes


# The checks, in the order of a pod's life, from its end back to its start ----------------------------------------------------


def _ended(pod: Document, around: Circumstances) -> Cause | None:
    status = pod.get("status") or {}
    phase = status.get("phase")
    if phase not in ("Succeeded", "Failed"):
        return None
    why = ": ".join(filter(None, (status.get("reason"), brief(status.get("message")))))
    fix = "a pod that has ended never serves again: let a Deployment make one that lasts, or delete it"
    return Cause(f"has ended ({phase}{': ' + why if why else ''})", "status.phase", fix)


def _terminating(pod: Document, around: Circumstances) -> Cause | None:
    if not pod["metadata"].get("deletionTimestamp"):
        return None
    return Cause("is being deleted", "metadata.deletionTimestamp", "start another pod in its place")


def _unscheduled(pod: Document, around: Circumstances) -> Cause | None:
    if (pod.get("spec") or {}).get("nodeName"):
        return None
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        text = f"has no node ({scheduled.get('reason', 'Unschedulable')}: {brief(scheduled.get('message'))})"
        return Cause(text, "status.conditions[PodScheduled]", "make room on a node, or ask for less in the pod's spec")
    return Cause("waits for the scheduler", "spec.nodeName", "wait; if it lasts, see whether a scheduler runs")


def _homeless(pod: Document, around: Circumstances) -> Cause | None:
    name = (pod.get("spec") or {}).get("nodeName") or ""
    if _known(name, around):
        return None
    text = f"is on {name}, of which there is no Node object, so it is left out of the EndpointSlices"
    return Cause(text, "spec.nodeName", f"let {name} join the cluster again, or delete the pod")


def _node_down(pod: Document, around: Circumstances) -> Cause | None:
    name = (pod.get("spec") or {}).get("nodeName") or ""
    node = (around.nodes or {}).get(name)
    ready = condition(node or {}, "Ready")
    if not ready or ready.get("status") == "True":
        return None
    text = f"is on {name}, which is not ready ({brief(ready.get('message')) or ready.get('reason') or 'no reason given'})"
    return Cause(text, "spec.nodeName", f"bring {name} back, or delete the pod so that it starts elsewhere")


def _init(pod: Document, around: Circumstances) -> Cause | None:
    sidecars = {each["name"] for each in _specs(pod, "initContainers") if each.get("restartPolicy") == "Always"}
    for place, status in enumerate((pod.get("status") or {}).get("initContainerStatuses") or ()):
        name, sidecar, state = status.get("name", ""), status.get("name", "") in sidecars, status.get("state") or {}
        if status.get("ready") or (sidecar and status.get("started") and "running" in state):
            continue
        field = f"status.initContainerStatuses[{place}]"
        if cause := _stuck(pod, status, field, "sidecar" if sidecar else "init container"):
            return cause
        if "running" in state and not sidecar:
            return Cause(f"still runs its init container {name}", field, f"wait, or see what it does: {logs(pod, name)}")
    return None


def _containers(pod: Document, around: Circumstances) -> Cause | None:
    """What waits or has ended; reasons that explain more before those that only say it has not started."""
    statuses = list(enumerate((pod.get("status") or {}).get("containerStatuses") or ()))
    statuses.sort(key=lambda each: (((each[1].get("state") or {}).get("waiting") or {}).get("reason") or "") in STARTING)
    for place, status in statuses:
        if not status.get("ready") and (cause := _stuck(pod, status, f"status.containerStatuses[{place}]", "container")):
            return cause
    return None


def _stuck(pod: Document, status: Document, field: str, kind: str) -> Cause | None:
    name, state = status.get("name", ""), status.get("state") or {}
    if waiting := state.get("waiting"):
        reason = waiting.get("reason") or "not started"
        if reason == "PodInitializing":
            return None if kind == "init container" else Cause(f"has not started its {kind} {name} yet", field, "wait")
        last = (status.get("lastState") or {}).get("terminated")
        if reason == "CrashLoopBackOff" and last:
            text = f"{kind} {name} keeps ending: CrashLoopBackOff, the last time with {_exit(last)}"
            return Cause(text, field, f"see why it ends: {logs(pod, name, ' --previous')}")
        message = brief(waiting.get("message"))
        return Cause(f"{kind} {name} waits: {reason}{': ' + message if message else ''}", field, _waiting_fix(pod, reason))
    if ended := state.get("terminated"):
        if kind == "init container" and ended.get("exitCode") == 0:
            return None
        return Cause(f"{kind} {name} has ended with {_exit(ended)}", field, f"see why it ended: {logs(pod, name)}")
    return None


def _exit(state: Document) -> str:
    message = brief(state.get("message"))
    why = ", ".join(filter(None, (state.get("reason"), message)))
    return f"exit code {state.get('exitCode', '?')}{f' ({why})' if why else ''}"


def _waiting_fix(pod: Document, reason: str) -> str:
    match reason:
        case "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull":
            return "name an image that can be pulled in the container's image"
        case "CreateContainerConfigError" | "CreateContainerError":
            return "make what the message names: a ConfigMap, a Secret or a key, or mend the security context"
        case _ if reason in STARTING:
            return f"wait; if it lasts, {described(pod)} tells what it waits for"
    return f"{described(pod)} tells more"


def _probes(pod: Document, around: Circumstances) -> Cause | None:
    specs = {each["name"]: each for each in (*_specs(pod, "containers"), *_specs(pod, "initContainers"))}
    statuses = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        for place, status in enumerate(statuses.get(group) or ()):
            spec = specs.get(status.get("name", ""), {})
            if status.get("ready") or "running" not in (status.get("state") or {}):
                continue
            kind = "startup" if spec.get("startupProbe") and not status.get("started") else "readiness"
            probe = spec.get(f"{kind}Probe")
            if probe:
                said = _probe_said(pod, kind, around.events)
                text = (
                    f"container {status['name']} does not pass its {kind} probe ({asked(probe)}){': ' + said if said else ''}"
                )
                fix = f"let it answer its probe, or correct {kind}Probe; it writes: {logs(pod, status['name'])}"
                return Cause(text, f"status.{group}[{place}].ready", fix)
    return None


def asked(probe: Document) -> str:
    """'GET :8080/ready', 'TCP :5432', 'exec pg_isready', 'gRPC :9000'."""
    if http := probe.get("httpGet"):
        return f"GET {http.get('host', '')}:{http.get('port')}{http.get('path') or '/'}"
    if tcp := probe.get("tcpSocket"):
        return f"TCP {tcp.get('host', '')}:{tcp.get('port')}"
    if grpc := probe.get("grpc"):
        return f"gRPC :{grpc.get('port')}"
    return f"exec {' '.join((probe.get('exec') or {}).get('command') or ())}".strip()


def _probe_said(pod: Document, kind: str, events: Iterable[Document]) -> str:
    """What the kubelet last said of this pod's probe, without the words that are told already."""
    title = f"{kind.capitalize()} probe"
    said = [
        each
        for each in events_of("Pod", pod, events)
        if each.get("reason") == "Unhealthy" and each["message"].startswith(title)
    ]
    if not said:
        return ""
    return brief(max(said, key=last_seen)["message"].removeprefix(f"{title} failed:").removeprefix(f"{title} errored:"))


def _gates(pod: Document, around: Circumstances) -> Cause | None:
    ready = condition(pod, "Ready")
    if ready.get("reason") != "ReadinessGatesNotReady":
        return None
    fix = "see who sets the condition that spec.readinessGates names, often a load balancer's controller; or remove the gate"
    return Cause(f"waits for a readiness gate: {brief(ready.get('message'))}", "status.conditions[Ready]", fix)


def _addressless(pod: Document, around: Circumstances) -> Cause | None:
    facts = pod_facts(pod)
    if facts.addresses or not facts.ready:
        return None
    return Cause("has no address yet", "status.podIPs", "wait; if it lasts, see the network plugin of its node")


CHECKS: tuple[Callable[[Document, Circumstances], Cause | None], ...] = (
    _ended,
    _terminating,
    _unscheduled,
    _homeless,
    _node_down,
    _init,
    _containers,
    _probes,
    _gates,
    _addressless,
)


def _unknown(pod: Document) -> Cause:
    ready = condition(pod, "Ready")
    why = ": ".join(filter(None, (ready.get("reason"), brief(ready.get("message")))))
    fix = f"{described(pod)} tells more"
    return Cause(f"is not ready{f' ({why})' if why else ''}", "status.conditions[Ready]", fix)


# Reading documents ----------------------------------------------------------------------------------------------------------


def condition(document: Document, kind: str) -> Document:
    """{} when there is none."""
    conditions = (document.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def events_of(kind: str, document: Document, events: Iterable[Document]) -> Iterator[Document]:
    """The events about this very object."""
    metadata = document["metadata"]
    for each in events:
        about = each.get("involvedObject") or {}
        if (about.get("kind"), about.get("name")) != (kind, metadata["name"]) or not each.get("message"):
            continue
        same_place = about.get("namespace", "") == metadata.get("namespace", "")
        if same_place and about.get("uid") in (None, "", metadata.get("uid")):
            yield each


def last_seen(event: Document) -> str:
    """RFC 3339, comparable as text."""
    series = event.get("series") or {}
    told = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(told or event["metadata"].get("creationTimestamp") or "")


def brief(text: str | None) -> str:
    """Somebody's message on one line, cut where it runs on."""
    line = " ".join((text or "").split())
    return line if len(line) <= LONGEST else line[:LONGEST].rstrip() + "..."


def logs(pod: Document, container: str, more: str = "") -> str:
    """The command that shows what a container wrote."""
    several = len(_specs(pod, "containers")) > 1 or any(container == each["name"] for each in _specs(pod, "initContainers"))
    name, namespace = pod["metadata"]["name"], pod["metadata"].get("namespace", "")
    return f"`mooring logs {name} -n {namespace}{f' -c {container}' if several else ''}{more}`"


def described(pod: Document) -> str:
    return f"`mooring describe pod/{pod['metadata']['name']} -n {pod['metadata'].get('namespace', '')}`"


def _specs(pod: Document, group: str) -> tuple[Document, ...]:
    return tuple((pod.get("spec") or {}).get(group) or ())
