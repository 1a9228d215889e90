"""A proxy that only remembers: what it was given, what of it is in force, refusing the routes it is told to refuse."""

import asyncio
from collections.abc import Callable

import msgspec

from mooring.ports.proxy import Rejection
from mooring.routing.table import Chain, Listener, Member, Members, Route, RouteTable, VirtualHost

Refuses = Callable[[Route], str]
"""Why a route is not taken, '' if it is."""


class MemoryProxy:
    """`table` and `members` are in force; None before the first `apply`. Tests set `refuses`."""

    def __init__(self, refuses: Refuses = lambda route: "") -> None:
        self.table: RouteTable | None = None
        self.members: dict[str, tuple[Member, ...]] = {}
        self.refuses = refuses
        self.changed = asyncio.Event()
        """Set whenever something new is in force."""
        self._wish: RouteTable | None = None
        self._applied = asyncio.Event()
        self._rejections: tuple[Rejection, ...] = ()
        self._listeners: list[Callable[[tuple[Rejection, ...]], None]] = []

    def apply(self, table: RouteTable) -> None:
        self._wish = table
        self._applied.set()

    def endpoints(self, changed: Members) -> None:
        self.members.update(changed)
        self.changed.set()

    def subscribe(self, rejected: Callable[[tuple[Rejection, ...]], None]) -> None:
        self._listeners.append(rejected)
        if self._rejections:
            rejected(self._rejections)

    async def run(self) -> None:
        while True:
            await self._applied.wait()
            self._applied.clear()
            if self._wish is not None:
                self._take(self._wish)

    def _take(self, wish: RouteTable) -> None:
        before = {route.name: route for route in routes(self.table)} if self.table else {}
        rejections: dict[Rejection, None] = {}

        def taken(host: VirtualHost) -> VirtualHost:
            kept = []
            for route in host.routes:
                if reason := self.refuses(route):
                    rejections[Rejection(route.source, reason)] = None
                    kept += [before[route.name]] if route.name in before else []
                else:
                    kept.append(route)
            return msgspec.structs.replace(host, routes=tuple(kept))

        def chain(each: Chain) -> Chain:
            return msgspec.structs.replace(each, virtual_hosts=tuple(taken(host) for host in each.virtual_hosts))

        def listener(each: Listener) -> Listener:
            return msgspec.structs.replace(each, chains=tuple(chain(part) for part in each.chains))

        self.table = msgspec.structs.replace(wish, listeners=tuple(listener(each) for each in wish.listeners))
        self.changed.set()
        if tuple(rejections) != self._rejections:
            self._rejections = tuple(rejections)
            for tell in self._listeners:
                tell(self._rejections)


def routes(table: RouteTable) -> list[Route]:
    """Of all listeners, in order; those of shared virtual hosts as often as they are shared."""
    hosts = [host for listener in table.listeners for chain in listener.chains for host in chain.virtual_hosts]
    return [route for host in hosts for route in host.routes]
