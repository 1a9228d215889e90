"""mooring describe: show one object with what belongs to it and its events."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from mooring.app.connection import Connection, Refused
from mooring.cli import output
from mooring.cli.get import pages
from mooring.cli.resources import Resources
from mooring.cli.selection import Selection, select
from mooring.cli.target import DataDir, Kubeconfig, Namespace, connection
from mooring.model.kinds import CORE_EVENT, ENDPOINT_SLICE, POD, REPLICA_SET

Document = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def command(
    what: Annotated[list[str], typer.Argument(help="KIND NAME... or KIND/NAME...")],
    namespace: Namespace = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> None:
    """Show objects with what belongs to them and what happened to them."""
    server = connection(data_dir, config)
    place = namespace or server.access.namespace
    texts = []
    for selection in select(Resources(server), what):
        for page in pages(server, selection, place, {}, "application/json"):
            for item in [page] if selection.name else page.get("items") or ():
                typed = {"apiVersion": selection.kind.api_version, "kind": selection.kind.kind} | item
                texts.append("\n".join(describe(server, selection, typed)))
    print("\n\n\n".join(texts) if texts else "No resources found.")


def describe(server: Connection, selection: Selection, document: Document) -> Iterator[str]:
    """The lines for one object."""
    yield from _head(document)
    special = {"Service": _service, "Pod": _pod, "Node": _node, "Deployment": _deployment}.get(document["kind"])
    yield from special(server, document) if special else _generic(document)
    yield from _events(server, document)


def _head(document: Document) -> Iterator[str]:
    metadata = document["metadata"]
    yield from _pairs(("Name", metadata["name"]), ("Namespace", metadata.get("namespace", "")))
    yield from _map("Labels", metadata.get("labels"))
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    yield from _map("Annotations", annotations)
    yield from _pairs(
        ("Created", metadata.get("creationTimestamp", "")), ("Being deleted since", metadata.get("deletionTimestamp", ""))
    )
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            yield from _pairs(("Controlled by", f"{owner['kind']}/{owner['name']}"))


def _service(server: Connection, document: Document) -> Iterator[str]:
    spec = document.get("spec") or {}
    yield from _map("Selector", spec.get("selector"))
    ingress = (document.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
    yield from _pairs(
        ("Type", spec.get("type", "")),
        ("IP families", f"{spec.get('ipFamilyPolicy', '')} {','.join(spec.get('ipFamilies') or ())}".strip()),
        ("Addresses", ", ".join(spec.get("clusterIPs") or ())),
        ("External addresses", ", ".join(spec.get("externalIPs") or ())),
        ("Load balancer", ", ".join(each.get("ip") or each.get("hostname", "") for each in ingress)),
        ("External name", spec.get("externalName", "")),
        ("Session affinity", spec.get("sessionAffinity", "")),
        ("External traffic policy", spec.get("externalTrafficPolicy", "")),
        ("Internal traffic policy", spec.get("internalTrafficPolicy", "")),
    )
    slices = _related(server, ENDPOINT_SLICE, document, f"kubernetes.io/service-name={document['metadata']['name']}")
    rows = []
    for port in spec.get("ports") or ():
        places = [
            _endpoint(each, port.get("name", ""), slices_) for slices_ in slices for each in slices_.get("endpoints") or ()
        ]
        where = ", ".join(filter(None, places)) or "<none>"
        rows.append(
            [
                port.get("name") or "<unnamed>",
                f"{port['port']}/{port.get('protocol', 'TCP')}",
                port.get("targetPort", ""),
                port.get("nodePort", "-"),
                where,
            ]
        )
    yield from _table("Ports", ["NAME", "PORT", "TARGET", "NODE PORT", "ENDPOINTS"], rows)


def _endpoint(endpoint: Document, port_name: str, slice_: Document) -> str:
    """'10.244.0.5:8080', with what is not usual in brackets; '' when the slice has no such port."""
    port = next((each.get("port") for each in slice_.get("ports") or () if (each.get("name") or "") == port_name), None)
    if port is None or not endpoint.get("addresses"):
        return ""
    conditions = endpoint.get("conditions") or {}
    state = "terminating" if conditions.get("terminating") else "" if conditions.get("ready", True) else "not ready"
    address = endpoint["addresses"][0]
    return f"{f'[{address}]' if ':' in address else address}:{port}" + (f" ({state})" if state else "")


def _pod(server: Connection, document: Document) -> Iterator[str]:
    spec, status = document.get("spec") or {}, document.get("status") or {}
    yield from _pairs(
        ("Node", spec.get("nodeName", "<not scheduled>")),
        ("Status", status.get("phase", "")),
        ("Reason", status.get("reason", "")),
        ("Message", status.get("message", "")),
        ("Addresses", ", ".join(each["ip"] for each in status.get("podIPs") or ())),
        ("Service account", spec.get("serviceAccountName", "")),
        ("QoS class", status.get("qosClass", "")),
    )
    for title, field, states in (
        ("Init containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ):
        known = {each["name"]: each for each in status.get(states) or ()}
        rows = [_container(each, known.get(each["name"], {})) for each in spec.get(field) or ()]
        yield from _table(title, ["NAME", "IMAGE", "PORTS", "READY", "RESTARTS", "STATE"], rows)
    yield from _conditions(status)
    rows = [[each["name"], next((key for key in each if key != "name"), "")] for each in spec.get("volumes") or ()]
    yield from _table("Volumes", ["NAME", "KIND"], rows)


def _container(container: Document, status: Document) -> list[Any]:
    ports = ",".join(f"{each['containerPort']}/{each.get('protocol', 'TCP')}" for each in container.get("ports") or ())
    return [
        container["name"],
        container.get("image", ""),
        ports or "-",
        bool(status.get("ready")),
        status.get("restartCount", 0),
        _state(status.get("state") or {}),
    ]


def _state(state: Document) -> str:
    if running := state.get("running"):
        return f"running since {running.get('startedAt', '')}"
    if ended := state.get("terminated"):
        return f"{ended.get('reason', 'ended')} with exit code {ended.get('exitCode', '?')} {ended.get('message', '')}".strip()
    waiting = state.get("waiting") or {}
    return f"waiting: {waiting.get('reason', 'not started')} {waiting.get('message', '')}".strip()


def _node(server: Connection, document: Document) -> Iterator[str]:
    spec, status = document.get("spec") or {}, document.get("status") or {}
    info = status.get("nodeInfo") or {}
    yield from _pairs(
        ("Addresses", ", ".join(f"{each['type']} {each['address']}" for each in status.get("addresses") or ())),
        ("Pod ranges", ", ".join(spec.get("podCIDRs") or ())),
        ("Taints", ", ".join(f"{each['key']}:{each['effect']}" for each in spec.get("taints") or ())),
        ("Unschedulable", "true" if spec.get("unschedulable") else ""),
        ("System", f"{info.get('osImage', '')}, {info.get('kernelVersion', '')}, kubelet {info.get('kubeletVersion', '')}"),
    )
    capacity, allocatable = status.get("capacity") or {}, status.get("allocatable") or {}
    rows = [[name, amount, allocatable.get(name, "")] for name, amount in capacity.items()]
    yield from _table("Resources", ["NAME", "CAPACITY", "ALLOCATABLE"], rows)
    yield from _conditions(status)
    query = {"fieldSelector": f"spec.nodeName={document['metadata']['name']}"}
    pods = server.get(POD.path(), query).get("items") or ()
    rows = [[each["metadata"]["namespace"], each["metadata"]["name"], each.get("status", {}).get("phase", "")] for each in pods]
    yield from _table("Pods", ["NAMESPACE", "NAME", "STATUS"], rows)


def _deployment(server: Connection, document: Document) -> Iterator[str]:
    spec, status = document.get("spec") or {}, document.get("status") or {}
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    yield from _map("Selector", selector)
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    counts = [
        f"{status.get(key, 0)} {word}"
        for key, word in (
            ("replicas", "there"),
            ("updatedReplicas", "updated"),
            ("availableReplicas", "available"),
            ("unavailableReplicas", "unavailable"),
        )
    ]
    yield from _pairs(
        ("Replicas", f"{spec.get('replicas', 1)} wanted, {', '.join(counts)}"),
        ("Strategy", f"{strategy.get('type', '')} {' '.join(f'{key}={value}' for key, value in rolling.items())}".strip()),
        ("Paused", "true" if spec.get("paused") else ""),
    )
    containers = spec.get("template", {}).get("spec", {}).get("containers") or ()
    yield from _table("Containers", ["NAME", "IMAGE"], [[each["name"], each.get("image", "")] for each in containers])
    yield from _conditions(status)
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    uid = document["metadata"].get("uid")
    sets = [
        each
        for each in _related(server, REPLICA_SET, document, labels)
        if any(owner.get("uid") == uid for owner in each["metadata"].get("ownerReferences") or ())
    ]
    rows = [
        [
            each["metadata"]["name"],
            each.get("spec", {}).get("replicas", 0),
            each.get("status", {}).get("readyReplicas", 0),
            (each["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", ""),
        ]
        for each in sets
    ]
    yield from _table("Replica sets", ["NAME", "WANTED", "READY", "REVISION"], rows)


def _generic(document: Document) -> Iterator[str]:
    """Everything else in full, as YAML, without what is only the server's book-keeping."""
    import yaml

    body = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "metadata")}
    if body:
        dumped = yaml.dump(body, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, allow_unicode=True)
        yield from dumped.rstrip("\n").split("\n")


def _conditions(status: Document) -> Iterator[str]:
    rows = [
        [each["type"], each["status"], each.get("reason") or "-", each.get("message") or "-"]
        for each in status.get("conditions") or ()
    ]
    yield from _table("Conditions", ["TYPE", "STATUS", "REASON", "MESSAGE"], rows)


def _events(server: Connection, document: Document) -> Iterator[str]:
    metadata = document["metadata"]
    fields = f"involvedObject.kind={document['kind']},involvedObject.name={metadata['name']}"
    try:
        found = server.get(CORE_EVENT.path(metadata.get("namespace", "")), {"fieldSelector": fields}).get("items") or []
    except Refused:
        return
    # Nodes are known to events by their name, all else by uid.
    mine = [each for each in found if each["involvedObject"].get("uid") in (None, "", metadata.get("uid"), metadata["name"])]
    mine.sort(key=_last_seen)
    rows = [
        [
            each.get("type", ""),
            each.get("reason", ""),
            _age(_last_seen(each)),
            each.get("count") or 1,
            (each.get("source") or {}).get("component") or each.get("reportingComponent", ""),
            each.get("message", "").strip(),
        ]
        for each in mine
    ]
    yield from _table("Events", ["TYPE", "REASON", "AGE", "TIMES", "FROM", "MESSAGE"], rows)


def _last_seen(event: Document) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )


def _age(text: str) -> str:
    """'4s', '3m', '2h', '5d' since an RFC 3339 time; '' when there is none."""
    if not text:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def _related(server: Connection, kind: Any, document: Document, labels: str) -> list[Document]:
    query = {"labelSelector": labels} if labels else {}
    return server.get(kind.path(document["metadata"].get("namespace", "")), query).get("items") or []


def _pairs(*pairs: tuple[str, Any]) -> Iterator[str]:
    """One line each for what is there."""
    for title, value in pairs:
        if value not in ("", None):
            yield f"{title + ':':<25}{value}"


def _map(title: str, values: dict[str, str] | None) -> Iterator[str]:
    lines = [f"{key}={value}" for key, value in (values or {}).items()] or ["<none>"]
    for index, line in enumerate(lines):
        yield f"{title + ':' if not index else '':<25}{line}"


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    if rows:
        yield f"{title}:"
        yield from (f"  {line}" for line in output.columns(header, rows).split("\n"))
