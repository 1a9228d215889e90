"""From whatever objects: do the simulator, the compiled tables and the real kernel give every packet the same end?"""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.services.random_clusters import HERE, Cluster, cluster_of, packets_of

from mooring.dataplane import interpret
from mooring.dataplane.installed import Installed
from mooring.dataplane.trace import Outcome, Packet, Source, Trace, classify, trace
from mooring.services.view import NodeView
from mooring.testing.netlab import Lab, Probe
from mooring.testing.netlab import Outcome as Met

SEEDS = range(1, 13)
PACKETS, TRIES = 40, 4
PATIENCE = 1.2
"""Seconds until silence counts as a drop: longer than the first repetition of a SYN."""


@given(st.randoms(use_true_random=False))
def test_the_compiled_tables_agree_with_the_simulator(rng: Random) -> None:
    view = cluster_of(rng).view()
    ruleset = Installed.of(view).ruleset()
    local = frozenset((*view.node_addresses, "127.0.0.1"))
    for packet in packets_of(rng, view, 15):
        traced = trace(view, packet)
        fates = set()
        for slot in range(max(len(traced.choices), 1)):
            fate = interpret.interpret(ruleset, _entering(view, packet), lambda n, slot=slot: slot % n, local)
            fates.add((fate.verdict, fate.endpoint, fate.masqueraded))
        assert _foreseen(traced) == fates, (packet, traced.steps)


def _entering(view: NodeView, packet: Packet) -> interpret.Packet:
    from_node = classify(view, packet.source, packet.interface) is Source.NODE
    return interpret.Packet(
        packet.source, packet.destination, packet.port, packet.protocol, from_node, interface=packet.interface
    )


def _foreseen(traced: Trace) -> set[tuple[str, tuple[str, int] | None, bool]]:
    if traced.outcome is not Outcome.FORWARD:
        return {("untouched" if traced.outcome is Outcome.PASS else traced.outcome.value, None, False)}
    return {("forward", (each.endpoint.address, each.endpoint.port), each.masqueraded) for each in traced.choices}


@pytest.mark.root
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_kernel_agrees_with_the_simulator(seed: int) -> None:
    rng = Random(seed)
    made = cluster_of(rng)
    view = made.view()
    packets = packets_of(rng, view, PACKETS)
    passing = [each for each in packets if trace(view, each).outcome is Outcome.PASS]
    known = dict.fromkeys([each.source for each in packets] + [each.destination for each in passing])
    async with Lab(view, known, patience=PATIENCE) as lab:
        await lab.load(view)
        for packet in passing:
            await lab.listen(packet.destination, packet.port, packet.protocol)
        probes = [each for each in packets for _ in range(TRIES)]
        met = await lab.probe_many([Probe(each.source, each.destination, each.port, each.protocol) for each in probes])
    wrong = {each: outcome for each, outcome in zip(probes, met, strict=True) if outcome not in _may_meet(view, each)}
    assert wrong == {}, [trace(view, each).steps for each in wrong]


def _may_meet(view: NodeView, packet: Packet) -> set[Met]:
    traced = trace(view, packet)
    if traced.outcome is Outcome.PASS:
        return {Met("forward", _text(packet.destination, packet.port), packet.source)}
    if traced.outcome is not Outcome.FORWARD:
        return {Met(traced.outcome.value)}  # type: ignore[arg-type]
    node = HERE[6 if ":" in packet.destination else 4]
    return {
        Met("forward", _text(each.endpoint.address, each.endpoint.port), node if each.masqueraded else packet.source)
        for each in traced.choices
    }


def _text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def test_the_clusters_are_of_every_kind() -> None:
    """What is not met here is not proven above."""
    ends, doors, reasons = set(), set(), set()
    for seed in range(60):
        rng = Random(seed)
        made: Cluster = cluster_of(rng)
        view = made.view()
        ends |= {trace(view, each).outcome for each in packets_of(rng, view, 30)}
        for port in (port for ports in view.services.values() for port in ports):
            doors |= {(each.entry, port.name.family, port.name.protocol, bool(port.affinity)) for each in port.frontends}
            reasons |= {arm.reason for each in port.frontends for arm in (each.pod, each.node, each.outside)}
    assert set(Outcome) == ends
    assert 4 * 2 * 2 * 2 == len(doors)
    assert {reason.name for reason in reasons} == {
        "ENDPOINTS",
        "SAME_NODE",
        "SAME_ZONE",
        "TERMINATING_ENDPOINTS",
        "NO_ENDPOINTS",
        "NO_LOCAL_ENDPOINTS",
    }
