"""What is an xDS client told, in which order, and what never?"""

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds_client import Client, Texts, snapshot

from mooring.edges.envoy.stream import PATIENCE, Verdict
from mooring.routing.xds.wire import CLUSTER, ENDPOINTS, ROUTES, SECRET

WHOLE = {"cluster/c": "1", "endpoints/c": "1", "listener/l": "1", "routes/r": "1", "secret/s": "1"}


def settled(texts: Texts = WHOLE, linger: float = 5.0) -> Client:
    client = Client(linger)
    client.ask("cluster")
    client.settle(snapshot(texts, {"c": "c"}))
    client.ask("endpoints", "c")
    client.settle(snapshot(texts, {"c": "c"}))
    client.ask("listener")
    client.ask("routes", "r")
    client.ask("secret", "s")
    client.settle(snapshot(texts, {"c": "c"}))
    return client


def test_a_new_client_is_told_all_it_asks_for_and_then_nothing_more() -> None:
    now = snapshot(WHOLE, {"c": "c"})
    client = Client()
    for kind, names in (("cluster", ()), ("endpoints", ("c",)), ("listener", ()), ("routes", ("r",)), ("secret", ("s",))):
        client.ask(kind, *names)
    first = client.settle(now)
    assert ["cluster/c@1", "endpoints/c@1", "secret/s@1", "listener/l@1", "routes/r@1"] == first
    assert [] == client.settle(now)


def test_routes_wait_until_new_clusters_have_their_endpoints() -> None:
    client = settled()
    now = snapshot(WHOLE | {"cluster/d": "1", "endpoints/d": "1", "routes/r": "2"}, {"c": "c", "d": "d"})
    assert ["cluster/d@1"] == client.told(now)
    client.accept("cluster")
    assert [] == client.told(now)
    client.ask("endpoints", "d")
    assert ["endpoints/d@1"] == client.told(now)
    assert [] == client.told(now)
    client.accept("endpoints")
    assert ["routes/r@2"] == client.told(now)


def test_routes_do_not_wait_for_ever_for_a_client_that_asks_for_no_endpoints() -> None:
    client = settled()
    now = snapshot(WHOLE | {"cluster/d": "1", "endpoints/d": "1", "routes/r": "2"}, {"c": "c", "d": "d"})
    assert ["cluster/d@1"] == client.settle(now)
    assert PATIENCE == client.stream.again_at
    client.now = PATIENCE
    assert ["routes/r@2"] == client.settle(now)
    more = snapshot(WHOLE | {"cluster/d": "1", "endpoints/d": "1", "routes/r": "3"}, {"c": "c", "d": "d"})
    assert ["routes/r@3"] == client.settle(more)


def test_routes_of_a_slow_client_go_on_and_name_no_cluster_that_it_lacks_while_clusters_come_without_end() -> None:
    client = settled()
    texts, assignments = dict(WHOLE), {"c": "c"}
    asked, had, routes = 0, 0, 0
    for step in range(1, 60):
        client.now = step * PATIENCE / 10
        texts |= {f"cluster/{step}": "1", f"endpoints/{step}": "1", "routes/r": f"{step}"}
        assignments = {**assignments, f"{step}": f"{step}"}
        for text in client.told(snapshot(texts, assignments)):
            if text.startswith("routes"):
                routes += 1
                assert int(text.partition("@")[2]) <= had
        if step % 3 == 0:  # it answers once in three changes
            had = asked if "endpoints" in client.nonces else had
            for kind in client.nonces:
                client.accept(kind)
            client.nonces.clear()
            if asked < step:
                client.ask("endpoints", *map(str, range(asked + 1, step + 1)))
                asked = step
    assert routes > 5


def test_routes_wait_no_longer_for_a_cluster_that_is_wished_no_more() -> None:
    client = settled()
    client.told(snapshot(WHOLE | {"cluster/d": "1", "endpoints/d": "1", "routes/r": "2"}, {"c": "c", "d": "d"}))
    assert ["routes/r@3"] == client.told(snapshot(WHOLE | {"routes/r": "3"}, {"c": "c"}))


def test_a_flood_of_endpoint_changes_does_not_hold_routes_up() -> None:
    client = settled()
    told = client.told(snapshot(WHOLE | {"endpoints/c": "2", "routes/r": "2"}, {"c": "c"}))
    assert ["endpoints/c@2", "routes/r@2"] == told


def test_route_configurations_take_turns_in_the_order_of_the_table() -> None:
    client, sent = Client(), []
    names = ("http", "https", "other", "trusted")
    client.ask("routes", *reversed(names))
    for version in range(8):  # all of them change while one is on its way
        sent += client.told(snapshot({f"routes/{name}": str(version) for name in names}))
        client.accept("routes")
    assert [f"routes/{names[version % 4]}@{version}" for version in range(8)] == sent


def test_a_changed_cluster_is_followed_by_its_endpoints_unchanged() -> None:
    client = settled()
    assert ["cluster/c@2", "endpoints/c@1"] == client.told(snapshot(WHOLE | {"cluster/c": "2"}, {"c": "c"}))


def test_a_cluster_goes_only_after_the_routes_and_a_while() -> None:
    client = settled(WHOLE | {"cluster/old": "1"}, linger=5.0)
    now = snapshot(WHOLE | {"routes/r": "2"}, {"c": "c"})
    client.now = 10.0
    assert ["routes/r@2"] == client.told(now)
    client.now = 100.0
    assert [] == client.told(now)
    client.accept("routes")
    assert [] == client.told(now)
    assert 105.0 == client.stream.again_at
    client.now = 105.0
    assert ["-cluster/old"] == client.told(now)


def test_a_cluster_that_comes_back_meanwhile_is_never_taken_away() -> None:
    client = settled(WHOLE | {"cluster/old": "1"}, linger=5.0)
    assert [] == client.settle(snapshot(WHOLE, {"c": "c"}))
    client.now = 4.0
    assert [] == client.settle(snapshot(WHOLE | {"cluster/old": "1"}, {"c": "c"}))
    client.now = 6.0
    assert [] == client.settle(snapshot(WHOLE, {"c": "c"}))
    client.now = 11.0
    assert ["-cluster/old"] == client.settle(snapshot(WHOLE, {"c": "c"}))


def test_who_comes_back_is_told_only_what_differs() -> None:
    now = snapshot(WHOLE | {"endpoints/c": "2", "listener/l": "2"}, {"c": "c"})
    client = Client(linger=0)
    client.ask("cluster", has={"c": "1", "gone": "1"})
    client.ask("endpoints", "c", has={"c": "1"})
    client.ask("listener", has={"l": "1", "gone": "1"})
    client.ask("routes", "r", has={"r": "1"})
    client.ask("secret", "s", has={"s": "1"})
    assert ["endpoints/c@2", "listener/l@2", "-listener/gone", "-cluster/gone"] == client.settle(now)


@pytest.mark.parametrize(
    ("kind", "names", "expected"),
    [
        pytest.param("cluster", (), ["cluster: nothing"], id="all of nothing"),
        pytest.param("routes", ("x",), ["-routes/x"], id="a name that is not there"),
        pytest.param("type.googleapis.com/unheard.Of", ("x",), ["-type.googleapis.com/unheard.Of/x"], id="an unknown type"),
    ],
)
def test_there_is_always_an_answer(kind: str, names: tuple[str, ...], expected: list[str]) -> None:
    client = Client()
    client.ask(kind, *names)
    assert expected == client.told(snapshot({}))
    assert [] == client.told(snapshot({}))


def test_what_was_absent_comes_when_it_is_there_and_what_is_asked_again_is_told_again() -> None:
    client = Client()
    client.ask("routes", "x")
    client.settle(snapshot({}))
    now = snapshot({"routes/x": "1"})
    assert ["routes/x@1"] == client.settle(now)
    client.ask("routes", "x")
    assert ["routes/x@1"] == client.settle(now)
    client.ask("routes", drop=("x",))
    assert [] == client.settle(snapshot({"routes/x": "2"}))
    client.ask("routes", "*")
    assert ["routes/x@2", "routes/y@1"] == client.settle(snapshot({"routes/x": "2", "routes/y": "1"}))


def test_what_a_client_says_it_has_is_heard_once() -> None:
    client = Client()
    client.ask("routes", "http", has={"http": "1"})
    client.ask("routes", "other")
    assert [Verdict(ROUTES, {"http": "1"})] == client.stream.claims()
    assert [] == client.stream.claims()


def test_what_is_gone_is_not_remembered() -> None:
    client = Client(linger=0.0)
    client.ask("cluster")
    for number in range(50):
        client.settle(snapshot({f"cluster/c{number}": "1"}))
    talk = client.stream._talks[CLUSTER]
    assert (1, 1) == (len(talk.sent), len(talk.taken))


def test_one_response_is_on_its_way_and_the_next_tells_the_last_state() -> None:
    client = Client()
    client.ask("secret", "s")
    assert ["secret/s@1"] == client.told(snapshot({"secret/s": "1"}))
    assert [] == client.told(snapshot({"secret/s": "2"}))
    client.accept("secret")
    assert ["secret/s@3"] == client.told(snapshot({"secret/s": "3"}))


def test_a_rejected_response_is_sent_again_in_halves_until_the_bad_one_stands_alone() -> None:
    now = snapshot({f"cluster/{name}": "1" for name in "abcdefgh"})
    client = Client()
    client.ask("cluster")
    sent, verdicts = [], []
    while told := client.told(now):
        names = "".join(text[len("cluster/")] for text in told)
        sent.append(names)
        verdicts.append(client.reject("cluster", "no f") if "f" in names else client.accept("cluster"))
    assert ["abcdefgh", "abcd", "efgh", "ef", "e", "f", "gh"] == sent
    assert [Verdict(CLUSTER, {"f": "1"}, "no f")] == [each for each in verdicts if each and each.reason]
    assert ["cluster/f@2"] == client.told(snapshot({f"cluster/{name}": "2" if name == "f" else "1" for name in "abcdefgh"}))


def test_an_answer_with_an_old_nonce_is_no_verdict() -> None:
    client = Client()
    client.ask("secret", "s")
    client.told(snapshot({"secret/s": "1"}))
    assert None is client.stream.receive(DeltaDiscoveryRequest(type_url=SECRET, response_nonce="99"))
    assert Verdict(SECRET, {"s": "1"}, taken={"s": b"secret/s@1"}) == client.accept("secret")


def test_routes_wait_for_a_cluster_that_was_refused_before_in_another_version() -> None:
    client = settled()
    former = WHOLE | {"cluster/d": "1", "endpoints/d": "1"}
    assert ["cluster/d@1"] == client.told(snapshot(former, {"c": "c", "d": "d"}))
    client.reject("cluster", "bad")
    now = snapshot(former | {"cluster/d": "2", "routes/r": "2"}, {"c": "c", "d": "d"})
    assert ["cluster/d@2"] == client.told(now)
    client.accept("cluster")
    client.ask("endpoints", "d")
    assert ["endpoints/d@1"] == client.told(now)
    client.accept("endpoints")
    assert ["routes/r@2"] == client.told(now)


def test_who_comes_back_without_asking_for_clusters_still_waits_for_endpoints_of_those_that_it_took() -> None:
    now = snapshot(WHOLE | {"cluster/d": "1", "endpoints/d": "1", "routes/r": "2"}, {"c": "c", "d": "d"})
    client = Client()
    client.ask("endpoints", "c", "gone", has={"c": "1", "gone": "1"})
    client.ask("routes", "r", has={"r": "1"})
    assert ["endpoints/c@1"] == client.told(now)
    client.accept("endpoints")
    assert [] == client.told(now)
    client.ask("cluster", has={"c": "2"})
    assert ["cluster/c@1", "cluster/d@1", "endpoints/c@1"] == client.settle(now)
    client.ask("endpoints", "d")
    assert ["endpoints/d@1", "routes/r@2"] == client.settle(now)


def test_what_was_refused_among_others_and_is_wished_no_more_is_taken_away() -> None:
    client = settled(WHOLE | {"listener/m": "1", "listener/n": "1"})
    client.told(snapshot(WHOLE | {"listener/m": "2", "listener/n": "2"}, {"c": "c"}))
    client.reject("listener", "no m")
    assert ["-listener/m", "-listener/n"] == client.told(snapshot(WHOLE, {"c": "c"}))


def test_endpoints_that_are_due_again_and_wished_no_more_stay() -> None:
    client = settled()
    assert ["endpoints/c@2"] == client.told(snapshot(WHOLE | {"endpoints/c": "2"}, {"c": "c"}))
    assert ["cluster/c@2"] == client.told(snapshot(WHOLE | {"cluster/c": "2", "endpoints/c": "2"}, {"c": "c"}))
    client.accept("endpoints")
    without = {text: version for text, version in WHOLE.items() if text not in ("cluster/c", "endpoints/c")}
    assert [] == client.told(snapshot(without))


def test_an_answer_after_the_end_of_a_subscription_brings_nothing_back() -> None:
    client = settled()
    now = snapshot(WHOLE | {"endpoints/c": "2"}, {"c": "c"})
    assert ["endpoints/c@2"] == client.told(now)
    client.ask("endpoints", drop=("c",))
    client.accept("endpoints")
    assert set() == client.stream._talks[ENDPOINTS].taken


def test_routes_wait_as_long_as_it_takes_for_a_cluster_that_could_not_be_sent() -> None:
    client = settled()
    texts, of = WHOLE | {"cluster/slow": "1", "routes/r": "2"}, {"c": "c"}
    assert ["cluster/slow@1"] == client.told(snapshot(texts, of))
    client.now = PATIENCE
    assert ["routes/r@2"] == client.told(snapshot(texts, of))
    client.accept("routes")
    now = snapshot(texts | {"cluster/d": "1", "routes/r": "3"}, of)
    assert [] == client.told(now)
    client.now = 3 * PATIENCE
    assert [] == client.told(now)
    client.accept("cluster")
    assert ["cluster/d@1", "routes/r@3"] == client.settle(now)
