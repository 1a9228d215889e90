"""How is one noisy client kept from starving the others, and all of them from starving the watches?

Deciding a request takes the loop's one thread. In each round of the loop at most a slice of time goes to requests; what is left
over waits for the next round, so that sockets are read and watch events leave in between. Those who wait are served fairly:
by start-time fair queueing, a flow with twice the shares gets twice the time, however many connections it has, and a flow
that comes after a pause goes first (https://dl.acm.org/doi/10.1145/248157.248171). Without contention nobody waits and
nothing is queued.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from mooring.apiserver.flow_control import Level

SLICE = 0.002
"""Seconds of each round of the loop."""
LIMIT = 1000
"""Requests of one flow that may wait."""
WAIT = 15.0
"""Seconds that a request may wait (upstream: a quarter of the request's deadline)."""
_GUESS = 0.0003
"""What a request is thought to take until it is known: reading and answering it included."""
_FLOWS = 10_000


class Crowded(Exception):
    """Too many of this flow's requests wait already, or this one has waited too long: 429."""


class Flow:
    """The requests of one user at one level. `finish` is the virtual time up to which it has had its share."""

    __slots__ = ("finish", "shares", "waiting")

    def __init__(self, shares: int) -> None:
        self.shares = shares
        self.finish = 0.0
        self.waiting: deque[tuple[asyncio.Future[None], float]] = deque()


class Turns:
    """Who is decided next. Used from one loop."""

    def __init__(self, clock: Callable[[], float], call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._clock, self._call_soon = clock, call_soon
        self._flows: OrderedDict[tuple[Level, str], Flow] = OrderedDict()
        self._queue: list[tuple[float, int, Flow]] = []
        self._order = count()
        self._virtual = 0.0
        self._used = 0.0
        self._round_ends = False
        self.rejected = 0

    @property
    def waiting(self) -> int:
        return sum(len(flow.waiting) for flow in self._flows.values())

    def flow(self, level: Level, user: str) -> Flow:
        key = level, user
        found = self._flows.get(key)
        if found is None:
            found = self._flows[key] = Flow(level.shares)
            if len(self._flows) > _FLOWS:
                self._forget()
        return found

    def _forget(self) -> None:
        """Drops flows that nobody waits in: what they had of late is all that is forgotten."""
        for key in [key for key, flow in self._flows.items() if not flow.waiting][: _FLOWS // 2]:
            del self._flows[key]

    def claim(self, flow: Flow) -> asyncio.Future[None] | None:
        """None: it is your turn. Otherwise wait for the future. Raises Crowded. Say afterwards what it took: `spend`."""
        self._begin_round()
        if not self._queue and self._used < SLICE:
            self._charge(flow, max(self._virtual, flow.finish))
            return None
        if len(flow.waiting) >= LIMIT:
            self.rejected += 1
            raise Crowded
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not flow.waiting:
            heappush(self._queue, (max(self._virtual, flow.finish), next(self._order), flow))
        flow.waiting.append((turn, self._clock() + WAIT))
        return turn

    def spend(self, flow: Flow, seconds: float) -> None:
        """The turn took so long: later ones of the flow come accordingly later."""
        more = seconds - _GUESS
        self._used += more
        flow.finish += more / flow.shares

    def _charge(self, flow: Flow, start: float) -> None:
        self._virtual = max(self._virtual, start)
        self._used += _GUESS
        flow.finish = start + _GUESS / flow.shares

    def _begin_round(self) -> None:
        if not self._round_ends:
            self._round_ends = True
            self._call_soon(self._end_round)

    def _end_round(self) -> None:
        """A new round: whoever waits longest by fair time goes, as far as the slice reaches."""
        self._round_ends = False
        # A request that took ten slices is not paid back by ten empty rounds: the loop has turned, and that is what counts.
        self._used = 0.0
        while self._queue and self._used < SLICE:
            start, _, flow = heappop(self._queue)
            if flow.finish > start and self._queue and flow.finish > self._queue[0][0]:
                # It has cost more than was thought when it was put in.
                heappush(self._queue, (flow.finish, next(self._order), flow))
                continue
            turn, deadline = flow.waiting.popleft()
            if flow.waiting:
                heappush(self._queue, (start + _GUESS / flow.shares, next(self._order), flow))
            if turn.done():
                continue  # its client has gone
            if self._clock() > deadline:
                self.rejected += 1
                turn.set_exception(Crowded())
                continue
            self._charge(flow, start)
            turn.set_result(None)
        if self._queue:
            self._begin_round()
