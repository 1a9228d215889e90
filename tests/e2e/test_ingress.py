"""Ingresses from outside, through both kinds of proxies that the controllers start: hosts, paths, TLS, what breaks, who goes.

Also Kubernetes' own tests of these kinds (test/e2e/network/ingress.go, ingressclass.go), and ingress-controller-conformance's
load balancing.
"""

import base64
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from scene import Document, Scene, Web, scene, server, service, until, until_equal

from local_cluster import Cluster
from mooring.app.connection import Refused

CLASSES = ("mooring-envoy", "mooring-nginx")
OUTSIDE, SYSTEM = "172.30.0.250", "mooring-system"
POD = {"web": "web-1", "cart": "cart-1"}


def certificate(host: str) -> tuple[str, Document]:
    """A new self-signed one: its SHA-256, and the data of its Secret."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    builder = builder.not_valid_after(now + timedelta(days=30))
    made = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), False).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    chain = made.public_bytes(serialization.Encoding.PEM)
    data = {name: base64.b64encode(each).decode() for name, each in (("tls.crt", chain), ("tls.key", pem))}
    return made.fingerprint(hashes.SHA256()).hex(), data


def secret(name: str, data: Document) -> Document:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls", "data": data}


def path(service: str, where: str = "/") -> Document:
    return {"path": where, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}


def ingress(name: str, class_name: str | None, host: str, *paths: Document, **spec: object) -> Document:
    rules = [{"host": host, "http": {"paths": list(paths)}}]
    chosen = {} if class_name is None else {"ingressClassName": class_name}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"rules": rules, **chosen, **spec},
    }


@pytest.fixture(scope="module")
def here(cluster: Cluster, ingress_proxies: None) -> Iterator[Scene]:
    """An Ingress of each class."""
    with scene(cluster) as made:
        made.create(*(ingress(name, name, host(name), path("web"), path("cart", "/cart")) for name in CLASSES))
        made.serve(*(server(pod, app) for app, pod in POD.items()), service("web", "web"), service("cart", "cart"))
        yield made


def host(class_name: str) -> str:
    return f"shop.{class_name}.example"


def balancers(here: Scene, name: str) -> list[Document]:
    found: list[Document] = here.get("Ingress", name)["status"]["loadBalancer"].get("ingress", [])
    return found


@pytest.fixture(params=CLASSES)
def front(request: pytest.FixtureRequest, here: Scene) -> str:
    """A class whose proxies serve; the address is address(here, front)."""
    name: str = request.param
    until_everywhere(here, name)
    return name


def until_everywhere(here: Scene, class_name: str) -> None:
    """Each connection meets one of two proxies: so many in a row have met both."""
    until_equal({200}, lambda: {asked(here, class_name, host(class_name)).status for _ in range(16)})


def address(here: Scene, class_name: str) -> str:
    """'' while there is none."""
    return next((str(each["ip"]) for each in balancers(here, class_name)), "")


def asked(here: Scene, class_name: str, name: str, where: str = "/hostname", *, tls: bool = False) -> Web:
    place = address(here, class_name)
    return here.outside.web(place, name, where, tls=tls) if place else Web(0, "no address")


def events(here: Scene, name: str) -> list[str]:
    found = [each for each in here.items("Event") if each["involvedObject"].get("name") == name]
    return [each["message"] for each in found if each["type"] == "Warning"]


def test_two_services_share_an_address_by_host_and_path(here: Scene, front: str) -> None:
    assert POD["web"] == asked(here, front, host(front)).body
    assert POD["web"] == asked(here, front, host(front), "/hostname?x=/cart").body
    told = json.loads(asked(here, front, host(front), "/json").body)
    assert OUTSIDE == told["headers"]["x-forwarded-for"], "the client's own address, kept by the whole way"
    assert (host(front), "http") == (told["headers"]["host"], told["headers"]["x-forwarded-proto"])
    where = {
        each: asked(here, front, host(front), each).body.split(" ")[0] for each in ("/", "/cart", "/cart/", "/cart/x", "/cartx")
    }
    assert {"/": "web-1", "/cart": "cart-1", "/cart/": "cart-1", "/cart/x": "cart-1", "/cartx": "web-1"} == where
    assert 404 == asked(here, front, "nobody.example").status
    ports = [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}]
    assert [{"ip": address(here, front), "ports": ports}] == balancers(here, front)
    shown = here.cluster.kubectl("get", "ingress", "-n", here.namespace, front, "--no-headers").stdout.split()
    assert [front, front, host(front), address(here, front)] == shown[:4]


def test_a_secret_serves_tls_and_another_takes_its_place(here: Scene, front: str) -> None:
    name = f"tls.{front}.example"
    first, data = certificate(name)
    second, renewed = certificate(name)
    tls = [{"hosts": [name], "secretName": f"{front}-tls"}]
    here.create(secret(f"{front}-tls", data), ingress(f"{front}-tls", front, name, path("web"), tls=tls))
    until_equal((200, first), lambda: (found := asked(here, front, name, tls=True)) and (found.status, found.certificate))
    until_equal(308, lambda: asked(here, front, name).status)  # plain HTTP of a host with TLS is led there
    here.patch("Secret", f"{front}-tls", {"data": renewed})
    until_equal(second, lambda: asked(here, front, name, tls=True).certificate)


def test_a_broken_ingress_is_told_and_its_neighbours_go_on(here: Scene, front: str) -> None:
    name = f"broken.{front}.example"
    here.create(ingress(f"{front}-broken", front, name, path("web"), path("nowhere", "/nowhere")))
    until_equal(200, lambda: asked(here, front, name).status)
    until_equal(503, lambda: asked(here, front, name, "/nowhere").status)
    assert 200 == asked(here, front, host(front)).status
    [said] = until(lambda: events(here, f"{front}-broken"))
    assert "nowhere" in said


def test_ten_pods_answer_and_one_that_is_killed_is_missed_by_nobody(here: Scene) -> None:
    pods = {f"many-{number}" for number in range(10)}
    here.create(*(server(pod, "many") for pod in pods), service("many", "many"))
    here.create(*(ingress(f"{name}-many", name, f"many.{name}.example", path("many")) for name in CLASSES))
    here.ready(*pods)
    for name in CLASSES:

        def answers(times: int, name: str = name) -> set[tuple[int, str]]:
            found = (asked(here, name, f"many.{name}.example") for _ in range(times))
            return {(each.status, each.body) for each in found}

        until_equal({(200, pod) for pod in pods}, lambda answers=answers: answers(50))
        assert {(200, pod) for pod in pods} == answers(100)
    here.delete("Pod", "many-0", grace=0)
    for name in CLASSES:
        until_equal(
            {(200, pod) for pod in pods - {"many-0"}},
            lambda name=name: {
                (each.status, each.body) for each in (asked(here, name, f"many.{name}.example") for _ in range(40))
            },
        )


def test_an_ingress_of_no_class_gets_the_default_one_and_one_of_an_unknown_class_nothing(here: Scene) -> None:
    [made] = here.create(ingress("classless", None, "classless.example", path("web")))
    assert "mooring-envoy" == made["spec"]["ingressClassName"]
    here.create(ingress("strange", "some-invalid-class-name", "strange.example", path("web")))
    until_equal(POD["web"], lambda: asked(here, "mooring-envoy", "classless.example").body)
    assert 404 == asked(here, "mooring-envoy", "strange.example").status
    assert [] == balancers(here, "strange")
    here.patch("Ingress", "classless", {"spec": {"ingressClassName": "mooring-nginx"}})
    until_equal(POD["web"], lambda: asked(here, "mooring-nginx", "classless.example").body)
    until_equal(404, lambda: asked(here, "mooring-envoy", "classless.example").status)
    until_equal([address(here, "mooring-nginx")], lambda: [each["ip"] for each in balancers(here, "classless")])
    here.patch("Ingress", "classless", {"spec": {"ingressClassName": "some-invalid-class-name"}})
    until_equal([], lambda: balancers(here, "classless"))


def test_no_request_fails_while_control_processes_are_killed_and_proxies_replaced(here: Scene) -> None:
    for name in CLASSES:
        until_everywhere(here, name)
    with load(here, *((address(here, name), host(name)) for name in CLASSES)) as told:
        for name in CLASSES:
            pod = next(each for each in proxies(here) if name in each)
            here.cluster.kubectl("exec", "-n", SYSTEM, pod, "--", "sh", "-c", "kill -9 $(pgrep -P 1 -f mooring.cli.main)")
        before = set(proxies(here))
        for name in CLASSES:
            here.cluster.kubectl("rollout", "restart", "-n", SYSTEM, f"deployment/ingress-{name}")
        until(lambda: proxies(here), lambda now: len(now) == 4 and not before & set(now))
    assert [] == told["failed"]
    assert told["answered"] > 100


def proxies(here: Scene) -> list[str]:
    """Names of the pods, those that are on their way out too."""
    words = ("get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=mooring-ingress", "-o", "name")
    return here.cluster.kubectl(*words).stdout.split()


@contextmanager
def load(here: Scene, *places: tuple[str, str]) -> Iterator[Document]:
    """Clients of web_load.py, from outside; in the end, what they have to tell."""
    source = Path(__file__).with_name("web_load.py").read_text()
    words = [*here.cluster.within("outside"), "python3", "-u", "-c", source, *(word for place in places for word in place)]
    told: Document = {}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert "asking\n" == process.stdout.readline()
            yield told
            told.update(json.loads(process.communicate(timeout=60)[0]))
        finally:
            process.kill()


def test_the_whole_life_of_an_ingress(here: Scene) -> None:
    labels = {"life": here.namespace}
    wanted = ingress("life", "nobodys", "life.example", path("web"))
    wanted["metadata"]["labels"] = labels
    [made] = here.create(wanted)
    generated = {**wanted, "metadata": {"generateName": "life-", "labels": labels}}
    [other] = here.create(generated)
    assert 2 == len(here.items("Ingress", **labels))
    patched = here.patch("Ingress", "life", {"metadata": {"annotations": {"patched": "true"}}})
    assert {"patched": "true"} == patched["metadata"]["annotations"]
    assert int(patched["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    held = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}
    assert held == here.patch("Ingress", "life/status", {"status": held})["status"]
    with pytest.raises(Refused, match="already exists"):
        here.create(wanted)
    here.delete("Ingress", "life")
    assert [other["metadata"]["name"]] == [each["metadata"]["name"] for each in here.items("Ingress", **labels)]
    here.delete_all("Ingress", **labels)
    assert [] == here.items("Ingress", **labels)


def test_the_whole_life_of_a_class(here: Scene) -> None:
    labels = {"life": here.namespace}
    parameters = {"apiGroup": "example.com", "kind": "Config", "name": "c", "scope": "Namespace", "namespace": "ns"}
    metadata = {"generateName": "life-", "labels": labels}
    spec = {"controller": "example.com/controller", "parameters": parameters}
    wanted = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": metadata, "spec": spec}
    [one, two] = here.create(wanted, wanted)
    assert parameters == one["spec"]["parameters"]
    name = one["metadata"]["name"]
    patched = here.patch("IngressClass", name, {"metadata": {"annotations": {"patched": "true"}}})
    assert {"patched": "true"} == patched["metadata"]["annotations"]
    with pytest.raises(Refused, match="field is immutable"):
        here.patch("IngressClass", name, {"spec": {"controller": "example.com/other"}})
    here.delete("IngressClass", name)
    assert [two["metadata"]["name"]] == [each["metadata"]["name"] for each in here.items("IngressClass", **labels)]
    here.delete_all("IngressClass", **labels)
    assert [] == here.items("IngressClass", **labels)
