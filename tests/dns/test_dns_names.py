"""Is a name read and written as RFC 1035 has it, and taken apart by its shape in the cluster?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.dns.addresses import address_of, packed, pod_address, reverse_name, reverse_zones
from mooring.dns.names import BadName, ClusterName, Shape, below, from_labels, from_text, labels, parse, to_text
from mooring.services.endpoint_names import dashed

DOMAIN = from_text("cluster.local")
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6).filter(lambda each: each.ipv4_mapped is None)).map(str)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("", b"\0"),
        (".", b"\0"),
        ("web.default.", b"\3web\7default\0"),
        ("Web.default", b"\3Web\7default\0"),
        ("a\\.b.c", b"\3a.b\1c\0"),
        ("a\\032b\\000", b"\4a b\0\0"),
        ("a\\\\.", b"\2a\\\0"),
        ("*._tcp", b"\1*\4_tcp\0"),
    ],
)
def test_a_text_becomes_a_name(text: str, wire: bytes) -> None:
    assert from_text(text) == wire


@pytest.mark.parametrize("text", ["a..b", ".a", "x" * 64, ".".join(["x" * 63] * 4), "a\\", "a.."])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadName):
        from_text(text)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8))
def test_any_octets_survive_being_written_and_read(parts: list[bytes]) -> None:
    name = from_labels(parts)
    assert (labels(name), from_text(to_text(name))) == (parts, name)


@pytest.mark.parametrize(
    ("name", "zone", "expected"),
    [
        ("a.cluster.local", "cluster.local", True),
        ("cluster.local", "cluster.local", True),
        ("xcluster.local", "cluster.local", False),
        ("local", "cluster.local", False),
        ("a\\007cluster.local", "cluster.local", False),
        ("anything", ".", True),
    ],
)
def test_a_suffix_of_octets_is_not_a_zone(name: str, zone: str, expected: bool) -> None:
    assert below(from_text(name), from_text(zone)) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cluster.local", ClusterName(Shape.APEX)),
        ("CLUSTER.Local", ClusterName(Shape.APEX)),
        ("example.org", ClusterName(Shape.OUTSIDE)),
        ("dns-version.cluster.local", ClusterName(Shape.DNS_VERSION)),
        ("ns.dns.cluster.local", ClusterName(Shape.NAMESERVER)),
        ("dns.cluster.local", ClusterName(Shape.NAMESERVER_PARENT)),
        ("svc.cluster.local", ClusterName(Shape.SERVICES)),
        ("n.svc.cluster.local", ClusterName(Shape.NAMESPACE, "n")),
        ("S.n.svc.cluster.local", ClusterName(Shape.SERVICE, "n", "s")),
        ("h.s.n.svc.cluster.local", ClusterName(Shape.ENDPOINT, "n", "s", "h")),
        ("_tcp.s.n.svc.cluster.local", ClusterName(Shape.PROTOCOL, "n", "s", protocol="tcp")),
        ("_p._tcp.s.n.svc.cluster.local", ClusterName(Shape.PORT, "n", "s", port="p", protocol="tcp")),
        ("p._tcp.s.n.svc.cluster.local", ClusterName(Shape.UNKNOWN)),
        ("a._p._tcp.s.n.svc.cluster.local", ClusterName(Shape.UNKNOWN)),
        ("pod.cluster.local", ClusterName(Shape.PODS)),
        ("n.pod.cluster.local", ClusterName(Shape.POD_NAMESPACE, "n")),
        ("1-2-3-4.n.pod.cluster.local", ClusterName(Shape.POD, "n", host="1-2-3-4")),
        ("foo.cluster.local", ClusterName(Shape.UNKNOWN)),
    ],
)
def test_names_are_taken_apart_by_shape(name: str, expected: ClusterName) -> None:
    assert parse(from_text(name), DOMAIN) == expected


@given(addresses)
def test_an_address_is_read_back_from_its_reverse_name(address: str) -> None:
    assert address_of(reverse_name(address)) == address


@given(addresses)
def test_an_address_is_read_back_from_its_label(address: str) -> None:
    label = dashed(address)
    assert pod_address(label) == address
    assert len(from_labels([label.encode()])) == len(label) + 2
    assert not label.endswith("-")


@pytest.mark.parametrize("label", ["", "1-2-3", "1-2-3-4-5", "1-2-3-256", "01-2-3-4", "fe80--1%eth0", "a-b-c-d", "--1--2"])
def test_a_label_that_is_no_address_is_none(label: str) -> None:
    assert pod_address(label) is None


@pytest.mark.parametrize(
    "name", ["2.1.244.in-addr.arpa", "256.1.1.1.in-addr.arpa", "01.1.1.1.in-addr.arpa", "x.1.1.1.in-addr.arpa", "1.2.3.4",
             "a.b.1.1.1.1.in-addr.arpa", "1.ip6.arpa", "g." * 32 + "ip6.arpa", "10." * 32 + "ip6.arpa"]
)  # fmt: skip
def test_a_reverse_name_that_is_not_that_of_one_address_is_none(name: str) -> None:
    assert address_of(from_text(name)) is None


@pytest.mark.parametrize(
    ("cidr", "zones"),
    [
        ("10.0.0.0/8", ["10.in-addr.arpa"]),
        ("10.96.0.0/16", ["96.10.in-addr.arpa"]),
        ("10.96.4.0/23", ["4.96.10.in-addr.arpa", "5.96.10.in-addr.arpa"]),
        ("192.0.2.7/32", ["7.2.0.192.in-addr.arpa"]),
        ("192.0.2.6/31", ["6.2.0.192.in-addr.arpa", "7.2.0.192.in-addr.arpa"]),
        ("0.0.0.0/0", ["in-addr.arpa"]),
        ("fd00::/8", ["d.f.ip6.arpa"]),
        ("2001:db8::/31", ["8.b.d.0.1.0.0.2.ip6.arpa", "9.b.d.0.1.0.0.2.ip6.arpa"]),
    ],
)
def test_a_range_is_cut_at_whole_labels(cidr: str, zones: list[str]) -> None:
    assert [to_text(each) for each in reverse_zones(cidr)] == zones


def test_addresses_are_packed() -> None:
    assert packed("10.96.0.7") == b"\x0a\x60\x00\x07"
    assert packed("fd00::7") == b"\xfd" + bytes(14) + b"\x07"
