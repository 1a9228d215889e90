"""Which TLS chains of a listener can be one filter chain? Those of equal settings and routes that certificates tell apart.

A filter chain costs Envoy megabytes (its filters are made anew for each, and a Lua program for each of its threads), and a
listener is sent whole. So hosts share a few: a chain with several certificates shows the one whose names fit the name asked for
(https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/security/ssl#certificate-selection: first by the name as it
is, then by `*` for its first label). A host for which that would not be the certificate of the table keeps its own chain.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from zlib import crc32

from mooring.routing.table import Chain, Terminate

SHARED = 32
"""At most so many filter chains for all hosts of equal settings and routes. A host that comes or goes changes one of them, and
the connections of that one are asked to end."""


def together(
    chains: Sequence[Chain], names: Mapping[int, str], covered: Callable[[str], frozenset[str]]
) -> Mapping[int, tuple[int, ...]]:
    """For the place of each chain that is one with others: the places of all of them. `names`: of the route configurations, by
    place; `covered`: the names that a certificate is for, by its key in RouteTable.certificates."""
    alike: dict[tuple[str, str, int], list[int]] = {}
    for place, name in names.items():
        tls, asked = chains[place].tls, chains[place].server_names
        if isinstance(tls, Terminate) and tls.clients is None and not any("*" in each for each in asked):
            alike.setdefault((name, tls.ciphers, crc32(min(asked).encode()) % SHARED), []).append(place)
    found: dict[int, tuple[int, ...]] = {}
    for places in alike.values():
        if len(places) > 1 and len(good := tuple(_told_apart(chains, places, covered))) > 1:
            found |= dict.fromkeys(good, good)
    return found


def _told_apart(chains: Sequence[Chain], places: Sequence[int], covered: Callable[[str], frozenset[str]]) -> Iterator[int]:
    owners: dict[str, set[str]] = {}
    for key in dict.fromkeys(certificate(chains[place]) for place in places):
        for name in covered(key):
            owners.setdefault(name, set()).add(key)
    for place in places:
        shown = (owners.get(name) or owners.get("*" + name[name.find(".") :]) for name in chains[place].server_names)
        if all(each == {certificate(chains[place])} for each in shown):
            yield place


def certificate(chain: Chain) -> str:
    return chain.tls.certificate if isinstance(chain.tls, Terminate) else ""
