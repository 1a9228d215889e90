"""Does the simulator say of every scenario's packets what a person wrote down?"""

from pathlib import Path

import pytest

from mooring.testing.scenario import Expectation, Scenario, find, simulate, verdict

SCENARIOS = find(Path(__file__).parent)


@pytest.mark.parametrize(
    ("scenario", "expectation"),
    [pytest.param(s, e, id=f"{s.title}: {e.line}") for s in SCENARIOS for e in s.expectations],
)
def test_the_simulator_gives_the_written_verdict(scenario: Scenario, expectation: Expectation) -> None:
    assert verdict(simulate(scenario, expectation)) == expectation.verdict


@pytest.mark.parametrize("scenario", [pytest.param(s, id=s.title) for s in SCENARIOS])
def test_every_scenario_says_something_about_packets(scenario: Scenario) -> None:
    assert scenario.expectations
