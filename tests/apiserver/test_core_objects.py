"""Do create, get, update and patch answer as upstream does, in status, reason and words?"""

import json
import time

import pytest
from core_server import CONFIG_MAPS, JSON_PATCH, MERGE, PODS, STRATEGIC, Server
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver.body import MAX_VALUES
from mooring.apiserver.contract import Write
from mooring.store.records import Committed, Conflict

STALE = "the object has been modified; please apply your changes to the latest version and try again"


@pytest.fixture
def server():
    return Server()


# Create


def test_a_created_object_has_what_the_server_sets(server):
    given = {
        "metadata": {
            "name": "a",
            "uid": "mine",
            "creationTimestamp": None,
            "generation": 7,
            "managedFields": [{}],
            "selfLink": "/x",
            "deletionTimestamp": "2020-01-01T00:00:00Z",
        }
    }
    answer = server.create(CONFIG_MAPS, given)
    meta = answer.body["metadata"]
    assert answer.status == 201
    assert {"name", "namespace", "uid", "creationTimestamp", "resourceVersion"} == meta.keys()
    assert ("default", "2026-01-01T00:00:00Z") == (meta["namespace"], meta["creationTimestamp"])
    assert len(meta["uid"]) == 36 and meta["uid"][14] == "4" and meta["uid"][19] in "89ab"
    assert answer.body == server.get(f"{CONFIG_MAPS}/a").body


def test_kind_and_version_may_be_left_out(server):
    body = server.create(CONFIG_MAPS, {"metadata": {"name": "a"}}).body
    assert ("ConfigMap", "v1") == (body["kind"], body["apiVersion"])


def test_generated_names_are_new(server):
    names = {server.create(CONFIG_MAPS, {"metadata": {"generateName": "x-"}}).body["metadata"]["name"] for _ in range(50)}
    assert len(names) == 50
    assert all(
        name.startswith("x-") and len(name) == 7 and set(name[2:]) <= set("bcdfghjklmnpqrstvwxz2456789") for name in names
    )


def test_a_long_base_is_cut_so_that_the_name_fits(server):
    name = server.create(CONFIG_MAPS, {"metadata": {"generateName": "x" * 80}}).body["metadata"]["name"]
    assert len(name) == 63


def test_a_name_is_taken_once(server):
    server.config_map("a")
    answer = server.config_map("a")
    assert (409, 'configmaps "a" already exists') == (answer.status, answer.message)
    assert "AlreadyExists" == answer.body["reason"]
    assert {"name": "a", "kind": "configmaps"} == answer.body["details"]


def test_two_creates_decided_from_one_snapshot_end_as_one(server):
    """Uniqueness rests on the transaction, not on the reader."""
    first, second = (server.decide("POST", CONFIG_MAPS, {"metadata": {"name": "a"}}) for _ in range(2))
    assert isinstance(first, Write) and isinstance(second, Write)
    assert isinstance(server.state.apply(first.txn), Committed)
    assert isinstance(server.state.apply(second.txn), Conflict)
    assert 409 == server.config_map("a").status


CREATE_REFUSALS = [
    (
        "no name",
        {"metadata": {}},
        422,
        'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
    ),
    (
        "another namespace",
        {"metadata": {"name": "a", "namespace": "other"}},
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    (
        "a resourceVersion",
        {"metadata": {"name": "a", "resourceVersion": "1"}},
        400,
        "resourceVersion should not be set on objects to be created",
    ),
    (
        "another kind",
        {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a"}},
        400,
        'Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (v1.ConfigMap): unknown conversion',
    ),
    (
        "another version",
        {"kind": "ConfigMap", "apiVersion": "v2", "metadata": {"name": "a"}},
        400,
        "the API version in the data (v2) does not match the expected API version (v1)",
    ),
]


@pytest.mark.parametrize(
    ("body", "status", "message"), [row[1:] for row in CREATE_REFUSALS], ids=[row[0] for row in CREATE_REFUSALS]
)
def test_a_create_is_refused_for(server, body, status, message):
    before = server.state.revision
    answer = server.create(CONFIG_MAPS, body)
    assert (status, message) == (answer.status, answer.message)
    assert before == server.state.revision


def test_every_broken_rule_is_named(server):
    answer = server.create(
        CONFIG_MAPS, {"metadata": {"name": "A_", "labels": {"a b": "c", "d": "e f"}, "finalizers": ["mine"]}}
    )
    assert 422 == answer.status
    fields = [cause["field"] for cause in answer.body["details"]["causes"]]
    assert ["metadata.name", "metadata.labels", "metadata.labels", "metadata.finalizers"] == fields
    assert answer.message.startswith('ConfigMap "A_" is invalid: [metadata.name: Invalid value: "A_": ')


def test_the_namespace_must_exist(server):
    answer = server.config_map("a", namespace="nowhere")
    assert (404, 'namespaces "nowhere" not found') == (answer.status, answer.message)


def test_a_create_without_a_namespace_is_not_served(server):
    assert 405 == server.create("/api/v1/configmaps", {"metadata": {"name": "a"}}).status


# Bodies

DOUBLED = [(0, 0, b"k: 1")] + [(n, n, b"<<: [*a%d, *a%d]" % (n - 1, n - 1)) for n in range(1, 20)]
MALFORMED = [
    ("truncated JSON", b'{"metadata":', "application/json", 400),
    ("no object", b"[1]", "application/json", 400),
    ("nothing", b" ", "application/json", 400),
    ("bad UTF-8", b'{"metadata":{"name":"\xff"}}', "application/json", 400),
    ("JSON nested too deep", b'{"a":' * 5000 + b"1" + b"}" * 5000, "application/json", 400),
    ("JSON nested far too deep", b"[" * 200_000, "application/json", 400),
    ("YAML nested too deep", b"[" * 200_000, "application/yaml", 400),
    ("malformed YAML", b"a: [", "application/yaml", 400),
    ("a number that JSON has not", b"metadata: {name: a}\nx: .inf", "application/yaml", 400),
    ("two YAML documents", b"a: 1\n---\nb: 2\n", "application/yaml", 400),
    ("a YAML alias of itself", b"a: &a\n  b: *a\n", "application/yaml", 400),
    ("protobuf of no kind", b"k8s\x00", "application/vnd.kubernetes.protobuf", 400),
    ("CBOR", b"\xa0", "application/cbor", 415),
    ("a form", b"a=b", "application/x-www-form-urlencoded", 415),
    ("metadata of the wrong type", b'{"metadata":[]}', "application/json", 400),
    ("a field of the wrong type", b'{"metadata":{"name":"a"},"data":{"x":1}}', "application/json", 400),
    ("a name of the wrong type", b'{"metadata":{"name":1}}', "application/json", 400),
    ("too much", b" " * (3 * 1024 * 1024 + 1), "application/json", 413),
    ("too much YAML", b"a: [" + b"a," * 600_000 + b"a]", "application/yaml", 413),
    ("too many members", b'{"u":[%s0]}' % (b"0," * MAX_VALUES), "application/json", 413),
    ("YAML that merges doubles", b"\n".join(b"a%d: &a%d {%s}" % row for row in DOUBLED), "application/yaml", 400),
    ("many directives", b"%%TAG !%b! b\n" * 101 % tuple(b"a%d" % n for n in range(101)) + b"--- {}", "application/yaml", 413),
    ("UTF-16", "metadata: {name: u}".encode("utf-16"), "application/yaml", 400),
]


@pytest.mark.parametrize(("body", "content_type", "status"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_is_refused(server, method, body, content_type, status):
    server.config_map("a")
    before = server.state.revision
    url = CONFIG_MAPS if method == "POST" else f"{CONFIG_MAPS}/a"
    answer = server.send(method, url, body, content_type=content_type)
    assert (status, "Failure") == (answer.status, answer.body["status"])
    assert before == server.state.revision


def test_yaml_aliases_that_unfold_without_end_are_refused(server):
    levels = [b"a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    levels += [b"a%d: &a%d [%s]" % (level, level, b",".join([b"*a%d" % (level - 1)] * 9)) for level in range(1, 10)]
    answer = server.create(CONFIG_MAPS, b"\n".join(levels), content_type="application/yaml")
    assert (400, "yaml: document contains excessive aliasing") == (answer.status, answer.message)


def test_what_is_wrong_a_thousand_times_is_not_told_as_often(server):
    """Not much more is done than was sent, nor answered."""
    many = [f"10.0.{number >> 8}.{number & 255}" for number in range(20_000)]
    labels = {f"!{number}": "v" for number in range(20_000)}
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": many[:5000], "type": "array"}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"a": {**keys, "items": {"type": "object"}}}}}
    names = {"plural": "as", "kind": "A"}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    definition = {"group": "x.io", "scope": "Cluster", "names": names, "versions": [version]}
    pod = {"containers": [{"name": "m", "image": "i"}], "hostAliases": [{"ip": ip} for ip in many]}
    repeated = json.dumps({"metadata": {"name": "b"}, **dict.fromkeys(many, 0)})[:-1] + f', "{many[0]}": 0}}'
    far, leaves = f'{{"{"f" * 8000}":' * 200, json.dumps(dict.fromkeys(many, 0))
    deep = f'{{"metadata":{{"name":"c","name":"c"}},"x":{far}{leaves}{"}" * 200}}}'
    for path, body in (
        (CONFIG_MAPS, {"metadata": {"name": "a", "labels": labels}}),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"metadata": {"name": "as.x.io"}, "spec": definition}),
        ("/api/v1/nodes", {"metadata": {"name": "a"}, "status": {"addresses": [{"address": ip} for ip in many]}}),
        (PODS, {"metadata": {"name": "a"}, "spec": pod}),
        (CONFIG_MAPS, repeated.encode()),
        (CONFIG_MAPS, deep.encode()),
    ):
        began = time.process_time()
        answer = server.create(path, body)
        assert len(answer.response.body) < 4 * 1024 * 1024, path
        assert time.process_time() - began < 3, path


def test_yaml_is_read_with_jsons_types(server):
    body = b"metadata: {name: a}\ndata: {day: '2020-01-01', yes: 'on', 1: one, at: 12:30, on: 1:30.5}\n"
    assert {"day": "2020-01-01", "true": "1:30.5", "1": "one", "at": "12:30"} == server.create(
        CONFIG_MAPS, body, content_type="application/yaml"
    ).body["data"]


def test_type_errors_name_the_field(server):
    answer = server.create("/api/v1/namespaces/default/services", {"metadata": {"name": "a"}, "spec": {"ports": "80"}})
    assert 400 == answer.status
    assert answer.message.startswith(
        'Service in version "v1" cannot be handled as a Service: json: cannot unmarshal string into Go struct field'
    )
    assert "spec.ports" in answer.message


SLOPPY = b'{"metadata":{"name":"a","name":"b"},"data":{},"extra":1}'


def test_field_validation_warns_by_default(server):
    answer = server.create(CONFIG_MAPS, SLOPPY)
    assert 201 == answer.status
    assert ['299 - "duplicate field \\"metadata.name\\""', '299 - "unknown field \\"extra\\""'] == answer.warnings
    assert "extra" not in answer.body


def test_field_validation_strict_refuses(server):
    answer = server.create(f"{CONFIG_MAPS}?fieldValidation=Strict", SLOPPY)
    expected = (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'duplicate field "metadata.name", unknown field "extra"'
    )
    assert (400, expected) == (answer.status, answer.message)


def test_field_validation_ignore_is_silent(server):
    answer = server.create(f"{CONFIG_MAPS}?fieldValidation=Ignore", SLOPPY)
    assert (201, []) == (answer.status, answer.warnings)


@pytest.mark.parametrize("query", ["fieldValidation=Loud", "dryRun=Some"])
def test_unknown_options_are_refused(server, query):
    answer = server.create(f"{CONFIG_MAPS}?{query}", {"metadata": {"name": "a"}})
    assert (422, "CreateOptions") == (answer.status, answer.body["details"]["kind"])


# Dry run


def test_a_dry_run_answers_and_leaves_nothing(server):
    server.config_map("old")
    before = server.state.revision
    created = server.create(f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": "a"}})
    assert 201 == created.status and created.body["metadata"]["uid"] and "resourceVersion" not in created.body["metadata"]
    patched = server.patch(f"{CONFIG_MAPS}/old?dryRun=All", {"data": {"x": "y"}})
    assert {"name": "old", "x": "y"} == patched.body["data"]
    assert 200 == server.delete(f"{CONFIG_MAPS}/old?dryRun=All").status
    assert 200 == server.delete(f"{CONFIG_MAPS}/old", {"dryRun": ["All"]}).status
    assert 200 == server.delete(f"{CONFIG_MAPS}?dryRun=All").status
    assert 422 == server.create(f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": "A_"}}).status
    assert 409 == server.create(f"{CONFIG_MAPS}?dryRun=All", {"metadata": {"name": "old"}}).status
    assert before == server.state.revision


# Update


def test_a_stale_update_conflicts(server):
    first = server.config_map("a").body
    server.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "1"}})
    answer = server.put(f"{CONFIG_MAPS}/a", first)
    assert (409, f'Operation cannot be fulfilled on configmaps "a": {STALE}') == (answer.status, answer.message)


def test_an_update_without_a_version_wins(server):
    server.config_map("a")
    answer = server.put(f"{CONFIG_MAPS}/a", {"metadata": {"name": "a"}, "data": {"new": "1"}})
    assert (200, {"new": "1"}) == (answer.status, answer.body["data"])


def test_an_update_that_changes_nothing_is_not_written(server):
    document = server.config_map("a", labels={"x": "y"}).body
    before = server.state.revision
    answer = server.put(f"{CONFIG_MAPS}/a", dict(reversed(document.items())))
    assert (200, document["metadata"]["resourceVersion"]) == (answer.status, answer.body["metadata"]["resourceVersion"])
    assert 200 == server.patch(f"{CONFIG_MAPS}/a", {}).status
    assert before == server.state.revision


def test_identity_survives_an_update(server):
    meta = server.config_map("a").body["metadata"]
    body = {"metadata": {"name": "a", "creationTimestamp": "2001-01-01T00:00:00Z"}, "data": {"x": "1"}}
    after = server.put(f"{CONFIG_MAPS}/a", body).body["metadata"]
    assert (meta["uid"], meta["creationTimestamp"]) == (after["uid"], after["creationTimestamp"])


UPDATE_REFUSALS = [
    ("another name", {"metadata": {"name": "b"}}, 400, "the name of the object (b) does not match the name on the URL (a)"),
    ("no name", {"metadata": {}}, 400, "the name of the object (a based on URL) was undeterminable: name must be provided"),
    (
        "another namespace",
        {"metadata": {"name": "a", "namespace": "x"}},
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    (
        "a version that is none",
        {"metadata": {"name": "a", "resourceVersion": "x"}},
        422,
        'ConfigMap "a" is invalid: metadata.resourceVersion: Invalid value: "x": must be a resource version this server gave'
        " out",
    ),
    (
        "setting a deletion",
        {"metadata": {"name": "a", "deletionTimestamp": "2020-01-01T00:00:00Z"}},
        422,
        'ConfigMap "a" is invalid: metadata.deletionTimestamp: Invalid value: "2020-01-01T00:00:00Z": field is immutable',
    ),
]


@pytest.mark.parametrize(
    ("body", "status", "message"), [row[1:] for row in UPDATE_REFUSALS], ids=[row[0] for row in UPDATE_REFUSALS]
)
def test_an_update_is_refused_for(server, body, status, message):
    server.config_map("a")
    answer = server.put(f"{CONFIG_MAPS}/a", body)
    assert (status, message) == (answer.status, answer.message)


def test_another_uid_conflicts(server):
    uid = server.config_map("a").body["metadata"]["uid"]
    answer = server.put(f"{CONFIG_MAPS}/a", {"metadata": {"name": "a", "uid": "other"}})
    assert 409 == answer.status
    assert f"Precondition failed: UID in precondition: other, UID in object meta: {uid}" in answer.message


def test_updating_what_is_not_there(server):
    answer = server.put(f"{CONFIG_MAPS}/a", {"metadata": {"name": "a"}})
    assert (404, 'configmaps "a" not found') == (answer.status, answer.message)


def test_leases_and_services_may_be_created_by_put(server):
    lease = {"metadata": {"name": "a"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15}}
    url = "/apis/coordination.k8s.io/v1/namespaces/default/leases/a"
    assert 201 == server.put(url, lease).status
    refused = server.put(url, lease)
    assert (422, True) == (refused.status, "metadata.resourceVersion: Invalid value: 0: must be specified" in refused.message)


def test_the_generation_counts_changes_of_the_spec_only(server):
    url = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    generations = [server.create(url, body).body["metadata"]["generation"]]
    for patch, where in (
        ({"metadata": {"labels": {"x": "y"}}}, ""),
        ({"spec": {"replicas": 2}}, ""),
        ({"status": {"replicas": 2}}, "/status"),
        ({"spec": {"replicas": 9}, "status": {"replicas": 1}}, "/status"),
    ):
        answer = server.patch(f"{url}/d{where}", patch)
        assert 200 == answer.status, answer.message
        generations.append(answer.body["metadata"]["generation"])
    assert [1, 1, 2, 2, 2] == generations
    assert 2 == server.get(f"{url}/d").body["spec"]["replicas"]


# Patch


@pytest.mark.parametrize(
    ("content_type", "patch"),
    [
        (MERGE, {"data": {"x": "1", "name": None}}),
        (STRATEGIC, {"data": {"x": "1", "name": None}}),
        (JSON_PATCH, [{"op": "add", "path": "/data/x", "value": "1"}, {"op": "remove", "path": "/data/name"}]),
    ],
)
def test_every_kind_of_patch_works(server, content_type, patch):
    server.config_map("a")
    answer = server.patch(f"{CONFIG_MAPS}/a", patch, content_type)
    assert (200, {"x": "1"}) == (answer.status, answer.body["data"])


def test_a_patch_decided_again_after_a_conflict_merges_into_what_is_new(server):
    server.config_map("a")
    url = f"{CONFIG_MAPS}/a"
    late = server.decide("PATCH", url, {"data": {"x": "1"}}, content_type=MERGE)
    server.patch(url, {"data": {"y": "2"}})
    assert isinstance(late, Write) and isinstance(server.state.apply(late.txn), Conflict)
    assert {"name": "a", "x": "1", "y": "2"} == server.patch(url, {"data": {"x": "1"}}).body["data"]


def test_a_patch_with_a_version_is_a_precondition(server):
    version = server.config_map("a").body["metadata"]["resourceVersion"]
    assert 200 == server.patch(f"{CONFIG_MAPS}/a", {"metadata": {"resourceVersion": version}, "data": {"x": "1"}}).status
    answer = server.patch(f"{CONFIG_MAPS}/a", {"metadata": {"resourceVersion": version}, "data": {"x": "2"}})
    assert (409, True) == (answer.status, STALE in answer.message)


PATCH_REFUSALS = [
    ("malformed JSON", MERGE, b"{", 400, "error decoding patch: "),
    ("a JSON patch that is no list", JSON_PATCH, {}, 400, "json: cannot unmarshal object"),
    (
        "a test that fails",
        JSON_PATCH,
        [{"op": "test", "path": "/data/name", "value": "z"}],
        422,
        "the server rejected our request due to an error in our request: testing value /data/name failed",
    ),
    ("a path that is missing", JSON_PATCH, [{"op": "remove", "path": "/data/zz"}], 422, "the server rejected our request"),
    (
        "too many operations",
        JSON_PATCH,
        [{"op": "test", "path": "/kind", "value": "ConfigMap"}] * 10001,
        413,
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
    ),
    ("an unknown type of patch", "application/json", {}, 415, "the body of the request was in an unknown format"),
    ("an apply by nobody", "application/apply-patch+yaml", {}, 422, 'PatchOptions.meta.k8s.io "" is invalid: fieldManager'),
    ("another name", MERGE, {"metadata": {"name": "b"}}, 400, "the name of the object (b) does not match"),
    ("another kind", MERGE, {"kind": "Secret"}, 400, "the API version in the data"),
    ("metadata removed", JSON_PATCH, [{"op": "remove", "path": "/metadata"}], 422, "the server rejected our request"),
    ("a wrong type", MERGE, {"data": []}, 422, ' "" is invalid: patch: Invalid value: "{'),
    ("another uid", MERGE, {"metadata": {"uid": "x"}}, 409, "Operation cannot be fulfilled"),
]


@pytest.mark.parametrize(
    ("content_type", "patch", "status", "message"), [row[1:] for row in PATCH_REFUSALS], ids=[row[0] for row in PATCH_REFUSALS]
)
def test_a_patch_is_refused_for(server, content_type, patch, status, message):
    server.config_map("a")
    before = server.state.revision
    answer = server.patch(f"{CONFIG_MAPS}/a", patch, content_type)
    assert (status, message) == (answer.status, answer.message[: len(message)])
    assert before == server.state.revision


def test_a_strict_patch_refuses_unknown_fields_as_invalid(server):
    server.config_map("a")
    answer = server.patch(f"{CONFIG_MAPS}/a?fieldValidation=Strict", {"extra": 1})
    assert 422 == answer.status
    assert answer.message.endswith('strict decoding error: unknown field "extra"')
    assert "patch" == answer.body["details"]["causes"][0]["field"]


def test_patching_what_is_not_there(server):
    assert 404 == server.patch(f"{CONFIG_MAPS}/a", {}).status


BYTES = st.binary(max_size=40) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "name", "spec", "data", "ports", "labels", "op", "path", "$patch"]), inner, max_size=4
        )
    ),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@given(
    st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]),
    st.sampled_from(["configmaps", "services", "pods", "events", "endpoints"]),
    st.sampled_from(["application/json", "application/yaml", MERGE, STRATEGIC, JSON_PATCH]),
    BYTES,
)
def test_no_body_makes_the_server_stumble(method, plural, content_type, body):
    server = Server()
    url = f"/api/v1/namespaces/default/{plural}" + ("" if method == "POST" else "/a")
    answer = server.send(method, url, body, content_type=content_type)
    assert answer.status in (200, 201, 400, 404, 409, 415, 422), answer.body
