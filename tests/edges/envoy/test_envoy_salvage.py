"""Does the search find exactly the bad parts, keep all the others, and never offer what must fail twice?"""

from collections.abc import Mapping

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from mooring.edges.envoy.salvage import Outcome, Trial, attempt, search
from mooring.routing.xds.wire import CLUSTER, LISTENER, ROUTES, encoded

Hosts = Mapping[str, Mapping[str, str]]
"""Virtual host -> route -> its prefix. A prefix with `bad` is refused, as a route; one with `worse` as a match."""


def routes(hosts: Hosts) -> bytes:
    virtual = [
        {
            "name": host,
            "domains": [host],
            "routes": [{"name": name, "match": {"prefix": prefix}, "route": {"cluster": "c"}} for name, prefix in each.items()],
        }
        for host, each in hosts.items()
    ]
    return encoded(ParseDict({"name": "http", "virtual_hosts": virtual}, RouteConfiguration()))


def read(data: bytes | None) -> dict[str, dict[str, str]]:
    """As it was written; a closed route's prefix begins with `closed`."""
    found = RouteConfiguration.FromString(data or b"")
    return {
        host.name: {
            route.name: ("closed" if route.HasField("direct_response") else "") + route.match.prefix for route in host.routes
        }
        for host in found.virtual_hosts
    }


def judge(data: bytes) -> str | None:
    """As Envoy: the first fault it meets, of the whole."""
    for host, each in read(data).items():
        for name, prefix in each.items():
            if "worse" in prefix or ("bad" in prefix and not prefix.startswith("closed")):
                return f"{host}/{name} is bad"
    return None


def run(trial: Trial[Outcome]) -> tuple[Outcome, list[bytes]]:
    offered: list[bytes] = []
    try:
        data = next(trial)
        while True:
            offered.append(data)
            data = trial.send(judge(data))
    except StopIteration as end:
        return end.value, offered


HOSTS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.dictionaries(st.sampled_from("123"), st.sampled_from(["/", "/x", "/bad", "/worse"]), min_size=1),
    max_size=6,
)
GOOD = st.dictionaries(st.sampled_from("abcdef"), st.dictionaries(st.sampled_from("123"), st.sampled_from(["/", "/x"])))


@given(HOSTS, GOOD)
def test_everything_good_gets_in_and_everything_bad_is_named(hosts: Hosts, before: Hosts) -> None:
    wish, accepted = routes(hosts), routes(before)
    reason = judge(wish)
    if reason is None:
        return
    outcome, offered = run(search(ROUTES, wish, accepted, reason))
    assert outcome.data is not None
    assert judge(outcome.data) is None
    bad = {(host, name) for host, each in hosts.items() for name, prefix in each.items() if prefix in ("/bad", "/worse")}
    assert bad == set(outcome.rejected)
    assert all(each.reason for each in outcome.rejected.values())
    kept = read(outcome.data)
    for host, each in hosts.items():
        for name, prefix in each.items():
            old = before.get(host, {}).get(name)
            if (host, name) not in bad:
                assert prefix == kept[host][name]
            elif old is not None:
                assert old == kept[host][name]
            else:
                assert kept[host].get(name) in ("closed/bad", None)

    # Known, it costs one offer, however its neighbours change.
    again = {**hosts, "neighbour": {"1": "/"}}
    outcome, offered = run(attempt(ROUTES, routes(again), outcome.data, outcome.rejected))
    assert 1 == len(offered)
    assert bad == set(outcome.rejected)
    assert {"1": "/"} == read(outcome.data)["neighbour"]


def test_a_route_that_was_made_good_is_no_longer_kept_out() -> None:
    outcome, _ = run(search(ROUTES, routes({"a": {"1": "/bad"}, "b": {"1": "/"}}), None, "bad"))
    assert {("a", "1")} == set(outcome.rejected)
    outcome, _ = run(attempt(ROUTES, routes({"a": {"1": "/good"}, "b": {"1": "/"}}), outcome.data, outcome.rejected))
    assert {} == dict(outcome.rejected)
    assert {"a": {"1": "/good"}, "b": {"1": "/"}} == read(outcome.data)


def test_many_hosts_cost_few_offers() -> None:
    hosts = {f"h{number}": {"1": "/"} for number in range(1000)} | {"h500": {"1": "/bad"}}
    outcome, offered = run(search(ROUTES, routes(hosts), None, "bad"))
    assert {("h500", "1")} == set(outcome.rejected)
    assert len(offered) < 30


@pytest.mark.parametrize("accepted", [None, b"before"], ids=["nothing before", "something before"])
def test_what_has_no_parts_stays_as_it_was(accepted: bytes | None) -> None:
    outcome, offered = run(search(CLUSTER, b"wish", accepted, "no"))
    assert (accepted, [], {()}) == (outcome.data, offered, set(outcome.rejected))


def test_filter_chains_are_told_apart_by_name() -> None:
    def listener(*names: str) -> bytes:
        return encoded(ParseDict({"name": "l", "filter_chains": [{"name": name} for name in names]}, Listener()))

    trial = search(LISTENER, listener("a", "bad", "c"), listener("a"), "no")
    data = next(trial)
    with pytest.raises(StopIteration) as end:
        while True:
            data = trial.send("no" if b"bad" in data else None)
    assert listener("a", "c") == end.value.value.data
    assert {("bad",)} == set(end.value.value.rejected)
