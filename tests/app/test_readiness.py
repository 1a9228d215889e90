"""Does waiting for a part of the cluster end when its time is over, whatever the question does?"""

import asyncio
import threading
from collections.abc import Callable

import pytest

from mooring.app import readiness
from mooring.app.progress import Step
from mooring.app.readiness import NotReady, wait
from mooring.testing.clock import virtual_time


async def waited(answer: Callable[[], str]) -> list[Step]:
    """For 20 seconds."""
    told: list[Step] = []
    await wait("node-1", answer, asyncio.get_running_loop().time() + 20, told.append)
    return told


async def test_it_asks_until_nothing_is_missing() -> None:
    answers = iter(["no Ready condition yet", "not Ready", ""])
    assert ["waiting", "done"] == [step.kind for step in await waited(lambda: next(answers))]


def test_the_last_answer_is_told_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(act: Callable[[], str]) -> str:
        return act()

    monkeypatch.setattr(readiness, "aside", at_once)  # virtual time does not wait for threads
    with virtual_time() as run, pytest.raises(NotReady, match="node-1: not ready after 20 s: not Ready"):
        run(waited(lambda: "not Ready"))


def test_a_question_that_hangs_ends_with_the_time_and_keeps_nothing_waiting() -> None:
    answered = threading.Event()
    try:
        with virtual_time() as run, pytest.raises(NotReady, match="node-1: not ready after 20 s: no answer"):
            run(waited(lambda: str(answered.wait())))
    finally:
        answered.set()


async def test_a_question_that_fails_is_a_defect_and_not_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        await waited(lambda: str(1 // 0))
