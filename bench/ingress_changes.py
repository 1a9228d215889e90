"""Does any request fail while Ingresses change 20 times a second, control planes are killed, and proxies are replaced?

Options: `--seconds N` of changes (default 60), `--rate N` changes a second (default 20), `--kills N` (default 5),
`--replacements N` of all proxies (default 2).

A cluster of its own, both classes at once. From outside each class gets 200 requests a second over kept connections and 20 over
new ones, by HTTP and as many by HTTPS. In turn a route, a canary's weight, a certificate and the endpoints of a Service change.
Then the proxies' control processes, the API server and the controllers get kill -9 together, again and again; then all proxies
are replaced by a rollout. A request over a kept connection that was closed before any octet of an answer is sent again
(RFC 9112, 9.3.1) and counted apart.
"""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench._cluster import MOORING, Cluster, cluster
from mooring.edges import cgroups
from mooring.edges.http import kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.model.kinds import BY_KIND, DEPLOYMENT, ENDPOINT_SLICE, POD, SECRET, Kind
from mooring.ports.api import ApiError, ApiUnavailable
from mooring.testing.certificates import self_signed

Document = dict[str, Any]
Tallies = dict[str, Document]

SOURCE = Path(__file__).with_name("_steady_http.py").read_text()
CLASSES = ("mooring-envoy", "mooring-nginx")
INGRESS = BY_KIND["networking.k8s.io/v1", "Ingress"]
HOST, BACKENDS = "steady.example", 4
RATE, CONNECTIONS, FRESH = 200, 16, 20
SYSTEM = "mooring-system"
PATIENCE = 120.0
CERTIFICATES = [self_signed(HOST, source=str(number)) for number in range(3)]


def run(options: Sequence[str]) -> dict[str, float | str]:
    """Requests, failures and repeated ones of each step, class and scheme. Raises RuntimeError when something does not come."""

    def option(name: str, default: float) -> float:
        return float(options[options.index(name) + 1]) if name in options else default

    seconds, rate = option("--seconds", 60), option("--rate", 20)
    kills, replacements = int(option("--kills", 5)), int(option("--replacements", 2))
    figures: dict[str, float | str] = {}
    with cluster("changes") as made:

        async def steps() -> None:
            async with ApiClient(kubeconfig.load(made.kubeconfig)) as api:
                place = Place(made, api, "default")
                await place.prepare()
                with place.load() as load:
                    reached = await place.change(int(seconds * rate), rate)
                    figures["changes a second"] = reached
                    figures.update(told(f"{int(seconds * rate):,} changes", load.taken()))
                    for _ in range(kills):
                        await place.kill()
                    figures.update(told(f"kill -9 of all control, {kills} times", load.taken()))
                    for _ in range(replacements):
                        await place.replace()
                    figures.update(told(f"replacement of all proxies, {replacements} times", load.taken()))

        asyncio.run(steps())
    return figures


def told(step: str, tallies: Tallies) -> dict[str, float | str]:
    figures: dict[str, float | str] = {}
    for name, tally in tallies.items():
        for what in ("failed", "requests", "retried", "opened", "certificates"):
            figures[f"{step}, {name}: {what}"] = tally[what]
        if tally["failures"]:
            figures[f"{step}, {name}: why"] = json.dumps(tally["failures"])
    return figures


class Load:
    """The load generator outside. `taken` gives and forgets the tallies."""

    def __init__(self, made: Cluster, targets: Document) -> None:
        words = [MOORING, "exec", "--outside", "--", sys.executable, "-u", "-c", SOURCE, json.dumps(targets)]
        self._process = subprocess.Popen(words, env=made.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Load":
        assert self._process.stdout
        if self._process.stdout.readline() != "begun\n":
            raise RuntimeError("no requests are sent")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._process.communicate("\n", timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def taken(self) -> Tallies:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("now\n")
        self._process.stdin.flush()
        found: Tallies = json.loads(self._process.stdout.readline())
        return found


class Place:
    """A namespace of a cluster with one application behind both classes."""

    def __init__(self, made: Cluster, api: ApiClient, namespace: str) -> None:
        self.made, self.api, self.namespace = made, api, namespace
        self.addresses: dict[str, str] = {}
        self.pods: list[str] = []

    # --- What is there

    async def prepare(self) -> None:
        """Until both classes answer by HTTP and HTTPS."""
        for number in range(BACKENDS):
            await self._create(POD, f"web-{number}", {"spec": _pod()})
        await _until("the pods", self._ready)
        for name in ("web", "next"):
            await self._create(BY_KIND["v1", "Service"], name, {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}})
            await self._create(ENDPOINT_SLICE, f"{name}-1", _slice(name, self.pods))
        await self._create(SECRET, "steady-tls", {"type": "kubernetes.io/tls", "data": _pair(0)})
        for class_name in CLASSES:
            for canary in (False, True):
                name = f"{'canary' if canary else 'main'}-{class_name}"
                await self._create(INGRESS, name, _ingress(class_name, canary))
        await _until("the addresses", self._addressed)
        await _until("the answers", self._answered)

    async def _ready(self) -> bool:
        found = (await self.api.list(POD, self.namespace)).items
        ready = [each for each in found if _is_ready(each)]
        self.pods = sorted(each["status"]["podIP"] for each in ready if each["metadata"]["name"].startswith("web-"))
        return len(self.pods) == BACKENDS

    async def _addressed(self) -> bool:
        for class_name in CLASSES:
            found = await self.api.get(INGRESS, self.namespace, f"main-{class_name}")
            given = found.get("status", {}).get("loadBalancer", {}).get("ingress") or ({},)
            self.addresses[class_name] = given[0].get("ip", "")
        return all(self.addresses.values())

    async def _answered(self) -> bool:
        """So that nothing of the start is counted: every target answers, and so does every proxy pod."""
        if not all([await self._rolled_out(each) for each in CLASSES]):
            return False
        with self.load() as load:
            await asyncio.sleep(1.0)
            return all(each["requests"] and not each["failed"] for each in load.taken().values())

    def load(self) -> Load:
        targets = {
            f"{class_name}, {'https' if tls else 'http'}": {
                "address": address, "host": HOST, "tls": tls, "rate": RATE, "connections": CONNECTIONS, "fresh": FRESH,
            }
            for class_name, address in self.addresses.items()
            for tls in (False, True)
        }  # fmt: skip
        return Load(self.made, targets)

    # --- What happens to it

    async def change(self, count: int, rate: float) -> float:
        """Makes so many changes, at most `rate` a second; the rate that came of it."""
        begun = time.monotonic()
        for turn in range(count):
            await asyncio.sleep(max(0.0, turn / rate - (time.monotonic() - begun)))
            await self._change(turn)
        return count / (time.monotonic() - begun)

    async def _change(self, turn: int) -> None:
        kind, number = turn % 4, turn // 4
        class_name = CLASSES[number % 2]
        if kind == 0:
            paths = [_path("web", "/"), *(_path("next", f"/other-{each}") for each in range(number % 3))]
            spec = {"rules": [{"host": HOST, "http": {"paths": paths}}]}
            await self._patch(INGRESS, f"main-{class_name}", {"spec": spec})
        elif kind == 1:
            annotations = {"nginx.ingress.kubernetes.io/canary-weight": str(number * 7 % 101)}
            await self._patch(INGRESS, f"canary-{class_name}", {"metadata": {"annotations": annotations}})
        elif kind == 2:
            await self._patch(SECRET, "steady-tls", {"data": _pair(number)})
        else:
            gone = number % BACKENDS
            name = ("web", "next")[number % 2]
            rest = [each for place, each in enumerate(self.pods) if place != gone]
            await self._patch(ENDPOINT_SLICE, f"{name}-1", {"endpoints": _endpoints(rest)})

    async def kill(self) -> None:
        """All that controls and nothing that serves, at once; until it is back."""
        group = cgroups.subtree(self.made.name)
        victims = [pid for role in ("apiserver", "controllers") for pid in cgroups.processes(group / role)]
        for pid in (*victims, *_controls(group)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        await asyncio.sleep(1.0)
        await _until("the API server", self._api_answers)

    async def _api_answers(self) -> bool:
        await self.api.get(INGRESS, self.namespace, f"main-{CLASSES[0]}")
        return True

    async def replace(self) -> None:
        """As `kubectl rollout restart` does it."""
        for class_name in CLASSES:
            annotations = {"kubectl.kubernetes.io/restartedAt": str(time.time())}
            body = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
            await self.api.write("patch", DEPLOYMENT, SYSTEM, f"ingress-{class_name}", body)
        for class_name in CLASSES:
            await _until(f"the replacement of {class_name}", lambda each=class_name: self._rolled_out(each))  # type: ignore[misc]

    async def _rolled_out(self, class_name: str) -> bool:
        found = await self.api.get(DEPLOYMENT, SYSTEM, f"ingress-{class_name}")
        status, wanted = found.get("status", {}), found["spec"]["replicas"]
        counts = [status.get(each, 0) for each in ("replicas", "updatedReplicas", "availableReplicas")]
        return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [wanted] * 3

    # --- By the API

    async def _create(self, kind: Kind, name: str, body: Document) -> None:
        metadata = {**body.get("metadata", {}), "name": name}
        document = {"apiVersion": kind.api_version, "kind": kind.kind, **body, "metadata": metadata}
        await self.api.write("create", kind, self.namespace, name, document)

    async def _patch(self, kind: Kind, name: str, body: Document) -> None:
        await self.api.write("patch", kind, self.namespace, name, body)


def _controls(group: Path) -> Iterator[int]:
    """The control processes of proxy pods, in whatever cgroup of the cluster."""
    for file in group.rglob("cgroup.procs"):
        for pid in cgroups.processes(file.parent):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            # The supervisor's words end on the same ones, for it starts them.
            if words[2:4] == [b"mooring.cli.main", b"gateway"] and b"--control" in words:
                yield pid


def _is_ready(pod: Document) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod.get("status", {}).get("conditions") or ())


def _pod() -> Document:
    probe = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1}
    container = {"name": "main", "image": "mooring.dev/echo", "readinessProbe": probe}
    return {"containers": [container], "terminationGracePeriodSeconds": 1}


def _slice(service: str, addresses: Sequence[str]) -> Document:
    labels = {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "bench"}
    ports = [{"name": "", "port": 8080, "protocol": "TCP"}]
    return {"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": _endpoints(addresses), "ports": ports}


def _endpoints(addresses: Sequence[str]) -> list[Document]:
    return [{"addresses": [each], "conditions": {"ready": True}} for each in addresses]


def _pair(number: int) -> Document:
    found = CERTIFICATES[number % len(CERTIFICATES)]
    return {"tls.crt": base64.b64encode(found.chain).decode(), "tls.key": base64.b64encode(found.key).decode()}


def _path(service: str, path: str) -> Document:
    return {"path": path, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}


def _ingress(class_name: str, canary: bool) -> Document:
    prefix = "nginx.ingress.kubernetes.io"
    annotations = {f"{prefix}/ssl-redirect": "false"}
    if canary:
        annotations = {f"{prefix}/canary": "true", f"{prefix}/canary-weight": "50"}
    spec: Document = {"ingressClassName": class_name}
    spec["rules"] = [{"host": HOST, "http": {"paths": [_path("next" if canary else "web", "/")]}}]
    if not canary:
        spec["tls"] = [{"hosts": [HOST], "secretName": "steady-tls"}]
    return {"metadata": {"annotations": annotations}, "spec": spec}


async def _until(what: str, holds: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if await holds():
                return
        except (ApiUnavailable, ApiError) as error:
            if time.monotonic() > end:
                raise RuntimeError(f"{what}: {error}") from error
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {PATIENCE:.0f} s")
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    sys.exit("run `python -m bench ingress_changes`")
