"""Does a watcher hear of every change its selectors see, once, in order, in the form it asked for?"""

import json

import pytest
from core_server import CONFIG_MAPS, Server, names
from hypothesis import given
from hypothesis import strategies as st

from mooring.apiserver.contract import Response


@pytest.fixture
def server():
    server = Server()
    server.config_map("a", labels={"x": "y"})
    return server


def test_changes_are_told_in_order(server):
    watching = server.watch(f"{CONFIG_MAPS}?watch=true&resourceVersion={server.state.revision}")
    server.config_map("b")
    server.patch(f"{CONFIG_MAPS}/b", {"data": {"x": "1"}})
    server.delete(f"{CONFIG_MAPS}/a")
    server.create("/api/v1/namespaces", {"metadata": {"name": "other"}})
    server.config_map("elsewhere", namespace="other")
    frames = watching.frames()
    assert [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a")] == [
        (f["type"], f["object"]["metadata"]["name"]) for f in frames
    ]
    assert ["3", "4", "5"] == [frame["object"]["metadata"]["resourceVersion"] for frame in frames]
    assert server.get(f"{CONFIG_MAPS}/b").body == frames[1]["object"]
    assert {"name": "a"} == frames[2]["object"]["data"]


@pytest.mark.parametrize("query", ["", "&resourceVersion=0"])
def test_without_a_version_what_is_there_comes_first(server, query):
    watching = server.watch(f"{CONFIG_MAPS}?watch=1{query}")
    server.config_map("b")
    assert [("ADDED", "a"), ("ADDED", "b")] == watching.told()


@pytest.mark.parametrize("watch", ["false", "0"])
def test_watch_false_is_a_list(server, watch):
    assert ["a"] == names(server.get(f"{CONFIG_MAPS}?watch={watch}"))


def test_an_object_comes_and_goes_as_the_selector_sees_it(server):
    watching = server.watch(f"{CONFIG_MAPS}?watch=1&resourceVersion={server.state.revision}&labelSelector=x%3Dy")
    server.config_map("b")
    server.patch(f"{CONFIG_MAPS}/b", {"metadata": {"labels": {"x": "y"}}})
    server.patch(f"{CONFIG_MAPS}/b", {"data": {"more": "1"}})
    server.patch(f"{CONFIG_MAPS}/b", {"metadata": {"labels": {"x": "z"}}})
    server.delete(f"{CONFIG_MAPS}/b")
    server.delete(f"{CONFIG_MAPS}/a")
    frames = watching.frames()
    assert [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "b"), ("DELETED", "a")] == [
        (frame["type"], frame["object"]["metadata"]["name"]) for frame in frames
    ]
    gone = frames[2]["object"]["metadata"]
    assert ({"x": "y"}, "6") == (gone["labels"], gone["resourceVersion"])


@pytest.mark.parametrize(
    "url", [f"{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Da", "/api/v1/watch/namespaces/default/configmaps/a"]
)
def test_one_object_alone(server, url):
    watching = server.watch(url)
    server.config_map("a-longer-name")
    server.patch(f"{CONFIG_MAPS}/a", {"data": {"x": "1"}})
    assert [("ADDED", "a"), ("MODIFIED", "a")] == watching.told()


@pytest.mark.parametrize("url", ["/api/v1/watch/configmaps", "/api/v1/watch/namespaces/default/configmaps"])
def test_the_old_watch_paths(server, url):
    assert [("ADDED", "a")] == server.watch(url).told()


def error_of(outcome):
    assert isinstance(outcome, Response) and outcome.status == 200
    (line,) = outcome.body.splitlines()
    frame = json.loads(line)
    assert "ERROR" == frame["type"]
    return frame["object"]["code"], frame["object"]["reason"], frame["object"]["message"]


def test_a_version_too_old_is_told_in_the_stream(server):
    server.config_map("b")
    server.config_map("c")
    server.state.compact(3)
    outcome = server.decide("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=2")
    assert (410, "Expired", "too old resource version: 2 (3)") == error_of(outcome)


@pytest.mark.parametrize("more", ["", "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1"])
def test_a_version_from_the_future_is_told_in_the_stream(server, more):
    outcome = server.decide("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=99{more}")
    assert (504, "Timeout", "Timeout: Too large resource version: 99, current: 2") == error_of(outcome)


def test_a_bad_selector_is_refused_plainly(server):
    assert 400 == server.get(f"{CONFIG_MAPS}?watch=1&labelSelector=a%20b").status
    assert 406 == server.get(f"{CONFIG_MAPS}?watch=1", accept="application/yaml").status


# Bookmarks and initial events


def test_bookmarks_come_only_when_asked_for(server):
    assert server.watch(f"{CONFIG_MAPS}?watch=1").watch.bookmark(7) is None
    frame = json.loads(server.watch(f"{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true").watch.bookmark(7))
    assert ("BOOKMARK", "ConfigMap", "7") == (
        frame["type"],
        frame["object"]["kind"],
        frame["object"]["metadata"]["resourceVersion"],
    )


def test_initial_events_end_with_a_marked_bookmark(server):
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&resourceVersion=1"
    frames = server.watch(f"{CONFIG_MAPS}?{query}").frames()
    assert ["ADDED", "BOOKMARK"] == [frame["type"] for frame in frames]
    assert {"k8s.io/initial-events-end": "true"} == frames[1]["object"]["metadata"]["annotations"]
    assert str(server.state.revision) == frames[1]["object"]["metadata"]["resourceVersion"]


def test_initial_events_may_be_declined(server):
    query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan"
    assert [] == server.watch(f"{CONFIG_MAPS}?{query}").frames()


@pytest.mark.parametrize(
    "query",
    [
        "sendInitialEvents=true&allowWatchBookmarks=true",
        "sendInitialEvents=true&resourceVersionMatch=Exact&allowWatchBookmarks=true",
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
        "resourceVersionMatch=NotOlderThan&resourceVersion=1",
    ],
)
def test_initial_events_need_their_other_options(server, query):
    answer = server.get(f"{CONFIG_MAPS}?watch=1&{query}")
    assert (422, "ListOptions") == (answer.status, answer.body["details"]["kind"])


# Forms

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def test_kubectl_watches_tables_and_ages_are_those_of_the_moment(server):
    watching = server.watch(f"{CONFIG_MAPS}?watch=1", accept=TABLE)
    (first,) = watching.frames()
    assert ("ADDED", "Table", ["a", 1, "0s"]) == (first["type"], first["object"]["kind"], first["object"]["rows"][0]["cells"])
    assert ["Name", "Data", "Age"] == [column["name"] for column in first["object"]["columnDefinitions"]]
    assert "a" == first["object"]["rows"][0]["object"]["metadata"]["name"]
    server.pass_time(90)
    server.delete(f"{CONFIG_MAPS}/a")
    (gone,) = watching.frames()
    assert ("DELETED", ["a", 1, "90s"]) == (gone["type"], gone["object"]["rows"][0]["cells"])


def test_metadata_alone(server):
    accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    watching = server.watch(f"{CONFIG_MAPS}?watch=1&allowWatchBookmarks=1", accept=accept)
    (frame,) = watching.frames()
    assert {"kind", "apiVersion", "metadata"} == frame["object"].keys()
    assert "PartialObjectMetadata" == json.loads(watching.watch.bookmark(9))["object"]["kind"]


# Sharing and time


def test_watchers_with_the_same_question_share_their_lines(server):
    def share(query="", **options):
        return server.watch(f"{CONFIG_MAPS}?watch=1{query}", **options).watch.share

    assert share() == share("&resourceVersion=1&allowWatchBookmarks=1&timeoutSeconds=3")
    others = [share("&labelSelector=x"), share("&fieldSelector=metadata.name%3Da"), share(accept=TABLE)]
    others.append(share("&includeObject=None", accept=TABLE))
    assert len({hash(one) for one in (share(), *others)}) == 5
    assert share() != server.watch("/api/v1/configmaps?watch=1").watch.share


def test_a_watch_lasts_as_long_as_asked_or_half_an_hour_to_an_hour(server):
    assert 5.0 == server.watch(f"{CONFIG_MAPS}?watch=1&timeoutSeconds=5").watch.timeout
    assert 1800 <= server.watch(f"{CONFIG_MAPS}?watch=1").watch.timeout <= 3600


# List and watch together

STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "touch", "label", "unlabel", "delete"]), st.sampled_from("abcd")), max_size=25
)


def take(server: Server, step: str, name: str) -> None:
    url = f"{CONFIG_MAPS}/{name}"
    match step:
        case "create":
            server.config_map(name)
        case "touch":
            server.patch(url, {"data": {"at": str(server.state.revision)}})
        case "label":
            server.patch(url, {"metadata": {"labels": {"seen": "yes"}}})
        case "unlabel":
            server.patch(url, {"metadata": {"labels": {"seen": None}}})
        case "delete":
            server.delete(url)


SELECTORS = (
    "",
    "&labelSelector=seen%3Dyes",
    "&labelSelector=other%21%3Dno,seen%3Dyes",
    "&labelSelector=seen%3D",
    "&labelSelector=seen%21%3Dyes",
    "&fieldSelector=metadata.name%21%3Da",
    "&fieldSelector=metadata.namespace%3Ddefault,metadata.name%21%3Da",
)


@given(STEPS, STEPS, st.sampled_from(SELECTORS))
def test_a_list_and_the_watch_from_it_lead_to_the_next_list(before, after, selector):
    server = Server()
    for step, name in before:
        take(server, step, name)
    listed = server.get(f"{CONFIG_MAPS}?x=y{selector}").body
    state = {item["metadata"]["name"]: item for item in listed["items"]}
    watching = server.watch(f"{CONFIG_MAPS}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}{selector}")
    for step, name in after:
        take(server, step, name)
    for frame in watching.frames():
        name = frame["object"]["metadata"]["name"]
        assert (frame["type"] != "ADDED") == (name in state)
        if frame["type"] == "DELETED":
            del state[name]
        else:
            state[name] = frame["object"]
    assert {item["metadata"]["name"]: item for item in server.get(f"{CONFIG_MAPS}?x=y{selector}").body["items"]} == state
