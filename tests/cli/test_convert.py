"""`mooring convert` as a person calls it: its report, its objects, its exit codes, and what it refuses."""

import io
import json
from pathlib import Path

import pytest
import yaml

from mooring.cli.main import run

MANIFEST = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations: {ANNOTATIONS}
spec:
  ingressClassName: nginx
  rules:
  - host: web.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
"""


class Called:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def call(annotations: str, *more: str, manifest: str = MANIFEST) -> Called:
        file = tmp_path / "ingress.yaml"
        file.write_text(manifest.replace("ANNOTATIONS", annotations))
        code = run(["convert", "ingress", "-f", str(file), *more])
        return Called(code, *capsys.readouterr())

    return call


REFUSED = 'nginx.ingress.kubernetes.io/configuration-snippet: "more_set_headers X;"'
GUARDED = "nginx.ingress.kubernetes.io/whitelist-source-range: 10.0.0.0/8"


def test_the_report_ends_on_a_verdict(convert) -> None:
    called = convert("")
    assert 0 == called.code
    assert "Everything carries over when the class name becomes mooring-envoy or mooring-nginx." == called.out.splitlines()[-1]
    table = [line.split() for line in called.out.splitlines()]
    assert ["ingress", "default/web", "mooring-envoy", "mooring-nginx", "Gateway", "API"] == table[0]
    assert ["web.example/", "(Prefix)", "->", "web:80", "✓", "✓", "✓"] == table[1]


def test_what_cannot_is_told_with_what_to_do(convert) -> None:
    called = convert(REFUSED)
    assert 1 == called.code
    assert "1  ✗ configuration of NGINX's own is never taken over" in called.out
    assert "custom-headers for headers of answers" in " ".join(called.out.split())


def test_the_report_is_about_the_class_and_the_objects_about_gateway_api(convert) -> None:
    assert 0 == convert(GUARDED).code
    called = convert(GUARDED, "-o", "yaml")
    assert 1 == called.code
    assert "whitelist-source-range: 10.0.0.0/8: who may come in, by address" in called.err


def test_objects_as_yaml_and_json_are_the_same(convert) -> None:
    as_yaml, as_json = convert("", "-o", "yaml"), convert("", "-o", "json")
    assert (0, 0) == (as_yaml.code, as_json.code)
    assert json.loads(as_json.out)["items"] == [*yaml.safe_load_all(as_yaml.out)]
    assert "&id" not in as_yaml.out
    kinds = [(each["kind"], each["metadata"]["namespace"]) for each in yaml.safe_load_all(as_yaml.out)]
    assert [("Gateway", "default"), ("HTTPRoute", "default")] == kinds


def test_the_gateways_class_and_the_namespace_are_asked_for(convert) -> None:
    called = convert("", "-o", "json", "--gateway-class", "other", "-n", "shop")
    gateway, _ = json.loads(called.out)["items"]
    assert ("other", "shop") == (gateway["spec"]["gatewayClassName"], gateway["metadata"]["namespace"])


def test_only_ingresses_of_a_class(convert) -> None:
    assert 0 == convert("", "--class", "nginx").code
    called = convert("", "--class", "other")
    assert (1, True) == (called.code, "no Ingress of class other" in called.err)
    old = MANIFEST.replace("  ingressClassName: nginx\n", "")
    assert 0 == convert("kubernetes.io/ingress.class: old", "--class", "old", manifest=old).code


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(MANIFEST.replace("ANNOTATIONS", "")))
    assert 0 == run(["convert", "ingress", "-f", "-"])
    assert "ingress default/web" in capsys.readouterr().out


BROKEN = {
    "a version that is gone": (MANIFEST.replace("networking.k8s.io/v1", "extensions/v1beta1"), "write networking.k8s.io/v1"),
    "a field of another type": (MANIFEST.replace("number: 80", "number: eighty"), "number"),
    "no YAML": ("{", "is not YAML"),
}


@pytest.mark.parametrize(("manifest", "words"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_told(convert, manifest: str, words: str) -> None:
    called = convert("", manifest=manifest)
    assert (1, True) == (called.code, words in called.err)


def test_a_broken_file_hides_no_other(convert, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("{")
    called = convert("", "-f", str(tmp_path / "broken.yaml"))
    assert (1, True) == (called.code, "Everything carries over" in called.out)


@pytest.mark.parametrize("words", [["service", "-f", "x"], ["ingress", "-f", "x", "-o", "table"], ["ingress"]])
def test_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert 2 == run(["convert", *words])
    assert capsys.readouterr().err
