"""How is something tried against the real API server? On SQLite and HTTPS, in the caller's own loop, with a client for it."""

import asyncio
from collections.abc import AsyncIterator
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
async def real_server(data_dir: Path) -> AsyncIterator[ApiClient]:
    """Gives an administrator's client. There is a namespace `default`, and `data_dir/kubeconfig`."""
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    options = Options(data_dir, (Listen("127.0.0.1", 0),))
    serving = asyncio.create_task(serve(options, lambda addresses: ready.set_result(addresses[0][1])))
    try:
        serving.add_done_callback(partial(_tell_failure, ready))
        port = await ready
        pki = Pki(data_dir / "pki")
        file = data_dir / "kubeconfig"
        file.write_text(write_kubeconfig(f"https://127.0.0.1:{port}", pki.authority, pki.admin()))
        async with ApiClient(kubeconfig.load(file)) as client:
            with suppress(ApiError):  # the server may make it by itself
                await client.write("create", NAMESPACE, "", "default", {"metadata": {"name": "default"}})
            yield client
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def _tell_failure(ready: asyncio.Future[int], ended: asyncio.Task[None]) -> None:
    if not ready.done() and not ended.cancelled():
        ready.set_exception(ended.exception() or RuntimeError("the API server ended before it served"))
