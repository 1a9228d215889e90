"""Which Services are legal and unwise? The texts of Warning headers (k8s.io/kubernetes/pkg/api/service/warnings.go)."""

from typing import Any

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.service_defaults import Spec, is_headless
from mooring.apiserver.kinds.service_validation import TOPOLOGY_HINTS_ANNOTATION, TOPOLOGY_MODE_ANNOTATION
from mooring.apiserver.strategy import Document

LATER = "will be considered invalid in a future Kubernetes release"
HEADLESS = "is ignored for headless services"


def service_warnings(document: Document, old: Document | None) -> list[str]:
    """In upstream's order. The one on trafficDistribution beside the annotation is ours."""
    if old is not None and _ingress(document) not in ([], _ingress(old)):
        return _status_warnings(document)
    spec: Spec = document["spec"]
    annotations = document["metadata"].get("annotations") or {}
    found = []
    if TOPOLOGY_HINTS_ANNOTATION in annotations:
        found.append(f"annotation {TOPOLOGY_HINTS_ANNOTATION} is deprecated, please use {TOPOLOGY_MODE_ANNOTATION} instead")
    if TOPOLOGY_MODE_ANNOTATION in annotations and spec.get("trafficDistribution"):
        found.append(
            f"annotation {TOPOLOGY_MODE_ANNOTATION} takes precedence over spec.trafficDistribution; remove one of them"
        )
    if is_headless(spec):
        found += [f"spec.{name} {HEADLESS}" for name in ("loadBalancerIP", "externalIPs") if spec.get(name)]
        if spec.get("sessionAffinity") != "None":
            found.append(f"spec.SessionAffinity {HEADLESS}")
    else:
        found += _forms("clusterIPs", spec)
    found += _forms("externalIPs", spec)
    if spec.get("externalIPs") and not is_headless(spec) and spec["type"] != "ExternalName":
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    found += _ip_form("spec.loadBalancerIP", spec.get("loadBalancerIP", ""))
    for place, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += _cidr_forms(f"spec.loadBalancerSourceRanges[{place}]", text.strip())
    return found + _ignored(spec)


def _ignored(spec: Spec) -> list[str]:
    found = []
    if spec.get("type") == "ExternalName" and spec.get("externalIPs"):
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if spec.get("type") != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def _ingress(document: Document) -> list[dict[str, Any]]:
    return ((document.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


def _status_warnings(document: Document) -> list[str]:
    """For whoever wrote the status, who can do nothing about the spec."""
    field = "status.loadBalancer.ingress"
    return [text for place, each in enumerate(_ingress(document)) for text in _ip_form(f"{field}[{place}]", each.get("ip", ""))]


def _forms(name: str, spec: Spec) -> list[str]:
    return [text for place, value in enumerate(spec.get(name) or ()) for text in _ip_form(f"spec.{name}[{place}]", value)]


def _ip_form(field: str, text: str) -> list[str]:
    """Addresses that stood before strict parsing came, or that are valid but not canonical."""
    address = formats.parse_ip(text)
    if address is None or text == str(address):
        return []
    if formats.ip(text):
        return [f'{field}: non-standard IP address "{text}" {LATER}: use "{address}"']
    return [f'{field}: IPv6 address "{text}" should be in RFC 5952 canonical format ("{address}")']


def _cidr_forms(field: str, text: str) -> list[str]:
    network = formats.parse_cidr(text)
    if network is None or text == str(network):
        return []
    address_text, _, length = text.partition("/")
    address, found = formats.parse_ip(address_text), []
    if address != network.network_address:
        alone = f"{address}/{network.max_prefixlen}"
        found.append(f'{field}: CIDR value "{text}" is ambiguous in this context (should be "{network}" or "{alone}"?)')
    if formats.ip(address_text) or length != str(int(length)):
        found.append(f'{field}: non-standard CIDR value "{text}" {LATER}: use "{network}"')
    elif not found:
        found.append(f'{field}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{network}")')
    return found
