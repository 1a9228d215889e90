from fractions import Fraction

import pytest
from workloads import change, document, node, pod, replica_set, said, service

from mooring.control.reconcilers.replica_sets import ReplicaSets
from mooring.control.reconcilers.scheduler import Scheduler
from mooring.control.scheduling.resources import quantity, requested
from mooring.control.scheduling.tolerations import bearable_for, tolerates
from mooring.model.kinds import NODE, POD
from mooring.testing.world import MemoryWorld, settle


def tainted(key: str = "k", effect: str = "NoSchedule", value: str = "v") -> dict:
    return {"taints": [{"key": key, "value": value, "effect": effect}]}


def container(**rest) -> dict:
    return {"containers": [{"name": "main", "image": "echo:1", **rest}]}


def asking(**requests) -> dict:
    return container(resources={"requests": requests})


def wanting(operator: str, *values: str, key: str = "disk", field: bool = False) -> dict:
    expression = {"key": key, "operator": operator, **({"values": list(values)} if values else {})}
    term = {"matchFields" if field else "matchExpressions": [expression]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


def schedule(waiting: dict, *others: dict) -> tuple[str, list[str]]:
    """(the node chosen, '' for none; what was reported)"""
    world = MemoryWorld([*others, waiting])
    settled = settle(Scheduler(), world)
    return world.get(POD, "default", waiting["metadata"]["name"])["spec"].get("nodeName", ""), said(settled.reports)


@pytest.mark.parametrize("said_of_itself", [[{}], [{"type": "Ready"}]])
def test_a_status_that_says_nothing_stops_nobody(said_of_itself):
    """As the API takes it, of a node and of a Pod there."""
    silent = {**node("a"), "status": {"conditions": said_of_itself}}
    status = {"conditions": said_of_itself, "containerStatuses": [{}, {"resources": {"requests": {"cpu": "1"}}}]}
    resident = {**pod("r", node="b"), "status": status}
    assert "b" == schedule(pod("p"), silent, node("b"), resident)[0]


@pytest.mark.parametrize(
    ("waiting", "a", "reason"),
    [
        pytest.param({}, {}, "", id="a ready node will do"),
        pytest.param({}, {"spec": {"unschedulable": True}}, "node(s) were unschedulable", id="cordoned"),
        pytest.param({}, {"ready": "False"}, "node(s) had untolerated taint {node.kubernetes.io/not-ready: }", id="not ready"),
        pytest.param(
            {}, {"ready": "Unknown"}, "node(s) had untolerated taint {node.kubernetes.io/unreachable: }", id="unreachable"
        ),
        pytest.param(
            {"tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoSchedule"}]},
            {"ready": "False"},
            "",
            id="not ready, and borne",
        ),
        pytest.param({}, {"spec": tainted()}, "node(s) had untolerated taint {k: v}", id="a taint"),
        pytest.param({}, {"spec": tainted(effect="NoExecute")}, "node(s) had untolerated taint {k: v}", id="NoExecute too"),
        pytest.param({}, {"spec": tainted(effect="PreferNoSchedule")}, "", id="a preference is no refusal"),
        pytest.param({"tolerations": [{"operator": "Exists"}]}, {"spec": tainted()}, "", id="everything is tolerated"),
        pytest.param(
            {"nodeSelector": {"disk": "ssd"}}, {}, "node(s) didn't match Pod's node affinity/selector", id="no such label"
        ),
        pytest.param({"nodeSelector": {"disk": "ssd"}}, {"metadata": {"labels": {"disk": "ssd"}}}, "", id="the label"),
        pytest.param(wanting("In", "ssd", "nvme"), {"metadata": {"labels": {"disk": "ssd"}}}, "", id="affinity In"),
        pytest.param(
            wanting("NotIn", "ssd"),
            {"metadata": {"labels": {"disk": "ssd"}}},
            "node(s) didn't match Pod's node affinity/selector",
            id="affinity NotIn",
        ),
        pytest.param(wanting("Exists"), {}, "node(s) didn't match Pod's node affinity/selector", id="affinity Exists"),
        pytest.param(wanting("DoesNotExist"), {}, "", id="affinity DoesNotExist"),
        pytest.param(wanting("Gt", "3"), {"metadata": {"labels": {"disk": "10"}}}, "", id="affinity Gt compares numbers"),
        pytest.param(
            wanting("Lt", "3"),
            {"metadata": {"labels": {"disk": "many"}}},
            "node(s) didn't match Pod's node affinity/selector",
            id="affinity Lt of a word",
        ),
        pytest.param(wanting("In", "a", key="metadata.name", field=True), {}, "", id="a field"),
        pytest.param(
            wanting("In", "b", key="metadata.name", field=True),
            {},
            "node(s) didn't match Pod's node affinity/selector",
            id="another node's name",
        ),
        pytest.param(asking(cpu="2"), {"status": {"allocatable": {"cpu": "1500m"}}}, "Insufficient cpu", id="too little cpu"),
        pytest.param(asking(cpu="1", memory="1Gi"), {"status": {"allocatable": {"cpu": "1"}}}, "", id="only what is measured"),
        pytest.param(
            asking(**{"example.com/gpu": "1"}),
            {"status": {"allocatable": {"cpu": "1"}}},
            "Insufficient example.com/gpu",
            id="what the node does not have",
        ),
        pytest.param({}, {"status": {"allocatable": {"pods": "0"}}}, "Too many pods", id="no room for another Pod"),
    ],
)
def test_filters(waiting, a, reason):
    given = dict(a)
    conditions = node("a", given.pop("ready", "True"))["status"]["conditions"]
    status = {"conditions": conditions, **given.pop("status", {})}
    chosen, reports = schedule(pod("web", spec=waiting), document(NODE, "a", status=status, **given))
    if reason:
        assert ("", [f"Warning FailedScheduling 0/1 nodes are available: 1 {reason}."]) == (chosen, reports)
    else:
        assert ("a", ["Normal Scheduled Successfully assigned default/web to a"]) == (chosen, reports)


def test_the_reasons_are_counted_and_sorted():
    nodes = [node("a", spec=tainted()), node("b", spec={"unschedulable": True}), node("c", spec=tainted())]
    message = "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) had untolerated taint {k: v}."
    assert ("", [f"Warning FailedScheduling {message}"]) == schedule(pod("web"), *nodes)


def test_without_nodes_there_is_nothing_to_count():
    assert ("", ["Warning FailedScheduling no nodes available to schedule pods"]) == schedule(pod("web"))


def test_a_failure_is_a_condition_said_once_and_tried_again_when_a_node_changes():
    world = MemoryWorld([node("a", spec={"unschedulable": True}), pod("web")])
    first = settle(Scheduler(), world)
    assert {("default", "web"): 300.0} == first.again
    (condition,) = world.get(POD, "default", "web")["status"]["conditions"]
    assert ("PodScheduled", "False", "Unschedulable") == tuple(condition[field] for field in ("type", "status", "reason"))
    assert () == settle(Scheduler(), world).reports
    world.changes.clear()
    change(world, NODE, "a", spec={"unschedulable": False})
    assert [("default", "web")] == list(Scheduler().keys(world.changes[0], world))


def test_a_heartbeat_wakes_nobody():
    world = MemoryWorld([node("a", spec={"unschedulable": True}), pod("web")])
    world.changes.clear()
    change(world, NODE, "a", status={"images": []})
    assert [] == list(Scheduler().keys(world.changes[0], world))


def test_the_end_of_a_placed_pod_wakes_those_that_wait():
    world = MemoryWorld([node("a"), pod("web"), pod("old", node="a", phase="Running")])
    world.changes.clear()
    world.remove(POD, "default", "old")
    assert [("default", "web")] == list(Scheduler().keys(world.changes[0], world))


def test_a_pod_that_gives_something_back_wakes_them_too():
    def told(cpu):
        amounts = {"cpu": cpu}
        return {"containerStatuses": [{"name": "main", "allocatedResources": amounts, "resources": {"requests": amounts}}]}

    old = pod("old", node="a", spec=asking(cpu="1"))
    world = MemoryWorld([node("a"), pod("web"), old | {"status": {"phase": "Running", **told("2")}}])
    woken = []
    for cpu in ("3", "1"):
        world.changes.clear()
        change(world, POD, "old", status={"phase": "Running", **told(cpu)})
        woken.append(list(Scheduler().keys(world.changes[0], world)))
    assert [[], [("default", "web")]] == woken


@pytest.mark.parametrize(
    "waiting",
    [
        pytest.param(pod("web", spec={"schedulerName": "mine"}), id="another scheduler's"),
        pytest.param(pod("web", spec={"schedulingGates": [{"name": "wait"}]}), id="gated"),
        pytest.param(pod("web", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}), id="going"),
        pytest.param(pod("web", phase="Failed"), id="ended"),
    ],
)
def test_left_alone(waiting):
    assert ("", []) == schedule(waiting, node("a"))


def test_host_ports_are_taken_once_per_node():
    taking = container(ports=[{"containerPort": 80, "hostPort": 8080}])
    nodes = [node("a"), node("b")]
    assert "b" == schedule(pod("web", spec=taking), *nodes, pod("first", node="a", spec=taking))[0]
    other = container(ports=[{"containerPort": 80, "hostPort": 8080, "protocol": "UDP"}])
    assert "a" == schedule(pod("web", spec=other), node("a"), pod("first", node="a", spec=taking))[0]
    elsewhere = container(ports=[{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}])
    message = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    assert ("", [f"Warning FailedScheduling {message}"]) == schedule(
        pod("web", spec=elsewhere), node("a"), pod("first", node="a", spec=taking)
    )


def test_requests_of_those_already_there_count_but_not_of_the_ended():
    measured = node("a", status={"allocatable": {"cpu": "2"}})
    there, ended = pod("x", node="a", spec=asking(cpu="1500m")), pod("y", node="a", phase="Failed", spec=asking(cpu="2"))
    assert "" == schedule(pod("web", spec=asking(cpu="1")), measured, there)[0]
    assert "a" == schedule(pod("web", spec=asking(cpu="1")), measured, ended)[0]


def test_replicas_spread_over_nodes_and_zones():
    zones = {"a": "1", "b": "1", "c": "2"}
    nodes = [node(name, metadata={"labels": {"topology.kubernetes.io/zone": zone}}) for name, zone in zones.items()]
    world = MemoryWorld([*nodes, replica_set(replicas=4)])
    settle([ReplicaSets(), Scheduler()], world)
    placed = [each["spec"]["nodeName"] for each in world.list(POD)]
    assert 2 == sum(zones[name] == "2" for name in placed)
    assert {"a", "b", "c"} == set(placed)


def test_six_replicas_on_two_nodes_are_three_each():
    world = MemoryWorld([node("a"), node("b"), replica_set(replicas=6)])
    settle([ReplicaSets(), Scheduler()], world)
    assert 3 == sum(each["spec"]["nodeName"] == "a" for each in world.list(POD))


def test_bare_pods_of_a_service_spread_too():
    others = [pod("x", node="a"), pod("y", node="b", metadata={"labels": {"app": "other"}})]
    assert "b" == schedule(pod("web"), node("a"), node("b"), *others, service("web"))[0]


def test_the_emptier_node_wins_when_nothing_else_decides():
    others = [pod("x", node="a", metadata={"labels": {"app": "other"}})]
    assert "b" == schedule(pod("web"), node("a"), node("b"), *others)[0]


def test_preferences_are_weighed():
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 10, "preference": term}]}
    nodes = [node("a"), node("b", metadata={"labels": {"disk": "ssd"}})]
    assert "b" == schedule(pod("web", spec={"affinity": {"nodeAffinity": preferred}}), *nodes)[0]
    assert "b" == schedule(pod("web"), node("a", spec=tainted(effect="PreferNoSchedule")), node("b"))[0]


def test_binding_says_which_pod_it_means():
    world = MemoryWorld([node("a"), pod("web")])
    (write,) = Scheduler().plan(("default", "web"), world).writes
    assert ("create", "binding", "a") == (write.verb, write.subresource, write.body["target"]["name"])
    assert world.get(POD, "default", "web")["metadata"]["uid"] == write.body["metadata"]["uid"]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", Fraction(1)), ("250m", Fraction(1, 4)), ("1.5", Fraction(3, 2)), ("1Gi", Fraction(2**30)), ("2k", Fraction(2000)),
        ("1e3", Fraction(1000)), ("5E", Fraction(5 * 10**18)), (".5", Fraction(1, 2)), ("100u", Fraction(1, 10000)),
    ],
)  # fmt: skip
def test_quantity(text, amount):
    assert amount == quantity(text)


@pytest.mark.parametrize("text", ["", "much", "1 Gi", "1Kib", "--1"])
def test_no_quantity(text):
    with pytest.raises(ValueError, match="quantities"):
        quantity(text)


def test_a_pod_asks_for_the_greater_of_its_start_and_its_run_and_sidecars_count_for_both():
    def one(cpu, **rest):
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **rest}

    spec = {
        "initContainers": [one("1", restartPolicy="Always"), one("3")],
        "containers": [one("1"), one("1")],
        "overhead": {"cpu": "500m"},
    }
    assert {"cpu": Fraction(9, 2)} == requested({"spec": spec})


@pytest.mark.parametrize(
    ("allotted", "has", "reason", "counted"),
    [("1", "1", "", 2), ("3", "1", "", 3), ("1", "4", "", 4), ("1", "1", "Deferred", 2), ("1", "1", "Infeasible", 1)],
)
def test_of_a_pod_that_is_resized_the_most_counts_but_not_what_can_never_be(allotted, has, reason, counted):
    spec = {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}
    told = {"name": "c", "allocatedResources": {"cpu": allotted}, "resources": {"requests": {"cpu": has}}}
    conditions = [{"type": "PodResizePending", "status": "True", "reason": reason}] if reason else []
    document = {"spec": spec, "status": {"containerStatuses": [told], "conditions": conditions}}
    assert {"cpu": Fraction(counted)} == requested(document)
    assert {"cpu": max(Fraction(allotted), Fraction(has))} == requested(document, wishes=False)


TAINT = {"key": "k", "value": "v", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        pytest.param({"key": "k", "value": "v", "effect": "NoExecute"}, True, id="equal is the default"),
        pytest.param({"key": "k", "operator": "Equal", "value": "w"}, False, id="another value"),
        pytest.param({"key": "k", "operator": "Exists"}, True, id="any value, any effect"),
        pytest.param({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, False, id="another effect"),
        pytest.param({"operator": "Exists"}, True, id="any key"),
        pytest.param({"key": "x", "operator": "Exists"}, False, id="another key"),
    ],
)
def test_tolerates(toleration, expected):
    assert expected == tolerates(toleration, TAINT)


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        pytest.param([], 0.0, id="not at all"),
        pytest.param([{"operator": "Exists"}], None, id="for ever"),
        pytest.param([{"operator": "Exists", "tolerationSeconds": 300}], 300.0, id="for a while"),
        pytest.param([{"operator": "Exists", "tolerationSeconds": 9}, {"key": "k", "operator": "Exists"}], 9.0, id="the least"),
        pytest.param([{"operator": "Exists", "tolerationSeconds": -1}], 0.0, id="below nothing is nothing"),
    ],
)
def test_bearable_for(tolerations, expected):
    assert expected == bearable_for({"spec": {"tolerations": tolerations}}, TAINT)
