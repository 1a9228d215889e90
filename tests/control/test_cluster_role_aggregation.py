"""Sums of ClusterRoles: what belongs to one, what no longer does, and roles that leave the controller cold."""

import pytest
from workloads import document

from mooring.control.reconciler import Apply, Change
from mooring.control.reconcilers.cluster_role_aggregation import ClusterRoleAggregation
from mooring.model.kinds import CLUSTER_ROLE
from mooring.testing.world import MemoryWorld, settle


def rule(resource: str, *verbs: str) -> dict:
    return {"apiGroups": [""], "resources": [resource], "verbs": list(verbs or ("get",))}


def part(name: str, *rules: dict, **labels: str) -> dict:
    return document(CLUSTER_ROLE, name, metadata={"labels": labels}, rules=list(rules))


def total(name: str, *selectors: dict, **more: object) -> dict:
    return document(CLUSTER_ROLE, name, aggregationRule={"clusterRoleSelectors": list(selectors)}, **more)


def to(name: str) -> dict:
    return {"matchLabels": {"to": name}}


def rules_of(world: MemoryWorld, name: str) -> list[dict]:
    settle(ClusterRoleAggregation(), world)
    return world.get(CLUSTER_ROLE, "", name)["rules"]


PODS, NODES, SECRETS = rule("pods"), rule("nodes"), rule("secrets")


def test_a_sum_has_the_rules_of_its_parts_by_their_names_each_once():
    world = MemoryWorld([total("sum", to("sum")), part("b", NODES, PODS, to="sum"), part("a", PODS, to="sum"),
                         part("c", SECRETS, to="another")])  # fmt: skip
    assert [PODS, NODES] == rules_of(world, "sum")


def test_any_selector_will_do_and_their_order_counts():
    world = MemoryWorld([total("sum", to("second"), to("first")), part("a", PODS, to="first"), part("b", NODES, to="second")])
    assert [NODES, PODS] == rules_of(world, "sum")


def test_expressions_select_too():
    among = {"matchExpressions": [{"key": "to", "operator": "In", "values": ["x", "y"]}]}
    world = MemoryWorld([total("sum", among), part("a", PODS, to="y"), part("b", NODES, to="z"), part("c", SECRETS)])
    assert [PODS] == rules_of(world, "sum")


def test_what_is_written_into_a_sum_by_hand_does_not_stay():
    world = MemoryWorld([total("sum", to("sum"), rules=[SECRETS]), part("a", PODS, to="sum")])
    assert [PODS] == rules_of(world, "sum")


def test_a_part_that_changes_leaves_or_comes_changes_the_sum():
    world = MemoryWorld([total("sum", to("sum")), part("a", PODS, to="sum"), part("b", NODES, to="sum")])
    assert [PODS, NODES] == rules_of(world, "sum")
    world.write(Apply("patch", CLUSTER_ROLE, "", "a", {"rules": [SECRETS]}))
    assert [SECRETS, NODES] == rules_of(world, "sum")
    world.write(Apply("patch", CLUSTER_ROLE, "", "b", {"metadata": {"labels": {"to": None}}}))
    assert [SECRETS] == rules_of(world, "sum")
    world.remove(CLUSTER_ROLE, "", "a")
    assert [] == rules_of(world, "sum")
    world.add(part("late", PODS, to="sum"))
    assert [PODS] == rules_of(world, "sum")


def test_a_sum_is_no_part_of_itself():
    world = MemoryWorld(
        [total("sum", to("sum"), metadata={"labels": {"to": "sum"}}, rules=[SECRETS]), part("a", PODS, to="sum")]
    )
    assert [PODS] == rules_of(world, "sum")


def test_sums_of_sums_settle():
    """As view, edit and admin do."""
    world = MemoryWorld([
        total("admin", to("admin")), total("edit", to("edit"), metadata={"labels": {"to": "admin"}}),
        part("viewing", PODS, to="edit"), part("administering", SECRETS, to="admin"),
    ])  # fmt: skip
    assert [SECRETS, PODS] == rules_of(world, "admin")


def test_two_that_contain_each_other_come_to_rest():
    world = MemoryWorld([
        total("a", to("a"), metadata={"labels": {"to": "b"}}), total("b", to("b"), metadata={"labels": {"to": "a"}}),
        part("p", PODS, to="a"), part("q", NODES, to="b"),
    ])  # fmt: skip
    settle(ClusterRoleAggregation(), world)
    assert not settle(ClusterRoleAggregation(), world).writes
    assert [{"nodes", "pods"}] * 2 == [{one["resources"][0] for one in rules_of(world, name)} for name in ("a", "b")]


@pytest.mark.parametrize("role", [part("plain", PODS, to="sum"), total("none"), {**total("x"), "aggregationRule": {}}])
def test_other_roles_are_left_alone(role):
    role.setdefault("rules", [])
    world = MemoryWorld([role, part("a", NODES, to="sum")])
    assert not settle(ClusterRoleAggregation(), world).writes


def test_any_role_concerns_every_sum_and_nothing_else():
    world = MemoryWorld([total("one", to("x")), total("two", to("y")), part("a", PODS)])
    (change,) = [each for each in world.changes if isinstance(each, Change) and "a" in str(each)][:1]
    assert {("", "one"), ("", "two")} == set(ClusterRoleAggregation().keys(change, world))
