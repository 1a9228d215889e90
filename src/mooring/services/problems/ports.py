"""Do the Service's ports lead to ports that the pods have?"""

from collections.abc import Callable, Iterator

from mooring.endpoints.pods import serving_containers, target_number
from mooring.model.service import ServicePortSpec
from mooring.services.problems.problem import Case, Document, Problem, Severity
from mooring.services.problems.words import have, listing, pod_names

EPHEMERAL = range(32768, 61000)
"""Linux's default net.ipv4.ip_local_port_range."""

Declared = tuple[str, int, str]
"""(name, number, protocol) of a container's port."""


def target_ports(case: Case) -> Iterator[Problem]:
    """A named targetPort that the pods do not have, or a numbered one that they do not speak of."""
    pods = [pod for pod in case.pods if not _has_ended(pod)] if case.selects else []
    if not pods:
        return
    declared = {each: None for pod in pods for each in declared_ports(pod)}
    for place, port in enumerate(case.service.spec.ports or ()):
        field = f"spec.ports[{place}].targetPort"
        if isinstance(port.target_port, str):
            yield from _named(case, field, port, pods, list(declared))
        elif declared:
            yield from _numbered(case, field, port, list(declared))


def _has_ended(pod: Document) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def declared_ports(pod: Document) -> Iterator[Declared]:
    for container in serving_containers(pod.get("spec") or {}):
        for each in container.get("ports") or ():
            yield each.get("name") or "", each["containerPort"], each.get("protocol") or "TCP"


def _named(case: Case, field: str, port: ServicePortSpec, pods: list[Document], declared: list[Declared]) -> Iterator[Problem]:
    spec = {"port": port.port, "targetPort": port.target_port, "protocol": port.protocol}
    lacking = [pod for pod in pods if not target_number(spec, pod)]
    if not lacking:
        return
    other = next((each for each in declared if each[0] == port.target_port and each[2] != port.protocol), None)
    names = [f"{name} ({number}/{protocol})" for name, number, protocol in declared if name]
    if other:
        known = f"they have {port.target_port} for {other[2]}, while the Service's port is {port.protocol}"
        fix = f"set the Service port's protocol to {other[2]}, or declare {port.target_port} for {port.protocol} in the pods"
    elif names:
        known = f"theirs are {listing(names)}"
        fix = f"name one of them in {field}, or name the right container port {port.target_port}"
    else:
        known = "they name none"
        fix = f"name the container port {port.target_port} in the pods' spec, or write its number in {field}"
    whose = "the pods have" if len(lacking) == len(pods) else f"{pod_names(lacking)} {have(lacking)}"
    sentence = f"{whose} no {port.protocol} port named {port.target_port}: {known}"
    severity = Severity.BROKEN if len(lacking) == len(pods) else Severity.WARNING
    yield case.problem("TargetPortNotFound", severity, field, sentence, fix)


def _numbered(case: Case, field: str, port: ServicePortSpec, declared: list[Declared]) -> Iterator[Problem]:
    """A hint only: what a container declares is information, what it listens on is a fact that nobody here knows."""
    number = port.target_port or port.port
    if any((each[1], each[2]) == (number, port.protocol) for each in declared):
        return
    others = listing(sorted({f"{each[1]}/{each[2]}" for each in declared}))
    sentence = f"no container of the pods declares {number}/{port.protocol}; they declare {others}"
    fix = f"correct {field} if nothing listens on {number}; else declare the port, so that people know"
    yield case.problem("TargetPortNotDeclared", Severity.WARNING, field, sentence, fix)


def shared_numbers(case: Case) -> Iterator[Problem]:
    """Upstream issue 39188: the merge key of ports is the number alone."""
    numbers: dict[int, list[str]] = {}
    for port in case.service.spec.ports or ():
        numbers.setdefault(port.port, []).append(port.protocol)
    for number, protocols in numbers.items():
        if len(protocols) > 1:
            sentence = (
                f"port {number} is there for {listing(protocols)}; `kubectl apply` and strategic merge patches tell ports "
                "apart by number alone, and can lose one of them"
            )
            fix = (
                "change it with `kubectl replace` or a JSON patch, or `kubectl apply --server-side` where the server knows that"
            )
            yield case.problem("SharedPortNumber", Severity.NOTE, "spec.ports", sentence, fix)


def ephemeral_node_ports(case: Case) -> Iterator[Problem]:
    spec = case.service.spec
    numbers = {f"spec.ports[{place}].nodePort": port.node_port for place, port in enumerate(spec.ports or ())}
    numbers["spec.healthCheckNodePort"] = spec.health_check_node_port
    for field, number in numbers.items():
        if number in EPHEMERAL:
            sentence = (
                f"{number} is one of the ports that Linux gives to clients by default (32768-60999): a connection that a node "
                "opens itself may take it, and then one of the two is lost"
            )
            fix = "choose a node port below 32768, or reserve it on the nodes with net.ipv4.ip_local_reserved_ports"
            yield case.problem("NodePortInEphemeralRange", Severity.WARNING, field, sentence, fix)


CHECKS: tuple[Callable[[Case], Iterator[Problem]], ...] = (target_ports, shared_numbers, ephemeral_node_ports)
