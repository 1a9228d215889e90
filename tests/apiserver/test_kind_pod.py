"""Pods: defaults and admission, rules, what may change, and the one word people read first."""

import copy

import pytest
from direct import NOW, Direct, Refused

from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.kinds import STRATEGIES
from mooring.model.kinds import POD


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
