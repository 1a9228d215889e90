"""Which Service status is refused? status.loadBalancer, as ValidateLoadBalancerStatus of k8s.io/kubernetes reads it."""

from typing import Any

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.problems import each, forbidden, invalid, unsupported
from mooring.apiserver.kinds.service_validation import PROTOCOLS
from mooring.apiserver.strategy import Document, FieldError


def check_status(document: Document, old: Document | None) -> list[FieldError]:
    """status.loadBalancer.ingress: addresses, names, modes, port errors; forbidden where there is no load balancer."""
    spec = document["spec"]
    ingresses: list[dict[str, Any]] = ((document.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    before = (((old or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    field = "status.loadBalancer.ingress"
    if ingresses and spec["type"] != "LoadBalancer" and ingresses != before:
        return [forbidden(field, "may only be used when `spec.type` is 'LoadBalancer'")]
    known = {ingress.get("ip") for ingress in before}
    found: list[FieldError] = []
    for place, ingress in enumerate(ingresses):
        here = f"{field}[{place}]"
        if address := ingress.get("ip"):
            words = formats.loose_ip(address) if address in known else formats.ip(address)
            found += each(f"{here}.ip", address, words)
            if ingress.get("ipMode") not in ("VIP", "Proxy"):
                found.append(unsupported(f"{here}.ipMode", ingress.get("ipMode", ""), ("VIP", "Proxy")))
        elif ingress.get("ipMode") is not None:
            found.append(forbidden(f"{here}.ipMode", "may not be specified when `ip` is not set"))
        if hostname := ingress.get("hostname"):
            found += each(f"{here}.hostname", hostname, formats.subdomain(hostname))
            if formats.parse_ip(hostname):
                found.append(invalid(f"{here}.hostname", hostname, "must be a DNS name, not an IP address"))
        found += _check_port_statuses(ingress.get("ports") or [], f"{here}.ports")
    return found


def _check_port_statuses(ports: list[dict[str, Any]], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for place, port in enumerate(ports):
        found += each(f"{field}[{place}].port", port.get("port", 0), formats.port_number(port.get("port", 0)))
        if port.get("protocol") not in PROTOCOLS:
            found.append(unsupported(f"{field}[{place}].protocol", port.get("protocol", ""), PROTOCOLS))
        if error := port.get("error"):
            found += each(f"{field}[{place}].error", error, formats.qualified_name(error))
    return found
