"""A kubelet on a real runtime and the real API core: manifests in, processes, statuses and events out."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pods_lab import NODE_IP, NODE_IP6, POD_CIDR, POD_CIDR6, NodeLab, collected, node_lab, until

from mooring.apiserver.contract import Settings, User
from mooring.control.kubelet import NodeOptions, run_kubelet
from mooring.control.kubelet_pod import Machine
from mooring.edges.memory.api import MemoryApi
from mooring.edges.pods.assembly import Pods
from mooring.edges.pods.host import facts
from mooring.model.kinds import CONFIG_MAP, CORE_EVENT, LEASE, NAMESPACE, NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from mooring.pods.node import NodeIdentity
from mooring.pods.wishes import HttpCheck
from mooring.ports.api import ApiError
from mooring.ports.pods import LogOptions

pytestmark = pytest.mark.root
Document = dict[str, Any]

USER = User("system:node:node-a", ("system:nodes", "system:authenticated"))
SIGNING = Settings(token_signer=lambda claims: f"token for {claims['sub']}")


class Agent:
    """One node agent on the lab's node; a second one takes over from a stopped first."""

    def __init__(self, lab: NodeLab, api: MemoryApi, **more: Any) -> None:
        self.api, self.pods, self.stop = api, lab.pods(), asyncio.Event()
        machine = Machine(self.pods.runtime, self.pods.images, self.pods.volumes, self.pods.prober, self.pods.runtime)
        options = NodeOptions(NodeIdentity("node-a", (NODE_IP, NODE_IP6)), facts(lab.state), **more)
        own = MemoryApi(api.store, user=USER, settings=SIGNING)
        self.task = asyncio.create_task(run_kubelet(own, machine, options, self.stop))

    async def end(self) -> None:
        self.stop.set()
        await self.task
        self.pods.runtime.close()


class Cluster:
    """The API with what a node needs of it, an agent, and the everyday questions about pods."""

    def __init__(self, lab: NodeLab, api: MemoryApi) -> None:
        self.lab, self.api, self.agent = lab, api, Agent(lab, api)

    @property
    def pods(self) -> Pods:
        return self.agent.pods

    async def create(self, kind: Kind, name: str, **fields: Any) -> Document:
        namespace = "default" if kind.namespaced else ""
        meta = {"name": name, **({"namespace": namespace} if namespace else {}), **fields.pop("metadata", {})}
        document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **fields}
        return await self.api.write("create", kind, namespace, name, document)

    async def pod(self, name: str, *containers: Document, **spec: Any) -> Document:
        base = {"nodeName": "node-a", "automountServiceAccountToken": False, "containers": list(containers)}
        return await self.create(POD, name, spec={**base, **spec})

    async def get(self, name: str) -> Document:
        return await self.api.get(POD, "default", name)

    async def reaches(self, name: str, met: Any, what: str = "") -> Document:
        """The pod once it meets a condition."""
        document: Document = {}
        try:
            async with asyncio.timeout(60):
                while not met(document := await self.get(name)):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{what or 'not reached'}: {document.get('status')}") from None
        return document

    async def gone(self, name: str) -> None:
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.get(name)
                except ApiError as error:
                    assert error.code == 404
                    return
                await asyncio.sleep(0.01)

    async def delete(self, name: str, grace: int | None = None) -> None:
        await self.api.write("delete", POD, "default", name, {} if grace is None else {"gracePeriodSeconds": grace})

    async def events(self, *reasons: str, least: int = 1) -> list[tuple[str, str]]:
        """(reason, message) of Events of these reasons, once there are so many and each of the reasons has one; in the order
        they were made."""
        found: list[tuple[str, str]] = []
        async with asyncio.timeout(60):
            while len(found) < least or not {reason for reason, _ in found} >= set(reasons):
                items = (await self.api.list(CORE_EVENT)).items
                items.sort(key=lambda one: int(one["metadata"]["name"].rsplit(".", 1)[1], 16))
                found = [(one["reason"], one["message"]) for one in items if one["reason"] in reasons]
                await asyncio.sleep(0.01)
        return found

    async def tells(self, reason: str, message: str) -> None:
        """Waits for this Event. Others of its reason may come before it."""
        found: list[tuple[str, str]] = []
        try:
            async with asyncio.timeout(60):
                while (reason, message) not in found:
                    found = await self.events(reason)
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"no such event: {message}; but {found}") from None

    async def logs(self, pod: Document, container: str, **options: Any) -> str:
        return (await collected(self.pods.streams.logs(pod["metadata"]["uid"], container, LogOptions(**options)))).decode()


@pytest.fixture
def lab() -> Iterator[NodeLab]:
    with node_lab() as made:
        yield made


@pytest.fixture
async def cluster(lab: NodeLab) -> AsyncIterator[Cluster]:
    api = MemoryApi(settings=SIGNING)
    for name in ("default", "kube-node-lease"):
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            await api.write("create", NAMESPACE, "", name, document)
        except ApiError as error:
            assert error.reason == "AlreadyExists"
    made = Cluster(lab, api)
    await made.create(SERVICE_ACCOUNT, "default")
    async with asyncio.timeout(60):
        while not (await api.list(NODE)).items:
            await asyncio.sleep(0.01)
    await api.write("patch", NODE, "", "node-a", {"spec": {"podCIDR": POD_CIDR, "podCIDRs": [POD_CIDR, POD_CIDR6]}})
    yield made
    await made.agent.end()


def shell(script: str, name: str = "main", **fields: Any) -> Document:
    return {"name": name, "image": "busybox", "command": ["/bin/sh", "-c", script], **fields}


def echo(**fields: Any) -> Document:
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 60}
    return {"name": "echo", "image": "mooring.dev/echo", "args": ["--drain=0"], "readinessProbe": probe, **fields}


FOREVER = "trap 'exit 0' TERM; while :; do sleep 600 & wait; done"


def ready(pod: Document) -> bool:
    return condition(pod, "Ready") == "True"


def condition(pod: Document, kind: str) -> str:
    return next((one["status"] for one in pod["status"].get("conditions", ()) if one["type"] == kind), "")


def main(pod: Document) -> Document:
    statuses: list[Document] = pod["status"].get("containerStatuses") or [{"state": {}, "restartCount": 0}]
    return statuses[0]


def waiting(reason: str) -> Any:
    return lambda pod: main(pod)["state"].get("waiting", {}).get("reason") == reason


async def test_a_pod_becomes_ready_and_goes_without_a_trace(lab: NodeLab, cluster: Cluster) -> None:
    await cluster.pod("web", echo(), initContainers=[shell("exit 0", "init")])
    pod = await cluster.reaches("web", ready)
    status = pod["status"]
    assert ("Running", NODE_IP, 2, [NODE_IP, NODE_IP6]) == (
        status["phase"], status["hostIP"], len(status["podIPs"]), [one["ip"] for one in status["hostIPs"]],
    )  # fmt: skip
    assert {"reason", "message"}.isdisjoint(next(one for one in status["conditions"] if one["type"] == "Ready"))
    told = await cluster.events("Pulled", "Created", "Started", least=6)
    assert [
        ("Pulled", 'Container image "busybox" already present on machine'),
        ("Created", "Created container: init"),
        ("Started", "Started container init"),
        ("Pulled", 'Container image "mooring.dev/echo" already present on machine'),
        ("Created", "Created container: echo"),
        ("Started", "Started container echo"),
    ] == told[:6]
    await cluster.delete("web")
    await cluster.gone("web")
    assert [("Killing", "Stopping container echo")] == await cluster.events("Killing")
    assert ([], []) == (lab.links(), lab.processes())


async def test_the_node_is_registered_with_its_lease(cluster: Cluster) -> None:
    async with asyncio.timeout(60):
        while True:
            node = await cluster.api.get(NODE, "", "node-a")
            if {"type": "Ready", "status": "True"}.items() <= node["status"]["conditions"][-1].items():
                break
            await asyncio.sleep(0.01)
    addresses = [(one["type"], one["address"]) for one in node["status"]["addresses"]]
    assert [("InternalIP", NODE_IP), ("InternalIP", NODE_IP6), ("Hostname", "node-a")] == addresses
    assert ("node-a", "linux") == tuple(node["metadata"]["labels"][f"kubernetes.io/{key}"] for key in ("hostname", "os"))
    assert "kubelet is posting ready status" == node["status"]["conditions"][-1]["message"]
    lease = await cluster.api.get(LEASE, "kube-node-lease", "node-a")
    assert ("node-a", node["metadata"]["uid"]) == (
        lease["spec"]["holderIdentity"],
        lease["metadata"]["ownerReferences"][0]["uid"],
    )


async def test_readiness_follows_the_probe(cluster: Cluster) -> None:
    pod = await cluster.pod("web", echo())
    pod = await cluster.reaches("web", ready)
    reach = HttpCheck(pod["status"]["podIP"], 8080, "/ready?state=off", "HTTP")
    await cluster.pods.prober.check(reach, 60)
    pod = await cluster.reaches("web", lambda pod: not ready(pod))
    assert "containers with unready status: [echo]" == pod["status"]["conditions"][2]["message"]
    await cluster.tells("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")


async def test_a_status_that_somebody_else_made_false_is_made_true_again(cluster: Cluster) -> None:
    """As the node lifecycle does when the node was not heard of for a while: without this the Pod would never serve again."""
    await cluster.pod("web", echo())
    before = await cluster.reaches("web", ready)
    marked = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    answer = await cluster.api.write(
        "patch", POD, "default", "web", marked, subresource="status", patch_type="application/strategic-merge-patch+json"
    )
    assert not ready(answer)
    after = await cluster.reaches("web", ready)
    assert main(before)["containerID"] == main(after)["containerID"]
    settled = await cluster.get("web")
    await cluster.pod("other", shell(FOREVER))
    await cluster.reaches("other", ready)
    assert settled == await cluster.get("web")  # And nothing is written over and over.


async def test_an_unknown_image_says_which_are_known(cluster: Cluster) -> None:
    await cluster.pod("web", {"name": "main", "image": "example.com/nothing:1"})
    await cluster.reaches("web", waiting("ErrImagePull"))
    pod = await cluster.reaches("web", waiting("ImagePullBackOff"))
    assert "Back-off pulling image" in main(pod)["state"]["waiting"]["message"]
    await cluster.tells("Failed", "Error: ErrImagePull")
    assert any("known images: mooring.dev/echo" in message for _, message in await cluster.events("Failed", "BackOff"))
    await cluster.delete("web", 0)
    await cluster.gone("web")


async def test_a_missing_object_is_waited_for_and_its_changes_are_seen(cluster: Cluster) -> None:
    volumes = [{"name": "conf", "configMap": {"name": "conf"}}]
    script = "until grep -q two /conf/a; do sleep 0.02; done; cat /conf/a"
    await cluster.pod(
        "web", shell(script, volumeMounts=[{"name": "conf", "mountPath": "/conf"}]), volumes=volumes, restartPolicy="Never"
    )
    await cluster.tells("FailedMount", 'MountVolume.SetUp failed for volume "conf" : configmap "conf" not found')
    await cluster.create(CONFIG_MAP, "conf", data={"a": "one\n"})
    await cluster.reaches("web", lambda pod: "running" in main(pod)["state"])
    await cluster.api.write("patch", CONFIG_MAP, "default", "conf", {"data": {"a": "two\n"}})
    pod = await cluster.reaches("web", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert "two\n" == await cluster.logs(pod, "main")


async def test_environment_from_everywhere(cluster: Cluster) -> None:
    await cluster.create(SECRET, "pass", stringData={"password": "s3cret"})
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "pass", "key": "password"}}},
        {"name": "ALL", "value": "$(POD)/$(PASSWORD)"},
    ]
    await cluster.pod("web", shell("echo $ALL $IP; hostname -i", env=env), restartPolicy="Never")
    pod = await cluster.reaches("web", lambda pod: pod["status"]["phase"] == "Succeeded")
    first, second = (await cluster.logs(pod, "main")).splitlines()
    assert f"web/s3cret {pod['status']['podIP']}" == first
    assert pod["status"]["podIP"] in second


async def test_a_missing_key_is_a_configuration_error(cluster: Cluster) -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x"}}}]
    await cluster.pod("web", shell("exit 0", env=env))
    pod = await cluster.reaches("web", waiting("CreateContainerConfigError"))
    assert 'secret "none" not found' == main(pod)["state"]["waiting"]["message"]
    await cluster.tells("Failed", 'Error: secret "none" not found')


async def test_a_crash_loop_backs_off(cluster: Cluster) -> None:
    await cluster.pod("web", shell("echo no >&2; exit 3", terminationMessagePolicy="FallbackToLogsOnError"))
    pod = await cluster.reaches("web", waiting("CrashLoopBackOff"))
    last = main(pod)["lastState"]["terminated"]
    assert (1, 3, "Error", "no") == (main(pod)["restartCount"], last["exitCode"], last["reason"], last["message"])
    uid = pod["metadata"]["uid"]
    assert f"back-off 10s restarting failed container=main pod=web_default({uid})" == main(pod)["state"]["waiting"]["message"]
    await cluster.tells("BackOff", f"Back-off restarting failed container main in pod web_default({uid})")


async def test_a_command_that_is_not_there(cluster: Cluster) -> None:
    await cluster.pod("web", {"name": "main", "image": "busybox", "command": ["nothing"]}, restartPolicy="Never")
    pod = await cluster.reaches("web", lambda pod: pod["status"]["phase"] == "Failed")
    state = main(pod)["state"]["terminated"]
    assert (128, "StartError", 'exec: "nothing": executable file not found in $PATH') == (
        state["exitCode"], state["reason"], state["message"],
    )  # fmt: skip


async def test_liveness_restarts_and_hooks_run(cluster: Cluster) -> None:
    command = ["test", "!", "-e", "/shared/dead"]
    probe = {"exec": {"command": command}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 60}
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started >> /shared/hooks"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping >> /shared/hooks; rm -f /shared/dead"]}},
    }
    mounts = [{"name": "work", "mountPath": "/shared"}]
    made = await cluster.pod(
        "web",
        shell(FOREVER, livenessProbe=probe, lifecycle=lifecycle, volumeMounts=mounts),
        volumes=[{"name": "work", "emptyDir": {}}],
    )
    await cluster.reaches("web", ready)
    folder = cluster.lab.state / "pods" / made["metadata"]["uid"] / "disk/work"
    (folder / "dead").touch()
    await cluster.reaches("web", lambda pod: main(pod)["restartCount"] == 1 and ready(pod))
    await until(lambda: (folder / "hooks").read_text() == "started\nstopping\nstarted\n")
    await cluster.tells("Killing", "Container main failed liveness probe, will be restarted")
    assert any(message.startswith("Liveness probe failed:") for _, message in await cluster.events("Unhealthy"))


async def test_a_failed_post_start_hook_ends_the_container(cluster: Cluster) -> None:
    await cluster.pod("web", shell(FOREVER, lifecycle={"postStart": {"exec": {"command": ["false"]}}}), restartPolicy="Never")
    await cluster.reaches("web", lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"))
    await cluster.tells("FailedPostStartHook", "PostStartHook failed: command 'false' failed: ")


async def test_sidecars_start_first_and_end_last(lab: NodeLab, cluster: Cluster) -> None:
    side = shell(FOREVER, "side", restartPolicy="Always")
    await cluster.pod("job", shell("exit 0"), initContainers=[side], restartPolicy="Never")
    pod = await cluster.reaches("job", lambda pod: pod["status"]["phase"] == "Succeeded")
    (sidecar,) = pod["status"]["initContainerStatuses"]
    assert sidecar["state"]["terminated"]["startedAt"] <= main(pod)["state"]["terminated"]["startedAt"]
    await until(lambda: not lab.processes() and not lab.links(), what="an ended pod holds nothing but its logs")
    assert "" == await cluster.logs(pod, "main")
    await cluster.delete("job")
    await cluster.gone("job")
    await until(lambda: not list((lab.state / "pods").iterdir()))


async def test_a_failed_init_container_fails_the_pod(cluster: Cluster) -> None:
    await cluster.pod("job", shell("exit 0"), initContainers=[shell("exit 9", "init")], restartPolicy="Never")
    pod = await cluster.reaches("job", lambda pod: pod["status"]["phase"] == "Failed")
    assert 9 == pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"]
    assert {"waiting": {"reason": "PodInitializing"}} == main(pod)["state"]


async def test_the_active_deadline(cluster: Cluster) -> None:
    await cluster.pod("job", shell(FOREVER), activeDeadlineSeconds=600, restartPolicy="Never")
    await cluster.reaches("job", lambda pod: "running" in main(pod)["state"])
    await cluster.api.write("patch", POD, "default", "job", {"spec": {"activeDeadlineSeconds": 1}})
    pod = await cluster.reaches("job", lambda pod: pod["status"]["phase"] == "Failed")
    assert "DeadlineExceeded" == pod["status"]["reason"]
    await cluster.reaches("job", lambda pod: "terminated" in main(pod)["state"])


async def test_a_container_that_ignores_sigterm_is_killed_when_the_grace_is_over(lab: NodeLab, cluster: Cluster) -> None:
    await cluster.pod("web", shell("trap '' TERM; while :; do sleep 1; done"))
    await cluster.reaches("web", ready)
    await cluster.delete("web", 600)
    await cluster.events("Killing")
    await cluster.delete("web", 1)  # Second thoughts: the shorter grace period holds.
    await cluster.gone("web")
    assert ([], []) == (lab.links(), lab.processes())


async def test_a_forced_deletion_leaves_nothing(lab: NodeLab, cluster: Cluster) -> None:
    await cluster.pod("web", shell("trap '' TERM; while :; do sleep 1; done"))
    await cluster.reaches("web", ready)
    await cluster.delete("web", 0)
    await cluster.gone("web")
    await until(lambda: not lab.processes() and not lab.links() and not list((lab.state / "pods").iterdir()))


async def test_a_restarted_agent_adopts_without_a_flicker(lab: NodeLab, cluster: Cluster) -> None:
    await cluster.pod("web", echo())
    before = await cluster.reaches("web", ready)
    version = (await cluster.api.list(POD, "default")).resource_version
    await cluster.agent.end()
    assert lab.processes()
    cluster.agent = Agent(lab, cluster.api)
    reach = HttpCheck(before["status"]["podIP"], 8080, "/ready?state=off", "HTTP")
    await until(lambda: cluster.pods.runtime.seen(before["metadata"]["uid"]) is not None)
    await cluster.pod("other", shell("exit 0"), restartPolicy="Never")
    await cluster.reaches("other", lambda pod: pod["status"]["phase"] == "Succeeded")
    await cluster.pods.prober.check(reach, 60)
    states = []
    async with asyncio.timeout(60):
        async for event in cluster.api.watch(POD, version, "default", fields="metadata.name=web"):
            if event.type == "MODIFIED":
                states.append((ready(event.object), event.object["status"]["containerStatuses"][0]["containerID"]))
                break
    assert [(False, main(before)["containerID"])] == states


async def test_orphans_are_removed_when_an_agent_comes_back(lab: NodeLab, cluster: Cluster) -> None:
    await cluster.pod("web", shell(FOREVER))
    await cluster.reaches("web", ready)
    await cluster.agent.end()
    await cluster.delete("web", 0)
    cluster.agent = Agent(lab, cluster.api)
    await until(lambda: not lab.processes() and not lab.links() and not list((lab.state / "pods").iterdir()))


async def test_a_pod_with_two_containers_shares_its_network_and_memory(cluster: Cluster) -> None:
    mounts = [{"name": "mem", "mountPath": "/mem"}]
    await cluster.pod(
        "web",
        echo(),
        shell(
            "until curl -s localhost:8080/hostname; do sleep 0.05; done; echo; touch /mem/x; " + FOREVER,
            "client",
            volumeMounts=mounts,
        ),
        volumes=[{"name": "mem", "emptyDir": {"medium": "Memory"}}],
    )
    pod = await cluster.reaches("web", ready)
    async with asyncio.timeout(60):
        while await cluster.logs(pod, "client") != "web\n":
            await asyncio.sleep(0.02)


async def test_an_ephemeral_container_is_run_once_among_its_targets_processes(cluster: Cluster) -> None:
    await cluster.pod("p", shell(FOREVER))
    before = await cluster.reaches("p", ready)
    look = "tr '\\0' ' ' </proc/1/cmdline; ip -o -4 addr show scope global; echo $HELD; exit 3"
    env = [{"name": "HELD", "valueFrom": {"configMapKeyRef": {"name": "held", "key": "key"}}}]
    await cluster.create(CONFIG_MAP, "held", data={"key": "held here"})
    stays = shell("exec sleep 600", "stays")
    added = [
        shell(look, "looks", targetContainerName="main", env=env),
        stays,
        shell("true", "lost", targetContainerName="main"),
    ]
    added[2]["image"] = "nothing"
    body = {"spec": {"ephemeralContainers": added}}
    await cluster.api.write(
        "patch", POD, "default", "p", body, subresource="ephemeralcontainers",
        patch_type="application/strategic-merge-patch+json",
    )  # fmt: skip

    def states(document: Document) -> dict[str, Document]:
        return {one["name"]: one["state"] for one in document["status"].get("ephemeralContainerStatuses") or ()}

    def settled(document: Document) -> bool:
        known = {name: next(iter(state)) for name, state in states(document).items()}
        return known == {"looks": "terminated", "stays": "running", "lost": "waiting"}

    await cluster.reaches("p", lambda pod: states(pod).get("lost", {}).get("waiting", {}).get("reason") == "ErrImagePull")
    after = await cluster.reaches("p", settled)
    assert 3 == states(after)["looks"]["terminated"]["exitCode"]
    assert (True, "Running") == (ready(after), after["status"]["phase"])
    assert before["status"]["containerStatuses"] == after["status"]["containerStatuses"]
    said = await cluster.logs(after, "looks")
    assert FOREVER in said and after["status"]["podIP"] in said and "held here\n" in said


async def test_a_pod_gets_other_resources_while_it_runs(cluster: Cluster) -> None:
    async def resize(cpu: str, memory: str = "64Mi") -> None:
        body = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]}}
        await cluster.api.write(
            "patch", POD, "default", "p", body, subresource="resize", patch_type="application/strategic-merge-patch+json"
        )

    def has(cpu: str, restarts: int = 0, pending: str = "") -> Any:
        def met(pod: Document) -> bool:
            one = main(pod)
            why = {each["type"]: each.get("reason") for each in pod["status"].get("conditions") or ()}
            settled = "running" in one["state"] and "PodResizeInProgress" not in why
            cpus = {
                (known or {}).get("cpu")
                for known in (one.get("allocatedResources"), (one.get("resources") or {}).get("requests"))
            }
            return settled and ({cpu}, restarts, pending) == (cpus, one["restartCount"], why.get("PodResizePending", ""))

        return met

    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    asked = {"requests": {"cpu": "10m", "memory": "32Mi"}}
    await cluster.pod("p", shell(FOREVER, resources=asked, resizePolicy=policy), restartPolicy="OnFailure")
    run = main(await cluster.reaches("p", has("10m")))["containerID"]
    await resize("20m", "32Mi")
    assert run == main(await cluster.reaches("p", has("20m")))["containerID"]
    await resize("30m")
    assert run != main(await cluster.reaches("p", has("30m", restarts=1)))["containerID"]
    await resize("10000")
    await cluster.reaches("p", has("30m", restarts=1, pending="Infeasible"))
    cpus = 1000 * int((await cluster.api.get(NODE, "", "node-a"))["status"]["allocatable"]["cpu"])
    await cluster.pod("other", shell(FOREVER, resources={"requests": {"cpu": f"{cpus - 100}m"}}))
    await cluster.reaches("other", ready)
    await resize("200m")
    pod = await cluster.reaches("p", has("30m", restarts=1, pending="Deferred"))
    (why,) = [one["message"] for one in pod["status"]["conditions"] if one["type"] == "PodResizePending"]
    assert f"cpu, requested: 200, used: {cpus - 100}, capacity: {cpus}" in why
    await cluster.delete("other", 0)
    await cluster.reaches("p", has("200m", restarts=1))
    await cluster.agent.end()
    cluster.agent = Agent(cluster.lab, cluster.api)
    await resize("210m")
    await cluster.reaches("p", has("210m", restarts=1))


async def test_a_service_account_token(cluster: Cluster) -> None:
    sources = [{"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]
    await cluster.pod(
        "web",
        shell("cat /token/token", volumeMounts=[{"name": "t", "mountPath": "/token"}]),
        volumes=[{"name": "t", "projected": {"sources": sources}}],
        restartPolicy="Never",
    )
    pod = await cluster.reaches("web", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert "token for system:serviceaccount:default:default" == await cluster.logs(pod, "main")


async def test_readiness_gates_wait_for_others(cluster: Cluster) -> None:
    await cluster.pod("web", shell(FOREVER), readinessGates=[{"conditionType": "example.com/gate"}])
    await cluster.reaches("web", lambda pod: condition(pod, "ContainersReady") == "True" and not ready(pod))
    gate = {"type": "example.com/gate", "status": "True"}
    await cluster.api.write(
        "patch", POD, "default", "web", {"status": {"conditions": [gate]}}, subresource="status",
        patch_type="application/strategic-merge-patch+json",
    )  # fmt: skip
    pod = await cluster.reaches("web", ready)
    assert "True" == condition(pod, "example.com/gate")


async def test_the_host_network(cluster: Cluster) -> None:
    await cluster.pod("web", shell(FOREVER), hostNetwork=True)
    pod = await cluster.reaches("web", ready)
    assert [NODE_IP, NODE_IP6] == [one["ip"] for one in pod["status"]["podIPs"]]


async def test_a_node_without_cluster_dns_gives_its_own_and_says_so(lab: NodeLab, cluster: Cluster) -> None:
    await cluster.agent.end()
    own = f"search {' '.join(f's{number}.example' for number in range(30))}\nnameserver 192.0.2.53\n"
    cluster.agent = Agent(
        lab, cluster.api, cluster_dns=(), resolv_conf=lambda: own, resolv_conf_path="/etc/resolv.conf", hosts=lambda: "# own\n"
    )
    await cluster.pod("web", shell("cat /etc/resolv.conf"), restartPolicy="Never")
    pod = await cluster.reaches("web", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert own == await cluster.logs(pod, "main")
    words = (
        'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. '
        'Falling back to "Default" policy.'
    )
    about_pod = f'pod: "web_default({pod["metadata"]["uid"]})". {words}'
    assert {about_pod, words} == {text for _, text in await cluster.events("MissingClusterDNS", least=2)}
    lines = "Resolv.conf file '/etc/resolv.conf' contains search line consisting of more than 29 domains!"
    assert [("CheckLimitsForResolvConf", lines)] == await cluster.events("CheckLimitsForResolvConf")
    await cluster.pod("host", shell("cat /etc/hosts; hostname"), restartPolicy="Never", hostNetwork=True)
    pod = await cluster.reaches("host", lambda pod: pod["status"]["phase"] == "Succeeded")
    assert "# Kubernetes-managed hosts file (host network).\n# own\nnode-a\n" == await cluster.logs(pod, "main")


async def test_what_a_resolver_cannot_bear_is_told(cluster: Cluster) -> None:
    config = {"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}
    await cluster.pod("web", shell(FOREVER), dnsConfig=config)
    words = "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "
    assert [("DNSConfigForming", words + "10.96.0.10 192.0.2.1 192.0.2.2")] == await cluster.events("DNSConfigForming")


async def test_what_the_security_context_may_not_ask(cluster: Cluster) -> None:
    await cluster.pod("web", shell("exit 0", securityContext={"privileged": True}))
    pod = await cluster.reaches("web", waiting("CreateContainerConfigError"))
    assert "privileged containers are not supported" in main(pod)["state"]["waiting"]["message"]
