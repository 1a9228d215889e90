"""Does waiting for a part of the cluster end when its time is over, whatever the question does?"""

import asyncio
import threading
import time

import pytest

from mooring.app.progress import Step
from mooring.app.readiness import NotReady, wait


def waited(answer: object, seconds: float) -> list[Step]:
    told: list[Step] = []

    async def scenario() -> None:
        await wait("node-1", answer, asyncio.get_running_loop().time() + seconds, told.append)  # type: ignore[arg-type]

    asyncio.run(scenario())
    return told


def test_it_asks_until_nothing_is_missing() -> None:
    answers = iter(["no Ready condition yet", "not Ready", ""])
    assert ["waiting", "done"] == [step.kind for step in waited(lambda: next(answers), 20)]


def test_the_last_answer_is_told_when_the_time_is_over() -> None:
    with pytest.raises(NotReady, match="node-1: not ready after 0 s: not Ready"):
        waited(lambda: "not Ready", 0.1)


def test_a_question_that_hangs_ends_with_the_time_and_keeps_nothing_waiting() -> None:
    answered, began = threading.Event(), time.monotonic()
    try:
        with pytest.raises(NotReady, match="node-1: not ready after 0 s: no answer"):
            waited(lambda: str(answered.wait()), 0.1)
        assert time.monotonic() - began < 10
    finally:
        answered.set()


def test_a_question_that_fails_is_a_defect_and_not_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        waited(lambda: str(1 // 0), 20)
