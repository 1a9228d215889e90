"""Which names does a client ask for, one after the other, when its program says `web`?

The rule is the resolver library's, by the client's resolv.conf (man 5 resolv.conf, res_search(3)): a name that ends in a
dot is asked as it is. One with at least `ndots` dots is asked as it is first, then below each search domain; any other below
each search domain first, then as it is. The first that has an answer ends it; NXDOMAIN and NODATA lead to the next.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

NDOTS = 1
"""Where resolv.conf says nothing."""
_NDOTS_LIMIT = 15


class ResolverConfig(Struct, frozen=True):
    """A resolv.conf. `search` are domains without their final dots, '' for the root."""

    nameservers: tuple[str, ...]
    search: tuple[str, ...] = ()
    ndots: int = NDOTS


class Candidate(Struct, frozen=True):
    """A name to ask for, without its final dot. `because` says which rule put it there."""

    name: str
    because: str


def config(text: str) -> ResolverConfig:
    """Reads a resolv.conf: the last `search` or `domain` line wins; what is not understood is passed over."""
    nameservers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = NDOTS
    for word, *rest in filter(None, (line.partition("#")[0].partition(";")[0].split() for line in text.splitlines())):
        if word == "nameserver":
            nameservers += rest[:1]
        elif word in ("search", "domain"):
            search = tuple(each.rstrip(".") for each in rest)
        elif word == "options":
            ndots = _ndots(rest, ndots)
    return ResolverConfig(tuple(nameservers), search, ndots)


def candidates(name: str, by: ResolverConfig) -> Iterator[Candidate]:
    """In the order in which they are asked; a name that comes twice is asked twice, as the library does."""
    if name.endswith("."):
        yield Candidate(name.rstrip("."), "it ends in a dot, so it is asked as it is")
        return
    dots = name.count(".")
    as_it_is = Candidate(name, f"as it is: {_dots(dots)}, ndots:{by.ndots}")
    if dots >= by.ndots:
        yield as_it_is
    for domain in by.search:
        yield Candidate(f"{name}.{domain}" if domain else name, f"search {domain or '.'}")
    if dots < by.ndots:
        yield as_it_is


def _ndots(options: Iterable[str], before: int) -> int:
    for option in options:
        key, _, value = option.partition(":")
        if key == "ndots" and value.isdecimal():
            before = min(int(value), _NDOTS_LIMIT)
    return before


def _dots(count: int) -> str:
    return f"{count} {'dot' if count == 1 else 'dots'}"
