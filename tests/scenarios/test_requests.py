"""Is every request of a scenario answered as a person wrote down? By the simulator, a real Envoy and a real NGINX."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec import structs
from tests.routing.echo import Echo
from tests.routing.proxy_lab import RealProxy, both
from tests.routing.raw_client import Reply

from mooring.routing.nginx.lacks import lacks as nginx_lacks
from mooring.routing.table import Endpoints, Fixed, Member, Members, RouteTable
from mooring.routing.table_text import text
from mooring.routing.xds.lacks import lacks as envoy_lacks
from mooring.testing.requests import Answered, Ask, Expected, Scenario, compared, find_requests, joined, simulated

SCENARIOS = find_requests(Path(__file__).parent)
TITLES = [pytest.param(each, id=each.title) for each in SCENARIOS]
LACKS = {"envoy": envoy_lacks, "nginx": nginx_lacks}


class Lab(NamedTuple):
    proxies: Mapping[str, RealProxy]
    echo: Echo


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Echo() as echo, both(tmp_path_factory.mktemp("proxies")) as found:
        yield Lab({each.name: each for each in found}, echo)


@pytest.mark.parametrize("scenario", TITLES)
def test_the_simulator_gives_the_written_answers(scenario: Scenario) -> None:
    for ask in scenario.asks:
        expected, told = compared(ask.expected, simulated(scenario, ask))
        assert expected == told, ask.line


@pytest.mark.parametrize("scenario", TITLES)
def test_the_table_is_as_last_reviewed(scenario: Scenario, bless: bool) -> None:
    path, found = scenario.folder / "table.txt", text(scenario.translation.table)
    if bless:
        path.write_text(found)
    assert path.read_text() == found, "read the difference, then `make bless`"


@pytest.mark.parametrize("scenario", TITLES)
@pytest.mark.parametrize("name", LACKS)
def test_what_a_proxy_lacks_is_written_down(scenario: Scenario, name: str) -> None:
    """What it lacks whatever the table, has no source, and is not a scenario's."""
    written = sorted(each.sentence for each in scenario.lacks if each.proxy == name)
    assert written == sorted({sentence for source, sentence in LACKS[name](scenario.translation.table) if source})


@pytest.mark.parametrize("name", LACKS)
def test_a_real_proxy_gives_the_written_answers(lab: Lab, name: str) -> None:
    """All scenarios in one test: a proxy takes the next table while it serves the one before."""
    wrong = [line for scenario in SCENARIOS for line in _wrong(lab.proxies[name], lab.echo, scenario)]
    assert [] == wrong, "\n".join(wrong)


def _wrong(proxy: RealProxy, echo: Echo, scenario: Scenario) -> Iterator[str]:
    table, members, owners = _here(scenario, echo)
    proxy.serve(table, members)
    lacking = frozenset(line for each in scenario.lacks if each.proxy == proxy.name for line in each.lines)
    for ask in scenario.asks:
        if ask.line in lacking or not ask.request.client.startswith("127."):
            continue
        certificate = scenario.folder / "client.pem" if ask.request.certificate else None
        reply = proxy.ask(ask.request, certificate)
        answered = _answered(reply, owners)
        expected, told = compared(_narrowed(ask, answered), answered)
        if expected != told:
            yield f"{scenario.title} at {proxy.name}: {ask.line}\n   but {told} {reply.why or reply.body[:200]!r}"


def _narrowed(ask: Ask, answered: Answered) -> Expected:
    """Of the Services that may answer one does."""
    given = ask.expected
    return structs.replace(given, services=answered.services) if answered.services & given.services else given


def _here(scenario: Scenario, echo: Echo) -> tuple[RouteTable, Members, Mapping[int, str]]:
    """The scenario with a backend at a port of this machine for each endpoint, and whose port each is."""
    owners: dict[int, str] = {}
    members: dict[str, tuple[Member, ...]] = {}
    clusters = dict(scenario.translation.table.clusters)

    def port(title: str) -> int:
        found = echo.port(len(owners))
        owners[found] = title
        return found

    for name, cluster in clusters.items():
        title = scenario.title_of(cluster)
        if isinstance(cluster.where, Endpoints):
            if cluster.where.set not in members:
                found = scenario.members.get(cluster.where.set, ())
                members[cluster.where.set] = tuple(sorted(Member("127.0.0.1", port(title), each.name) for each in found))
        else:
            clusters[name] = structs.replace(cluster, where=Fixed("127.0.0.1", port(title)))
    return structs.replace(scenario.translation.table, clusters=clusters), members, owners


def _answered(reply: Reply, owners: Mapping[int, str]) -> Answered:
    """In the words of requests.txt; an echo tells by its port who it is."""
    told = _echoed(reply)
    if told is None:
        return Answered(reply.status, location=reply.headers.get("location", ""), headers=reply.headers)
    sees = joined((name, value) for name, value in told["headers"])
    return Answered(
        reply.status,
        frozenset({owners.get(told["port"], "nobody")}),
        reply.headers.get("location", ""),
        told["path"],
        sees.get("host", ""),
        reply.headers,
        sees,
    )


def _echoed(reply: Reply) -> dict[str, object] | None:
    try:
        told = json.loads(reply.body)
    except ValueError:
        return None
    return told if isinstance(told, dict) and "port" in told else None
