"""What should an Ingress's status say? Where its proxies are reached, and on which ports."""

from collections.abc import Iterable

from mooring.model.ingress import (
    IngressLoadBalancerIngress,
    IngressLoadBalancerStatus,
    IngressPortStatus,
    IngressStatus,
)
from mooring.model.service import LoadBalancerIngress
from mooring.routing.ingress.listeners import HTTP, HTTPS

NOWHERE = IngressStatus()
"""Of an Ingress that is no longer of the class, or whose proxies have no address yet."""


def status(balancers: Iterable[LoadBalancerIngress], has_tls: bool) -> IngressStatus:
    """`balancers` are those of the proxies' LoadBalancer Service. Sorted, so that the same addresses are the same status."""
    ports = tuple(IngressPortStatus(port, "TCP") for port in ((HTTP, HTTPS) if has_tls else (HTTP,)))
    found = sorted({(each.ip, each.hostname) for each in balancers if each.ip or each.hostname})
    if not found:
        return NOWHERE
    return IngressStatus(IngressLoadBalancerStatus(tuple(IngressLoadBalancerIngress(*each, ports) for each in found)))
