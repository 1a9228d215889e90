"""Is an address packed one way only, and does what is none stay out of the tables?"""

import struct
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.dataplane.ruleset import address_of, endpoint, frontend, packed, port
from mooring.services.view import Protocol

ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(0, 65535)
NEARLY = st.lists(st.sampled_from(["0", "1", "9", "10", "255", "256", "01", "", "-1", " 1", "1\n", "1_0", "١"]), max_size=6)


@given(ADDRESSES, PORTS)
def test_an_endpoint_is_its_address_and_its_port(address: str, number: int) -> None:
    assert ip_address(address).packed + struct.pack("!H2x", number) == endpoint(address, number)
    assert packed(address) + port(number) == endpoint(address, number)


@given(ADDRESSES, st.sampled_from(Protocol), PORTS)
def test_a_frontends_key_begins_with_its_address(address: str, protocol: Protocol, number: int) -> None:
    assert packed(address) == address_of(frontend(address, protocol, number))


@given(NEARLY.map(".".join))
def test_what_is_no_canonical_address_is_refused(text: str) -> None:
    try:
        canonical = str(IPv4Address(text)) == text
    except ValueError:
        canonical = False
    if canonical:
        assert IPv4Address(text).packed == packed(text)
        return
    with pytest.raises(ValueError):
        packed(text)
    with pytest.raises(ValueError):
        endpoint(text, 80)
