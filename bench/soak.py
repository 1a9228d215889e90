"""Create, change and delete at random, with `kill -9` of each role in turn: is anything lost, wrong, or noticed?

    python -m bench.soak [--minutes 10] [--seed N]

At the end: the kernel of every node holds exactly what the NodeView wishes and gives random packets the simulator's verdict, no
acknowledged write is missing, and no request through an unaffected Service failed. Exit code 0 only then.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from bench._cluster import Cluster, cluster
from bench._ending import as_by_ctrl_c
from mooring.dataplane import interpret
from mooring.dataplane.installed import Installed
from mooring.dataplane.ruleset import Ruleset
from mooring.dataplane.trace import Outcome, Packet, Source, classify, trace
from mooring.edges import cgroups
from mooring.edges.http import kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.edges.netlink.topology import namespace_name
from mooring.edges.nft.firewall import NftFirewall
from mooring.model.discovery import endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE, SERVICE_CIDR, Kind
from mooring.model.node import node
from mooring.model.service import service
from mooring.ports.api import ApiError, ApiUnavailable
from mooring.services.build import build_view
from mooring.services.view import NodeView, Protocol

Document = dict[str, Any]
LOAD = Path(__file__).resolve().parents[1] / "examples" / "hello" / "load.py"
NAMES = 40
"""How many Services come and go."""
REST_BETWEEN_KILLS = 4.0
PATIENCE = 60.0
PACKETS = 500


class Report(Struct):
    """What the soak saw. `faults` is empty when all is well."""

    writes: int = 0
    unknown: int = 0
    """Writes without an answer: each may have happened or not."""
    kills: dict[str, int] = {}
    requests: int = 0
    packets: int = 0
    faults: list[str] = []


class Ledger:
    """What has been acknowledged for each name: the note last written, or None for a deletion; several where unanswered."""

    def __init__(self) -> None:
        self.possible: dict[str, set[str | None]] = {}

    def acknowledged(self, name: str, note: str | None) -> None:
        self.possible[name] = {note}

    def unanswered(self, name: str, note: str | None) -> None:
        self.possible.setdefault(name, {None}).add(note)


async def soak(
    made: Cluster, seconds: float, seed: int, tell: Callable[[str], None], rest: float = REST_BETWEEN_KILLS
) -> Report:
    report, rng = Report(), random.Random(seed)
    async with ApiClient(kubeconfig.load(made.kubeconfig)) as api:
        await _prepare(api, seconds)
        ledger, end = Ledger(), time.monotonic() + seconds
        churning = [
            asyncio.create_task(_churn(api, worker, ledger, random.Random(seed + worker), end, report)) for worker in range(4)
        ]
        await _kill_in_turn(made, api, rng, end, report, tell, rest)
        await asyncio.gather(*churning)
        await _until("the load's end", lambda: _phase(api, "client", "Succeeded"))
        last = made.mooring("logs", "client", "--tail", "1")
        tally = json.loads(last)
        report.requests = tally["requests"]
        if tally["failed"]:
            report.faults.append(f"{tally['failed']} of {tally['requests']} requests failed: {tally['failures']}")
        await _check_writes(api, ledger, report)
        _check_kernels(await _settled(api, made), rng, report)
    return report


async def _prepare(api: ApiClient, seconds: float) -> None:
    """The unaffected Service, its two pods, and a pod that sends requests for as long as the soak lasts."""
    for number in range(2):
        spec: Document = {"containers": [{"name": "main", "image": "mooring.dev/echo"}], "terminationGracePeriodSeconds": 1}
        await _create(api, POD, {"metadata": {"name": f"steady-{number}", "labels": {"app": "steady"}}, "spec": spec})
    ports = [{"port": 80, "targetPort": 8080}]
    await _create(api, SERVICE, {"metadata": {"name": "steady"}, "spec": {"selector": {"app": "steady"}, "ports": ports}})

    async def served() -> bool:
        slices = (await api.list(ENDPOINT_SLICE, "default", labels="kubernetes.io/service-name=steady")).items
        return sum(bool(each["conditions"].get("ready")) for found in slices for each in found.get("endpoints") or ()) == 2

    await _until("two endpoints", served)
    command = ["python3", "-c", LOAD.read_text(), "http://steady/json", "--seconds", str(seconds), "--rate", "20"]
    spec = {"restartPolicy": "Never", "containers": [{"name": "load", "image": "python", "command": command}]}
    await _create(api, POD, {"metadata": {"name": "client"}, "spec": spec})
    await _until("the load", lambda: _phase(api, "client", "Running"))


async def _phase(api: ApiClient, pod: str, phase: str) -> bool:
    return bool((await api.get(POD, "default", pod)).get("status", {}).get("phase") == phase)


async def _churn(api: ApiClient, worker: int, ledger: Ledger, rng: random.Random, end: float, report: Report) -> None:
    """One writer; no two write the same names, so that each knows what it was told last."""
    while time.monotonic() < end:
        name = f"churn-{worker}-{rng.randrange(NAMES // 4)}"
        note = f"{rng.randrange(1 << 40):x}"
        there = None not in ledger.possible.get(name, {None})
        try:
            if not there:
                await _make(api, name, note, rng)
                ledger.acknowledged(name, note)
            elif rng.random() < 0.3:
                ledger.unanswered(name, None)
                await api.write("delete", SERVICE, "default", name)
                ledger.acknowledged(name, None)
            else:
                body = {"metadata": {"annotations": {"note": note}}, "spec": {"ports": _ports(rng)}}
                await api.write("patch", SERVICE, "default", name, body)
                ledger.acknowledged(name, note)
                await _change_endpoints(api, name, rng)
            report.writes += 1
        except ApiUnavailable:
            report.unknown += 1
            ledger.unanswered(name, note)
            await _relearn(api, ledger, name, end)
        except ApiError as error:
            if error.code != 409 and error.reason != "NotFound":
                report.faults.append(f"{name}: {error.code} {error.message}")
            await _relearn(api, ledger, name, end)
        await asyncio.sleep(rng.random() * 0.05)


async def _relearn(api: ApiClient, ledger: Ledger, name: str, end: float) -> None:
    """After an unanswered write: what is there must be one of the possible outcomes; from now on it is the only one."""
    while time.monotonic() < end + PATIENCE:
        try:
            found: str | None = (await api.get(SERVICE, "default", name))["metadata"].get("annotations", {}).get("note")
        except ApiUnavailable:
            await asyncio.sleep(0.05)
            continue
        except ApiError:
            found = None
        if found in ledger.possible.get(name, {None}):
            ledger.acknowledged(name, found)
        return


async def _make(api: ApiClient, name: str, note: str, rng: random.Random) -> None:
    """A Service without a selector and a slice written by hand, owned by it so that it goes with it."""
    body = {"metadata": {"name": name, "annotations": {"note": note}}, "spec": {"ports": _ports(rng)}}
    made = await _create(api, SERVICE, body)
    owner = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": made["metadata"]["uid"]}
    labels = {"kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "soak"}
    body = {"metadata": {"generateName": f"{name}-", "labels": labels, "ownerReferences": [owner]}, **_endpoints(rng)}
    await _create(api, ENDPOINT_SLICE, body)


async def _change_endpoints(api: ApiClient, name: str, rng: random.Random) -> None:
    for found in (await api.list(ENDPOINT_SLICE, "default", labels=f"kubernetes.io/service-name={name}")).items:
        await api.write(
            "patch", ENDPOINT_SLICE, "default", found["metadata"]["name"], {"endpoints": _endpoints(rng)["endpoints"]}
        )


def _ports(rng: random.Random) -> list[Document]:
    chosen = rng.sample([("a", "TCP", 80), ("b", "TCP", 443), ("c", "UDP", 53), ("d", "UDP", 80)], rng.randrange(1, 4))
    return [{"name": name, "protocol": protocol, "port": port} for name, protocol, port in sorted(chosen)]


def _endpoints(rng: random.Random) -> Document:
    """Addresses of pods that do not exist; some not ready, some leaving."""
    endpoints = []
    for number in rng.sample(range(150, 250), rng.randrange(0, 6)):
        ready, side = rng.random() < 0.8, rng.randrange(2)
        condition = {"ready": ready, "serving": ready or rng.random() < 0.5, "terminating": not ready and rng.random() < 0.5}
        endpoints.append({"addresses": [f"10.244.{side}.{number}"], "conditions": condition})
    ports = [
        {"name": name, "protocol": protocol, "port": 8080}
        for name, protocol in (("a", "TCP"), ("b", "TCP"), ("c", "UDP"), ("d", "UDP"))
    ]
    return {"addressType": "IPv4", "endpoints": endpoints, "ports": ports}


async def _kill_in_turn(
    made: Cluster, api: ApiClient, rng: random.Random, end: float, report: Report, tell: Callable[[str], None], rest: float
) -> None:
    """Until the end, and each at least once."""
    group = cgroups.subtree(made.name)
    roles = {"apiserver": group / "apiserver", "controllers": group / "controllers"}
    roles |= {name: group / name / "agent" for name in ("node-1", "node-2")}
    turn = 0
    while time.monotonic() < end - rest or turn < len(roles):
        await asyncio.sleep(rest * (0.5 + rng.random()))
        name = list(roles)[turn % len(roles)]
        turn += 1
        for pid in cgroups.processes(roles[name]):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            report.kills[name] = report.kills.get(name, 0) + 1
        tell(f"kill -9 {name}; {report.writes} writes acknowledged, {report.unknown} unanswered, {len(report.faults)} faults")
        await _until("the API server", lambda: _answers(api))


async def _settled(api: ApiClient, made: Cluster) -> list[Any]:
    """What `_differences` says once every node has caught up, or when patience ends. A look later there may be some again:
    controllers that have just come back collect the slices of Services that are gone."""
    deadline = time.monotonic() + PATIENCE
    while True:
        differences = [each async for each in _differences(api, made)]
        if not any(difference for _, _, _, difference in differences) or time.monotonic() > deadline:
            return differences
        await asyncio.sleep(0.5)


async def _check_writes(api: ApiClient, ledger: Ledger, report: Report) -> None:
    listed = (await api.list(SERVICE, "default")).items
    there = {each["metadata"]["name"]: each["metadata"].get("annotations", {}).get("note") for each in listed}
    for name, possible in ledger.possible.items():
        if there.get(name) not in possible:
            report.faults.append(f"service/{name}: acknowledged {possible}, found {there.get(name)}")
    report.faults += [
        f"service/{name}: nobody made it" for name in there if name.startswith("churn-") and name not in ledger.possible
    ]


def _check_kernels(differences: list[Any], rng: random.Random, report: Report) -> None:
    for name, view, kernel, difference in differences:
        if difference:
            report.faults.append(f"{name}: the kernel differs from the wish in {difference} elements")
        for packet in _packets(view, rng):
            report.packets += 1
            foreseen, met = _verdicts(view, kernel, packet)
            if foreseen != met:
                report.faults.append(f"{name}: {packet}: foreseen {foreseen}, the kernel's rules give {met}")


async def _differences(api: ApiClient, made: Cluster) -> Any:
    """For each node: its name, its view, its kernel's tables, and how many elements differ."""
    services = [service(each) for each in (await api.list(SERVICE)).items]
    slices = [endpoint_slice(each) for each in (await api.list(ENDPOINT_SLICE)).items]
    cidrs = [cidr for each in (await api.list(SERVICE_CIDR)).items for cidr in each["spec"]["cidrs"]]
    for document in (await api.list(NODE)).items:
        view = build_view(node(document), services, slices, cidrs)
        firewall = NftFirewall(namespace_name(made.name, view.node))
        try:
            kernel = await firewall.read()
        finally:
            firewall.close()
        yield view.node, view, kernel, len(Installed.adopt(view, kernel)[1])


def _packets(view: NodeView, rng: random.Random) -> list[Packet]:
    """From pods, the node and outside to frontends, wrong ports and addresses nobody has."""
    frontends = [(port, each) for ports in view.services.values() for port in ports for each in port.frontends]
    sources = ["10.244.0.99", "10.244.1.99", "10.244.0.200", view.node_addresses[0], "172.30.0.250"]
    made = []
    for _ in range(PACKETS):
        port, frontend = rng.choice(frontends)
        number = frontend.port if rng.random() < 0.8 else rng.randrange(1, 65536)
        address = frontend.address if rng.random() < 0.9 else f"10.96.255.{rng.randrange(256)}"
        protocol = port.name.protocol if rng.random() < 0.8 else rng.choice([Protocol.TCP, Protocol.UDP])
        made.append(Packet(rng.choice(sources), address, protocol, number))
    return made


def _verdicts(view: NodeView, kernel: Ruleset, packet: Packet) -> tuple[set[Any], set[Any]]:
    foreseen = trace(view, packet)
    wanted: set[Any] = {(each.endpoint.address, each.endpoint.port, each.masqueraded) for each in foreseen.choices}
    if foreseen.outcome is not Outcome.FORWARD:
        wanted = {"untouched" if foreseen.outcome is Outcome.PASS else foreseen.outcome.value}
    from_node = classify(view, packet.source) is Source.NODE
    entering = interpret.Packet(packet.source, packet.destination, packet.port, packet.protocol, from_node=from_node)
    met: set[Any] = set()
    for slot in range(max(1, len(foreseen.choices))):
        fate = interpret.interpret(kernel, entering, lambda n, slot=slot: slot % n, frozenset(view.node_addresses))  # type: ignore[misc]
        met.add((*fate.endpoint, fate.masqueraded) if fate.endpoint else fate.verdict)
    return wanted, met


async def _create(api: ApiClient, kind: Kind, body: Document) -> Document:
    document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    return await api.write("create", kind, "default", body["metadata"].get("name", ""), document)


async def _answers(api: ApiClient) -> bool:
    try:
        await api.get(SERVICE, "default", "steady")
    except (ApiUnavailable, ApiError):
        return False
    return True


async def _until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {PATIENCE:.0f} s")
        await asyncio.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    as_by_ctrl_c()
    print(f"seed {chosen.seed}", flush=True)
    try:
        with cluster("soak") as made:
            report = asyncio.run(soak(made, chosen.minutes * 60, chosen.seed, lambda line: print(line, flush=True)))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{report.writes} writes acknowledged, {report.unknown} unanswered, kills {report.kills}, "
        f"{report.requests} requests through the steady Service, {report.packets} packets compared"
    )
    for fault in report.faults:
        print(f"FAULT {fault}")
    print("all well" if not report.faults else f"{len(report.faults)} faults")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
