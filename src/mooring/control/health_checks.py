"""Who asks this node whether a Service has endpoints here, and where? Balancers, at its health-check node port.

One small server for each Service that has such a port, on the addresses where node ports answer. It says what kube-proxy's
says, so that any cloud's balancer understands it: 200 with the number of local ready endpoints, 503 when there is none or when
the tables do not follow the API. Ports are opened, moved and closed in a task of their own, never in the way of packets.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial

import structlog
from msgspec import Struct

from mooring.control.reconciler import Report
from mooring.ports.health import Answer, AnswerServer, Listening
from mooring.services.health_check import HealthCheck
from mooring.services.view import ServiceName

RETRY = 30.0
"""Seconds after which a port that was taken is tried again, if nothing changes before."""

log = structlog.get_logger(__name__)


class Opened(Struct, frozen=True):
    """What is listened on for a Service. `listening` is None where the port was refused."""

    port: int
    addresses: tuple[str, ...]
    listening: Listening | None = None


class HealthChecks:
    """`change` from the loop that follows Services, once their packets do; `run` until cancelled."""

    def __init__(
        self, server: AnswerServer, node: str, is_healthy: Callable[[], bool], report: Callable[[Report], None]
    ) -> None:
        self._server, self._node, self._is_healthy, self._report = server, node, is_healthy, report
        self._uids: dict[ServiceName, str] = {}
        self._wished: dict[ServiceName, HealthCheck] = {}
        self._opened: dict[ServiceName, Opened] = {}
        self._addresses: tuple[str, ...] = ()
        self._changed = asyncio.Event()

    def change(self, name: ServiceName, check: HealthCheck | None, uid: str = "") -> None:
        """What a Service asks for now; None for nothing. `uid` is the Service's, for Events."""
        before = self._wished.get(name)
        if check == before:
            return
        if check is None:
            del self._wished[name], self._uids[name]
        else:
            self._wished[name], self._uids[name] = check, uid
        if before is None or check is None or before.port != check.port:
            self._changed.set()

    def move(self, addresses: tuple[str, ...]) -> None:
        """Node ports answer at these addresses now."""
        if addresses != self._addresses:
            self._addresses = addresses
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled; then all ports are closed."""
        try:
            while True:
                refused = any(each.listening is None for each in self._opened.values())
                try:
                    async with asyncio.timeout(RETRY if refused else None):
                        await self._changed.wait()
                except TimeoutError:
                    pass
                self._changed.clear()
                await self._close_unwished()
                await self._open_wished()
        finally:
            for each in self._opened.values():
                if each.listening:
                    await each.listening.close()

    async def _close_unwished(self) -> None:
        """All before any is opened: a port may go from one Service to another."""
        for name, opened in list(self._opened.items()):
            wished = self._wished.get(name)
            if wished is None or (wished.port, self._addresses) != (opened.port, opened.addresses):
                del self._opened[name]
                if opened.listening:
                    await opened.listening.close()

    async def _open_wished(self) -> None:
        for name, wished in list(self._wished.items()):
            opened, uid, addresses = self._opened.get(name), self._uids.get(name, ""), self._addresses
            if opened and opened.listening:
                continue
            try:
                listening = await self._server.listen(addresses, wished.port, partial(self._answer, name))
            except OSError as error:
                if opened is None:
                    self._refused(name, uid, wished.port, error)
                self._opened[name] = Opened(wished.port, addresses)
            else:
                self._opened[name] = Opened(wished.port, addresses, listening)

    def _refused(self, name: ServiceName, uid: str, port: int, error: OSError) -> None:
        full = "/".join(name)
        log.error("a health-check node port cannot be opened", service=full, port=port, error=str(error))
        metadata = {"namespace": name[0], "name": name[1], "uid": uid}
        message = f'node {self._node} failed to start healthcheck "{full}" on port {port}: {error}'
        service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
        self._report(Report(service, "Warning", "FailedToStartServiceHealthcheck", message))

    def _answer(self, name: ServiceName) -> Answer:
        wished = self._wished.get(name)
        return answer(name, wished.local_endpoints if wished else 0, self._is_healthy())


def answer(name: ServiceName, local_endpoints: int, healthy: bool) -> Answer:
    """What kube-proxy says of a Service at its health-check node port."""
    document = {
        "service": {"namespace": name[0], "name": name[1]},
        "localEndpoints": local_endpoints,
        "serviceProxyHealthy": healthy,
    }
    headers = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(local_endpoints),
    }
    return Answer(200 if local_endpoints and healthy else 503, json.dumps(document, indent="\t"), headers)
