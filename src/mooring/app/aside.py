"""How is something done that may hang, so that nothing else hangs with it?

asyncio's own threads would not do: the loop waits for them before it ends, and so does the interpreter.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")


async def aside(act: Callable[[], Result]) -> Result:
    """What `act` returns or raises, from a thread of its own, which is left behind by whoever is cancelled or out of time."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[Result] = loop.create_future()

    def settle(how: Callable[[Any], None], what: object) -> None:
        if not outcome.done():
            how(what)

    def run() -> None:
        try:
            call = (outcome.set_result, act())
        except BaseException as error:
            call = (outcome.set_exception, error)  # type: ignore[assignment]
        with suppress(RuntimeError):  # The loop has ended meanwhile.
            loop.call_soon_threadsafe(settle, *call)

    threading.Thread(target=run, name=f"aside {getattr(act, '__name__', '')}", daemon=True).start()
    return await outcome
