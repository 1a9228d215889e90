"""What do a pod's environment and volumes draw on? Other objects, the pod's own fields, the node's facts."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct

from mooring.model.pod import Container, Pod, ResourceFieldRef
from mooring.pods.quantity import parse, whole

Document = dict[str, Any]


class Missing(Exception):
    """An object, or a key of one, that the pod needs is not there. The text is upstream's."""


class Facts(Struct, frozen=True):
    """Where the pod runs and what it may read. `objects` maps ('ConfigMap' or 'Secret', name) to the document, None if absent.

    `allocatable` is the node's, for limits that are not set; `services` those of the pod's namespace and default/kubernetes.
    """

    node_name: str
    host_ips: tuple[str, ...]
    pod_ips: tuple[str, ...]
    objects: Mapping[tuple[str, str], Document | None] = {}
    services: tuple[Document, ...] = ()
    allocatable: Mapping[str, str] = {}


def references(pod: Pod) -> set[tuple[str, str]]:
    """('ConfigMap' or 'Secret', name) of every object that the pod's volumes and environment name."""
    found = set(_of_volumes(pod))
    for container in (*pod.containers, *pod.ephemeral_containers):
        for source in container.env_from or ():
            found |= {("ConfigMap", source.config_map_ref.name)} if source.config_map_ref else set()
            found |= {("Secret", source.secret_ref.name)} if source.secret_ref else set()
        for variable in container.env or ():
            given = variable.value_from
            if given and given.config_map_key_ref:
                found.add(("ConfigMap", given.config_map_key_ref.name))
            if given and given.secret_key_ref:
                found.add(("Secret", given.secret_key_ref.name))
    return {reference for reference in found if reference[1]}


def _of_volumes(pod: Pod) -> Iterator[tuple[str, str]]:
    for volume in pod.spec.volumes or ():
        for source in ((volume.get("projected") or {}).get("sources") or []) + [volume]:
            if source.get("configMap"):
                yield "ConfigMap", source["configMap"].get("name", "")
            if source.get("secret"):
                yield "Secret", source["secret"].get("secretName") or source["secret"].get("name", "")


def field(pod: Pod, path: str, facts: Facts) -> str:
    """A downward-API field (fieldRef.fieldPath). Raises Missing for a path that is none."""
    meta = pod.metadata
    plain = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": next(iter(facts.host_ips), ""),
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": next(iter(facts.pod_ips), ""),
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path in plain:
        return plain[path]
    for name, values in (("labels", meta.labels or {}), ("annotations", meta.annotations or {})):
        if path == f"metadata.{name}":
            return "\n".join(f"{key}={_quoted(values[key])}" for key in sorted(values))
        if path.startswith(f"metadata.{name}['") and path.endswith("']"):
            return values.get(path[len(f"metadata.{name}['") : -2], "")
    raise Missing(f"field label not supported: {path}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def named(containers: Iterable[Container], name: str) -> Container:
    """The container that a reference names. Raises Missing."""
    for one in containers:
        if one.name == name:
            return one
    raise Missing(f"container {name} not found")


def resource(container: Container, ref: ResourceFieldRef, facts: Facts) -> str:
    """A resource field such as limits.cpu in units of the divisor; a limit that is not set is what the node can give."""
    section, _, name = ref.resource.partition(".")
    given = (container.resources.limits if section == "limits" else container.resources.requests) or {}
    value = given.get(name)
    if value is None and section == "requests":
        value = (container.resources.limits or {}).get(name, 0)
    if value is None:
        value = facts.allocatable.get(name, 0)
    divisor = parse(ref.divisor) if ref.divisor not in (None, "", "0", 0) else Decimal(1)
    return str(whole(parse(value), divisor))
