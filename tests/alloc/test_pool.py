"""Which address does a load balancer get?"""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.alloc.pool import Pool, Reason, Refused, ask, choose, parse


def numbers(*texts: str) -> set[int]:
    return {int(ip_address(text)) for text in texts}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("172.30.1.0/29", ["172.30.1.1-172.30.1.6"], id="a CIDR without its network and broadcast address"),
        pytest.param("172.30.1.5/32", ["172.30.1.5-172.30.1.5"], id="a range of one address"),
        pytest.param("172.30.1.4/31", ["172.30.1.4-172.30.1.5"], id="a range too small to spare any"),
        pytest.param("172.30.1.0-172.30.1.3", ["172.30.1.0-172.30.1.3"], id="FIRST-LAST has all of them"),
        pytest.param("fd00:1::/126", ["fd00:1::1-fd00:1::3"], id="IPv6 has no broadcast address"),
        pytest.param("fd00:1::-fd00:1::F", ["fd00:1::-fd00:1::f"], id="IPv6, FIRST-LAST"),
        pytest.param(
            " 172.30.1.9 - 172.30.1.9 , fd00:1::/126 ",
            ["172.30.1.9-172.30.1.9", "fd00:1::1-fd00:1::3"],
            id="blanks, both families",
        ),
        pytest.param("", [], id="nothing"),
    ],
)
def test_what_a_pool_holds(text: str, expected: list[str]) -> None:
    assert expected == ["-".join(map(str, each.ends)) for each in parse(text).ranges]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("172.30.1.1/24", "172.30.1.1/24 has host bits set"),
        ("ten", "'ten' does not appear to be an IPv4 or IPv6 network"),
        ("172.30.1.9-172.30.1.1", "'172.30.1.9-172.30.1.1': the first address comes after the last"),
        ("172.30.1.9-fd00::1", "'172.30.1.9-fd00::1': both ends must be of one family"),
        ("172.30.1.9-", "'' does not appear to be an IPv4 or IPv6 address"),
        ("172.30.1.0/24,172.30.1.200-172.30.2.1", "172.30.1.200-172.30.2.1 overlaps 172.30.1.0/24"),
    ],
)
def test_a_pool_that_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse(text)
    assert said in str(raised.value)


POOL = parse("172.30.1.0/29,172.30.9.1-172.30.9.2,fd00:1::/64")


@pytest.mark.parametrize(
    ("version", "taken", "expected"),
    [
        pytest.param(4, set(), "172.30.1.1", id="the lowest"),
        pytest.param(4, numbers("172.30.1.1", "172.30.1.3"), "172.30.1.2", id="the lowest that is free"),
        pytest.param(4, numbers(*(f"172.30.1.{n}" for n in range(1, 7))), "172.30.9.1", id="then the next range"),
        pytest.param(6, numbers("fd00:1::1"), "fd00:1::2", id="of its family"),
    ],
)
def test_the_lowest_free_address_is_chosen(version: int, taken: set[int], expected: str) -> None:
    assert ip_address(expected) == choose(POOL, version, taken)


def test_a_full_pool_says_how_full() -> None:
    taken = numbers(*(f"172.30.1.{n}" for n in range(1, 7)), "172.30.9.1", "172.30.9.2", "172.30.200.1")
    message = "no free address in 172.30.1.0/29, 172.30.9.1-172.30.9.2; 8 in use"
    assert Refused(Reason.NO_FREE_ADDRESS, message) == choose(POOL, 4, taken)


def test_a_pool_without_a_range_of_the_family_says_so() -> None:
    assert Refused(Reason.NO_RANGE, "no IPv6 range in the pool") == choose(parse("172.30.1.0/24"), 6, set())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("172.30.1.4", ip_address("172.30.1.4")),
        ("172.30.1.2", Refused(Reason.TAKEN, "172.30.1.2 is taken by service default/web")),
        ("172.30.1.0", Refused(Reason.NOT_IN_POOL, "172.30.1.0 is not in the pool (172.30.1.0/29, 172.30.9.1-172.30.9.2)")),
        ("fd00:2::1", Refused(Reason.NOT_IN_POOL, "fd00:2::1 is not in the pool (fd00:1::/64)")),
    ],
    ids=["free", "taken", "the network's own", "of another range"],
)
def test_an_address_that_is_asked_for(address: str, expected: object) -> None:
    assert expected == ask(POOL, ip_address(address), {int(ip_address("172.30.1.2")): "taken by service default/web"})


def test_what_can_never_be_a_load_balancers_is_left_out() -> None:
    left = parse("10.0.0.0-10.0.0.20,fd00::1-fd00::5").without(map(ip_network, ("10.0.0.4/30", "10.0.0.16/28", "fd00::/64")))
    assert [("10.0.0.0", "10.0.0.3"), ("10.0.0.8", "10.0.0.15")] == [tuple(map(str, each.ends)) for each in left.ranges]


small = st.tuples(st.integers(0, 60), st.integers(0, 5)).map(lambda ends: f"10.0.0.{ends[0]}-10.0.0.{ends[0] + ends[1]}")
holes = st.lists(st.sampled_from(["10.0.0.0/28", "10.0.0.32/30", "10.0.0.40/32"]), max_size=3)


@given(text=small, apart=holes, taken=st.sets(st.integers(0, 70)))
def test_the_choice_is_the_lowest_of_what_is_in_the_pool_and_free(text: str, apart: list[str], taken: set[int]) -> None:
    base = int(ip_address("10.0.0.0"))
    pool, networks = parse(text), [ip_network(each) for each in apart]
    free = [
        address
        for address in map(ip_address, range(base, base + 80))
        if address in pool and int(address) - base not in taken and not any(address in network for network in networks)
    ]
    chosen = choose(pool.without(networks), 4, {base + each for each in taken})
    assert (free[0] if free else None) == (None if isinstance(chosen, Refused) else chosen)
    assert Pool() == pool.without([ip_network("10.0.0.0/24")])
