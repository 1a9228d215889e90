"""Which handlers run here, and in which order? The order is data: `ORDER` says why each stands where it stands."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mooring.alloc.rng import Rng
from mooring.dns.chain import Handler, Next, chained, nobody
from mooring.dns.handlers.access import Access
from mooring.dns.handlers.autopath import Autopath
from mooring.dns.handlers.cache import Cache
from mooring.dns.handlers.chaos import Chaos
from mooring.dns.handlers.cluster import Cluster
from mooring.dns.handlers.forward import Forward, Route
from mooring.dns.handlers.hosts import Hosts
from mooring.dns.handlers.loop import Loop
from mooring.dns.handlers.minimal_any import MinimalAny
from mooring.dns.handlers.ratelimit import RateLimit
from mooring.dns.handlers.rewrite import Rewrite
from mooring.dns.handlers.transfer import Transfer
from mooring.dns.layout import layout
from mooring.dns.names import Name
from mooring.dns.settings import DnsSettings, Network, host_entries, rules
from mooring.dns.zone import Zone

ORDER = (
    "access",  # before all: who may not ask costs nothing and learns nothing
    "rate-limit",  # only clients that may ask have buckets
    "chaos",  # other classes than IN: nothing below knows any
    "transfer",  # whole zones are no questions for one name
    "any",  # nor are questions for all types; before anything is changed or asked for
    "rewrite",  # from here on the other question counts; an alias's target begins here too
    "autopath",  # tries several names, each of which may be of any source below
    "hosts",  # an entry of ours wins over cluster and outside
    "cluster",  # never cached: a change shows at once
    "loop",  # only what would leave this server
    "cache",  # what others said lately
    "forward",  # others
)
ALIASES_FROM = "rewrite"
"""Where the target of an alias enters: it has a client that may ask, whatever it is called."""


class Chain(NamedTuple):
    """`head`: where clients enter. `whole`: where aliases' targets do. `outside`: what stands behind the loop's probe.

    `cache` and `loop` are None where settings leave them out.
    """

    head: Next
    whole: Next
    outside: Next
    cache: Cache | None
    forward: Forward
    loop: Loop | None
    access: Access


class Surroundings(NamedTuple):
    """What is not set but found: `access` of the cluster's ranges, `search` of the node's resolv.conf; who we are."""

    zone: Callable[[], Zone]
    access: Sequence[Network]
    routes: Sequence[Route]
    rng: Rng
    search: Sequence[Name] = ()
    version: str = ""
    host: str = ""
    secondaries: Sequence[Network] = ()
    """Who may ask for names of our zones only."""


def assemble(settings: DnsSettings, around: Surroundings) -> Chain:
    """The chain as it is set."""
    limit = settings.rate_limit
    cache = Cache(settings.cache) if settings.cache else None
    loop = Loop(around.rng) if settings.loop and around.routes else None
    forward, access = (
        Forward(around.routes, around.rng),
        Access(around.access, around.secondaries, lambda name: layout(around.zone().options).apex(name) is not None),
    )
    entries = host_entries(settings)
    found: dict[str, Handler | None] = {
        "access": access,
        "rate-limit": RateLimit(limit.per_second, limit.at_once) if limit else None,
        "chaos": Chaos(around.version, around.host),
        "transfer": Transfer(),
        "any": MinimalAny() if settings.any else None,
        "rewrite": Rewrite(rules(settings)) if settings.rewrite else None,
        "autopath": Autopath(around.zone, around.search) if settings.autopath else None,
        "hosts": Hosts(entries, settings.hosts.ttl) if entries else None,
        "cluster": Cluster(around.zone),
        "loop": loop,
        "cache": cache,
        "forward": forward,
    }

    def part(names: Sequence[str]) -> Next:
        return chained([handler for name in names if (handler := found[name]) is not None], nobody)

    whole, outside = part(ORDER[ORDER.index(ALIASES_FROM) :]), part(ORDER[ORDER.index("loop") + 1 :])
    return Chain(part(ORDER), whole, outside, cache, forward, loop, access)
