"""Definitions: their names, versions, conditions, and what may not be."""

import pytest
from custom_definitions import API_VERSION, GROUP, Defined, causes, definition, object_of, version
from direct import Direct, Refused

from mooring.model.kinds import CUSTOM_RESOURCE_DEFINITION as KIND

NAME = f"crontabs.{GROUP}"


def conditions(document):
    return {each["type"]: (each["status"], each["reason"]) for each in document["status"]["conditions"]}


def test_a_definition_is_established_with_the_answer_to_its_creation():
    server = Defined()
    made = server.define(definition(names={"shortNames": ["ct"], "categories": ["all"]}))
    assert {"NamesAccepted": ("True", "NoConflicts"), "Established": ("True", "InitialNamesAccepted")} == conditions(made)
    assert made["status"]["acceptedNames"] == {
        "plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList", "shortNames": ["ct"],
        "categories": ["all"],
    }  # fmt: skip
    assert ["v1"] == made["status"]["storedVersions"]
    assert {"strategy": "None"} == made["spec"]["conversion"]
    assert (1, "one") == (made["metadata"]["generation"], server.make({})["metadata"]["name"])


def test_discovery_knows_the_kind():
    server = Defined(definition(version(subresources={"status": {}}), names={"shortNames": ["ct"], "categories": ["all"]}))
    served = server.send("GET", f"/apis/{API_VERSION}")["resources"]
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    assert ["crontabs", "crontabs/status"] == [each["name"] for each in served]
    assert (verbs, ["ct"], ["all"], True) == tuple(
        served[0][name] for name in ("verbs", "shortNames", "categories", "namespaced")
    )
    assert GROUP in [each["name"] for each in server.send("GET", "/apis")["groups"]]
    assert f"/apis/{API_VERSION}" in server.send("GET", "/")["paths"]


def test_versions_are_offered_in_the_order_in_which_they_are_preferred():
    names = ["v1beta1", "v10", "foo", "v2", "v1alpha3", "v1beta2"]
    server = Defined(definition(*(version(name, storage=name == "v2") for name in names)))
    group = server.send("GET", f"/apis/{GROUP}")
    assert ["v10", "v2", "v1beta2", "v1beta1", "v1alpha3", "foo"] == [each["version"] for each in group["versions"]]


def test_a_version_that_is_not_served_is_not_there():
    server = Defined(definition(version(), version("v2", storage=False) | {"served": False}))
    with pytest.raises(Refused) as refusal:
        server.make({}, version="v2")
    assert 404 == refusal.value.code


BAD = {
    "a name that is not its own": (
        lambda d: d["metadata"].update(name="other.example.com"),
        "metadata.name",
        'must be spec.names.plural+"."+spec.group',
    ),
    "a group without a dot": (
        lambda d: (d["spec"].update(group="example"), d["metadata"].update(name="crontabs.example")),
        "spec.group",
        'Invalid value: "example": should be a domain with at least one dot',
    ),
    "no scope": (lambda d: d["spec"].pop("scope"), "spec.scope", "Required value"),
    "a scope that is none": (
        lambda d: d["spec"].update(scope="Galaxy"),
        "spec.scope",
        'Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"',
    ),
    "no kind": (lambda d: d["spec"]["names"].pop("kind"), "spec.names.kind", "Required value"),
    "a kind that is no word": (
        lambda d: d["spec"]["names"].update(kind="Cron_Tab"),
        "spec.names.kind",
        "may have mixed case, but should otherwise match",
    ),
    "a list kind that is the kind": (
        lambda d: d["spec"]["names"].update(listKind="CronTab"),
        "spec.names.listKind",
        "kind and listKind may not be the same",
    ),
    "a version twice": (
        lambda d: d["spec"]["versions"].append(version(storage=False)),
        "spec.versions",
        "must contain unique version names",
    ),
    "nothing stored": (
        lambda d: d["spec"]["versions"][0].update(storage=False),
        "spec.versions",
        "must have exactly one version marked as storage version",
    ),
    "a version's name": (
        lambda d: d["spec"]["versions"][0].update(name="V1"),
        "spec.versions[0].name",
        "a DNS-1035 label must consist of",
    ),
    "a version without a name": (
        lambda d: d["spec"]["versions"][0].pop("name"),
        "spec.versions[0].name",
        "a DNS-1035 label must consist of",
    ),
    "a warning without deprecation": (
        lambda d: d["spec"]["versions"][0].update(deprecationWarning="x"),
        "spec.versions[0].deprecationWarning",
        "can only be set for deprecated versions",
    ),
    "unknown fields kept everywhere": (
        lambda d: d["spec"].update(preserveUnknownFields=True),
        "spec.preserveUnknownFields",
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
    ),
    "a column without a type": (
        lambda d: d["spec"]["versions"][0].update(additionalPrinterColumns=[{"name": "A", "jsonPath": ".a", "type": ""}]),
        "spec.additionalPrinterColumns[0].type",
        "Required value: must be one of boolean,date,integer,number,string",
    ),
    "a column's path": (
        lambda d: d["spec"]["versions"][0].update(additionalPrinterColumns=[{"name": "A", "jsonPath": "a", "type": "string"}]),
        "spec.additionalPrinterColumns[0].JSONPath",
        "must be a simple json path starting with .",
    ),
    "replicas outside of the spec": (
        lambda d: d["spec"]["versions"][0].update(
            subresources={"scale": {"specReplicasPath": ".metadata.x", "statusReplicasPath": ".status.r"}}
        ),
        "spec.subresources.scale.specReplicasPath",
        "should be a json path under .spec",
    ),
    "a selectable field that is an object": (
        lambda d: d["spec"]["versions"][0].update(selectableFields=[{"jsonPath": ".spec"}]),
        "spec.selectableFields[0].jsonPath",
        "must point to a field of type string, boolean or integer",
    ),
    "a selectable field that is not there": (
        lambda d: d["spec"]["versions"][0].update(selectableFields=[{"jsonPath": ".nope"}]),
        "spec.selectableFields[0].jsonPath",
        "is an invalid path: does not refer to a valid field",
    ),
    "a conversion that is none": (
        lambda d: d["spec"].update(conversion={"strategy": "Magic"}),
        "spec.conversion.strategy",
        'Unsupported value: "Magic": supported values: "None", "Webhook"',
    ),
    "a webhook without a place": (
        lambda d: d["spec"].update(conversion={"strategy": "Webhook"}),
        "spec.conversion.webhookClientConfig",
        "Required value: required when strategy is set to Webhook",
    ),
    "a webhook over plain HTTP": (
        lambda d: d["spec"].update(
            conversion={
                "strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "http://example.com"}},
            }
        ),
        "spec.conversion.webhookClientConfig.url",
        "'https' is the only allowed URL scheme; desired format: https://host[/path]",
    ),
    "reviews of no version we know": (
        lambda d: d["spec"].update(
            conversion={
                "strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v9"], "clientConfig": {"url": "https://example.com"}},
            }
        ),
        "spec.conversion.conversionReviewVersions",
        "must include at least one of v1, v1beta1",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_definition_is_refused_for(case):
    spoil, field, message = BAD[case]
    document = definition()
    spoil(document)
    found = causes(document)
    assert field in found, found
    assert message in found[field]


def test_groups_of_the_community_need_approval():
    document = definition()
    document["spec"]["group"], document["metadata"]["name"] = "x.k8s.io", "crontabs.x.k8s.io"
    (why,) = causes(document).values()
    assert 'protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/' in why
    document["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.com/1"}
    made = Defined().define(document)
    assert ("True", "ApprovedAnnotation") == conditions(made)["KubernetesAPIApprovalPolicyConformant"]


def test_what_the_server_has_itself_cannot_be_defined():
    """Its records would be another version's, free of the kind's own rules, and go with the definition."""
    document = definition(version("v1beta9"), plural="roles", kind="Role")
    document["spec"]["group"] = "rbac.authorization.k8s.io"
    document["metadata"] = {
        "name": "roles.rbac.authorization.k8s.io", "annotations": {"api-approved.kubernetes.io": "https://example.com/1"},
    }  # fmt: skip
    assert ["spec.names.plural"] == list(causes(document))


def test_names_of_others_are_waited_for():
    first = definition(names={"shortNames": ["ct"]})
    second = definition(plural="others", kind="CronTab", names={"shortNames": ["ct", "ot"]})
    server = Defined(first)
    waiting = server.define(second)
    assert {"NamesAccepted": ("False", "ShortNamesConflict"), "Established": ("False", "NotAccepted")} == conditions(waiting)
    assert '"CronTab" is already in use' in str(waiting["status"]["conditions"])
    with pytest.raises(Refused) as refusal:
        server.send("GET", server.path(plural="others"))
    assert 404 == refusal.value.code
    gone(server, NAME)
    assert ("True", "InitialNamesAccepted") == conditions(server.get(KIND, f"others.{GROUP}"))["Established"]
    assert [] == server.send("GET", server.path(plural="others"))["items"]


def gone(server: Direct, name: str) -> None:
    """Deletes a definition as its controller ends it."""
    server.delete(KIND, name)
    held = server.get(KIND, name)
    assert ("True", "InstanceDeletionPending") == conditions(held)["Terminating"]
    held["metadata"]["finalizers"] = []
    server.update(KIND, held)


def test_a_definition_that_goes_takes_nothing_new_and_waits_for_what_there_is():
    server = Defined(definition())
    server.make({})
    server.delete(KIND, NAME)
    with pytest.raises(Refused) as refusal:
        server.make({}, name="two")
    assert (405, "create not allowed while custom resource definition is terminating") == (
        refusal.value.code,
        refusal.value.message,
    )
    held = server.get(KIND, NAME)
    assert ["customresourcecleanup.apiextensions.k8s.io"] == held["metadata"]["finalizers"]
    held["metadata"]["finalizers"] = []
    with pytest.raises(Refused, match="its objects go first, 1 are left"):
        server.update(KIND, held)
    server.send("DELETE", server.path("one"))
    server.update(KIND, held)
    for path in (server.path(), f"/apis/{API_VERSION}"):
        with pytest.raises(Refused) as refusal:
            server.send("GET", path)
        assert 404 == refusal.value.code


def test_what_cannot_be_changed():
    server = Defined(definition())
    other = definition()
    other["spec"]["scope"] = "Cluster"
    other["spec"]["names"]["kind"] = "Other"
    with pytest.raises(Refused) as refusal:
        server.redefine(other)
    assert {"spec.scope", "spec.names.kind"} == set(refusal.value.causes)
    assert "field is immutable" in refusal.value.causes["spec.scope"]


def test_a_version_that_was_stored_stays_until_it_is_taken_off_the_list():
    server = Defined(definition(version("v1"), version("v2", storage=False)))
    moved = server.redefine(definition(version("v1", storage=False), version("v2")))
    assert ["v1", "v2"] == moved["status"]["storedVersions"]
    with pytest.raises(Refused, match=r"v1 was previously a storage version, and must remain in spec\.versions"):
        server.redefine(definition(version("v2")))
    held = server.get(KIND, NAME)
    held["status"]["storedVersions"] = ["v2"]
    server.update(KIND, held, "status")
    assert ["v2"] == server.redefine(definition(version("v2")))["status"]["storedVersions"]


def test_a_definition_of_a_kind_that_is_built_in_hides_nothing():
    server = Defined()
    document = definition(version("v1"), plural="deployments", kind="Deployment")
    document["spec"]["group"], document["metadata"]["name"] = "example.apps", "deployments.example.apps"
    server.define(document)
    assert [] == server.send("GET", "/apis/apps/v1/deployments")["items"]


def test_cluster_scoped_kinds_have_no_namespace():
    server = Defined(definition(scope="Cluster"))
    made = server.send(
        "POST", f"/apis/{API_VERSION}/crontabs", {"apiVersion": API_VERSION, "kind": "CronTab", "metadata": {"name": "a"}}
    )
    assert "namespace" not in made["metadata"]


def test_the_openapi_documents_show_the_schema():
    spec = object_of(
        port={"x-kubernetes-int-or-string": True, "description": "Where."}, many={"type": "array", "items": {"type": "string"}}
    )
    server = Defined(
        definition(
            version(spec=spec, subresources={"scale": {"specReplicasPath": ".spec.r", "statusReplicasPath": ".status.r"}})
        )
    )
    index = server.send("GET", "/openapi/v3")["paths"]
    shown = server.send("GET", index[f"apis/{API_VERSION}"]["serverRelativeURL"].partition("?")[0])
    schema = shown["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert [{"group": GROUP, "kind": "CronTab", "version": "v1"}] == schema["x-kubernetes-group-version-kind"]
    assert "Where." == schema["properties"]["spec"]["properties"]["port"]["description"]
    assert "io.k8s.api.autoscaling.v1.Scale" in shown["components"]["schemas"]
    assert f"/apis/{API_VERSION}/namespaces/{{namespace}}/crontabs/{{name}}/scale" in shown["paths"]
    whole = server.send("GET", "/openapi/v2")
    assert "type" not in whole["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"]["properties"]["port"]
    assert "io.k8s.api.core.v1.Pod" in whole["definitions"]
    before = index[f"apis/{API_VERSION}"]["serverRelativeURL"]
    server.redefine(definition(version()))
    assert before != server.send("GET", "/openapi/v3")["paths"][f"apis/{API_VERSION}"]["serverRelativeURL"]
