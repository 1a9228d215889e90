"""Which shape has a name in the cluster's zone?

    <domain>                              the apex
    svc.<domain>                          the root of all Services
    <namespace>.svc.<domain>              a namespace
    <service>.<namespace>.svc.<domain>    a Service
    <host>.<service>.<namespace>.svc.<domain>   an endpoint of a Service

Source: https://github.com/kubernetes/dns/blob/master/docs/specification.md (1.1.0). Names compare without case (RFC 4343).
"""

from enum import Enum, auto

from msgspec import Struct


class Shape(Enum):
    OUTSIDE = auto()
    """Not in the zone at all."""
    APEX = auto()
    SERVICES = auto()
    NAMESPACE = auto()
    SERVICE = auto()
    ENDPOINT = auto()
    UNKNOWN = auto()
    """In the zone, but no shape of the specification."""


class ClusterName(Struct, frozen=True):
    """A name taken apart; parts that the shape has not are ''."""

    shape: Shape
    namespace: str = ""
    service: str = ""
    host: str = ""


def parse(name: str, domain: str) -> ClusterName:
    """`name` and `domain` in text form, with or without the final dot, any case."""
    labels = name.rstrip(".").lower().split(".")
    zone = domain.rstrip(".").lower().split(".")
    if labels[-len(zone) :] != zone:
        return ClusterName(Shape.OUTSIDE)
    match labels[: -len(zone)]:
        case []:
            return ClusterName(Shape.APEX)
        case ["svc"]:
            return ClusterName(Shape.SERVICES)
        case [namespace, "svc"]:
            return ClusterName(Shape.NAMESPACE, namespace)
        case [service, namespace, "svc"]:
            return ClusterName(Shape.SERVICE, namespace, service)
        case [host, service, namespace, "svc"]:
            return ClusterName(Shape.ENDPOINT, namespace, service, host)
    return ClusterName(Shape.UNKNOWN)
