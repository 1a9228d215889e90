"""Turns among flows: fair by shares, bounded, and never in the way of one who is alone."""

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest
from http_lab import Client, Place

from mooring.apiserver.contract import ANONYMOUS, User
from mooring.apiserver.flow_control import (
    CATCH_ALL,
    EXEMPT,
    GLOBAL_DEFAULT,
    LEADER_ELECTION,
    NODE_HIGH,
    SYSTEM,
    WORKLOAD_HIGH,
    WORKLOAD_LOW,
    level_of,
)
from mooring.edges.http.draws import Draws
from mooring.edges.http.turns import LIMIT, SLICE, WAIT, Crowded, Flow, Turns


class Loop:
    """Rounds of a loop, turned by hand; its clock stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.soon: list[Callable[[], None]] = []
        self.turns = Turns(lambda: self.now, self.soon.append)

    def turn(self) -> None:
        soon, self.soon[:] = list(self.soon), []
        for call in soon:
            call()

    def fill_round(self) -> Flow:
        """Somebody uses this round's slice up."""
        flow = self.turns.flow(CATCH_ALL, "filler")
        assert self.turns.claim(flow) is None
        self.turns.spend(flow, SLICE)
        return flow


@pytest.fixture
async def loop() -> Loop:
    return Loop()


async def test_who_is_alone_never_waits(loop: Loop) -> None:
    flow = loop.turns.flow(GLOBAL_DEFAULT, "ada")
    for _ in range(50):
        assert loop.turns.claim(flow) is None
        loop.turns.spend(flow, 0.0001)
        loop.turn()
    assert 0 == loop.turns.waiting


async def test_a_newcomer_goes_before_the_rest_of_a_crowd(loop: Loop) -> None:
    loop.fill_round()
    noisy, quiet = loop.turns.flow(GLOBAL_DEFAULT, "noisy"), loop.turns.flow(GLOBAL_DEFAULT, "quiet")
    crowd = [loop.turns.claim(noisy) for _ in range(100)]
    loop.turn()
    newcomer = loop.turns.claim(quiet)
    loop.turn()
    assert newcomer is not None and newcomer.done()
    assert sum(turn.done() for turn in crowd if turn) < 20


async def test_time_is_shared_by_shares(loop: Loop) -> None:
    loop.fill_round()
    flows = {name: loop.turns.flow(level, name) for name, level in (("low", WORKLOAD_LOW), ("rest", GLOBAL_DEFAULT))}
    waiting = [(name, turn) for name, flow in flows.items() for _ in range(500) if (turn := loop.turns.claim(flow))]
    for _ in range(20):
        loop.turn()
    served = Counter(name for name, turn in waiting if turn.done())
    assert 4 < served["low"] / served["rest"] < 6  # 100 shares against 20


async def test_what_takes_long_costs_turns(loop: Loop) -> None:
    loop.fill_round()
    takes = {"slow": 0.02, "quick": 0.0003}
    flows = {name: loop.turns.flow(GLOBAL_DEFAULT, name) for name in takes}
    waiting = [(name, turn) for name, flow in flows.items() for _ in range(200) if (turn := loop.turns.claim(flow))]
    served: Counter[str] = Counter()
    for _ in range(20):
        loop.turn()
        for name, turn in [one for one in waiting if one[1].done()]:
            waiting.remove((name, turn))
            served[name] += 1
            loop.turns.spend(flows[name], takes[name])
    assert served["quick"] > 5 * served["slow"] > 0


async def test_a_flow_that_has_too_many_waiting_is_told_so(loop: Loop) -> None:
    loop.fill_round()
    flow = loop.turns.flow(GLOBAL_DEFAULT, "noisy")
    for _ in range(LIMIT):
        loop.turns.claim(flow)
    with pytest.raises(Crowded):
        loop.turns.claim(flow)
    assert loop.turns.claim(loop.turns.flow(GLOBAL_DEFAULT, "other")) is not None
    assert 1 == loop.turns.rejected


async def test_who_has_waited_too_long_is_told_so(loop: Loop) -> None:
    loop.fill_round()
    turn = loop.turns.claim(loop.turns.flow(GLOBAL_DEFAULT, "ada"))
    loop.now = WAIT + 1
    loop.turn()
    assert turn is not None and isinstance(turn.exception(), Crowded)


async def test_who_has_gone_takes_no_turn(loop: Loop) -> None:
    loop.fill_round()
    flow = loop.turns.flow(GLOBAL_DEFAULT, "ada")
    gone, there = loop.turns.claim(flow), loop.turns.claim(flow)
    assert gone is not None and there is not None
    gone.cancel()
    loop.turn()
    assert there.done() and not there.cancelled()


@pytest.mark.parametrize(
    ("level", "user", "path"),
    [
        (EXEMPT, User("admin", ("system:masters",)), "/api/v1/pods"),
        (EXEMPT, ANONYMOUS, "/readyz"),
        (
            LEADER_ELECTION,
            User("system:kube-controller-manager"),
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/x",
        ),
        (WORKLOAD_HIGH, User("system:kube-controller-manager"), "/api/v1/pods"),
        (NODE_HIGH, User("system:node:a", ("system:nodes",)), "/api/v1/nodes/a/status"),
        (SYSTEM, User("system:node:a", ("system:nodes",)), "/api/v1/pods"),
        (WORKLOAD_HIGH, User("x", ("system:serviceaccounts:kube-system", "system:serviceaccounts")), "/api/v1/pods"),
        (WORKLOAD_LOW, User("x", ("system:serviceaccounts",)), "/api/v1/pods"),
        (GLOBAL_DEFAULT, User("ada", ("system:authenticated",)), "/api/v1/pods"),
        (CATCH_ALL, ANONYMOUS, "/version"),
    ],
)
def test_a_request_belongs_to_a_level(level: object, user: User, path: str) -> None:
    assert level == level_of(user, path)


async def test_a_crowd_of_one_user_does_not_hold_up_another(place: Place) -> None:
    """The crowd's 200 requests of 5 ms each take a second; the other's answer comes when few of them have been served."""
    served = 0

    async def hammer(client: Client) -> None:
        nonlocal served
        await client.ask("GET", "/slow?seconds=0.005")
        served += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(200):
            tasks.create_task(_with(place, hammer))
        async with place.connect(place.admin) as other:
            await other.ask("GET", "/whoami")
            begun = served
            await other.ask("GET", "/whoami")
            assert served - begun < 50


async def test_who_acts_as_another_takes_that_ones_turns(place: Place) -> None:
    async with place.connect(place.admin) as admin, place.connect() as nobody:
        for client in (admin, nobody):
            await client.ask("GET", "/whoami", b"", "Impersonate-User: ada")
    taken = set(place.server._exchange._turns._flows)
    assert {(GLOBAL_DEFAULT, "ada"), (CATCH_ALL, ANONYMOUS.name)} == taken, "who may not act as her, their own"


async def _with(place: Place, use: Callable[[Client], object]) -> None:
    async with place.connect() as client:
        await use(client)  # type: ignore[misc]


def test_draws_come_again_after_a_rewind() -> None:
    from random import Random

    draws = Draws(Random(1))
    first = [draws.randrange(100), draws.random(), draws.randrange(7)]
    draws.rewind()
    assert first == [draws.randrange(100), draws.random(), draws.randrange(7)]
    assert 0 <= draws.randrange(5) < 5
    draws.rewind()
    assert 0 <= draws.randrange(2) < 2, "what is drawn in another order is within its bounds"
    assert 0 <= draws.randrange(2) < 2 and 0 <= draws.random() < 1
