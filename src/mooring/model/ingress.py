"""networking.k8s.io/v1 Ingress and IngressClass, as logic sees them.

Field meanings: https://kubernetes.io/docs/reference/kubernetes-api/service-resources/ingress-v1/
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct, field

from mooring.model.meta import Document, Meta

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
"""Names the class in Ingresses from before spec.ingressClassName, which wins over it."""
PROXIES: Mapping[str, str] = {"mooring.dev/envoy": "envoy", "mooring.dev/nginx": "nginx"}
"""The proxy of each controller that we are (IngressClass.spec.controller)."""
CONTROLLERS: Mapping[str, str] = {f"mooring-{proxy}": controller for controller, proxy in PROXIES.items()}
"""The classes that a local cluster may have from the start, and their controllers."""


class ServiceBackendPort(Struct, frozen=True, gc=False):
    """One of the two is given."""

    name: str = ""
    number: int = 0


class IngressServiceBackend(Struct, frozen=True, gc=False):
    name: str
    port: ServiceBackendPort = ServiceBackendPort()


class TypedLocalObjectReference(Struct, frozen=True, gc=False):
    kind: str
    name: str
    api_group: str | None = field(name="apiGroup", default=None)


class IngressBackend(Struct, frozen=True, gc=False):
    """A Service or a resource, never both."""

    service: IngressServiceBackend | None = None
    resource: TypedLocalObjectReference | None = None


class HttpIngressPath(Struct, frozen=True, gc=False):
    backend: IngressBackend
    path_type: str = field(name="pathType", default="ImplementationSpecific")
    path: str = ""


class HttpIngressRuleValue(Struct, frozen=True, gc=False):
    paths: tuple[HttpIngressPath, ...] = ()


class IngressRule(Struct, frozen=True, gc=False):
    """`http` None: everything of this host goes to the Ingress's default backend."""

    host: str = ""
    http: HttpIngressRuleValue | None = None


class IngressTls(Struct, frozen=True, gc=False):
    hosts: tuple[str, ...] | None = None
    secret_name: str = field(name="secretName", default="")


class IngressSpec(Struct, frozen=True, gc=False):
    ingress_class_name: str | None = field(name="ingressClassName", default=None)
    default_backend: IngressBackend | None = field(name="defaultBackend", default=None)
    tls: tuple[IngressTls, ...] | None = None
    rules: tuple[IngressRule, ...] | None = None


class IngressPortStatus(Struct, frozen=True, gc=False):
    port: int
    protocol: str
    error: str | None = None


class IngressLoadBalancerIngress(Struct, frozen=True, gc=False):
    ip: str = ""
    hostname: str = ""
    ports: tuple[IngressPortStatus, ...] | None = None


class IngressLoadBalancerStatus(Struct, frozen=True, gc=False):
    ingress: tuple[IngressLoadBalancerIngress, ...] | None = None


class IngressStatus(Struct, frozen=True, gc=False):
    load_balancer: IngressLoadBalancerStatus = field(name="loadBalancer", default=IngressLoadBalancerStatus())


class Ingress(Struct, frozen=True, gc=False):
    metadata: Meta
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class ParametersReference(Struct, frozen=True, gc=False):
    """`scope` is Cluster or Namespace; with the latter `namespace` is given."""

    kind: str
    name: str
    api_group: str | None = field(name="apiGroup", default=None)
    scope: str | None = None
    namespace: str | None = None


class IngressClassSpec(Struct, frozen=True, gc=False):
    controller: str = ""
    parameters: ParametersReference | None = None


class IngressClass(Struct, frozen=True, gc=False):
    metadata: Meta
    spec: IngressClassSpec = IngressClassSpec()


def ingress(document: Document) -> Ingress:
    """The view of a document. Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(document, Ingress)


def ingress_class(document: Document) -> IngressClass:
    """The view of a document. Raises msgspec.ValidationError, which names the field."""
    return msgspec.convert(document, IngressClass)
