"""Do /healthz and /livez say what kube-proxy's say, in its words and with its status?"""

import json

import pytest
from msgspec import structs
from prometheus_client import CollectorRegistry, Counter

from mooring.control.proxy_health import Health, counted, healthz, livez

WELL = Health(synced=True, healthy=True, eligible=True, last_sync=1_767_225_600.0, waiting_since=0.0)
NOW = 1_767_225_700.25
SYNCED_AT, NOW_TEXT = "2026-01-01T00:00:00Z", "2026-01-01T00:01:40.250000Z"
FAMILIES = {family: {"lastUpdated": SYNCED_AT, "healthy": True} for family in ("IPv4", "IPv6")}


def test_while_all_is_well_the_tables_were_last_true_now() -> None:
    answer = healthz(WELL, NOW)
    assert answer.status == 200
    assert answer.headers == {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
    document = json.loads(answer.body)
    assert list(document) == ["lastUpdated", "currentTime", "nodeEligible", "healthy", "status"]
    assert document == {
        "lastUpdated": NOW_TEXT, "currentTime": NOW_TEXT, "nodeEligible": True, "healthy": True, "status": FAMILIES,
    }  # fmt: skip


def test_livez_says_nothing_of_the_node() -> None:
    answer = livez(structs.replace(WELL, eligible=False), NOW)
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "lastUpdated": NOW_TEXT, "currentTime": NOW_TEXT, "healthy": True, "status": FAMILIES,
    }  # fmt: skip


def test_a_node_that_is_about_to_go_is_healthy_and_gets_no_traffic() -> None:
    answer = healthz(structs.replace(WELL, eligible=False), NOW)
    document = json.loads(answer.body)
    assert (answer.status, document["nodeEligible"], document["healthy"]) == (503, False, True)
    assert document["lastUpdated"] == SYNCED_AT


def test_tables_that_do_not_follow_are_told_by_both_and_since_when() -> None:
    sick = structs.replace(WELL, healthy=False)
    for answer in (healthz(sick, NOW), livez(sick, NOW)):
        document = json.loads(answer.body)
        assert (answer.status, document["healthy"], document["lastUpdated"]) == (503, False, SYNCED_AT)
        assert document["status"] == {family: {"lastUpdated": SYNCED_AT, "healthy": False} for family in ("IPv4", "IPv6")}


@pytest.mark.parametrize("synced", [True, False])
def test_an_agent_that_begins_is_well_and_has_no_state_to_tell(synced: bool) -> None:
    document = json.loads(livez(Health(synced, True, False, 0.0, 0.0), NOW).body)
    assert document == {"lastUpdated": NOW_TEXT, "currentTime": NOW_TEXT, "healthy": True}


def test_answers_are_counted_by_status() -> None:
    registry = CollectorRegistry()
    by_code = Counter("livez", "", ["code"], registry=registry)
    health = [WELL]
    ask = counted(lambda: livez(health[0], NOW), by_code)
    assert ask().status == 200
    health[0] = structs.replace(WELL, healthy=False)
    assert (ask().status, ask().status) == (503, 503)
    assert registry.get_sample_value("livez_total", {"code": "200"}) == 1
    assert registry.get_sample_value("livez_total", {"code": "503"}) == 2
