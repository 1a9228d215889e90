"""Field validation: what Ignore, Warn and Strict do with fields that are unknown or repeated, in every kind of write."""

import pytest
from core_server import CONFIG_MAPS, JSON_PATCH, MERGE, STRATEGIC, Server
from custom_definitions import definition, object_of, version

APPLY = "application/apply-patch+yaml"
SERVICES, DEPLOYMENTS = "/api/v1/namespaces/default/services", "/apis/apps/v1/namespaces/default/deployments"
CRON_TABS = "/apis/stable.example.com/v1/namespaces/default/crontabs"
PORTS = '"ports":[{"port":80}]'
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def service(spec=PORTS, meta="", root=""):
    return f'{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"a"{meta}}}{root},"spec":{{{spec}}}}}'


def cron_tab(rest=""):
    return f'{{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{{"name":"a"}}{rest}}}'


SLOPPY = {
    "an unknown field": (service(f'"foo":1,{PORTS}'), ('unknown field "spec.foo"',)),
    "at the root": (service(root=',"foo":1'), ('unknown field "foo"',)),
    "in metadata": (service(meta=',"foo":1'), ('unknown field "metadata.foo"',)),
    "in a list": (
        service('"ports":[{"port":80,"name":"a"},{"port":81,"name":"b","foo":1}]'), ('unknown field "spec.ports[1].foo"',),
    ),
    "in another spelling": (service(f'"clusterip":"",{PORTS}'), ('unknown field "spec.clusterip"',)),
    "a repeated field": (service(f'"type":"NodePort","type":"ClusterIP",{PORTS}'), ('duplicate field "spec.type"',)),
    "repeated in a list": (service('"ports":[{"port":79,"port":80}]'), ('duplicate field "spec.ports[0].port"',)),
    "thrice": (service(f'"type":"NodePort","type":"NodePort","type":"ClusterIP",{PORTS}'), ('duplicate field "spec.type"',)),
    "several, told in the order of the document": (
        service('"bar":{"deep":1},"type":"NodePort","type":"ClusterIP","ports":[{"port":80,"baz":2}]', root=',"foo":1'),
        ('unknown field "foo"', 'unknown field "spec.bar"', 'duplicate field "spec.type"', 'unknown field "spec.ports[0].baz"'),
    ),
    "unknown and repeated: unknown": (service(f'"bar":1,"bar":{{"a":1,"a":2}},{PORTS}'), ('unknown field "spec.bar"',)),
    "a label twice": (service(meta=',"labels":{"a":"b","a":"c"}'), ('duplicate field "metadata.labels.a"',)),
    "nothing": (service(), ()),
}  # fmt: skip


def warnings(*found: str) -> list[str]:
    return [f'299 - "{each}"' for each in (one.replace('"', '\\"') for one in found)]


@pytest.fixture
def server():
    made = Server()
    schema = object_of(known={"type": "string"}, inner=object_of(size={"type": "integer"}))
    assert made.create(DEFINITIONS, definition(version(spec=schema))).status == 201
    return made


@pytest.mark.parametrize("how", ["create", "update"])
@pytest.mark.parametrize(("body", "found"), SLOPPY.values(), ids=SLOPPY)
def test_bodies(server, how, body, found):
    def write(validation):
        server.delete(f"{SERVICES}/a")
        if how == "update":
            assert server.create(SERVICES, SLOPPY["nothing"][0].encode()).status == 201
            return server.put(f"{SERVICES}/a{validation}", body.encode())
        return server.create(f"{SERVICES}{validation}", body.encode())

    good = 200 if how == "update" else 201
    ignored, asked, default = write("?fieldValidation=Ignore"), write("?fieldValidation=Warn"), write("")
    assert ((good, []), (good, warnings(*found))) == ((ignored.status, ignored.warnings), (asked.status, asked.warnings))
    assert default.warnings == asked.warnings
    assert "foo" not in asked.body["spec"] and "ClusterIP" == asked.body["spec"]["type"]  # the last of several stands
    strict = write("?fieldValidation=Strict")
    if not found:
        assert (good, []) == (strict.status, strict.warnings)
        return
    message = f'Service in version "v1" cannot be handled as a Service: strict decoding error: {", ".join(found)}'
    assert (400, "BadRequest", message) == (strict.status, strict.body["reason"], strict.message)


def test_yaml_is_held_to_the_same(server):
    head = b"apiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
    body = head + b"spec:\n  foo: 1\n  type: NodePort\n  type: ClusterIP\n  ports: [{port: 80}]\n"
    strict = server.create(f"{SERVICES}?fieldValidation=Strict", body, content_type="application/yaml")
    told = 'strict decoding error: yaml: unmarshal errors:\n  line 7: key "type" already set in map, unknown field "spec.foo"'
    assert 400 == strict.status and strict.message.endswith(told)
    found = ('line 7: key "type" already set in map', 'unknown field "spec.foo"')
    assert warnings(*found) == server.create(SERVICES, body, content_type="application/yaml").warnings


def test_what_yaml_merges_in_may_be_overridden(server):
    head = b"x: &base {type: NodePort, ports: [{port: 80}]}\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n"
    body = head + b"spec: {<<: *base, type: ClusterIP}\n"
    made = server.create(SERVICES, body, content_type="application/yaml")
    assert ("ClusterIP", warnings('unknown field "x"')) == (made.body["spec"]["type"], made.warnings)


PATCHES = {
    "a JSON patch": (JSON_PATCH, b'[{"op":"add","path":"/spec/foo","value":1}]', ('unknown field "spec.foo"',)),
    "a JSON patch with odd operations": (
        JSON_PATCH,
        b'[{"op":"add","path":"/spec/foo","path":"/spec/type","value":"ClusterIP","odd":1},{"op":"add","path":"/spec/foo","value":1}]',
        ('json patch unknown field "[0].odd"', 'json patch duplicate field "[0].path"', 'unknown field "spec.foo"'),
    ),
    "a merge patch": (MERGE, b'{"spec":{"foo":1}}', ('unknown field "spec.foo"',)),
    "a merge patch that repeats a field": (
        MERGE,
        b'{"spec":{"foo":1,"type":"NodePort","type":"ClusterIP"}}',
        ('duplicate field "spec.type"', 'unknown field "spec.foo"'),
    ),
    "a strategic patch": (STRATEGIC, b'{"spec":{"ports":[{"port":80,"foo":1}]}}', ('unknown field "spec.ports[0].foo"',)),
    "a strategic patch that repeats a field": (
        STRATEGIC, b'{"spec":{"type":"NodePort","type":"ClusterIP"}}', ('duplicate field "spec.type"',),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("media", "body", "found"), PATCHES.values(), ids=PATCHES)
def test_patches(server, media, body, found):
    assert server.create(SERVICES, SLOPPY["nothing"][0].encode()).status == 201
    strict = server.patch(f"{SERVICES}/a?fieldValidation=Strict", body, media)
    assert (422, "Invalid") == (strict.status, strict.body["reason"])
    assert strict.message.startswith(' "" is invalid: patch: Invalid value: ')  # to kubectl, "The request is invalid"
    assert strict.message.endswith(f"strict decoding error: {', '.join(found)}"), strict.message
    cause = strict.body["details"]["causes"][0]
    assert ("patch", "FieldValueInvalid") == (cause["field"], cause["reason"])
    ignored = server.patch(f"{SERVICES}/a?fieldValidation=Ignore", body, media)
    assert (200, []) == (ignored.status, ignored.warnings)
    warned = server.patch(f"{SERVICES}/a", body, media)
    assert (200, warnings(*found)) == (warned.status, warned.warnings)


def test_a_patch_to_a_wrong_type_is_invalid(server):
    assert server.create(SERVICES, SLOPPY["nothing"][0].encode()).status == 201
    refused = server.patch(f"{SERVICES}/a", {"spec": {"ports": [{"port": "http"}], "externalIPs": None}}, STRATEGIC)
    assert (422, "patch") == (refused.status, refused.body["details"]["causes"][0]["field"])
    assert 'Invalid value: "map[spec:map[externalIPs:<nil> ports:[map[port:http]]]]": json: cannot unmarshal' in refused.message
    refused = server.patch(f"{SERVICES}/a", {"spec": {"ports": "none"}}, MERGE)
    assert (422, True) == (refused.status, "Go struct field ServiceSpec.spec.ports of type" in refused.message)


def test_applying_refuses_unknown_fields_whatever_is_asked(server):
    """Server-side apply must know a field's owner; upstream, too, takes no unknown field of a built-in type."""
    body = service(f'"foo":1,{PORTS}').encode()
    for validation in ("Ignore", "Warn", "Strict"):
        refused = server.patch(f"{SERVICES}/a?fieldManager=me&fieldValidation={validation}", body, APPLY)
        assert (400, True) == (refused.status, ".spec.foo: field not declared in schema" in refused.message)


def test_applying_knows_repeated_fields(server):
    body = service(f'"type":"NodePort","type":"ClusterIP",{PORTS}').encode()
    strict = server.patch(f"{SERVICES}/a?fieldManager=me&fieldValidation=Strict", body, APPLY)
    line = 'line 1: key "type" already set in map'
    told = f"error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {line}"
    assert (400, told) == (strict.status, strict.message)
    warned = server.patch(f"{SERVICES}/a?fieldManager=me", body, APPLY)
    assert (201, warnings(line)) == (warned.status, warned.warnings)


CUSTOM_BODIES = {
    "an unknown field": (cron_tab(',"spec":{"foo":1}'), ('unknown field "spec.foo"',)),
    "inside": (cron_tab(',"spec":{"inner":{"size":1,"foo":2}}'), ('unknown field "spec.inner.foo"',)),
    "at the root": (cron_tab(',"foo":1'), ('unknown field "foo"',)),
    "a repeated field": (cron_tab(',"spec":{"known":"a","known":"b"}'), ('duplicate field "spec.known"',)),
}


@pytest.mark.parametrize(("body", "found"), CUSTOM_BODIES.values(), ids=CUSTOM_BODIES)
def test_custom_resources(server, body, found):
    strict = server.create(f"{CRON_TABS}?fieldValidation=Strict", body.encode())
    assert (400, True) == (strict.status, strict.message.endswith(f"strict decoding error: {', '.join(found)}"))
    warned = server.create(CRON_TABS, body.encode())
    assert (201, warnings(*found)) == (warned.status, warned.warnings)
    again = server.put(f"{CRON_TABS}/a", _with_version(body, warned))
    assert (200, warnings(*found)) == (again.status, again.warnings)


def _with_version(body, made):
    version = made.body["metadata"]["resourceVersion"]
    return body.replace('"metadata":{', f'"metadata":{{"resourceVersion":"{version}",', 1).encode()


CUSTOM_PATCHES = {
    "a JSON patch": (JSON_PATCH, b'[{"op":"add","path":"/spec","value":{"foo":1}}]', ('unknown field "spec.foo"',)),
    "a merge patch": (MERGE, b'{"spec":{"inner":{"foo":1}}}', ('unknown field "spec.inner.foo"',)),
    "a merge patch that repeats a field": (MERGE, b'{"spec":{"known":"a","known":"b"}}', ('duplicate field "spec.known"',)),
}


@pytest.mark.parametrize(("media", "body", "found"), CUSTOM_PATCHES.values(), ids=CUSTOM_PATCHES)
def test_patches_of_custom_resources(server, media, body, found):
    assert server.create(CRON_TABS, cron_tab().encode()).status == 201
    strict = server.patch(f"{CRON_TABS}/a?fieldValidation=Strict", body, media)
    assert (422, True) == (strict.status, strict.message.endswith(f"strict decoding error: {', '.join(found)}"))
    warned = server.patch(f"{CRON_TABS}/a", body, media)
    assert (200, warnings(*found)) == (warned.status, warned.warnings)


SUBRESOURCES = {
    "status": ("PUT", f"{DEPLOYMENTS}/d/status", "Deployment"),
    "scale": ("PUT", f"{DEPLOYMENTS}/d/scale", "Scale"),
    "scale by patch": ("PATCH", f"{DEPLOYMENTS}/d/scale", "Scale"),
    "token": ("POST", "/api/v1/namespaces/default/serviceaccounts/s/token", "TokenRequest"),
    "binding": ("POST", "/api/v1/namespaces/default/pods/p/binding", "Binding"),
    "eviction": ("POST", "/api/v1/namespaces/default/pods/p/eviction", "Eviction"),
    "a review": ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "SelfSubjectAccessReview"),
}


@pytest.mark.parametrize(("method", "url", "kind"), SUBRESOURCES.values(), ids=SUBRESOURCES)
def test_subresources_and_reviews(server, method, url, kind):
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    assert server.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec}).status == 201
    assert server.create("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "s"}}).status == 201
    assert server.pod("p").status == 201
    body = {"metadata": {"name": url.split("/")[-2]}, "foo": 1}
    if kind == "Deployment":
        body["spec"] = spec
    if kind == "Binding":
        body["target"] = {"kind": "Node", "name": "n"}
    if kind.endswith("Review"):
        body["spec"] = {"nonResourceAttributes": {"path": "/", "verb": "get"}}
    media = {"content_type": MERGE} if method == "PATCH" else {}
    strict = server.send(method, f"{url}?fieldValidation=Strict", body, **media)
    assert strict.status == (422 if method == "PATCH" else 400)
    assert 'strict decoding error: unknown field "foo"' in strict.message
    warned = server.send(method, url, body, **media)
    assert warnings('unknown field "foo"') == warned.warnings and warned.status < 300, warned.message


def test_a_dry_run_says_the_same_and_writes_nothing(server):
    before = server.state.revision
    body, found = SLOPPY["several, told in the order of the document"]
    answer = server.create(f"{SERVICES}?dryRun=All", body.encode())
    assert (201, warnings(*found)) == (answer.status, answer.warnings)
    assert 400 == server.create(f"{SERVICES}?dryRun=All&fieldValidation=Strict", body.encode()).status
    assert before == server.state.revision


def test_very_much_to_say_is_cut_short(server):
    body = {"metadata": {"name": "a"}, **{f"odd{'x' * 300}{index}": 1 for index in range(200)}}
    warned = server.create(CONFIG_MAPS, body)
    assert 201 == warned.status and 0 < len(warned.warnings) < 100 and sum(map(len, warned.warnings)) < 6000
    strict = server.create(f"{CONFIG_MAPS}?fieldValidation=Strict", body)
    assert (400, 100) == (strict.status, strict.message.count("unknown field"))


def test_a_refusal_for_another_reason_warns_as_well(server):
    body = b'{"metadata":{"name":"a"},"foo":1,"data":{"bad key":"x"}}'
    answer = server.create(CONFIG_MAPS, body)
    assert (422, warnings('unknown field "foo"')) == (answer.status, answer.warnings)


def test_a_wrong_value_is_named_with_those_that_are_right(server):
    answer = server.create(f"{CONFIG_MAPS}?fieldValidation=Loud", {"metadata": {"name": "a"}})
    assert (422, "CreateOptions") == (answer.status, answer.body["details"]["kind"])
    assert 'Unsupported value: "Loud": supported values: "", "Ignore", "Strict", "Warn"' in answer.message
