"""Claims and volumes: who is bound to whom, phases, what is kept while it is in use, what is asked of provisioners."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from volume_documents import LOCAL, PV_FINALIZER, PVC_FINALIZER, STANDARD, claim, storage_class, using, volume
from workloads import node, pod, said

from mooring.control.reconciler import Apply
from mooring.control.reconcilers.persistent_volumes import PersistentVolumes
from mooring.control.reconcilers.storage_classes import StorageClasses
from mooring.control.volume_matching import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    PROVISIONED_BY,
    PROVISIONER,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
)
from mooring.model.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, POD, STORAGE_CLASS
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle

GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
Document = dict[str, Any]


def settled(*documents: Document) -> tuple[MemoryWorld, list[str]]:
    world = MemoryWorld(documents)
    return world, said(settle(PersistentVolumes(), world).reports)


def held_claim(world: MemoryWorld, name: str = "data") -> Document:
    found = world.get(PERSISTENT_VOLUME_CLAIM, "default", name)
    assert found is not None
    return found


def held_volume(world: MemoryWorld, name: str = "v") -> Document:
    found = world.get(PERSISTENT_VOLUME, "", name)
    assert found is not None
    return found


def phases(world: MemoryWorld) -> tuple[str, str]:
    """(of the claim 'data', of the volume 'v')"""
    return held_claim(world)["status"]["phase"], held_volume(world)["status"]["phase"]


# Binding ----------------------------------------------------------------------------------------------------------------


def test_a_claim_and_a_volume_that_fit_are_bound_to_each_other():
    world, reports = settled(claim("data", ""), volume("v", storage=""))
    assert phases(world) == ("Bound", "Bound")
    data, v = held_claim(world), held_volume(world)
    assert data["spec"]["volumeName"] == "v"
    assert data["metadata"]["annotations"] == {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
    assert data["status"]["capacity"] == {"storage": "1Gi"}
    assert data["status"]["accessModes"] == v["spec"]["accessModes"]
    assert (v["spec"]["claimRef"]["name"], v["spec"]["claimRef"]["uid"]) == ("data", "uid-data")
    assert reports == []


GONE = {"namespace": "default", "name": "gone", "uid": "uid-gone"}


@pytest.mark.parametrize(
    ("wish", "have"),
    [
        pytest.param({"size": "2Gi"}, {}, id="too small"),
        pytest.param({"storage": "fast"}, {}, id="of another class"),
        pytest.param({"modes": ["ReadOnlyMany"]}, {}, id="without the access mode"),
        pytest.param({"volumeMode": "Block"}, {}, id="of another mode"),
        pytest.param({"selector": {"matchLabels": {"disk": "ssd"}}}, {}, id="not selected"),
        pytest.param({}, {"claim": "someone"}, id="taken"),
        pytest.param({}, {"phase": "Released", "claimRef": GONE}, id="not available"),
        pytest.param({}, {"metadata": {**GOING, "finalizers": ["x"]}}, id="going"),
    ],
)
def test_a_claim_does_not_get_a_volume_that_is(wish, have):
    documents = [storage_class("fast", "kubernetes.io/no-provisioner", "Immediate"), claim("someone", "", bound="v")]
    world, _ = settled(*documents, claim("data", **{"storage": "", **wish}), volume("v", **{"storage": "", **have}))
    assert "volumeName" not in held_claim(world)["spec"]


def test_of_several_volumes_it_gets_the_smallest_that_is_large_enough():
    world, _ = settled(claim("data", "", size="2Gi"), *(volume(f"v{n}", storage="", size=f"{n}Gi") for n in (1, 9, 3, 4)))
    assert held_claim(world)["spec"]["volumeName"] == "v3"


def test_a_volume_kept_for_a_claim_by_name_goes_to_that_claim_alone():
    kept = volume("v", storage="", size="1Ti", claimRef={"namespace": "default", "name": "data"})
    world, _ = settled(claim("another", "", size="1Gi"), claim("data", "", size="1Gi"), kept)
    assert held_claim(world)["spec"]["volumeName"] == "v"
    assert held_volume(world)["spec"]["claimRef"]["uid"] == "uid-data"
    assert BOUND_BY_CONTROLLER not in (held_volume(world)["metadata"].get("annotations") or {})
    assert "volumeName" not in held_claim(world, "another")["spec"]


@pytest.mark.parametrize(
    ("have", "report"),
    [
        ({}, None),
        ({"size": "1Mi"}, 'Warning VolumeMismatch Cannot bind to requested volume "v": requested PV is too small'),
        ({"storage": "x"}, 'Warning VolumeMismatch Cannot bind to requested volume "v": storageClassName does not match'),
        ({"accessModes": ["ReadOnlyMany"]},
         'Warning VolumeMismatch Cannot bind to requested volume "v": incompatible accessMode'),
        ({"volumeMode": "Block"}, 'Warning VolumeMismatch Cannot bind to requested volume "v": incompatible volumeMode'),
        ({"claim": "someone"}, 'Warning FailedBinding volume "v" already bound to a different claim.'),
    ],
)  # fmt: skip
def test_a_claim_that_names_its_volume_gets_that_or_none(have, report):
    world, reports = settled(
        *([claim("someone", "", bound="v")] if "claim" in have else []),
        claim("data", "", volumeName="v"),
        volume("v", **{"storage": "", **have}),
    )
    assert held_claim(world)["status"]["phase"] == ("Pending" if report else "Bound")
    assert reports == ([report] if report else [])


def test_a_claim_that_names_a_volume_that_comes_later_waits_for_it():
    world, _ = settled(claim("data", "", volumeName="v"))
    assert held_claim(world)["status"]["phase"] == "Pending"
    world.add(volume("v", storage=""))
    settle(PersistentVolumes(), world)
    assert phases(world) == ("Bound", "Bound")


def test_a_binding_of_which_one_half_was_written_is_completed():
    world, _ = settled(claim("data", ""), claim("other", ""), volume("v", storage="", claim="data", phase="Available"))
    assert phases(world) == ("Bound", "Bound")
    assert "volumeName" not in held_claim(world, "other")["spec"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_no_volume_ever_has_two_claims_and_no_claim_a_volume_too_small(asked, have):
    claims = [claim(f"c{n}", "", size=f"{size}Gi") for n, size in enumerate(asked)]
    world, _ = settled(*claims, *(volume(f"v{n}", storage="", size=f"{size}Gi") for n, size in enumerate(have)))
    pairs = [
        (each["spec"]["volumeName"], each["metadata"]["name"])
        for each in world.list(PERSISTENT_VOLUME_CLAIM)
        if each["spec"].get("volumeName")
    ]
    assert len({name for name, _ in pairs}) == len(pairs)
    sizes = {f"v{n}": size for n, size in enumerate(have)} | {f"c{n}": size for n, size in enumerate(asked)}
    for volume_name, claim_name in pairs:
        assert sizes[volume_name] >= sizes[claim_name]
        assert held_volume(world, volume_name)["spec"]["claimRef"]["name"] == claim_name
    left = [size for n, size in enumerate(asked) if f"c{n}" not in dict(pairs).values()]
    free = [size for n, size in enumerate(have) if f"v{n}" not in dict(pairs)]
    assert not left or not free or min(left) > max(free)


# What cannot be bound says why ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("documents", "report"),
    [
        ([claim("data", "")],
         "Normal FailedBinding no persistent volumes available for this claim and no storage class is set"),
        ([claim("data", "nope")], 'Warning ProvisioningFailed storageclass.storage.k8s.io "nope" not found'),
        ([STANDARD, claim("data")],
         "Normal WaitForFirstConsumer waiting for first consumer to be created before binding"),
        ([STANDARD, claim("data"), pod("p", spec=using("data"))],
         "Normal WaitForPodScheduled waiting for pod p to be scheduled"),
        ([STANDARD, claim("data"), *(pod(n, spec=using("data")) for n in "pq")],
         "Normal WaitForPodScheduled waiting for at least one of the pods [p,q] to be scheduled"),
        ([storage_class("csi", "csi.example.com", "Immediate"), claim("data", "csi")],
         "Normal ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'csi.example.com' "
         "or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is "
         "running and correctly registered."),
    ],
)  # fmt: skip
def test_a_claim_that_waits_says_for_what(documents, report):
    world, reports = settled(*documents)
    assert set(reports) == {report}
    assert held_claim(world)["status"]["phase"] == "Pending"


def test_a_claim_made_before_there_was_a_default_class_gets_it_when_it_comes():
    world, _ = settled(claim("data", None))
    settle((PersistentVolumes(), StorageClasses("standard")), world)
    assert held_claim(world)["spec"]["storageClassName"] == "standard"


def test_a_claim_that_wants_no_class_gets_none():
    world, _ = settled(claim("data", ""))
    settle((PersistentVolumes(), StorageClasses("standard")), world)
    assert held_claim(world)["spec"]["storageClassName"] == ""


def test_the_default_class_makes_directories_for_first_consumers():
    world = MemoryWorld()
    settle(StorageClasses("standard"), world)
    (made,) = world.list(STORAGE_CLASS)
    assert (made["provisioner"], made["volumeBindingMode"], made["reclaimPolicy"]) == (
        "mooring.dev/host-path", "WaitForFirstConsumer", "Delete",
    )  # fmt: skip
    assert made["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}


# Provisioning -----------------------------------------------------------------------------------------------------------


def test_once_a_node_is_chosen_the_provisioner_is_asked():
    world, _ = settled(STANDARD, node("a"), claim("data", metadata={"annotations": {SELECTED_NODE: "a"}}))
    assert held_claim(world)["metadata"]["annotations"] == {SELECTED_NODE: "a", STORAGE_PROVISIONER: PROVISIONER}


def test_a_class_that_binds_at_once_has_a_node_chosen_for_it():
    nodes = [node("a", ready="False"), node("b", spec={"unschedulable": True}), node("c")]
    world, _ = settled(storage_class("now", mode="Immediate"), *nodes, claim("data", "now"))
    assert held_claim(world)["metadata"]["annotations"][SELECTED_NODE] == "c"


def test_a_chosen_node_that_is_gone_is_forgotten():
    world, reports = settled(STANDARD, claim("data", metadata={"annotations": {SELECTED_NODE: "gone"}}))
    assert SELECTED_NODE not in held_claim(world)["metadata"]["annotations"]
    assert reports[-1].startswith("Normal WaitForFirstConsumer")


def test_a_provisioned_volume_is_bound_to_the_claim_it_was_made_for():
    made = volume("pvc-1", node="a", claim="data", phase="Pending", metadata={"annotations": {PROVISIONED_BY: PROVISIONER}})
    world, _ = settled(STANDARD, node("a"), claim("data", metadata={"annotations": {SELECTED_NODE: "a"}}), made)
    assert held_claim(world)["spec"]["volumeName"] == "pvc-1"
    assert held_volume(world, "pvc-1")["status"]["phase"] == "Bound"


# The end ----------------------------------------------------------------------------------------------------------------


def test_a_claim_in_use_stays_until_its_last_pod_has_gone():
    going = claim("data", "", bound="v", metadata=GOING)
    world, _ = settled(going, volume("v", storage="", claim="data"), pod("user", node="a", spec=using("data")))
    assert PVC_FINALIZER in held_claim(world)["metadata"]["finalizers"]
    world.remove(POD, "default", "user")
    settle(PersistentVolumes(), world)
    assert world.get(PERSISTENT_VOLUME_CLAIM, "default", "data") is None


def test_a_pod_that_no_node_has_does_not_hold_a_claim():
    world, _ = settled(claim("data", "", metadata=GOING), pod("user", spec=using("data")))
    assert world.get(PERSISTENT_VOLUME_CLAIM, "default", "data") is None


def test_a_claim_is_not_let_go_while_a_pod_gets_its_node_unseen():
    """The watch of Pods is behind: a plan made of what it told must not come true."""
    documents = claim("data", "", metadata=GOING), pod("user", spec=using("data"))
    seen, server = MemoryWorld(documents), MemoryWorld(documents)
    bound = {"metadata": {"uid": server.get(POD, "default", "user")["metadata"]["uid"]}, "target": {"name": "a"}}
    server.write(Apply("create", POD, "default", "user", bound, "binding"))
    with pytest.raises(ApiError, match="cannot be fulfilled"):
        for write in PersistentVolumes().plan(("default", "data"), seen).writes:
            server.write(write)
    assert PVC_FINALIZER in held_claim(server)["metadata"]["finalizers"]


def test_a_volume_in_use_stays_until_its_claim_has_gone():
    world, _ = settled(claim("data", "", bound="v"), volume("v", storage="", claim="data", metadata=GOING))
    assert held_volume(world)["metadata"]["finalizers"] == [PV_FINALIZER]
    world.remove(PERSISTENT_VOLUME_CLAIM, "default", "data")
    settle(PersistentVolumes(), world)
    assert world.get(PERSISTENT_VOLUME, "", "v") is None


@pytest.mark.parametrize(
    ("have", "phase", "report"),
    [
        pytest.param({"persistentVolumeReclaimPolicy": "Retain"}, "Released", None, id="Retain"),
        pytest.param(
            {"persistentVolumeReclaimPolicy": "Delete", "metadata": {"annotations": {PROVISIONED_BY: PROVISIONER}}},
            "Released", None, id="Delete, by who made it",
        ),
        pytest.param(
            {"persistentVolumeReclaimPolicy": "Delete"}, "Failed",
            'Warning VolumeFailedDelete error getting deleter volume plugin for volume "v": no deletable volume plugin matched',
            id="Delete, but nobody made it",
        ),
    ],
)  # fmt: skip
def test_a_volume_whose_claim_has_gone(have, phase, report):
    world, reports = settled(volume("v", claim="data", **have))
    assert held_volume(world)["status"]["phase"] == phase
    assert reports == ([report] if report else [])


def test_a_volume_is_released_when_a_namesake_of_its_claim_comes_in_its_place():
    world, _ = settled(claim("data", "", metadata={"uid": "another"}), volume("v", storage="", claim="data"))
    assert phases(world) == ("Pending", "Released")


def test_a_claim_that_the_server_still_has_keeps_its_volume_though_we_do_not_see_it():
    """A late watch of claims must not cost data: the release asks the server first."""
    world = MemoryWorld([volume("v", claim="data")])
    plan = PersistentVolumes().plan(("", "v"), world)
    world.add(claim("data", "", bound="v"))
    with pytest.raises(Exception, match="Operation cannot be fulfilled"):
        for write in plan.writes:
            world.write(write)
    assert held_volume(world)["status"]["phase"] == "Bound"


@pytest.mark.parametrize(
    ("documents", "report"),
    [
        ([claim("data", "", bound="v")],
         "Warning ClaimLost Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
        ([claim("data", "", bound="v"), claim("other", "", bound="v"), volume("v", storage="", claim="other")],
         "Warning ClaimMisbound Two claims are bound to the same volume, this one is bound incorrectly"),
        ([claim("data", "", metadata={"annotations": {BIND_COMPLETED: "yes"}})],
         "Warning ClaimLost Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"),
    ],
)  # fmt: skip
def test_a_bound_claim_without_its_volume_is_lost(documents, report):
    world, reports = settled(*documents)
    assert reports == [report]
    assert held_claim(world)["status"]["phase"] == "Lost"


def test_a_volume_whose_claim_took_another_is_free_again():
    first = volume("v", storage="", claim="data", metadata={"annotations": {BOUND_BY_CONTROLLER: "yes"}})
    world, _ = settled(claim("data", "", bound="w"), volume("w", storage="", claim="data"), first)
    assert held_volume(world)["status"]["phase"] == "Available"
    assert "claimRef" not in held_volume(world)["spec"]


def test_finalizers_that_are_missing_are_put_there():
    world, _ = settled(LOCAL, claim("data", metadata={"finalizers": []}), volume("v", metadata={"finalizers": []}))
    assert held_claim(world)["metadata"]["finalizers"] == [PVC_FINALIZER]
    assert held_volume(world)["metadata"]["finalizers"] == [PV_FINALIZER]
