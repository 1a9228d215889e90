"""Pods: defaults and admission, rules, what may change, and the one word people read first."""

import copy

import pytest
from direct import NOW, Direct, Refused

from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.kinds import STRATEGIES
from mooring.model.kinds import DEPLOYMENT, POD


def pod(name="p", **spec):
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "echo:1"}]} | spec}


def container(**fields):
    return pod(containers=[{"name": "c", "image": "echo:1", **fields}])


class TestDefaults:
    @pytest.fixture
    def made(self):
        return Direct().create(POD, pod())

    def test_the_spec(self, made):
        expected = {
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "serviceAccountName": "default",
            "serviceAccount": "default",
            "enableServiceLinks": True,
            "priority": 0,
            "preemptionPolicy": "PreemptLowerPriority",
        }
        assert expected == {name: made["spec"][name] for name in expected}

    def test_the_container(self, made):
        expected = {
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "resources": {},
            "imagePullPolicy": "IfNotPresent",
        }
        assert expected == {name: made["spec"]["containers"][0][name] for name in expected}

    def test_the_token_is_mounted(self, made):
        (volume,), (mount,) = made["spec"]["volumes"], made["spec"]["containers"][0]["volumeMounts"]
        assert volume["name"].startswith("kube-api-access-")
        assert {"name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"} == mount
        token = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
        assert (token, 420) == (volume["projected"]["sources"][0], volume["projected"]["defaultMode"])

    def test_no_token_when_the_pod_wants_none(self):
        assert "volumes" not in Direct().create(POD, pod(automountServiceAccountToken=False))["spec"]

    def test_unreachable_nodes_are_tolerated_for_five_minutes(self, made):
        assert {"node.kubernetes.io/not-ready": 300, "node.kubernetes.io/unreachable": 300} == {
            toleration["key"]: toleration["tolerationSeconds"] for toleration in made["spec"]["tolerations"]
        }

    def test_the_status_is_pending_whatever_the_client_says(self):
        made = Direct().create(POD, pod() | {"status": {"phase": "Running"}})
        assert {"phase": "Pending", "qosClass": "BestEffort"} == made["status"]

    def test_a_probe(self):
        made = Direct().create(POD, container(readinessProbe={"httpGet": {"port": 80}}))
        expected = {
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        }
        assert expected == made["spec"]["containers"][0]["readinessProbe"]

    @pytest.mark.parametrize(
        ("image", "policy"),
        [
            ("echo", "Always"),
            ("echo:latest", "Always"),
            ("host:5000/echo", "Always"),
            ("echo:1", "IfNotPresent"),
            ("echo@sha256:00", "IfNotPresent"),
        ],
    )
    def test_the_pull_policy_follows_the_tag(self, image, policy):
        made = Direct().create(POD, container(image=image))
        assert policy == made["spec"]["containers"][0]["imagePullPolicy"]

    def test_host_network_opens_host_ports(self):
        made = Direct().create(
            POD, pod(hostNetwork=True, containers=[{"name": "c", "image": "a:1", "ports": [{"containerPort": 80}]}])
        )
        assert [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}] == made["spec"]["containers"][0]["ports"]

    @pytest.mark.parametrize(
        ("resources", "quality"),
        [
            ({}, "BestEffort"),
            ({"requests": {"cpu": "1"}}, "Burstable"),
            ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ],
    )
    def test_quality_of_service(self, resources, quality):
        assert quality == Direct().create(POD, container(resources=resources))["status"]["qosClass"]


@pytest.mark.parametrize(
    ("document", "field", "message"),
    [
        pytest.param(pod(containers=[]), "spec.containers", "Required value", id="no container"),
        pytest.param(container(image=""), "spec.containers[0].image", "Required value", id="no image"),
        pytest.param(
            pod(containers=[{"name": "c", "image": "a:1"}] * 2),
            "spec.containers[1].name",
            'Duplicate value: "c"',
            id="names are unique",
        ),
        pytest.param(
            pod(restartPolicy="Sometimes"),
            "spec.restartPolicy",
            'Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
            id="restart policy",
        ),
        pytest.param(
            container(ports=[{"containerPort": 70000}]),
            "spec.containers[0].ports[0].containerPort",
            "Invalid value: 70000: must be between 1 and 65535, inclusive",
            id="container port",
        ),
        pytest.param(
            container(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            "spec.containers[0].volumeMounts[0].name",
            'Not found: "v"',
            id="a mount of no volume",
        ),
        pytest.param(
            pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../etc"}}]),
            "spec.volumes[0].hostPath.path",
            "Invalid value: \"/a/../etc\": must not contain '..'",
            id="a way out of a directory",
        ),
        pytest.param(
            pod(volumes=[{"name": "v", "hostPath": {"path": "/..a", "type": "Pipe"}}]),
            "spec.volumes[0].hostPath.type",
            'Unsupported value: "Pipe": supported values: "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", '
            '"File", "FileOrCreate", "Socket"',
            id="a type of path that there is not",
        ),
        pytest.param(
            container(livenessProbe={"exec": {"command": ["a"]}, "successThreshold": 2}),
            "spec.containers[0].livenessProbe.successThreshold",
            "Invalid value: 2: must be 1",
            id="liveness succeeds once",
        ),
        pytest.param(
            container(readinessProbe={"periodSeconds": 1}),
            "spec.containers[0].readinessProbe",
            "Required value: must specify a handler type",
            id="a probe without handler",
        ),
        pytest.param(
            container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            "spec.containers[0].resources.requests",
            'Invalid value: "2": must be less than or equal to cpu limit of 1',
            id="requests above limits",
        ),
        pytest.param(
            pod(initContainers=[{"name": "i", "image": "a:1", "readinessProbe": {"exec": {"command": ["a"]}}}]),
            "spec.initContainers[0].readinessProbe",
            "Forbidden: may not be set for init containers without restartPolicy=Always",
            id="a probe on an init container",
        ),
        pytest.param(
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.magic"}}}]),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
            None,
            id="a field nobody may read",
        ),
    ],
)
def test_a_broken_pod_is_refused(document, field, message):
    with pytest.raises(Refused) as refusal:
        Direct().create(POD, document)
    assert [field] == list(refusal.value.causes)
    assert message in (None, refusal.value.causes[field])


class TestChanges:
    def change(self, **spec):
        api = Direct()
        api.create(POD, pod(activeDeadlineSeconds=100))
        return api.patch(POD, "p", {"spec": spec})

    def test_an_image_may_change(self):
        api = Direct()
        made = api.create(POD, pod())
        made["spec"]["containers"][0]["image"] = "echo:2"
        assert "echo:2" == api.update(POD, made)["spec"]["containers"][0]["image"]

    def test_a_deadline_may_come_sooner(self):
        assert 50 == self.change(activeDeadlineSeconds=50)["spec"]["activeDeadlineSeconds"]

    @pytest.mark.parametrize("spec", [{"nodeName": "b"}, {"dnsPolicy": "Default"}, {"terminationGracePeriodSeconds": 5}])
    def test_nothing_else_may(self, spec):
        with pytest.raises(Refused, match="pod updates may not change fields other than"):
            self.change(**spec)

    def test_a_deadline_may_not_come_later(self):
        with pytest.raises(Refused, match="must be less than or equal to previous value"):
            self.change(activeDeadlineSeconds=500)

    def test_a_spec_update_leaves_conditions_alone(self):
        api = Direct()
        api.create(POD, pod())
        condition = {"type": "Ready", "status": "True"}
        api.patch(POD, "p", {"status": {"phase": "Running", "conditions": [condition]}}, "status")
        made = api.patch(POD, "p", {"metadata": {"labels": {"a": "b"}}, "status": {"conditions": []}})
        assert ([condition], "Running") == (made["status"]["conditions"], made["status"]["phase"])

    def test_a_status_update_leaves_the_spec_alone(self):
        api = Direct()
        old = api.create(POD, pod())
        made = api.patch(
            POD, "p", {"status": {"podIP": "10.244.1.5", "podIPs": [{"ip": "10.244.1.5"}]}, "spec": {"nodeName": "x"}}, "status"
        )
        assert (old["spec"], "10.244.1.5") == (made["spec"], made["status"]["podIP"])


class TestEphemeralContainers:
    DEBUGGER = {"name": "debug", "image": "busybox", "targetContainerName": "c", "stdin": True}

    @pytest.fixture
    def api(self):
        api = Direct()
        api.create(POD, pod(initContainers=[{"name": "i", "image": "echo:1"}]))
        return api

    def add(self, api, *containers, **fields):
        """As kubectl debug does it."""
        url = POD.path("default", "p", "ephemeralcontainers")
        body = {"spec": {"ephemeralContainers": list(containers)}, **fields}
        return api.send("PATCH", url, body, "application/strategic-merge-patch+json", fieldManager="kubectl-debug")

    def test_they_are_added_and_nothing_else_is_changed(self, api):
        old = api.get(POD, "p")
        made = self.add(api, self.DEBUGGER, metadata={"labels": {"a": "b"}}, status={"phase": "Failed"})
        defaults = {
            "resources": {}, "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
        }  # fmt: skip
        assert [self.DEBUGGER | defaults] == made["spec"].pop("ephemeralContainers")
        (mine,) = [one for one in made["metadata"]["managedFields"] if one["manager"] == "kubectl-debug"]
        assert ("ephemeralcontainers", {"f:spec"}) == (mine["subresource"], mine["fieldsV1"].keys())
        assert {"f:ephemeralContainers"} == mine["fieldsV1"]["f:spec"].keys()
        assert (old["spec"], old["status"], None) == (made["spec"], made["status"], made["metadata"].get("labels"))
        assert (1, 2) == (old["metadata"]["generation"], made["metadata"]["generation"])

    def test_they_stay_as_they_are_whatever_comes(self, api):
        self.add(api, self.DEBUGGER)
        made = self.add(api, {"name": "another", "image": "busybox"})
        assert {"debug", "another"} == {one["name"] for one in made["spec"]["ephemeralContainers"]}
        made["spec"]["ephemeralContainers"].sort(key=lambda one: one["name"])
        made["spec"]["ephemeralContainers"][0] |= {"tty": False, "args": []}
        assert made["spec"] == api.update(POD, made, "ephemeralcontainers")["spec"]
        with pytest.raises(Refused) as refusal:
            self.add(api, self.DEBUGGER | {"image": "alpine"}, {"name": "another", "$patch": "delete"})
        changed, removed = (f'existing ephemeral containers "{name}" may not be' for name in ("debug", "another"))
        expected = {f"Forbidden: {changed} changed", f"Forbidden: {removed} removed"}
        assert expected == set(refusal.value.causes["spec.ephemeralContainers"].split("; "))

    def test_only_their_subresource_brings_them(self, api):
        with pytest.raises(Refused, match=r"spec.ephemeralContainers: Forbidden: cannot be set on create"):
            api.create(POD, pod("other", ephemeralContainers=[self.DEBUGGER]))
        with pytest.raises(Refused, match=r"spec: Forbidden: pod updates may not change fields other than"):
            api.patch(POD, "p", {"spec": {"ephemeralContainers": [self.DEBUGGER]}})
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod(ephemeralContainers=[self.DEBUGGER])["spec"]}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        with pytest.raises(Refused, match="ephemeral containers not allowed in pod template"):
            api.create(DEPLOYMENT, {"metadata": {"name": "d"}, "spec": spec})

    def test_what_they_may_not_have(self, api):
        probe = {"exec": {"command": ["true"]}}
        services = {
            "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}, "livenessProbe": probe,
            "readinessProbe": probe, "startupProbe": probe, "lifecycle": {"preStop": probe}, "restartPolicy": "Always",
        }  # fmt: skip
        volume = api.get(POD, "p")["spec"]["volumes"][0]["name"]
        mounts = [{"name": volume, "mountPath": "/m", "subPath": "s"}]
        named = self.DEBUGGER | {"name": "i", "targetContainerName": "debug"}
        with pytest.raises(Refused) as refusal:
            self.add(api, self.DEBUGGER | services | {"volumeMounts": mounts}, named)
        forbidden = "Forbidden: cannot be set for an Ephemeral Container"
        here = "spec.ephemeralContainers"
        expected = {f"{here}[0].{name}": forbidden for name in (*services, "volumeMounts[0].subPath")}
        expected[f"{here}[1].name"], expected[f"{here}[1].targetContainerName"] = 'Duplicate value: "i"', 'Not found: "debug"'
        assert expected == refusal.value.causes

    def test_not_of_what_a_node_runs_by_itself(self):
        api = Direct()
        api.create(POD, pod(nodeName="a") | {"metadata": {"name": "p", "annotations": {"kubernetes.io/config.mirror": "x"}}})
        with pytest.raises(Refused, match="static pods do not support ephemeral containers"):
            self.add(api, self.DEBUGGER)


def sized(cpu="1", memory="1Gi", **fields):
    sizes = {"cpu": cpu, "memory": memory}
    return {"name": "c", "image": "echo:1", "resources": {"requests": sizes, "limits": sizes}} | fields


RESTARTED = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
SIDE = {"requests": {"cpu": "1", "example.com/disk": "1"}}


class TestResize:
    @pytest.fixture
    def api(self):
        api = Direct()
        others = [
            {"name": "i", "image": "a:1", "resources": SIDE},
            {"name": "s", "image": "a:1", "resources": SIDE, "restartPolicy": "Always"},
        ]
        api.create(POD, pod("g", containers=[sized(), sized(name="free", resizePolicy=RESTARTED)], restartPolicy="OnFailure"))
        api.create(POD, pod("b", containers=[sized()], initContainers=others))
        return api

    def resize(self, api, pod="g", group="containers", **container):
        """As kubectl patch --subresource resize does it."""
        url = POD.path("default", pod, "resize")
        body = {"spec": {group: [{"name": "c"} | container]}, "metadata": {"labels": {"a": "b"}}}
        return api.send("PATCH", url, body, "application/strategic-merge-patch+json", fieldManager="scaler")

    def test_only_resources_are_changed(self, api):
        old = api.get(POD, "g")
        made = self.resize(api, image="echo:2", resources=sized("1500m")["resources"])
        assert sized("1500m")["resources"] == made["spec"]["containers"][0].pop("resources")
        del old["spec"]["containers"][0]["resources"]
        assert (old["spec"], old["status"], None) == (made["spec"], made["status"], made["metadata"].get("labels"))
        (mine,) = [one for one in made["metadata"]["managedFields"] if one["manager"] == "scaler"]
        owned = {name: one.keys() for name, one in mine["fieldsV1"]["f:spec"]["f:containers"].items()}
        assert ("resize", {'k:{"name":"c"}': {"f:resources"}}) == (mine["subresource"], owned)
        assert (1, 2) == (old["metadata"]["generation"], made["metadata"]["generation"])
        grown = sized("2", "512Mi")["resources"]
        assert grown == self.resize(api, name="free", resources=grown)["spec"]["containers"][1]["resources"]

    @pytest.mark.parametrize(
        ("container", "field", "message"),
        [
            pytest.param(
                {"resources": {"limits": {"cpu": "2"}}},
                "spec",
                'Invalid value: "Guaranteed": Pod QOS Class may not change as a result of resizing',
                id="quality of service",
            ),
            pytest.param(
                {"resources": {"requests": {"memory": "512Mi"}, "limits": {"memory": "512Mi"}}},
                "spec.containers[0].resources.limits[memory]",
                "Forbidden: memory limits cannot be decreased unless resizePolicy is RestartContainer",
                id="less memory under a running process",
            ),
            pytest.param(
                {"resources": {"limits": {"example.com/disk": "1"}}},
                "spec",
                "Forbidden: only cpu and memory resources are mutable",
                id="another resource",
            ),
            pytest.param(
                {"resizePolicy": RESTARTED}, "spec", "Forbidden: only cpu and memory resources are mutable", id="the policy"
            ),
            pytest.param(
                {"name": "new", "image": "a:1"},
                "spec",
                "Forbidden: only cpu and memory resources are mutable",
                id="another container",
            ),
            pytest.param(
                {"resources": {"requests": {"cpu": "2"}}},
                "spec.containers[0].resources.requests",
                'Invalid value: "2": must be less than or equal to cpu limit of 1',
                id="what no pod may have",
            ),
        ],
    )
    def test_what_may_not_be(self, api, container, field, message):
        with pytest.raises(Refused) as refusal:
            self.resize(api, **container)
        assert message in refusal.value.causes[field]

    def test_of_init_containers_only_sidecars(self, api):
        grown = {"requests": {"cpu": "2"}}
        made = self.resize(api, "b", "initContainers", name="s", resources=grown)
        assert "2" == made["spec"]["initContainers"][1]["resources"]["requests"]["cpu"]
        with pytest.raises(Refused, match="spec: Forbidden: resources for non-sidecar init containers are immutable"):
            self.resize(api, "b", "initContainers", name="i", resources=grown)
        with pytest.raises(
            Refused, match=r"initContainers\[1\].resources.requests: Forbidden: resource requests cannot be removed"
        ):
            self.resize(api, "b", "initContainers", name="s", resources={"requests": {"cpu": None}})

    def test_by_no_other_way_and_not_everywhere(self, api):
        with pytest.raises(Refused, match="pod updates may not change fields other than"):
            api.patch(POD, "g", {"spec": {"containers": [sized("2"), sized(name="free")]}})
        told = [{"name": "c", "state": {"running": {}}}]
        api.patch(POD, "g", {"status": {"containerStatuses": told}}, "status")
        with pytest.raises(Refused, match="spec: Forbidden: Pod running on node without support for resize"):
            self.resize(api, resources=sized("2")["resources"])
        api.create(
            POD,
            pod("m", nodeName="a", containers=[sized()])
            | {"metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}}},
        )
        with pytest.raises(Refused, match="static pods cannot be resized"):
            self.resize(api, "m", resources=sized("2")["resources"])

    def test_the_policies(self):
        bad = [{"resourceName": "disk", "restartPolicy": "Never"}, *RESTARTED, *RESTARTED]
        with pytest.raises(Refused) as refusal:
            Direct().create(POD, pod(restartPolicy="Never", containers=[sized(resizePolicy=bad)]))
        assert "must be 'NotRequired' when `restartPolicy` is 'Never'" in refusal.value.message
        field = "spec.containers[0].resizePolicy"
        assert 'supported values: "cpu", "memory"' in refusal.value.causes[field]
        assert 'Duplicate value: "memory"' == refusal.value.causes[f"{field}[2]"]


@pytest.mark.parametrize(
    ("spec", "status", "at_once"),
    [
        pytest.param({}, {"phase": "Pending"}, True, id="not scheduled"),
        pytest.param({"nodeName": "a"}, {"phase": "Running"}, False, id="running on a node"),
        pytest.param({"nodeName": "a"}, {"phase": "Succeeded"}, True, id="done"),
        pytest.param({"nodeName": "a"}, {"phase": "Failed"}, True, id="failed"),
    ],
)
def test_which_pods_go_at_once(spec, status, at_once):
    assert at_once == STRATEGIES[POD].delete_at_once({"spec": spec, "status": status})


def state(**fields):
    return {"name": "c", "restartCount": 0, "ready": False, **fields}


RUNNING = state(ready=True, state={"running": {}})
WAITING = {"waiting": {"reason": "CrashLoopBackOff"}}


def ended(code, **more):
    return {"terminated": {"exitCode": code, **more}}


@pytest.mark.parametrize(
    ("status", "ready", "word"),
    [
        pytest.param({"phase": "Pending"}, "0/1", "Pending", id="waiting to be scheduled"),
        pytest.param(
            {"phase": "Pending", "containerStatuses": [state(state={"waiting": {"reason": "ContainerCreating"}})]},
            "0/1",
            "ContainerCreating",
            id="being made",
        ),
        pytest.param({"phase": "Running", "containerStatuses": [RUNNING]}, "1/1", "Running", id="running"),
        pytest.param(
            {"phase": "Running", "containerStatuses": [state(state=WAITING)]}, "0/1", "CrashLoopBackOff", id="crashing"
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": [state(state=ended(1, reason="Error"))]}, "0/1", "Error", id="failed"
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": [state(state=ended(3))]}, "0/1", "ExitCode:3", id="failed without a reason"
        ),
        pytest.param(
            {"phase": "Failed", "containerStatuses": [state(state=ended(137, signal=9))]}, "0/1", "Signal:9", id="killed"
        ),
        pytest.param(
            {"phase": "Succeeded", "containerStatuses": [state(state=ended(0, reason="Completed"))]},
            "0/1",
            "Completed",
            id="done",
        ),
        pytest.param({"phase": "Failed", "reason": "Evicted"}, "0/1", "Evicted", id="evicted"),
        pytest.param(
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
            "0/1",
            "SchedulingGated",
            id="gated",
        ),
    ],
)
def test_the_word_of_a_pod(status, ready, word):
    assert (ready, word) == row(status)[1:3]


INIT = {"initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "c"}]}


@pytest.mark.parametrize(
    ("statuses", "word"),
    [
        pytest.param([state(name="i", state={"running": {}})], "Init:0/2", id="the first runs"),
        pytest.param(
            [state(name="i", state=ended(0)), state(name="j", state={"waiting": {"reason": "PodInitializing"}})],
            "Init:1/2",
            id="the second is next",
        ),
        pytest.param([state(name="i", state=ended(1, reason="Error"))], "Init:Error", id="the first failed"),
        pytest.param([state(name="i", state=ended(7))], "Init:ExitCode:7", id="the first failed without a reason"),
        pytest.param([state(name="i", state=WAITING)], "Init:CrashLoopBackOff", id="the first crashes"),
    ],
)
def test_the_word_while_initializing(statuses, word):
    assert word == row({"phase": "Pending", "initContainerStatuses": statuses}, INIT)[2]


def test_a_started_sidecar_counts_as_a_container():
    spec = {"initContainers": [{"name": "i", "restartPolicy": "Always"}], "containers": [{"name": "c"}]}
    sidecar = state(name="i", started=True, ready=True, state={"running": {}}, restartCount=2)
    cells = row({"phase": "Running", "initContainerStatuses": [sidecar], "containerStatuses": [RUNNING]}, spec)
    assert ("2/2", "Running", "2") == cells[1:4]


def test_a_deleted_pod_is_terminating():
    assert (
        "Terminating" == row({"phase": "Running", "containerStatuses": [RUNNING]}, deletionTimestamp="2026-11-22T12:00:00Z")[2]
    )


def test_restarts_tell_when():
    last = {"terminated": {"finishedAt": "2026-11-22T11:55:00Z"}}
    running = copy.deepcopy(RUNNING) | {"restartCount": 3, "lastState": last}
    assert "3 (5m ago)" == row({"phase": "Running", "containerStatuses": [running]})[3]


def test_the_wide_columns():
    status = {"phase": "Running", "podIPs": [{"ip": "10.244.1.5"}], "conditions": [{"type": "example.com/g", "status": "True"}]}
    spec = {"nodeName": "a", "readinessGates": [{"conditionType": "example.com/g"}], "containers": [{"name": "c"}]}
    assert ("10.244.1.5", "a", "<none>", "1/1") == row(status, spec)[5:]


def row(status, spec=None, **meta):
    strategy, env = STRATEGIES[POD], Env(NOW, None, Settings())
    document = {"metadata": {"name": "p", **meta}, "spec": spec or {"containers": [{"name": "c"}]}, "status": status}
    cells = tuple(strategy.cells(document, env))
    assert len(strategy.columns) == len(cells)
    return cells
