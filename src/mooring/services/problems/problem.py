"""What is a problem of a Service, and what is looked at to find one?"""

from enum import Enum
from typing import Any

from msgspec import Struct

from mooring.model.discovery import EndpointSlice
from mooring.model.service import Service
from mooring.services.view import ServiceName

Document = dict[str, Any]

DOMAIN = "cluster.local"
"""The cluster's domain in DNS, unless somebody knows better: the API does not tell it."""


class Severity(Enum):
    """The first two questions of whoever reads it: does it hurt, and whom?"""

    BROKEN = "broken"
    """Somebody to whom the Service promises an answer gets none."""
    WARNING = "warning"
    """It works, but not for everybody, not always, or not as it is written."""
    NOTE = "note"
    """A field without effect, or with one that few expect."""


class Problem(Struct, frozen=True):
    """Legal for the API, and not what its author can have wanted. `reason` is an Event's; `object` is 'kind/name'."""

    reason: str
    severity: Severity
    object: str
    field: str
    sentence: str
    fix: str


class Case(Struct, frozen=True, kw_only=True):
    """One Service, and all of the cluster that bears on it, as its asker knows it: what he left out is not judged."""

    document: Document
    """The Service as the API has it,"""
    service: Service
    """and its view."""
    slices: tuple[EndpointSlice, ...] = ()
    """Those labelled with its name."""
    strays: tuple[EndpointSlice, ...] = ()
    """Slices of its namespace that belong to no Service, by their labels."""
    pods: tuple[Document, ...] = ()
    """Those its selector chooses."""
    others: tuple[Document, ...] = ()
    """Pods it does not choose, of any namespace,"""
    every_pod: bool = False
    """and whether these and `pods` are all that the cluster has."""
    workloads: tuple[Document, ...] = ()
    """Deployments of its namespace."""
    endpoints: Document | None = None
    """The core/v1 Endpoints object of its name."""
    nodes: tuple[Document, ...] = ()
    service_cidrs: tuple[Document, ...] | None = None
    rivals: tuple[Service, ...] = ()
    """Other Services that may claim its addresses."""
    services: frozenset[ServiceName] | None = None
    """The Services that exist, as far as this one may point to them; None when that is not known."""
    events: tuple[Document, ...] = ()
    """Of the Service and of its pods."""
    domain: str = DOMAIN

    @property
    def name(self) -> str:
        """'service/web'."""
        return f"service/{self.service.metadata.name}"

    @property
    def key(self) -> ServiceName:
        return self.service.metadata.namespace, self.service.metadata.name

    @property
    def namespace(self) -> str:
        return self.service.metadata.namespace

    @property
    def selects(self) -> bool:
        """Whether its endpoints are the pods that a selector chooses."""
        return bool(self.service.spec.selector) and self.service.spec.type != "ExternalName"

    def problem(self, reason: str, severity: Severity, field: str, sentence: str, fix: str) -> Problem:
        """One of the Service itself."""
        return Problem(reason, severity, self.name, field, sentence, fix)
