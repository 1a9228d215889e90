"""Which Services are legal and unwise? The texts of Warning headers (k8s.io/kubernetes/pkg/api/service/warnings.go)."""

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.service_defaults import Spec, is_headless
from mooring.apiserver.kinds.service_validation import TOPOLOGY_HINTS_ANNOTATION, TOPOLOGY_MODE_ANNOTATION
from mooring.apiserver.strategy import Document

LATER = "will be considered invalid in a future Kubernetes release"
HEADLESS = "is ignored for headless services"


def service_warnings(document: Document, old: Document | None) -> list[str]:
    """In upstream's order. The one on trafficDistribution beside the annotation is ours."""
    spec: Spec = document["spec"]
    before: Spec = (old or {}).get("spec") or {}
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
    if spec.get("externalIPs") and not before.get("externalIPs"):
        found.append("spec.externalIPs is deprecated in v1.36+")
    found += _forms("externalIPs", spec)
    for place, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += _cidr_form(f"spec.loadBalancerSourceRanges[{place}]", text.strip())
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


def _cidr_form(field: str, text: str) -> list[str]:
    network = formats.parse_cidr(text)
    if network is None or text == str(network):
        return []
    if formats.cidr(text) == [formats.HOST_BITS]:
        alone = f"{text.partition('/')[0]}/{network.max_prefixlen}"
        return [f'{field}: CIDR value "{text}" is ambiguous in this context (should be "{network}" or "{alone}"?)']
    if formats.cidr(text):
        return [f'{field}: non-standard CIDR value "{text}" {LATER}: use "{network}"']
    return [f'{field}: IPv6 CIDR value "{text}" should be in RFC 5952 canonical format ("{network}")']
