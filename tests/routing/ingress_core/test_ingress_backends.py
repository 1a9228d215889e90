"""Where do backends lead, and what is a cluster called?"""

import pytest
from tests.routing.ingress_core.ingress_objects import ingress, known, routes, service, told, translated

from mooring.model.ingress import IngressBackend, IngressServiceBackend, ServiceBackendPort
from mooring.model.meta import Document
from mooring.routing.ingress.backends import Lost, Target, cluster_of, first_port, resolve
from mooring.routing.ingress.objects import SetOf
from mooring.routing.ingress.wishes import PLAIN, Wishes
from mooring.routing.table import Balance, Cluster, Endpoints, Fixed, Forward, Policy, Speaks, UpstreamTls

TLS = UpstreamTls()
PROTOCOLS: dict[str, tuple[str, Speaks, UpstreamTls | None]] = {
    "nothing said": ("", Speaks.HTTP1, None),
    "h2c by Kubernetes' name": ("kubernetes.io/h2c", Speaks.HTTP2, None),
    "WebSocket": ("kubernetes.io/ws", Speaks.HTTP1, None),
    "WebSocket in TLS": ("kubernetes.io/wss", Speaks.HTTP1, TLS),
    "http": ("http", Speaks.HTTP1, None),
    "https": ("https", Speaks.HTTP1, TLS),
    "gRPC": ("grpc", Speaks.GRPC, None),
    "letter case does not matter": ("HTTPS", Speaks.HTTP1, TLS),
    "what is not known": ("example.com/own", Speaks.HTTP1, None),
}


@pytest.mark.parametrize(("protocol", "speaks", "tls"), PROTOCOLS.values(), ids=list(PROTOCOLS))
def test_a_port_says_what_is_spoken(protocol: str, speaks: Speaks, tls: UpstreamTls | None) -> None:
    cluster, _ = cluster_of(Target("shop", "web", 80, app_protocol=protocol), PLAIN)

    assert (speaks, tls) == (cluster.speaks, cluster.tls)


def test_an_annotation_says_it_over_the_port() -> None:
    cluster, _ = cluster_of(Target("shop", "web", 80, app_protocol="https"), Wishes(speaks=Speaks.GRPC))

    assert (Speaks.GRPC, None) == (cluster.speaks, cluster.tls)


def test_the_name_is_that_of_the_port_unless_something_is_special() -> None:
    target = Target("shop", "web", 80, "http", cluster_ip="10.96.0.9")
    plain, members = cluster_of(target, PLAIN)

    assert Cluster("shop/web:80", Endpoints("shop/web:80"), source="service shop/web") == plain
    assert SetOf("shop", "web", "http") == members
    special = [
        Wishes(speaks=Speaks.GRPC),
        Wishes(tls=TLS),
        Wishes(tls=UpstreamTls("web")),
        Wishes(balance=Balance.EWMA),
        Wishes(policy=Policy(connect=1.0)),
        Wishes(service_upstream=True),
    ]
    names = [cluster_of(target, wishes)[0].name for wishes in special]
    assert len(special) == len({name for name in names if name.startswith("shop/web:80~") and len(name) == 20})
    assert names == [cluster_of(target, wishes)[0].name for wishes in special]


PORTS: dict[str, tuple[ServiceBackendPort, Document, Target | str]] = {
    "by number": (ServiceBackendPort(number=80), service(), Target("shop", "web", 80, "http", cluster_ip="10.96.0.9")),
    "by name": (ServiceBackendPort(name="http"), service(), Target("shop", "web", 80, "http", cluster_ip="10.96.0.9")),
    "not by its target": (ServiceBackendPort(number=8080), service("web", {"port": 80, "targetPort": 8080}), "PortNotFound"),
    "of a headless Service": (
        ServiceBackendPort(number=80),
        service("web", {"port": 80}, clusterIP="None"),
        Target("shop", "web", 80),
    ),
    "of an ExternalName, with the port it leads to": (
        ServiceBackendPort(number=80),
        service("web", {"port": 80, "targetPort": 8080}, type="ExternalName", externalName="Web.Example.com."),
        Target("shop", "web", 80, external="web.example.com", external_port=8080),
    ),
    "of an ExternalName without ports": (
        ServiceBackendPort(number=443),
        {**service(), "spec": {"type": "ExternalName", "externalName": "web.example.com"}},
        Target("shop", "web", 443, external="web.example.com", external_port=443),
    ),
    "of an ExternalName to the machine itself": (
        ServiceBackendPort(number=80),
        service("web", type="ExternalName", externalName="LOCALHOST."),
        "ExternalNameRefused",
    ),
    "of an ExternalName to a loopback address": (
        ServiceBackendPort(number=80),
        service("web", type="ExternalName", externalName="127.9.9.9"),
        "ExternalNameRefused",
    ),
    "of an ExternalName to a link-local address": (
        ServiceBackendPort(number=80),
        service("web", type="ExternalName", externalName="fe80::1"),
        "ExternalNameRefused",
    ),
    "of an ExternalName without a name": (
        ServiceBackendPort(number=80),
        service("web", type="ExternalName"),
        "ExternalNameRefused",
    ),
}


@pytest.mark.parametrize(("port", "document", "expected"), PORTS.values(), ids=list(PORTS))
def test_a_port_is_found(port: ServiceBackendPort, document: Document, expected: Target | str) -> None:
    found = resolve(IngressBackend(IngressServiceBackend("web", port)), "shop", known(document))

    assert expected == (found.reason if isinstance(found, Lost) else found)


def test_a_service_of_another_namespace_is_not_found() -> None:
    found = resolve(IngressBackend(IngressServiceBackend("web", ServiceBackendPort(number=80))), "other", known(service()))

    assert "there is no Service other/web" == getattr(found, "message", found)


def test_what_names_no_port_gets_the_first_in_tcp() -> None:
    there = known(service("web", {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "http", "port": 80}))

    assert Target("shop", "web", 80, "http", cluster_ip="10.96.0.9") == first_port("shop", "web", there)


def test_upstream_services_are_asked_at_their_address() -> None:
    documents = [
        ingress("web", ("a.com", [("Prefix", "/", "web:80")]), annotations={"service-upstream": "true"}),
        ingress("bare", ("b.com", [("Prefix", "/", "bare:80")]), annotations={"service-upstream": "true"}),
        service(),
        service("bare", clusterIP="None"),
    ]
    found = translated(*documents)

    assert {Fixed("10.96.0.9", 80), Endpoints("shop/bare:80")} == {each.where for each in found.table.clusters.values()}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"ports": [{"port": 53, "protocol": "UDP"}]}, "PortNotFound"),
        ({"type": "ExternalName", "externalName": "localhost"}, "ExternalNameRefused"),
    ],
)
def test_a_default_backend_that_leads_nowhere_is_told(spec: Document, reason: str) -> None:
    web = ingress("web", ("a.com", [("Prefix", "/", "web:80")]), annotations={"default-backend": "page"})
    field = "metadata.annotations[nginx.ingress.kubernetes.io/default-backend]"

    assert [("web", reason, field, "it is left out")] == told(translated(web, service(), service("page", **spec)))


def test_a_default_backend_takes_over_from_the_endpoints() -> None:
    documents = [
        ingress("web", ("a.com", [("Prefix", "/", "web:80")]), annotations={"default-backend": "page"}),
        service(),
        service("page"),
    ]
    found = translated(*documents)

    assert {"shop/web:80|shop/page:80": SetOf("shop", "web", "http", SetOf("shop", "page", "http"))} == found.sets


def test_clusters_are_shared_and_only_those_in_use_are_there() -> None:
    rule = ("a.com", [("Prefix", "/a", "web:80"), ("Prefix", "/b", "web:http"), ("Prefix", "/c", "other:80")])
    found = translated(ingress("web", rule), service(), service("other"), service("unused"))

    assert ["shop/other:80", "shop/web:80"] == sorted(found.table.clusters)
    assert ["shop/other:80", "shop/web:80"] == sorted(found.sets)
    assert [] == told(found)


def test_weights_name_both_clusters() -> None:
    rule = ("a.com", [("Prefix", "/", "web:80")])
    canary = {"canary": "true", "canary-weight": "30"}
    found = translated(
        ingress("web", rule, annotations={"backend-protocol": "GRPC"}),
        ingress("next", ("a.com", [("Prefix", "/", "next:80")]), annotations=canary, day=2),
        service(),
        service("next"),
    )
    (route,) = routes(found, "a.com")

    assert isinstance(route.action, Forward)
    assert [("shop/web", 70), ("shop/next", 30)] == [(each.cluster.partition(":")[0], each.weight) for each in route.action.to]
    assert {Speaks.GRPC} == {found.table.clusters[each.cluster].speaks for each in route.action.to}
