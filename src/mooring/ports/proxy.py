"""What the gateway's loop needs of a proxy, Envoy or NGINX, that runs beside it."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from mooring.routing.table import Members, RouteTable


class Rejection(Struct, frozen=True):
    """The proxy did not take something. `source` is that of the route, virtual host, chain or cluster, '' when it cannot be
    told whose it is; `reason` the proxy's own words. What it had before goes on; everything else has been taken."""

    source: str
    reason: str


class Launch(Struct, frozen=True):
    """How the supervisor starts the proxy and drains it: a command, and requests as (Unix socket, method, path).

    `drain` are sent when it shall end: it is not ready any more and asks its clients to leave. The answer to `active` has lines
    `NAME: NUMBER`; their sum is how many connections are left. Then it gets the signal `stop`, which ends idle connections as
    its protocol asks; SIGTERM where connections must be cut off.
    """

    argv: tuple[str, ...]
    drain: tuple[tuple[str, str, str], ...] = ()
    active: tuple[str, str, str] | None = None
    stop: int = 15


class Proxy(Protocol):
    def apply(self, table: RouteTable) -> None:
        """Hands over the whole wish and returns at once; it is in force a moment later. Wishes that come faster than the proxy
        takes them are skipped but for the last."""

    def endpoints(self, changed: Members) -> None:
        """Hands over the sets that changed, each whole; returns at once. Never waits for, nor causes, an `apply`."""

    def subscribe(self, rejected: Callable[[tuple[Rejection, ...]], None]) -> None:
        """Calls back with all that is rejected now whenever that changes; () when all has been taken."""

    async def run(self) -> None:
        """Serves the proxy until cancelled. Nothing is served before the first `apply`."""
