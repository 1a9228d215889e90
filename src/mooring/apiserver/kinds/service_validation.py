"""Which Services are refused, and in which words?

Source: ValidateService and its neighbours in k8s.io/kubernetes/pkg/apis/core/validation, at 1.37 (names are DNS-1123 labels
since RelaxedServiceNameValidation is GA). Rules that need the cluster's ranges are in service_allocation.py.
"""

from collections.abc import Sequence

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.metadata import check_labels
from mooring.apiserver.kinds.problems import duplicate, each, forbidden, invalid, required, unsupported
from mooring.apiserver.kinds.service_defaults import (
    CLUSTER_IP_TYPES,
    Spec,
    externally_accessible,
    is_headless,
    needs_health_check_port,
)
from mooring.apiserver.strategy import Document, FieldError

TYPES = frozenset({"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"})
PROTOCOLS = frozenset({"TCP", "UDP", "SCTP"})
FAMILIES = ("IPv4", "IPv6")
FAMILY_POLICIES = frozenset({"SingleStack", "PreferDualStack", "RequireDualStack"})
AFFINITIES = frozenset({"None", "ClientIP"})
TRAFFIC_POLICIES = frozenset({"Cluster", "Local"})
DISTRIBUTIONS = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"})
MAX_AFFINITY_SECONDS = 86400
KUBELET_PORT = 10250

SOURCE_RANGES_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
TOPOLOGY_MODE_ANNOTATION = "service.kubernetes.io/topology-mode"
TOPOLOGY_HINTS_ANNOTATION = "service.kubernetes.io/topology-aware-hints"
FIXED = "may not change once set"


def check_service(document: Document, old: Document | None) -> list[FieldError]:
    """Every rule of the spec that needs nothing but the document and its predecessor."""
    spec: Spec = document["spec"]
    before: Spec = (old or {}).get("spec") or {}
    found = _check_topology_annotations(document["metadata"].get("annotations") or {})
    if not spec.get("ports") and not is_headless(spec) and spec["type"] != "ExternalName":
        found.append(required("spec.ports"))
    found += _check_type(spec)
    found += _check_ports(spec)
    if selector := spec.get("selector"):
        found += check_labels(selector, "spec.selector")
    found += _check_affinity(spec)
    found += _check_cluster_ips(spec, before)
    found += _check_external_ips(spec, before)
    if spec["type"] not in TYPES:
        found.append(unsupported("spec.type", spec["type"], TYPES))
    found += _check_node_ports(spec)
    found += _check_load_balancer(document, old)
    found += _check_traffic(spec)
    if old is not None:
        found += _check_family_changes(spec, before)
        found += _check_health_check_port_change(spec, before)
    return found


def _check_topology_annotations(annotations: dict[str, str]) -> list[FieldError]:
    hints, mode = annotations.get(TOPOLOGY_HINTS_ANNOTATION), annotations.get(TOPOLOGY_MODE_ANNOTATION)
    if hints is None or mode is None or hints == mode:
        return []
    words = f"must match annotations[{TOPOLOGY_HINTS_ANNOTATION}] when both are specified"
    return [invalid(f"metadata.annotations[{TOPOLOGY_MODE_ANNOTATION}]", mode, words)]


def _check_type(spec: Spec) -> list[FieldError]:
    found = []
    match spec["type"]:
        case "LoadBalancer":
            for place, port in enumerate(spec.get("ports") or ()):
                if port.get("port") == KUBELET_PORT:
                    words = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
                    found.append(invalid(f"spec.ports[{place}]", KUBELET_PORT, words))
            if is_headless(spec):
                found.append(invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for LoadBalancer services"))
        case "NodePort" if is_headless(spec):
            found.append(invalid("spec.clusterIPs[0]", "None", "may not be set to 'None' for NodePort services"))
        case "ExternalName":
            for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if spec.get(name) or (name == "clusterIPs" and spec.get("clusterIP")):
                    found.append(forbidden(f"spec.{name}", "may not be set for ExternalName services"))
            name = spec.get("externalName", "").removesuffix(".")
            found += each("spec.externalName", name, formats.subdomain(name)) if name else [required("spec.externalName")]
    return found


def _check_ports(spec: Spec) -> list[FieldError]:
    found: list[FieldError] = []
    ports = spec.get("ports") or ()
    names: set[str] = set()
    for place, port in enumerate(ports):
        field, name = f"spec.ports[{place}]", port.get("name", "")
        if name:
            found += each(f"{field}.name", name, formats.label(name))
            if name in names:
                found.append(duplicate(f"{field}.name", name))
            names.add(name)
        elif len(ports) > 1:
            found.append(required(f"{field}.name"))
        number = port.get("port", 0)
        if words := formats.port_number(number):
            found += each(f"{field}.port", number, words)
        if port["protocol"] not in PROTOCOLS:
            found.append(unsupported(f"{field}.protocol", port["protocol"], PROTOCOLS))
        target = port.get("targetPort", number)
        if words := formats.port_number_or_name(target):
            found += each(f"{field}.targetPort", target, words)
        if (application := port.get("appProtocol")) is not None:
            found += each(f"{field}.appProtocol", application, formats.qualified_name(application))
    return found


def _check_affinity(spec: Spec) -> list[FieldError]:
    affinity = spec["sessionAffinity"]
    if affinity not in AFFINITIES:
        return [unsupported("spec.sessionAffinity", affinity, AFFINITIES)]
    if affinity == "None":
        if spec.get("sessionAffinityConfig"):
            return [forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")]
        return []
    seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
    if 0 < seconds <= MAX_AFFINITY_SECONDS:
        return []
    words = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
    return [invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, words)]


def _check_cluster_ips(spec: Spec, before: Spec) -> list[FieldError]:
    if spec["type"] == "ExternalName":
        return []
    found = _check_families(spec)
    addresses: list[str] = spec.get("clusterIPs") or []
    if not addresses:
        return found
    if not spec.get("clusterIP"):
        found.append(invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified"))
    elif addresses[0] != spec["clusterIP"]:
        found.append(invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    if len(addresses) > 2:
        found.append(invalid("spec.clusterIPs", addresses, "may only hold up to 2 values"))
    known = before.get("clusterIPs") or ()
    broken = False
    for place, address in enumerate(addresses):
        if address == "None" and place == 0:
            if len(addresses) > 1:
                found.append(invalid("spec.clusterIPs", addresses, "'None' must be the first and only value"))
                broken = True
            continue
        words = formats.loose_ip(address) if address in known else formats.ip(address)
        found += each(f"spec.clusterIPs[{place}]", address, words)
        broken |= bool(words)
    if broken:
        return found
    versions = [address.version for address in map(formats.parse_ip, addresses) if address is not None]
    if len(set(versions)) < len(versions):
        found.append(invalid("spec.clusterIPs", addresses, "may specify no more than one IP for each IP family"))
    if not is_headless(spec):
        found += _check_family_match(addresses, spec.get("ipFamilies") or ())
    return found


def _check_families(spec: Spec) -> list[FieldError]:
    found = []
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in FAMILY_POLICIES:
        found.append(unsupported("spec.ipFamilyPolicy", policy, FAMILY_POLICIES))
    seen: set[str] = set()
    for place, family in enumerate(spec.get("ipFamilies") or ()):
        if family not in FAMILIES:
            found.append(unsupported(f"spec.ipFamilies[{place}]", family, FAMILIES))
        if family in seen:
            found.append(duplicate(f"spec.ipFamilies[{place}]", family))
        seen.add(family)
    return found


def _check_family_match(addresses: Sequence[str], families: Sequence[str]) -> list[FieldError]:
    found = []
    for place, (text, family) in enumerate(zip(addresses, families, strict=False)):
        address = formats.parse_ip(text)
        if address and f"IPv{address.version}" != family and family in FAMILIES:
            words = f"expected an {family} value as indicated by `ipFamilies[{place}]`"
            found.append(invalid(f"spec.clusterIPs[{place}]", text, words))
    return found


def _check_external_ips(spec: Spec, before: Spec) -> list[FieldError]:
    found: list[FieldError] = []
    known = before.get("externalIPs") or ()
    for place, address in enumerate(spec.get("externalIPs") or ()):
        words = formats.loose_ip(address) if address in known else formats.ip(address)
        found += each(f"spec.externalIPs[{place}]", address, words or formats.special_ip(address))
    return found


def _check_node_ports(spec: Spec) -> list[FieldError]:
    found = []
    ports = spec.get("ports") or ()
    if spec["type"] == "ClusterIP":
        found += [
            forbidden(f"spec.ports[{place}].nodePort", "may not be used when `type` is 'ClusterIP'")
            for place, port in enumerate(ports)
            if port.get("nodePort")
        ]
    seen_node_ports: set[tuple[str, int]] = set()
    seen_ports: set[tuple[str, int]] = set()
    for place, port in enumerate(ports):
        protocol = port["protocol"]
        if number := port.get("nodePort"):
            if (protocol, number) in seen_node_ports:
                found.append(duplicate(f"spec.ports[{place}].nodePort", number))
            seen_node_ports.add((protocol, number))
        if (protocol, port.get("port", 0)) in seen_ports:
            found.append(duplicate(f"spec.ports[{place}]", {"port": port.get("port", 0), "protocol": protocol}))
        seen_ports.add((protocol, port.get("port", 0)))
    return found


def _check_load_balancer(document: Document, old: Document | None) -> list[FieldError]:
    spec: Spec = document["spec"]
    balancer = spec["type"] == "LoadBalancer"
    found = _check_source_ranges(document, old)
    only = "may only be used when `type` is 'LoadBalancer'"
    if "allocateLoadBalancerNodePorts" in spec and not balancer:
        found.append(forbidden("spec.allocateLoadBalancerNodePorts", only))
    before: Spec = (old or {}).get("spec") or {}
    chosen = spec.get("loadBalancerClass")
    if balancer and before.get("type") == "LoadBalancer" and before.get("loadBalancerClass") != chosen:
        found.append(invalid("spec.loadBalancerClass", chosen, FIXED))
    if chosen is not None:
        if balancer:
            found += each("spec.loadBalancerClass", chosen, formats.qualified_name(chosen))
        else:
            found.append(forbidden("spec.loadBalancerClass", only))
    return found


def _check_source_ranges(document: Document, old: Document | None) -> list[FieldError]:
    """The field, else the annotation it replaced. Values may be padded; those that stood before may be loosely written."""
    found: list[FieldError] = []
    ranges: list[str] = document["spec"].get("loadBalancerSourceRanges") or []
    if ranges:
        field = "spec.LoadBalancerSourceRanges"  # in upstream's spelling
        before = ((old or {}).get("spec") or {}).get("loadBalancerSourceRanges") or ()
        places = [f"{field}[{place}]" for place in range(len(ranges))]
    else:
        field = f"metadata.annotations[{SOURCE_RANGES_ANNOTATION}]"
        text = _source_ranges_annotation(document)
        if text is None:
            return []
        ranges = text.split(",") if text.strip() else []
        before = (_source_ranges_annotation(old) or "").split(",") if old else ()
        places = [field] * len(ranges)
    if document["spec"]["type"] != "LoadBalancer":
        found.append(forbidden(field, "may only be used when `type` is 'LoadBalancer'"))
    known = {text.strip() for text in before}
    for place, text in zip(places, map(str.strip, ranges), strict=True):
        found += each(place, text, formats.loose_cidr(text) if text in known else formats.cidr(text))
    return found


def _source_ranges_annotation(document: Document) -> str | None:
    return (document["metadata"].get("annotations") or {}).get(SOURCE_RANGES_ANNOTATION)


def _check_traffic(spec: Spec) -> list[FieldError]:
    found = []
    external = spec.get("externalTrafficPolicy", "")
    if not externally_accessible(spec):
        if external:
            words = "may only be set for externally-accessible services"
            found.append(invalid("spec.externalTrafficPolicy", external, words))
    elif external not in TRAFFIC_POLICIES:
        found.append(unsupported("spec.externalTrafficPolicy", external, TRAFFIC_POLICIES))
    if number := spec.get("healthCheckNodePort", 0):
        if needs_health_check_port(spec):
            found += each("spec.healthCheckNodePort", number, formats.port_number(number))
        else:
            words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            found.append(invalid("spec.healthCheckNodePort", number, words))
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if spec["type"] in CLUSTER_IP_TYPES:
            found.append(required("spec.internalTrafficPolicy"))
    elif internal not in TRAFFIC_POLICIES:
        found.append(unsupported("spec.internalTrafficPolicy", internal, TRAFFIC_POLICIES))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        found.append(unsupported("spec.trafficDistribution", distribution, DISTRIBUTIONS))
    return found


# Changes ----------------------------------------------------------------------------------------------------------------


def _check_family_changes(spec: Spec, before: Spec) -> list[FieldError]:
    """Addresses and families may be added or dropped at the second place; the first stands until ExternalName."""
    if "ExternalName" in (spec["type"], before.get("type")) or (is_headless(spec) and is_headless(before)):
        return []
    found = _check_dual_change(spec, before, "clusterIPs", "clusterIP", "cluster IP")
    if is_headless(spec) == is_headless(before):
        found += _check_dual_change(spec, before, "ipFamilies", "ipFamily", "IP family")
    return found


def _check_dual_change(spec: Spec, before: Spec, name: str, word: str, plain: str) -> list[FieldError]:
    field, new, old = f"spec.{name}", spec.get(name) or [], before.get(name) or []
    policy = spec.get("ipFamilyPolicy")
    if not old:
        return []
    if not new:
        return [invalid(f"{field}[0]", new, f"primary {word} can not be unset")]
    if new[0] != old[0]:
        return [invalid(f"{field}[0]", new, FIXED)]
    if len(new) == len(old) == 2 and new[1] != old[1]:
        place = 1 if name == "clusterIPs" else 0  # as upstream counts
        return [invalid(f"{field}[{place}]", new, FIXED)]
    if len(old) == 2 and len(new) == 1 and policy != "SingleStack":
        words = f"must be 'SingleStack' to release the secondary {plain}"
        return [invalid("spec.ipFamilyPolicy", policy, words)]
    return []


def _check_health_check_port_change(spec: Spec, before: Spec) -> list[FieldError]:
    if not needs_health_check_port(spec) or not needs_health_check_port(before):
        return []
    old, new = before.get("healthCheckNodePort", 0), spec.get("healthCheckNodePort", 0)
    return [forbidden("spec.healthCheckNodePort", "field is immutable")] if old and new != old else []
