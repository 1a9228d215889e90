"""ClusterIP Services on a running cluster: the scenarios of Kubernetes' own end-to-end tests (test/e2e/network/service.go and
conntrack.go), asked with real connections from pods and nodes.
"""

import os
import signal
from collections.abc import Iterator

import pytest
from scene import ANSWER, SILENCE, Place, Scene, addresses, client, in_pod, scene, server, service, until, until_equal
from upstream import TCP_AND_UDP, UDP, lingers

from local_cluster import Cluster


@pytest.fixture(scope="module")
def here(cluster: Cluster) -> Iterator[Scene]:
    with scene(cluster) as made:
        yield made


def everywhere(here: Scene) -> tuple[Place, ...]:
    return here.one, here.two, here.node_one, here.node_two


def answers(place: Place, address: str, port: int = 80, tries: int = 12) -> set[str]:
    """Who answers new connections."""
    return {place.http(address, port, timeout=SILENCE) for _ in range(tries)}


def test_endpoints_and_traffic_follow_pods_from_none_to_two_and_back(here: Scene) -> None:
    [address] = here.serve(service("basic", "basic"))
    expected: dict[str, tuple[str, int]] = {}

    def follows() -> None:
        until_equal(sorted(expected.values()), lambda: here.endpoints("basic"))
        for place in everywhere(here):
            until_equal(set(expected) or {"refused"}, lambda place=place: answers(place, address))

    follows()
    for pod, node in (("basic-1", "node-1"), ("basic-2", "node-2")):
        here.serve(server(pod, "basic", node=node))
        expected[pod] = (addresses(here.get("Pod", pod))[0], 8080)
        follows()
    for pod in ("basic-1", "basic-2"):
        here.delete("Pod", pod)
        del expected[pod]
        follows()
    legacy = until(lambda: here.get("Endpoints", "basic"), lambda found: not found.get("subsets"))
    assert legacy["metadata"]["name"] == "basic"


def test_each_port_finds_the_pods_that_have_its_name_and_ports_come_and_go(here: Scene) -> None:
    first, second = {"name": "first", "port": 80, "targetPort": "alpha"}, {"name": "second", "port": 81, "targetPort": "beta"}
    [address] = here.serve(
        server("multi-a", "multi", port_name="alpha"),
        server("multi-b", "multi", port_name="beta"),
        service("multi", "multi", ports=(first,)),
    )

    def seen() -> tuple[set[str], set[str]]:
        return answers(here.one, address, 80, 3), answers(here.one, address, 81, 3)

    # A port nobody asked for, of an address that exists, is refused.
    until_equal(({"multi-a"}, {"refused"}), seen)
    here.patch("Service", "multi", {"spec": {"ports": [first, second]}})
    until_equal(({"multi-a"}, {"multi-b"}), seen)
    here.delete("Pod", "multi-a")
    until_equal(({"refused"}, {"multi-b"}), seen)
    here.patch("Service", "multi", {"spec": {"ports": [second]}})
    until_equal(({"refused"}, {"multi-b"}), seen)
    assert [port["name"] for each in here.slices("multi") for port in each["ports"]] == ["second"]


def test_pods_are_seen_by_their_own_address_and_nodes_by_theirs(here: Scene) -> None:
    [address] = here.serve(
        server("source-1", "source", node="node-1"), server("source-2", "source", node="node-2"), service("source", "source")
    )
    until_equal({"source-1", "source-2"}, lambda: answers(here.one, address))
    expected = {
        here.one: addresses(here.get("Pod", "one"))[0],
        here.two: addresses(here.get("Pod", "two"))[0],
        here.node_one: "172.30.0.11",
        here.node_two: "172.30.0.12",
    }
    for place, own in expected.items():
        until_equal({"source-1", "source-2"}, lambda place=place: answers(place, address))
        assert {own} == {place.http(address, path="/clientip").rpartition(":")[0] for _ in range(8)}


def test_nodes_are_seen_by_their_own_address_by_their_own_pods(here: Scene) -> None:
    here.serve(server("direct-1", "direct", node="node-1"))
    [address] = addresses(here.get("Pod", "direct-1"))
    seen = {place.http(address, 8080, "/clientip").rpartition(":")[0] for place in (here.node_one, here.node_two)}
    assert seen == {"172.30.0.11", "172.30.0.12"}


def test_a_pod_reaches_itself_through_its_service(here: Scene) -> None:
    [address] = here.serve(server("hairpin", "hairpin"), service("hairpin", "hairpin", ports=TCP_AND_UDP))
    with in_pod(here, "hairpin") as itself:
        until_equal("hairpin", lambda: itself.http(address))
        until_equal("hairpin", lambda: itself.udp(address))


def test_services_go_up_and_down_without_each_other(here: Scene) -> None:
    up, other = here.serve(server("updown", "updown"), service("up", "updown"), service("other", "updown"))
    for place in everywhere(here):
        for address in (up, other):
            until_equal("updown", lambda place=place, address=address: place.http(address, timeout=SILENCE))
    here.delete("Service", "up")
    for place in everywhere(here):
        until_equal("silence", lambda place=place: place.http(up, timeout=SILENCE))
        assert place.http(other) == "updown"
    [third] = here.serve(service("third", "updown"))
    assert third not in (other, up)
    until_equal("updown", lambda: here.two.http(third, timeout=SILENCE))
    [again] = here.serve(service("up", "updown"))
    until_equal("updown", lambda: here.two.http(again, timeout=SILENCE))


@pytest.mark.parametrize("part", ["node-1", "apiserver"])
def test_services_outlive_a_part_and_what_comes_after_works(here: Scene, part: str) -> None:
    app = f"lasts-{part}"
    [before] = here.serve(server(app, app), service(app, app))
    for place in everywhere(here):
        until_equal(app, lambda place=place: place.http(before, timeout=SILENCE))
    killed = until(lambda: here.cluster.pid(part))
    os.kill(killed, signal.SIGKILL)

    def back() -> bool:
        """Meanwhile every new connection works; a pod's asker comes in by way of the part, so only the nodes are asked."""
        assert [place.http(before) for place in (here.node_one, here.node_two)] == [app, app]
        return here.cluster.pid(part) not in (0, killed) and here.cluster.mooring("status", check=False).returncode == 0

    until(back)
    assert here.get("Service", app)["spec"]["clusterIP"] == before
    [after] = here.serve(service(f"{app}-after", app))
    assert after != before
    for place in everywhere(here):
        until_equal(app, lambda place=place: place.http(after, timeout=SILENCE))
        assert place.http(before) == app


def test_unready_and_terminating_pods_serve_only_if_published(here: Scene) -> None:
    pods = [server("unready", "publish", node="node-1", **lingers(ready=False))]
    here.create(*pods)
    until(lambda: here.get("Pod", "unready"), lambda pod: pod["status"].get("podIP"))
    published, withheld = here.serve(
        service("published", "publish", publishNotReadyAddresses=True), service("withheld", "publish")
    )

    def seen() -> list[set[str]]:
        return [answers(place, address, 80, 2) for address in (published, withheld) for place in (here.one, here.two)]

    until_equal([{"unready"}] * 2 + [{"refused"}] * 2, seen)
    here.delete("Pod", "unready")
    until(lambda: here.get("Pod", "unready"), lambda pod: "deletionTimestamp" in pod["metadata"])
    until(lambda: conditions(here, "published"), lambda found: found[0]["terminating"])
    assert conditions(here, "published") == [{"ready": True, "serving": False, "terminating": True}]
    until_equal([{"unready"}] * 2 + [{"refused"}] * 2, seen)
    for published_now, expected in ((False, "refused"), (True, "unready")):
        here.patch("Service", "published", {"spec": {"publishNotReadyAddresses": published_now}})
        until_equal([{expected}] * 2 + [{"refused"}] * 2, seen)
    here.delete("Pod", "unready", grace=0)
    until_equal([{"refused"}] * 4, seen)


def conditions(here: Scene, name: str) -> list[dict[str, bool]]:
    return [endpoint["conditions"] for each in here.slices(name) for endpoint in each["endpoints"]]


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_terminating_endpoints_serve_when_no_others_are_left(here: Scene, policy: str) -> None:
    app = f"last-{policy.lower()}"
    [address] = here.serve(
        server(f"{app}-old", app, node="node-1", **lingers()), service(app, app, internalTrafficPolicy=policy)
    )
    remote = f"{app}-old" if policy == "Cluster" else "silence"
    until_equal(({f"{app}-old"}, {remote}), lambda: (answers(here.one, address, tries=2), answers(here.two, address, tries=2)))
    here.delete("Pod", f"{app}-old")
    until(lambda: conditions(here, app), lambda found: found == [{"ready": False, "serving": True, "terminating": True}])
    patience = SILENCE if remote == "silence" else ANSWER
    for _ in range(5):
        assert (here.one.http(address), here.two.http(address, timeout=patience)) == (f"{app}-old", remote)
    # A ready one takes over from it.
    here.serve(server(f"{app}-new", app, node="node-1"))
    until_equal({f"{app}-new"}, lambda: answers(here.one, address))
    here.delete("Pod", f"{app}-old", grace=0)


def test_without_endpoints_connections_are_refused_and_unallocated_addresses_are_silent(here: Scene) -> None:
    [address] = here.serve(service("nobody", "nobody", ports=TCP_AND_UDP))
    for place in everywhere(here):
        until_equal(
            ("refused", "refused"),
            lambda place=place: (place.http(address, timeout=SILENCE), place.udp(address, timeout=SILENCE)),
        )
    here.delete("Service", "nobody")
    for place in everywhere(here):
        until_equal(
            ("silence", "silence"),
            lambda place=place: (place.http(address, timeout=SILENCE), place.udp(address, timeout=SILENCE)),
        )


def test_a_failed_pod_is_no_endpoint_even_if_unready_ones_are_published(here: Scene) -> None:
    failing = client("failed", "node-1", restartPolicy="Never")
    failing["metadata"]["labels"] = {"app": "failed"}
    failing["spec"]["containers"][0]["command"] = ["sh", "-c", "exit 1"]
    [address] = here.serve(service("failed", "failed", publishNotReadyAddresses=True))
    here.create(failing)
    until_equal("Failed", lambda: here.get("Pod", "failed")["status"].get("phase"))
    until_equal([None], lambda: [each["endpoints"] or None for each in here.slices("failed")])
    for place in everywhere(here):
        until_equal("refused", lambda place=place: place.http(address, timeout=SILENCE))


def test_internal_traffic_policy_local_keeps_pods_and_nodes_to_their_own_node(here: Scene) -> None:
    address, host = here.serve(
        server("local", "local", node="node-1"),
        server("host", "host", node="node-1", hostNetwork=True, env={"HTTP": "18080", "TCP": "0", "UDP": "0"}),
        service("local", "local", internalTrafficPolicy="Local", ports=TCP_AND_UDP),
        service("host", "host", internalTrafficPolicy="Local", ports=({"port": 80, "targetPort": 18080},)),
    )
    near, far = (here.one, here.node_one), (here.two, here.node_two)
    for place in near:
        until_equal("local", lambda place=place: place.http(address, timeout=SILENCE))
        until_equal("local", lambda place=place: place.udp(address, timeout=SILENCE))
        # With hostNetwork the host name is the node's.
        until_equal("host", lambda place=place: place.http(host, timeout=SILENCE))
    for place in far:
        until_equal("silence", lambda place=place: place.http(address, timeout=SILENCE))
        until_equal("silence", lambda place=place: place.udp(address, timeout=SILENCE))
        until_equal("silence", lambda place=place: place.http(host, timeout=SILENCE))
    here.patch("Service", "local", {"spec": {"internalTrafficPolicy": "Cluster"}})
    for place in far:
        until_equal("local", lambda place=place: place.http(address, timeout=SILENCE))


def test_two_protocols_share_a_port_and_leave_it_one_by_one(here: Scene) -> None:
    [address] = here.serve(server("both", "both"), service("both", "both", ports=TCP_AND_UDP))

    def seen() -> tuple[str, str]:
        return here.one.http(address, timeout=SILENCE), here.one.udp(address, timeout=SILENCE)

    until_equal(("both", "both"), seen)
    here.patch("Service", "both", {"spec": {"ports": [TCP_AND_UDP[1]]}})
    until_equal(("refused", "both"), seen)
    here.patch("Service", "both", {"spec": {"ports": [TCP_AND_UDP[0]]}})
    until_equal(("both", "refused"), seen)


def test_a_large_request_and_its_answer_pass_whole(here: Scene) -> None:
    [address] = here.serve(server("large", "large", node="node-2"), service("large", "large"))
    until_equal("large", lambda: here.one.http(address, timeout=SILENCE))
    text = "0123456789abcdef" * 4000
    assert here.one.post(address, 80, text) == text


def test_listing_all_namespaces_finds_every_service(here: Scene) -> None:
    here.serve(service("listed", ""))
    rows = here.cluster.kubectl("get", "services", "--all-namespaces", "--no-headers").stdout
    found = {tuple(row.split()[:2]) for row in rows.splitlines()}
    assert {("default", "kubernetes"), (here.namespace, "listed")} <= found


def test_a_collection_of_services_goes_by_label(here: Scene) -> None:
    made = [service(f"collected-{number}", "") for number in range(3)]
    for each in made[:2]:
        each["metadata"]["labels"] = {"collected": "yes"}
    here.create(*made)
    here.delete_all("Service", collected="yes")
    assert [here.gone("Service", f"collected-{number}") for number in range(3)] == [True, True, False]


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
@pytest.mark.parametrize("place", ["one", "node_one"], ids=["a pod", "a node"])
def test_a_udp_client_with_a_fixed_port_finds_the_next_server(here: Scene, policy: str, place: str) -> None:
    """A stale conntrack entry would send it to the old server for as long as it keeps asking."""
    app = f"udp-{policy.lower()}-{place.replace('_', '-')}"
    asker: Place = getattr(here, place)
    [address] = here.serve(server(f"{app}-1", app, node="node-1"), service(app, app, ports=UDP, internalTrafficPolicy=policy))
    until_equal(f"{app}-1", lambda: asker.udp(address, source=21000, timeout=SILENCE))
    here.serve(server(f"{app}-2", app, node="node-1"))
    here.delete("Pod", f"{app}-1", grace=0)
    until_equal(f"{app}-2", lambda: asker.udp(address, source=21000, timeout=SILENCE))
    here.delete("Pod", f"{app}-2", grace=0)
    until_equal("refused", lambda: asker.udp(address, source=21000, timeout=SILENCE))


def test_a_udp_client_that_asks_too_early_finds_the_server_once_it_is_ready(here: Scene) -> None:
    [address] = here.serve(service("early", "early", ports=UDP))
    here.create(server("early", "early", node="node-2", env={"READY": "off"}))
    pod = until(lambda: here.get("Pod", "early"), lambda found: found["status"].get("podIP"))
    until_equal("refused", lambda: here.one.udp(address, source=22000, timeout=SILENCE))
    until_equal("ready on", lambda: here.one.http(pod["status"]["podIP"], 8080, "/ready?state=on"))
    until_equal("early", lambda: here.one.udp(address, source=22000, timeout=SILENCE))
