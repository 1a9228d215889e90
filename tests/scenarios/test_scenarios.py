"""Do simulator, compiled ruleset and kernel do with every scenario's packets what a person wrote down?"""

import asyncio
import re
import socket
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
import yaml

from mooring.dataplane import interpret
from mooring.dataplane.installed import Installed
from mooring.dataplane.render import render
from mooring.dataplane.trace import Source, classify
from mooring.endpoints.select import Endpoint
from mooring.services.locality import LOOPBACK
from mooring.services.view import Arm, Frontend, NodeView, Protocol, ServicePort, ServicePortName, Verdict
from mooring.testing.netlab import Lab, Outcome, Probe
from mooring.testing.scenario import Expectation, Scenario, endpoint_text, find, simulate, verdict

SCENARIOS = find(Path(__file__).parent)
EXPECTATIONS = [pytest.param(s, e, id=f"{s.title}: {e.line}") for s in SCENARIOS for e in s.expectations]
PATIENCE = 1.2
"""Seconds until silence counts as a drop: longer than the first repetition of a SYN, which a busy machine may need."""
LABS = 8
"""Kernels asked at a time."""
ATTEMPTS, ROUNDS = 12, 6
"""After six rounds every one of at most three endpoints has been chosen, but for one line in a million million."""
MASQUERADED = " masqueraded"
STICKY_ATTEMPTS = 15
"""As many as upstream's end-to-end test asks for."""


def speaks_sctp() -> bool:
    """Whether this machine's kernel has sockets to try SCTP with; the other two instruments need none."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


SPOKEN = set(Protocol) if speaks_sctp() else {Protocol.TCP, Protocol.UDP}


@pytest.mark.parametrize(("scenario", "expectation"), EXPECTATIONS)
def test_the_simulator_gives_the_written_verdict(scenario: Scenario, expectation: Expectation) -> None:
    assert verdict(simulate(scenario, expectation)) == expectation.verdict


@pytest.mark.parametrize(("scenario", "expectation"), EXPECTATIONS)
def test_the_compiled_ruleset_gives_the_written_verdict(scenario: Scenario, expectation: Expectation) -> None:
    view, wanted = scenario.view(expectation.node), expectation.packet
    ruleset, local = Installed.of(view).ruleset(), frozenset((*view.node_addresses, *LOOPBACK.values()))
    from_node = classify(view, wanted.source, wanted.interface) is Source.NODE
    packet = interpret.Packet(
        wanted.source, wanted.destination, wanted.port, wanted.protocol, from_node, interface=wanted.interface
    )
    fates = set()
    for choice in range(6):
        known: interpret.Affinity = {}
        first = interpret.interpret(ruleset, packet, lambda n, choice=choice: choice % n, local, known)
        again = interpret.interpret(ruleset, packet, lambda n, choice=choice: (choice + 1) % n, local, known)
        assert (again == first) or not expectation.is_sticky
        fates.add(_fate_text(first))
    assert fates == expectation.ends


@pytest.mark.root
@pytest.mark.parametrize("kind", sorted({s.folder.parent.name for s in SCENARIOS}))
async def test_the_kernel_gives_the_written_verdicts(kind: str) -> None:
    """All scenarios of a kind in one test: while one waits out a silence, others ask."""
    turn = asyncio.Semaphore(LABS)
    views = [(s, node.metadata.name) for s in SCENARIOS if s.folder.parent.name == kind for node in s.nodes]
    wrong = await asyncio.gather(*(_wrong(scenario, node, turn) for scenario, node in views))
    assert {} == {f"{s.title} on {node}": found for (s, node), found in zip(views, wrong, strict=True) if found}


async def _wrong(scenario: Scenario, node: str, turn: asyncio.Semaphore) -> list[str]:
    """What a node's kernel does otherwise than written."""
    view = scenario.view(node)
    expectations = [each for each in scenario.expectations if each.node == node and each.packet.protocol in SPOKEN]
    if not expectations:
        return []
    passing = [each.packet for each in expectations if each.verdict == "pass"]
    known = dict.fromkeys([each.packet.source for each in expectations] + [each.destination for each in passing])
    async with turn, Lab(view, known, patience=PATIENCE) as lab:
        await lab.load(view)
        for packet in passing:
            await lab.listen(packet.destination, packet.port, packet.protocol)
        seen = await _observe(lab, view, [each for each in expectations if not each.is_sticky])
        seen |= await _observe_faithful(lab, view, [each for each in expectations if each.is_sticky])
    unfaithful = _unfaithful(scenario, expectations, seen).items()
    return [
        *(_complaint(view, each, seen[each.line]) for each in expectations if not _holds(view, each, seen[each.line])),
        *(f"{client} of {service} met {' and '.join(sorted(met))}" for (client, service), met in unfaithful),
    ]


def _holds(view: NodeView, expectation: Expectation, met: set[str]) -> bool:
    """All the ends were met, or one of them where the client is remembered."""
    wished = _visible(view, expectation)
    return (len(met) == 1 and met <= wished) if expectation.is_sticky else met == wished


def _complaint(view: NodeView, expectation: Expectation, met: set[str]) -> str:
    return f"{expectation.line}\n  met {' | '.join(sorted(met))}, not {' | '.join(sorted(_visible(view, expectation)))}"


def _visible(view: NodeView, expectation: Expectation) -> frozenset[str]:
    """The ends as an endpoint can tell them: the node looks the same, masqueraded or not."""
    if _source(view, expectation) is Source.NODE:
        return frozenset(end.removesuffix(MASQUERADED) for end in expectation.ends)
    return expectation.ends


def _unfaithful(
    scenario: Scenario, expectations: Sequence[Expectation], seen: dict[str, set[str]]
) -> dict[tuple[str, ServicePortName | None], set[str]]:
    """Clients that one service port sent to several endpoints, though it remembers its clients."""
    met: dict[tuple[str, ServicePortName | None], set[str]] = defaultdict(set)
    for each in expectations:
        if each.is_sticky:
            known = met[(each.packet.source, simulate(scenario, each).service)]
            known.update(end.removesuffix(MASQUERADED) for end in seen[each.line])
    return {client: endpoints for client, endpoints in met.items() if len(endpoints) > 1}


@pytest.mark.parametrize("scenario", [pytest.param(s, id=s.title) for s in SCENARIOS if s.expectations])
def test_view_and_rules_are_as_last_reviewed(scenario: Scenario, bless: bool) -> None:
    asked = {each.node for each in scenario.expectations}
    views = {node.metadata.name: scenario.view(node.metadata.name) for node in scenario.nodes if node.metadata.name in asked}
    view_text = yaml.safe_dump({name: _plain(view) for name, view in views.items()}, sort_keys=False, width=140)
    rules_text = "".join(f"# {name}\n{_own_rules(view)}" for name, view in views.items())
    for file, text in (("view.yaml", view_text), ("rules.nft", rules_text)):
        path = scenario.folder / file
        if bless:
            path.write_text(text)
        assert path.read_text() == text, "read the difference, then `make bless`"


def _own_rules(view: NodeView) -> str:
    """The sets and chains that the view's Services, and what the node answers, make different; tests/dataplane/goldens has the
    rest.
    """
    with_services, without = (
        re.findall(r"^table [^\n]*|^  (?:map|set|chain) .*?^  }", render(Installed.of(each).ruleset()), re.M | re.S)
        for each in (view, msgspec.structs.replace(view, services={}, answered_here=()))
    )
    common = set(without)
    kept = [each for each in with_services if each not in common or each.startswith("table")]
    return "".join(f"{each}\n" for each in kept)


async def _observe(lab: Lab, view: NodeView, expectations: Sequence[Expectation]) -> dict[str, set[str]]:
    """What really became of each line's packets, in the words of packets.txt: every endpoint that ever answered."""
    seen: dict[str, set[str]] = {each.line: set() for each in expectations}
    for _ in range(ROUNDS):
        left = [each for each in expectations if not _visible(view, each) <= seen[each.line]]
        tries = [each for each in left for _ in range(ATTEMPTS if len(each.ends) > 1 else 2)]
        for each, met in zip(tries, await lab.probe_many([_probe(each) for each in tries]), strict=True):
            seen[each.line].add(_met(view, each, met))
    return seen


async def _observe_faithful(lab: Lab, view: NodeView, expectations: Sequence[Expectation]) -> dict[str, set[str]]:
    """The same, one packet after the other: two first packets of one client may each choose."""
    seen: dict[str, set[str]] = {each.line: set() for each in expectations}
    for each in expectations:
        probe = _probe(each)
        for _ in range(STICKY_ATTEMPTS):
            met = await lab.connect(probe.source, probe.destination, probe.port, probe.protocol)
            seen[each.line].add(_met(view, each, met))
    return seen


def _probe(expectation: Expectation) -> Probe:
    packet = expectation.packet
    return Probe(packet.source, packet.destination, packet.port, packet.protocol)


def _met(view: NodeView, expectation: Expectation, met: Outcome) -> str:
    """What one packet met, in the words of packets.txt."""
    packet = expectation.packet
    if met.verdict != "forward":
        return met.verdict
    if expectation.verdict == "pass":
        return "pass" if met.endpoint == endpoint_text(packet.destination, packet.port, False) else met.endpoint
    if met.seen_source == packet.source or (
        _source(view, expectation) is Source.NODE and met.seen_source in view.node_addresses
    ):
        return met.endpoint
    return met.endpoint + (MASQUERADED if met.seen_source in view.node_addresses else f" as {met.seen_source}")


def _source(view: NodeView, expectation: Expectation) -> Source:
    return classify(view, expectation.packet.source, expectation.packet.interface)


def _fate_text(fate: interpret.Fate) -> str:
    if fate.verdict == "untouched":
        return "pass"
    if fate.endpoint is None:
        return fate.verdict
    return endpoint_text(*fate.endpoint, fate.masqueraded)


def _plain(view: NodeView) -> object:
    """The whole view, an arm and an endpoint a line."""
    plain = {name: getattr(view, name) for name in view.__struct_fields__ if name not in ("services", "answered_here")}
    answered = [f"{endpoint_text(each.address, each.port, False)}/{each.protocol.value}" for each in view.answered_here]
    return {
        **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
        "answered_here": answered,
        "services": {"/".join(name): [_plain_port(port) for port in ports] for name, ports in view.services.items()},
    }


def _plain_port(port: ServicePort) -> object:
    name = port.name
    pools = {"cluster": port.cluster, "local": port.local, "retained": port.retained}
    return {
        "port": f"{name.port or '(unnamed)'} {name.protocol.value} {name.family.value}",
        "affinity": port.affinity,
        **{pool: [_plain_endpoint(each) for each in endpoints] for pool, endpoints in pools.items()},
        "frontends": [_plain_frontend(each) for each in port.frontends],
    }


def _plain_endpoint(endpoint: Endpoint) -> str:
    where = f" on {endpoint.node}" if endpoint.node else ""
    return endpoint_text(endpoint.address, endpoint.port, False) + where + (", local" if endpoint.local else "")


def _plain_frontend(frontend: Frontend) -> dict[str, object]:
    allowed = {"allowed": list(frontend.allowed), "allowed_by": frontend.allowed_by} if frontend.allowed is not None else {}
    return {
        frontend.entry.value: endpoint_text(frontend.address, frontend.port, False),
        **allowed,
        **{source: _plain_arm(getattr(frontend, source)) for source in ("pod", "node", "outside")},
    }


def _plain_arm(arm: Arm) -> str:
    if arm.verdict is not Verdict.FORWARD:
        return f"{arm.verdict.value}: {arm.reason.value}"
    return f"{arm.verdict.value} to {arm.pool.value}, masquerade {arm.masquerade.value}: {arm.reason.value}"
