"""What does a Service mean where its author said nothing?

Defaults (k8s.io/kubernetes/pkg/apis/core/v1/defaults.go), what a PUT that omits server-chosen fields keeps, and the fields a
change of type wipes. What depends on the cluster's ranges is decided at allocation
(service_allocation.py).
"""

from typing import Any

from mooring.apiserver.strategy import Document

Spec = dict[str, Any]

CLIENT_IP_TIMEOUT = 10800
EXTERNAL_TYPES = ("NodePort", "LoadBalancer")
CLUSTER_IP_TYPES = ("ClusterIP", "NodePort", "LoadBalancer")


def externally_accessible(spec: Spec) -> bool:
    """Reached from outside: NodePort, LoadBalancer, or ClusterIP with external IPs."""
    service_type = spec.get("type")
    return service_type in EXTERNAL_TYPES or (service_type == "ClusterIP" and bool(spec.get("externalIPs")))


def needs_health_check_port(spec: Spec) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def is_headless(spec: Spec) -> bool:
    return spec.get("clusterIP") == "None"


def wants_node_ports(spec: Spec) -> bool:
    """Whether ports without a node port get one."""
    service_type = spec.get("type")
    return service_type == "NodePort" or (service_type == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True))


def set_defaults(spec: Spec) -> None:
    spec.setdefault("type", "ClusterIP")
    if not spec["type"]:
        spec["type"] = "ClusterIP"
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", CLIENT_IP_TIMEOUT)
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    if externally_accessible(spec) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] in CLUSTER_IP_TYPES and not spec.get("internalTrafficPolicy"):
        spec["internalTrafficPolicy"] = "Cluster"
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    drop_empty(spec)


def drop_empty(spec: Spec) -> None:
    """Zero values of server-chosen fields read as absent, as Go's omitempty writes them."""
    for name in (
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "healthCheckNodePort",
        "externalTrafficPolicy",
        "loadBalancerSourceRanges",
    ):
        if name in spec and not spec[name]:
            del spec[name]
    for port in spec.get("ports") or ():
        for name in ("nodePort", "name"):
            if name in port and not port[name]:
                del port[name]


def default_ingress_mode(status: dict[str, Any]) -> None:
    for ingress in (status.get("loadBalancer") or {}).get("ingress") or ():
        if ingress.get("ip") and not ingress.get("ipMode"):
            ingress["ipMode"] = "VIP"


def normalize_cluster_ips(spec: Spec, old: Spec | None) -> None:
    """Keeps the singular and the plural of clusterIP in step for clients that know only one of them ."""
    single, plural = spec.get("clusterIP", ""), spec.get("clusterIPs") or []
    if old is None:
        if single and not plural:
            spec["clusterIPs"] = [single]
        return
    if old.get("clusterIP", "") == single:
        return
    if plural == (old.get("clusterIPs") or []):  # only the singular was touched
        if single:
            spec["clusterIPs"] = [single]
        else:
            spec.pop("clusterIPs", None)


def keep_allocated(spec: Spec, old: Spec) -> None:
    """A PUT without what the server had chosen keeps it: tools replace without reading first ."""
    if needs_cluster_ip(old) and needs_cluster_ip(spec):
        if not spec.get("clusterIP"):
            _set(spec, "clusterIP", old.get("clusterIP"))
        if not spec.get("clusterIPs") and old.get("clusterIPs") and spec.get("clusterIP") == old.get("clusterIP"):
            spec["clusterIPs"] = list(old["clusterIPs"])
    if needs_node_port(old) and wants_node_ports(spec):
        _keep_node_ports(spec, old)
    if needs_health_check_port(old) and needs_health_check_port(spec) and not spec.get("healthCheckNodePort"):
        _set(spec, "healthCheckNodePort", old.get("healthCheckNodePort"))


def _keep_node_ports(spec: Spec, old: Spec) -> None:
    used = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    before = {port.get("name", ""): port.get("nodePort") for port in old.get("ports") or ()}
    for port in spec.get("ports") or ():
        kept = before.get(port.get("name", ""))
        if kept and not port.get("nodePort") and kept not in used:
            port["nodePort"] = kept
            used.add(kept)


def needs_cluster_ip(spec: Spec) -> bool:
    return spec.get("type") in CLUSTER_IP_TYPES


def needs_node_port(spec: Spec) -> bool:
    """Node ports may stand: also when a LoadBalancer asked for none, those there stay until the user clears them."""
    return spec.get("type") in EXTERNAL_TYPES


def keep_families(spec: Spec, old: Spec) -> None:
    """Nil policy keeps the old; an unchanged second address goes when the policy becomes SingleStack ."""
    if not needs_cluster_ip(spec) or not needs_cluster_ip(old):
        return
    if "ipFamilyPolicy" not in spec:
        _set(spec, "ipFamilyPolicy", old.get("ipFamilyPolicy"))
    if "ipFamilies" not in spec:
        _set(spec, "ipFamilies", list(old.get("ipFamilies") or ()) or None)
    if spec.get("ipFamilyPolicy") == "SingleStack":
        for name in ("clusterIPs", "ipFamilies"):
            values = spec.get(name) or []
            if len(values) == 2 and values == old.get(name):
                spec[name] = values[:1]


def wipe_dependent(document: Document, old_document: Document) -> None:
    """Clears what the new type has no use for, but only what the user left as it was: a change is refused."""
    spec, old = document["spec"], old_document["spec"]
    if needs_cluster_ip(old) and not needs_cluster_ip(spec):
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            _wipe_unchanged(spec, old, name)
    if needs_node_port(old) and not needs_node_port(spec):
        _wipe_node_ports(spec, old)
    if needs_health_check_port(old) and not needs_health_check_port(spec):
        _wipe_unchanged(spec, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" != spec.get("type"):
        _wipe_unchanged(spec, old, "allocateLoadBalancerNodePorts")
        _wipe_unchanged(spec, old, "loadBalancerClass")
    if externally_accessible(old) and not externally_accessible(spec):
        _wipe_unchanged(spec, old, "externalTrafficPolicy")
    if old.get("sessionAffinity") == "ClientIP" and spec.get("sessionAffinity") != "ClientIP":
        _wipe_unchanged(spec, old, "sessionAffinityConfig")


def drop_meaningless_node_ports(spec: Spec) -> None:
    """An ExternalName has none: kept, one would look allocated when the type changes."""
    if spec.get("type") == "ExternalName":
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def _wipe_node_ports(spec: Spec, old: Spec) -> None:
    """All of them, unless one is new: then the user meant it, and validation says no."""
    before = {port["nodePort"] for port in old.get("ports") or () if port.get("nodePort")}
    after = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    if after <= before:
        for port in spec.get("ports") or ():
            port.pop("nodePort", None)


def _wipe_unchanged(spec: Spec, old: Spec, name: str) -> None:
    if name in spec and spec[name] == old.get(name):
        del spec[name]


def _set(spec: Spec, name: str, value: Any) -> None:
    if value:
        spec[name] = value
