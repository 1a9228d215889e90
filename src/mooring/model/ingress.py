"""networking.k8s.io/v1 Ingress, as names need it: its hosts, and where its load balancer is."""

import msgspec
from msgspec import Struct, field

from mooring.model.meta import Document, Meta
from mooring.model.service import LoadBalancerStatus


class IngressRule(Struct, frozen=True, gc=False):
    host: str = ""


class IngressSpec(Struct, frozen=True, gc=False):
    rules: tuple[IngressRule, ...] | None = None


class IngressStatus(Struct, frozen=True, gc=False):
    load_balancer: LoadBalancerStatus = field(name="loadBalancer", default=LoadBalancerStatus())


class Ingress(Struct, frozen=True, gc=False):
    metadata: Meta
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


def ingress(document: Document) -> Ingress:
    """The view of a document. Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(document, Ingress)
