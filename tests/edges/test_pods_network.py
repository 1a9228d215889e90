"""Does giving up on a pod's network give up, even when the `ip` process has just ended by itself?"""

import asyncio
from typing import Any

import pytest

from mooring.edges.pods import network


class Ended:
    """A process that ended between its last word and our wish to kill it."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def communicate(self, _: bytes) -> tuple[bytes, bytes]:
        self.asked.set()
        await asyncio.Event().wait()
        return b"", b""

    def kill(self) -> None:
        raise ProcessLookupError

    async def wait(self) -> int:
        return 0


async def test_a_process_that_is_already_gone_does_not_hide_the_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Ended()

    async def start(*_: Any, **__: Any) -> Ended:
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    task = asyncio.create_task(network.detach("a-pod"))
    await process.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
