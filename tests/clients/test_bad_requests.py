"""What the server refuses, in the words that people know, and that it stays unmoved."""

import pytest
from kubectl_command import Kubectl
from msgspec import json

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "held"},
    "spec": {"type": "NodePort", "clusterIP": "10.96.0.77", "ports": [{"port": 80, "nodePort": 30077}]},
}
"""Of the bands from which nothing is drawn for other Services while there is room elsewhere."""
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "held"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "held"}},
        "template": {
            "metadata": {"labels": {"app": "held"}},
            "spec": {"containers": [{"name": "c", "image": "mooring.dev/pause"}]},
        },
    },
}


def text(document: object) -> str:
    return json.encode(document).decode()


def service(name: str, **spec: object) -> str:
    return text({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})


@pytest.fixture(scope="module")
def held(stock: Kubectl) -> Kubectl:
    """A namespace with a Service that holds an address and a node port, a Deployment that is complete and a ConfigMap."""
    stock("create", "-f", "-", stdin=text({"apiVersion": "v1", "kind": "List", "items": [SERVICE, DEPLOYMENT]}))
    stock("create", "configmap", "held", "--from-literal=a=1")
    stock("wait", "--for=jsonpath={.status.conditions[?(@.type=='Progressing')].reason}=NewReplicaSetAvailable", "deploy/held")
    return stock


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (
            service("other", clusterIP="10.96.0.77", ports=[{"port": 80}]),
            "failed to allocate IP 10.96.0.77: provided IP is already allocated",
        ),
        (
            service("other", type="NodePort", ports=[{"port": 80, "nodePort": 30077}]),
            "spec.ports[0].nodePort: Invalid value: 30077: provided port is already allocated",
        ),
        (
            service("other", type="NodePort", ports=[{"port": 80, "nodePort": 80}]),
            "provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (service("other", clusterIP="11.0.0.1", ports=[{"port": 80}]), "The range of valid IPs is 10.96.0.0/16"),
        (service("Other", ports=[{"port": 80}]), "label must consist of lower case alphanumeric characters or '-'"),
        (service("other"), "spec.ports: Required value"),
        (service("other", ports=[{"port": 80}, {"port": 81}]), "spec.ports[0].name: Required value"),
        (
            text({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Bad_Name"}}),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'",
        ),
        (
            text(DEPLOYMENT).replace('"matchLabels":{"app":"held"}', '"matchLabels":{"app":"other"}'),
            "`selector` does not match template `labels`",
        ),
        ("apiVersion: v1\nkind: Nonsuch\nmetadata: {name: one}\n", 'no matches for kind "Nonsuch" in version "v1"'),
        ("apiVersion: v1\nkind: [\n", "error converting YAML to JSON: yaml: line 2: did not find expected node content"),
        ('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": ', "error parsing STDIN: unexpected EOF"),
        (text(SERVICE), 'services "held" already exists'),
        (
            text({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "namespace": "elsewhere"}}),
            "the namespace from the provided object \"elsewhere\" does not match the namespace",
        ),
    ],
    ids=[
        "an address that another holds",
        "a node port that another holds",
        "a node port outside the range",
        "an address outside the range",
        "a Service name that is no DNS label",
        "a Service without ports",
        "several ports without names",
        "a name in capitals",
        "a selector that misses its own pods",
        "an unknown kind",
        "broken YAML",
        "broken JSON",
        "what is there already",
        "an object of another namespace",
    ],
)  # fmt: skip
def test_creating_is_refused(held: Kubectl, manifest: str, expected: str) -> None:
    assert expected in held.refused("create", "--validate=false", "-f", "-", stdin=manifest)


@pytest.mark.parametrize(
    ("kind", "patch", "expected"),
    [
        ("svc", {"spec": {"clusterIP": "10.96.0.78"}}, "spec.clusterIPs[0]: Invalid value: "),
        ("svc", {"spec": {"clusterIP": "10.96.0.78"}}, "may not change once set"),
        ("svc", {"spec": {"type": "Other"}}, 'spec.type: Unsupported value: "Other"'),
        ("svc", {"spec": {"sessionAffinity": "Some"}}, 'spec.sessionAffinity: Unsupported value: "Some"'),
        ("deploy", {"spec": {"selector": {"matchLabels": {"app": "x"}}}}, "field is immutable"),
        ("deploy", {"spec": {"replicas": -1}}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ("cm", {"data": {"a": 5}}, "cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        ("cm", {"metadata": {"labels": {"a b": "c"}}}, "name part must consist of alphanumeric characters"),
        ("cm", {"metadata": {"uid": "other"}}, "Precondition failed: UID in precondition: other"),
        ("cm", {"metadata": {"name": "other"}}, "the name of the object (other) does not match the name on the URL (held)"),
    ],
    ids=lambda value: text(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_changing_is_refused(held: Kubectl, kind: str, patch: dict[str, object], expected: str) -> None:
    before = held("get", kind, "held", "-o", "json")
    assert expected in held.refused("patch", kind, "held", "--type=merge", "-p", text(patch))
    assert before == held("get", kind, "held", "-o", "json")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("get", "cm", "nobody"), 'Error from server (NotFound): configmaps "nobody" not found\n'),
        (("delete", "svc", "nobody"), 'Error from server (NotFound): services "nobody" not found\n'),
        (("get", "nobodies"), 'error: the server doesn\'t have a resource type "nobodies"\n'),
        (("get", "pods", "-l", "a in (b"), "unable to parse requirement: found '', expected: ')'"),
        (("get", "pods", "--field-selector", "foo=bar"), "field label not supported: foo"),
        (("get", "--raw", "/nowhere"), "Error from server (NotFound): the server could not find the requested resource\n"),
        (("get", "--raw", "/api/v1/pods?limit=x"), "(BadRequest)"),
        (("get", "--raw", "/api/v1/pods?resourceVersion=x"), 'invalid resource version "x"'),
        (("delete", "ns", "default"), 'namespaces "default" is forbidden: this namespace may not be deleted'),
        (("create", "cm", "held"), 'configmaps "held" already exists'),
        (("patch", "cm", "held", "-p", '{"data":'), "(BadRequest)"),
        (("patch", "cm", "held", "--type=json", "-p", '[{"op":"remove","path":"/no"}]'), "is invalid"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_is_refused(held: Kubectl, arguments: tuple[str, ...], expected: str) -> None:
    manifest = text({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}})
    assert expected in held.refused(*arguments, stdin=manifest)


def test_a_refused_edit_keeps_the_object_and_says_why(held: Kubectl, tmp_path) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/type: NodePort/type: Other/' \"$1\"\n")
    editor.chmod(0o755)
    assert 'services "held" is invalid' in held.refused("edit", "svc", "held", editor=str(editor))
    assert "NodePort" == held("get", "svc", "held", "-o", "jsonpath={.spec.type}")
