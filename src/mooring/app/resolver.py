"""How is this node's resolver put together? From its settings, what its resolv.conf says, and the Zone."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from random import SystemRandom
from time import monotonic

import structlog
from msgspec import Struct
from prometheus_client import CollectorRegistry

from mooring import __version__
from mooring.alloc.rng import Rng
from mooring.app.settings import read_file
from mooring.control.query_log import QueryLog
from mooring.control.resolver import Resolver
from mooring.control.resolver_metrics import ResolverMetrics
from mooring.dns import cookies
from mooring.dns.chain import Context, Exchange, Heard, Upstream
from mooring.dns.chain_order import Chain, Surroundings, assemble
from mooring.dns.names import BadName, Name, below, from_text, to_text
from mooring.dns.owners import apexes
from mooring.dns.records import Rcode
from mooring.dns.settings import LOOPBACK, DnsSettings, DnsSettingsError, Network, decode, networks, routes
from mooring.dns.table import MAX_ZONES
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns.upstream import Upstreams

log = structlog.get_logger("dns")

TELL_AGAIN = 60.0
"""Seconds until a server that still does not answer is told of again: whoever asks for slow names must not fill the log."""
LOOP_AGAIN = 30.0
"""Seconds until the next probe while questions come back."""


class ResolverOptions(Struct, frozen=True):
    """`own`: addresses at which this server answers. `ranges`: the cluster's (Services, pods, nodes), which may ask.

    `nameservers` and `search`: the node's own, of its resolv.conf.
    """

    settings: DnsSettings = DnsSettings()
    own: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    host: str = ""


class NodeResolver(Struct):
    """`respond` is the server's Responder for everything but transfers."""

    resolver: Resolver
    chain: Chain
    upstreams: Upstreams
    watching: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self.watching is not None:
            self.watching.cancel()
            await asyncio.gather(self.watching, return_exceptions=True)
        await self.resolver.close()
        await self.upstreams.close()


def load(path: Path | None) -> DnsSettings:
    """What the file of --dns-config says; the defaults without one. Raises SettingsError, DnsSettingsError (a ValueError)."""
    if path is None:
        return DnsSettings()
    settings = decode(read_file(path), str(path))
    for each in settings.forward or ():
        if each.tls_authority and not Path(each.tls_authority).is_file():
            raise DnsSettingsError(f"{path}: forward.tls-authority: there is no file {each.tls_authority!r}")
    return settings


def zone_options(settings: DnsSettings, domain: str, ranges: Sequence[str], own: Sequence[str]) -> ZoneOptions:
    """The Zone that a node keeps: `ranges` have reverse zones, `own` are the addresses of the cluster's DNS.

    Raises DnsSettingsError for an outside that is the cluster's own domain, or above it, and for more zones than a table has.
    """
    if settings.external_zone and below(from_text(domain).lower(), from_text(settings.external_zone).lower()):
        raise DnsSettingsError(f"external-zone {settings.external_zone!r}: the cluster's own names ({domain}) are below it")
    options = ZoneOptions(
        domain,
        settings.ttl,
        settings.pods,
        (*ranges, *settings.reverse),
        settings.external_zone,
        tuple(own),
        settings.endpoint_pod_names,
    )
    if (count := len(apexes(options))) > MAX_ZONES:
        raise DnsSettingsError(f"reverse: {count} zones, at most {MAX_ZONES}; ranges that end at a dot need the fewest")
    return options


def chain_of(options: ResolverOptions, zone: Callable[[], Zone], rng: Rng) -> Chain:
    """The handlers of a node, in their order. Raises DnsSettingsError for an upstream that is this server itself."""
    settings = options.settings
    surroundings = Surroundings(
        zone=zone,
        # This node's own addresses always: by them it is seen whether the DNS is well.
        access=(*(networks(settings) or _ranges(options.ranges)), *map(ip_network, options.own)),
        routes=routes(settings, options.nameservers, options.own),
        rng=rng,
        search=_names(options.search),
        version=f"Mooring {__version__}",
        host=options.host,
        secondaries=tuple(map(ip_network, settings.transfer.to)),
    )
    return assemble(settings, surroundings)


def resolver(options: ResolverOptions, zone: Callable[[], Zone], registry: CollectorRegistry | None = None) -> NodeResolver:
    """Ready to respond, within a running loop. Raises DnsSettingsError for an upstream that is this server itself."""
    settings, upstreams = options.settings, Upstreams()
    chain = chain_of(options, zone, SystemRandom())
    metrics = ResolverMetrics(registry or CollectorRegistry(), chain.cache, chain.forward, lambda: upstreams.counts)

    told: dict[Upstream, float] = {}

    async def exchange(effect: Exchange) -> Heard:
        heard = await upstreams.exchange(effect)
        metrics.observe(effect, heard)
        if heard.reply is None and monotonic() >= told.get(effect.upstream, 0.0):
            told[effect.upstream] = monotonic() + TELL_AGAIN
            log.warning("a server that is forwarded to does not answer", server=str(effect.upstream), error=heard.error)
        return heard

    settled = QueryLog(settings.log).tell if settings.log else lambda _: None
    driver = Resolver(chain.head, chain.whole, exchange, secrets.token_bytes(cookies.SECRET_SIZE), settled)
    found = NodeResolver(driver, chain, upstreams)
    if chain.loop is not None:
        found.watching = asyncio.create_task(_watch_for_loops(found))
    return found


async def _watch_for_loops(found: NodeResolver) -> None:
    """Each route once; again while it leads back to us, and again after the others where nobody has answered."""
    loop, left = found.chain.loop, list(found.chain.forward.routes)
    assert loop is not None
    while left:
        silent = []
        for route in left:
            while True:
                context = Context(monotonic())
                reply = await found.resolver.run(loop.probe(route.zone, context, found.chain.outside), context)
                if not loop.looping:
                    break
                log.error(
                    "questions that are forwarded come back: nothing is forwarded until that is mended",
                    zone=to_text(route.zone),
                    upstreams=[str(each) for each in route.upstreams],
                )
                await asyncio.sleep(LOOP_AGAIN)
            if reply.rcode == Rcode.SERVFAIL:  # nobody's answer: nothing is known
                silent.append(route)
        left = silent
        if left:
            await asyncio.sleep(LOOP_AGAIN)


def _ranges(ranges: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in (*LOOPBACK, *ranges))


def _names(texts: Sequence[str]) -> tuple[Name, ...]:
    """Those that are names."""
    found = []
    for text in texts:
        with contextlib.suppress(BadName):
            found.append(from_text(text))
    return tuple(found)
