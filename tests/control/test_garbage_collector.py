import pytest
from workloads import document, node, pod, said

from mooring.control.reconciler import Apply
from mooring.control.reconcilers.garbage_collector import GarbageCollector
from mooring.model.kinds import BY_KIND, CONFIG_MAP, LEASE, NODE, POD, REPLICA_SET, SECRET, Kind
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle


def owning(owner: dict, controller: bool = False, block: bool = False) -> dict:
    """An ownerReference to a document of this test; uids are the names."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **({"controller": True} if controller else {}),
        **({"blockOwnerDeletion": True} if block else {}),
    }


def thing(name: str, *owners: dict, kind: Kind = CONFIG_MAP, namespace: str = "default", **metadata) -> dict:
    references = {"ownerReferences": list(owners)} if owners else {}
    return document(kind, name, namespace, metadata={"uid": name, **references, **metadata})


OWNER = thing("owner", kind=REPLICA_SET)
OTHER = thing("other", kind=REPLICA_SET)


def names(world: MemoryWorld, kind: Kind = CONFIG_MAP) -> set[str]:
    return {each["metadata"]["name"] for each in world.list(kind)}


def delete(world: MemoryWorld, document: dict, policy: str = "Background") -> None:
    metadata = document["metadata"]
    kind = BY_KIND[(document["apiVersion"], document["kind"])]
    world.write(Apply("delete", kind, metadata.get("namespace", ""), metadata["name"], {"propagationPolicy": policy}))


@pytest.mark.parametrize("controller", [True, False])
def test_background_a_dependent_follows_its_owner(controller):
    world = MemoryWorld([OWNER, thing("dependent", owning(OWNER, controller)), thing("free")])
    settle(GarbageCollector(), world)
    assert {"dependent", "free"} == names(world)
    delete(world, OWNER)
    settle(GarbageCollector(), world)
    assert {"free"} == names(world)


def test_the_whole_tree_follows():
    child = thing("child", owning(OWNER, True))
    world = MemoryWorld([OWNER, child, thing("grandchild", owning(child), kind=SECRET)])
    delete(world, OWNER)
    settle(GarbageCollector(), world)
    assert set() == names(world) | names(world, SECRET)


def test_one_owner_left_is_enough_and_the_lost_one_is_taken_off():
    world = MemoryWorld([OWNER, OTHER, thing("dependent", owning(OWNER), owning(OTHER))])
    delete(world, OWNER)
    settle(GarbageCollector(), world)
    assert [owning(OTHER)] == world.get(CONFIG_MAP, "default", "dependent")["metadata"]["ownerReferences"]


def test_a_namesake_made_later_is_not_the_owner():
    world = MemoryWorld([{**OWNER, "metadata": {**OWNER["metadata"], "uid": "another"}}, thing("dependent", owning(OWNER))])
    settle(GarbageCollector(), world)
    assert set() == names(world)


def test_an_owner_that_only_our_watch_has_not_seen_saves_its_dependent():
    server = MemoryWorld([OWNER, thing("dependent", owning(OWNER))])
    stale = MemoryWorld([thing("dependent", owning(OWNER))])
    first, last = GarbageCollector().plan(("default", "configmaps/dependent"), stale).writes
    assert "delete" == last.verb
    with pytest.raises(ApiError, match="cannot be fulfilled"):
        server.write(first)


def test_a_dependent_that_changed_since_is_not_deleted_by_an_old_judgement():
    stale = MemoryWorld([thing("dependent", owning(OWNER))])
    *_, last = GarbageCollector().plan(("default", "configmaps/dependent"), stale).writes
    assert {"uid": "dependent", "resourceVersion": "1"} == last.body["preconditions"]


def test_a_cluster_scoped_owner_of_a_namespaced_dependent():
    a = node("a", metadata={"uid": "a"})
    world = MemoryWorld([a, thing("a", owning(a), kind=LEASE, namespace="kube-node-lease")])
    settle(GarbageCollector(), world)
    assert {"a"} == names(world, LEASE)
    delete(world, a)
    settle(GarbageCollector(), world)
    assert set() == names(world, LEASE)


def test_a_namespaced_owner_of_a_cluster_scoped_dependent_is_never_resolved_nor_the_dependent_deleted():
    world = MemoryWorld([OWNER, node("a", metadata={"uid": "a", "ownerReferences": [owning(OWNER)]})])
    delete(world, OWNER)
    settle(GarbageCollector(), world)
    assert {"a"} == names(world, NODE)


def test_an_owner_in_another_namespace_counts_as_absent_and_is_reported():
    elsewhere = {**OWNER, "metadata": {**OWNER["metadata"], "namespace": "other"}}
    world = MemoryWorld([elsewhere, thing("dependent", owning(OWNER))])
    settled = settle(GarbageCollector(), world)
    assert set() == names(world)
    who = "[apps/v1/ReplicaSet, namespace: default, name: owner, uid: owner]"
    assert [f'Warning OwnerRefInvalidNamespace ownerRef {who} does not exist in namespace "default"'] == said(settled.reports)


def test_an_owner_of_a_kind_we_do_not_know_is_not_ours_to_judge():
    reference = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": "w"}
    world = MemoryWorld([thing("dependent", reference)])
    settle(GarbageCollector(), world)
    assert {"dependent"} == names(world)


def test_foreground_the_owner_goes_after_those_that_block_it():
    world = MemoryWorld([OWNER, thing("blocking", owning(OWNER, True, True), finalizers=["example.com/hold"]), thing("x")])
    delete(world, OWNER, "Foreground")
    settle(GarbageCollector(), world)
    assert {"owner"} == names(world, REPLICA_SET)
    assert world.get(CONFIG_MAP, "default", "blocking")["metadata"]["deletionTimestamp"]
    world.write(Apply("patch", CONFIG_MAP, "default", "blocking", {"metadata": {"finalizers": None}}))
    settle(GarbageCollector(), world)
    assert {"x"} == names(world)
    assert set() == names(world, REPLICA_SET)


def test_foreground_those_that_do_not_block_are_deleted_but_not_waited_for():
    world = MemoryWorld([OWNER, thing("loose", owning(OWNER), finalizers=["example.com/hold"])])
    delete(world, OWNER, "Foreground")
    settle(GarbageCollector(), world)
    assert set() == names(world, REPLICA_SET)
    assert world.get(CONFIG_MAP, "default", "loose")["metadata"]["deletionTimestamp"]


def test_foreground_goes_down_the_tree_before_it_comes_up():
    child = thing("child", owning(OWNER, True, True))
    leaf = pod("leaf", node="a", metadata={"uid": "leaf", "ownerReferences": [owning(child, True, True)]})
    world = MemoryWorld([OWNER, child, leaf])
    delete(world, OWNER, "Foreground")
    settle(GarbageCollector(), world)
    assert ({"owner"}, {"child"}, {"leaf"}) == (names(world, REPLICA_SET), names(world), names(world, POD))
    assert "foregroundDeletion" in world.get(CONFIG_MAP, "default", "child")["metadata"]["finalizers"]
    world.remove(POD, "default", "leaf")
    settle(GarbageCollector(), world)
    assert set() == names(world, REPLICA_SET) | names(world)


def test_foreground_another_owner_keeps_the_dependent():
    world = MemoryWorld([OWNER, OTHER, thing("dependent", owning(OWNER, False, True), owning(OTHER))])
    delete(world, OWNER, "Foreground")
    settle(GarbageCollector(), world)
    assert {"other"} == names(world, REPLICA_SET)
    assert [owning(OTHER)] == world.get(CONFIG_MAP, "default", "dependent")["metadata"]["ownerReferences"]


def test_owners_in_a_circle_do_not_wait_for_ever():
    one, two = thing("one"), thing("two")
    one["metadata"]["ownerReferences"] = [owning(two, True, True)]
    two["metadata"]["ownerReferences"] = [owning(one, True, True)]
    world = MemoryWorld([one, two])
    delete(world, one, "Foreground")
    settle(GarbageCollector(), world)
    assert set() == names(world)


def test_orphan_lets_the_dependents_live_without_their_owner():
    world = MemoryWorld([OWNER, OTHER, thing("one", owning(OWNER, True)), thing("two", owning(OWNER), owning(OTHER))])
    delete(world, OWNER, "Orphan")
    settle(GarbageCollector(), world)
    assert {"other"} == names(world, REPLICA_SET)
    assert not world.get(CONFIG_MAP, "default", "one")["metadata"].get("ownerReferences")
    assert [owning(OTHER)] == world.get(CONFIG_MAP, "default", "two")["metadata"]["ownerReferences"]
    settle(GarbageCollector(), world)
    assert {"one", "two"} == names(world)


def test_an_object_going_already_is_not_deleted_again():
    world = MemoryWorld([thing("dependent", owning(OWNER), finalizers=["x"], deletionTimestamp="2026-01-01T00:00:00Z")])
    assert () == settle(GarbageCollector(), world).writes


def test_objects_without_owners_and_without_our_finalizers_cost_nothing():
    world = MemoryWorld()
    world.add(thing("free"))
    assert set() == GarbageCollector().keys(world.changes[0], world)
