"""Services that are legal and useless, on a running cluster: does `mooring explain` say why, truly, and are there Events?"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scene import SILENCE, Scene, addresses, scene, server, service, until, until_equal, until_followed

from local_cluster import Cluster

Document = dict[str, Any]

PATIENCE = 90.0
"""Seconds until an Event is there: a problem must have lasted 30 s before it is told."""
HTTP = {"name": "http", "port": 80, "targetPort": 8080}
FAILING = {"httpGet": {"path": "/nowhere", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1}
EXTERNAL = {"externalIPs": ["203.0.113.77"]}


def bare(name: str, app: str, container: Document) -> Document:
    main = {"name": "main", "image": "mooring.dev/echo", **container}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [main]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": app}}, "spec": spec}


def slice_(name: str, of: str, *endpoints: str, port: str) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each]} for each in endpoints],
        "ports": [{"name": port, "port": 8080}],
    }


def alias(name: str, target: str) -> Document:
    spec = {"type": "ExternalName", "externalName": target}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="session")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        made.create(
            bare("crashing", "crashing", {"image": "mooring.dev/toolbox", "command": ["sh", "-c", "exit 3"]}),
            bare("failing", "failing", {"readinessProbe": FAILING}),
            server("serving", "serving", node="node-1", port_name="web"),
            service("typo", "servign"),
            service("keeps-ending", "crashing"),
            service("probe", "failing"),
            service("port-name", "serving", ports=({"name": "http", "port": 80, "targetPort": "http"},)),
            service("by-hand", "", ports=(HTTP,)),
            service("wrong-slice", "", ports=(HTTP,)),
            slice_("wrong-slice-1", "wrong-slice", "203.0.113.5", port="https"),
            service("no-provider", "serving", type="LoadBalancer", loadBalancerClass="example.com/none"),
            service("not-in-pool", "serving", type="LoadBalancer", loadBalancerIP="203.0.113.200"),
            service("a-taken", "serving", **EXTERNAL),
            service("b-taken", "serving", **EXTERNAL),
            alias("alias", "nobody.nowhere.svc.cluster.local"),
            service("local", "serving", type="NodePort", externalTrafficPolicy="Local"),
            service("headless", "serving", clusterIP="None"),
            service("sound", "serving"),
        )
        made.ready("serving")
        for each in ("sound", "local", "headless"):
            until(lambda each=each: made.endpoints(each))
        until_followed(cluster)
        yield made


def page(here: Scene, name: str) -> str:
    return here.cluster.mooring("explain", f"service/{name}", "-n", here.namespace).stdout


BROKEN = {
    "typo": ("NoMatchingPods", "has the labels app=servign; pods here have app=crashing, app=failing and app=serving"),
    "keeps-ending": ("NoReadyPods", "with exit code 3 (Error)"),
    "probe": ("NoReadyPods", "readiness probe (GET :8080/nowhere): HTTP probe failed with statuscode: 404"),
    "port-name": ("TargetPortNotFound", "the pods have no TCP port named http: theirs are web (8080/TCP)"),
    "by-hand": ("NoEndpointSlices", "there is none with the label kubernetes.io/service-name=by-hand"),
    "wrong-slice": (
        "EndpointSlicePortMismatch",
        "no EndpointSlice has a TCP port named http and with a number; they have https",
    ),
    "no-provider": ("LoadBalancerPending", "is there a provider of class example.com/none?"),
    "not-in-pool": ("SyncLoadBalancerFailed", "AddressNotInPool: spec.loadBalancerIP: 203.0.113.200 is not in the pool"),
    "b-taken": ("AddressConflict", "203.0.113.77:80/TCP belongs to service/a-taken in"),
    "alias": ("ExternalNameTargetMissing", "there is no Service nobody in namespace nowhere"),
}


@pytest.mark.parametrize(("name", "reason", "cause"), [(name, *told) for name, told in BROKEN.items()])
def test_the_page_of_a_broken_service_says_why_and_what_to_do(here: Scene, name: str, reason: str, cause: str) -> None:
    lines = until(lambda: page(here, name), lambda text: f"broken, {reason}: " in text and cause in text).splitlines()
    place = next(number for number, line in enumerate(lines) if f"broken, {reason}: " in line)
    assert lines[place + 2].startswith("     to mend it: ")


@pytest.mark.parametrize("name", ["typo", "keeps-ending", "probe", "port-name", "by-hand", "wrong-slice"])
def test_whom_the_page_calls_refused_is_refused(here: Scene, name: str) -> None:
    """A container that keeps ending serves for a moment each time that it is started again."""
    address = here.get("Service", name)["spec"]["clusterIP"]
    said = "    everyone, on every node: refused, the Service has no usable endpoint on any node"

    def met() -> tuple[bool, bool, set[str]]:
        told = page(here, name)
        places = here.one, here.two, here.node_one
        return f"cluster IP {address}:80/TCP" in told, said in told, {place.http(address) for place in places}

    until_equal((True, True, {"refused"}), met)


def test_whom_the_page_calls_dropped_on_one_node_is_dropped_there(here: Scene) -> None:
    told, port = page(here, "local"), here.get("Service", "local")["spec"]["ports"][0]["nodePort"]
    [pod] = addresses(here.get("Pod", "serving"))
    assert f"    from outside, on node-1: {pod}:8080, which sees the client's address" in told
    assert "    from outside, on node-2: dropped, the traffic policy is Local and this node has no usable endpoint" in told
    assert "warning, NoLocalEndpoints: on node/node-2 what comes from outside is dropped" in told
    assert here.outside.http("172.30.0.11", port) == "serving"
    assert here.outside.http("172.30.0.12", port, timeout=SILENCE) == "silence"


def test_of_two_services_with_one_address_the_page_names_who_has_it(here: Scene) -> None:
    assert f"    nobody: service/a-taken in {here.namespace} has it" in page(here, "b-taken")
    assert "warning, AddressShared: 203.0.113.77:80/TCP is claimed by service/b-taken" in page(here, "a-taken")


def test_a_headless_service_translates_no_port(here: Scene) -> None:
    [pod] = addresses(here.get("Pod", "serving"))
    told = page(here, "headless")
    assert f"  headless.{here.namespace}.svc.cluster.local   A   {pod}" in told
    assert "warning, HeadlessPortNotTranslated: a client that uses port 80 reaches port 80 of the pod, not 8080" in told
    name = f"headless.{here.namespace}.svc"
    assert (here.one.resolve(name), here.one.http(pod, 80), here.one.http(pod, 8080)) == ([pod], "refused", "serving")


def test_a_sound_service_has_no_problem_and_is_reached_as_the_page_says(here: Scene) -> None:
    told = page(here, "sound").splitlines()
    assert told[told.index("PROBLEMS") + 1] == "  none found"
    [pod] = addresses(here.get("Pod", "serving"))
    assert f"    pods, on every node: {pod}:8080, which sees the client's address" in told
    assert here.one.http(here.get("Service", "sound")["spec"]["clusterIP"]) == "serving"


@pytest.mark.late
def test_each_broken_service_gets_its_event_once_and_no_other_service_does(here: Scene) -> None:
    expected = {(name, reason) for name, (reason, _) in BROKEN.items()}
    end = time.monotonic() + PATIENCE
    while not (expected <= (found := events(here)).keys()) and time.monotonic() < end:
        time.sleep(0.5)
    assert expected - found.keys() == set()
    ours = {key for key, (component, _) in found.items() if component == "service-problems-controller"}
    assert ours == expected - {("not-in-pool", "SyncLoadBalancerFailed")}, "its provider has told that one"
    assert {found[key][1] for key in ours} == {1}


def events(here: Scene) -> dict[tuple[str, str], tuple[str, int]]:
    """(Service, reason) to (component, count), of the Warnings on Services that kubectl shows."""
    words = (
        "get",
        "events",
        "-n",
        here.namespace,
        "--field-selector",
        "involvedObject.kind=Service,type=Warning",
        "-o",
        "json",
    )
    items = json.loads(here.cluster.kubectl(*words).stdout)["items"]
    return {(each["involvedObject"]["name"], each["reason"]): (each["source"]["component"], each["count"]) for each in items}


@pytest.mark.late
def test_what_is_mended_is_no_problem_any_more(here: Scene) -> None:
    # A question first, which is asked again where a test in between has killed the API server.
    assert {"app": "servign"} == here.get("Service", "typo")["spec"]["selector"]
    here.patch("Service", "typo", {"spec": {"selector": {"app": "serving"}}})
    lines = until(lambda: page(here, "typo").splitlines(), lambda found: "  none found" in found)
    assert "  Selector:     app=serving (1 found)" in lines


def test_what_is_not_there_is_exit_code_1(here: Scene) -> None:
    done = here.cluster.mooring("explain", "service/none", "-n", here.namespace, check=False)
    assert (done.returncode, done.stderr) == (1, 'mooring: error from server (NotFound): services "none" not found\n')


def test_any_kubeconfig_will_do(here: Scene, tmp_path: Path) -> None:
    """Away from the cluster's directory, as for a cluster of anybody."""
    copy = tmp_path / "config"
    copy.write_text(here.cluster.kubeconfig.read_text())
    words = [sys.executable, "-m", "mooring.cli.main", "explain", "sound", "-n", here.namespace, "-o", "json"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MOORING_")} | {"KUBECONFIG": str(copy)}
    told = json.loads(subprocess.run(words, env=clean, capture_output=True, check=True, timeout=60).stdout)
    assert (told["nodes"], told["problems"]) == (["node-1", "node-2"], [])
