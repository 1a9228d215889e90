"""Who may come in, and how often? Source ranges and limits. What cannot be understood closes, as upstream denies."""

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family, refused
from mooring.routing.ingress.annotations.notes import Notes
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import Access, RateLimit

_GLOBAL = "a limit over all replicas needs a memcached of the controller's; use limit-rps, which counts in each replica"

_ANNOTATIONS = (
    Annotation(
        "allowlist-source-range", "addresses and CIDRs, comma-separated", "Others get 403. A bad list: 503, as upstream."
    ),
    Annotation(
        "whitelist-source-range", "addresses and CIDRs, comma-separated", "The old name of allowlist-source-range, which wins."
    ),
    Annotation("denylist-source-range", "addresses and CIDRs, comma-separated", "These get 403. A bad list: 503, as upstream."),
    Annotation(
        "satisfy",
        "all, any",
        "With any one guard is enough: an address of the allowlist, the password, or auth-url's server. Default all.",
    ),
    Annotation(
        "limit-connections",
        "a number",
        "For each client address and path rule (upstream: Ingress); above it 503. Counted in each replica.",
    ),
    Annotation(
        "limit-rps",
        "requests per second",
        "For each client address and path rule (upstream: Ingress); above it, after a burst, 503. Counted in each replica.",
    ),
    Annotation("limit-rpm", "requests per minute", "As limit-rps."),
    Annotation("limit-burst-multiplier", "1 or more", "A burst is this times the rate; default 5."),
    Annotation(
        "limit-allowlist",
        "addresses and CIDRs, comma-separated",
        "Not limited. With a bad list nobody is exempt (upstream: no limit).",
    ),
    Annotation("limit-whitelist", "addresses and CIDRs, comma-separated", "The old name of limit-allowlist, which wins."),
    Annotation("limit-rate", "KiB per second", "Of each answer; 0 is no limit."),
    Annotation("limit-rate-after", "KiB", "The beginning of each answer that limit-rate leaves alone."),
    refused("global-rate-limit", "a number", _GLOBAL),
    refused("global-rate-limit-window", "a duration", _GLOBAL),
    refused("global-rate-limit-key", "variables", _GLOBAL),
    refused("global-rate-limit-ignored-cidrs", "CIDRs", _GLOBAL),
)

MOST_REQUESTS, MOST_BURST = 1_000_000, 1000
"""A burst of all that must fit into the 32 bits of Envoy's buckets."""
MOST_CONNECTIONS = 65535
"""NGINX takes no more."""


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    allowed = _range(notes, "allowlist-source-range", "whitelist-source-range")
    denied = _range(notes, "denylist-source-range")
    return structs.replace(
        wishes,
        access=Access(allowed, denied) if allowed or denied else None,
        satisfy_any=notes.choice("satisfy", ("any", "all"), "all") == "any",
        rate=_rate(notes),
    )


def _given(notes: Notes, *names: str) -> str:
    """The first that has a value, else the first that is there, else ''."""
    return next((name for name in names if notes.values.get(name)), next((name for name in names if notes.has(name)), ""))


def _range(notes: Notes, *names: str) -> tuple[str, ...]:
    name = _given(notes, *names)
    if not name:
        return ()
    networks = notes.networks(name)
    if networks is None:
        notes.close(name, "has what is neither an address nor a network")
    return networks or ()


def _rate(notes: Notes) -> RateLimit | None:
    if not notes.has("limit-rps", "limit-rpm", "limit-connections"):
        notes.idle(
            ("limit-burst-multiplier", "limit-allowlist", "limit-whitelist"), "limit-rps, limit-rpm or limit-connections"
        )
    if not notes.has("limit-rate"):
        notes.idle(("limit-rate-after",), "limit-rate")
    second, minute = notes.integer("limit-rps", 0, 0, MOST_REQUESTS), notes.integer("limit-rpm", 0, 0, MOST_REQUESTS)
    connections = notes.integer("limit-connections", 0, 0, MOST_CONNECTIONS)
    octets = notes.integer("limit-rate", 0) * 1024
    if not (second or minute or connections or octets):
        return None
    burst = notes.integer("limit-burst-multiplier", 5, 1, MOST_BURST)
    after = notes.integer("limit-rate-after", 0) * 1024
    exempt: tuple[str, ...] | None = ()
    if name := _given(notes, "limit-allowlist", "limit-whitelist"):
        exempt = notes.networks(name) if notes.values[name] else ()
        if exempt is None:
            notes.bad(name, "has what is neither an address nor a network", "nobody is exempt")
    return RateLimit(second, minute, connections, burst, exempt or (), bytes_per_second=octets, bytes_after=after)


ACCESS = Family(_ANNOTATIONS, _read)
