"""Never back in time: what a cache believes of lists and events, in any order."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.control.cache import Cache
from mooring.model.kinds import CONFIG_MAP, ENDPOINT_SLICE, POD, SERVICE, Kind

Document = dict[str, Any]


def document(name: str, revision: int, namespace: str = "default", **metadata: Any) -> Document:
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(revision), "uid": name, **metadata}}


def cache(kind: Kind = CONFIG_MAP) -> Cache[Document]:
    return Cache(kind, lambda each: each)


def names(held: Iterable[Document]) -> set[str]:
    return {each["metadata"]["name"] for each in held}


def test_an_object_appears_changes_and_goes() -> None:
    held = cache()
    first, second, last = document("a", 1), document("a", 2), document("a", 3)
    assert (None, first) == held.put(first)
    assert (first, second) == held.put(second)
    assert (second, None) == held.remove(last)
    assert held.get("default", "a") is None
    assert len(held) == 0


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(document("a", 5), id="the same version again"),
        pytest.param(document("a", 4), id="an older version"),
    ],
)
def test_what_is_not_newer_is_dropped(late: Document) -> None:
    held = cache()
    held.put(document("a", 5))
    assert held.put(late) is None
    assert held.get("default", "a")["metadata"]["resourceVersion"] == "5"  # type: ignore[index]


def test_an_old_event_does_not_bring_a_deleted_object_back() -> None:
    held = cache()
    held.put(document("a", 5))
    held.remove(document("a", 7))
    assert held.put(document("a", 6)) is None
    assert (None, document("a", 8)) == held.put(document("a", 8))


def test_a_deletion_older_than_what_is_held_is_dropped() -> None:
    held = cache()
    held.put(document("a", 9))
    assert held.remove(document("a", 8)) is None
    assert {"a"} == names(held.list())


def test_a_list_tells_what_was_deleted_changed_and_added_in_the_gap() -> None:
    held = cache()
    for each in (document("gone", 1), document("changed", 2), document("same", 3)):
        held.put(each)
    steps = list(held.replace([document("changed", 5), document("same", 3), document("new", 6)], 7))
    assert [
        (document("gone", 1), None),
        (document("changed", 2), document("changed", 5)),
        (None, document("new", 6)),
    ] == steps


def test_events_up_to_a_list_or_bookmark_are_already_known() -> None:
    held = cache()
    list(held.replace([document("a", 3)], 10))
    assert held.put(document("b", 9)) is None
    held.bookmark(20)
    assert held.put(document("c", 15)) is None
    assert held.revision(("default", "c")) == 20
    assert held.put(document("c", 21)) is not None


def test_a_list_of_a_store_that_was_put_back_is_believed() -> None:
    held = cache()
    list(held.replace([document("a", 100), document("b", 90)], 100))
    steps = list(held.replace([document("a", 5)], 6))
    assert [(document("b", 90), None), (document("a", 100), document("a", 5))] == steps
    assert held.put(document("c", 7)) is not None


def test_what_the_view_refuses_counts_as_absent() -> None:
    refused: list[str] = []

    def view(each: Document) -> Document:
        if each["metadata"].get("bad"):
            raise ValueError("bad")
        return each

    held = Cache(CONFIG_MAP, view, lambda each, error: refused.append(each["metadata"]["name"]))
    held.put(document("a", 1))
    assert (document("a", 1), None) == held.put(document("a", 2, bad=True))
    assert list(held.replace([document("b", 3, bad=True)], 4)) == []
    assert refused == ["a", "b"]
    assert len(held) == 0


def pod(name: str, revision: int, node: str, labels: dict[str, str], owner: str) -> Document:
    references = [{"uid": owner, "controller": True}, {"uid": "another"}]
    return {**document(name, revision, labels=labels, ownerReferences=references), "spec": {"nodeName": node}}


def test_pods_are_found_by_node_label_and_owner() -> None:
    held = cache(POD)
    held.put(pod("a", 1, "n1", {"app": "web"}, "rs1"))
    held.put(pod("b", 2, "n2", {"app": "web"}, "rs2"))
    assert {"a", "b"} == names(held.indexed("label", "default/app=web"))
    assert {"b"} == names(held.indexed("node", "n2"))
    assert {"a"} == names(held.indexed("owner", "rs1"))
    held.put(pod("a", 3, "n2", {"app": "db"}, "rs1"))
    assert {"b"} == names(held.indexed("label", "default/app=web"))
    assert {"a", "b"} == names(held.indexed("node", "n2"))
    held.remove(pod("b", 4, "n2", {}, "rs2"))
    assert {"a"} == names(held.indexed("node", "n2"))


def test_services_are_found_by_one_pair_of_their_selector_and_slices_by_service() -> None:
    services, slices = cache(SERVICE), cache(ENDPOINT_SLICE)
    services.put({**document("web", 1), "spec": {"selector": {"tier": "x", "app": "web"}}})
    slices.put(document("web-1", 1, labels={"kubernetes.io/service-name": "web"}))
    assert {"web"} == names(services.indexed("selector", "default/app=web"))
    assert set() == names(services.indexed("selector", "default/tier=x"))
    assert {"web-1"} == names(slices.indexed("service", "default/web"))


def test_an_index_that_a_kind_does_not_have_is_an_error() -> None:
    with pytest.raises(KeyError, match="configmaps have no index 'node'"):
        cache().indexed("node", "a")


Event = tuple[str, int, bool]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.randoms())
def test_dropped_doubled_and_reordered_events_end_where_the_last_word_of_each_object_says(
    history: list[tuple[str, bool]], rng: Any
) -> None:
    events: list[Event] = [(name, revision, alive) for revision, (name, alive) in enumerate(history, 1)]
    last = {name: (revision, alive) for name, revision, alive in events}
    final = [(name, *word) for name, word in last.items()]
    disorder = [event for event in events if rng.random() < 0.7] + events[::2] + final
    rng.shuffle(disorder)
    held = cache()
    for name, revision, alive in disorder:
        (held.put if alive else held.remove)(document(name, revision))
    assert {name for name, (_, alive) in last.items() if alive} == names(held.list())
