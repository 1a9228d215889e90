"""Deployments and ReplicaSets: defaults, selectors, rows."""

import pytest
from direct import NOW, Direct, Refused

from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.kinds import STRATEGIES
from mooring.apiserver.kinds.workloads import matches
from mooring.model.kinds import DEPLOYMENT, REPLICA_SET


def workload(**spec):
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "echo:1"}]}}
    return {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template} | spec}


def test_deployment_defaults():
    spec = Direct().create(DEPLOYMENT, workload())["spec"]
    expected = {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
    }
    assert expected == {name: spec[name] for name in expected}
    assert ("Always", 30) == (
        spec["template"]["spec"]["restartPolicy"],
        spec["template"]["spec"]["terminationGracePeriodSeconds"],
    )


def test_admission_of_pods_does_not_touch_templates():
    spec = Direct().create(DEPLOYMENT, workload())["spec"]["template"]["spec"]
    assert [] == [name for name in ("serviceAccountName", "tolerations", "volumes") if name in spec]


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET], ids=lambda kind: kind.kind)
@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        pytest.param(
            {"replicas": -1}, "spec.replicas", "Invalid value: -1: must be greater than or equal to 0", id="fewer than none"
        ),
        pytest.param({"selector": None}, "spec.selector", "Required value", id="no selector"),
        pytest.param(
            {"selector": {"matchLabels": {"app": "other"}}},
            "spec.template.metadata.labels",
            'Invalid value: {"app":"web"}: `selector` does not match template `labels`',
            id="the selector misses its own pods",
        ),
        pytest.param(
            {"selector": {"matchExpressions": [{"key": "app", "operator": "Like"}]}},
            "spec.selector.matchExpressions[0].operator",
            'Invalid value: "Like": not a valid selector operator',
            id="an operator nobody knows",
        ),
    ],
)
def test_a_broken_workload_is_refused(kind, spec, field, words):
    with pytest.raises(Refused) as refusal:
        Direct().create(kind, workload(**spec))
    assert {field: words} == refusal.value.causes


@pytest.mark.parametrize(
    ("strategy", "field"),
    [
        ({"type": "Magic"}, "spec.strategy.type"),
        ({"type": "Recreate", "rollingUpdate": {}}, "spec.strategy.rollingUpdate"),
        ({"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}, "spec.strategy.rollingUpdate.maxUnavailable"),
        ({"rollingUpdate": {"maxUnavailable": "120%"}}, "spec.strategy.rollingUpdate.maxUnavailable"),
        ({"rollingUpdate": {"maxSurge": "some"}}, "spec.strategy.rollingUpdate.maxSurge"),
        ({"rollingUpdate": {"maxSurge": f"{'9' * 5000}%"}}, "spec.strategy.rollingUpdate.maxSurge"),
        ({"rollingUpdate": {"maxUnavailable": f"{'9' * 5000}%"}}, "spec.strategy.rollingUpdate.maxUnavailable"),
        ({"rollingUpdate": {"maxUnavailable": "\u0665%"}}, "spec.strategy.rollingUpdate.maxUnavailable"),
    ],
)
def test_a_broken_strategy_is_refused(strategy, field):
    with pytest.raises(Refused) as refusal:
        Direct().create(DEPLOYMENT, workload(strategy=strategy))
    assert [field] == list(refusal.value.causes)


def test_a_pod_template_must_always_restart():
    document = workload()
    document["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    with pytest.raises(Refused, match='Unsupported value: "Never": supported values: "Always"'):
        Direct().create(DEPLOYMENT, document)


def test_a_pod_template_is_checked_as_a_pod_is():
    document = workload()
    document["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "hostPath": {"path": "../x"}}]
    with pytest.raises(Refused) as refusal:
        Direct().create(DEPLOYMENT, document)
    assert ["spec.template.spec.volumes[0].hostPath.path"] == list(refusal.value.causes)


def test_the_selector_never_changes():
    api = Direct()
    made = api.create(DEPLOYMENT, workload())
    made["spec"]["selector"]["matchLabels"]["more"] = made["spec"]["template"]["metadata"]["labels"]["more"] = "x"
    with pytest.raises(Refused, match=r"spec.selector: Invalid value: .*: field is immutable"):
        api.update(DEPLOYMENT, made)


def test_the_generation_counts_changes_of_the_spec_only():
    api = Direct()
    first = api.create(DEPLOYMENT, workload())
    relabelled = api.patch(DEPLOYMENT, "web", {"metadata": {"labels": {"a": "b"}}})
    scaled = api.patch(DEPLOYMENT, "web", {"spec": {"replicas": 3}})
    status = api.patch(DEPLOYMENT, "web", {"status": {"replicas": 3}}, "status")
    assert [1, 1, 2, 2] == [made["metadata"]["generation"] for made in (first, relabelled, scaled, status)]


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
    ],
)
def test_selectors(selector, labels, expected):
    assert expected == matches(selector, labels)


def test_rows():
    env = Env(NOW, None, Settings())
    document = workload(replicas=3) | {
        "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1, "replicas": 4}
    }
    document["metadata"]["creationTimestamp"] = "2026-11-22T11:00:00Z"
    wide = ["c", "echo:1", "app=web"]
    assert ["web", "2/3", 3, 1, "60m", *wide] == STRATEGIES[DEPLOYMENT].cells(document, env)
    assert ["web", 3, 4, 2, "60m", *wide] == STRATEGIES[REPLICA_SET].cells(document, env)
