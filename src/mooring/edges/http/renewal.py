"""How do keys that are exchanged on disk come into use while connections are served, and none is refused?

Who uses files looks at them again every few seconds. A listening socket has one TLS context for its life; each handshake on it
is given the newest one, so that an authority can go as well as come. Connections that stand are left as they are, unless the
authority that vouched for their client goes (ApiServer.renounce).
"""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from mooring.edges.http.stamp import stamp

log = structlog.get_logger("keys")

LOOK_AGAIN = 2.0
"""Seconds between two looks."""


class Renewable:
    """A listening socket's TLS. `context` is for the socket; handshakes are by what `make` gave last."""

    def __init__(self, make: Callable[[], ssl.SSLContext]) -> None:
        self._make = make
        self.context = make()
        self._current = self.context
        self.context.sni_callback = self._choose

    def renew(self) -> None:
        """Raises OSError, ssl.SSLError; then all stays as it was."""
        self._current = self._make()

    def _choose(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Asked at every handshake, also where the client names no server."""
        connection.context = self._current


class Followed:
    """Files, and what to do when they change. They count as known as they are when this is made: make it before reading."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._known = tuple(map(stamp, files))

    async def follow(self, use: Callable[[], None]) -> None:
        """Until cancelled. What cannot be used, perhaps because more has still to be written, is tried again."""
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            seen = tuple(stamp(each.path) for each in self._known)
            if seen == self._known:
                continue
            changed = [new.path.name for old, new in zip(self._known, seen, strict=True) if old != new]
            try:
                use()
            except (OSError, ValueError) as error:
                log.warning("keys cannot be used; those from before are", files=changed, error=str(error))
                continue
            self._known = seen
            log.info("keys renewed", files=changed)


async def again_and_again(renew: Callable[[], object], seconds: float) -> None:
    """Has what nears its end made anew, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(renew)
        except Exception as error:  # the keys there are still good for long; whoever looks at the log has that long
            log.warning("keys cannot be renewed", error=str(error))
