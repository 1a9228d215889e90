"""Claims, volumes, storage classes and disruption budgets: defaults, rules in upstream's words, rows."""

from typing import Any

import pytest
from direct import Direct, Refused

from mooring.apiserver import protobuf
from mooring.apiserver.kinds import STRATEGIES
from mooring.model.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD_DISRUPTION_BUDGET, STORAGE_CLASS

Document = dict[str, Any]
PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
    "regex used for validation is '[0-9]+%')"
)


def claim(name: str = "data", **spec: Any) -> Document:
    full = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}} | spec
    return {"metadata": {"name": name}, "spec": {key: value for key, value in full.items() if value is not None}}


def volume(name: str = "v", **spec: Any) -> Document:
    full = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/srv/v"}} | spec
    return {"metadata": {"name": name}, "spec": {key: value for key, value in full.items() if value is not None}}


def storage_class(name: str = "standard", default: bool = False, **rest: Any) -> Document:
    annotations = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}} if default else {}
    return {"metadata": {"name": name, **annotations}, "provisioner": "mooring.dev/host-path", **rest}


def budget(name: str = "web", **spec: Any) -> Document:
    return {"metadata": {"name": name}, "spec": spec}


@pytest.fixture
def api() -> Direct:
    return Direct()


# Claims -----------------------------------------------------------------------------------------------------------------


def test_a_new_claim_is_pending_protected_and_of_the_default_class(api):
    api.create(STORAGE_CLASS, storage_class("standard", default=True))
    made = api.create(PERSISTENT_VOLUME_CLAIM, claim() | {"status": {"phase": "Bound"}})
    assert made["status"] == {"phase": "Pending"}
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    assert made["spec"]["storageClassName"] == "standard"
    assert made["spec"]["volumeMode"] == "Filesystem"


def test_an_empty_class_means_none_and_stays(api):
    api.create(STORAGE_CLASS, storage_class("standard", default=True))
    assert api.create(PERSISTENT_VOLUME_CLAIM, claim(storageClassName=""))["spec"]["storageClassName"] == ""


def test_without_a_default_class_none_is_filled_in(api):
    api.create(STORAGE_CLASS, storage_class("standard"))
    assert "storageClassName" not in api.create(PERSISTENT_VOLUME_CLAIM, claim())["spec"]


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"accessModes": None}, {"spec.accessModes": "Required value: at least 1 access mode is required"}),
        ({"accessModes": ["Sometimes"]},
         {"spec.accessModes": 'Unsupported value: "Sometimes": supported values: "ReadOnlyMany", "ReadWriteMany", '
                              '"ReadWriteOnce", "ReadWriteOncePod"'}),
        ({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]},
         {"spec.accessModes": "Forbidden: may not use ReadWriteOncePod with other access modes"}),
        ({"resources": None}, {"spec.resources[storage]": "Required value"}),
        ({"resources": {"requests": {"storage": "0"}}},
         {"spec.resources[storage]": 'Invalid value: "0": must be greater than zero'}),
        ({"resources": {"requests": {"storage": "-1Gi"}}},
         {"spec.resources[storage]": 'Invalid value: "-1Gi": must be greater than zero'}),
        ({"volumeMode": "Tape"},
         {"spec.volumeMode": 'Unsupported value: "Tape": supported values: "Block", "Filesystem"'}),
        ({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
         {"spec.selector.matchExpressions[0].values": "Required value: must be specified when `operator` is 'In' or 'NotIn'"}),
    ],
)  # fmt: skip
def test_a_claim_is_refused(api, spec, causes):
    with pytest.raises(Refused) as refused:
        api.create(PERSISTENT_VOLUME_CLAIM, claim(**spec))
    assert (refused.value.code, refused.value.causes) == (422, causes)


@pytest.mark.parametrize("name", ["../../etc", "UP", "a_b"])
def test_names_that_lead_elsewhere_are_refused(api, name):
    for kind, document in (
        (PERSISTENT_VOLUME_CLAIM, claim(volumeName=name)),
        (PERSISTENT_VOLUME_CLAIM, claim(storageClassName=name)),
        (PERSISTENT_VOLUME, volume(name)),
        (STORAGE_CLASS, storage_class(name)),
    ):
        with pytest.raises(Refused) as refused:
            api.create(kind, document)
        assert refused.value.code == 422


def test_a_claims_spec_stands_but_its_volume_is_filled_in_once(api):
    api.create(PERSISTENT_VOLUME_CLAIM, claim(storageClassName="x"))
    fixed = (
        "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
    )
    with pytest.raises(Refused) as refused:
        api.patch(PERSISTENT_VOLUME_CLAIM, "data", {"spec": {"accessModes": ["ReadWriteMany"]}})
    assert refused.value.causes == {"spec": fixed}
    assert api.patch(PERSISTENT_VOLUME_CLAIM, "data", {"spec": {"volumeName": "v"}})["spec"]["volumeName"] == "v"
    with pytest.raises(Refused) as refused:
        api.patch(PERSISTENT_VOLUME_CLAIM, "data", {"spec": {"volumeName": "w"}})
    assert refused.value.causes == {"spec": fixed}


def test_a_bound_claim_grows_only_where_its_class_allows_it(api):
    for name, grows in (("fixed", False), ("stretchy", True)):
        api.create(STORAGE_CLASS, storage_class(name, allowVolumeExpansion=grows))
        api.create(PERSISTENT_VOLUME_CLAIM, claim(name, storageClassName=name))
        api.patch(PERSISTENT_VOLUME_CLAIM, name, {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}, "status")
    more = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    assert api.patch(PERSISTENT_VOLUME_CLAIM, "stretchy", more)["spec"]["resources"]["requests"]["storage"] == "2Gi"
    with pytest.raises(Refused) as refused:
        api.patch(PERSISTENT_VOLUME_CLAIM, "fixed", more)
    words = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
    assert (refused.value.code, refused.value.message) == (403, f'persistentvolumeclaims "fixed" is forbidden: {words}')


# Volumes ----------------------------------------------------------------------------------------------------------------


def test_a_new_volume_is_pending_protected_and_kept(api):
    made = api.create(PERSISTENT_VOLUME, volume())
    assert made["status"] == {"phase": "Pending", "lastPhaseTransitionTime": made["metadata"]["creationTimestamp"]}
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    assert (made["spec"]["persistentVolumeReclaimPolicy"], made["spec"]["volumeMode"]) == ("Retain", "Filesystem")


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"capacity": None}, {"spec.capacity": "Required value"}),
        ({"capacity": {"storage": "1Gi", "cpu": "1"}},
         {"spec.capacity": 'Unsupported value: {"storage":"1Gi","cpu":"1"}: supported values: "storage"'}),
        ({"accessModes": []}, {"spec.accessModes": "Required value"}),
        ({"hostPath": None}, {"spec": "Required value: must specify a volume type"}),
        ({"nfs": {"server": "s", "path": "/"}}, {"spec.nfs": "Forbidden: may not specify more than 1 volume type"}),
        ({"hostPath": {"path": "/a/../etc"}}, {"spec.hostPath.path": 'Invalid value: "/a/../etc": must not contain \'..\''}),
        ({"hostPath": {}}, {"spec.hostPath.path": "Required value"}),
        ({"hostPath": None, "local": {"path": "/srv"}},
         {"metadata.annotations": "Required value: Local volume requires node affinity"}),
        ({"persistentVolumeReclaimPolicy": "Burn"},
         {"spec.persistentVolumeReclaimPolicy":
          'Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"'}),
        ({"nodeAffinity": {}},
         {"spec.nodeAffinity.required": "Required value: must specify required node constraints"}),
        ({"nodeAffinity": {"required": {"nodeSelectorTerms": []}}},
         {"spec.nodeAffinity.required.nodeSelectorTerms": "Required value: must have at least one node selector term"}),
        ({"storageClassName": "A/b"}, ["spec.storageClassName"]),
    ],
)  # fmt: skip
def test_a_volume_is_refused(api, spec, causes):
    with pytest.raises(Refused) as refused:
        api.create(PERSISTENT_VOLUME, volume(**spec))
    assert refused.value.code == 422
    assert (list(refused.value.causes) if isinstance(causes, list) else refused.value.causes) == causes


def test_a_volumes_source_stands(api):
    api.create(PERSISTENT_VOLUME, volume())
    with pytest.raises(Refused) as refused:
        api.patch(PERSISTENT_VOLUME, "v", {"spec": {"hostPath": {"path": "/etc"}}})
    fixed = "Forbidden: spec.persistentvolumesource is immutable after creation"
    assert refused.value.causes == {"spec.persistentvolumesource": fixed}
    assert api.patch(PERSISTENT_VOLUME, "v", {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})


def test_a_phases_change_is_stamped(api):
    api.create(PERSISTENT_VOLUME, volume())
    api.env = type(api.env)(api.env.now.replace(hour=13), api.env.rng, api.env.settings)
    changed = api.patch(PERSISTENT_VOLUME, "v", {"status": {"phase": "Available"}}, "status")
    assert changed["status"] == {"phase": "Available", "lastPhaseTransitionTime": "2026-11-22T13:00:00Z"}


# Classes ----------------------------------------------------------------------------------------------------------------


def test_a_classes_defaults(api):
    made = api.create(STORAGE_CLASS, storage_class())
    assert (made["reclaimPolicy"], made["volumeBindingMode"]) == ("Delete", "Immediate")


@pytest.mark.parametrize(
    ("rest", "causes"),
    [
        ({"provisioner": ""}, {"provisioner": "Required value"}),
        ({"reclaimPolicy": "Burn"},
         {"reclaimPolicy": 'Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"'}),
        ({"volumeBindingMode": "Never"},
         {"volumeBindingMode": 'Unsupported value: "Never": supported values: "Immediate", "WaitForFirstConsumer"'}),
        ({"allowedTopologies": [{"matchLabelExpressions": [{"key": "zone"}]}]},
         {"allowedTopologies[0].matchLabelExpressions[0].values": "Required value"}),
    ],
)  # fmt: skip
def test_a_class_is_refused(api, rest, causes):
    with pytest.raises(Refused) as refused:
        api.create(STORAGE_CLASS, storage_class(**rest))
    assert (refused.value.code, refused.value.causes) == (422, causes)


def test_what_a_class_does_stands(api):
    api.create(STORAGE_CLASS, storage_class())
    with pytest.raises(Refused) as refused:
        api.update(STORAGE_CLASS, storage_class(parameters={"a": "b"}, reclaimPolicy="Retain"))
    assert refused.value.causes == {
        "parameters": "Forbidden: updates to parameters are forbidden.",
        "reclaimPolicy": "Forbidden: updates to reclaimPolicy are forbidden.",
    }


# Budgets ----------------------------------------------------------------------------------------------------------------


def test_a_new_budget_allows_nothing(api):
    made = api.create(POD_DISRUPTION_BUDGET, budget(minAvailable=1) | {"status": {"disruptionsAllowed": 9}})
    assert made["status"] == {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"minAvailable": -1}, {"spec.minAvailable": "Invalid value: -1: must be greater than or equal to 0"}),
        ({"maxUnavailable": "101%"}, {"spec.maxUnavailable": 'Invalid value: "101%": must not be greater than 100%'}),
        ({"maxUnavailable": "some"}, {"spec.maxUnavailable": f'Invalid value: "some": {PERCENT}'}),
        ({"maxUnavailable": f"{'9' * 5000}%"}, ["spec.maxUnavailable"]),
        ({"unhealthyPodEvictionPolicy": "Never"},
         {"spec.unhealthyPodEvictionPolicy": 'Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"'}),
        ({"selector": {"matchLabels": {"a b": "c"}}}, ["spec.selector.matchLabels"]),
    ],
)  # fmt: skip
def test_a_budget_is_refused(api, spec, causes):
    with pytest.raises(Refused) as refused:
        api.create(POD_DISRUPTION_BUDGET, budget(**spec))
    assert refused.value.code == 422
    assert (list(refused.value.causes) if isinstance(causes, list) else refused.value.causes) == causes


def test_a_budget_has_one_bound(api):
    with pytest.raises(Refused) as refused:
        api.create(POD_DISRUPTION_BUDGET, budget(minAvailable=1, maxUnavailable=1))
    assert refused.value.causes["spec"].endswith("minAvailable and maxUnavailable cannot be both set")


def test_a_budgets_counts_are_never_negative(api):
    api.create(POD_DISRUPTION_BUDGET, budget(minAvailable=1))
    with pytest.raises(Refused) as refused:
        api.patch(POD_DISRUPTION_BUDGET, "web", {"status": {"expectedPods": -1}}, "status")
    assert refused.value.causes == {"status.expectedPods": "Invalid value: -1: must be greater than or equal to 0"}


# Protobuf ---------------------------------------------------------------------------------------------------------------


def field(number: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return bytes([number << 3 | 2, len(data)]) + data


def wire(version: str, kind: str, spec: bytes) -> bytes:
    """As client-go's typed clients send it: TypeMeta, then metadata and spec."""
    head = field(1, version) + field(2, kind)
    return b"k8s\0" + field(1, head) + field(2, field(1, field(1, "x")) + field(2, spec))


def test_a_claim_that_wants_no_class_says_so_in_protobuf_too():
    resources = field(2, field(2, field(1, "storage") + field(2, field(1, "1Gi"))))
    spec = protobuf.document(wire("v1", "PersistentVolumeClaim", field(1, "ReadWriteOnce") + resources + field(5, "")))["spec"]
    assert spec == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""}


def test_a_volumes_source_is_read_where_json_has_it():
    capacity = field(1, field(1, "storage") + field(2, field(1, "1Gi")))
    source = field(2, field(3, field(1, "/srv")))
    spec = protobuf.document(wire("v1", "PersistentVolume", capacity + source + field(3, "ReadWriteOnce")))["spec"]
    assert spec == {"capacity": {"storage": "1Gi"}, "hostPath": {"path": "/srv"}, "accessModes": ["ReadWriteOnce"]}


# Rows -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "document", "row"),
    [
        (PERSISTENT_VOLUME_CLAIM,
         claim(volumeName="v", storageClassName="standard") | {"status": {
             "phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}},
         "data Bound v 1Gi RWO,RWX standard <unset> 0s <unset>"),
        (PERSISTENT_VOLUME_CLAIM, claim(volumeMode="Filesystem") | {"status": {"phase": "Pending"}},
         "data Pending     <unset> 0s Filesystem"),
        (PERSISTENT_VOLUME,
         volume(claimRef={"namespace": "default", "name": "data"}, persistentVolumeReclaimPolicy="Delete",
                storageClassName="standard") | {"status": {"phase": "Bound"}},
         "v 1Gi RWO Delete Bound default/data standard <unset>  0s <unset>"),
        (STORAGE_CLASS, storage_class(default=True), "standard (default) mooring.dev/host-path Delete Immediate False 0s"),
        (POD_DISRUPTION_BUDGET, budget(maxUnavailable="30%") | {"status": {"disruptionsAllowed": 2}}, "web N/A 30% 2 0s"),
    ],
)  # fmt: skip
def test_rows(api, kind, document, row):
    document["metadata"]["creationTimestamp"] = "2026-11-22T12:00:00Z"
    assert " ".join(map(str, STRATEGIES[kind].cells(document, api.env))) == row
    assert len(STRATEGIES[kind].cells(document, api.env)) == len(STRATEGIES[kind].columns)


def test_what_is_going_says_so_in_its_row(api):
    going = claim()
    going["metadata"] |= {"deletionTimestamp": "2026-11-22T12:00:00Z", "creationTimestamp": "2026-11-22T12:00:00Z"}
    assert STRATEGIES[PERSISTENT_VOLUME_CLAIM].cells(going, api.env)[1] == "Terminating"
