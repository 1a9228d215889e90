"""StatefulSets, DaemonSets, Jobs and ControllerRevisions at the API: defaults, refusals in upstream's words, changes, rows."""

import copy

import pytest
from direct import NOW, Direct, Refused

from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.kinds import STRATEGIES
from mooring.apiserver.protobuf import WireError, document
from mooring.model.kinds import CONTROLLER_REVISION, DAEMON_SET, JOB, STATEFUL_SET

CONTAINER = {"name": "c", "image": "echo:1"}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}}
SELECTOR = {"matchLabels": {"app": "web"}}
UID, NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"


def owner(**spec):
    return {"metadata": {"name": "web"}, "spec": {"selector": SELECTOR, "template": TEMPLATE} | spec}


def job(restart="Never", **spec):
    template = {"spec": {"containers": [CONTAINER], **({"restartPolicy": restart} if restart else {})}}
    return {"metadata": {"name": "sum"}, "spec": {"template": template} | spec}


def causes(verb, kind, body, *rest):
    with pytest.raises(Refused) as refusal:
        verb(kind, body, *rest)
    assert refusal.value.code == 422
    return refusal.value.causes


def row(kind, held):
    strategy = STRATEGIES[kind]
    cells = strategy.cells(held, Env(NOW, None, Settings()))
    return {column.name: cell for column, cell in zip(strategy.columns, cells, strict=True)}


# StatefulSet ------------------------------------------------------------------------------------------------------------


def test_stateful_set_defaults():
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    held = Direct().create(STATEFUL_SET, owner(volumeClaimTemplates=[claim]))
    expected = {
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    }
    assert expected == {name: held["spec"][name] for name in expected}
    (made,) = held["spec"]["volumeClaimTemplates"]
    assert ("v1", "PersistentVolumeClaim", "Filesystem", {"phase": "Pending"}) == (
        made["apiVersion"], made["kind"], made["spec"]["volumeMode"], made["status"],
    )  # fmt: skip
    assert (1, {"replicas": 0, "availableReplicas": 0}) == (held["metadata"]["generation"], held["status"])
    assert (
        "rollingUpdate"
        not in Direct().create(STATEFUL_SET, owner(updateStrategy={"type": "OnDelete"}))["spec"]["updateStrategy"]
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"replicas": -1}, {"spec.replicas": "Invalid value: -1: must be greater than or equal to 0"}),
        (
            {"podManagementPolicy": "Chaos"},
            {"spec.podManagementPolicy": "Invalid value: \"Chaos\": must be 'OrderedReady' or 'Parallel'"},
        ),
        (
            {"updateStrategy": {"type": "Recreate"}},
            {"spec.updateStrategy": "Invalid value: {\"type\":\"Recreate\"}: must be 'RollingUpdate' or 'OnDelete'"},
        ),
        (
            {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
            {
                "spec.updateStrategy.rollingUpdate": 'Invalid value: {"partition":1}: '
                "only allowed for updateStrategy 'RollingUpdate'"
            },
        ),
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": -1, "maxUnavailable": 0}}},
            {
                "spec.updateStrategy.rollingUpdate.partition": "Invalid value: -1: must be greater than or equal to 0",
                "spec.updateStrategy.rollingUpdate.maxUnavailable": "Invalid value: 0: cannot be 0",
            },
        ),
        (
            {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Burn"}},
            {
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled": 'Unsupported value: "Burn": '
                'supported values: "Delete", "Retain"'
            },
        ),
        ({"ordinals": {"start": -1}}, {"spec.ordinals.start": "Invalid value: -1: must be greater than or equal to 0"}),
        ({"selector": {}}, {"spec.selector": "Invalid value: {}: empty selector is invalid for statefulset"}),
        (
            {"selector": {"matchLabels": {"app": "x"}}},
            {"spec.template.metadata.labels": 'Invalid value: {"app":"web"}: `selector` does not match template `labels`'},
        ),
        (
            {
                "template": TEMPLATE
                | {"spec": {"containers": [CONTAINER], "restartPolicy": "Never", "activeDeadlineSeconds": 1}}
            },
            {
                "spec.template.spec.restartPolicy": 'Unsupported value: "Never": supported values: "Always"',
                "spec.template.spec.activeDeadlineSeconds": "Forbidden: activeDeadlineSeconds in StatefulSet is not Supported",
            },
        ),
    ],
)
def test_a_broken_stateful_set_is_refused(spec, expected):
    assert expected == causes(Direct().create, STATEFUL_SET, owner(**spec))


def test_a_stateful_sets_name_is_that_of_its_pods_hosts():
    assert "metadata.name" in causes(Direct().create, STATEFUL_SET, owner() | {"metadata": {"name": "a.b"}})


def test_of_a_stateful_sets_spec_little_may_change():
    api = Direct()
    held = api.create(STATEFUL_SET, owner(serviceName="web"))
    held["spec"] |= {"replicas": 3, "minReadySeconds": 5, "revisionHistoryLimit": 2, "ordinals": {"start": 1}}
    held["spec"]["template"]["spec"]["containers"][0]["image"] = "echo:2"
    held = api.update(STATEFUL_SET, held)
    assert 2 == held["metadata"]["generation"]
    for change in (
        {"serviceName": "other"},
        {"podManagementPolicy": "Parallel"},
        {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]},
    ):
        assert {
            "spec": "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' "
            "are forbidden"
        } == causes(api.update, STATEFUL_SET, copy.deepcopy(held) | {"spec": held["spec"] | change})


def test_a_stateful_set_is_scaled_and_its_status_checked():
    api = Direct()
    api.create(STATEFUL_SET, owner())
    api.patch(STATEFUL_SET, "web", {"spec": {"replicas": 4}}, "scale")
    assert 4 == api.get(STATEFUL_SET, "web")["spec"]["replicas"]
    api.patch(STATEFUL_SET, "web", {"status": {"replicas": 4, "readyReplicas": 2, "collisionCount": 1}}, "status")
    assert ("2/4", "c", "echo:1") == tuple(
        row(STATEFUL_SET, api.get(STATEFUL_SET, "web"))[name] for name in ("Ready", "Containers", "Images")
    )
    broken = {"readyReplicas": 5, "currentReplicas": -1, "availableReplicas": 6, "collisionCount": 0}
    assert {
        "status.currentReplicas": "Invalid value: -1: must be greater than or equal to 0",
        "status.readyReplicas": "Invalid value: 5: cannot be greater than status.replicas",
        "status.availableReplicas": "Invalid value: 6: cannot be greater than status.replicas; "
        "Invalid value: 6: cannot be greater than status.readyReplicas",
        "status.collisionCount": "Invalid value: 0: cannot be decremented",
    } == causes(api.patch, STATEFUL_SET, "web", {"status": broken}, "status")


# DaemonSet --------------------------------------------------------------------------------------------------------------


def test_daemon_set_defaults_and_the_number_of_its_template():
    api = Direct()
    held = api.create(DAEMON_SET, owner())
    assert {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}} == held["spec"]["updateStrategy"]
    number = "deprecated.daemonset.template.generation"
    assert ("1", 10) == (held["metadata"]["annotations"][number], held["spec"]["revisionHistoryLimit"])
    held["spec"]["minReadySeconds"] = 3
    held["metadata"]["annotations"] = {"a": "b"}
    held = api.update(DAEMON_SET, held)
    assert {"a": "b", number: "1"} == held["metadata"]["annotations"]
    held["spec"]["template"]["metadata"]["annotations"] = {"restarted": "now"}
    assert "2" == api.update(DAEMON_SET, held)["metadata"]["annotations"][number]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}},
            {"spec.updateStrategy.rollingUpdate.maxSurge": "Invalid value: 1: may not be set when maxUnavailable is non-zero"},
        ),
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}},
            {"spec.updateStrategy.rollingUpdate.maxUnavailable": "Required value: cannot be 0 when maxSurge is 0"},
        ),
        (
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "101%"}}},
            {"spec.updateStrategy.rollingUpdate.maxUnavailable": 'Invalid value: "101%": must not be greater than 100%'},
        ),
        (
            {"updateStrategy": {"type": "Recreate"}},
            {"spec.updateStrategy.type": 'Unsupported value: "Recreate": supported values: "OnDelete", "RollingUpdate"'},
        ),
        ({"selector": {}}, {"spec.selector": "Invalid value: {}: empty selector is invalid for daemonset"}),
        ({"minReadySeconds": -1}, {"spec.minReadySeconds": "Invalid value: -1: must be greater than or equal to 0"}),
        (
            {"template": TEMPLATE | {"spec": {"containers": []}}},
            {"spec.template.spec.containers": "Required value"},
        ),
    ],
)
def test_a_broken_daemon_set_is_refused(spec, expected):
    assert expected == causes(Direct().create, DAEMON_SET, owner(**spec))


def test_a_daemon_sets_selector_stands_and_its_row():
    api = Direct()
    held = api.create(DAEMON_SET, owner())
    wider = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]}
    changed = copy.deepcopy(held) | {"spec": held["spec"] | {"selector": wider}}
    assert ["spec.selector"] == list(causes(api.update, DAEMON_SET, changed))
    counts = {"desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberReady": 2, "updatedNumberScheduled": 1}
    api.patch(DAEMON_SET, "web", {"status": counts | {"numberAvailable": 2, "numberMisscheduled": 0}}, "status")
    shown = row(DAEMON_SET, api.get(DAEMON_SET, "web"))
    assert [3, 3, 2, 1, 2, "<none>"] == [
        shown[name] for name in ("Desired", "Current", "Ready", "Up-to-date", "Available", "Node Selector")
    ]
    broken = {"status": {"numberReady": -1}}
    assert ["status.numberReady"] == list(causes(api.patch, DAEMON_SET, "web", broken, "status"))


# ControllerRevision -----------------------------------------------------------------------------------------------------


def test_a_revision_keeps_its_data_whatever_it_is_and_never_changes_it():
    api = Direct()
    data = {"spec": {"template": {"$patch": "replace", "metadata": {"creationTimestamp": None}}}}
    reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "u", "controller": True}
    body = {"metadata": {"name": "web-1", "ownerReferences": [reference]}, "data": data, "revision": 1}
    held = api.create(CONTROLLER_REVISION, body)
    assert data == held["data"]
    assert "statefulset.apps/web" == row(CONTROLLER_REVISION, held)["Controller"]
    assert 7 == api.patch(CONTROLLER_REVISION, "web-1", {"revision": 7})["revision"]
    assert ["data"] == list(causes(api.patch, CONTROLLER_REVISION, "web-1", {"data": {"other": 1}}))
    api.create(CONTROLLER_REVISION, {"metadata": {"name": "web-2"}, "data": {"on": 1}, "revision": 2})
    assert ["data"] == list(causes(api.patch, CONTROLLER_REVISION, "web-2", {"data": {"on": True}}))
    assert {
        "data": "Required value: data is mandatory",
        "revision": "Invalid value: -1: must be greater than or equal to 0",
    } == (causes(api.create, CONTROLLER_REVISION, {"metadata": {"name": "x"}, "revision": -1}))


# Job --------------------------------------------------------------------------------------------------------------------


def test_job_defaults_and_the_selector_that_the_server_makes():
    held = Direct().create(JOB, job())
    expected = {
        "parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False,
        "manualSelector": False, "podReplacementPolicy": "TerminatingOrFailed",
    }  # fmt: skip
    assert expected == {name: held["spec"][name] for name in expected}
    uid = held["metadata"]["uid"]
    labels = {"controller-uid": uid, UID: uid, "job-name": "sum", NAME: "sum"}
    assert {"matchLabels": {UID: uid}} == held["spec"]["selector"]
    assert labels == held["spec"]["template"]["metadata"]["labels"] == held["metadata"]["labels"]


def test_job_defaults_that_depend_on_others():
    create = Direct().create
    assert "completions" not in create(JOB, job(parallelism=3))["spec"]
    indexed = job(completionMode="Indexed", completions=2, backoffLimitPerIndex=1) | {"metadata": {"name": "indexed"}}
    assert 2**31 - 1 == create(JOB, indexed)["spec"]["backoffLimit"]
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    policed = create(JOB, job(podFailurePolicy={"rules": [rule]}) | {"metadata": {"name": "policed"}})["spec"]
    assert "Failed" == policed["podReplacementPolicy"]
    assert "True" == policed["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"]


RULE = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}
INDEXED = {"completionMode": "Indexed", "completions": 3}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (job(restart=""), {"spec.template.spec.restartPolicy": 'Required value: valid values: "OnFailure", "Never"'}),
        (job(completions=-1), {"spec.completions": "Invalid value: -1: must be greater than or equal to 0"}),
        (
            job(completionMode="Odd"),
            {"spec.completionMode": 'Unsupported value: "Odd": supported values: "Indexed", "NonIndexed"'},
        ),
        (
            job(completionMode="Indexed", parallelism=1),
            {"spec.completions": "Required value: when completion mode is Indexed"},
        ),
        (job(backoffLimitPerIndex=1), {"spec.backoffLimitPerIndex": "Invalid value: 1: requires indexed completion mode"}),
        (
            job(**INDEXED, backoffLimitPerIndex=1, maxFailedIndexes=4),
            {"spec.maxFailedIndexes": "Invalid value: 4: must be less than or equal to completions"},
        ),
        (
            job(restart="OnFailure", podFailurePolicy={"rules": [RULE]}),
            {
                "spec.template.spec.restartPolicy": 'Invalid value: "OnFailure": only "Never" is supported '
                "when podFailurePolicy is specified"
            },
        ),
        (
            job(podFailurePolicy={"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2, 0, 2]}}]}),
            {
                "spec.podFailurePolicy.rules[0].action": 'Invalid value: "FailIndex": '
                "requires the backoffLimitPerIndex to be set",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[1]": "Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]": "Duplicate value: 2",
                "spec.podFailurePolicy.rules[0].onExitCodes.values": "Invalid value: [2,0,2]: must be ordered",
            },
        ),
        (
            job(podFailurePolicy={"rules": [{"action": "Count"}]}, podReplacementPolicy="TerminatingOrFailed"),
            {
                "spec.podFailurePolicy.rules[0]": "Invalid value: "
                "specifying one of OnExitCodes and OnPodConditions is required",
                "spec.podReplacementPolicy": 'Unsupported value: "TerminatingOrFailed": supported values: "Failed"',
            },
        ),
        (
            job(**INDEXED, successPolicy={"rules": [{"succeededIndexes": "0-5"}, {"succeededCount": 4}, {}]}),
            {
                "spec.successPolicy.rules[0].succeededIndexes": 'Invalid value: "0-5": error parsing succeededIndexes: '
                'too large index: "5"',
                "spec.successPolicy.rules[1].succeededCount": "Invalid value: 4: must be less than or equal to 3 "
                "(the number of specified completions)",
                "spec.successPolicy.rules[2]": "Required value: at least one of succeededCount or "
                "succeededIndexes must be specified",
            },
        ),
        (
            job(managedBy="nobody"),
            {"spec.managedBy": 'Invalid value: "nobody": must be a domain-prefixed path (such as "acme.io/foo")'},
        ),
        (
            job(manualSelector=True),
            {"spec.selector": "Required value"},
        ),
    ],
)
def test_a_broken_job_is_refused(body, expected):
    assert expected == causes(Direct().create, JOB, body)


def test_labels_that_contradict_the_servers_are_refused():
    body = job()
    body["spec"]["template"]["metadata"] = {"labels": {NAME: "other"}}
    assert {f"spec.template.metadata.labels[{NAME}]"} == set(causes(Direct().create, JOB, body))
    selecting = job(selector={"matchLabels": {"app": "x"}})
    assert {"spec.selector", "spec.template.metadata.labels"} == set(causes(Direct().create, JOB, selecting))


def test_what_of_a_job_may_change():
    api = Direct()
    held = api.create(JOB, job(completions=3, suspend=True))
    allowed = {"parallelism": 2, "backoffLimit": 1, "activeDeadlineSeconds": 9, "ttlSecondsAfterFinished": 1, "suspend": False}
    held = api.update(JOB, held | {"spec": held["spec"] | allowed})
    for name, value in (("completions", 5), ("completionMode", "Indexed"), ("managedBy", "a.io/b")):
        changed = copy.deepcopy(held) | {"spec": held["spec"] | {name: value}}
        assert f"spec.{name}" in causes(api.update, JOB, changed)
    changed = copy.deepcopy(held)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "echo:2"
    (words,) = causes(api.update, JOB, changed).values()
    assert words.endswith(": field is immutable")


def test_where_a_job_runs_may_be_said_until_it_has_begun():
    api = Direct()
    held = api.create(JOB, job(suspend=True))
    held["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    held = api.update(JOB, held)
    api.patch(JOB, "sum", {"status": {"startTime": "2026-11-22T12:00:00Z"}}, "status")
    late = {"spec": {"template": {"spec": {"nodeSelector": {"disk": "hdd"}}}}}
    assert ["spec.template"] == list(causes(api.patch, JOB, "sum", late))


def test_indexes_and_parallelism_grow_together():
    api = Direct()
    api.create(JOB, job(**INDEXED, parallelism=3))
    assert {"spec.completions": "Invalid value: 4: can only be modified in tandem with spec.parallelism"} == (
        causes(api.patch, JOB, "sum", {"spec": {"completions": 4}})
    )
    assert 4 == api.patch(JOB, "sum", {"spec": {"completions": 4, "parallelism": 4}})["spec"]["completions"]


def test_a_job_that_has_ended_stays_so():
    api = Direct()
    api.create(JOB, job())
    ended = [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]
    assert {
        "status.startTime": "Required value: startTime is required for finished job",
        "status.completionTime": "Required value: completionTime is required for Complete jobs",
        "status.active": "Invalid value: 1: active>0 is invalid for finished job",
    } == causes(api.patch, JOB, "sum", {"status": {"conditions": ended, "active": 1}}, "status")
    times = {"startTime": "2026-11-22T11:58:00Z", "completionTime": "2026-11-22T11:59:30Z"}
    held = api.patch(JOB, "sum", {"status": {"conditions": ended, "succeeded": 1, **times}}, "status")
    shown = row(JOB, held)
    assert ("Complete", "1/1", "90s", "0s") == (shown["Status"], shown["Completions"], shown["Duration"], shown["Age"])
    assert {
        "status.conditions": "Invalid value: cannot disable the terminal Complete=True condition; "
        "Invalid value: cannot disable the SuccessCriteriaMet=True condition",
        "status.succeeded": "Invalid value: 0: cannot decrease the succeeded counter",
    } == causes(api.patch, JOB, "sum", {"status": {"conditions": [], "succeeded": 0}}, "status")


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({"completions": 3}, {"succeeded": 1}, ("Running", "1/3")),
        ({"parallelism": 3}, {"succeeded": 1}, ("Running", "1/1 of 3")),
        ({"parallelism": 1}, {}, ("Running", "0/1")),
        ({"completions": 1}, {"conditions": [{"type": "Suspended", "status": "True"}]}, ("Suspended", "0/1")),
        ({"completions": 1}, {"conditions": [{"type": "FailureTarget", "status": "True"}]}, ("FailureTarget", "0/1")),
    ],
)
def test_how_a_job_is_shown(spec, status, expected):
    shown = row(JOB, {"metadata": {"name": "sum"}, "spec": spec, "status": status})
    assert expected == (shown["Status"], shown["Completions"])


def test_a_jobs_pods_stay_unless_the_request_says_otherwise():
    api = Direct()
    api.create(JOB, job())
    assert ["orphan"] == api.delete(JOB, "sum")["metadata"]["finalizers"]
    assert any("child pods are preserved by default when jobs are deleted" in text for text in api.warnings)
    api.create(JOB, job() | {"metadata": {"name": "other"}})
    api.send("DELETE", JOB.path("default", "other"), propagationPolicy="Background")
    assert [] == api.warnings
    with pytest.raises(Refused, match="not found"):
        api.get(JOB, "other")


def test_a_job_whose_pods_names_are_no_labels_is_warned_of():
    api = Direct()
    api.create(JOB, job() | {"metadata": {"name": "a.b"}})
    assert any("which can result in surprising behavior; a DNS label is recommended" in text for text in api.warnings)


def wire(*fields):
    """Protobuf of (number, integer or bytes)."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += bytes((number << 3, value))
        else:
            encoded += bytes((number << 3 | 2, len(value))) + value
    return encoded


def by_protobuf(version, kind, *fields):
    return document(b"k8s\x00" + wire((1, wire((1, version.encode()), (2, kind.encode()))), (2, wire(*fields))))


NAMED = (1, wire((1, b"sum")))


def test_zeros_that_mean_something_arrive_by_protobuf():
    """As client-go writes pointers: parallelism, backoffLimit, ttlSecondsAfterFinished and suspend, all of them zero."""
    spec = by_protobuf("batch/v1", "Job", NAMED, (2, wire((1, 0), (7, 0), (8, 0), (10, 0))))["spec"]
    assert {"parallelism": 0, "backoffLimit": 0, "ttlSecondsAfterFinished": 0, "suspend": False} == spec
    none = wire((1, 0), (2, 0), (3, b""))
    strategy = wire((1, b"RollingUpdate"), (2, wire((1, none), (2, wire((1, 0), (2, 1), (3, b""))))))
    spec = by_protobuf("apps/v1", "DaemonSet", NAMED, (2, wire((3, strategy))))["spec"]
    assert {"maxUnavailable": 0, "maxSurge": 1} == spec["updateStrategy"]["rollingUpdate"]


def test_the_data_of_a_revision_arrives_by_protobuf():
    data = b'{"spec":{"template":{"$patch":"replace"}}}'
    held = by_protobuf("apps/v1", "ControllerRevision", NAMED, (2, wire((1, data))), (3, 4))
    assert ({"spec": {"template": {"$patch": "replace"}}}, 4) == (held["data"], held["revision"])
    with pytest.raises(WireError, match="raw JSON"):
        by_protobuf("apps/v1", "ControllerRevision", NAMED, (2, wire((1, b"{"))))
