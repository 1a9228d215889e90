"""Server-side apply as clients meet it: requests, their answers, and who owns what afterwards."""

import json
from typing import Any

import pytest
import yaml
from core_server import CONFIG_MAPS, JSON_PATCH, MERGE, PODS, STRATEGIC, Answer, Server

from mooring.apiserver.contract import User

APPLY = "application/apply-patch+yaml"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture
def server() -> Server:
    return Server()


def apply(server: Server, url: str, body: Any, manager: str = "me", query: str = "", **options: Any) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.patch(f"{url}?fieldManager={manager}{query}", data, APPLY, **options)


def config_map(data: dict[str, str] | None = None, **meta: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **meta}}
    return shown if data is None else shown | {"data": data}


def deployment(replicas: int | None = 1, image: str = "echo:1", **spec: Any) -> dict[str, Any]:
    inside: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}},
        **spec,
    }
    if replicas is not None:
        inside["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": inside}


def managers(answer: Answer) -> dict[str, Any]:
    """By 'manager operation[ subresource]', the entry's fields."""
    found = {}
    for entry in answer.body["metadata"].get("managedFields", ()):
        words = (entry["manager"], entry["operation"], entry.get("subresource", ""))
        assert " ".join(filter(None, words)) not in found
        assert entry["fieldsType"] == "FieldsV1"
        found[" ".join(filter(None, words))] = entry["fieldsV1"]
    return found


# Creating and updating --------------------------------------------------------------------------------------------------


def test_a_creator_owns_what_it_sent_and_what_was_defaulted_but_not_what_the_server_chose(server):
    spec = {"selector": {"app": "x"}, "ports": [{"port": 80}]}
    document = {"metadata": {"name": "a", "labels": {"app": "x"}}, "spec": spec, "status": {"loadBalancer": {"ingress": []}}}
    answer = server.create(SERVICES, document, headers={"user-agent": "kubectl/v1.30 (linux)"})
    assert answer.status == 201
    assert managers(answer) == {
        "kubectl Update": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:internalTrafficPolicy": {},
                "f:ports": {
                    ".": {},
                    'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}},
                },
                "f:selector": {},
                "f:sessionAffinity": {},
                "f:type": {},
            },
        }
    }
    assert answer.body["metadata"]["managedFields"][0]["time"] == "2026-01-01T00:00:00Z"


def test_the_creator_of_a_deployment(server):
    answer = server.create(f"{DEPLOYMENTS}?fieldManager=tool", deployment())
    fields = managers(answer)["tool Update"]["f:spec"]
    assert fields["f:selector"] == {}
    assert fields["f:strategy"] == {
        "f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}},
        "f:type": {},
    }
    assert fields["f:template"]["f:metadata"] == {"f:labels": {".": {}, "f:app": {}}}
    assert fields["f:template"]["f:spec"]["f:containers"] == {
        'k:{"name":"web"}': {
            ".": {},
            "f:image": {},
            "f:imagePullPolicy": {},
            "f:name": {},
            "f:resources": {},
            "f:terminationMessagePath": {},
            "f:terminationMessagePolicy": {},
        }
    }


@pytest.mark.parametrize(
    ("agent", "manager"),
    [
        ("kubectl/v1.30.0 (linux/amd64)", "kubectl"),
        ("", "unknown"),
        ("curl", "curl"),
        ("a\tb/1", "ab"),
        ("x" * 200, "x" * 128),
        ("é" * 100 + "/1", "é" * 64),
    ],
)
def test_a_client_that_names_no_manager_is_its_user_agent(server, agent, manager):
    answer = server.create(CONFIG_MAPS, config_map({"a": "1"}), headers={"user-agent": agent})
    assert list(managers(answer)) == [f"{manager} Update"]


def test_updates_take_what_they_change(server):
    server.create(f"{CONFIG_MAPS}?fieldManager=one", config_map({"a": "1", "b": "2"}))
    server.pass_time(60)
    answer = server.put(f"{CONFIG_MAPS}/a?fieldManager=two", config_map({"a": "1", "b": "3", "c": "4"}))
    assert managers(answer) == {
        "one Update": {"f:data": {".": {}, "f:a": {}}},
        "two Update": {"f:data": {"f:b": {}, "f:c": {}}},
    }
    times = [entry["time"] for entry in answer.body["metadata"]["managedFields"]]
    assert times == ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"]
    server.pass_time(60)
    answer = server.patch(f"{CONFIG_MAPS}/a?fieldManager=one", {"data": {"b": None}})
    assert managers(answer) == {"one Update": {"f:data": {".": {}, "f:a": {}}}, "two Update": {"f:data": {"f:c": {}}}}
    assert [entry["time"] for entry in answer.body["metadata"]["managedFields"]] == times


@pytest.mark.parametrize("content_type", [MERGE, STRATEGIC])
def test_an_update_that_changes_nothing_changes_no_manager(server, content_type):
    before = server.create(f"{CONFIG_MAPS}?fieldManager=one", config_map({"a": "1"})).body
    server.pass_time(60)
    assert before == server.patch(f"{CONFIG_MAPS}/a?fieldManager=two", {"data": {"a": "1"}}, content_type).body
    assert before == server.put(f"{CONFIG_MAPS}/a?fieldManager=two", before).body
    assert before == server.put(f"{CONFIG_MAPS}/a?fieldManager=two", config_map({"a": "1"})).body


def test_status_has_managers_of_its_own(server):
    server.create(f"{DEPLOYMENTS}?fieldManager=one", deployment())
    status = {"metadata": {"labels": {"x": "y"}}, "spec": {"replicas": 5}, "status": {"replicas": 2}}
    answer = server.patch(f"{DEPLOYMENTS}/web/status?fieldManager=controller", status)
    assert managers(answer)["controller Update status"] == {
        "f:metadata": {"f:labels": {".": {}, "f:x": {}}},
        "f:status": {"f:replicas": {}},
    }
    again = server.patch(f"{DEPLOYMENTS}/web?fieldManager=two", {"status": {"replicas": 9}})
    assert again.body == answer.body


def test_scaling_takes_the_replicas(server):
    server.create(f"{DEPLOYMENTS}?fieldManager=one", deployment())
    assert server.patch(f"{DEPLOYMENTS}/web/scale?fieldManager=hpa", {"spec": {"replicas": 3}}).status == 200
    found = managers(server.get(f"{DEPLOYMENTS}/web"))
    assert found["hpa Update scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in found["one Update"]["f:spec"]


def test_more_than_ten_updaters_of_a_version_become_one(server):
    server.create(f"{CONFIG_MAPS}?fieldManager=m0", config_map({"k0": "1"}))
    for number in range(1, 14):
        server.pass_time(1)
        answer = server.patch(f"{CONFIG_MAPS}/a?fieldManager=m{number}", {"data": {f"k{number}": "1"}})
    found = managers(answer)
    assert len(found) == 10
    assert found["ancient-changes Update"]["f:data"] == {".": {}, **{f"f:k{number}": {} for number in range(5)}}
    assert found["m5 Update"] == {"f:data": {"f:k5": {}}}


def test_managed_fields_can_be_reset_and_stay_untracked_until_an_apply(server):
    server.create(f"{CONFIG_MAPS}?fieldManager=one", config_map({"a": "1"}))
    answer = server.patch(f"{CONFIG_MAPS}/a", {"metadata": {"managedFields": [{}]}})
    assert "managedFields" not in answer.body["metadata"]
    answer = server.patch(f"{CONFIG_MAPS}/a?fieldManager=two", {"data": {"b": "2"}})
    assert "managedFields" not in answer.body["metadata"]
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"c": "3"}))
    assert managers(answer) == {
        "me Apply": {"f:data": {"f:c": {}}},
        "before-first-apply Update": {"f:data": {".": {}, "f:a": {}, "f:b": {}}},
    }


@pytest.mark.parametrize(
    "entry",
    [
        {"manager": "x", "operation": "Steal", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}},
        {"manager": "x", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:data": {}}},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2", "fieldsV1": {"f:data": {}}},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"data": {}}},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": 1}},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"k:[": {}}},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"i:x": {}}},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": []},
    ],
)
def test_managed_fields_that_mean_nothing_are_ignored(server, entry):
    before = server.create(f"{CONFIG_MAPS}?fieldManager=one", config_map({"a": "1"})).body
    assert before == server.patch(f"{CONFIG_MAPS}/a", {"metadata": {"managedFields": [entry]}}).body
    created = server.create(f"{CONFIG_MAPS}?fieldManager=one", config_map({"a": "1"}, managedFields=[entry]) | {"metadata": {
        "name": "b", "managedFields": [entry]}})  # fmt: skip
    assert list(managers(created)) == ["one Update"]


def test_managed_fields_can_be_rewritten(server):
    """As kubectl does when it takes over from client-side apply."""
    server.create(f"{CONFIG_MAPS}?fieldManager=kubectl-client-side-apply", config_map({"a": "1"}))
    live = server.get(f"{CONFIG_MAPS}/a").body
    entry = live["metadata"]["managedFields"][0] | {"manager": "kubectl", "operation": "Apply"}
    ops = [
        {"op": "replace", "path": "/metadata/managedFields", "value": [entry]},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
    ]
    answer = server.patch(f"{CONFIG_MAPS}/a", ops, JSON_PATCH)
    assert managers(answer) == {"kubectl Apply": {"f:data": {".": {}, "f:a": {}}}}


@pytest.mark.parametrize(
    ("manager", "message"),
    [
        ("x" * 129, "fieldManager: Too long: may not be more than 128 bytes"),
        ("a%0Ab", 'fieldManager: Invalid value: "a\\nb": invalid character U+000A (at position 1)'),
    ],
)
def test_a_manager_that_cannot_be_is_refused(server, manager, message):
    for answer, options in (
        (server.create(f"{CONFIG_MAPS}?fieldManager={manager}", config_map()), "CreateOptions"),
        (apply(server, f"{CONFIG_MAPS}/a", config_map(), manager), "PatchOptions"),
    ):
        assert (answer.status, answer.message) == (422, f'{options}.meta.k8s.io "" is invalid: {message}')


# Applying ---------------------------------------------------------------------------------------------------------------


def test_apply_creates_then_changes_then_does_nothing(server):
    url = f"{CONFIG_MAPS}/a"
    answer = apply(server, url, yaml.safe_dump(config_map({"a": "1"})).encode())
    assert (answer.status, managers(answer)) == (201, {"me Apply": {"f:data": {"f:a": {}}}})
    assert answer.body["metadata"]["managedFields"][0]["time"] == "2026-01-01T00:00:00Z"
    server.pass_time(60)
    answer = apply(server, url, config_map({"a": "1", "b": "2"}))
    assert (answer.status, answer.body["data"]) == (200, {"a": "1", "b": "2"})
    assert answer.body["metadata"]["managedFields"][0]["time"] == "2026-01-01T00:01:00Z"
    stored = server.state.get("/core/configmaps/default/a")
    server.pass_time(60)
    again = apply(server, url, config_map({"a": "1", "b": "2"}))
    assert answer.body == again.body
    assert stored == server.state.get("/core/configmaps/default/a")


def test_what_an_applier_gives_up_goes_unless_others_have_it(server):
    url = f"{CONFIG_MAPS}/a"
    apply(server, url, config_map({"mine": "1", "shared": "1", "taken": "1"}, labels={"x": "y"}))
    apply(server, url, config_map({"shared": "1"}), "you")
    server.patch(f"{url}?fieldManager=editor", {"data": {"taken": "2", "added": "1"}})
    answer = apply(server, url, config_map({}))
    assert answer.body["data"] == {"shared": "1", "taken": "2", "added": "1"}
    assert "labels" not in answer.body["metadata"]
    assert managers(answer) == {
        "me Apply": {"f:data": {}},
        "you Apply": {"f:data": {"f:shared": {}}},
        "editor Update": {"f:data": {"f:added": {}, "f:taken": {}}},
    }


def test_a_conflict_names_the_manager_and_the_field(server):
    server.create(f"{DEPLOYMENTS}?fieldManager=kubectl-client-side-apply", deployment())
    answer = apply(server, f"{DEPLOYMENTS}/web", deployment(3))
    assert answer.status == 409
    assert answer.body == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Conflict", "code": 409,
        "message": 'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas',
        "details": {
            "causes": [{
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
                "field": ".spec.replicas",
            }]
        },
    }  # fmt: skip
    server.patch(f"{DEPLOYMENTS}/web/scale?fieldManager=hpa", {"spec": {"replicas": 2}})
    answer = apply(server, f"{DEPLOYMENTS}/web", deployment(3, "echo:2"))
    assert answer.message == (
        'Apply failed with 2 conflicts: conflicts with "hpa" with subresource "scale" using apps/v1:\n- .spec.replicas\n'
        'conflicts with "kubectl-client-side-apply" using apps/v1:\n'
        '- .spec.template.spec.containers[name="web"].image'
    )
    apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}), "one")
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "2"}), "two")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .data.a'


def test_force_takes_what_others_own(server):
    apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1", "b": "1"}), "one")
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "2"}), "two", "&force=true")
    assert answer.body["data"] == {"a": "2", "b": "1"}
    assert managers(answer) == {"one Apply": {"f:data": {"f:b": {}}}, "two Apply": {"f:data": {"f:a": {}}}}
    assert apply(server, f"{CONFIG_MAPS}/a", config_map({"b": "2"}), "two", "&force=false").status == 409
    refused = server.patch(f"{CONFIG_MAPS}/a?force=true", {}, MERGE)
    assert (refused.status, refused.message) == (
        422, 'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
    )  # fmt: skip


def test_the_same_value_is_no_conflict_but_shared(server):
    apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}), "one")
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}), "two")
    assert managers(answer) == {"one Apply": {"f:data": {"f:a": {}}}, "two Apply": {"f:data": {"f:a": {}}}}
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map(), "one")
    assert (answer.body["data"], list(managers(answer))) == ({"a": "1"}, ["two Apply"])


def test_items_merge_by_their_keys(server):
    def service(*ports: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": list(ports)}}

    first = {"name": "one", "port": 80, "targetPort": 8080}
    second = {"name": "two", "port": 80, "protocol": "UDP"}
    assert apply(server, f"{SERVICES}/a", service(first), "one").status == 201
    answer = apply(server, f"{SERVICES}/a", service(second), "two")
    assert [(port["name"], port["protocol"]) for port in answer.body["spec"]["ports"]] == [("one", "TCP"), ("two", "UDP")]
    assert managers(answer)["one Apply"] == {
        "f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}, "f:targetPort": {}}}}
    }
    answer = apply(server, f"{SERVICES}/a", service(), "one")
    assert [port["name"] for port in answer.body["spec"]["ports"]] == ["two"]


def test_finalizers_are_a_set_and_selectors_are_atomic(server):
    apply(server, f"{CONFIG_MAPS}/a", config_map(finalizers=["x.io/one"]), "one")
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map(finalizers=["x.io/two"]), "two")
    assert answer.body["metadata"]["finalizers"] == ["x.io/one", "x.io/two"]
    assert managers(answer)["two Apply"] == {"f:metadata": {"f:finalizers": {'v:"x.io/two"': {}}}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}]}}
    apply(server, f"{SERVICES}/a", service | {"spec": {"ports": [{"port": 80}], "selector": {"a": "1"}}}, "one")
    answer = apply(server, f"{SERVICES}/a", service | {"spec": {"selector": {"b": "1"}}}, "two")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .spec.selector'


def test_a_dry_run_stores_nothing(server):
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}), query="&dryRun=All")
    assert (answer.status, answer.body["data"], list(managers(answer))) == (201, {"a": "1"}, ["me Apply"])
    assert server.get(f"{CONFIG_MAPS}/a").status == 404


def test_an_apply_of_status_owns_nothing_else(server):
    server.create(f"{DEPLOYMENTS}?fieldManager=one", deployment())
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "status": {"replicas": 2}}
    answer = apply(server, f"{DEPLOYMENTS}/web/status", body | {"spec": {"replicas": 7}})
    assert (answer.status, answer.body["status"]["replicas"], answer.body["spec"]["replicas"]) == (200, 2, 1)
    assert managers(answer)["me Apply status"] == {"f:status": {"f:replicas": {}}}
    answer = apply(server, f"{DEPLOYMENTS}/web", deployment() | {"status": {"replicas": 9}})
    assert (answer.body["status"]["replicas"], "f:status" in managers(answer)["me Apply"]) == (2, False)
    assert apply(server, f"{DEPLOYMENTS}/none/status", body | {"metadata": {"name": "none"}}).status == 404


def scale(replicas: int) -> dict[str, Any]:
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": replicas}}


def test_an_apply_of_the_scale(server):
    apply(server, f"{DEPLOYMENTS}/web", deployment(), "one")
    answer = apply(server, f"{DEPLOYMENTS}/web/scale", scale(3), "hpa")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    answer = apply(server, f"{DEPLOYMENTS}/web/scale", scale(3), "hpa", "&force=true")
    assert (answer.status, answer.body["kind"], answer.body["spec"]) == (200, "Scale", {"replicas": 3})
    after = server.get(f"{DEPLOYMENTS}/web")
    found = managers(after)
    assert found["hpa Apply scale"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in found["one Apply"]["f:spec"]
    assert (
        next(entry["apiVersion"] for entry in after.body["metadata"]["managedFields"] if entry["manager"] == "hpa") == "apps/v1"
    )
    again = apply(server, f"{DEPLOYMENTS}/web/scale", scale(3), "hpa")
    assert after.body["metadata"]["resourceVersion"] == again.body["metadata"]["resourceVersion"]
    answer = apply(server, f"{DEPLOYMENTS}/web", deployment(4), "one")
    assert answer.message == 'Apply failed with 1 conflict: conflict with "hpa" with subresource "scale": .spec.replicas'
    assert apply(server, f"{DEPLOYMENTS}/web", deployment(None), "one").body["spec"]["replicas"] == 3


LAST = "kubectl.kubernetes.io/last-applied-configuration"


def applied_by_client(document: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(document | {"metadata": {"annotations": {}, **document["metadata"]}}) + "\n"
    return document | {"metadata": document["metadata"] | {"annotations": {LAST: text}}}


def test_kubectl_takes_over_from_client_side_apply(server):
    server.create(f"{CONFIG_MAPS}?fieldManager=kubectl-client-side-apply", applied_by_client(config_map({"a": "1"})))
    refused = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "2"}))
    assert refused.message == 'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.a'
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "2", "b": "3"}), "kubectl")
    assert (answer.status, answer.body["data"]) == (200, {"a": "2", "b": "3"})
    assert managers(answer)["kubectl Apply"] == {"f:data": {"f:a": {}, "f:b": {}}}
    last = answer.body["metadata"]["annotations"][LAST]
    assert (json.loads(last), last[-1]) == (config_map({"a": "2", "b": "3"}), "\n")


def test_what_others_changed_since_client_side_apply_conflicts_for_kubectl_too(server):
    server.create(f"{CONFIG_MAPS}?fieldManager=kubectl-client-side-apply", applied_by_client(config_map({"a": "1", "b": "1"})))
    server.patch(f"{CONFIG_MAPS}/a?fieldManager=editor", {"data": {"b": "2"}})
    refused = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "2", "b": "3"}), "kubectl")
    assert refused.message == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.b'


# Refusals ---------------------------------------------------------------------------------------------------------------

REFUSALS = [
    ("no manager", "", config_map(), 422,
     'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'),
    ("no YAML", "fieldManager=me", b"a: [", 400, "error decoding YAML: "),
    ("a list", "fieldManager=me", b"[]", 400, "error decoding YAML: json: cannot unmarshal array into Go value of type map"),
    ("nothing", "fieldManager=me", b" ", 400, "error decoding YAML: "),
    ("no type", "fieldManager=me", {"metadata": {"name": "a"}}, 400, "invalid object type: /, Kind="),
    ("another kind", "fieldManager=me", config_map() | {"kind": "Secret"}, 400, "invalid object type: /v1, Kind=Secret"),
    ("another version", "fieldManager=me", config_map() | {"apiVersion": "x/v2"}, 400,
     "invalid object type: x/v2, Kind=ConfigMap"),
    ("managedFields", "fieldManager=me", config_map(managedFields=[]), 400, "metadata.managedFields must be nil"),
    ("another name", "fieldManager=me", {**config_map(), "metadata": {"name": "b"}}, 400,
     "the name of the object (b) does not match the name on the URL (a)"),
    ("no name", "fieldManager=me", {**config_map(), "metadata": {}}, 400,
     "the name of the object (a based on URL) was undeterminable: name must be provided"),
    ("another namespace", "fieldManager=me", config_map(namespace="other"), 400,
     "the namespace of the provided object does not match the namespace sent on the request"),
    ("an unknown field", "fieldManager=me", config_map() | {"spec": {}}, 400,
     "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .spec: field not declared in schema"),
    ("a wrong type", "fieldManager=me", config_map({"a": 1}), 400,  # type: ignore[dict-item]
     "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .data.a: expected string, "
     "got &value.valueUnstructured{Value:1}"),
    ("two wrong types", "fieldManager=me", config_map({"a": 1, "b": True}), 400,  # type: ignore[dict-item]
     "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): errors:\n  .data.a: expected string, "),
    ("a list for a map", "fieldManager=me", config_map(labels=["a"]), 400,
     "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .metadata.labels: expected map, got &{[a]}"),
    ("metadata that is none", "fieldManager=me", config_map() | {"metadata": 7}, 400,
     "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): .metadata: expected map, got &{7}"),
    ("a uid of nothing", "fieldManager=me", config_map(uid="x"), 409,
     'Operation cannot be fulfilled on configmaps "a": uid mismatch: the provided object specified uid x, and no existing'),
    ("twice the same", "fieldManager=me", config_map(finalizers=["x.io/a", "x.io/a"]), 400,
     "failed to create typed patch object (default/a; /v1, Kind=ConfigMap): "
     '.metadata.finalizers: duplicate entries for key [="x.io/a"]'),
    ("too deep", "fieldManager=me", b'{"a":' * 300 + b"1" + b"}" * 300, 400, "error decoding YAML: exceeded max depth"),
    ("a repeated key, strictly", "fieldManager=me&fieldValidation=Strict",
     b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1","a":"2"}}', 400,
     'error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key "a"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "body", "status", "message"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_an_apply_is_refused_for(server, query, body, status, message):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    before = server.state.revision
    answer = server.patch(f"{CONFIG_MAPS}/a?{query}", data, APPLY)
    assert (status, message) == (answer.status, answer.message[: len(message)])
    assert before == server.state.revision


@pytest.mark.parametrize(
    ("ports", "fault"),
    [
        (
            [{"name": "a"}],
            '.spec.ports: element 0: associative list with keys has an element that omits key field "port" '
            "(and doesn't have default value)",
        ),
        (
            [{"port": 80}, {"port": 80, "protocol": "TCP"}],
            '.spec.ports: duplicate entries for key [port=80,protocol="TCP"]',
        ),
        ([80], ".spec.ports: element 0: associative list with keys may not have non-map elements"),
        ([None], ".spec.ports: element 0: associative list with keys may not have a null element"),
    ],
)
def test_items_that_cannot_be_told_apart_are_refused(server, ports, fault):
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": ports}}
    answer = apply(server, f"{SERVICES}/a", body)
    assert (answer.status, answer.message) == (
        400, f"failed to create typed patch object (default/a; /v1, Kind=Service): {fault}",
    )  # fmt: skip


def test_an_apply_of_an_old_version_or_another_object_conflicts(server):
    apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}))
    old = server.get(f"{CONFIG_MAPS}/a").body["metadata"]
    apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "2"}))
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "3"}, resourceVersion=old["resourceVersion"]))
    assert (answer.status, answer.message[-40:]) == (409, "apply your changes to the latest version and try again"[-40:])
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "3"}, uid="other"))
    assert (answer.status, "Precondition failed: UID in precondition: other" in answer.message) == (409, True)
    now = server.get(f"{CONFIG_MAPS}/a").body["metadata"]["resourceVersion"]
    assert apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "3"}, resourceVersion=now, uid=old["uid"])).status == 200


def test_a_repeated_key_is_warned_of(server):
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1","a":"2"}}'
    answer = apply(server, f"{CONFIG_MAPS}/a", body)
    assert (answer.status, answer.warnings) == (201, ['299 - "line 1: key \\"a\\" already set in map"'])


def test_validation_speaks_of_the_merged_object(server):
    apply(server, f"{DEPLOYMENTS}/web", deployment())
    answer = apply(server, f"{DEPLOYMENTS}/web", deployment(-1))
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "spec.replicas")


def test_appliers_are_limited(server):
    for number in range(100):
        assert apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}), f"m{number}").status in (200, 201)
    answer = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}), "one-more")
    assert (answer.status, answer.body["details"]["causes"][0]["field"]) == (422, "metadata.managedFields")


def test_a_pods_containers_merge_with_what_admission_adds(server):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
           "spec": {"containers": [{"name": "main", "image": "echo"}]}}  # fmt: skip
    answer = apply(server, f"{PODS}/a", pod)
    assert (answer.status, managers(answer)["me Apply"]) == (
        201, {"f:spec": {"f:containers": {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}}},
    )  # fmt: skip
    again = apply(server, f"{PODS}/a", pod)
    assert (again.status, answer.body) == (200, again.body)


def test_creating_by_an_apply_needs_the_right_to_create(server):
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    assert server.create(f"{roles}/roles", {"metadata": {"name": "patcher"}, "rules": rules}).status == 201
    binding = {
        "metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
    }
    assert server.create(f"{roles}/rolebindings", binding).status == 201
    bob = User("bob", ("system:authenticated",))
    refused = apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}), user=bob)
    assert refused.status == 403
    assert 'User "bob" cannot create resource "configmaps" in API group "" in the namespace "default"' in refused.message
    apply(server, f"{CONFIG_MAPS}/a", config_map({"a": "1"}), "admin")
    assert apply(server, f"{CONFIG_MAPS}/a", config_map({"b": "1"}), user=bob).status == 200


def test_managers_of_both_event_apis_share_one_record(server):
    core, events = "/api/v1/namespaces/default/events", "/apis/events.k8s.io/v1/namespaces/default/events"
    involved = {"kind": "Pod", "name": "x", "namespace": "default"}
    event = {"metadata": {"name": "a"}, "involvedObject": involved, "reason": "R", "message": "m", "type": "Normal", "count": 1}
    assert server.create(f"{core}?fieldManager=old", event).status == 201
    labels = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a", "labels": {"x": "y"}}}
    assert apply(server, f"{events}/a", labels, "new").status == 200
    answer = server.patch(f"{events}/a?fieldManager=third", {"note": "changed"})
    versions = {entry["manager"]: entry["apiVersion"] for entry in answer.body["metadata"]["managedFields"]}
    assert versions == {"new": "events.k8s.io/v1", "old": "v1", "third": "events.k8s.io/v1"}
    assert "f:message" not in managers(answer)["old Update"]
