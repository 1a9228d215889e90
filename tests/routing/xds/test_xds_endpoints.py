"""Are endpoint sets what Envoy calls a load assignment?"""

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from mooring.routing.table import Member
from mooring.routing.xds.endpoints import load_assignment


def addresses(name: str, *members: Member) -> list[tuple[str, int]]:
    made = ClusterLoadAssignment.FromString(load_assignment(name, members))
    assert name == made.cluster_name
    found = (each.endpoint.address.socket_address for group in made.endpoints for each in group.lb_endpoints)
    return [(each.address, each.port_value) for each in found]


def test_members_are_in_order_whatever_their_number() -> None:
    members = [Member(f"10.0.{number // 256}.{number % 256}", 8080) for number in range(1000)]
    assert [(each.address, each.port) for each in members] == addresses("shop/web:http", *members)


def test_addresses_of_both_families() -> None:
    assert [("fd00::1", 80), ("10.0.0.1", 81)] == addresses("s", Member("fd00::1", 80, "a"), Member("10.0.0.1", 81, "b"))


def test_a_set_without_members_has_no_endpoints() -> None:
    assert [] == addresses("s")
