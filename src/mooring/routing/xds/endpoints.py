"""Where are the members of an endpoint set? Serialised at once, by concatenation: endpoints change more often than all else."""

from collections.abc import Iterable
from functools import lru_cache

from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint

from mooring.routing.table import Member
from mooring.routing.xds.wire import encoded, field, repeated


def load_assignment(name: str, members: Iterable[Member]) -> bytes:
    """A serialised ClusterLoadAssignment message; without members one that makes its routes answer 503."""
    endpoints = repeated(2, (_endpoint(member.address, member.port) for member in members))
    return field(1, name.encode()) + (field(2, endpoints) if endpoints else b"")


@lru_cache(200_000)
def _endpoint(address: str, port: int) -> bytes:
    out = LbEndpoint()
    out.endpoint.address.socket_address.address = address
    out.endpoint.address.socket_address.port_value = port
    return encoded(out)
