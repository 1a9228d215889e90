"""What a pod may wish about where it runs, and how it is told what it may not."""

from typing import Any

import pytest
from direct import Direct, Refused

from mooring.model.kinds import DEPLOYMENT, POD

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
WEB = {"matchLabels": {"app": "web"}}


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "e"}], **spec}}


def node_rule(**rule: Any) -> dict[str, Any]:
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}}}


def field_rule(**rule: Any) -> dict[str, Any]:
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [rule]}]}}}}


def apart(**term: Any) -> dict[str, Any]:
    return {"affinity": {"podAntiAffinity": {REQUIRED: [{"topologyKey": "zone", "labelSelector": WEB, **term}]}}}


def spread(**constraint: Any) -> dict[str, Any]:
    full = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB, **constraint}
    return {"topologySpreadConstraints": [{name: value for name, value in full.items() if value is not None}]}


NODE = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
ANTI = f"spec.affinity.podAntiAffinity.{REQUIRED}[0]"
SPREAD = "spec.topologySpreadConstraints[0]"


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}},
         {NODE: "Required value: must have at least one node selector term"}),
        (node_rule(key="a", operator="Near"),
         {f"{NODE}[0].matchExpressions[0].operator": 'Invalid value: "Near": not a valid selector operator'}),
        (node_rule(key="a", operator="In"),
         {f"{NODE}[0].matchExpressions[0].values": "Required value: must be specified when `operator` is 'In' or 'NotIn'"}),
        (node_rule(key="a", operator="Exists", values=["b"]),
         {f"{NODE}[0].matchExpressions[0].values":
          "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"}),
        (node_rule(key="a", operator="Gt", values=["1", "2"]),
         {f"{NODE}[0].matchExpressions[0].values":
          "Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"}),
        (field_rule(key="metadata.namespace", operator="In", values=["a"]),
         {f"{NODE}[0].matchFields[0].key": 'Invalid value: "metadata.namespace": not a valid field selector key'}),
        (field_rule(key="metadata.name", operator="In", values=["a", "b"]),
         {f"{NODE}[0].matchFields[0].values":
          "Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"}),
        ({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 0, "preference": {}}]}}},
         {f"spec.affinity.nodeAffinity.{PREFERRED}[0].weight": "Invalid value: 0: must be in the range 1-100"}),
        (apart(topologyKey=""), {f"{ANTI}.topologyKey": "Required value: can not be empty"}),
        (apart(topologyKey="a b"), [f"{ANTI}.topologyKey"]),
        (apart(namespaces=["A"]), [f"{ANTI}.namespace"]),
        (apart(labelSelector=None, matchLabelKeys=["a"]),
         {f"{ANTI}.matchLabelKeys": "Forbidden: must not be specified when labelSelector is not set"}),
        (apart(matchLabelKeys=["app"]),
         {f"{ANTI}.matchLabelKeys[0]": 'Invalid value: "app": exists in both matchLabelKeys and labelSelector'}),
        (apart(matchLabelKeys=["v"], mismatchLabelKeys=["v"]),
         {f"{ANTI}.matchLabelKeys[0]": 'Invalid value: "v": exists in both matchLabelKeys and mismatchLabelKeys'}),
        ({"affinity": {"podAffinity": {PREFERRED: [{"weight": 101, "podAffinityTerm": {"topologyKey": "z"}}]}}},
         {f"spec.affinity.podAffinity.{PREFERRED}[0].weight": "Invalid value: 101: must be in the range 1-100"}),
        (spread(maxSkew=0), {f"{SPREAD}.maxSkew": "Invalid value: 0: must be greater than zero"}),
        (spread(topologyKey=None), {f"{SPREAD}.topologyKey": "Required value: can not be empty"}),
        (spread(whenUnsatisfiable="Hope"),
         {f"{SPREAD}.whenUnsatisfiable": 'Unsupported value: "Hope": supported values: "DoNotSchedule", "ScheduleAnyway"'}),
        (spread(minDomains=0), {f"{SPREAD}.minDomains": "Invalid value: 0: must be greater than zero"}),
        (spread(minDomains=2, whenUnsatisfiable="ScheduleAnyway"),
         {f"{SPREAD}.minDomains":
          "Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"}),
        (spread(nodeTaintsPolicy="Maybe"),
         {f"{SPREAD}.nodeTaintsPolicy": 'Unsupported value: "Maybe": supported values: "Honor", "Ignore"'}),
        ({"topologySpreadConstraints": spread()["topologySpreadConstraints"] * 2},
         {"spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}": 'Duplicate value: "{zone, DoNotSchedule}"'}),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {}}]},
         {"spec.volumes[0].persistentVolumeClaim.claimName": "Required value"}),
    ],
)  # fmt: skip
def test_a_pod_is_refused(spec, causes):
    with pytest.raises(Refused) as refused:
        Direct().create(POD, pod(**spec))
    assert refused.value.code == 422
    assert (list(refused.value.causes) if isinstance(causes, list) else refused.value.causes) == causes


@pytest.mark.parametrize(
    "spec",
    [
        node_rule(key="a", operator="Gt", values=["1"]),
        field_rule(key="metadata.name", operator="In", values=["a"]),
        apart(namespaceSelector={}, mismatchLabelKeys=["v"]),
        spread(minDomains=3, matchLabelKeys=["hash"], nodeAffinityPolicy="Ignore", nodeTaintsPolicy="Honor"),
        {"affinity": {}},
        {"affinity": {"nodeAffinity": {}, "podAffinity": {}, "podAntiAffinity": {}}},
    ],
)
def test_a_pod_is_accepted(spec):
    assert Direct().create(POD, pod(**spec))["spec"].items() >= spec.items()


def test_a_template_is_looked_at_too():
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod(**spread(maxSkew=0))["spec"]}
    with pytest.raises(Refused) as refused:
        Direct().create(DEPLOYMENT, {"metadata": {"name": "d"}, "spec": {"selector": WEB, "template": template}})
    assert list(refused.value.causes) == ["spec.template.spec.topologySpreadConstraints[0].maxSkew"]
