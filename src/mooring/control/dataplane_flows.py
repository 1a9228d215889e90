"""Who forgets the UDP flows that a change made stale? A task of its own, after the tables changed, in no change's way."""

import asyncio
from collections.abc import Collection
from time import monotonic

import structlog

from mooring.control.dataplane_metrics import DataplaneMetrics
from mooring.dataplane.conntrack import Flow, Place, Serving
from mooring.ports.conntrack import Conntrack, ConntrackError
from mooring.services.view import Family

RETRY = 1.0
"""Seconds after a refusal of the kernel."""

log = structlog.get_logger(__name__)


class StaleFlows:
    """`serving` is what the loop that follows Services keeps true; `run` until cancelled."""

    def __init__(self, conntrack: Conntrack, serving: Serving, metrics: DataplaneMetrics) -> None:
        self._conntrack, self._serving, self._metrics = conntrack, serving, metrics
        self._suspects: set[Place] = set()
        self._suspicious = asyncio.Event()

    def suspect(self, frontends: Collection[Place]) -> None:
        """The tables have changed so that flows to these frontends may be stale."""
        if frontends:
            self._suspects.update(frontends)
            self._suspicious.set()

    async def run(self) -> None:
        while True:
            await self._suspicious.wait()
            self._suspicious.clear()
            among, self._suspects = self._suspects, set()
            try:
                await self._forget(among)
            except ConntrackError as error:
                log.warning("stale UDP flows may remain", error=str(error))
                await asyncio.sleep(RETRY)
                self.suspect(among)

    async def _forget(self, among: Collection[Place]) -> None:
        begun = monotonic()
        found = self._serving.stale(await self._conntrack.udp_flows(), among)
        for family in {_family(frontend) for frontend in among}:
            mine = [flow for flow in found if _family(flow.destination) is family]
            self._metrics.forgotten.labels(family.value).inc(await self._conntrack.delete(mine))
            self._metrics.conntrack.labels(family.value).observe(monotonic() - begun)
        if found:
            log.info("forgot stale UDP flows", flows=len(found), examples=[_words(flow) for flow in found[:3]])


def _family(place: Place) -> Family:
    return Family.IPV6 if ":" in place[0] else Family.IPV4


def _words(flow: Flow) -> str:
    return " ".join(f"{name}={address}:{port}" for name, (address, port) in (("to", flow.destination), ("server", flow.server)))
