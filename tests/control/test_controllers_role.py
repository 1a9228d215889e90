"""`mooring controllers` as a process against the real API server: from a Deployment to slices, its health, and its end."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from mooring.app.roles.controllers import ALL, Options, chosen
from mooring.edges.http.client import ApiClient
from mooring.model.kinds import DEPLOYMENT, ENDPOINT_SLICE, NODE, POD, SERVICE
from mooring.testing.api_server import real_server
from mooring.testing.builders import Document, node

PATIENCE = 60


@asynccontextmanager
async def controllers(kubeconfig: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments = ("controllers", "--kubeconfig", str(kubeconfig), "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mooring.cli.main", *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.1)


async def page(port: int, path: str) -> tuple[int, str]:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
            return response.status, await response.text()
    except aiohttp.ClientError as error:
        return 0, str(error)


def deployment() -> Document:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "echo"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"}, "spec": spec}


async def play_the_kubelet(api: ApiClient) -> None:
    """Every pod that has a node runs and is ready, at an address of its own."""
    pods = (await api.list(POD, "default")).items
    used = sum("podIP" in pod["status"] for pod in pods)
    for pod in pods:
        if pod["spec"].get("nodeName") and not pod["status"].get("podIP"):
            address, used = f"10.244.0.{used + 2}", used + 1
            conditions = [{"type": "Ready", "status": "True"}]
            status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
            await api.write("patch", POD, "default", pod["metadata"]["name"], {"status": status}, subresource="status")


async def test_from_a_deployment_to_slices(tmp_path: Path, unused_tcp_port: int) -> None:
    async with real_server(tmp_path) as api, controllers(tmp_path / "kubeconfig", unused_tcp_port) as process:

        async def ready() -> bool:
            return (await page(unused_tcp_port, "/readyz"))[0] == 200

        async def served() -> bool:
            await play_the_kubelet(api)
            slices = (await api.list(ENDPOINT_SLICE, "default", labels="kubernetes.io/service-name=web")).items
            return sum(each["conditions"]["ready"] for slice_ in slices for each in slice_.get("endpoints") or ()) == 3

        await until(ready)
        document = node("a", "x", "4")
        status = document.pop("status")
        await api.write("create", NODE, "", "", document)
        await api.write("patch", NODE, "", "a", {"status": status}, subresource="status")
        await api.write("create", DEPLOYMENT, "default", "", deployment())
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await api.write("create", SERVICE, "default", "", {"metadata": {"name": "web"}, "spec": spec})
        await until(served)

        status_code, metrics = await page(unused_tcp_port, "/metrics")
        assert status_code == 200
        assert 'workqueue_depth{name="endpointslice"}' in metrics
        assert "endpoint_slice_controller_endpoints_desired 3.0" in metrics
        assert (await page(unused_tcp_port, "/healthz")) == (200, "ok")

        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0


async def test_it_waits_for_a_server_that_is_not_there_yet(tmp_path: Path, unused_tcp_port: int) -> None:
    async with real_server(tmp_path):
        pass
    async with controllers(tmp_path / "kubeconfig", unused_tcp_port) as process:

        async def not_ready() -> bool:
            status, text = await page(unused_tcp_port, "/readyz")
            return status == 500 and "[-]informer-sync failed" in text and "services" in text

        await until(not_ready)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0


def test_controllers_are_chosen_as_by_upstreams_flag() -> None:
    known = ["a", "b", "c"]

    def running(*wishes: str) -> list[str]:
        return [name for name in known if chosen(name, wishes, known)]

    assert Options().controllers == (ALL,)
    assert running("*") == ["a", "b", "c"]
    assert running("*", "-b") == ["a", "c"]
    assert running("b") == ["b"]
    assert running() == []
