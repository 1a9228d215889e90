"""Does a Node become ready, in whatever order the API server's answers and the watch's events come in?"""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mooring.control.kubelet_node import NodeReporter
from mooring.edges.memory.api import MemoryApi
from mooring.edges.pods.host import facts
from mooring.model.kinds import NODE, Kind
from mooring.pods.node import NodeIdentity, node_status

Document = dict[str, Any]
RANGES = ["10.244.0.0/24", "fd00:244::/64"]


class NoImages:
    def all(self) -> list[Any]:
        return []


class SlowAnswers(MemoryApi):
    """The first answer to a status goes out only when `after` is over: what was written in between is told before it."""

    after = asyncio.Event()
    statuses = 0

    async def write(self, verb: Any, kind: Kind, *names: Any, subresource: str = "", **more: Any) -> Document:
        answer = await super().write(verb, kind, *names, subresource=subresource, **more)
        if subresource == "status":
            self.statuses += 1
            if self.statuses == 1:
                await self.after.wait()
        return answer


async def test_an_answer_older_than_what_the_watch_has_told_is_not_believed(tmp_path: Path) -> None:
    api = SlowAnswers()
    api.after = asyncio.Event()
    reporter = NodeReporter(api, NodeIdentity("node-a", ("172.30.0.11", "fd00:172:30::11")), facts(tmp_path), NoImages())  # type: ignore[arg-type]
    running = asyncio.create_task(reporter.run(lambda: None))
    async with asyncio.timeout(60):
        while not api.statuses:
            await asyncio.sleep(0)
        await api.write("patch", NODE, "", "node-a", {"spec": {"podCIDR": RANGES[0], "podCIDRs": RANGES}})
        await reporter.ready.wait()
        api.after.set()
        while await ready(api) != "True":
            await asyncio.sleep(0.01)
    running.cancel()
    assert tuple(RANGES) == reporter.pod_cidrs


@pytest.mark.parametrize("before", [[{}], [{"type": "Ready"}], [{"type": "Ready", "status": "True"}]])
def test_a_node_tells_its_status_whatever_others_wrote_there(before: list[Document], tmp_path: Path) -> None:
    identity = NodeIdentity("node-a", ("172.30.0.11",))
    told = node_status(identity, facts(tmp_path), [], (True, ""), {"conditions": before}, datetime(2026, 1, 1, tzinfo=UTC))
    assert {"2026-01-01T00:00:00Z"} == {each["lastTransitionTime"] for each in told["conditions"]}


async def ready(api: MemoryApi) -> str:
    conditions = (await api.get(NODE, "", "node-a"))["status"]["conditions"]
    return next((each["status"] for each in conditions if each["type"] == "Ready"), "")
