"""How do the nodes, and the switch that joins them, learn where pods are? Routes that follow the Node objects.

The switch needs them too: what listens there (the API server) answers pods at their own addresses.
"""

import asyncio

import structlog

from mooring.control.informer import Informer
from mooring.edges.netlink import routes
from mooring.model.kinds import NODE
from mooring.model.node import Node, node
from mooring.ports.api import Api

log = structlog.get_logger("routes")

RETRY = 1.0
"""Seconds after a refusal of the kernel."""


async def follow_routes(api: Api, me: str, namespace: str = "") -> None:
    """Keeps routes to the pods of every node but `me` true, in `namespace` or this process's own, until cancelled."""
    nodes: Informer[Node] = Informer(api, NODE, node)
    changed = asyncio.Event()
    nodes.subscribe(lambda before, after: changed.set())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(nodes.run())
        await nodes.synced.wait()
        while True:
            changed.clear()
            try:
                if lines := await routes.apply(routes.routes(nodes.cache.list(), me), namespace):
                    log.info("routes changed", place=namespace or me, commands=lines)
            except routes.RouteError as error:
                log.warning("routes refused", place=namespace or me, error=str(error))
                await asyncio.sleep(RETRY)
                continue
            await changed.wait()
