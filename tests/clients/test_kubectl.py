"""The everyday of kubectl, command by command, for every kubectl found; what some versions lack is not asked of those."""

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from kubectl_command import Kubectl, eventually
from msgspec import json

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: web, image: "mooring.dev/echo:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: two}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: ticker, image: busybox, command: [sh, -c, "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.2; done"]}
  - {name: shell, image: mooring.dev/toolbox}
"""
MAP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: %s, labels: {made: here}}
data: {color: %s}
"""


@pytest.fixture(scope="module")
def web(kubectl: Kubectl) -> Kubectl:
    """A Deployment of two with its Service, and a pod of two containers, all ready."""
    applied = kubectl("apply", "-f", "-", stdin=WEB)
    assert "deployment.apps/web created\nservice/web created\npod/two created\n" == applied
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=40s")
    assert "pod/two condition met\n" == kubectl("wait", "--for=condition=Ready", "pod/two", "--timeout=40s")
    return kubectl


# Looking


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        ("get pods", r"NAME +READY +STATUS +RESTARTS +AGE\ntwo +2/2 +Running +0 +\d+[sm]\w*\nweb-\w+-\w{5} +1/1 +Running"),
        ("get pods -o wide", r"AGE +IP +NODE +NOMINATED NODE +READINESS GATES\n.*10\.244\.\d+\.\d+ +node-\d +<none> +<none>"),
        ("get pods -l app=web -o name", r"^pod/web-\S+\npod/web-\S+\n$"),
        ("get pods -l app!=web,app --no-headers", r"^two +2/2"),
        ("get pods --field-selector metadata.name=two -o name", r"^pod/two\n$"),
        ("get pods --field-selector status.phase!=Running", r"^$"),
        ("get pods --chunk-size=1 -o name", r"^pod/two\npod/web-\S+\npod/web-\S+\n$"),
        ("get pods --show-labels", r"LABELS\n.*app=two\n.*app=web,pod-template-hash="),
        ("get pods -L app", r"APP\n.* two\n.* web\n.* web\n$"),
        ("get pods --sort-by=.metadata.name -o custom-columns=N:.metadata.name", r"^N\ntwo\nweb-"),
        ("get pod two -o jsonpath={.spec.containers[*].name}", r"^ticker shell$"),
        ("get svc", r"NAME +TYPE +CLUSTER-IP +EXTERNAL-IP +PORT\(S\) +AGE\nweb +ClusterIP +10\.96\.\d+\.\d+ +<none> +80/TCP"),
        ("get svc web -o yaml", r"^apiVersion: v1\nkind: Service\n"),
        ("get deploy -o wide", r"NAME +READY +UP-TO-DATE +AVAILABLE +AGE +CONTAINERS +IMAGES +SELECTOR\nweb +2/2 +2 +2 "),
        ("get rs", r"NAME +DESIRED +CURRENT +READY +AGE\nweb-\w+ +2 +2 +2 "),
        ("get endpointslices", r"NAME +ADDRESSTYPE +PORTS +ENDPOINTS +AGE\nweb-\w+ +IPv4 +8080 +10\.244\.\d+\.\d+,10\.244"),
        ("get ep web", r"web +10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080"),
        ("get all", r"pod/two .*\n(.*\n)+service/web .*\n(.*\n)+deployment.apps/web .*\n(.*\n)+replicaset.apps/web-"),
        ("get nodes -o wide", r"node-1 +Ready +<none> +\S+ +v1\.\S+ +172\.30\.0\.\d+"),
        ("get ns default", r"NAME +STATUS +AGE\ndefault +Active"),
        ("get cm,sa", r"configmap/kube-root-ca.crt +1 (.*\n)+.*serviceaccount/default +0 "),
        (
            "get servicecidrs,ipaddresses",
            r"servicecidr.networking.k8s.io/kubernetes +10\.96\.0\.0/16 (.*\n)+ipaddress\S+/10\.96",
        ),
        ("get leases -n kube-node-lease", r"node-1 +node-1 "),
        ("describe pod two", r"Containers:\n  ticker:(.*\n)+ +Ready +True(.*\n)+.*Started container shell"),
        ("describe svc web", r"Endpoints: +10\.244\.\d+\.\d+:8080,10\.244\.\d+\.\d+:8080"),
        ("describe deploy web", r"2 desired \| 2 updated \| 2 total \| 2 available \| 0 unavailable(.*\n)+.*ScalingReplicaSet"),
        ("describe rs", r"Controlled By: +Deployment/web(.*\n)+.*SuccessfulCreate"),
        ("describe node node-1", r"PodCIDR: +10\.244\.\d\.0/24(.*\n)+Non-terminated Pods"),
        ("describe ns default", r"Status: +Active"),
        ("get events --field-selector involvedObject.name=two,reason=Scheduled", r"pod/two +Successfully assigned"),
        ("explain service.spec.type", r"ClusterIP, NodePort, and\s+LoadBalancer"),
        ("explain deployment.spec.strategy --recursive", r"rollingUpdate\s+<\S+>\n +maxSurge"),
        ("api-resources --namespaced=false -o name", r"^namespaces\nnodes\npersistentvolumes\n"),
        ("api-versions", r"apps/v1\nauthentication.k8s.io/v1\nauthorization.k8s.io/v1\n"),
        ("cluster-info", r"is running at .*https://127\.0\.0\.1:"),
        ("version", r"Server Version: .*1\.33"),
        ("get --raw /readyz", r"^ok$"),
    ],
)
def test_looking(web: Kubectl, arguments: str, pattern: str) -> None:
    """Slices, Endpoints and Events come after the pods that are ready."""
    words = arguments.split()
    eventually(
        lambda: web(*words) if "-n" not in words else _elsewhere(web, words), lambda written: re.search(pattern, written)
    )


def _elsewhere(web: Kubectl, words: list[str]) -> str:
    done = subprocess.run([str(web.binary), *words], env=web.environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_describing_slices(web: Kubectl) -> None:
    if web.minor >= 21:  # Before, discovery.k8s.io/v1beta1 is all that it asks for.
        eventually(lambda: web("describe", "endpointslices"), lambda told: "TargetRef:" in told)


def test_events_of_one_object(web: Kubectl) -> None:
    if web.minor >= 23:
        told = re.compile(r"Normal +Scheduled +Pod/two +Successfully assigned")
        eventually(lambda: web("events", "--for", "pod/two"), told.search)
    else:
        assert "error" in web.refused("events").lower()


def test_watching_shows_what_is_and_then_what_changes(web: Kubectl) -> None:
    watching = web.start("get", "cm", "--watch", "-o", "name")
    try:
        assert watching.stdout
        assert "configmap/kube-root-ca.crt\n" == watching.stdout.readline()
        web("create", "cm", "watched")
        while "configmap/watched\n" != watching.stdout.readline():
            assert watching.poll() is None
    finally:
        watching.kill()
        watching.communicate()


# Making and changing


def test_every_create_command_is_understood(kubectl: Kubectl) -> None:
    made = [
        ("deployment", "made", "--image=mooring.dev/pause", "--replicas=0"),
        ("service", "clusterip", "made", "--tcp=80:8080"),
        ("service", "nodeport", "made-port", "--tcp=80:8080"),
        ("service", "loadbalancer", "made-balancer", "--tcp=80:8080"),
        ("service", "externalname", "made-name", "--external-name=example.com"),
        ("configmap", "made", "--from-literal=a=1"),
        ("secret", "generic", "made", "--from-literal=p=w"),
        ("secret", "docker-registry", "made-registry", "--docker-server=r", "--docker-username=u", "--docker-password=p"),
        ("ingress", "made", "--rule=example.com/path=made:80", "--class=made"),
        ("serviceaccount", "made"),
    ]
    for words in made:
        assert kubectl("create", *words).endswith(" created\n"), words
    if kubectl.minor >= 24:
        assert 3 == len(kubectl("create", "token", "made").split("."))
    types = kubectl(
        "get", "svc", "-l", "app in (made,made-port,made-balancer,made-name)", "-o", "jsonpath={.items[*].spec.type}"
    )
    assert ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"] == sorted(types.split())
    assert "Namespaces" not in kubectl("describe", "ing", "made")
    assert "service/exposed exposed\n" == kubectl("expose", "deployment", "made", "--name=exposed", "--port=80")
    kubectl("delete", "svc,cm,secret,ing,sa,deploy", "made", "exposed", "--ignore-not-found")
    assert "" == kubectl("get", "deploy", "made", "--ignore-not-found")


def test_applying_is_creating_then_changing_then_nothing(kubectl: Kubectl) -> None:
    first, second = MAP % ("applied", "red"), MAP % ("applied", "blue")
    assert "configmap/applied created\n" == kubectl("apply", "-f", "-", stdin=first)
    assert "configmap/applied unchanged\n" == kubectl("apply", "-f", "-", stdin=first)
    differs = kubectl.run("diff", "-f", "-", stdin=second, check=False)
    assert 1 == differs.returncode, differs.stderr
    assert "-  color: red\n+  color: blue\n" in differs.stdout
    assert "(server dry run)" in kubectl("apply", "--dry-run=server", "-f", "-", stdin=second)
    assert "red" == kubectl("get", "cm", "applied", "-o", "jsonpath={.data.color}")
    assert "configmap/applied configured\n" == kubectl("apply", "-f", "-", stdin=second)
    assert 0 == kubectl.run("diff", "-f", "-", stdin=second).returncode
    assert "color: blue" in kubectl("apply", "view-last-applied", "cm", "applied")


def test_apply_removes_what_left_the_manifest_and_keeps_what_others_wrote(kubectl: Kubectl) -> None:
    whole = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared}\ndata: {mine: a, gone: b}\n"
    kubectl("apply", "-f", "-", stdin=whole)
    kubectl("patch", "cm", "shared", "--type=merge", "-p", '{"data":{"theirs":"c"}}')
    kubectl("apply", "-f", "-", stdin=whole.replace(", gone: b", ""))
    assert {"mine": "a", "theirs": "c"} == kubectl.json("get", "cm", "shared")["data"]


def test_apply_merges_lists_by_their_keys(kubectl: Kubectl) -> None:
    service = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: merged}\nspec: {ports: [{name: a, port: 1}, {name: b, port: 2}]}\n"
    )
    kubectl("apply", "-f", "-", stdin=service)
    address = kubectl("get", "svc", "merged", "-o", "jsonpath={.spec.clusterIP}")
    kubectl(
        "apply", "-f", "-", stdin=service.replace("{name: a, port: 1}, ", "").replace("port: 2}", "port: 2, targetPort: 9}")
    )
    spec = kubectl.json("get", "svc", "merged")["spec"]
    assert ([{"name": "b", "port": 2, "protocol": "TCP", "targetPort": 9}], address) == (spec["ports"], spec["clusterIP"])


SIZED = '{"spec":{"containers":[{"name":"sized","image":"mooring.dev/pause","resources":{"requests":{"cpu":"10m"}}}]}}'


def test_patching_three_ways(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=MAP % ("patched", "red"))
    for kind, patch in (
        ("strategic", '{"data":{"a":"1"}}'),
        ("merge", '{"data":{"b":"2","color":null}}'),
        ("json", '[{"op":"test","path":"/data/a","value":"1"},{"op":"add","path":"/data/c","value":"3"}]'),
    ):
        assert "configmap/patched patched\n" == kubectl("patch", "cm", "patched", f"--type={kind}", "-p", patch)
    assert {"a": "1", "b": "2", "c": "3"} == kubectl.json("get", "cm", "patched")["data"]
    assert "configmap/patched patched (no change)\n" == kubectl("patch", "cm", "patched", "-p", '{"data":{"a":"1"}}')


def test_resizing_a_pod_that_runs(stock: Kubectl) -> None:
    stock("run", "sized", "--image=mooring.dev/pause", "--overrides", SIZED)
    stock("wait", "--for=condition=Ready", "pod/sized", "--timeout=30s")
    more = '{"spec":{"containers":[{"name":"sized","resources":{"requests":{"cpu":"20m"}}}]}}'
    assert "pod updates may not change fields other than" in stock.refused("patch", "pod", "sized", "-p", more)
    assert "pod/sized patched\n" == stock("patch", "pod", "sized", "--subresource=resize", "-p", more)
    told = "jsonpath={.status.containerStatuses[0].resources.requests.cpu}={.status.containerStatuses[0].restartCount}"
    eventually(lambda: stock("get", "pod", "sized", "-o", told), lambda has: has == "20m=0")


def test_editing_with_an_editor(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("create", "-f", "-", stdin=MAP % ("edited", "red"))
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/color: red/color: green/' \"$1\"\n")
    editor.chmod(0o755)
    assert "configmap/edited edited\n" == kubectl("edit", "cm", "edited", editor=str(editor))
    assert "green" == kubectl("get", "cm", "edited", "-o", "jsonpath={.data.color}")
    assert "Edit cancelled, no changes made." in kubectl.run("edit", "cm", "edited", editor="true").stderr


def test_replacing_and_a_stale_replace(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=MAP % ("replaced", "red"))
    old = kubectl("get", "cm", "replaced", "-o", "json")
    assert "configmap/replaced replaced\n" == kubectl("replace", "-f", "-", stdin=MAP % ("replaced", "blue"))
    stale = kubectl.refused("replace", "-f", "-", stdin=old.replace('"red"', '"stale"'))
    assert (
        'Error from server (Conflict): error when replacing "STDIN": Operation cannot be fulfilled on configmaps "replaced": '
        "the object has been modified; please apply your changes to the latest version and try again\n"
    ) == stale
    assert "configmap/replaced replaced\n" in kubectl("replace", "--force", "-f", "-", stdin=MAP % ("replaced", "new"))


def test_labels_and_annotations(kubectl: Kubectl) -> None:
    kubectl("create", "cm", "marked")
    kubectl("label", "cm", "marked", "tier=front")
    assert "error: 'tier' already has a value (front), and --overwrite is false\n" == kubectl.refused(
        "label", "cm", "marked", "tier=back"
    )
    kubectl("label", "cm", "marked", "tier=back", "--overwrite")
    kubectl("annotate", "cm", "marked", "note=a b")
    metadata = kubectl.json("get", "cm", "marked")["metadata"]
    assert ({"tier": "back"}, {"note": "a b"}) == (metadata["labels"], metadata["annotations"])
    kubectl("label", "cm", "marked", "tier-")
    kubectl("annotate", "cm", "marked", "note-")
    assert not {"labels", "annotations"} & kubectl.json("get", "cm", "marked")["metadata"].keys()


# Workloads


def test_a_rollout_from_change_to_undo(web: Kubectl) -> None:
    def image() -> str:
        return web("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")

    def rolled_out() -> None:
        assert "successfully rolled out" in web("rollout", "status", "deployment/web", "--timeout=40s")

    assert "deployment.apps/web scaled\n" == web("scale", "deployment/web", "--replicas=1")
    assert "error: Expected replicas to be 5, was 1\n" == web.refused(
        "scale", "deployment/web", "--current-replicas=5", "--replicas=2"
    ).lower().replace("expected", "Expected")
    web("rollout", "pause", "deployment/web")
    assert "deployment.apps/web image updated\n" == web("set", "image", "deployment/web", "web=mooring.dev/echo:2")
    assert "deployment.apps/web env updated\n" == web("set", "env", "deployment/web", "COLOR=blue")
    web("set", "resources", "deployment/web", "--requests=cpu=1m")
    web("rollout", "resume", "deployment/web")
    rolled_out()
    assert re.search(r"REVISION +CHANGE-CAUSE\n1 +<none>\n2 +<none>\n", web("rollout", "history", "deployment/web"))
    second = web("rollout", "history", "deployment/web", "--revision=2")
    assert re.search(r"mooring.dev/echo:2\n(.*\n)+.*COLOR:\s+blue", second)
    assert "deployment.apps/web rolled back\n" == web("rollout", "undo", "deployment/web")
    rolled_out()
    assert "mooring.dev/echo:1" == image()
    assert "deployment.apps/web restarted\n" == web("rollout", "restart", "deployment/web")
    rolled_out()
    eventually(lambda: web("get", "pods", "-l", "app=web", "-o", "name").split(), lambda names: len(names) == 1)


def test_deleting_by_name_label_and_kind(kubectl: Kubectl) -> None:
    for name in ("a", "b", "c"):
        kubectl("create", "-f", "-", stdin=MAP % (f"deleted-{name}", "x"))
    assert "deleted" in kubectl("delete", "cm", "deleted-a")
    assert "deleted" in kubectl("delete", "cm", "-l", "made=here")
    assert "" == kubectl("get", "cm", "-l", "made=here", "-o", "name")
    kubectl("create", "secret", "generic", "deleted")
    kubectl("delete", "secrets", "--all")
    assert "" == kubectl("get", "secrets", "-o", "name")
    assert "" == kubectl("delete", "cm", "deleted-a", "--ignore-not-found")


def test_deleting_orphans_or_takes_what_is_owned(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "owner", "--image=mooring.dev/pause")
    kubectl("wait", "--for=condition=Available", "deployment/owner", "--timeout=30s")
    kubectl("delete", "deployment", "owner", "--cascade=orphan")
    found = kubectl("get", "rs,pods", "-l", "app=owner", "-o", "name").split()
    assert ["replicaset.apps", "pod"] == [name.partition("/")[0] for name in found]
    kubectl("delete", found[0], *(("--cascade=foreground",) if kubectl.minor >= 20 else ()))
    kubectl.run("wait", "--for=delete", found[1], "--timeout=30s", check=False)
    assert "" == kubectl("get", "rs,pods", "-l", "app=owner", "-o", "name")


def test_waiting_for_a_condition_a_value_and_the_end(kubectl: Kubectl) -> None:
    kubectl("run", "waited", "--image=mooring.dev/pause", "--labels=app=waited")
    assert "pod/waited condition met\n" == kubectl("wait", "--for=condition=Ready", "pod/waited", "--timeout=30s")
    if kubectl.minor >= 23:
        assert "condition met" in kubectl("wait", "--for=jsonpath={.status.phase}=Running", "pod/waited", "--timeout=30s")
    assert "timed out waiting" in kubectl.refused("wait", "--for=condition=Other", "pod/waited", "--timeout=1s")
    kubectl("patch", "pod", "waited", "--type=merge", "-p", '{"metadata":{"finalizers":["example.com/held"]}}')
    kubectl("delete", "pod", "waited", "--wait=false", "--grace-period=0", "--force")
    assert kubectl("get", "pod", "waited", "-o", "jsonpath={.metadata.deletionTimestamp}")
    kubectl("patch", "pod", "waited", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    kubectl.run("wait", "--for=delete", "pod/waited", "--timeout=30s", check=False)
    assert "" == kubectl("get", "pod", "waited", "--ignore-not-found")


# Inside pods


def test_logs(web: Kubectl) -> None:
    eventually(lambda: web("logs", "two", "-c", "ticker"), lambda text: text.startswith("tick 0\ntick 1\n"))
    # Not at once: one more may be written while the last two are read.
    eventually(lambda: web("logs", "two", "-c", "ticker", "--tail=2"), lambda text: len(text.splitlines()) == 2)
    eventually(lambda: web("logs", "two", "-c", "ticker", "--since=1s"), lambda text: "tick 0\n" not in text)
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z tick 0\n", web("logs", "two", "-c", "ticker", "--timestamps"))
    assert re.search(r"^\[pod/two/ticker\] tick 0$", web("logs", "two", "--all-containers", "--prefix"), re.MULTILINE)
    for which in (("deployment/web",), ("-l", "app=web")):
        eventually(lambda which=which: web("logs", *which), lambda text: "listening on 8080" in text)


def test_logs_that_follow(web: Kubectl) -> None:
    following = web.start("logs", "-f", "two", "-c", "ticker", "--tail=1")
    try:
        assert following.stdout
        first, second = (int(following.stdout.readline().removeprefix("tick ")) for _ in range(2))
        assert first + 1 == second
    finally:
        following.kill()
        following.communicate()


def test_exec_passes_streams_and_the_exit_code(web: Kubectl) -> None:
    script = "cat; echo to stderr >&2; exit 3"
    done = web.run("exec", "-i", "two", "-c", "shell", "--", "sh", "-c", script, stdin="to stdin\n", check=False)
    assert (3, "to stdin\n") == (done.returncode, done.stdout)
    assert "to stderr\n" in done.stderr
    assert "command terminated with exit code 3" in done.stderr
    large = "x" * 1_000_000
    assert large == web("exec", "-i", "two", "-c", "shell", "--", "cat", stdin=large)
    assert "container other is not valid for pod two" in web.refused("exec", "two", "-c", "other", "--", "true")


def test_exec_in_a_terminal(web: Kubectl) -> None:
    near, far = pty.openpty()
    words = web.words(
        "exec", "-it", "two", "-c", "shell", "--", "sh", "-c", "test -t 0 && test -t 1 && echo on a terminal; exit 5"
    )
    running = subprocess.Popen(words, stdin=far, stdout=far, stderr=far, env=web.environment)
    os.close(far)
    seen = b""
    try:
        while piece := os.read(near, 4096):
            seen += piece
    except OSError:
        pass  # What reading a terminal says when its other end is closed.
    finally:
        os.close(near)
    assert 5 == running.wait(30)
    assert b"on a terminal\r\n" in seen


def test_copying_into_a_pod(web: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("carried\n")
    web("cp", str(tmp_path / "file"), "two:/tmp/file", "-c", "shell")
    assert "carried\n" == web("exec", "two", "-c", "shell", "--", "cat", "/tmp/file")


# Nodes


def test_cordon_and_taint(kubectl: Kubectl) -> None:
    try:
        assert "node/node-2 cordoned\n" == kubectl("cordon", "node-2")
        assert "Ready,SchedulingDisabled" in kubectl("get", "node", "node-2")
        # Its taint is put there by the controllers: they, and so the scheduler, know of it.
        eventually(lambda: kubectl("describe", "node", "node-2"), lambda text: "node.kubernetes.io/unschedulable" in text)
        kubectl("run", "placed", "--image=mooring.dev/pause")
        kubectl("wait", "--for=condition=PodScheduled", "pod/placed", "--timeout=30s")
        assert "node-1" == kubectl("get", "pod", "placed", "-o", "jsonpath={.spec.nodeName}")
        kubectl("taint", "node", "node-2", "only=some:NoSchedule")
        assert "only=some:NoSchedule" in kubectl("describe", "node", "node-2")
        kubectl("taint", "node", "node-2", "only-")
    finally:
        kubectl("uncordon", "node-2")
    assert "SchedulingDisabled" not in kubectl("get", "node", "node-2")


def test_running_a_command_to_its_end(kubectl: Kubectl) -> None:
    kubectl("run", "once", "--image=busybox", "--restart=Never", "--", "sh", "-c", "echo done")
    eventually(lambda: kubectl("get", "pod", "once", "--no-headers"), lambda row: "Completed" in row)
    assert "done\n" == kubectl("logs", "once")


# Refusals that depend on the client


def test_an_unknown_field_is_named(kubectl: Kubectl) -> None:
    bad = MAP.replace("data: {color", "dataa: {color") % ("unknown", "red")
    assert 'unknown field "dataa"' in kubectl.refused("create", "-f", "-", stdin=bad)
    assert "configmap/unknown created\n" == kubectl("create", "--validate=false", "-f", "-", stdin=bad)
    if kubectl.minor >= 25:
        warned = kubectl.run("create", "--validate=warn", "-f", "-", stdin=bad.replace("name: unknown", "name: warned"))
        assert 'Warning: unknown field "dataa"\n' == warned.stderr


def test_a_wrong_type_is_named(kubectl: Kubectl) -> None:
    bad = json.encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "typed"}, "data": {"a": 5}}).decode()
    assert re.search(r"cannot unmarshal number into .* of type string|invalid type for .*string", kubectl.refused(
        "create", "-f", "-", stdin=bad
    ))  # fmt: skip
