"""kubectl's server-side apply, its diff, and what it prunes: by allow-list and by ApplySet."""

import json
import re

from kubectl_command import Kubectl

from local_cluster import Cluster

MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, labels: {{app: {app}}}}}
data: {data}
"""
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: web, image: "mooring.dev/echo:1", ports: [{{containerPort: 8080}}]}}]}}
"""


def one(name: str, data: str = "{a: '1'}", app: str = "x") -> str:
    return MAP.format(name=name, data=data, app=app)


def owners(kubectl: Kubectl, what: str) -> list[tuple[str, str, str]]:
    found = kubectl.json("get", what, "--show-managed-fields")["metadata"]["managedFields"]
    return [(entry["manager"], entry["operation"], entry.get("subresource", "")) for entry in found]


def names(kubectl: Kubectl, kind: str, selector: str) -> list[str]:
    return kubectl("get", kind, "-l", selector, "-o", "name").split()


def test_apply_on_the_server_creates_then_changes_then_does_nothing(stock: Kubectl) -> None:
    text = one("first")
    assert "configmap/first serverside-applied\n" == stock("apply", "--server-side", "-f", "-", stdin=text)
    before = stock.json("get", "configmap/first", "--show-managed-fields")
    assert "configmap/first serverside-applied\n" == stock("apply", "--server-side", "-f", "-", stdin=text)
    assert before == stock.json("get", "configmap/first", "--show-managed-fields")
    stock("apply", "--server-side", "-f", "-", stdin=one("first", "{b: '2'}"))
    after = stock.json("get", "configmap/first", "--show-managed-fields")
    assert ({"b": "2"}, [("kubectl", "Apply", "")]) == (after["data"], owners(stock, "configmap/first"))


def test_a_conflict_is_told_and_can_be_forced(stock: Kubectl) -> None:
    stock("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=one("contested"))
    refused = stock.refused("apply", "--server-side", "-f", "-", stdin=one("contested", "{a: '2'}"))
    assert 'Apply failed with 1 conflict: conflict with "other": .data.a' in refused
    assert "Please review the fields above--they currently have other managers." in refused
    stock("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=one("contested", "{a: '2'}"))
    assert {"a": "2"} == stock.json("get", "configmap/contested")["data"]


def test_what_client_side_apply_made_is_taken_over(stock: Kubectl) -> None:
    stock("apply", "-f", "-", stdin=WEB.format(name="migrated", replicas=1))
    assert ("kubectl-client-side-apply", "Update", "") in owners(stock, "deployment/migrated")
    applied = stock("apply", "--server-side", "-f", "-", stdin=WEB.format(name="migrated", replicas=0))
    assert "deployment.apps/migrated serverside-applied\n" == applied
    found = owners(stock, "deployment/migrated")
    assert ("kubectl", "Apply", "") in found
    assert ("kubectl-client-side-apply", "Update", "") not in found
    live = stock.json("get", "deployment/migrated")
    last = json.loads(live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert (0, 0) == (live["spec"]["replicas"], last["spec"]["replicas"])


def test_scaling_by_another_hand_conflicts(stock: Kubectl) -> None:
    stock("apply", "--server-side", "-f", "-", stdin=WEB.format(name="scaled", replicas=0))
    stock("scale", "deployment/scaled", "--replicas=0")
    assert not any(entry[2] == "scale" for entry in owners(stock, "deployment/scaled"))
    stock("annotate", "deployment/scaled", "by=hand")
    stock("scale", "deployment/scaled", "--replicas=1")
    refused = stock.refused("apply", "--server-side", "-f", "-", stdin=WEB.format(name="scaled", replicas=0))
    assert f'conflict with "{stock.binary.name}" with subresource "scale" using apps/v1: .spec.replicas' in refused


def test_a_diff_by_the_server_shows_what_an_apply_would_do_and_does_nothing(stock: Kubectl) -> None:
    stock("apply", "--server-side", "-f", "-", stdin=one("compared"))
    same = stock.run("diff", "--server-side", "-f", "-", stdin=one("compared"), check=False)
    assert (0, "") == (same.returncode, same.stdout), same.stderr
    other = stock.run("diff", "--server-side", "-f", "-", stdin=one("compared", "{a: '2'}"), check=False)
    assert 1 == other.returncode, other.stderr
    assert re.search(r'^-  a: "1"\n\+  a: "2"$', other.stdout, re.MULTILINE)
    assert {"a": "1"} == stock.json("get", "configmap/compared")["data"]


def test_a_dry_run_stores_nothing(stock: Kubectl) -> None:
    done = stock("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=one("dry"))
    assert "configmap/dry serverside-applied (server dry run)\n" == done
    assert "NotFound" in stock.refused("get", "configmap/dry")


def test_objects_that_left_the_manifests_are_pruned_by_an_allow_list(stock: Kubectl) -> None:
    words = ("apply", "--prune", "-l", "app=pruned", "--prune-allowlist=core/v1/ConfigMap", "-f", "-")
    stock(*words, stdin=one("pruned-a", app="pruned") + "---" + one("pruned-b", app="pruned"))
    assert "configmap/pruned-b pruned" in stock(*words, stdin=one("pruned-a", app="pruned"))
    assert ["configmap/pruned-a"] == names(stock, "configmap", "app=pruned")


def test_objects_that_left_an_apply_set_are_pruned(stock: Kubectl) -> None:
    stock.environment["KUBECTL_APPLYSET"] = "true"
    words = ("apply", "--server-side", "--prune", "--applyset=secrets/set", "-f", "-")
    stock(*words, stdin=one("set-a") + "---" + one("set-b") + "---" + WEB.format(name="set-web", replicas=0))
    parent = stock.json("get", "secret/set")["metadata"]
    identity = parent["labels"]["applyset.kubernetes.io/id"]
    assert "ConfigMap,Deployment.apps" == parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"]
    of_set = f"applyset.kubernetes.io/part-of={identity}"
    assert ["configmap/set-a", "configmap/set-b"] == names(stock, "configmap", of_set)
    done = stock(*words, stdin=one("set-a"))
    assert {"configmap/set-b pruned", "deployment.apps/set-web pruned"} <= set(done.splitlines())
    assert ["configmap/set-a"] == names(stock, "configmap", of_set)
    parent = stock.json("get", "secret/set")["metadata"]
    assert "ConfigMap" == parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"]
    del stock.environment["KUBECTL_APPLYSET"]


def test_mooring_apply_is_the_same_hand(stock: Kubectl, cluster: Cluster) -> None:
    def mooring(text: str, *flags: str, check: bool = True) -> tuple[int, str]:
        words = ("apply", "--server-side", "-f", "-", "-n", stock.namespace, *flags)
        done = cluster.mooring(*words, stdin=text, check=check)
        return done.returncode, done.stdout + done.stderr

    assert (0, "configmap/ours serverside-applied\n") == mooring(one("ours"))
    shown = cluster.mooring("get", "configmap/ours", "-n", stock.namespace, "-o", "yaml").stdout
    assert ("name: ours" in shown, "managedFields" in shown) == (True, False)
    stock("apply", "--server-side", "-f", "-", stdin=one("ours", "{b: '2'}"))
    assert {"b": "2"} == stock.json("get", "configmap/ours")["data"]
    code, told = mooring(one("ours", "{b: '3'}"), "--field-manager", "other", check=False)
    assert (1, True, True) == (code, 'conflict with "kubectl": .data.b' in told, "--force-conflicts" in told)
    code, told = mooring(one("ours", "{b: '3'}"), "--field-manager", "other", "--force-conflicts", "--dry-run")
    assert (0, "configmap/ours serverside-applied (server dry run)\n") == (code, told)
    assert {"b": "2"} == stock.json("get", "configmap/ours")["data"]
