"""A worker that meets what it does not expect: a refused read, a busy server, a defect. And what a pod's own group may use."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs

from mooring.apiserver.contract import User
from mooring.control.kubelet import Kubelet, NodeOptions
from mooring.control.kubelet_events import Events
from mooring.control.kubelet_files import PodFiles
from mooring.control.kubelet_objects import Objects
from mooring.control.kubelet_pod import Machine, PodWorker
from mooring.control.kubelet_status import StatusWriter
from mooring.control.kubelet_wishes import NodeView, container_wish, sandbox_wish
from mooring.edges.memory.api import MemoryApi
from mooring.model.pod import Pod
from mooring.model.pod import pod as view
from mooring.pods.node import NodeIdentity
from mooring.pods.observed import PodSeen, Run
from mooring.pods.resolv_conf import resolver
from mooring.pods.sources import Facts
from mooring.pods.wishes import Outcome
from mooring.ports.api import ApiError, ApiUnavailable

NODE = NodeView("n", ("172.30.0.1",))
SECRET = ("Secret", "default", "s")


def pod(*containers: dict[str, Any], **spec: Any) -> Pod:
    meta = {"name": "p", "namespace": "default", "uid": "u", "resourceVersion": "1"}
    return view({"metadata": meta, "spec": {"containers": list(containers), **spec}, "status": {}})


def container(name: str = "main", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", **more}


def limited(name: str, memory: str, **more: Any) -> dict[str, Any]:
    return container(name, resources={"limits": {"memory": memory}}, **more)


async def test_what_a_node_may_not_read_is_not_waited_for() -> None:
    """A pod that has gone gives no right to its Secret: its worker must find out, and end."""
    async with asyncio.TaskGroup() as tasks:
        objects = Objects(MemoryApi(user=User("system:node:n", ("system:nodes",))), tasks)
        async with asyncio.timeout(30):
            await objects.hold("u", {SECRET}, lambda: None)
        assert {("Secret", "s"): None} == objects.documents({SECRET})
        await objects.release("u")


MODIFIED = ApiError(
    409, "Conflict", "the object has been modified; please apply your changes to the latest version and try again"
)


class Busy:
    """A server that has other answers first."""

    def __init__(self, *answers: Exception) -> None:
        self.answers, self.written = list(answers), asyncio.Event()

    async def write(self, *what: object, **more: object) -> dict[str, Any]:
        if self.answers:
            raise self.answers.pop(0)
        self.written.set()
        return {}


async def test_a_status_is_written_however_busy_the_server_is() -> None:
    gone: list[None] = []
    api = Busy(
        ApiError(429, "TooManyRequests", "later"), ApiError(503, "ServiceUnavailable", "later"), MODIFIED, ApiUnavailable()
    )
    writer = StatusWriter(api, pod(container()), lambda: gone.append(None))  # type: ignore[arg-type]
    writer.wish({"phase": "Running", "conditions": []})
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        working = tasks.create_task(writer.run())
        await writer.flushed()
        working.cancel()
    assert (True, []) == (api.written.is_set(), gone)


async def test_who_writes_over_a_status_that_is_under_way_is_noticed() -> None:
    """The watch tells of it before our own write, which came first, is answered."""
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    overruled, api = asyncio.Event(), Busy()
    api.write = lambda *what, **more: answers.get()  # type: ignore[method-assign]
    writer = StatusWriter(api, pod(container()), lambda: None, overruled.set)  # type: ignore[arg-type]
    ours = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    theirs = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    meta = structs.replace(pod(container()).metadata, resource_version="3")
    other = structs.replace(pod(container()), metadata=meta, status=theirs)
    writer.wish(ours)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        working = tasks.create_task(writer.run())
        writer.told(other)
        assert not overruled.is_set()
        answers.put_nowait({"metadata": {"resourceVersion": "2"}, "status": ours})
        await overruled.wait()
        assert theirs == writer.latest
        writer.wish(ours)
        answers.put_nowait({"metadata": {"resourceVersion": "4"}, "status": ours})
        await writer.flushed()
        overruled.clear()
        writer.told(other)
        assert (False, ours) == (overruled.is_set(), writer.latest)  # Older than what we wrote.
        working.cancel()


async def test_a_status_is_written_though_its_writer_was_cut_off_and_began_anew() -> None:
    """As after a defect in the worker, which takes its writer along."""
    api = Busy()
    asked, write = asyncio.Event(), api.write

    async def unanswered(*what: object, **more: object) -> dict[str, Any]:
        asked.set()
        return await asyncio.Event().wait() and {}

    api.write = unanswered  # type: ignore[method-assign]
    writer = StatusWriter(api, pod(container()), lambda: None)  # type: ignore[arg-type]
    writer.wish({"phase": "Running", "conditions": []})
    first = asyncio.create_task(writer.run())
    await asked.wait()
    first.cancel()
    await asyncio.wait([first])
    api.write = write  # type: ignore[method-assign]
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        working = tasks.create_task(writer.run())
        await writer.flushed()
        working.cancel()
    assert api.written.is_set()


@pytest.mark.parametrize("answer", [
    ApiError(404, "NotFound", "not found"),
    ApiError(409, "Conflict", "Precondition failed: UID in precondition: u, UID in object meta: v"),
])  # fmt: skip
async def test_a_pod_that_is_there_no_more_has_gone(answer: ApiError) -> None:
    gone = asyncio.Event()
    writer = StatusWriter(Busy(answer), pod(container()), gone.set)  # type: ignore[arg-type]
    writer.wish({"phase": "Running", "conditions": []})
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        working = tasks.create_task(writer.run())
        await gone.wait()
        working.cancel()


async def test_an_event_is_told_however_busy_the_server_is() -> None:
    api = Busy(ApiError(429, "TooManyRequests", "later"))
    events = Events(api, "n")  # type: ignore[arg-type]
    events.record({"kind": "Pod", "name": "p", "namespace": "default"}, "Normal", "R", "m")
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        working = tasks.create_task(events.run())
        await api.written.wait()
        working.cancel()


class Prober:
    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.failures: list[Exception] = [OSError("too many open files")]

    async def check(self, what: object, limit: float) -> Outcome:
        if self.failures:
            raise self.failures.pop()
        self.asked.set()
        return Outcome(True)


async def test_after_a_defect_probes_go_on() -> None:
    prober, api, failures = Prober(), MemoryApi(), [ValueError("a defect")]
    run = Run("main", 0, "r", "busybox", "i", datetime.now(UTC))
    seen = PodSeen("u", "default", "p", True, ("10.244.0.2",), datetime.now(UTC), {"main": (run,)})
    machine = Machine(None, None, None, prober, None)  # type: ignore[arg-type]

    def node() -> NodeView:
        if failures:
            raise failures.pop()
        return NODE

    async with asyncio.TaskGroup() as tasks:
        probed = pod(container(livenessProbe={"tcpSocket": {"port": 80}, "periodSeconds": 1, "initialDelaySeconds": 1}))
        worker = PodWorker(api, machine, Objects(api, tasks), Events(api, "n"), node, probed, seen, lambda uid: None)
        with pytest.raises(ValueError, match="a defect"):
            await worker.run()
        working = tasks.create_task(worker.run())
        async with asyncio.timeout(30):
            await prober.asked.wait()
        working.cancel()


class Runtime:
    def __init__(self, *failures: Exception) -> None:
        self.failures, self.removed = list(failures), asyncio.Event()

    async def remove(self, uid: str) -> None:
        if self.failures:
            raise self.failures.pop()
        self.removed.set()


async def test_an_orphan_that_cannot_die_yet_keeps_nobody_waiting_and_is_tried_again() -> None:
    runtime = Runtime(TimeoutError())
    machine = Machine(runtime, None, None, None, None)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        kubelet = Kubelet(MemoryApi(), machine, NodeOptions(NodeIdentity("n", ()), None), tasks)  # type: ignore[arg-type]
        kubelet.adopted["x"] = PodSeen("x", "default", "x", True, (), datetime.now(UTC), {})
        async with asyncio.timeout(30):
            await kubelet._remove_orphans()
            await runtime.removed.wait()


async def test_a_pod_is_finished_when_its_object_has_gone_and_not_before() -> None:
    api, machine = Busy(MODIFIED), Machine(Runtime(), None, None, None, None)  # type: ignore[arg-type]
    ended = pod(container())
    worker = PodWorker(api, machine, None, Events(api, "n"), lambda: NODE, ended, None, lambda uid: None)  # type: ignore[arg-type]
    with pytest.raises(ApiError, match="has been modified"):
        await worker._finish()
    await worker._finish()
    assert api.written.is_set()


async def test_a_hook_that_the_node_cannot_run_has_failed() -> None:
    hooked = pod(container(lifecycle={"preStop": {"exec": {"command": ["true"]}}}))
    machine, (main,) = Machine(None, None, None, Prober(), None), hooked.spec.containers  # type: ignore[arg-type]
    worker = PodWorker(None, machine, None, None, lambda: NODE, hooked, None, lambda uid: None)  # type: ignore[arg-type]
    assert main.lifecycle and main.lifecycle.pre_stop
    outcome = await worker.lifecycle._run(main, main.lifecycle.pre_stop, 1)
    assert (False, True) == (outcome.success, "too many open files" in outcome.output)


@pytest.mark.parametrize(("spec", "memory"), [
    (pod(limited("a", "100M"), limited("b", "50M")), 150),
    (pod(limited("a", "100M"), container("b")), None),
    (pod(limited("a", "100M"), initContainers=[limited("big", "500M")]), 500),
    (pod(limited("a", "100M"), initContainers=[container("i")]), None),
    (pod(limited("a", "100M"), initContainers=[limited("s", "30M", restartPolicy="Always"), limited("i", "90M")]), 130),
])  # fmt: skip
def test_a_pod_may_use_what_its_containers_may_at_any_one_time(spec: Pod, memory: int | None) -> None:
    """As upstream's PodLimits: init containers one after the other, sidecars beside all that follow."""
    wish = sandbox_wish(spec, NODE, resolver(spec, NODE.dns))
    assert (memory and memory * 10**6) == wish.limits.get("memory")


@pytest.mark.parametrize(("source", "read_only"), [
    ({"configMap": {"name": "c"}}, True), ({"secret": {"secretName": "s"}}, True), ({"projected": {"sources": []}}, True),
    ({"downwardAPI": {"items": []}}, True), ({"emptyDir": {}}, False),
])  # fmt: skip
def test_what_the_node_writes_no_container_does(source: dict[str, Any], read_only: bool) -> None:
    mounting = pod(container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=[{"name": "v", **source}])
    assert read_only == container_wish(mounting, mounting.spec.containers[0], 0, Facts("n", (), ())).mounts[0].read_only


async def test_a_change_that_comes_while_another_volume_lacks_its_object_is_written() -> None:
    """One ConfigMap changes while it is written; the other has gone under the running pod."""
    both = [{"name": name, "configMap": {"name": name}} for name in ("kept", "gone")]
    kept = {"kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"key": "old"}}

    class Known:
        async def hold(self, *what: object) -> None: ...

        def documents(self, references: object) -> dict[tuple[str, str], Any]:
            return {("ConfigMap", "kept"): kept, ("ConfigMap", "gone"): None}

    class Written:
        def __init__(self) -> None:
            self.texts: list[bytes] = []

        async def write(self, uid: str, volume: str, given: dict[str, Any], group: int | None) -> None:
            self.texts.append(given["key"].data)
            if kept["data"]["key"] == "old":  # type: ignore[index]
                kept["data"] = {"key": "new"}
                files.spoil()

    port, told = Written(), asyncio.Event()
    files = PodFiles(None, Known(), port, told.set)  # type: ignore[arg-type]
    seen = PodSeen("u", "default", "p", True, (), datetime.now(UTC), {})
    await files.write(pod(container(), volumes=both), seen, NODE, first=False)
    assert told.is_set()
    await files.write(pod(container(), volumes=both), seen, NODE, first=False)
    assert [b"old", b"new"] == port.texts
