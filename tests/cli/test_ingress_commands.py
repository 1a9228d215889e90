"""`mooring trace request` and `mooring explain ingress`: pages, data and exit codes, of a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mooring.app.requesting import fingerprint
from mooring.cli.main import run
from mooring.model.kinds import ENDPOINT_SLICE, INGRESS, INGRESS_CLASS, NAMESPACE, NODE, SECRET, SERVICE, Kind
from mooring.ports.api import Api
from mooring.testing.api_server import real_server
from mooring.testing.certificates import self_signed

BALANCER = "172.30.9.1"
PROXIES = "ingress-mooring-envoy"
CLIENT = "198.51.100.7"
ANNOTATION = "nginx.ingress.kubernetes.io/"


class Called:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def lines(self) -> list[str]:
        return [line.strip() for line in self.out.splitlines()]


class Lab:
    """A real server with one node, the proxies of class mooring-envoy, and the Ingress `web` before two Services."""

    def __init__(self, api: Api, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.api, self._directory, self._capsys = api, directory, capsys

    async def call(self, *arguments: str) -> Called:
        self._capsys.readouterr()
        code = await asyncio.to_thread(run, [*arguments, "--kubeconfig", str(self._directory / "kubeconfig")])
        return Called(code, *self._capsys.readouterr())

    async def trace(self, url: str, *arguments: str, source: str = CLIENT) -> Called:
        return await self.call("trace", "request", url, "--from", source, *arguments)

    async def make(self, kind: Kind, name: str, namespace: str = "default", **fields: Any) -> None:
        metadata = {"name": name, **fields.pop("metadata", {})}
        await self.api.write("create", kind, namespace if kind.namespaced else "", "", {"metadata": metadata, **fields})

    async def endpoints(self, service: str, address: str, pod: str, namespace: str = "default") -> None:
        target = {"kind": "Pod", "namespace": namespace, "name": pod}
        await self.make(
            ENDPOINT_SLICE,
            f"{service}-1",
            namespace,
            metadata={"labels": {"kubernetes.io/service-name": service}},
            addressType="IPv4",
            ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
            endpoints=[{"addresses": [address], "conditions": {"ready": True}, "nodeName": "a", "targetRef": target}],
        )


def path(text: str, service: str, kind: str = "Prefix") -> dict[str, Any]:
    return {"path": text, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}}


async def proxies(lab: Lab) -> None:
    await lab.make(NAMESPACE, "mooring-system")
    ports = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443, "targetPort": 8443}]
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports}
    await lab.make(SERVICE, PROXIES, "mooring-system", spec=spec)
    status = {"status": {"loadBalancer": {"ingress": [{"ip": BALANCER}]}}}
    await lab.api.write("patch", SERVICE, "mooring-system", PROXIES, status, subresource="status")
    target = {"kind": "Pod", "namespace": "mooring-system", "name": "proxy-1"}
    await lab.make(
        ENDPOINT_SLICE,
        f"{PROXIES}-1",
        "mooring-system",
        metadata={"labels": {"kubernetes.io/service-name": PROXIES}},
        addressType="IPv4",
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "https", "port": 8443, "protocol": "TCP"}],
        endpoints=[{"addresses": ["10.244.0.9"], "conditions": {"ready": True}, "nodeName": "a", "targetRef": target}],
    )


@pytest.fixture
async def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.delenv("MOORING_DATA_DIR", raising=False)
    async with real_server(tmp_path) as api:
        made = Lab(api, tmp_path, capsys)
        await made.make(NODE, "a", spec={"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]})
        addresses = {"status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}]}}
        await api.write("patch", NODE, "", "a", addresses, subresource="status")
        await made.make(INGRESS_CLASS, "mooring-envoy", spec={"controller": "mooring.dev/envoy"})
        await proxies(made)
        for name in ("web", "shop"):
            await made.make(SERVICE, name, spec={"ports": [{"name": "http", "port": 80, "targetPort": 8080}]})
        await made.endpoints("web", "10.244.0.2", "web-1")
        certificate = self_signed("web.example.org")
        data = {"tls.crt": certificate.chain.decode(), "tls.key": certificate.key.decode()}
        await made.make(SECRET, "web-tls", type="kubernetes.io/tls", stringData=data)
        rules = [
            {"host": "web.example.org", "http": {"paths": [path("/", "web"), path("/shop", "shop"), path("/none", "none")]}}
        ]
        spec = {
            "ingressClassName": "mooring-envoy",
            "rules": rules,
            "tls": [{"hosts": ["web.example.org"], "secretName": "web-tls"}],
        }
        annotations = {f"{ANNOTATION}ssl-redirect": "false", f"{ANNOTATION}whitelist-source-range": "198.51.100.0/24"}
        await made.make(INGRESS, "web", metadata={"annotations": annotations}, spec=spec)
        yield made


# trace request --------------------------------------------------------------------------------------------------------------


async def test_a_request_is_followed_to_its_endpoint(lab: Lab) -> None:
    called = await lab.trace("http://web.example.org/a/../b?c=d")
    assert (called.code, called.err) == (0, "")
    assert called.lines[:2] == [
        "outside (198.51.100.7) -> GET http://web.example.org/a/../b?c=d",
        f"class mooring-envoy (envoy) at {BALANCER}",
    ]
    assert "100.0%  10.244.0.9:8080, pod mooring-system/proxy-1 on a, sees 198.51.100.7" in called.lines
    assert "because prefix /: the first that matches (ingress default/web spec.rules[0].http.paths[0])" in called.lines
    assert "because 198.51.100.7 is in 198.51.100.0/24 (ingress default/web spec.rules[0].http.paths[0])" in called.lines
    assert called.lines[called.lines.index("FORWARDED to") :] == [
        "FORWARDED to",
        "100.0%  10.244.0.2:8080, pod default/web-1, of default/web:80",
        "the backend sees GET /b?c=d of web.example.org",
    ]


@pytest.mark.parametrize(
    ("url", "source", "last"),
    [
        pytest.param("http://web.example.org/shop", CLIENT, "ANSWERED 503, by the proxy", id="nobody is ready"),
        pytest.param("http://web.example.org/none", CLIENT, "ANSWERED 503, by the proxy", id="no such Service"),
        pytest.param("http://web.example.org/", "203.0.113.5", "ANSWERED 403, by the proxy", id="not allowed"),
        pytest.param("http://other.example.org/", CLIENT, "ANSWERED 404, by the proxy", id="nobody's host"),
        pytest.param("http://web.example.org:81/", CLIENT, "NO ANSWER", id="nobody listens"),
    ],
)
async def test_a_request_that_fails_is_exit_code_1(lab: Lab, url: str, source: str, last: str) -> None:
    called = await lab.trace(url, source=source)
    assert (called.code, last in called.lines) == (1, True), called.out


async def test_the_whole_is_told_as_data(lab: Lab) -> None:
    called = json.loads((await lab.trace("https://web.example.org/", "-o", "json", "-X", "post", "-H", "X-A: b: c")).out)
    assert (called["method"], called["status"], called["route"]) == ("POST", 200, "default/web/0.0")
    assert ["x-a", "b: c"] in called["seen"]["headers"]
    assert called["certificate"] == fingerprint(self_signed("web.example.org"))
    assert [each["pod"] for each in called["endpoints"]] == ["default/web-1"]
    same = yaml.safe_load((await lab.trace("https://web.example.org/", "-o", "yaml", "-X", "post", "-H", "X-A: b: c")).out)
    assert {**called, "seen": 0} == {**same, "seen": 0}  # each request has an id of its own


async def test_the_class_is_the_hosts_own(lab: Lab) -> None:
    await lab.make(INGRESS_CLASS, "mooring-nginx", spec={"controller": "mooring.dev/nginx"})
    spec = {"ingressClassName": "mooring-nginx", "rules": [{"host": "*.example.org", "http": {"paths": [path("/", "web")]}}]}
    await lab.make(INGRESS, "wild", spec=spec)
    exact, wild = await lab.trace("http://web.example.org/"), await lab.trace("http://x.example.org/")
    assert "because its Ingresses have the host web.example.org" in exact.lines
    assert (wild.code, wild.lines[1]) == (1, "class mooring-nginx (nginx)")
    assert "1. class mooring-nginx" in wild.lines and "NO ANSWER" in wild.lines
    assert (await lab.trace("http://web.example.org/", "--class", "mooring-nginx")).lines[1] == "class mooring-nginx (nginx)"
    assert (
        f"because {BALANCER} is the address of service mooring-system/{PROXIES}"
        in (await lab.trace(f"http://{BALANCER}/")).lines
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("web.example.org",), "is no URL of http or https"),
        (("http://web.example.org/", "-H", "nonsense"), "is no header"),
        (("http://web.example.org/", "--class", "none"), "no IngressClass 'none' of ours; there are mooring-envoy"),
    ],
)
async def test_what_means_nothing_is_exit_code_2(lab: Lab, arguments: tuple[str, ...], message: str) -> None:
    called = await lab.trace(*arguments)
    assert (called.code, message in called.err) == (2, True), called.err


async def test_only_a_local_cluster_has_an_outside(lab: Lab) -> None:
    called = await lab.call("trace", "request", "http://web.example.org/")
    assert (called.code, "say from which address" in called.err) == (1, True)


async def test_packets_and_names_start_somewhere(lab: Lab) -> None:
    called = await lab.call("trace", "packet", "web:80")
    assert (called.code, "say where the packet starts" in called.err) == (2, True)


# explain ingress ------------------------------------------------------------------------------------------------------------


async def test_an_ingress_is_explained(lab: Lab) -> None:
    called = await lab.call("explain", "ingress/web")
    assert (called.code, called.err) == (0, "")
    assert called.lines[:7] == [
        "ingress/web in default",
        "",
        "Class:        mooring-envoy",
        "Controller:   mooring.dev/envoy",
        f"Proxies:      envoy, service mooring-system/{PROXIES}",
        f"Address:      {BALANCER}",
        "Status:       no address",
    ]
    assert "http, https: prefix / -> default/web:80" in called.lines
    assert "default/web:80: 10.244.0.2:8080 web-1" in called.lines
    assert "access: Access(allowed=[198.51.100.0/24])" in called.lines
    assert "default/shop:80: no endpoint is ready, 503" in called.lines
    assert any(
        line.startswith("web.example.org   secret default/web-tls   CN=web.example.org   2120-01-01") for line in called.lines
    )
    assert called.lines[called.lines.index("PROBLEMS") + 1 :][:3] == [
        "1. warning, ServiceNotFound: there is no Service default/none: the rule answers 503",
        "spec.rules[0].http.paths[2].backend",
        "to mend it: make the Service in the Ingress's namespace, or correct its name in the backend",
    ]


async def test_one_that_nobody_serves_says_so(lab: Lab) -> None:
    await lab.make(INGRESS, "lost", spec={"ingressClassName": "nobody", "defaultBackend": path("/", "web")["backend"]})
    called = await lab.call("explain", "ing/lost", "-o", "json")
    told = json.loads(called.out)
    assert (told["is_served"], told["rules"], told["facts"]["Class"]) == (False, [], "nobody: there is no such IngressClass")
    assert [each["reason"] for each in told["problems"]] == ["NoSuchClass"]


async def test_one_that_is_not_there_is_exit_code_1(lab: Lab) -> None:
    called = await lab.call("explain", "ingress/none")
    assert (called.code, called.out) == (1, "")
