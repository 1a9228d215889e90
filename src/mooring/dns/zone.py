"""Which names does the cluster have now? The Zone: the waist between Services and DNS answers."""

from collections.abc import Mapping, Set

from msgspec import Struct

from mooring.services.names import PublishedName
from mooring.services.view import ServiceName

TTL = 5
"""Seconds; CoreDNS's default, and the negative TTL too."""


class Zone(Struct, frozen=True):
    """`services` holds every Service with names of its own, also one that has no address at the moment.

    `aliases` are the ExternalName Services, which lead out of the zone; `serial` grows with each change that shows.
    """

    domain: str
    services: Mapping[ServiceName, tuple[PublishedName, ...]]
    namespaces: Set[str]
    aliases: Set[ServiceName]
    serial: int
    synced: bool = True
    """False until Services and EndpointSlices have been listed once: then an unknown name is SERVFAIL, never NXDOMAIN."""
