"""Do listeners change at once when that is rare, and rarely when it is not, while routes go on changing?"""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from envoy_lab import DEADLINE, Lab, backend, lab, resources, running, table, to

from mooring.edges.envoy import pace
from mooring.edges.envoy.pace import Pace
from mooring.routing.xds.wire import LISTENER


@pytest.mark.parametrize(("name", "free", "most", "longest"), [("https", 8, 70, 9.0), ("https quic", 2, 25, 25.0)])
def test_the_first_are_free_and_the_rest_come_ever_more_rarely(name: str, free: int, most: int, longest: float) -> None:
    kept, now = pace.pace(name), 1000.0
    moments = []
    for _ in range(400):
        now = max(now, kept.next(now))
        kept.changed(now)
        moments.append(now)
    assert [1000.0] * free == moments[:free] != moments[1 : free + 1]
    assert most > max(sum(1 for each in moments if start - pace.DRAIN < each <= start) for start in moments)
    assert longest > max(after - before for before, after in pairwise(moments))
    assert kept.next(now + pace.DRAIN + 1) == now + pace.DRAIN + 1


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[Lab]:
    async with lab(tmp_path) as made:
        yield made


async def test_routes_do_not_wait_for_listeners(one: Lab) -> None:
    async with running(one), backend("a") as member, aiohttp.ClientSession() as session:
        now = asyncio.get_running_loop().time()
        one.proxy._paces["http"] = Pace(1, 1.0)
        one.proxy._paces["http"].changed(now)
        one.proxy.endpoints({"web": (member,)})
        one.apply({"first": [to("web")]}, {"web": {}})
        await one.until(session, "first", (200, "a"))
        before = one.proxy._held[LISTENER]["http"].wish
        for host in ("second", "third"):
            made = resources(one.port, {host: [to("web")]}, {"web": {}})
            wished = made[LISTENER]["http"] + bytes([0x28, 0x01] if host == "second" else [0x28, 0x00])
            one.emitter.resources = {**made, LISTENER: {"http": wished}}
            one.proxy.apply(table([host], ["web"]))
            await one.until(session, host, (200, "a"))
            held = one.proxy._held[LISTENER]["http"].wish
            assert before == held or asyncio.get_running_loop().time() >= now + 1.0
        end = asyncio.get_running_loop().time() + DEADLINE
        while wished != one.proxy._held[LISTENER]["http"].wish:
            assert asyncio.get_running_loop().time() < end, "the last listener never comes"
            await asyncio.sleep(0.01)
