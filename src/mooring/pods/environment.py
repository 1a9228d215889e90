"""Which environment does a container get? (docs: "Define Environment Variables"; third_party/forked/golang/expansion)

Later wins: envFrom in order, then env in order; service variables fill only names that are still free.
"""

import base64
from collections import ChainMap
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from mooring.model.pod import Container, EnvVar, KeySelector, Pod
from mooring.pods.sources import Document, Facts, Missing, field, named, resource

MOST = 6 << 20
"""What the kernel takes of arguments and environment together at the very most (man 2 execve): variables that name each other
twice grow without end otherwise, and the node with them."""


def environment(pod: Pod, container: Container, facts: Facts) -> dict[str, str]:
    """All variables. Raises Missing when a required object or key is not there."""
    services = service_variables(facts.services, pod.metadata.namespace, pod.spec.enable_service_links is not False)
    result, size = _from_sources(pod, container, facts), 0
    for variable in container.env or ():
        value = _value(pod, container, variable, facts, ChainMap(result, services))
        if value is not None:
            result[variable.name] = value
            size = _grown(size, value)
    for name, value in services.items():
        result.setdefault(name, value)
    return result


def _from_sources(pod: Pod, container: Container, facts: Facts) -> dict[str, str]:
    result: dict[str, str] = {}
    for source in container.env_from or ():
        for kind, ref in (("ConfigMap", source.config_map_ref), ("Secret", source.secret_ref)):
            if ref is None:
                continue
            document = facts.objects.get((kind, ref.name))
            if document is None and not ref.optional:
                raise Missing(f'{kind.lower()} "{ref.name}" not found')
            for key, value in texts(kind, document or {}).items():
                if (name := source.prefix + key).isprintable() and "=" not in name:
                    result[name] = value
    return result


def _value(pod: Pod, container: Container, variable: EnvVar, facts: Facts, known: Mapping[str, str]) -> str | None:
    """None for an optional key that is absent: the variable is then not set."""
    given = variable.value_from
    if given is None:
        return expand(variable.value, known)
    if given.field_ref:
        return field(pod, given.field_ref.field_path, facts)
    if given.resource_field_ref:
        wanted = given.resource_field_ref.container_name or container.name
        return resource(named((container, *pod.containers), wanted), given.resource_field_ref, facts)
    if given.config_map_key_ref:
        return _key(pod, "ConfigMap", given.config_map_key_ref, facts)
    if given.secret_key_ref:
        return _key(pod, "Secret", given.secret_key_ref, facts)
    return ""


def _key(pod: Pod, kind: str, selector: KeySelector, facts: Facts) -> str | None:
    document = facts.objects.get((kind, selector.name))
    if document is None:
        if selector.optional:
            return None
        raise Missing(f'{kind.lower()} "{selector.name}" not found')
    found = texts(kind, document).get(selector.key)
    if found is None and not selector.optional:
        raise Missing(f"couldn't find key {selector.key} in {kind} {pod.metadata.namespace}/{selector.name}")
    return found


def texts(kind: str, document: Document) -> dict[str, str]:
    """The data of a ConfigMap, or of a Secret decoded, as text."""
    data = document.get("data") or {}
    if kind == "Secret":
        return {key: base64.b64decode(value or "").decode(errors="replace") for key, value in data.items()}
    return dict(data)


def words(texts: Iterable[str], known: Mapping[str, str]) -> tuple[str, ...]:
    """A command or its arguments, expanded. Raises Missing when they are too long for any kernel."""
    found, size = [], 0
    for text in texts:
        found.append(expand(text, known))
        size = _grown(size, found[-1])
    return tuple(found)


def _grown(size: int, text: str) -> int:
    if size + len(text) > MOST:
        raise Missing("argument list too long")
    return size + len(text)


def expand(text: str, known: Mapping[str, str]) -> str:
    """$(NAME) becomes its value, $$ one $, and what is unknown stays as it is. Raises Missing when that grows too long."""
    out, at, size, last = [], 0, 0, text.rfind(")")
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        out.append(text[at:dollar])
        follows = text[dollar + 1]
        if follows == "(" and dollar < last:
            end = text.find(")", dollar)
            name = text[dollar + 2 : end]
            out.append(known.get(name, f"$({name})"))
            size = _grown(size, out[-1])
            at = end + 1
        else:
            out.append("$" if follows == "$" else "$" + follows)
            at = dollar + 2
    return "".join(out) + text[at:]


def service_variables(services: Iterable[Document], namespace: str, links: bool) -> dict[str, str]:
    """{SVC}_SERVICE_HOST and kin of each Service with a cluster IP in the namespace, and always of default/kubernetes."""
    result: dict[str, str] = {}
    for service in services:
        meta, spec = service["metadata"], service.get("spec") or {}
        master = (meta.get("namespace"), meta["name"]) == ("default", "kubernetes")
        if not master and not (links and meta.get("namespace") == namespace):
            continue
        if spec.get("clusterIP") in (None, "", "None") or not spec.get("ports"):
            continue
        result |= _variables(meta["name"].upper().replace("-", "_"), spec["clusterIP"], spec["ports"])
    return result


def _variables(name: str, address: str, ports: list[Document]) -> dict[str, str]:
    first = ports[0]
    result = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(first["port"])}
    for port in ports:
        if port.get("name"):
            result[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
    host = f"[{address}]" if ip_address(address).version == 6 else address
    for port in ports:
        protocol, number = port.get("protocol", "TCP"), port["port"]
        url = f"{protocol.lower()}://{host}:{number}"
        prefix = f"{name}_PORT_{number}_{protocol}"
        if port is first:
            result[f"{name}_PORT"] = url
        result |= {prefix: url, f"{prefix}_PROTO": protocol.lower(), f"{prefix}_PORT": str(number), f"{prefix}_ADDR": address}
    return result
