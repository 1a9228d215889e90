"""Which containers are refused, and in which words? Source: validateContainers of k8s.io/kubernetes/pkg/apis/core."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.problems import duplicate, each, forbidden, invalid, not_found, required, unsupported
from mooring.apiserver.strategy import FieldError

Spec = dict[str, Any]

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("SCTP", "TCP", "UDP")
SCHEMES = ("HTTP", "HTTPS")
RESIZABLE = ("cpu", "memory")
RESIZE_POLICIES = ("NotRequired", "RestartContainer")
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
SOURCE_FIELDS = frozenset({
    "metadata.name", "metadata.namespace", "metadata.uid", "metadata.labels", "metadata.annotations", "spec.nodeName",
    "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
})  # fmt: skip


def check_container(container: Spec, field: str, volumes: set[str], names: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    name = container.get("name", "")
    if not name:
        found.append(required(f"{field}.name"))
    else:
        found += each(f"{field}.name", name, formats.label(name))
        if name in names:
            found.append(duplicate(f"{field}.name", name))
        names.add(name)
    image = container.get("image", "")
    if not image:
        found.append(required(f"{field}.image"))
    elif image.strip() != image:
        found.append(invalid(f"{field}.image", image, "must not have leading or trailing whitespace"))
    if container.get("imagePullPolicy") not in PULL_POLICIES:
        found.append(unsupported(f"{field}.imagePullPolicy", container.get("imagePullPolicy"), PULL_POLICIES))
    if container.get("terminationMessagePolicy") not in MESSAGE_POLICIES:
        policy = container.get("terminationMessagePolicy")
        found.append(unsupported(f"{field}.terminationMessagePolicy", policy, MESSAGE_POLICIES))
    found += _check_ports(container.get("ports") or (), f"{field}.ports")
    found += _check_environment(container, field)
    found += _check_mounts(container.get("volumeMounts") or (), f"{field}.volumeMounts", volumes)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            found += _check_probe(container[probe], f"{field}.{probe}", once=probe != "readinessProbe")
    for hook in ("postStart", "preStop"):
        if handler := (container.get("lifecycle") or {}).get(hook):
            found += _check_handler(handler, f"{field}.lifecycle.{hook}")
    return found + _check_resources(container.get("resources") or {}, f"{field}.resources")


def check_resize_policies(container: Spec, field: str, restart_policy: str) -> list[FieldError]:
    """`restart_policy`: the pod's."""
    found: list[FieldError] = []
    here, names = f"{field}.resizePolicy", set[str]()
    for place, policy in enumerate(container.get("resizePolicy") or ()):
        name, wanted = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if name in names:
            found.append(duplicate(f"{here}[{place}]", name))
        names.add(name)
        for value, known in ((name, RESIZABLE), (wanted, RESIZE_POLICIES)):
            if not value:
                found.append(required(here))
            elif value not in known:
                found.append(unsupported(here, value, known))
        if restart_policy == "Never" and wanted != "NotRequired":
            found.append(invalid(here, wanted, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
    return found


def check_init(container: Spec, field: str) -> list[FieldError]:
    """Probes and hooks belong to init containers only when they stay, as sidecars (restartPolicy Always)."""
    policy = container.get("restartPolicy")
    if policy == "Always":
        return []
    if policy is not None:
        return [unsupported(f"{field}.restartPolicy", policy, ("Always",))]
    words = "may not be set for init containers without restartPolicy=Always"
    names = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
    return [forbidden(f"{field}.{name}", words) for name in names if container.get(name)]


def _check_ports(ports: Sequence[Spec], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    names: set[str] = set()
    for place, port in enumerate(ports):
        here = f"{field}[{place}]"
        if name := port.get("name"):
            words = formats.port_name(name)
            found += each(f"{here}.name", name, words)
            if name in names:
                found.append(duplicate(f"{here}.name", name))
            names.add(name)
        number, host = port.get("containerPort", 0), port.get("hostPort", 0)
        if number == 0:
            found.append(required(f"{here}.containerPort"))
        else:
            found += each(f"{here}.containerPort", number, formats.port_number(number))
        if host:
            found += each(f"{here}.hostPort", host, formats.port_number(host))
        if port.get("protocol") not in PROTOCOLS:
            found.append(unsupported(f"{here}.protocol", port.get("protocol"), PROTOCOLS))
    return found


def check_host_ports(spec: Spec, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[str] = set()
    for place, container in enumerate(spec.get("containers") or ()):
        for at, port in enumerate(container.get("ports") or ()):
            here, host = f"{field}.containers[{place}].ports[{at}]", port.get("hostPort", 0)
            if spec.get("hostNetwork") and host != port.get("containerPort"):
                words = "must match `hostPort` when `hostNetwork` is true"
                found.append(invalid(f"{here}.containerPort", port.get("containerPort", 0), words))
            if not host:
                continue
            key = f"{port.get('protocol')}/{port.get('hostIP', '')}/{host}"
            if key in seen:
                found.append(duplicate(f"{here}.hostPort", key))
            seen.add(key)
    return found


def _check_environment(container: Spec, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for place, variable in enumerate(container.get("env") or ()):
        here, name = f"{field}.env[{place}]", variable.get("name", "")
        found += each(f"{here}.name", name, formats.environment_name(name)) if name else [required(f"{here}.name")]
        source = variable.get("valueFrom")
        if source is None:
            continue
        if variable.get("value"):
            found.append(invalid(f"{here}.valueFrom", "", "may not be specified when `value` is not empty"))
        if len(source) != 1:
            words = "may not have more than one field specified at a time" if source else "must specify one of: `fieldRef`, " \
                "`resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"  # fmt: skip
            found.append(invalid(f"{here}.valueFrom", "", words))
        if reference := source.get("fieldRef"):
            found += _check_field_reference(reference, f"{here}.valueFrom.fieldRef")
        for kind in ("configMapKeyRef", "secretKeyRef"):
            if kind in source and not source[kind].get("key"):
                found.append(required(f"{here}.valueFrom.{kind}.key"))
    return found


def _check_field_reference(reference: Spec, field: str) -> list[FieldError]:
    path = reference.get("fieldPath", "")
    if not path:
        return [required(f"{field}.fieldPath")]
    if path.partition("[")[0] not in SOURCE_FIELDS:
        return [unsupported(f"{field}.fieldPath", path, SOURCE_FIELDS - {"metadata.labels", "metadata.annotations"})]
    return []


def _check_mounts(mounts: Sequence[Spec], field: str, volumes: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    paths: set[str] = set()
    for place, mount in enumerate(mounts):
        here, name, path = f"{field}[{place}]", mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            found.append(required(f"{here}.name"))
        elif name not in volumes:
            found.append(not_found(f"{here}.name", name))
        if not path:
            found.append(required(f"{here}.mountPath"))
        if path in paths:
            found.append(invalid(f"{here}.mountPath", path, "must be unique"))
        paths.add(path)
        if ".." in mount.get("subPath", "").split("/"):
            found.append(invalid(f"{here}.subPath", mount["subPath"], "must not contain '..'"))
    return found


def _check_probe(probe: Spec, field: str, once: bool) -> list[FieldError]:
    found = _check_handler({name: value for name, value in probe.items() if name in HANDLERS}, field)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if probe.get(name, 0) < 0:
            found.append(invalid(f"{field}.{name}", probe[name], "must be greater than or equal to 0"))
    if once and probe.get("successThreshold", 1) != 1:
        found.append(invalid(f"{field}.successThreshold", probe["successThreshold"], "must be 1"))
    return found


def _check_handler(handler: Spec, field: str) -> list[FieldError]:
    kinds = [name for name in HANDLERS if name in handler]
    if not kinds:
        return [required(field, "must specify a handler type")]
    found = [forbidden(f"{field}.{name}", "may not specify more than 1 handler type") for name in kinds[1:]]
    action = handler[kinds[0]]
    match kinds[0]:
        case "exec":
            if not action.get("command"):
                found.append(required(f"{field}.exec.command"))
        case "httpGet" | "tcpSocket" as name:
            port = action.get("port", 0)
            found += each(f"{field}.{name}.port", port, formats.port_number_or_name(port))
            if name == "httpGet" and action.get("scheme") not in SCHEMES:
                found.append(unsupported(f"{field}.httpGet.scheme", action.get("scheme"), SCHEMES))
        case "grpc":
            found += each(f"{field}.grpc.port", action.get("port", 0), formats.port_number(action.get("port", 0)))
    return found


def _check_resources(resources: Mapping[str, Any], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for kind in ("limits", "requests"):
        for name, value in (resources.get(kind) or {}).items():
            here = f"{field}.{kind}[{name}]"
            found += each(here, name, formats.qualified_name(name))
            if str(value).startswith("-"):
                found.append(invalid(here, str(value), "must be greater than or equal to 0"))
    limits = resources.get("limits") or {}
    for name, asked in (resources.get("requests") or {}).items():
        if name in limits and amount(asked) > amount(limits[name]):
            words = f"must be less than or equal to {name} limit of {limits[name]}"
            found.append(invalid(f"{field}.requests", str(asked), words))
    return found


_FACTORS = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    unit + "i": float(1024**power) for power, unit in enumerate("KMGTPE", 1)
}


def amount(quantity: Any) -> float:
    """A quantity's size, near enough to compare; 0 for what is none."""
    split = re.fullmatch(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)([a-zA-Z]*)", str(quantity))
    return float(split[1]) * _FACTORS.get(split[2], 0.0) if split else 0.0
