"""Does a node say with which options it carries out Services, and only that, and does it go on when it may not?"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from mooring.control import proxy_options
from mooring.control.informer import Informer
from mooring.edges.memory.api import MemoryApi
from mooring.model.kinds import NODE
from mooring.model.node import Node, node
from mooring.ports.api import ApiError
from mooring.services.locality import ANNOTATION, DetectLocal, ProxyOptions, options_of

CHOSEN = ProxyOptions(("all",), True, DetectLocal.CLUSTER_CIDR, ("10.244.0.0/16",))


class Counting(MemoryApi):
    """Refuses writes of Nodes while `refusing`."""

    refusing = False
    writes = 0

    async def write(self, verb: Any, kind: Any, *more: Any, **named: Any) -> Any:
        if kind is NODE and verb == "patch":
            self.writes += 1
            if self.refusing:
                raise ApiError(403, "Forbidden", "nodes is forbidden")
        return await super().write(verb, kind, *more, **named)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Counting:
    monkeypatch.setattr(proxy_options, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(proxy_options, "LAST_PAUSE", 0.01)
    return Counting()


async def register(api: Counting, **annotations: str) -> None:
    metadata = {"name": "a", "annotations": annotations}
    await api.write("create", NODE, "", "a", {"kind": "Node", "apiVersion": "v1", "metadata": metadata})


@asynccontextmanager
async def published(api: Counting, options: ProxyOptions) -> AsyncIterator[Informer[Node]]:
    nodes: Informer[Node] = Informer(api, NODE, node, fields="metadata.name=a")
    tasks = [asyncio.create_task(nodes.run()), asyncio.create_task(proxy_options.publish(api, nodes, "a", options))]
    try:
        yield nodes
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.002)


def said(nodes: Informer[Node]) -> str | None:
    me = nodes.cache.get("", "a")
    return (me.metadata.annotations or {}).get(ANNOTATION) if me else None


async def test_options_are_written_as_they_are_read_and_restored_when_somebody_removes_them(api: Counting) -> None:
    async with published(api, CHOSEN) as nodes:
        await register(api, mine="kept")
        await until(lambda: said(nodes) is not None)
        me = nodes.cache.get("", "a")
        assert me and options_of(me) == CHOSEN
        assert (me.metadata.annotations or {})["mine"] == "kept"
        await api.write("patch", NODE, "", "a", {"metadata": {"annotations": {ANNOTATION: None}}})
        await until(lambda: api.writes == 3 and said(nodes) is not None)


async def test_what_is_there_already_is_not_written_again(api: Counting) -> None:
    async with published(api, CHOSEN) as nodes:
        await register(api)
        await until(lambda: said(nodes) is not None)
    writes = api.writes
    async with published(api, CHOSEN) as nodes:
        await until(lambda: said(nodes) is not None)
        await api.write("patch", NODE, "", "a", {"metadata": {"labels": {"some": "thing"}}})
        await until(lambda: (nodes.cache.get("", "a").metadata.labels or {}).get("some") == "thing")  # type: ignore[union-attr]
    assert api.writes == writes + 1, "the label's alone"


@pytest.mark.parametrize(
    "before", ['{"nodeport-addresses": ["all"]}', '{"nodeport-addresses": ["primary"]}', "what?", '{"unknown": 1}']
)
async def test_an_annotation_that_is_not_needed_or_not_understood_goes(api: Counting, before: str) -> None:
    await register(api, **{ANNOTATION: before})
    async with published(api, ProxyOptions()) as nodes:
        await until(lambda: nodes.cache.get("", "a") is not None and said(nodes) is None)


async def test_defaults_are_not_written(api: Counting) -> None:
    await register(api)
    async with published(api, ProxyOptions()) as nodes:
        await until(lambda: nodes.cache.get("", "a") is not None)
        await api.write("patch", NODE, "", "a", {"metadata": {"labels": {"some": "thing"}}})
        await until(lambda: bool(nodes.cache.get("", "a").metadata.labels))  # type: ignore[union-attr]
    assert api.writes == 1, "the label's alone"


async def test_an_agent_that_may_not_write_nodes_says_so_once_and_tries_on(api: Counting) -> None:
    api.refusing = True
    with capture_logs() as logs:
        async with published(api, CHOSEN) as nodes:
            await register(api)
            await until(lambda: api.writes >= 3)
            api.refusing = False
            await until(lambda: said(nodes) is not None)
    assert [each["error"] for each in logs if each["log_level"] == "warning"] == ["nodes is forbidden"]
