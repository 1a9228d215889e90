import pytest
from hypothesis import given
from hypothesis import strategies as st
from workloads import all_ready, become_ready, change, deployment, later, replica_set, said, template

from mooring.control.pod_state import active, ready
from mooring.control.reconciler import Refusal
from mooring.control.reconcilers.deployments import Deployments
from mooring.control.reconcilers.replica_sets import ReplicaSets
from mooring.control.revisions import DESIRED, HISTORY, MOST, REVISION, template_hash
from mooring.control.rollout import budget
from mooring.model.kinds import DEPLOYMENT, POD, REPLICA_SET
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle

KEY = ("default", "web")
BOTH = (Deployments(), ReplicaSets())


def sets(world: MemoryWorld) -> dict[str, dict]:
    """ReplicaSets by the image of their template."""
    return {each["spec"]["template"]["spec"]["containers"][0]["image"]: each for each in world.list(REPLICA_SET)}


def sizes(world: MemoryWorld) -> dict[str, int]:
    return {image: each["spec"]["replicas"] for image, each in sets(world).items()}


def status(world: MemoryWorld) -> dict:
    return world.get(DEPLOYMENT, *KEY)["status"]


def conditions(world: MemoryWorld) -> dict[str, tuple[str, str, str]]:
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in status(world)["conditions"]}


def annotations(held: dict) -> dict[str, str]:
    return held["metadata"]["annotations"]


def roll_to_the_end(world: MemoryWorld) -> list[str]:
    """Pods become ready as soon as they are made, until nothing moves; what was reported."""
    reports = []
    for _ in range(40):
        settled = settle(BOTH, world)
        reports += said(settled.reports)
        if not settled.writes:
            return reports
        all_ready(world)
    raise AssertionError("never ends")


def rolled_out(**given) -> MemoryWorld:
    world = MemoryWorld([deployment(**given)])
    roll_to_the_end(world)
    return world


def set_image(world: MemoryWorld, image: str) -> None:
    change(world, DEPLOYMENT, "web", spec={"template": template(image)})


def test_creates_the_first_replica_set_with_hash_revision_and_sizes():
    world = MemoryWorld([deployment(replicas=3)])
    plan = Deployments().plan(KEY, world)
    made = plan.writes[0].body
    hash = made["metadata"]["labels"]["pod-template-hash"]
    assert f"web-{hash}" == made["metadata"]["name"]
    assert {"app": "web", "pod-template-hash": hash} == made["spec"]["selector"]["matchLabels"]
    assert {"app": "web", "pod-template-hash": hash} == made["spec"]["template"]["metadata"]["labels"]
    assert {REVISION: "1", DESIRED: "3", MOST: "4"} == made["metadata"]["annotations"]
    assert [f"Normal ScalingReplicaSet Scaled up replica set web-{hash} from 0 to 3"] == said(plan.reports)
    assert 601 == plan.again_after


def test_the_status_and_conditions_of_a_first_rollout():
    world = MemoryWorld([deployment(replicas=2)])
    settle(Deployments(), world)
    name = sets(world)["echo:1"]["metadata"]["name"]
    assert {
        "Available": ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        "Progressing": ("True", "NewReplicaSetCreated", f'Created new replica set "{name}"'),
    } == conditions(world)
    assert 2 == status(world)["unavailableReplicas"]
    settle(BOTH, world)
    assert ("True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.') == conditions(world)["Progressing"]
    all_ready(world)
    settle(BOTH, world)
    assert {
        "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        "Progressing": ("True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'),
    } == conditions(world)
    counts = {field: value for field, value in status(world).items() if field != "conditions"}
    assert {
        "observedGeneration": 1,
        "replicas": 2,
        "updatedReplicas": 2,
        "readyReplicas": 2,
        "availableReplicas": 2,
    } == counts
    assert "1" == annotations(world.get(DEPLOYMENT, *KEY))[REVISION]


def test_a_new_template_rolls_over_to_a_new_revision():
    world = rolled_out(replicas=4)
    set_image(world, "echo:2")
    reports = roll_to_the_end(world)
    assert {"echo:1": 0, "echo:2": 4} == sizes(world)
    assert "2" == annotations(world.get(DEPLOYMENT, *KEY))[REVISION] == annotations(sets(world)["echo:2"])[REVISION]
    one, two = (sets(world)[image]["metadata"]["name"] for image in ("echo:1", "echo:2"))
    scalings = [each.removeprefix("Normal ScalingReplicaSet ") for each in reports if "ScalingReplicaSet" in each]
    assert f"Scaled up replica set {two} from 0 to 1" == scalings[0]
    assert f"Scaled down replica set {one} from 4 to 3" == scalings[1]
    assert ("True", "NewReplicaSetAvailable", f'ReplicaSet "{two}" has successfully progressed.') == conditions(world)[
        "Progressing"
    ]


def test_undo_reuses_the_old_replica_set_as_a_newer_revision_with_history():
    world = rolled_out(replicas=2)
    set_image(world, "echo:2")
    roll_to_the_end(world)
    set_image(world, "echo:1")  # what `kubectl rollout undo` does: the old ReplicaSet's template, put back
    roll_to_the_end(world)
    assert {"echo:1": 2, "echo:2": 0} == sizes(world)
    assert ("3", "1") == (annotations(sets(world)["echo:1"])[REVISION], annotations(sets(world)["echo:1"])[HISTORY])
    assert "3" == annotations(world.get(DEPLOYMENT, *KEY))[REVISION]


def test_restart_is_a_new_revision_as_any_change_of_the_template():
    world = rolled_out(replicas=1)
    restarted = template()
    restarted["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    change(world, DEPLOYMENT, "web", spec={"template": restarted})
    roll_to_the_end(world)
    assert [0, 1] == sorted(each["spec"]["replicas"] for each in world.list(REPLICA_SET))


def test_the_change_cause_is_copied_and_kubectls_own_annotation_is_not():
    given = deployment()
    given["metadata"]["annotations"] = {
        "kubernetes.io/change-cause": "kubectl set image",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
    }
    world = MemoryWorld([given])
    settle(Deployments(), world)
    assert {"kubernetes.io/change-cause", REVISION, DESIRED, MOST} == set(annotations(sets(world)["echo:1"]))


def test_old_replica_sets_beyond_the_history_limit_are_deleted_when_the_rollout_is_done():
    world = rolled_out(replicas=1, revisionHistoryLimit=1)
    for image in ("echo:2", "echo:3"):
        set_image(world, image)
        roll_to_the_end(world)
    assert {"echo:2": 0, "echo:3": 1} == sizes(world)


def test_no_history_limit_keeps_all():
    world = rolled_out(replicas=1, revisionHistoryLimit=None)
    for image in ("echo:2", "echo:3"):
        set_image(world, image)
        roll_to_the_end(world)
    assert 3 == len(sizes(world))


def test_scaling_is_no_rollout():
    world = rolled_out(replicas=2)
    change(world, DEPLOYMENT, "web", spec={"replicas": 5})
    reports = roll_to_the_end(world)
    name = sets(world)["echo:1"]["metadata"]["name"]
    assert f"Normal ScalingReplicaSet Scaled up replica set {name} from 2 to 5" in reports
    assert {"echo:1": 5} == sizes(world)
    assert "1" == annotations(sets(world)["echo:1"])[REVISION]
    assert {DESIRED: "5", MOST: "7"}.items() <= annotations(sets(world)["echo:1"]).items()


def test_scaling_amid_a_stuck_rollout_is_shared_out():
    world = rolled_out(replicas=10, strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}})
    set_image(world, "echo:bad")
    settle(BOTH, world)
    assert {"echo:1": 8, "echo:bad": 5} == sizes(world)
    change(world, DEPLOYMENT, "web", spec={"replicas": 15})
    settle(BOTH, world)
    assert {"echo:1": 11, "echo:bad": 7} == sizes(world)


def test_scaled_to_nothing_it_is_complete():
    world = rolled_out(replicas=2)
    change(world, DEPLOYMENT, "web", spec={"replicas": 0})
    roll_to_the_end(world)
    assert {"echo:1": 0} == sizes(world)
    assert {"observedGeneration", "conditions"} == set(status(world))


def test_recreate_never_runs_two_versions_at_a_time():
    world = rolled_out(replicas=2, strategy={"type": "Recreate"})
    for each in list(world.list(POD)):
        change(world, POD, each["metadata"]["name"], spec={"nodeName": "a"})
    set_image(world, "echo:2")
    settle(BOTH, world)
    assert {"echo:1": 0} == sizes(world)
    first, last = list(world.list(POD))
    assert first["metadata"]["deletionTimestamp"]
    world.remove(POD, "default", first["metadata"]["name"])
    settle(BOTH, world)
    assert {"echo:1": 0} == sizes(world)
    world.remove(POD, "default", last["metadata"]["name"])
    roll_to_the_end(world)
    assert {"echo:1": 0, "echo:2": 2} == sizes(world)


def test_paused_it_scales_but_does_not_roll_and_says_so_until_it_is_resumed():
    world = rolled_out(replicas=2)
    change(world, DEPLOYMENT, "web", spec={"paused": True, "replicas": 3, "template": template("echo:2")})
    roll_to_the_end(world)
    assert {"echo:1": 3} == sizes(world)
    assert ("Unknown", "DeploymentPaused", "Deployment is paused") == conditions(world)["Progressing"]
    change(world, DEPLOYMENT, "web", spec={"paused": False})
    plan = Deployments().plan(KEY, world)
    assert any(write.verb == "create" for write in plan.writes)
    roll_to_the_end(world)
    assert {"echo:1": 0, "echo:2": 3} == sizes(world)


def test_the_deadline_passes_when_nothing_moves():
    world = MemoryWorld([deployment(replicas=1, progressDeadlineSeconds=60)])
    settled = settle(BOTH, world)
    name = sets(world)["echo:1"]["metadata"]["name"]
    assert 61 == settled.again[KEY]
    later(world, 61)
    settled = settle(BOTH, world)
    assert ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.') == conditions(world)[
        "Progressing"
    ]
    assert {} == settled.again
    all_ready(world)
    settle(BOTH, world)
    assert "NewReplicaSetAvailable" == conditions(world)["Progressing"][1]


@pytest.mark.parametrize("limit", [None, 2**31 - 1])
def test_without_a_deadline_there_is_no_progress_condition(limit):
    world = rolled_out(replicas=1, progressDeadlineSeconds=limit)
    assert {"Available"} == set(conditions(world))


def test_min_ready_seconds_holds_the_rollout_back():
    world = rolled_out(replicas=1)
    change(world, DEPLOYMENT, "web", spec={"minReadySeconds": 30, "template": template("echo:2")})
    settle(BOTH, world)
    (new,) = (each for each in world.list(POD) if each["spec"]["containers"][0]["image"] == "echo:2")
    become_ready(world, new)
    settle(BOTH, world)
    assert {"echo:1": 1, "echo:2": 1} == sizes(world)
    later(world, 30)
    settle(BOTH, world)
    assert {"echo:1": 0, "echo:2": 1} == sizes(world)


def test_min_ready_seconds_alone_changes_the_replica_set_and_rolls_nothing():
    world = rolled_out(replicas=1)
    change(world, DEPLOYMENT, "web", spec={"minReadySeconds": 5})
    roll_to_the_end(world)
    assert 5 == sets(world)["echo:1"]["spec"]["minReadySeconds"]
    assert 1 == len(sizes(world))


def test_adopts_an_orphan_with_its_template_instead_of_making_another():
    orphan = replica_set("web-orphan", replicas=3)
    orphan["metadata"]["labels"] = {"app": "web"}
    world = MemoryWorld([deployment(replicas=3), orphan])
    settle(Deployments(), world)
    assert ["web-orphan"] == [each["metadata"]["name"] for each in world.list(REPLICA_SET)]
    assert "web" == world.get(REPLICA_SET, "default", "web-orphan")["metadata"]["ownerReferences"][0]["name"]
    assert "FoundNewReplicaSet" == conditions(world)["Progressing"][1]


def test_releases_a_replica_set_whose_labels_no_longer_match():
    world = rolled_out(replicas=1)
    held = sets(world)["echo:1"]
    world.add({**held, "metadata": {**held["metadata"], "labels": {"app": "other"}}})
    settle(Deployments(), world)
    assert not world.get(REPLICA_SET, "default", held["metadata"]["name"])["metadata"].get("ownerReferences")


def test_a_stranger_of_the_same_name_makes_it_choose_another_hash():
    given = deployment(replicas=1)
    stranger = replica_set(f"web-{template_hash(given['spec']['template'], 0)}", selector={"matchLabels": {"app": "x"}})
    world = MemoryWorld([given, stranger])
    settle(Deployments(), world)
    assert 2 == len(list(world.list(REPLICA_SET)))
    assert 1 == status(world)["collisionCount"]


def test_the_hash_does_not_depend_on_the_order_of_keys_or_on_nulls():
    one = {"metadata": {"creationTimestamp": None, "labels": {"a": "1", "b": "2"}}, "spec": {"containers": []}}
    other = {"spec": {"containers": []}, "metadata": {"labels": {"b": "2", "a": "1"}}}
    assert template_hash(one, 0) == template_hash(other, 0)
    assert template_hash(one, 0) != template_hash(one, 1)


def test_a_selector_that_selects_all_is_refused():
    world = MemoryWorld([deployment(selector={})])
    settled = settle(Deployments(), world)
    assert ["Warning SelectingAll This deployment is selecting all pods. A non-empty selector is required."] == said(
        settled.reports[:1]
    )
    assert 1 == status(world)["observedGeneration"]


def test_a_refused_replica_set_is_an_event_and_a_condition():
    world = MemoryWorld([deployment(replicas=1)])
    write = Deployments().plan(KEY, world).writes[0]
    plan = Deployments().refused(KEY, [Refusal(write, ApiError(403, "Forbidden", "no more"))], world)
    for each in plan.writes:
        world.write(each)
    message = f'Failed to create new replica set "{write.name}": no more'
    assert ("False", "ReplicaSetCreateError", message) == conditions(world)["Progressing"]
    assert [f"Warning ReplicaSetCreateError {message}"] == said(plan.reports)


def test_the_failure_of_a_replica_set_is_the_deployments_too():
    world = rolled_out(replicas=1)
    held = sets(world)["echo:1"]
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    change(world, REPLICA_SET, held["metadata"]["name"], status={"conditions": [failure]})
    settle(Deployments(), world)
    assert ("True", "FailedCreate", "quota") == conditions(world)["ReplicaFailure"]
    change(world, REPLICA_SET, held["metadata"]["name"], status={"conditions": []})
    settle(Deployments(), world)
    assert "ReplicaFailure" not in conditions(world)


def test_a_deployment_being_deleted_only_counts():
    given = deployment(replicas=1)
    given["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["foregroundDeletion"]}
    world = MemoryWorld([given])
    settle(Deployments(), world)
    assert [] == list(world.list(REPLICA_SET))


def test_a_pod_wakes_only_a_recreate_deployment_and_only_at_its_end():
    world = rolled_out(replicas=1)
    (held,) = world.list(POD)
    world.changes.clear()
    world.remove(POD, "default", held["metadata"]["name"])
    assert [] == list(Deployments().keys(world.changes[0], world))
    change(world, DEPLOYMENT, "web", spec={"strategy": {"type": "Recreate"}})
    assert [KEY] == list(Deployments().keys(world.changes[0], world))


def available_pods(world: MemoryWorld) -> int:
    return sum(active(each) and ready(each) for each in world.list(POD))


def live_pods(world: MemoryWorld) -> int:
    return sum(active(each) for each in world.list(POD))


PORTION = st.one_of(st.integers(0, 3), st.sampled_from(["0%", "10%", "25%", "50%", "100%"]))
EVENT = st.sampled_from(["ready", "ready", "ready", "unready", "fail", "image", "replan"])


@given(st.integers(0, 8), PORTION, PORTION, st.lists(st.tuples(EVENT, st.integers(0, 99)), max_size=25))
def test_rollout_invariants(replicas, surge, unavailable, happenings):
    """With Pods becoming ready, unready and failed at random: never more Pods than replicas + maxSurge; no step of ours takes
    availability below replicas - maxUnavailable (or further below, where failures have it there already); and it converges."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = MemoryWorld([deployment(replicas=replicas, strategy=strategy)])
    limits = budget(replicas, surge, unavailable)

    def step() -> None:
        """Reconcilers in turn, one plan at a time; the invariants hold after every single write."""
        for _ in range(60):
            moved = False
            keys = [(BOTH[0], KEY)] + [(BOTH[1], ("default", each["metadata"]["name"])) for each in world.list(REPLICA_SET)]
            for reconciler, key in keys:
                for write in reconciler.plan(key, world).writes:
                    before = available_pods(world)
                    world.write(write)
                    moved = True
                    assert live_pods(world) <= limits.most
                    assert available_pods(world) >= min(before, limits.fewest)
            if not moved:
                return
        raise AssertionError("never settles")

    step()
    image = 1
    for happening, number in happenings:
        pods = [each for each in world.list(POD) if active(each)]
        chosen = pods[number % len(pods)] if pods else None
        if happening == "image":
            image += 1
            set_image(world, f"echo:{image}")
        elif chosen and happening == "ready":
            become_ready(world, chosen)
        elif chosen and happening == "unready":
            become_ready(world, chosen, ready=False)
        elif chosen and happening == "fail":
            world.add({**chosen, "status": {"phase": "Failed"}})
        step()
    for _ in range(60):
        all_ready(world)
        step()
    assert replicas == live_pods(world) == available_pods(world)
    assert {f"echo:{image}": replicas} == {name: size for name, size in sizes(world).items() if size or name == f"echo:{image}"}
