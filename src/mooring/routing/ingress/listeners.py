"""How do the hosts hang on the two listeners? One chain of 443 for each certificate, and walls around hosts that need them.

Which chain a connection takes is decided by the name asked for in TLS (SNI), which host a request is for by its Host: the two
need not agree. So a host that asks for client certificates, or whose TLS is not ended here, is only served in its own chain,
and answered 421 (RFC 9110, 15.5.20) in all others; and its own chain serves nothing else. All other hosts are served in every
other chain.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from mooring.routing.ingress.hosts import HostView
from mooring.routing.ingress.reading import EVERY_HOST
from mooring.routing.table import (
    ANY_PATH,
    Answer,
    Chain,
    ClientCertificates,
    Listener,
    Match,
    Passthrough,
    Route,
    Terminate,
    VirtualHost,
)

DEFAULT_CERTIFICATE = "default"
"""Its key in RouteTable.certificates."""
MISDIRECTED = Answer(421, because="the connection was made for another host")
HTTP, HTTPS = 80, 443


class Served(Struct, frozen=True, gc=False, eq=False):
    """A host with all its names, as they go on the listeners."""

    view: HostView
    plain: VirtualHost
    secure: VirtualHost

    @property
    def is_apart(self) -> bool:
        return self.view.clients is not None or bool(self.view.passthrough)


def plain_listener(served: Sequence[Served], others: Sequence[VirtualHost]) -> Listener:
    hosts = sorted([each.plain for each in served] + list(others), key=lambda host: host.name)
    return Listener("http", HTTP, (Chain((EVERY_HOST,), tuple(hosts)),))


class Asked(Struct, frozen=True, gc=False, cache_hash=True, order=True):
    """What connections of one chain get. `certificate` '' is the default one."""

    certificate: str = ""
    ciphers: str = ""
    clients: ClientCertificates | None = None


def tls_listener(
    served: Sequence[Served],
    others: Sequence[VirtualHost],
    certificates: Mapping[str, str],
    has_default: bool,
    plain: tuple[VirtualHost, ...],
) -> Listener | None:
    """`certificates`: by server name, the key of what is shown; '' for the default one, which names that are not there get too.
    `others` are hosts that only redirect. `plain`: those of the plain listener, shared where TLS makes no difference to any.
    None without any chain."""
    owners = {name: each for each in served for name in each.secure.hosts}
    redirecting = {name for each in others for name in each.hosts}
    common = sorted([each.secure for each in served if not each.is_apart] + list(others), key=lambda host: host.name)
    shared = tuple(common) + _misdirected(name for each in served if each.is_apart for name in each.secure.hosts)
    if len(shared) == len(plain) and all(one is other for one, other in zip(shared, plain, strict=True)):
        shared = plain
    names: dict[Asked, list[str]] = {}
    plainest, elsewhere, chains = Asked(), set[str](), list[Chain]()
    for name in sorted({*owners, *redirecting, *certificates, EVERY_HOST}):
        owner = None if name in redirecting else _owner(name, owners)
        if owner is not None and owner.view.passthrough:
            chains.append(Chain((name,), (), Passthrough(owner.view.passthrough, owner.view.source)))
            elsewhere.add(name)
            continue
        asked = Asked(certificates.get(name, ""), owner.view.ciphers if owner else "", owner.view.clients if owner else None)
        if asked.certificate or has_default:
            names.setdefault(asked, []).append(name)
            elsewhere.update([name] if asked != plainest else [])
    for asked, wanted in names.items():
        if asked == plainest and EVERY_HOST in wanted:
            wanted = [EVERY_HOST, *(name for name in wanted if not elsewhere.isdisjoint(_wildcards(name)))]
        hosts = shared
        if asked.clients is not None:
            hosts = _apart([each for each in served if each.view.clients == asked.clients], {*owners, *redirecting})
        terminate = Terminate(asked.certificate or DEFAULT_CERTIFICATE, asked.clients, asked.ciphers)
        chains += [Chain((name,), hosts, terminate) for name in wanted[:1] if name == EVERY_HOST]
        if rest := tuple(name for name in wanted if name != EVERY_HOST):
            chains.append(Chain(rest, hosts, terminate))
    chains.sort(key=lambda chain: chain.server_names)
    return Listener("https", HTTPS, tuple(chains)) if chains else None


def wildcard(name: str) -> str:
    """The wildcard that a name is under."""
    return "*." + name.partition(".")[2]


def _owner(name: str, owners: Mapping[str, Served]) -> Served | None:
    """Whose host a server name is: its own, else the wildcard's, else the one for all."""
    return owners.get(name) or owners.get(wildcard(name)) or owners.get(EVERY_HOST)


def _wildcards(name: str) -> Iterator[str]:
    """Those that would take connections for a name that no chain has: proxies let them stand for any number of labels there."""
    rest = name.removeprefix("*.")
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"


def _apart(own: Sequence[Served], known: AbstractSet[str]) -> tuple[VirtualHost, ...]:
    """What is served behind client certificates: these hosts, and 421 for all others, also where a wildcard would take them.
    `known`: all names that are somebody's."""
    mine = {name for each in own for name in each.secure.hosts}
    strangers = sorted(name for name in known if name not in mine and wildcard(name) in mine)
    rest = [] if EVERY_HOST in mine else [EVERY_HOST]
    if EVERY_HOST in mine:
        strangers = sorted(known - mine)
    return tuple(sorted((each.secure for each in own), key=lambda host: host.name)) + _misdirected([*strangers, *rest])


def _misdirected(names: Iterable[str]) -> tuple[VirtualHost, ...]:
    hosts = tuple(sorted(names))
    return (VirtualHost("misdirected", hosts, (Route("misdirected", Match(ANY_PATH), MISDIRECTED),)),) if hosts else ()
