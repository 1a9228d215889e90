"""ConfigMaps, Secrets and the small kinds: data, immutability, rows."""

import base64

import pytest
from direct import NOW, Direct, Refused

from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.kinds import STRATEGIES
from mooring.model.kinds import CONFIG_MAP, LEASE, NAMESPACE, NODE, SECRET, SERVICE_ACCOUNT


def config(**fields):
    return {"metadata": {"name": "a"}, **fields}


def b64(text):
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("fields", "field", "part"),
    [
        pytest.param({"data": {"a/b": "1"}}, "data[a/b]", "a valid config key must consist of", id="a key with a slash"),
        pytest.param({"data": {"..": "1"}}, "data[..]", "must not be '..'", id="a key that climbs"),
        pytest.param(
            {"data": {"a": "1"}, "binaryData": {"a": "MQ=="}},
            "data[a]",
            "duplicate of key present in binaryData",
            id="a key twice",
        ),
        pytest.param({"data": {"a": "x" * 1048577}}, "", "Too long: may not be more than 1048576 bytes", id="over a mebibyte"),
    ],
)
def test_a_broken_config_map_is_refused(fields, field, part):
    with pytest.raises(Refused) as refusal:
        Direct().create(CONFIG_MAP, config(**fields))
    assert [field] == list(refusal.value.causes)
    assert part in refusal.value.causes[field]


@pytest.mark.parametrize(("kind", "data"), [(CONFIG_MAP, {"k": "v"}), (SECRET, {"k": b64("v")})], ids=["ConfigMap", "Secret"])
class TestImmutable:
    def test_data_stands(self, kind, data):
        api = Direct()
        api.create(kind, config(data=data, immutable=True))
        with pytest.raises(Refused, match="field is immutable when `immutable` is set"):
            api.patch(kind, "a", {"data": {"k": b64("w")}})

    def test_it_is_for_life(self, kind, data):
        api = Direct()
        api.create(kind, config(data=data, immutable=True))
        with pytest.raises(Refused, match="field is immutable when `immutable` is set"):
            api.patch(kind, "a", {"immutable": False})

    def test_labels_may_change(self, kind, data):
        api = Direct()
        api.create(kind, config(data=data, immutable=True))
        assert {"x": "y"} == api.patch(kind, "a", {"metadata": {"labels": {"x": "y"}}})["metadata"]["labels"]


def test_string_data_is_merged_over_data():
    made = Direct().create(SECRET, config(data={"a": b64("1"), "b": b64("2")}, stringData={"b": "3"}))
    assert ({"a": b64("1"), "b": b64("3")}, False, "Opaque") == (made["data"], "stringData" in made, made["type"])


@pytest.mark.parametrize(
    ("secret", "fields"),
    [
        pytest.param({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, ["data[tls.key]"], id="TLS without a key"),
        pytest.param(
            {"type": "kubernetes.io/service-account-token"},
            ["metadata.annotations[kubernetes.io/service-account.name]"],
            id="a token of nobody",
        ),
        pytest.param({"type": "kubernetes.io/ssh-auth"}, ["data[ssh-privatekey]"], id="SSH without a key"),
        pytest.param({"type": "kubernetes.io/basic-auth"}, ["data[username]", "data[password]"], id="nobody and no password"),
        pytest.param(
            {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": b64("{")}},
            ["data[.dockerconfigjson]"],
            id="a docker config that is no JSON",
        ),
    ],
)
def test_a_secret_holds_what_its_type_says(secret, fields):
    with pytest.raises(Refused) as refusal:
        Direct().create(SECRET, config(**secret))
    assert fields == list(refusal.value.causes)


def test_the_type_of_a_secret_never_changes():
    api = Direct()
    api.create(SECRET, config())
    with pytest.raises(Refused, match="field is immutable"):
        api.patch(SECRET, "a", {"type": "example.com/b"})


@pytest.mark.parametrize("spec", [{"leaseDurationSeconds": 0}, {"leaseTransitions": -1}])
def test_a_broken_lease_is_refused(spec):
    with pytest.raises(Refused) as refusal:
        Direct().create(LEASE, config(spec=spec))
    assert [f"spec.{name}" for name in spec] == list(refusal.value.causes)


class TestNamespace:
    def test_it_is_active_and_finalized_by_kubernetes(self):
        made = Direct().create(NAMESPACE, config())
        assert ("Active", ["kubernetes"]) == (made["status"]["phase"], made["spec"]["finalizers"])
        assert {"kubernetes.io/metadata.name": "a"} == made["metadata"]["labels"]

    def test_only_finalize_takes_the_finalizer_away(self):
        api = Direct()
        made = api.create(NAMESPACE, config())
        made["spec"] = {}
        assert ["kubernetes"] == api.update(NAMESPACE, made)["spec"]["finalizers"]
        assert not api.update(NAMESPACE, made, "finalize")["spec"].get("finalizers")

    def test_a_name_is_a_label(self):
        with pytest.raises(Refused, match="must not contain dots"):
            Direct().create(NAMESPACE, {"metadata": {"name": "a.b"}})


class TestNode:
    def test_pod_ranges_stand(self):
        api = Direct()
        api.create(NODE, config(spec={"podCIDR": "10.244.0.0/24"}))
        with pytest.raises(Refused, match="may not change podCIDR"):
            api.patch(NODE, "a", {"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}})

    def test_a_kubelet_registers_with_its_status(self):
        made = Direct().create(NODE, config(status={"capacity": {"cpu": "2"}}))
        assert {"cpu": "2"} == made["status"]["allocatable"]

    @pytest.mark.parametrize("taint", [{"key": "a"}, {"key": "a", "effect": "Sometimes"}, {"key": "", "effect": "NoSchedule"}])
    def test_a_broken_taint_is_refused(self, taint):
        with pytest.raises(Refused, match=r"spec.taints\[0\]"):
            Direct().create(NODE, config(spec={"taints": [taint]}))

    def test_its_row(self):
        document = config(
            spec={"unschedulable": True},
            status={
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "172.30.0.11"}],
                "nodeInfo": {
                    "kubeletVersion": "v1.37.0",
                    "osImage": "Debian",
                    "kernelVersion": "6.1",
                    "containerRuntimeVersion": "mooring://1",
                },
            },
        )
        document["metadata"]["labels"] = {"node-role.kubernetes.io/worker": ""}
        expected = [
            "a",
            "Ready,SchedulingDisabled",
            "worker",
            "<unknown>",
            "v1.37.0",
            "172.30.0.11",
            "<none>",
            "Debian",
            "6.1",
            "mooring://1",
        ]
        assert expected == STRATEGIES[NODE].cells(document, Env(NOW, None, Settings()))


@pytest.mark.parametrize("kind", STRATEGIES, ids=lambda kind: f"{kind.kind}.{kind.group}")
def test_every_kind_has_a_cell_for_every_column_of_an_almost_empty_object(kind):
    strategy = STRATEGIES[kind]
    assert len(strategy.columns) == len(strategy.cells({"metadata": {"name": "a"}}, Env(NOW, None, Settings())))


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        pytest.param({"labels": {"a/b/c": ""}}, "metadata.labels", id="a label key with two slashes"),
        pytest.param({"labels": {"a": "-"}}, "metadata.labels", id="a label value of a hyphen"),
        pytest.param({"annotations": {"a": "x" * 262145}}, "metadata.annotations", id="annotations over 256 KiB"),
        pytest.param({"finalizers": ["mine"]}, "metadata.finalizers", id="a finalizer without a domain"),
        pytest.param(
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]},
            "metadata.ownerReferences.uid",
            id="an owner without uid",
        ),
        pytest.param({"name": "A"}, "metadata.name", id="a name in capitals"),
    ],
)
def test_broken_metadata_is_refused(metadata, field):
    with pytest.raises(Refused) as refusal:
        Direct().create(SERVICE_ACCOUNT, {"metadata": {"name": "a"} | metadata})
    assert [field] == list(refusal.value.causes)
