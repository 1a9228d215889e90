"""From "the pod is ready" to the first packet answered through its Service, among few and among many Services.

A pod with a readiness gate is switched by patching its status, so every step is in the figure: API server, kubelet (Ready),
EndpointSlice controller, the node's dataplane, the kernel. A poller in a client pod tries the cluster IP each 2 ms.
Options: --rounds N (100), --services N,N (10,5000).
"""

import argparse
import asyncio
import statistics
import subprocess
import time
from typing import Any

from bench._cluster import Cluster, cluster, percentile
from bench._objects import PATIENCE, create, fill, service, until
from mooring.edges.http import kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.model.kinds import POD, SERVICE

GATE = "mooring.dev/bench"
SETTLE = 0.15
"""Seconds of quiet before a round begins."""

POLLER = """
import socket, sys, time
where, up = (sys.argv[1], 80), None
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    begun = time.monotonic_ns()
    client = socket.socket()
    client.settimeout(1)
    try:
        client.connect(where)
        now = True
    except OSError:
        now = False
    client.close()
    if now != up:
        up = now
        print("up" if up else "down", time.monotonic_ns(), flush=True)
    time.sleep(max(0.0, 0.002 - (time.monotonic_ns() - begun) / 1e9))
"""


def run(options: list[str]) -> dict[str, float | str]:
    parser = argparse.ArgumentParser(prog="bench propagation")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--services", default="10,5000")
    chosen = parser.parse_args(options)
    figures: dict[str, float | str] = {}
    sizes = [int(size) for size in chosen.services.split(",")]
    with cluster("prop") as made:
        for size in sizes:
            figures |= asyncio.run(_measure(made, size, chosen.rounds))
    first, last = (figures[f"services_{size}_p50_ms"] for size in (sizes[0], sizes[-1]))
    return {f"ratio_p50_{sizes[-1]}_to_{sizes[0]}": float(last) / float(first), **figures}


async def _measure(made: Cluster, services: int, rounds: int) -> dict[str, float | str]:
    async with ApiClient(kubeconfig.load(made.kubeconfig)) as api:
        await fill(api, services)
        address = (await create(api, SERVICE, service("measured", {"app": "measured"})))["spec"]["clusterIP"]
        await create(api, POD, _pod("measured", "mooring.dev/echo", gated=True))
        await create(api, POD, _pod("client", "mooring.dev/toolbox"))
        await until(lambda: _condition(api, "client", "Ready"))
        await until(lambda: _condition(api, "measured", "ContainersReady"))
        seconds = str(60 + rounds * 2)
        with made.start("exec", "client", "--", "python3", "-c", POLLER, address, seconds) as poller:
            try:
                taken = [await _round(api, poller) for _ in range(rounds)]
            finally:
                poller.terminate()
    return {
        f"services_{services}_p50_ms": statistics.median(taken),
        f"services_{services}_p99_ms": percentile(taken, 0.99),
        f"services_{services}_max_ms": max(taken),
    }


async def _round(api: ApiClient, poller: "subprocess.Popen[str]") -> float:
    await _switch(api, "False")
    await _line(poller, "down")
    await asyncio.sleep(SETTLE)
    begun = time.monotonic_ns()
    await _switch(api, "True")
    return (await _line(poller, "up") - begun) / 1e6


async def _line(poller: "subprocess.Popen[str]", wanted: str) -> int:
    """The poller's clock when it saw that; CLOCK_MONOTONIC is one for all namespaces."""
    assert poller.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while True:
            state, _, at = (await asyncio.to_thread(poller.stdout.readline)).partition(" ")
            if state == wanted:
                return int(at)
            if not state:
                raise RuntimeError("the poller ended early")


async def _switch(api: ApiClient, status: str) -> None:
    body = {"status": {"conditions": [{"type": GATE, "status": status}]}}
    await api.write(
        "patch", POD, "default", "measured", body, subresource="status", patch_type="application/strategic-merge-patch+json"
    )


async def _condition(api: ApiClient, pod: str, kind: str) -> bool:
    conditions = (await api.get(POD, "default", pod)).get("status", {}).get("conditions") or []
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def _pod(name: str, image: str, gated: bool = False) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "readinessGates": [{"conditionType": GATE}] if gated else [],
            "containers": [{"name": "main", "image": image}],
        },
    }
