"""Do health-check node ports open, move and close with their Services, and say what kube-proxy's say?"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest

from mooring.control import health_checks
from mooring.control.health_checks import HealthChecks, answer
from mooring.control.reconciler import Report
from mooring.edges.memory.health import MemoryAnswerServer
from mooring.services.health_check import HealthCheck

WEB, API = ("default", "web"), ("prod", "api")
HERE, THERE = "172.30.0.11", "172.30.0.12"


class Node:
    """A node's health checks, its ports in memory, and what it reported."""

    def __init__(self) -> None:
        self.ports, self.reports, self.healthy = MemoryAnswerServer(), list[Report](), True
        self.checks = HealthChecks(self.ports, "node-a", lambda: self.healthy, self.reports.append)
        self.checks.move((HERE,))

    def ask(self, name: tuple[str, str], port: int, local: int) -> None:
        self.checks.change(name, HealthCheck(*name, port, local), f"uid-{name[1]}")

    def said(self, port: int, address: str = HERE) -> tuple[int, dict[str, Any]] | None:
        served = self.ports.served.get((address, port))
        return (served().status, json.loads(served().body)) if served else None

    async def settled(self, *expected: tuple[str, int]) -> None:
        await until(lambda: self.ports.served.keys() == set(expected))


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    monkeypatch.setattr(health_checks, "RETRY", 0.01)
    made = Node()
    running = asyncio.create_task(made.checks.run())
    yield made
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert made.ports.served == {}, "an agent that ends closes its ports"


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    ("local", "healthy", "status"),
    [
        pytest.param(2, True, 200, id="local endpoints"),
        pytest.param(0, True, 503, id="none here"),
        pytest.param(2, False, 503, id="tables that do not follow"),
    ],
)
def test_the_answer_is_kube_proxys(local: int, healthy: bool, status: int) -> None:
    said = answer(WEB, local, healthy)
    assert said.status == status
    assert said.headers == {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(local),
    }
    assert said.body == (
        '{\n\t"service": {\n\t\t"namespace": "default",\n\t\t"name": "web"\n\t},\n'
        f'\t"localEndpoints": {local},\n\t"serviceProxyHealthy": {"true" if healthy else "false"}\n}}'
    )


async def test_a_port_opens_follows_its_service_and_closes(node: Node) -> None:
    node.ask(WEB, 32000, 1)
    await node.settled((HERE, 32000))
    assert node.said(32000) == (
        200,
        {"service": {"namespace": "default", "name": "web"}, "localEndpoints": 1, "serviceProxyHealthy": True},
    )
    node.ask(WEB, 32000, 0)
    assert (node.said(32000) or (0,))[0] == 503, "at once: nothing needs to be opened"
    node.ask(WEB, 32000, 3)
    node.healthy = False
    assert (node.said(32000) or (0,))[0] == 503
    node.checks.change(WEB, None)
    await node.settled()


async def test_ports_move_with_their_number_and_with_the_nodes_addresses(node: Node) -> None:
    node.ask(WEB, 32000, 1)
    node.ask(API, 32001, 2)
    await node.settled((HERE, 32000), (HERE, 32001))
    node.ask(WEB, 32005, 1)
    await node.settled((HERE, 32005), (HERE, 32001))
    node.checks.move((THERE, HERE))
    await node.settled(*((address, port) for address in (HERE, THERE) for port in (32005, 32001)))


async def test_a_port_goes_from_one_service_to_another_in_one_step(node: Node) -> None:
    node.ask(WEB, 32000, 1)
    await node.settled((HERE, 32000))
    node.ask(API, 32000, 2)
    node.checks.change(WEB, None)
    await until(lambda: (node.said(32000) or (0, {}))[1].get("localEndpoints") == 2)
    assert node.reports == []


async def test_a_taken_port_is_told_once_harms_no_other_and_is_tried_again(node: Node) -> None:
    node.ports.taken.add(32000)
    node.ask(WEB, 32000, 1)
    node.ask(API, 32001, 2)
    await node.settled((HERE, 32001))
    await until(lambda: bool(node.reports))
    (report,) = node.reports
    assert (report.type, report.reason) == ("Warning", "FailedToStartServiceHealthcheck")
    assert report.regarding["metadata"] == {"namespace": "default", "name": "web", "uid": "uid-web"}
    assert report.message.startswith('node node-a failed to start healthcheck "default/web" on port 32000: ')
    assert "in use" in report.message
    node.ports.taken.clear()
    await node.settled((HERE, 32000), (HERE, 32001))
    assert len(node.reports) == 1


async def test_a_port_that_is_taken_too_is_told_again(node: Node) -> None:
    node.ports.taken |= {32000, 32005}
    node.ask(WEB, 32000, 1)
    await until(lambda: len(node.reports) == 1)
    node.ask(WEB, 32005, 1)
    await until(lambda: len(node.reports) == 2)
    assert "on port 32005" in node.reports[1].message
