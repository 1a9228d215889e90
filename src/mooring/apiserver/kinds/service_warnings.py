"""Which Services are legal and unwise? The texts of Warning headers (k8s.io/kubernetes/pkg/api/service/warnings.go)."""

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.service_defaults import Spec, is_headless
from mooring.apiserver.kinds.service_validation import TOPOLOGY_HINTS_ANNOTATION, TOPOLOGY_MODE_ANNOTATION
from mooring.apiserver.strategy import Document


def service_warnings(document: Document, old: Document | None) -> list[str]:
    spec: Spec = document["spec"]
    before: Spec = (old or {}).get("spec") or {}
    annotations = document["metadata"].get("annotations") or {}
    found = []
    if spec.get("externalIPs") and not before.get("externalIPs"):
        found.append("spec.externalIPs is deprecated in v1.36+")
    if TOPOLOGY_HINTS_ANNOTATION in annotations:
        found.append(f"annotation {TOPOLOGY_HINTS_ANNOTATION} is deprecated, please use {TOPOLOGY_MODE_ANNOTATION} instead")
    if TOPOLOGY_MODE_ANNOTATION in annotations and spec.get("trafficDistribution"):
        found.append(
            f"annotation {TOPOLOGY_MODE_ANNOTATION} takes precedence over spec.trafficDistribution; remove one of them"
        )
    if spec.get("trafficDistribution") == "PreferClose" and before.get("trafficDistribution") != "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    if is_headless(spec):
        if spec.get("loadBalancerIP"):
            found.append('spec.loadBalancerIP is ignored when spec.clusterIP is "None"')
        if spec.get("externalIPs"):
            found.append('spec.externalIPs is ignored when spec.clusterIP is "None"')
        if spec.get("sessionAffinity") == "ClientIP":
            found.append("spec.SessionAffinity is ignored for headless services")
    lists = (("externalIPs", False), ("clusterIPs", False), ("loadBalancerSourceRanges", True))
    for name, networks in lists:
        for place, text in enumerate(spec.get(name) or ()):
            found += _form_warning(f"spec.{name}[{place}]", text.strip(), networks)
    return found


def _form_warning(field: str, text: str, network: bool) -> list[str]:
    """Values that stood before strict parsing, or that are valid but not canonical."""
    value = formats.parse_cidr(text) if network else formats.parse_ip(text)
    if value is None or text == str(value):
        return []
    if network and formats.cidr(text):
        return [f'{field}: CIDR value "{text}" is ambiguous in this context (should be "{value}")']
    if not network and formats.ip(text):
        later = "will be considered invalid in a future Kubernetes release"
        return [f'{field}: non-standard IP address "{text}" {later}: use "{value}"']
    if value.version == 6:
        form = "CIDR value" if network else "IP address"
        return [f'{field}: IPv6 {form} "{text}" should be in RFC 5952 canonical format ("{value}")']
    return []
