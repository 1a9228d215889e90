"""What is a process doing that says nothing? On SIGUSR1 it writes the stacks of its threads and of its tasks to its log.

A thread that hangs in a system call or for a lock shows in the threads' stacks, which need nothing of the interpreter to be
written; an await that never ends shows in the tasks' stacks alone, which the main thread writes when it comes to it. Where
they are missing the main thread is stuck, and its own stack says where.
"""

import asyncio
import faulthandler
import gc
import inspect
import os
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

LOG = 2
"""Standard error: of a role and of a detached supervisor, the log."""


def on_signal() -> None:
    """Has this process tell its stacks on SIGUSR1, and go on."""
    signal.signal(signal.SIGUSR1, _tell_tasks)
    faulthandler.register(signal.SIGUSR1, file=LOG, all_threads=True, chain=True)


def tasks() -> str:
    """Each task of the running loop and where it waits, the innermost call first; '' without a loop."""
    try:
        found = asyncio.all_tasks()
    except RuntimeError:
        return ""
    lines = [f"{len(found)} tasks"]
    for task in sorted(found, key=asyncio.Task.get_name):
        lines += [
            f"Task {task.get_name()!r} (innermost call first):",
            *(f"  {line}" for line in [*_waits(task.get_coro())][::-1]),
        ]
    return "\n".join(lines) + "\n"


def _tell_tasks(number: int, frame: FrameType | None) -> None:
    # Not by way of sys.stderr: the signal may have come in the middle of a write to it.
    os.write(LOG, tasks().encode(errors="replace"))


def _waits(awaited: Any) -> Iterator[str]:
    """From the outermost coroutine to the future at the end."""
    while awaited is not None:
        if inspect.isasyncgen(awaited):
            frame, following = awaited.ag_frame, awaited.ag_await
        elif inspect.isgenerator(awaited):
            frame, following = awaited.gi_frame, awaited.gi_yieldfrom
        elif hasattr(awaited, "cr_await"):
            frame, following = getattr(awaited, "cr_frame", None), awaited.cr_await
        else:
            # A step of an asynchronous generator does not say of which.
            frame, following = None, next(filter(inspect.isasyncgen, gc.get_referents(awaited)), None)
            if following is None:
                yield f"waiting for {type(awaited).__name__}"
        if frame is not None:
            yield f'File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_qualname}'
        awaited = following
