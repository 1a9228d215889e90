"""Are equal addresses and ranges written the same, and is nonsense refused?"""

import re

import pytest

from mooring.endpoints.addresses import canonical, canonical_range, contains, readable


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("10.96.0.1", "10.96.0.1"),
        ("010.096.000.001", "10.96.0.1"),
        ("203.0.113.0182", "203.0.113.182"),
        ("::ffff:10.96.0.1", "10.96.0.1"),
        ("::ffff:a60:1", "10.96.0.1"),
        ("FD00:0096:0:0:0::1", "fd00:96::1"),
        ("::", "::"),
    ],
)
def test_an_address_has_one_form(written: str, expected: str) -> None:
    assert expected == canonical(written) == canonical(canonical(written))


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "None",
        "10.96.0",
        "10.96.0.256",
        "10.96.0.1.2",
        "10.96.0.-1",
        " 10.96.0.1",
        "10.96.0.1\n",
        "1_0.96.0.1",
        "١.2.3.4",
        "::g",
        "fe80::1%eth0",
        "10.96.0.1/32",
        "0x0a.1.1.1",
    ],
)
def test_what_is_no_address_is_refused_by_name(nonsense: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(nonsense))):
        canonical(nonsense)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("198.51.100.0/24", "198.51.100.0/24"),
        (" 198.051.100.000/025 ", "198.51.100.0/25"),
        ("198.51.100.77/24", "198.51.100.0/24"),
        ("::ffff:198.51.100.0/120", "198.51.100.0/24"),
        ("2001:DB8::1/32", "2001:db8::/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_a_range_has_one_form(written: str, expected: str) -> None:
    assert expected == canonical_range(written) == canonical_range(canonical_range(written))


@pytest.mark.parametrize(
    "nonsense", ["", "198.51.100.0", "198.51.100.0/33", "198.51.100.0/-1", "::/129", "::ffff:1.2.3.4/8", "a/8"]
)
def test_what_is_no_range_is_refused_by_name(nonsense: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(nonsense))):
        canonical_range(nonsense)


def test_readable_ones_are_kept_once_in_their_order() -> None:
    assert ("10.0.0.2", "10.0.0.1") == readable(["10.0.0.2", "nonsense", "10.0.0.1", "010.0.0.2", "::ffff:10.0.0.1"])


@pytest.mark.parametrize(
    ("cidr", "address", "expected"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "fd00::1", False),
        ("fd00::/8", "fd00::1", True),
    ],
)
def test_a_range_contains_addresses_of_its_family(cidr: str, address: str, expected: bool) -> None:
    assert expected is contains(cidr, address)
