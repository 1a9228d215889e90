import random
from ipaddress import ip_address, ip_network

import pytest

from mooring.alloc.cluster_ip import bounds, choose, contains, first_address


@pytest.mark.parametrize(
    ("network", "first", "last", "first_dynamic"),
    [
        pytest.param("10.96.0.0/24", "10.96.0.1", "10.96.0.254", "10.96.0.17", id="a /24 without network and broadcast"),
        pytest.param("10.96.0.0/20", "10.96.0.1", "10.96.15.254", "10.96.1.1", id="a /20 keeps 256 for static choices"),
        pytest.param("10.96.0.0/28", "10.96.0.1", "10.96.0.14", "10.96.0.1", id="a /28 has no static band"),
        pytest.param("fd00::/112", "fd00::1", "fd00::ffff", "fd00::101", id="IPv6 has no broadcast address"),
    ],
)
def test_bounds(network, first, last, first_dynamic):
    low, high, split = bounds(ip_network(network))
    assert (first, last, first_dynamic) == tuple(str(ip_address(type(ip_address(first))(n))) for n in (low, high - 1, split))


@pytest.mark.parametrize("address", ["10.96.0.0", "10.96.0.255", "10.96.1.1", "fd00::1"])
def test_an_address_outside_the_usable_range_is_not_contained(address):
    assert not contains(ip_network("10.96.0.0/24"), ip_address(address))


def test_the_api_servers_own_service_gets_the_first_address():
    assert "10.96.0.1" == str(first_address(ip_network("10.96.0.0/16")))


def test_a_full_range_is_left_for_the_next_one():
    full, free = ip_network("10.1.0.0/30"), ip_network("10.2.0.0/30")
    used = {int(ip_address("10.1.0.1")), int(ip_address("10.1.0.2"))}
    chosen = choose([full, free], lambda text: int(ip_address(text)) in used, lambda: used, random.Random(2))
    assert chosen is not None and ip_address(chosen) in free


def test_when_every_range_is_full_there_is_no_choice():
    used = {int(ip_address("10.1.0.1")), int(ip_address("10.1.0.2"))}
    assert choose([ip_network("10.1.0.0/30")], lambda _: True, lambda: used, random.Random(2)) is None
