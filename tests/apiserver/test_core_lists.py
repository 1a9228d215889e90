"""Do lists show what they should: by version, page by page, selected, and in the form the client asked for?"""

import base64
import json

import pytest
import yaml
from core_server import CONFIG_MAPS, PODS, Server, names
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver.remembered import remembered


@pytest.fixture
def server():
    server = Server()
    for name in "abcde":
        server.config_map(name, labels={"tier": "front" if name in "ab" else "back", "n": str("abcde".index(name))})
    return server


def test_a_list_carries_its_revision_and_the_objects_theirs(server):
    body = server.get(CONFIG_MAPS).body
    assert ("ConfigMapList", "v1", str(server.state.revision)) == (
        body["kind"],
        body["apiVersion"],
        body["metadata"]["resourceVersion"],
    )
    assert [server.get(f"{CONFIG_MAPS}/{name}").body for name in "abcde"] == body["items"]


def test_an_empty_list_is_a_list(server):
    assert [] == server.get(PODS).body["items"]


def test_namespaces_are_apart(server):
    server.create("/api/v1/namespaces", {"metadata": {"name": "default-too"}})
    server.config_map("z", namespace="default-too")
    assert list("abcde") == names(server.get(CONFIG_MAPS))
    assert [*"abcde", "z"] == sorted(names(server.get("/api/v1/configmaps")))


# Selectors

SELECTORS = [
    ("equal", "labelSelector=tier=front", "ab"),
    ("equal, said twice", "labelSelector=tier==front", "ab"),
    ("unequal, which holds where the label is absent", "labelSelector=nothing!=x", "abcde"),
    ("among", "labelSelector=n in (0, 2,4)", "ace"),
    ("not among", "labelSelector=n notin (0,2,4)", "bd"),
    ("present", "labelSelector=tier", "abcde"),
    ("absent", "labelSelector=!tier", ""),
    ("several", "labelSelector=tier=back,n!=3", "ce"),
    ("greater", "labelSelector=n>2", "de"),
    ("less", "labelSelector=n<1", "a"),
    ("an empty value", "labelSelector=tier=", ""),
    ("an empty selector", "labelSelector=", "abcde"),
    ("a name", "fieldSelector=metadata.name=c", "c"),
    ("not a name", "fieldSelector=metadata.name!=c,metadata.name!=d", "abe"),
    ("a name that is not there", "fieldSelector=metadata.name=zz", ""),
    ("a namespace", "fieldSelector=metadata.namespace=other", ""),
    ("label and field", "labelSelector=tier=back&fieldSelector=metadata.name=a", ""),
]


@pytest.mark.parametrize(("query", "expected"), [row[1:] for row in SELECTORS], ids=[row[0] for row in SELECTORS])
def test_selected_by(server, query, expected):
    assert list(expected) == names(
        server.get(f"{CONFIG_MAPS}?{query.replace(' ', '%20')}".replace("<", "%3C").replace(">", "%3E"))
    )


BAD_SELECTORS = [
    ("labelSelector=a%20b", "unable to parse requirement: found 'b'"),
    ("labelSelector=,", "unable to parse requirement: found ','"),
    ("labelSelector=a%20in%20b", "unable to parse requirement: found 'b', expected: '('"),
    ("labelSelector=a%20in%20(b", "unable to parse requirement: found '', expected: ')'"),
    ("labelSelector=a%3Eb", "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators"),
    ("labelSelector=a=b/c", 'unable to parse requirement: values[0]: Invalid value: "b/c": a valid label must be'),
    ("labelSelector=_a=b", 'unable to parse requirement: key: Invalid value: "_a"'),
    ("fieldSelector=spec.x=1", '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"'),
    ("fieldSelector=x", "invalid selector: 'x'; can't understand 'x'"),
    ("limit=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
    ("resourceVersion=x", 'invalid resource version "x": strconv.ParseUint: parsing "x": invalid syntax'),
    ("continue=x", "continue key is not valid"),
    (
        "continue=" + base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":0,"start":"a"}').decode(),
        "continue key is not valid",
    ),
]


@pytest.mark.parametrize(("query", "message"), BAD_SELECTORS)
def test_a_bad_question_is_refused(server, query, message):
    answer = server.get(f"{CONFIG_MAPS}?{query}")
    assert (400, message) == (answer.status, answer.message[: len(message)])


def test_pods_are_selected_by_their_own_fields(server):
    server.node("n1")
    server.pod("p")
    server.pod("q")
    server.bind("p", "n1")
    assert ["p"] == names(server.get(f"{PODS}?fieldSelector=spec.nodeName%3Dn1"))
    assert ["q"] == names(server.get(f"{PODS}?fieldSelector=spec.nodeName%3D"))
    answer = server.get(f"{PODS}?fieldSelector=spec.colour%3Dred")
    assert (400, "field label not supported: spec.colour") == (answer.status, answer.message)


# Versions


def test_a_list_of_an_exact_version_is_what_was_true_then(server):
    then = server.state.revision
    server.delete(f"{CONFIG_MAPS}/a")
    server.config_map("f")
    query = f"resourceVersion={then}&resourceVersionMatch=Exact"
    answer = server.get(f"{CONFIG_MAPS}?{query}")
    assert (list("abcde"), str(then)) == (names(answer), answer.body["metadata"]["resourceVersion"])
    assert list("bcdef") == names(server.get(f"{CONFIG_MAPS}?resourceVersion={then}"))
    assert list("bcdef") == names(server.get(f"{CONFIG_MAPS}?resourceVersion=0&resourceVersionMatch=NotOlderThan"))


def test_the_future_is_not_known(server):
    for url in (
        f"{CONFIG_MAPS}?resourceVersion=99",
        f"{CONFIG_MAPS}/a?resourceVersion=99",
        f"{CONFIG_MAPS}?resourceVersion=99&limit=1",
    ):
        answer = server.get(url)
        assert (504, "Timeout: Too large resource version: 99, current: 6") == (answer.status, answer.message)
        assert [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}] == answer.body["details"][
            "causes"
        ]
        assert ("Retry-After", "1") in answer.headers


def test_what_was_compacted_is_gone(server):
    then = server.state.revision
    server.config_map("f")
    server.state.compact(then + 1)
    answer = server.get(f"{CONFIG_MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")
    assert (410, "Expired", "The resourceVersion for the provided list is too old.") == (
        answer.status,
        answer.body["reason"],
        answer.message,
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("resourceVersionMatch=Exact", "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (
            "resourceVersion=1&resourceVersionMatch=Older",
            'Unsupported value: "Older": supported values: "Exact", "NotOlderThan", ""',
        ),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            'Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"',
        ),
        ("sendInitialEvents=true", "Forbidden: sendInitialEvents is forbidden for list"),
    ],
)
def test_options_that_contradict_each_other(server, query, message):
    answer = server.get(f"{CONFIG_MAPS}?{query}")
    assert (422, "ListOptions", message) == (
        answer.status,
        answer.body["details"]["kind"],
        answer.body["details"]["causes"][0]["message"],
    )


# Pages


def pages(server, query):
    """(names of each page, remaining counts), following continue to the end; the world changes between pages."""
    found, remaining, token, step = [], [], "", 0
    while True:
        answer = server.get(f"{CONFIG_MAPS}?{query}&continue={token}" if token else f"{CONFIG_MAPS}?{query}")
        assert 200 == answer.status, answer.message
        found.append(names(answer))
        meta = answer.body["metadata"]
        remaining.append(meta.get("remainingItemCount"))
        token = meta.get("continue", "")
        if not token:
            return found, remaining
        step += 1
        server.config_map(f"new{step}")


def test_pages_together_are_the_list_as_it_was(server):
    assert ([["a", "b"], ["c", "d"], ["e"]], [3, 1, None]) == pages(server, "limit=2")


def test_selected_pages_leave_out_the_count(server):
    assert ([["c", "d"], ["e"]], [None, None]) == pages(server, "limit=2&labelSelector=tier%3Dback")


def test_a_full_last_page_has_no_successor(server):
    assert ([list("abcde")], [None]) == pages(server, "limit=5")


@given(st.integers(1, 7), st.lists(st.sampled_from("abcdefgh"), max_size=12))
def test_pages_together_are_the_list_as_it_was_whatever_happens(limit, toggled):
    server = Server()
    for name in "bdfh":
        server.config_map(name)
    expected = server.get(CONFIG_MAPS).body["items"]
    answer = server.get(f"{CONFIG_MAPS}?limit={limit}")
    found = answer.body["items"]
    changes = iter(toggled)
    while token := answer.body["metadata"].get("continue"):
        name = next(changes, "a")
        if server.delete(f"{CONFIG_MAPS}/{name}").status == 404:
            server.config_map(name)
        left = answer.body["metadata"]["remainingItemCount"]
        assert len(expected) == len(found) + left
        answer = server.get(f"{CONFIG_MAPS}?limit={limit}&continue={token}")
        found += answer.body["items"]
    assert expected == found


def test_an_expired_page_offers_a_token_that_goes_on_regardless(server):
    token = server.get(f"{CONFIG_MAPS}?limit=2").body["metadata"]["continue"]
    server.config_map("f")
    server.delete(f"{CONFIG_MAPS}/d")
    server.state.compact(server.state.revision)
    answer = server.get(f"{CONFIG_MAPS}?limit=2&continue={token}")
    assert (410, "Expired") == (answer.status, answer.body["reason"])
    assert answer.message.startswith("The provided continue parameter is too old to display a consistent list result.")
    again = answer.body["metadata"]["continue"]
    assert ["c", "e"] == names(server.get(f"{CONFIG_MAPS}?limit=2&continue={again}"))


def test_a_continued_list_takes_no_version(server):
    token = server.get(f"{CONFIG_MAPS}?limit=2").body["metadata"]["continue"]
    answer = server.get(f"{CONFIG_MAPS}?continue={token}&resourceVersion=3")
    assert (400, "specifying resource version is not allowed when using continue") == (answer.status, answer.message)
    assert 200 == server.get(f"{CONFIG_MAPS}?continue={token}&resourceVersion=0").status


# Forms

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"


def test_kubectl_gets_a_table(server):
    body = server.get(CONFIG_MAPS, accept=TABLE).body
    assert ("Table", "meta.k8s.io/v1") == (body["kind"], body["apiVersion"])
    assert ["Name", "Data", "Age"] == [column["name"] for column in body["columnDefinitions"]]
    assert ["a", 1, "0s"] == body["rows"][0]["cells"]
    row = body["rows"][0]["object"]
    assert ("PartialObjectMetadata", server.get(f"{CONFIG_MAPS}/a").body["metadata"]) == (row["kind"], row["metadata"])
    assert "data" not in row


@pytest.mark.parametrize("path", ["", "/a"])
@pytest.mark.parametrize(
    ("include", "expected"), [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")]
)
def test_rows_carry_what_was_asked(server, path, include, expected):
    row = server.get(f"{CONFIG_MAPS}{path}?includeObject={include}", accept=TABLE).body["rows"][0]
    assert expected == row.get("object", {}).get("kind")


def test_metadata_alone(server):
    body = server.get(CONFIG_MAPS, accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").body
    assert ("PartialObjectMetadataList", "meta.k8s.io/v1") == (body["kind"], body["apiVersion"])
    assert ["PartialObjectMetadata"] * 5 == [item["kind"] for item in body["items"]]
    one = server.get(f"{CONFIG_MAPS}/a", accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").body
    assert one == body["items"][0]
    assert {"kind", "apiVersion", "metadata"} == one.keys()


ACCEPTS = [
    ("anything", "*/*", "application/json"),
    ("nothing said", "", "application/json"),
    ("protobuf, else JSON", "application/vnd.kubernetes.protobuf,application/json", "application/json"),
    ("YAML", "application/yaml", "application/yaml"),
    ("YAML rather than JSON", "application/json;q=0.5, application/yaml", "application/yaml"),
    (
        "a table of an unknown version, else JSON",
        "application/json;as=Table;v=v9;g=meta.k8s.io,application/json",
        "application/json",
    ),
]


@pytest.mark.parametrize(("accept", "expected"), [row[1:] for row in ACCEPTS], ids=[row[0] for row in ACCEPTS])
def test_the_answer_comes_as(server, accept, expected):
    response = server.get(f"{CONFIG_MAPS}/a", accept=accept).response
    read = yaml.safe_load if expected == "application/yaml" else json.loads
    assert (200, expected) == (response.status, response.content_type)
    assert "a" == read(response.body)["metadata"]["name"]


@pytest.mark.parametrize(
    ("url", "accept"),
    [
        (CONFIG_MAPS, "application/vnd.kubernetes.protobuf"),
        (CONFIG_MAPS, "text/html"),
        (CONFIG_MAPS, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
        (f"{CONFIG_MAPS}/a", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
        (f"{CONFIG_MAPS}/a", "application/json;as=Spam;v=v1;g=meta.k8s.io"),
    ],
)
def test_what_cannot_be_given_is_not_acceptable(server, url, accept):
    answer = server.get(url, accept=accept)
    assert (406, "NotAcceptable") == (answer.status, answer.body["reason"])


def test_an_answer_that_cannot_be_given_is_refused_before_anything_is_written(server):
    before = server.state.revision
    answer = server.create(CONFIG_MAPS, {"metadata": {"name": "z"}}, accept="text/html")
    assert (406, before) == (answer.status, server.state.revision)


def test_pretty(server):
    text = server.get(f"{CONFIG_MAPS}/a?pretty=true").response.body.decode()
    assert text.startswith('{\n  "kind"') and text.endswith("}\n")


def test_what_is_long_is_not_remembered():
    asked = []

    @remembered(2, shorter=4)
    def size(word: str, text: str) -> int:
        asked.append(text)
        return len(text)

    assert [3, 3, 4, 4] == [size("a", text) for text in ("abc", "abc", "long", "long")]
    assert ["abc", "long", "long"] == asked
