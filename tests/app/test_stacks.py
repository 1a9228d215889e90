"""Does a process tell, when asked by SIGUSR1, where its threads and its tasks are, and go on?"""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

PATIENCE = 20.0
WAITING = """
import asyncio, sys, threading
from contextlib import aclosing
from functools import partial
import uvloop
from mooring.app import stacks

async def drip():
    asyncio.get_running_loop().call_soon(partial(print, "begun", flush=True))  # when this waits
    await asyncio.Event().wait()
    yield

async def for_ever():
    async with aclosing(drip()) as drops:
        async for _ in drops:
            pass

def stuck():
    reached.set()
    never.wait()

async def main():
    threading.Thread(target=stuck, daemon=True).start()
    reached.wait()
    task = asyncio.create_task(for_ever(), name="patient")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print("ended", flush=True)

reached, never = threading.Event(), threading.Event()
stacks.on_signal()
"""
BLOCKED = """
import sys
from mooring.app import stacks

def blocked():
    print("begun", flush=True)
    sys.stdin.readline()
    print("ended", flush=True)

stacks.on_signal()
blocked()
"""
UVLOOP, ASYNCIO = f"{WAITING}uvloop.run(main())", f"{WAITING}asyncio.run(main())"


def told(code: str, ask: Callable[[subprocess.Popen[str]], str]) -> tuple[str, str]:
    """What a process writes when asked, and what it writes afterwards."""
    words = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin and process.stdout
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGUSR1)
            said = ask(process)
            process.stdin.write("\n")
            process.stdin.flush()
            return said, process.stdout.readline()
        finally:
            process.kill()


def until(last: str) -> Callable[[subprocess.Popen[str]], str]:
    """All that is said up to a pattern."""

    def read(process: subprocess.Popen[str]) -> str:
        assert process.stderr
        said, end = "", time.monotonic() + PATIENCE
        while not re.search(last, said, re.S) and time.monotonic() < end:
            said += process.stderr.readline()
        return said

    return read


@pytest.mark.parametrize("code", [UVLOOP, ASYNCIO], ids=["on uvloop", "on asyncio's own loop"])
def test_threads_and_tasks_are_told(code: str) -> None:
    said, after = told(code, until("Task 'patient'.*in for_ever"))
    assert after == "ended\n"
    assert len(re.findall(r"[Tt]hread 0x\w+ \(most recent call first\)", said)) >= 2
    assert "in stuck\n" in said
    innermost = (
        r"Task 'patient' \(innermost call first\):\n  waiting for Future\w*\n  File .* in Event.wait\n  File .* in drip\n"
    )
    assert re.search(innermost, said), said


def test_a_thread_that_hangs_is_told_although_it_does_nothing() -> None:
    said, after = told(BLOCKED, until("in <module>"))
    assert (after, "in blocked\n" in said) == ("ended\n", True)
