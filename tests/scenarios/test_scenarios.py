"""Do simulator, compiled ruleset and kernel do with every scenario's packets what a person wrote down?"""

from pathlib import Path

import msgspec
import pytest
import yaml

from mooring.dataplane import interpret
from mooring.dataplane.installed import Installed
from mooring.dataplane.render import render
from mooring.dataplane.trace import Outcome, Source, classify
from mooring.services.view import NodeView
from mooring.testing.netlab import Lab
from mooring.testing.scenario import Expectation, Scenario, endpoint_text, find, simulate, verdict

SCENARIOS = find(Path(__file__).parent)
EXPECTATIONS = [pytest.param(s, e, id=f"{s.title}: {e.line}") for s in SCENARIOS for e in s.expectations]
VIEWS = [pytest.param(s, node.metadata.name, id=f"{s.title} on {node.metadata.name}") for s in SCENARIOS for node in s.nodes]
PATIENCE = 2.5
"""Seconds until silence counts as a drop: longer than the first repetition of a SYN, which a busy machine may need."""
ATTEMPTS = 60
"""Connections after which every one of at most three endpoints has been chosen, but for one run in ten million."""


@pytest.mark.parametrize(("scenario", "expectation"), EXPECTATIONS)
def test_the_simulator_gives_the_written_verdict(scenario: Scenario, expectation: Expectation) -> None:
    assert verdict(simulate(scenario, expectation)) == expectation.verdict


@pytest.mark.parametrize(("scenario", "expectation"), EXPECTATIONS)
def test_the_compiled_ruleset_gives_the_written_verdict(scenario: Scenario, expectation: Expectation) -> None:
    view, wanted = scenario.view(expectation.node), expectation.packet
    packet = interpret.Packet(
        wanted.source, wanted.destination, wanted.port, wanted.protocol, from_node=classify(view, wanted.source) is Source.NODE
    )
    ruleset, local = Installed.of(view).ruleset(), frozenset(view.node_addresses)
    fates = {interpret.interpret(ruleset, packet, lambda n, choice=choice: choice % n, local) for choice in range(6)}
    assert {_fate_text(fate) for fate in fates} == set(expectation.verdict.split(" | "))


@pytest.mark.root
@pytest.mark.parametrize(("scenario", "node"), VIEWS)
async def test_the_kernel_gives_the_written_verdicts(scenario: Scenario, node: str) -> None:
    view = scenario.view(node)
    expectations = [each for each in scenario.expectations if each.node == node]
    if not expectations:
        return
    async with Lab(view, patience=PATIENCE) as lab:
        await lab.load(view)
        seen = {each.line: await _observe(lab, view, scenario, each) for each in expectations}
    assert seen == {each.line: set(each.verdict.split(" | ")) for each in expectations}


@pytest.mark.parametrize("scenario", [pytest.param(s, id=s.title) for s in SCENARIOS])
def test_view_and_rules_are_as_last_reviewed(scenario: Scenario, bless: bool) -> None:
    views = {node.metadata.name: scenario.view(node.metadata.name) for node in scenario.nodes}
    view_text = yaml.safe_dump({name: _plain(view) for name, view in views.items()}, sort_keys=False, width=140)
    rules_text = "".join(f"# {name}\n{render(Installed.of(view).ruleset())}\n" for name, view in views.items())
    for file, text in (("view.yaml", view_text), ("rules.nft", rules_text)):
        path = scenario.folder / file
        if bless:
            path.write_text(text)
        assert path.read_text() == text, "read the difference, then `make bless`"


async def _observe(lab: Lab, view: NodeView, scenario: Scenario, expectation: Expectation) -> set[str]:
    """What really became of the packet, in the words of packets.txt: every endpoint that ever answered."""
    packet = expectation.packet
    client = _client(view, packet.source, lab)
    expected = set(expectation.verdict.split(" | "))
    seen: set[str] = set()
    for attempt in range(ATTEMPTS):
        met = await lab.connect(client, packet.destination, packet.port, packet.protocol)
        if met.verdict != "forward":
            return {met.verdict}
        if simulate(scenario, expectation).outcome is Outcome.PASS:
            return {"pass"} if met.endpoint == endpoint_text(packet.destination, packet.port, False) else {met.endpoint}
        from_node = met.seen_source in view.node_addresses
        seen.add(met.endpoint + (" masqueraded" if from_node else ""))
        if seen == expected and attempt >= 2 * len(expected):
            break
    return seen


def _client(view: NodeView, source: str, lab: Lab) -> str:
    """The lab's client for a source of packets.txt: an endpoint by its address, else by where it is."""
    if any(source == each.address for ports in view.services.values() for port in ports for each in port.cluster + port.local):
        return source
    return {Source.POD: "pod", Source.NODE: "node", Source.OUTSIDE: "outside"}[classify(view, source)]


def _fate_text(fate: interpret.Fate) -> str:
    if fate.verdict == "untouched":
        return "pass"
    if fate.endpoint is None:
        return fate.verdict
    return endpoint_text(*fate.endpoint, fate.masqueraded)


def _plain(view: NodeView) -> object:
    """Plain values; a mapping with tuple keys becomes 'namespace/name'."""
    plain = msgspec.to_builtins(
        {name: getattr(view, name) for name in view.__struct_fields__ if name != "services"},
        enc_hook=str,
    )
    plain["services"] = {"/".join(name): msgspec.to_builtins(ports) for name, ports in view.services.items()}
    return plain
