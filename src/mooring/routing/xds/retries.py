"""When is a request tried again? A Retry as Envoy's policy, for requests that may be sent twice and for those that may not.

Envoy knows one policy for each route, whatever the method, but it adds to it what a header of the request says. So the policy
is the one that is safe for all, and the header is set for methods that may be sent twice (RFC 9110, 9.2.2). Which those are is
told by a virtual cluster, a class of requests that is meant for statistics and whose name a header can have as its value: an
expression (CEL) costs each request 13,000 instructions, this 3,000.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from envoy.config.route.v3.route_components_pb2 import RetryPolicy, VirtualCluster

from mooring.routing.table import DEFAULT_POLICY, Condition, Forward, How, Part, Policy, Retry, RetryOn, Route
from mooring.routing.xds.wire import encoded, seconds

HEADER = "x-envoy-retry-on"
"""Envoy takes it away before the request goes on."""

VALUE = "%VIRTUAL_CLUSTER_NAME%"
"""As a format. Requests of no class have the name `other`, which is no word of Envoy's and adds nothing."""

_TWICE_IS_WRONG = ("POST", "PATCH", "LOCK")

CAREFUL = Condition(Part.METHOD, How.REGEX, value="|".join(_TWICE_IS_WRONG))
"""Where the header cannot say what differs, these methods have a route of their own."""

_UNSENT = ("connect-failure", "refused-stream", "reset-before-request")
"""Nothing of the request has reached a backend."""

_BROKEN = frozenset({RetryOn.ERROR, RetryOn.TIMEOUT, RetryOn.INVALID})
"""For Envoy they are all a `reset`."""


@lru_cache(1)
def idempotent() -> bytes:
    """A serialised VirtualCluster: requests of no such method. Not by a pattern, which each host would compile."""
    out = VirtualCluster(name="reset")
    for each in _TWICE_IS_WRONG:
        out.headers.add(name=":method", invert_match=True).string_match.exact = each
    return encoded(out)


def needs_two(retry: Retry, conditions: tuple[Condition, ...]) -> bool:
    """Whether requests that are not idempotent want a route of their own: answers with some status are tried again."""
    if retry.attempts < 2 or retry.non_idempotent or RetryOn.STATUS not in retry.on:
        return False
    methods = {each.value for each in conditions if each.part is Part.METHOD and each.how is How.EXACT and not each.invert}
    return not methods or bool(methods & {*_TWICE_IS_WRONG})


def heeds_header(policy: Policy) -> bool:
    """Whether the header may add to the route's policy."""
    retry = policy.retry
    return retry.attempts > 1 and not retry.non_idempotent and bool(_BROKEN & {*retry.on})


def retry_on(retry: Retry, is_idempotent: bool) -> tuple[str, ...]:
    """Envoy's words, sorted. `is_idempotent` tells of a route that the careful one stands before."""
    words = {*_UNSENT} if {RetryOn.CONNECT, RetryOn.ERROR} & {*retry.on} else set()
    if retry.non_idempotent and _BROKEN & {*retry.on}:
        words.add("reset")
    if RetryOn.STATUS in retry.on and (is_idempotent or retry.non_idempotent):
        words.add("retriable-status-codes")
    return tuple(sorted(words))


@lru_cache(1024)
def wished(policy: Policy, is_idempotent: bool) -> RetryPolicy:
    """An empty one if it is not tried again. Each try may be as silent as the policy's `read` allows."""
    retry = policy.retry
    if retry.attempts < 2 or not retry.on:
        return RetryPolicy()
    out = RetryPolicy(retry_on=",".join(retry_on(retry, is_idempotent)), retriable_status_codes=retry.statuses)
    out.num_retries.value = retry.attempts - 1
    # Another endpoint than the one that failed, if there is one.
    previous = out.retry_host_predicate.add(name="envoy.retry_host_predicates.previous_hosts")
    previous.typed_config.type_url = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    out.host_selection_retry_max_attempts = 5
    out.retry_back_off.base_interval.CopyFrom(seconds(0.005))
    out.retry_back_off.max_interval.CopyFrom(seconds(0.05))
    if policy.read and RetryOn.TIMEOUT in retry.on:
        out.per_try_idle_timeout.CopyFrom(seconds(policy.read))
    return out


def usual() -> RetryPolicy:
    """Of a cluster to which no route leads that asks for anything else: Envoy asks the cluster first, then the route, then the
    virtual host. What a virtual host has, Envoy makes anew for each of its routes whenever any of the table changes; so only
    those have it whose routes lead to other clusters, too."""
    return wished(DEFAULT_POLICY, True)


@lru_cache(1024)
def is_usual(policy: Policy, conditions: tuple[Condition, ...]) -> bool:
    """Whether routes of such requests ask for nothing else."""
    return wished(policy, True) == usual() and not needs_two(policy.retry, conditions)


def asking_otherwise(routes: Iterable[Route]) -> frozenset[str]:
    """The clusters to which those of the routes lead that are not tried again as usual."""
    return frozenset(reached(route for route in routes if not is_usual(route.policy, route.match.conditions)))


def reached(routes: Iterable[Route]) -> Iterator[str]:
    """The clusters to which routes lead."""
    return (to.cluster for route in routes if isinstance(route.action, Forward) for to in route.action.to)
