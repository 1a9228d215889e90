import pytest
from workloads import change, deployment, document, namespace, pod, service

from mooring.control import settle as settling
from mooring.control.reconciler import Apply
from mooring.control.reconcilers.namespaces import Namespaces
from mooring.model.kinds import CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD, SECRET, SERVICE
from mooring.ports.api import ApiError
from mooring.testing.world import MemoryWorld, settle

KEY = ("", "default")


def going(*content: dict) -> MemoryWorld:
    world = MemoryWorld([namespace(), *content])
    world.write(Apply("delete", NAMESPACE, *KEY))
    return world


def conditions(world: MemoryWorld) -> dict[str, tuple[str, str, str]]:
    held = world.get(NAMESPACE, *KEY)["status"]["conditions"]
    return {each["type"]: (each["status"], each["reason"], each["message"]) for each in held}


def test_a_living_namespace_is_left_alone():
    world = MemoryWorld([namespace(), pod("web")])
    assert () == settle(Namespaces(), world).writes


def test_an_empty_one_goes_at_once():
    world = going()
    settle(Namespaces(), world)
    assert world.get(NAMESPACE, *KEY) is None


def test_all_its_content_goes_kind_by_kind_pods_first():
    other = pod("stays")
    other["metadata"]["namespace"] = "other"
    content = [service("web"), document(CONFIG_MAP, "settings"), deployment(), pod("web")]
    world = going(namespace("other"), other, *content)
    deleted = [write.kind.kind for write in settle(Namespaces(), world).writes if write.verb == "delete"]
    assert "Pod" == deleted[0]
    assert {"Service", "ConfigMap", "Deployment", "Pod"} == set(deleted)
    assert world.get(NAMESPACE, *KEY) is None
    assert world.get(POD, "other", "stays")


def test_waits_for_the_grace_of_pods_and_says_what_remains():
    world = going(pod("web", node="a"), service("web"))
    settle(Namespaces(), world)
    assert world.get(POD, "default", "web")["metadata"]["deletionTimestamp"]
    assert not world.get(SERVICE, "default", "web")["metadata"].get("deletionTimestamp")
    remaining = "Some resources are remaining: pods. has 1 resource instances, services. has 1 resource instances"
    assert ("True", "SomeResourcesRemain", remaining) == conditions(world)["NamespaceContentRemaining"]
    assert "ContentHasNoFinalizers" == conditions(world)["NamespaceFinalizersRemaining"][1]
    world.remove(POD, "default", "web")
    settle(Namespaces(), world)
    assert world.get(NAMESPACE, *KEY) is None


def test_waits_for_finalizers_and_names_them():
    world = going(document(CONFIG_MAP, "held", metadata={"finalizers": ["example.com/hold"]}))
    settle(Namespaces(), world)
    message = "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    assert ("True", "SomeFinalizersRemain", message) == conditions(world)["NamespaceFinalizersRemaining"]
    assert "Terminating" == world.get(NAMESPACE, *KEY)["status"]["phase"]
    held = world.get(CONFIG_MAP, "default", "held")
    world.write(Apply("patch", CONFIG_MAP, "default", "held", {"metadata": {"finalizers": None}}))
    assert held["metadata"]["deletionTimestamp"]
    settle(Namespaces(), world)
    assert world.get(NAMESPACE, *KEY) is None


def test_all_five_conditions_are_there():
    world = going(pod("web", node="a"))
    settle(Namespaces(), world)
    assert {
        "NamespaceDeletionDiscoveryFailure": "ResourcesDiscovered",
        "NamespaceDeletionGroupVersionParsingFailure": "ParsedGroupVersions",
        "NamespaceDeletionContentFailure": "ContentDeleted",
        "NamespaceContentRemaining": "SomeResourcesRemain",
        "NamespaceFinalizersRemaining": "ContentHasNoFinalizers",
    } == {type: reason for type, (_, reason, _) in conditions(world).items()}


def test_what_cannot_be_deleted_keeps_no_other_kind_there_and_is_said():
    class Refusing(MemoryWorld):
        refused = frozenset({SERVICE, DEPLOYMENT})

        def write(self, write: Apply) -> dict:
            if write.verb == "delete" and write.kind in self.refused:
                raise ApiError(403, "Forbidden", f"no end of {write.kind.plural}")
            return super().write(write)

    kept = [service("a"), service("b"), deployment()]
    world = Refusing([namespace(), *kept, document(CONFIG_MAP, "settings"), document(SECRET, "secret")])
    world.write(Apply("delete", NAMESPACE, *KEY))
    settling.settle([Namespaces()], world)
    assert [] == [*world.list(CONFIG_MAP), *world.list(SECRET)]
    message = "Failed to delete all resource types, 2 remaining: no end of deployments, no end of services"
    assert ("True", "ContentDeletionFailed", message) == conditions(world)["NamespaceDeletionContentFailure"]
    remaining = "Some resources are remaining: deployments.apps has 1 resource instances, services. has 2 resource instances"
    assert ("True", "SomeResourcesRemain", remaining) == conditions(world)["NamespaceContentRemaining"]
    world.refused = frozenset()
    settle(Namespaces(), world)
    assert world.get(NAMESPACE, *KEY) is None


def test_what_was_seen_too_late_is_removed_from_a_namespace_that_is_no_more():
    world = MemoryWorld([document(CONFIG_MAP, "late")])
    settle(Namespaces(), world)
    assert [] == list(world.list(CONFIG_MAP))


def test_but_not_before_the_server_says_that_the_namespace_is_no_more():
    """The namespace exists; only our watch of namespaces has not seen it yet."""
    server = MemoryWorld([namespace(), document(CONFIG_MAP, "early")])
    stale = MemoryWorld([document(CONFIG_MAP, "early")])
    first, *rest = Namespaces().plan(KEY, stale).writes
    assert rest
    with pytest.raises(Exception, match="cannot be fulfilled"):
        server.write(first)


def test_another_finalizer_of_the_namespace_is_respected():
    world = MemoryWorld([namespace(spec={"finalizers": ["kubernetes", "example.com/mine"]}), pod("web")])
    world.write(Apply("delete", NAMESPACE, *KEY))
    settle(Namespaces(), world)
    assert ["example.com/mine"] == world.get(NAMESPACE, *KEY)["spec"]["finalizers"]


def test_only_content_of_a_namespace_that_is_going_concerns_it():
    world = MemoryWorld([namespace(), pod("web")])
    world.changes.clear()
    change(world, POD, "web", status={"phase": "Running"})
    assert [] == list(Namespaces().keys(world.changes[0], world))
