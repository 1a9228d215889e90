"""Does kubectl work with kinds that definitions add as with any other?"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubectl_command import Kubectl, eventually

pytestmark = [pytest.mark.root, pytest.mark.cluster]

GROUP = "clients.example.com"
SCHEMA = """
type: object
properties:
  spec:
    type: object
    required: [size]
    x-kubernetes-validations:
    - {rule: "self.size <= self.most", message: "size must not be above most"}
    properties:
      size: {type: integer, minimum: 1, description: How many there are to be.}
      most: {type: integer, default: 5}
      color: {type: string, enum: [red, blue]}
      ports:
        type: array
        x-kubernetes-list-type: map
        x-kubernetes-list-map-keys: [name]
        items:
          type: object
          required: [name]
          properties:
            name: {type: string}
            port: {x-kubernetes-int-or-string: true}
  status:
    type: object
    properties:
      size: {type: integer}
      selector: {type: string}
      conditions:
        type: array
        items:
          type: object
          properties: {type: {type: string}, status: {type: string}}
"""
COLUMNS = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
]
SCALE = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"gadgets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"], "categories": ["toys"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": yaml.safe_load(SCHEMA)},
                "additionalPrinterColumns": COLUMNS,
                "subresources": {"status": {}, "scale": SCALE},
                "selectableFields": [{"jsonPath": ".spec.color"}],
            }
        ],
    },
}
NAME = f"gadgets.{GROUP}"


def gadget(name: str, **spec: object) -> str:
    document = {"apiVersion": f"{GROUP}/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec}
    return yaml.safe_dump(document)


@pytest.fixture(scope="module")
def defined(stock: Kubectl) -> Iterator[Kubectl]:
    stock("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(DEFINITION))
    stock("wait", "--for=condition=Established", f"crd/{NAME}", "--timeout=20s")
    yield stock
    stock("delete", "crd", NAME, "--ignore-not-found", "--wait=false")


def test_objects_are_made_shown_changed_and_deleted(defined: Kubectl) -> None:
    assert f"gadget.{GROUP}/one created\n" == defined("create", "-f", "-", stdin=gadget("one", size=2, color="red"))
    lines = defined("get", "gd", "-o", "wide").splitlines()
    assert [["NAME", "SIZE", "COLOR", "READY"], ["one", "2", "red"]] == [line.split() for line in lines]
    assert f"gadget.{GROUP}/one" == defined("get", "toys", "-o", "name").strip()
    defined("patch", "gadget", "one", "--type=merge", "-p", '{"spec":{"color":"blue"}}')
    assert ["one"] == [
        each["metadata"]["name"] for each in defined.json("get", "gadgets", "--field-selector=spec.color=blue")["items"]
    ]
    defined("label", "gadget", "one", "a=b")
    assert "Size:" in defined("describe", "gadget", "one")
    defined("delete", "gadget", "one")
    assert "No resources found" in defined.run("get", "gadgets").stderr


def test_what_is_wrong_is_told(defined: Kubectl) -> None:
    words = defined.refused("create", "-f", "-", stdin=gadget("bad", size=9, color="green"))
    assert 'spec.color: Unsupported value: "green": supported values: "red", "blue"' in words
    words = defined.refused("create", "-f", "-", stdin=gadget("bad", size=9))
    assert 'The Gadget "bad" is invalid: spec: Invalid value: "object": size must not be above most' in words
    words = defined.refused("create", "-f", "-", stdin=gadget("bad", size=1, colour="red"))
    assert 'strict decoding error: unknown field "spec.colour"' in words


def test_applying_merges_lists_by_their_keys(defined: Kubectl, tmp_path: Path) -> None:
    defined("apply", "-f", "-", stdin=gadget("applied", size=1, ports=[{"name": "a", "port": 1}]))
    assert "unchanged" in defined("apply", "-f", "-", stdin=gadget("applied", size=1, ports=[{"name": "a", "port": 1}]))
    for manager, port in (("first", {"name": "a", "port": 1}), ("second", {"name": "b", "port": "http"})):
        document = gadget("shared", size=1, ports=[port])
        defined("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=document)
    ports = defined.json("get", "gadget", "shared")["spec"]["ports"]
    assert [{"name": "a", "port": 1}, {"name": "b", "port": "http"}] == ports
    changed = gadget("applied", size=3)
    (tmp_path / "gadget.yaml").write_text(changed)
    difference = defined.run("diff", "-f", str(tmp_path / "gadget.yaml"), check=False)
    assert (1, True) == (difference.returncode, "+  size: 3" in difference.stdout)


def test_scaling_and_waiting(defined: Kubectl) -> None:
    defined("apply", "-f", "-", stdin=gadget("scaled", size=1))
    assert f"gadget.{GROUP}/scaled scaled\n" == defined("scale", "gadget", "scaled", "--replicas=4")
    assert 4 == defined.json("get", "gadget", "scaled")["spec"]["size"]
    status = '{"status":{"size":4,"conditions":[{"type":"Ready","status":"True"}]}}'
    defined("patch", "gadget", "scaled", "--subresource=status", "--type=merge", "-p", status)
    defined("wait", "--for=condition=Ready", "gadget/scaled", "--timeout=20s")
    defined("wait", "--for=jsonpath={.status.size}=4", "gadget/scaled", "--timeout=20s")


def test_fields_are_explained(defined: Kubectl) -> None:
    told = eventually(lambda: defined.run("explain", "gadget.spec.size", check=False).stdout, lambda text: "How many" in text)
    assert "FIELD: size <integer>" in told
    assert "How many there are to be." in told
    assert "gadgets" in defined("api-resources", f"--api-group={GROUP}", "--no-headers", "-o", "name")


def test_a_definition_takes_its_objects_with_it(defined: Kubectl) -> None:
    held = {"apiVersion": f"{GROUP}/v1", "kind": "Gadget", "spec": {"size": 1}}
    metadata = {"name": "held", "finalizers": [f"{GROUP}/hold"]}
    defined("create", "-f", "-", stdin=yaml.safe_dump({**held, "metadata": metadata}))
    defined("delete", "crd", NAME, "--wait=false")
    eventually(
        lambda: defined.json("get", "gadgets")["items"], lambda items: ["held"] == [each["metadata"]["name"] for each in items]
    )
    assert "not allowed while custom resource definition is terminating" in defined.refused(
        "create", "-f", "-", stdin=gadget("late", size=1)
    )
    defined("patch", "gadget", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    eventually(lambda: defined.run("get", "crd", NAME, check=False).stderr, lambda words: "NotFound" in words)
    assert "the server could not find the requested resource" in defined.run("get", "gadgets", check=False).stderr
