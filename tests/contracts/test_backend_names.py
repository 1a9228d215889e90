"""Do all resolvers keep the port's promises? The same questions to memory and to the machine's own resolver."""

import ipaddress
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from mooring.edges.dns import names
from mooring.edges.dns.names import Names
from mooring.edges.memory.resolver import MemoryResolver
from mooring.ports.resolver import Resolver
from mooring.routing.table import Fixed, Member

PATIENCE = 60.0
NOBODY = "n" * 64
"""No name may be so long, so nobody is asked for it."""


@pytest.fixture(params=["memory", "machine"])
def resolver(request: pytest.FixtureRequest) -> Iterator[Resolver]:
    if request.param == "memory":
        yield MemoryResolver({"localhost": ("127.0.0.1",)})
        return
    with closing(Names()) as machine:
        yield machine


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
async def test_an_address_is_known_as_it_is(resolver: Resolver, address: str) -> None:
    where = Fixed(address, 80)
    assert await resolver.look_up([where], 0) == {where: (Member(address, 80),)}


async def test_a_name_has_its_addresses_at_the_port_that_was_asked_for(resolver: Resolver) -> None:
    where, other = Fixed("localhost", 80), Fixed("localhost", 81)
    found = await resolver.look_up([where, other], PATIENCE)
    for each in (where, other):
        assert found[each]
        assert all(ipaddress.ip_address(member.address).is_loopback and member.port == each.port for member in found[each])


async def test_a_name_that_nobody_knows_is_left_out_and_may_be_asked_for_again(resolver: Resolver) -> None:
    known, unknown = Fixed("192.0.2.1", 80), Fixed(NOBODY, 80)
    for _ in range(2):
        assert (await resolver.look_up([known, unknown], PATIENCE)).keys() == {known}


async def test_one_that_is_silent_keeps_nobody_waiting_and_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, asked = threading.Event(), list[str]()

    def silent(host: str, port: int) -> tuple[Member, ...]:
        asked.append(host)
        answered.wait(PATIENCE)
        return (Member("192.0.2.9", port),)

    monkeypatch.setattr(names, "_members", silent)
    slow, known = Fixed("slow.example", 80), Fixed("192.0.2.1", 80)
    with closing(Names()) as machine:
        for _ in range(2):
            assert (await machine.look_up([slow, known], 0.01)).keys() == {known}
        answered.set()
        assert await machine.look_up([slow], PATIENCE) == {slow: (Member("192.0.2.9", 80),)}
    assert asked == ["slow.example"]
