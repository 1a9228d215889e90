"""`mooring plan` as a person calls it: its first line, its exit codes, what it refuses, and that it leaves no trace."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from mooring.apiserver.contract import Settings
from mooring.app.connection import Refused
from mooring.app.forecast.fork import Fork
from mooring.app.forecast.rehearsal import Rehearsal, Surroundings
from mooring.app.forecast.report import Address, Backend, Door, End, Flow, Forecast, NameChange, ObjectChange, ServiceChange
from mooring.cli import plan_text
from mooring.cli.main import run
from mooring.cli.plan import DryRun, Manifest, Steps, exit_code
from mooring.edges.http.client import ApiClient
from mooring.model.kinds import BY_KIND, NAMESPACE, NODE
from mooring.testing.api_server import real_server

Document = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RANGES = {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}
READY = [{"type": "Ready", "status": "True"}]
STATUS = {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}], "conditions": READY}


def service(name: str = "db", **spec: Any) -> Document:
    ports = [{"port": 5432, "protocol": "TCP"}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports, **spec}}


def slice_(*addresses: str) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 5432}],
        "endpoints": [{"addresses": [each]} for each in addresses],
    }


class Called:
    """One call of the command: what it wrote, and with which exit code it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def first(self) -> str:
        return self.out.splitlines()[0]


class Lab:
    """A server with one node, and the Service `db` over two addresses."""

    def __init__(self, api: ApiClient, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.api, self.directory, self._capsys = api, directory, capsys

    async def plan(self, files: Mapping[str, str | list[Document]], *more: str) -> Called:
        arguments = [*more]
        for name, content in files.items():
            path = self.directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content if isinstance(content, str) else yaml.safe_dump_all(content))
            arguments += ["-f", str(path)]
        return await self.call(*arguments)

    async def call(self, *arguments: str) -> Called:
        self._capsys.readouterr()
        code = await asyncio.to_thread(run, ["plan", "--kubeconfig", str(self.directory / "kubeconfig"), *arguments])
        return Called(code, *self._capsys.readouterr())


@pytest.fixture
async def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.delenv("MOORING_DATA_DIR", raising=False)
    async with _served(tmp_path) as api:
        yield Lab(api, tmp_path, capsys)


@asynccontextmanager
async def _served(directory: Path) -> AsyncIterator[ApiClient]:
    async with real_server(directory) as api:
        await api.write("create", NODE, "", "", {"metadata": {"name": "a"}, "spec": RANGES})
        await api.write("patch", NODE, "", "a", {"status": STATUS}, subresource="status")
        for document in (service(), slice_("192.0.2.1", "192.0.2.2")):
            await api.write("create", BY_KIND[(document["apiVersion"], document["kind"])], "default", "", document)
        yield api


async def test_nothing_lost_is_exit_code_0(lab: Lab) -> None:
    called = await lab.plan({"same.yaml": [service(), slice_("192.0.2.1", "192.0.2.2")]})
    # Applied for the first time, they get the annotation that remembers it.
    assert (0, "nothing changes for traffic", "") == (called.code, called.first, called.err)
    assert ["service/db configured", "endpointslice.discovery.k8s.io/db-1 configured"] == called.out.splitlines()[2:4]


async def test_something_lost_is_exit_code_2(lab: Lab) -> None:
    called = await lab.plan({"gone.yaml": [slice_()]})
    assert (2, "lost: default/db", "") == (called.code, called.first, called.err)
    assert "  lost     10." in called.out and "reject: the Service has no usable endpoint on any node" in called.out


async def test_what_is_deleted_is_planned_as_well(lab: Lab) -> None:
    called = await lab.plan({"db.yaml": [service()]}, "--delete")
    assert (2, "lost: default/db") == (called.code, called.first)
    assert "service/db deleted" in called.out and "- db.default.svc A 10." in called.out
    missing = await lab.plan({"none.yaml": [service("none")]}, "--delete")
    assert (1, "nothing changes") == (missing.code, missing.first)
    assert 'mooring: service/none: error from server (NotFound): services "none" not found\n' == missing.err


async def test_an_invalid_manifest_is_exit_code_1_with_the_servers_words_and_the_rest_is_planned(lab: Lab) -> None:
    called = await lab.plan({"both.yaml": [service("bad", type="Sometimes"), slice_()]})
    assert (1, "lost: default/db") == (called.code, called.first)
    words = 'Service "bad" is invalid: spec.type: Unsupported value: "Sometimes"'
    assert called.err.startswith(f"mooring: service/bad: error from server (Invalid): {words}")
    assert len(called.err.splitlines()) == 1


BROKEN = {
    "a: [": "is not YAML: while parsing a flow node",
    "- 1": "an object is expected, not list",
    "{apiVersion: v1, kind: Sevrice}": "no matches for kind 'Sevrice' in version 'v1'",
    "{apiVersion: v1, kind: Service}": "Service: metadata.name is needed",
    "{apiVersion: v1, kind: Service, metadata: [a]}": "Service: metadata.name is needed",
    "{apiVersion: v1, kind: Service, metadata: {name: db}, spec: [1]}": "error from server (Invalid)",
}


async def test_a_broken_file_hides_no_other(lab: Lab) -> None:
    folder = lab.directory / "manifests"
    folder.mkdir()
    for number, content in enumerate(BROKEN):
        (folder / f"{number}.yaml").write_text(content)
    (folder / "good.yaml").write_text(yaml.safe_dump(slice_()))
    called = await lab.call("-f", str(folder), "-f", str(lab.directory / "missing.yaml"))
    assert (1, "lost: default/db") == (called.code, called.first)
    told = called.err.splitlines()
    assert len(BROKEN) + 1 == len(told)
    assert [] == [message for message in BROKEN.values() if not any(message in line for line in told)]
    assert any("missing.yaml: No such file or directory" in line for line in told)


async def test_json_has_the_whole_plan_and_is_the_same_every_time(lab: Lab) -> None:
    files = {"plan.yaml": [slice_("192.0.2.1"), service("new", type="NodePort", selector={"app": "web"})]}
    called = await lab.plan(files, "-o", "json")
    told = json.loads(called.out)
    assert {"summary", "lost", "objects", "services", "names", "flows", "notes"} == told.keys()
    assert {"cluster IP": None, "node port": None} == {each["what"]: each["value"] for each in told["services"][0]["allocated"]}
    assert called.out == (await lab.plan(files, "-o", "json")).out
    assert told == yaml.safe_load((await lab.plan(files, "-o", "yaml")).out)
    assert f"{told['summary']}\n" == (await lab.plan(files, "-o", "jsonpath={.summary}")).out


async def test_a_wrong_form_is_wrong_usage(lab: Lab) -> None:
    called = await lab.plan({"db.yaml": [service()]}, "-o", "wide")
    assert (2, "", "mooring: unknown output 'wide': json, yaml or jsonpath={.PATH}\n") == (called.code, called.out, called.err)


async def test_a_plan_leaves_no_trace(lab: Lab) -> None:
    before = await lab.api.list(NAMESPACE)
    await lab.plan({"all.yaml": [service(type="NodePort"), slice_(), service("new")]})
    await lab.plan({"all.yaml": [service()]}, "--delete")
    assert before.resource_version == (await lab.api.list(NAMESPACE)).resource_version


async def test_a_namespace_and_what_is_in_it_may_come_together(lab: Lab) -> None:
    inside = service("web")
    inside["metadata"]["namespace"] = "shop"
    called = await lab.plan({"shop.yaml": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, inside]})
    assert (0, "leads nowhere: shop/web", "") == (called.code, called.first, called.err)
    alone = await lab.plan({"shop.yaml": [inside]})
    assert (1, 'mooring: service/web: error from server (NotFound): namespaces "shop" not found\n') == (alone.code, alone.err)


# The steps, against servers that differ from the copy ---------------------------------------------------------------------


class Server:
    """As app/connection.py's Connection, without one. `asked` are the paths."""

    def __init__(self, **settings: Any) -> None:
        self._fork = Fork(BARE, Settings(**settings), NOW, Random(2))
        self.asked: list[str] = []

    def get(self, path: str) -> Document:
        return self.send("GET", path)

    def send(
        self, method: str, path: str, body: Any = None, *, query: Any = None, content_type: str = "application/json"
    ) -> Document:
        assert method == "GET" or query == {"dryRun": "All"}
        assert method != "DELETE" or body["dryRun"] == ["All"]  # upstream looks only there when there is a body
        self.asked.append(f"{method} {path}")
        status, answer = self._fork.exchange(method, path, body, content_type)
        if status >= 400:
            raise Refused(status, answer["reason"], answer["message"], answer)
        return answer


BARE = [
    {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "default", "uid": "default", "resourceVersion": "1"},
        "status": {"phase": "Active"},
    }
]


def steps(server: Any, *documents: Document) -> list[str]:
    """'refused: message' or the word for each."""
    manifests = [Manifest(BY_KIND[(each["apiVersion"], each["kind"])], each, "default") for each in documents]
    carried = Steps(Rehearsal(BARE, Surroundings(), NOW, Random(0)), DryRun(server))
    return [f"{each.change}: {each.message}" if each.message else each.change for each in carried.apply(manifests)]


def test_a_deletion_is_a_dry_run_in_its_body_too() -> None:
    server = Server()
    manifest = Manifest(BY_KIND[("v1", "Namespace")], BARE[0], "")
    (gone,) = Steps(Rehearsal(BARE, Surroundings(), NOW, Random(0)), DryRun(server)).delete([manifest])
    assert ("namespace/default", "refused", "Forbidden") == (gone.object, gone.change, gone.reason)
    assert ["DELETE /api/v1/namespaces/default"] == server.asked


def with_node_port(name: str, number: int) -> Document:
    return service(name, type="NodePort", ports=[{"port": 80, "nodePort": number}])


def test_what_the_server_accepts_counts_though_the_copy_would_not_have_it() -> None:
    assert ["created"] == steps(Server(node_port_range=(20000, 32767)), with_node_port("web", 20080))
    (word,) = steps(Server(), with_node_port("web", 20080))
    assert "provided port is not in the valid range. The range of valid ports is 30000-32767" in word


def test_two_manifests_that_want_the_same_port_are_a_clash_that_the_server_does_not_see() -> None:
    class Forgetful(Server):
        def send(self, *arguments: Any, **more: Any) -> Document:
            self._fork = Fork(BARE, Settings(), NOW, Random(2))
            return super().send(*arguments, **more)

    first, second = steps(Forgetful(), with_node_port("a", 30080), with_node_port("b", 30080))
    assert "created" == first
    assert second.startswith("refused: ") and "provided port is already allocated" in second


def test_no_secret_is_asked_for() -> None:
    server = Server()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "data": {}}
    assert ["not compared", "created"] == steps(server, secret, service())
    assert not [path for path in server.asked if "secrets" in path]


def test_other_kinds_are_the_servers_to_judge() -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
    changed = {**settings, "data": {"a": "2"}}
    assert ["created", "unchanged", "configured"] == steps(Server(), settings, settings, changed)


# What people read ---------------------------------------------------------------------------------------------------------

TCP = Door("ClusterIP", "10.96.0.7", 80, "TCP")
UDP = Door("NodePort", "", 30080, "UDP")
OPEN = Door("ClusterIP", None, 80, "TCP")
WEB, ROLLED = Backend("deployment/web", 8080, 3, 0, 1.0), Backend("deployment/web", 8080, 3, 3, 1.0)
ONE = Backend("deployment/web", 8080, 1, 0, 1.0)
OTHERS = Backend("2001:db8::1", 53, 1, 0, 0.25), Backend("pod/x", 80, 1, 1, 0.75)
ALL = ("pod", "node", "outside")


def flow(effect: str, before: End, after: End, *doors: Door, sources: tuple[str, ...] = ALL, all_nodes: bool = True) -> Flow:
    return Flow("default/web", effect, doors or (TCP,), sources, ("a", "b"), all_nodes, before, after)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        pytest.param(
            flow("lost", End(), End("reject", "nobody is there"), TCP, UDP),
            ["lost     10.96.0.7:80 (ClusterIP), node port 30080/UDP from everywhere", "reject: nobody is there"],
            id="lost from everywhere",
        ),
        pytest.param(
            flow("lost", End(), End(reason="the Service is gone"), sources=("outside",), all_nodes=False),
            ["lost     10.96.0.7:80 (ClusterIP) from outside, on a, b", "the Service is gone"],
            id="lost from one source on some nodes",
        ),
        pytest.param(
            flow("gained", End(), End("forward", backends=(ROLLED,)), OPEN, sources=("pod", "node")),
            ["gained   its cluster IP, port 80 from pods and nodes", "to deployment/web:8080 (3 new pods)"],
            id="gained at an address to be chosen",
        ),
        pytest.param(
            flow("moved", End(backends=(WEB,)), End(backends=OTHERS)),
            [
                "moved    10.96.0.7:80 (ClusterIP) from everywhere",
                "deployment/web:8080 (3 pods) -> 25% [2001:db8::1]:53, 75% pod/x:80",
            ],
            id="moved to others, with their shares",
        ),
        pytest.param(
            flow("balance", End(backends=(ONE,)), End(backends=(WEB,))),
            [
                "balance  10.96.0.7:80 (ClusterIP) from everywhere",
                "each pod gets 100% -> 33%: deployment/web:8080 (1 pod) -> deployment/web:8080 (3 pods)",
            ],
            id="a smaller share for each",
        ),
        pytest.param(
            flow("rolled", End(backends=(WEB,)), End(backends=(ROLLED,))),
            [
                "rolled   10.96.0.7:80 (ClusterIP) from everywhere",
                "the same workload with other pods: deployment/web:8080 (3 pods) -> deployment/web:8080 (3 new pods)",
            ],
            id="rolled",
        ),
        pytest.param(
            flow("source", End(sees="node"), End(sees="client")),
            ["source   10.96.0.7:80 (ClusterIP) from everywhere", "the pod sees the address of: node -> client"],
            id="the source seen",
        ),
        pytest.param(
            flow("affinity", End(affinity=0), End(affinity=600)),
            ["affinity 10.96.0.7:80 (ClusterIP) from everywhere", "session affinity: none -> 600 s"],
            id="affinity",
        ),
        pytest.param(
            flow("narrowed", End(allowed=("0.0.0.0/0",)), End(allowed=("192.0.2.0/24",))),
            ["narrowed 10.96.0.7:80 (ClusterIP) from everywhere", "who may come in: everyone -> 192.0.2.0/24"],
            id="narrowed",
        ),
    ],
)
def test_a_flow_in_two_lines(change: Flow, lines: list[str]) -> None:
    told = list(plan_text.lines(Forecast("x", False, (), (), (), (change,), ())))
    assert ["x", "", "default/web", f"  {lines[0]}", f"           {lines[1]}"] == told


def test_a_whole_plan() -> None:
    found = Forecast(
        "lost: default/web",
        True,
        (
            ObjectChange("service/web", "configured", "default"),
            ObjectChange("service/bad", "refused", "default", "Invalid", "no"),
        ),
        (
            ServiceChange(
                "default/web",
                "changed",
                "NodePort",
                "LoadBalancer",
                (Address("node port", "30080", "80/TCP"),),
                (Address("health check node port", None), Address("load balancer", "172.30.1.1")),
            ),
            ServiceChange("shop/api", "created", "", "ClusterIP", (), (Address("cluster IP", None),)),
        ),
        (
            NameChange("api.shop.svc", "A", "gained", (), (None,)),
            NameChange("db.shop.svc", "A", "rolled", ("10.244.0.2", "10.244.0.3"), ("10.244.0.2", None, None)),
            NameChange("old.shop.svc", "AAAA", "lost", ("fd00::1",), ()),
        ),
        (flow("lost", End(), End(reason="the Service no longer answers there"), UDP),),
        ("assumed: 1 new pod",),
    )
    assert (1, 2) == (exit_code(found), exit_code(Forecast("x", True, (), (), (), (), ())))
    expected = """\
lost: default/web

service/web configured

default/web  NodePort -> LoadBalancer
  - node port 30080 for 80/TCP
  + health check node port (chosen by the server)
  + load balancer 172.30.1.1
  lost     node port 30080/UDP from everywhere
           the Service no longer answers there

shop/api  created (ClusterIP)
  + cluster IP (chosen by the server)

names
  + api.shop.svc A an address yet unknown
  ~ db.shop.svc A 10.244.0.2, 10.244.0.3 -> 10.244.0.2, 2 addresses yet unknown (other pods of the same workload)
  - old.shop.svc AAAA fd00::1

notes
  assumed: 1 new pod"""
    assert expected == "\n".join(plan_text.lines(found))
