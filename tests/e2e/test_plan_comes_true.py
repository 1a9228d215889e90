"""Does a running cluster become what `mooring plan` foresaw? Planned, applied, compared way by way, and then asked."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
import scene as scenes
import yaml
from scene import SILENCE, Scene, scene, until, until_equal

from local_cluster import Cluster
from mooring.app.forecast.fork import Fork
from mooring.app.forecast.picture import Picture
from mooring.app.forecast.read import read, settings_of
from mooring.app.forecast.rehearsal import Rehearsal, Surroundings
from mooring.cli.apply import apply
from mooring.cli.main import run
from mooring.edges.http import kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.model.kinds import BY_KIND, SERVICE

Document = dict[str, Any]
End = tuple[str, tuple[tuple[str, int, int], ...], frozenset[bool], int]
"""How a way ends: the outcome, how many pods of which workload serve at which port, whether the node hides the client."""


def deployment(name: str, *, node: str, replicas: int = 2, **env: str) -> Document:
    container = {
        "name": "main",
        "image": "mooring.dev/echo",
        "env": [{"name": key, "value": value} for key, value in {"ECHO_DRAIN": "0", **env}.items()],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
    }
    spec = {"containers": [container], "nodeSelector": {"kubernetes.io/hostname": node}, "terminationGracePeriodSeconds": 1}
    template = {"metadata": {"labels": {"app": name}}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def service(app: str, port: object = "http", **spec: object) -> Document:
    ports = [{"port": 80, "targetPort": port, "nodePort": NODE_PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"type": "NodePort", "clusterIP": CLUSTER_IP, "selector": {"app": app}, "ports": ports, **spec},
    }


NODE_PORT, CLUSTER_IP = 30_000, "10.96.0.200"
"""Of the parts of the ranges from which the server does not choose by itself."""


class Stage:
    """One set of manifests after another, each planned before it is applied."""

    def __init__(self, here: Scene) -> None:
        self.here = here
        self.foreseen: dict[tuple[str, ...], End] = {}

    def plan(self, *manifests: Document) -> tuple[Document, int]:
        """What the command says, and its exit code; what is foreseen is kept for `comes_true`."""
        done = self.here.cluster.mooring(
            "plan", "-n", self.here.namespace, "-f", "-", "-o", "json", stdin=yaml.safe_dump_all(manifests), check=False
        )
        rehearsal = Rehearsal(self._read(), Surroundings(), datetime.now(UTC), Random(0))
        for each in manifests:
            kind = BY_KIND[(each["apiVersion"], each["kind"])]
            apply(rehearsal.client, kind, each, self.here.namespace)
        with_ = rehearsal.outcome().with_
        self.foreseen = self._ends(Picture(with_, with_[SERVICE]))
        return json.loads(done.stdout), done.returncode

    def comes_true(self, *manifests: Document) -> None:
        """Applied by kubectl, the cluster comes to what was foreseen."""
        self.here.cluster.kubectl("apply", "-n", self.here.namespace, "-f", "-", stdin=yaml.safe_dump_all(manifests))
        for each in manifests:
            if each["kind"] == "Deployment":
                name = f"deployment/{each['metadata']['name']}"
                self.here.cluster.kubectl("rollout", "status", "-n", self.here.namespace, name, "--timeout=60s")
        until_equal(self.foreseen, self._true)

    def _true(self) -> dict[tuple[str, ...], End]:
        documents = self._read()
        objects = Fork(documents, settings_of(documents), datetime.now(UTC), Random(0)).objects()
        return self._ends(Picture(objects, objects[SERVICE]))

    def _ends(self, picture: Picture) -> dict[tuple[str, ...], End]:
        """Every way of this namespace's Services, with assumed addresses told by the workload that has them."""
        found = {}
        for way, end in picture.reach.items():
            if way.service[0] == self.here.namespace:
                served: dict[tuple[str, int], int] = {}
                for each in end.choices:
                    backend = picture.workload(way.service, each.endpoint), each.endpoint.port
                    served[backend] = served.get(backend, 0) + 1
                key = (way.node, way.source.name, way.service[1], way.entry.value, way.address, str(way.port))
                pods = tuple((*backend, number) for backend, number in sorted(served.items()))
                found[key] = (end.outcome.value, pods, frozenset(each.masqueraded for each in end.choices), end.affinity)
        return found

    def _read(self) -> list[Document]:
        async def read_all() -> list[Document]:
            async with ApiClient(kubeconfig.load(self.here.cluster.kubeconfig)) as api:
                return await read(api)

        return asyncio.run(read_all())


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


def answered(here: Scene) -> dict[str, bool]:
    """Who is answered: pods at the cluster IP, the outside at each node's port."""
    node_1, node_2 = (here.get("Node", name)["status"]["addresses"][0]["address"] for name in ("node-1", "node-2"))
    asked = {
        "pod": (here.one, CLUSTER_IP, 80),
        "node": (here.node_two, CLUSTER_IP, 80),
        "outside, node-1": (here.outside, node_1, NODE_PORT),
        "outside, node-2": (here.outside, node_2, NODE_PORT),
    }
    return {who: place.http(to, port, timeout=SILENCE).startswith(("web-", "api-")) for who, (place, to, port) in asked.items()}


def effects(plan: Document) -> list[str]:
    """'lost NodePort outside@node-2'"""
    return sorted(
        f"{flow['effect']} {'+'.join(door['entry'] for door in flow['doors'])} "
        f"{'+'.join(flow['sources'])}@{'+'.join(flow['nodes'])}"
        for flow in plan["flows"]
    )


EVERYWHERE = "ClusterIP+NodePort pod+node+outside@node-1+node-2"
ALL = dict.fromkeys(("pod", "node", "outside, node-1", "outside, node-2"), True)
LOCAL = {"externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP"}


def test_a_service_and_all_that_becomes_of_it(here: Scene) -> None:
    """One story: each stage begins where the one before has ended."""
    stage = Stage(here)
    web, api = deployment("web", node="node-1"), deployment("api", node="node-2", replicas=1)
    stages: list[tuple[list[Document], int, list[str], dict[str, bool]]] = [
        ([web, api, service("web")], 0, [f"gained {EVERYWHERE}"], ALL),
        ([web, service("web")], 0, [], ALL),
        ([deployment("web", node="node-1", ECHO_VERSION="2")], 0, [f"rolled {EVERYWHERE}"], ALL),
        ([deployment("web", node="node-1", replicas=3, ECHO_VERSION="2")], 0, [f"balance {EVERYWHERE}"], ALL),
        (
            [service("web", **LOCAL)],
            2,
            [
                "affinity ClusterIP pod+node+outside@node-1+node-2",
                "affinity NodePort outside@node-1",
                "affinity NodePort pod+node@node-1+node-2",
                "lost NodePort outside@node-2",
                "source NodePort outside@node-1",
                "source NodePort pod@node-1+node-2",
            ],
            {**ALL, "outside, node-2": False},
        ),
        ([service("api")], 0, [
            "affinity ClusterIP pod+node+outside@node-1+node-2",
            "affinity NodePort outside@node-1",
            "affinity NodePort pod+node@node-1+node-2",
            "gained NodePort outside@node-2",
            "moved ClusterIP pod+node+outside@node-1+node-2",
            "moved NodePort outside@node-1",
            "moved NodePort pod+node@node-1+node-2",
            "source NodePort outside@node-1",
            "source NodePort pod@node-1+node-2",
        ], ALL),
        ([service("api", port="none")], 2, [f"lost {EVERYWHERE}"], dict.fromkeys(ALL, False)),
    ]  # fmt: skip
    for manifests, code, expected, reached in stages:
        plan, exit_code = stage.plan(*manifests)
        assert (expected, code) == (effects(plan), exit_code), plan["summary"]
        stage.comes_true(*manifests)
        until_equal(reached, lambda: answered(here))


def test_a_kubeconfig_alone_is_enough(
    here: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of any other cluster: what the data directory says of this one is not known then."""
    monkeypatch.delenv("MOORING_DATA_DIR", raising=False)
    copy, manifest = tmp_path / "kubeconfig", tmp_path / "service.yaml"
    copy.write_text(here.cluster.kubeconfig.read_text())
    balanced = {"type": "LoadBalancer", "selector": {"app": "none"}, "ports": [{"port": 80}]}
    manifest.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "new"}, "spec": balanced}))
    code = run(["plan", "--kubeconfig", str(copy), "-n", here.namespace, "-f", str(manifest)])
    told = capsys.readouterr().out
    assert (0, f"leads nowhere: {here.namespace}/new") == (code, told.splitlines()[0])
    assert f"{here.namespace}/new has no load balancer address: its provider decides which address it gets" in told
    known = here.cluster.mooring("plan", "-n", here.namespace, "-f", str(manifest)).stdout
    assert "its provider decides" not in known and "+ load balancer 172.30.1." in known


def test_the_whole_namespace_may_go(here: Scene) -> None:
    named = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": here.namespace}}
    here.serve(scenes.server("spare", "spare"), scenes.service("spare", "spare"))
    until(lambda: here.endpoints("spare"))
    before = here.get("Service", "spare")
    done = here.cluster.mooring("plan", "--delete", "-f", "-", stdin=yaml.safe_dump(named), check=False)
    assert 2 == done.returncode
    assert done.stdout.splitlines()[0].startswith("lost: ") and f"namespace/{here.namespace} deleted" in done.stdout
    assert before == here.get("Service", "spare")
