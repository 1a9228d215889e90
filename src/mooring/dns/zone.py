"""Which names does the cluster have now? The Zone: the waist between Services and DNS answers.

It has three readers: `answer` (the specification, also behind `mooring trace query`), `owners` (of which the table is made
that workers answer from) and, from those, `transfer` (secondaries).
"""

from collections.abc import Iterator, Mapping, Set
from enum import Enum
from typing import Protocol

from msgspec import Struct

from mooring.dns.names import Name
from mooring.endpoints.addresses import readable
from mooring.model.ingress import Ingress
from mooring.services.names import PublishedService
from mooring.services.view import ServiceName

TTL = 5
"""Seconds; CoreDNS's default, and the negative TTL too."""
SPECIFICATION = "1.1.0"


class PodNames(Enum):
    """What <dashed address>.<namespace>.pod.<domain> means (CoreDNS's `pods`)."""

    DISABLED = "disabled"
    INSECURE = "insecure"
    """Whatever address is named, in a namespace that exists."""
    VERIFIED = "verified"
    """Addresses of pods of that namespace."""


class ZoneOptions(Struct, frozen=True):
    """`reverse`: ranges (canonical CIDRs) whose addresses have PTR records here: those of Services, pods and the outside.

    `external`: the domain that names Services and Ingresses for the outside, '' for none. `addresses`: where this server is,
    for ns.dns.<domain>. `pod_names`: endpoints without a hostname are named by their pods (CoreDNS's endpoint_pod_names).
    """

    domain: str = "cluster.local"
    ttl: int = TTL
    pods: PodNames = PodNames.INSECURE
    reverse: tuple[str, ...] = ()
    external: str = ""
    addresses: tuple[str, ...] = ()
    pod_names: bool = False


class PublishedIngress(Struct, frozen=True, gc=False):
    """Hosts of one Ingress, in lower case and maybe with a leading '*.', and where its load balancer is."""

    hosts: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()


def published_ingress(found: Ingress) -> PublishedIngress:
    """All that one Ingress publishes now."""
    balancers = found.status.load_balancer.ingress or ()
    return PublishedIngress(
        tuple(dict.fromkeys(rule.host.lower() for rule in found.spec.rules or () if rule.host)),
        readable(each.ip for each in balancers if each.ip),
        tuple([each.hostname for each in balancers if each.hostname]),
    )


class PublishedNamespace(Struct, frozen=True, gc=False):
    """A Namespace that exists; nothing more is told of it."""


Source = PublishedService | PublishedIngress | PublishedNamespace
"""What an object publishes. The key of a Namespace is ('', its name)."""


class Giver(Struct, frozen=True, order=True):
    """An object that gives records to names. `kind`: Service, Ingress or Namespace, whose `namespace` is ''."""

    kind: str
    namespace: str
    name: str

    @property
    def key(self) -> ServiceName:
        return self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


def giver_of(key: ServiceName, source: Source) -> Giver:
    kinds = {PublishedService: "Service", PublishedIngress: "Ingress", PublishedNamespace: "Namespace"}
    return Giver(kinds[type(source)], *key)


class Index(Protocol):
    """Who gives to the names that several may give to (dns/shared.py)."""

    def get(self, name: Name) -> tuple[Giver, ...] | None:
        """In order; () for a name that only has others below it; None for one that is not there. In lower case."""


class Zone(Struct, frozen=True):
    """`services` holds every Service, also one that has no name at the moment; `namespaces` holds those of all of them.
    `pods` are addresses of pods by namespace, kept only where they are needed. `serial` grows with each change that shows.
    """

    options: ZoneOptions
    services: Mapping[ServiceName, PublishedService]
    namespaces: Set[str]
    serial: int
    synced: bool = True
    """False until all kinds have been listed once: then an unknown name is SERVFAIL, never NXDOMAIN."""
    pods: Mapping[str, Set[str]] = {}
    ingresses: Mapping[ServiceName, PublishedIngress] = {}
    shared: Index | None = None
    """None: it is made when it is needed, which takes as long as the Zone is large."""

    def source(self, giver: Giver) -> Source | None:
        """What an object publishes now."""
        match giver.kind:
            case "Service":
                return self.services.get(giver.key)
            case "Ingress":
                return self.ingresses.get(giver.key)
        return PublishedNamespace() if giver.name in self.namespaces else None

    def sources(self) -> Iterator[tuple[ServiceName, Source]]:
        """What every object publishes."""
        for namespace in self.namespaces:
            yield ("", namespace), PublishedNamespace()
        yield from self.services.items()
        yield from self.ingresses.items()
