"""Which objects does a benchmark fill its cluster with?"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mooring.edges.http.client import ApiClient
from mooring.model.kinds import ENDPOINT_SLICE, SERVICE
from mooring.ports.api import ApiError

PATIENCE = 30.0


async def fill(api: ApiClient, services: int) -> None:
    """That many other Services, each with a selector, so that each has its EndpointSlice."""
    there = len((await api.list(SERVICE, "default")).items)
    limit = asyncio.Semaphore(16)

    async def make(number: int) -> None:
        async with limit:
            await create(api, SERVICE, service(f"filler-{number}", {"app": f"filler-{number}"}))

    await asyncio.gather(*(make(number) for number in range(there, services)))

    async def sliced() -> bool:
        return len((await api.list(ENDPOINT_SLICE, "default")).items) >= services

    await until(sliced, 300)


async def create(api: ApiClient, kind: Any, body: dict[str, Any]) -> dict[str, Any]:
    """The object as it is there, made now or before."""
    try:
        return await api.write("create", kind, "default", body["metadata"]["name"], body)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        return await api.get(kind, "default", body["metadata"]["name"])


async def until(holds: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> None:
    """Asks again and again. Raises TimeoutError."""
    async with asyncio.timeout(patience):
        while not await holds():
            await asyncio.sleep(0.1)


def service(name: str, selector: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": 8080}]},
    }
