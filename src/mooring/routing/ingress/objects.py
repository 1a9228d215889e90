"""What does the front end read? Every object that bears on Ingresses, as views, and what it makes of them."""

from collections.abc import Mapping

from msgspec import Struct

from mooring.model.ingress import Ingress, IngressClass
from mooring.model.service import Service
from mooring.routing.finding import Finding
from mooring.routing.table import Certificate, Fixed, RouteTable

Name = tuple[str, str]
"""(namespace, name)"""


class Secret(Struct, frozen=True, gc=False):
    """`data` decoded from base64; never shown."""

    type: str
    data: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"Secret(type={self.type!r}, keys={sorted(self.data)!r})"


class Objects(Struct, frozen=True):
    """A consistent look at the cluster. Endpoints are not read here: they change without a new table.

    `default_certificate` is shown for hosts that have no good one of their own; None: they have no TLS.
    """

    ingresses: Mapping[Name, Ingress] = {}
    classes: Mapping[str, IngressClass] = {}
    services: Mapping[Name, Service] = {}
    secrets: Mapping[Name, Secret] = {}
    config_maps: Mapping[Name, Mapping[str, str]] = {}
    default_certificate: Certificate | None = None


class SetOf(Struct, frozen=True, gc=False, cache_hash=True):
    """Whose endpoints a set holds: those of one port of a Service. `port` is the Service port's name, '' for a single unnamed
    one. While none of them is usable, those of `fallback`, or what that is the name of."""

    namespace: str
    service: str
    port: str
    fallback: "SetOf | Fixed | None" = None


class Translation(Struct, frozen=True):
    """What the Ingresses of one IngressClass mean. `served`: those that are of the class; only they get a status.

    `sets`: every endpoint set that the table's clusters name.
    """

    table: RouteTable
    served: frozenset[Name] = frozenset()
    findings: tuple[Finding, ...] = ()
    sets: Mapping[str, SetOf] = {}
