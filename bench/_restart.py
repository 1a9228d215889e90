"""How long until the API server serves again with many objects, and how much memory do they take?

The objects are pods of some 3 kB, ConfigMaps and Services, copies of one of each that the API has taken in. A fifth of them
have changed since history was compacted, so there is history to read too. The server is killed with SIGKILL and started again.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mooring.edges.sqlite.store import SqliteStore
from mooring.model.kinds import CONFIG_MAP, POD, SERVICE
from mooring.store.records import Put, Txn

NAMESPACES = 20
SHARES = ((POD, 6), (CONFIG_MAP, 2), (SERVICE, 2))
"""Of ten objects."""
SEED = "seed-object"
_BATCH = 2000

Start = Callable[[Path], AbstractContextManager[tuple[Any, Any]]]
"""Gives (bench.apiserver.Place, the process)."""


def restarted(start: Start, data_dir: Path, objects: int) -> dict[str, float]:
    with start(data_dir) as (place, process):
        asyncio.run(_seed(place))
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    asyncio.run(_fill(data_dir / "state.db", objects))
    with start(data_dir) as (place, process):
        before = asyncio.run(_write(place))
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    started = time.perf_counter()
    with start(data_dir) as (place, _):
        asyncio.run(_ready(place))
        took = time.perf_counter() - started
        processor = _processor_time(place.pid)
        memory = _memory(place.pid, "VmRSS")
        asyncio.run(_check(place, before, objects))
        listed = _memory(place.pid, "VmHWM")
    return {
        f"restart_{objects // 1000}k_s": took,
        f"restart_{objects // 1000}k_processor_s": processor,
        f"memory_{objects // 1000}k_mb": memory,
        f"memory_{objects // 1000}k_and_a_list_of_all_pods_mb": listed,
        f"documents_{objects // 1000}k_mb": before["size"] / 1e6,
    }


async def _seed(place: Any) -> None:
    client = await place.connect()
    for path, document in (("/api/v1/namespaces", _named("Namespace", "bench")), *_documents()):
        status, answer = await client.ask("POST", path, json.dumps(document).encode())
        if status != 201:
            raise RuntimeError(f"POST {path}: {status} {answer[:300]!r}")
    client.transport.abort()


def _named(kind: str, name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **rest}


def _documents() -> list[tuple[str, dict[str, Any]]]:
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10, "failureThreshold": 3}
    container = {
        "name": "server",
        "image": "registry.example/shop/checkout@sha256:" + "0123456789abcdef" * 4,
        "args": ["--listen=:8080", "--log-format=json", "--upstream=inventory.shop.svc.cluster.local:8080"],
        "env": [{"name": f"SETTING_{number}", "value": f"the value of setting {number}"} for number in range(12)],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": probe,
        "livenessProbe": probe,
    }
    pod = _named("Pod", SEED, spec={"containers": [container, {**container, "name": "sidecar", "ports": []}]})
    pod["metadata"] |= {"labels": {"app": "checkout", "pod-template-hash": "5d9c7f6b8d", "team": "shop"}}
    settings = {f"file-{number}.conf": "key = value\n" * 10 for number in range(4)}
    service = {"clusterIP": "None", "selector": {"app": "checkout"}, "ports": [{"name": "http", "port": 80}]}
    collection = "/api/v1/namespaces/bench"
    return [
        (f"{collection}/pods", pod),
        (f"{collection}/configmaps", _named("ConfigMap", SEED, data=settings)),
        (f"{collection}/services", _named("Service", SEED, spec=service)),
    ]


async def _fill(path: Path, objects: int) -> None:
    store = await SqliteStore.open(path)
    made: list[Put] = []
    for kind, share in SHARES:
        record = store.snapshot.get(kind.key("bench", SEED))
        assert record
        for number in range(objects * share // 10):
            name, namespace = f"{SEED}-{number:06}", f"bench-{number % NAMESPACES}"
            value = record.value.replace(f'"{SEED}"'.encode(), f'"{name}"'.encode())
            value = value.replace(b'"namespace":"bench"', f'"namespace":"{namespace}"'.encode())
            made.append(Put(kind.key(namespace, name), value))
    await _commit(store, made)
    await store.compact(store.snapshot.revision)
    await _commit(store, made[::5])
    await store.close()


async def _commit(store: SqliteStore, puts: list[Put]) -> None:
    for start in range(0, len(puts), _BATCH):
        await asyncio.gather(*(store.commit(Txn((), (put,))) for put in puts[start : start + _BATCH]))


async def _write(place: Any) -> dict[str, int]:
    """Makes an object, whose event a watch must tell after the restart."""
    client = await place.connect()
    status, listing = await client.ask("GET", "/api/v1/configmaps?limit=1")
    assert status == 200
    _, answer = await client.ask(
        "POST", "/api/v1/namespaces/bench/configmaps", json.dumps(_named("ConfigMap", "last")).encode()
    )
    _, pods = await client.ask("GET", "/api/v1/pods")
    client.transport.abort()
    return {
        "seen": int(json.loads(listing)["metadata"]["resourceVersion"]),
        "last": int(json.loads(answer)["metadata"]["resourceVersion"]),
        "size": len(pods),
    }


async def _ready(place: Any) -> None:
    client = await place.connect()
    status, answer = await client.ask("GET", "/readyz")
    assert (status, answer) == (200, b"ok")
    client.transport.abort()


async def _check(place: Any, before: dict[str, int], objects: int) -> None:
    """All objects are there, and a watch goes on where it was before the restart."""
    client = await place.connect()
    for kind, share in SHARES:
        _, page = await client.ask("GET", f"/api/v1/{kind.plural}?limit=1")
        there = 1 + json.loads(page)["metadata"]["remainingItemCount"]
        assert there >= objects * share // 10, f"{there} {kind.plural}"
    await client.ask("GET", "/api/v1/pods")
    client.transport.abort()
    heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    watcher = await place.connect(lambda line: heard.done() or heard.set_result(json.loads(line)))
    watcher.watch(f"/api/v1/configmaps?watch=1&resourceVersion={before['seen']}")
    event = await asyncio.wait_for(heard, 30)
    watcher.transport.abort()
    assert event["type"] == "ADDED"
    assert int(event["object"]["metadata"]["resourceVersion"]) == before["last"]


def _processor_time(pid: int) -> float:
    """In seconds: what the restart costs, however busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int, what: str) -> float:
    """In MB."""
    return int(Path(f"/proc/{pid}/status").read_text().split(f"{what}:")[1].split()[0]) / 1024
