"""How is a rule shared with its canary? By header, before cookie, before weight.

https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/#canary
"""

from collections.abc import Iterator

from msgspec import structs

from mooring.routing.ingress.wishes import Canary, Wishes
from mooring.routing.table import Condition, How, Part, WeightedCluster

ALWAYS, NEVER = "always", "never"
LEAST_TOTAL = 100

Branch = tuple[str, Condition, bool]
"""(what to call it, what must hold, whether the canary gets the request)"""


def wishes(primary: Wishes, own: Wishes) -> Wishes:
    """What the canary's backend gets: all that the rule has, but balanced as the canary says. Unless it has affinity by itself
    (canary-behaviour legacy) a client stays with whichever of the two it met."""
    affinity = primary.affinity if own.affinity_canary_sticky else own.affinity
    return structs.replace(
        primary, balance=own.balance, hash_on=own.hash_on, service_upstream=own.service_upstream, affinity=affinity
    )


def branches(canary: Canary) -> Iterator[Branch]:
    """What goes to one of the two whatever the weights are; the first that holds decides."""
    header = canary.header.lower()
    if header and canary.value:
        yield "header", Condition(Part.HEADER, How.EXACT, header, canary.value), True
    elif header and canary.pattern:
        yield "header", Condition(Part.HEADER, How.REGEX, header, canary.pattern), True
    elif header:
        yield "header", Condition(Part.HEADER, How.EXACT, header, ALWAYS), True
        yield "header-never", Condition(Part.HEADER, How.EXACT, header, NEVER), False
    if canary.cookie:
        yield "cookie", Condition(Part.COOKIE, How.EXACT, canary.cookie, ALWAYS), True
        yield "cookie-never", Condition(Part.COOKIE, How.EXACT, canary.cookie, NEVER), False


def shares(canary: Canary, primary: str, other: str) -> tuple[WeightedCluster, ...]:
    """Of all other requests, the two clusters' shares; whoever has none is left out."""
    total = max(canary.total, LEAST_TOTAL)
    weight = min(max(canary.weight, 0), total)
    return tuple(each for each in (WeightedCluster(primary, total - weight), WeightedCluster(other, weight)) if each.weight)
