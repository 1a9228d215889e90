"""Do webhooks over real HTTPS and policies decide what kubectl may write? One server on this machine, one in a pod."""

import base64
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import webhook_server
from kubectl_command import Kubectl, eventually

from mooring.edges import certificates
from mooring.edges.certificates import Subject

pytestmark = [pytest.mark.root, pytest.mark.cluster]

DAY = timedelta(days=1)


class Hooks:
    """The webhook configurations of this module's namespace, and the keys of their servers."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self.kubectl, self.folder = kubectl, folder
        key = certificates.new_key()
        self.authority = certificates.self_signed(key, DAY)
        own = certificates.new_key()
        names = ("127.0.0.1", f"hook.{kubectl.namespace}.svc")
        signed = certificates.signed(certificates.key_pem(key) + self.authority, own, Subject("hook", names=names), DAY)
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        self.certificate.write_bytes(signed)
        self.key.write_bytes(certificates.key_pem(own))

    def configure(self, client: dict[str, Any], failure_policy: str = "Fail") -> None:
        """Both kinds, for ConfigMaps of this namespace, at /mutate and /validate of one server."""
        items = []
        for kind, path in (("Mutating", "mutate"), ("Validating", "validate")):
            place = dict(client)
            if "url" in place:
                place["url"] += f"/{path}"
            else:
                place["service"] = {**place["service"], "path": f"/{path}"}
            items.append(
                {
                    "apiVersion": "admissionregistration.k8s.io/v1",
                    "kind": f"{kind}WebhookConfiguration",
                    "metadata": {"name": self.kubectl.namespace},
                    "webhooks": [
                        {
                            "name": f"{path}.hooks.example.com",
                            "clientConfig": {**place, "caBundle": base64.b64encode(self.authority).decode()},
                            "rules": [
                                {
                                    "operations": ["CREATE", "UPDATE"],
                                    "apiGroups": [""],
                                    "apiVersions": ["v1"],
                                    "resources": ["configmaps"],
                                }
                            ],
                            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.kubectl.namespace}},
                            "matchConditions": [
                                {"name": "not-the-root-ca", "expression": 'object.metadata.name != "kube-root-ca.crt"'}
                            ],
                            "admissionReviewVersions": ["v1"],
                            "sideEffects": "None",
                            "failurePolicy": failure_policy,
                            "timeoutSeconds": 30,
                        }
                    ],
                }
            )
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def create(self, name: str, **data: str) -> subprocess.CompletedProcess[str]:
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        return self.kubectl.run("create", "-f", "-", "-o", "json", stdin=json.dumps(document), check=False)


@pytest.fixture(scope="module")
def hooks(stock: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hooks]:
    yield Hooks(stock, tmp_path_factory.mktemp("hooks"))
    stock(
        "delete", "mutatingwebhookconfiguration,validatingwebhookconfiguration,validatingadmissionpolicy,"
        "validatingadmissionpolicybinding", stock.namespace, "--ignore-not-found",
    )  # fmt: skip


def decides(hooks: Hooks, prefix: str) -> None:
    """It changes, warns of and refuses what kubectl sends."""
    made = hooks.create(f"{prefix}-good", a="b")
    assert json.loads(made.stdout)["data"] == {"a": "b", "seen": "CREATE by kubernetes-admin"}, made.stderr
    assert made.stderr == f"Warning: {prefix}-good was looked at\n"
    refused = hooks.create(f"{prefix}-bad", forbidden="yes")
    assert (refused.returncode, refused.stderr) == (
        1,
        'Error from server: error when creating "STDIN": admission webhook "validate.hooks.example.com" denied the '
        f"request: {prefix}-bad is not wanted\n",
    )


def test_a_webhook_at_a_url(hooks: Hooks) -> None:
    words = [sys.executable, webhook_server.__file__, "0", str(hooks.certificate), str(hooks.key)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout
            port = int(serving.stdout.readline())
            hooks.configure({"url": f"https://127.0.0.1:{port}"})
            decides(hooks, "url")
        finally:
            serving.kill()
    # Its server is gone: what the policy says holds. The port is held, so that nobody else answers there.
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", port))
        failed = hooks.create("gone")
        assert failed.returncode == 1
        assert failed.stderr == (
            'Error from server (InternalError): error when creating "STDIN": Internal error occurred: failed calling webhook '
            f'"mutate.hooks.example.com": failed to call webhook: dial tcp 127.0.0.1:{port}: connect: connection refused\n'
        )
        hooks.configure({"url": f"https://127.0.0.1:{port}"}, failure_policy="Ignore")
        assert "seen" not in json.loads(hooks.create("gone", forbidden="yes").stdout)["data"]


def test_a_webhook_in_a_pod_behind_a_service(hooks: Hooks) -> None:
    kubectl, source = hooks.kubectl, Path(webhook_server.__file__).read_text()
    tls = {
        name: base64.b64encode(path.read_bytes()).decode()
        for name, path in (("tls.crt", hooks.certificate), ("tls.key", hooks.key))
    }
    items: list[dict[str, Any]] = [
        {"kind": "Secret", "metadata": {"name": "hook"}, "type": "kubernetes.io/tls", "data": tls},
        {"kind": "Service", "metadata": {"name": "hook"},
         "spec": {"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": 8443}]}},
        {"kind": "Pod", "metadata": {"name": "hook", "labels": {"app": "hook"}}, "spec": {
            "volumes": [{"name": "tls", "secret": {"secretName": "hook"}}],
            "containers": [{
                "name": "main", "image": "python",
                "command": ["python3", "-c", source, "8443", "/tls/tls.crt", "/tls/tls.key"],
                "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
                "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
            }],
        }},
    ]  # fmt: skip
    whole = {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", **each} for each in items]}
    kubectl("apply", "-f", "-", stdin=json.dumps(whole))
    kubectl("wait", "--for=condition=Ready", "pod/hook", "--timeout=30s")
    hooks.configure({"service": {"name": "hook", "namespace": kubectl.namespace}})
    ready = eventually(lambda: hooks.create("endpoint"), lambda made: "no endpoints available" not in made.stderr)
    assert ready.returncode == 0, ready.stderr
    decides(hooks, "pod")


def test_a_policy(hooks: Hooks) -> None:
    kubectl, name = hooks.kubectl, hooks.kubectl.namespace
    rules = [{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"]}]
    group = {"apiVersion": "admissionregistration.k8s.io/v1"}
    policy = {
        **group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": rules},
            "variables": [{"name": "external", "expression": "object.spec.type in ['NodePort', 'LoadBalancer']"}],
            "validations": [{
                "expression": "!variables.external || has(object.metadata.annotations)",
                "messageExpression": "'a Service of type ' + object.spec.type + ' needs a reason'",
            }],
        },
    }  # fmt: skip
    binding = {
        **group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}},
        },
    }  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]}))
    assert kubectl.refused("create", "service", "nodeport", "door", "--tcp=80") == (
        'error: failed to create NodePort service: services "door" is forbidden: '
        f"ValidatingAdmissionPolicy {name!r} with binding {name!r} denied request: a Service of type NodePort needs a reason\n"
    )
    kubectl("create", "service", "clusterip", "inside", "--tcp=80")
