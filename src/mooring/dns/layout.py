"""Where do the zones of ours begin, and which names do all of them have? What ZoneOptions mean as names in wire form."""

from functools import lru_cache

from msgspec import Struct

from mooring.dns.addresses import reverse_zones
from mooring.dns.names import Name, from_text
from mooring.dns.zone import ZoneOptions


class Layout(Struct, frozen=True):
    """All names in lower case. `services` and `pods` are svc.<domain> and pod.<domain>; `external` is b'' for none."""

    domain: Name
    services: Name
    pods: Name
    external: Name
    reverse: frozenset[Name]
    lengths: tuple[int, ...]
    """Of the names in `reverse`, each once."""

    def apex(self, name: Name) -> Name | None:
        """The nearest apex at or above a name in lower case: the zone that it lies in."""
        at = 0
        while True:
            rest = name[at:]
            if rest == self.domain or rest == self.external or rest in self.reverse:
                return rest
            if not name[at]:
                return None
            at += 1 + name[at]

    def reverse_apex(self, reverse_name: Name) -> Name | None:
        """The same among reverse zones alone, for the name of a whole address."""
        for length in self.lengths:
            if (end := reverse_name[-length:]) in self.reverse:
                return end
        return None

    @property
    def apexes(self) -> tuple[Name, ...]:
        return (self.domain, *((self.external,) if self.external else ()), *sorted(self.reverse))


@lru_cache(maxsize=64)
def layout(options: ZoneOptions) -> Layout:
    """Raises BadName for a domain that is none, ValueError for such a range."""
    domain = from_text(options.domain.lower())
    reverse = {name for cidr in options.reverse for name in reverse_zones(cidr)}
    outermost = frozenset(name for name in reverse if not any(above in reverse for above in parents(name)))
    return Layout(
        domain=domain,
        services=b"\3svc" + domain,
        pods=b"\3pod" + domain,
        external=from_text(options.external.lower()) if options.external else b"",
        reverse=outermost,
        lengths=tuple(sorted({len(name) for name in outermost})),
    )


def parents(name: Name) -> list[Name]:
    """The names above a name, the nearest first, the root last."""
    found = []
    while name[0]:
        name = name[1 + name[0] :]
        found.append(name)
    return found
