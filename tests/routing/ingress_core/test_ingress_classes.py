"""Which Ingresses are served, in which order, and how is one read?"""

import pytest
from tests.routing.ingress_core.ingress_objects import CLASS, ingress, ingress_class, known, service, translated

from mooring.model.ingress import (
    CLASS_ANNOTATION,
    HttpIngressPath,
    HttpIngressRuleValue,
    IngressBackend,
    IngressLoadBalancerIngress,
    IngressPortStatus,
    IngressRule,
    IngressServiceBackend,
    IngressSpec,
    IngressTls,
    ServiceBackendPort,
    TypedLocalObjectReference,
)
from mooring.model.ingress import ingress as view
from mooring.model.meta import Document
from mooring.routing.ingress.classes import class_of, of_class

PATH: Document = {
    "path": "/x",
    "pathType": "Exact",
    "backend": {"service": {"name": "web", "port": {"name": "http"}}},
}
WHOLE: Document = {
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "ingressClassName": CLASS,
        "defaultBackend": {"resource": {"apiGroup": "x.example.com", "kind": "Bucket", "name": "b"}},
        "tls": [{"hosts": ["a.com"], "secretName": "s"}, {}],
        "rules": [{"host": "a.com", "http": {"paths": [PATH]}}],
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ports": [{"port": 80, "protocol": "TCP"}]}]}},
}


def annotated(text: str, class_name: str | None = None) -> Document:
    document = ingress("web", class_name=class_name)
    document["metadata"]["annotations"] = {CLASS_ANNOTATION: text}
    return document


CLASSES: dict[str, tuple[Document, str]] = {
    "the field": (ingress("web"), CLASS),
    "the annotation": (annotated("old"), "old"),
    "the field wins": (annotated("old", CLASS), CLASS),
    "an empty field wins too": (annotated("old", ""), ""),
    "neither": (ingress("web", class_name=None), ""),
}


@pytest.mark.parametrize(("document", "expected"), CLASSES.values(), ids=list(CLASSES))
def test_an_ingress_has_one_class(document: Document, expected: str) -> None:
    assert expected == class_of(view(document))


def test_the_oldest_come_first_and_those_not_yet_made_last() -> None:
    new = ingress("a")
    del new["metadata"]["creationTimestamp"]
    there = known(new, ingress("d", day=2), ingress("c"), ingress("b"), ingress("e", class_name="other"))

    assert ["b", "c", "d", "a"] == [each.metadata.name for each in of_class(there, CLASS)]


@pytest.mark.parametrize("controller", ["mooring.dev/envoy", "mooring.dev/nginx"])
def test_our_controllers_serve(controller: str) -> None:
    found = translated(ingress("web", default="web:80"), ingress_class(controller=controller), service())

    assert frozenset({("shop", "web")}) == found.served


def test_a_class_that_is_gone_serves_nothing() -> None:
    found = translated(ingress("web", default="web:80"), ingress_class("other"), service())

    assert (frozenset(), (), {}) == (found.served, found.findings, found.table.clusters)


def test_every_field_is_read() -> None:
    backend = IngressBackend(IngressServiceBackend("web", ServiceBackendPort("http")))
    rule = IngressRule("a.com", HttpIngressRuleValue((HttpIngressPath(backend, "Exact", "/x"),)))
    spec = IngressSpec(
        CLASS,
        IngressBackend(resource=TypedLocalObjectReference("Bucket", "b", "x.example.com")),
        (IngressTls(("a.com",), "s"), IngressTls()),
        (rule,),
    )
    found = view(WHOLE)
    (place,) = found.status.load_balancer.ingress or ()

    assert spec == found.spec
    assert IngressLoadBalancerIngress("192.0.2.1", ports=(IngressPortStatus(80, "TCP"),)) == place
