"""How is something tried against the real API server? On SQLite and HTTPS, in the caller's own loop, with a client for it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from mooring.app.roles.apiserver import Listen, Options, serve
from mooring.edges.http import kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.edges.pki import Pki
from mooring.edges.pki import kubeconfig as write_kubeconfig
from mooring.model.kinds import NAMESPACE
from mooring.ports.api import ApiError


@asynccontextmanager
async def real_server(data_dir: Path, network: str = "") -> AsyncIterator[ApiClient]:
    """Gives an administrator's client. There is a namespace `default`, and `data_dir/kubeconfig`. In the network namespace, if
    one is named, the server listens too, and `data_dir/kubeconfig.inside` is for there."""
    ready: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
    listen = tuple(Listen("127.0.0.1", 0, each) for each in (("", network) if network else ("",)))

    def listening(addresses: Sequence[tuple[str, int]]) -> None:
        ready.set_result([port for _, port in addresses])

    serving = asyncio.create_task(serve(Options(data_dir, listen), listening))
    try:
        serving.add_done_callback(partial(_tell_failure, ready))
        pki = Pki(data_dir / "pki")
        for port, name in zip(await ready, ("kubeconfig", "kubeconfig.inside"), strict=False):
            (data_dir / name).write_text(write_kubeconfig(f"https://127.0.0.1:{port}", pki.authority, pki.admin()))
        async with ApiClient(kubeconfig.load(data_dir / "kubeconfig")) as client:
            with suppress(ApiError):  # the server may make it by itself
                await client.write("create", NAMESPACE, "", "default", {"metadata": {"name": "default"}})
            yield client
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def _tell_failure(ready: asyncio.Future[list[int]], ended: asyncio.Task[None]) -> None:
    if not ready.done() and not ended.cancelled():
        ready.set_exception(ended.exception() or RuntimeError("the API server ended before it served"))
