"""What does Envoy do with the requests of a route? One Route of the table as one of Envoy's, seldom as two."""

from collections.abc import Mapping
from functools import lru_cache

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, RedirectAction, RouteAction, RouteMatch
from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute

from mooring.routing.table import (
    Answer,
    Cluster,
    Forward,
    HashKey,
    HashOn,
    HeaderChanges,
    Match,
    Mirror,
    Policy,
    Redirect,
    RetryOn,
    Route,
)
from mooring.routing.xds import filters, matching, refusals, retries, rewrites
from mooring.routing.xds.context import is_literal, is_native, literal
from mooring.routing.xds.wire import encoded, seconds

_REDIRECT_CODES = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}


def emitted(route: Route, guard: str, clusters: Mapping[str, Cluster]) -> tuple[bytes, ...]:
    """Serialised Route messages, in order. `guard`: a pattern that the authority must match besides."""
    if any(True for _ in refusals.faults(route)):
        return _unusable(route, guard)
    if refusals.closed(route) is not None:
        return (_answering(route, guard, Answer(503)),)
    first = _message(route, guard, clusters)
    if not isinstance(route.action, Forward) or not first.HasField("route"):
        return (encoded(first),)
    out = []
    if retries.needs_two(route.policy.retry, route.match.conditions):
        careful = EnvoyRoute()
        careful.CopyFrom(first)
        careful.match.headers.extend(_careful().headers)
        _retry(careful, route.policy, False)
        out.append(encoded(careful))
    _retry(first, route.policy, True)
    return (*out, encoded(first))


def _unusable(route: Route, guard: str) -> tuple[bytes, ...]:
    """500 for what the route would take, as far as that can be told; a match that cannot be told takes nothing."""
    if any(True for _ in matching.faults(route.match)):
        return ()
    return (_answering(route, guard, Answer(500)),)


def _answering(route: Route, guard: str, answer: Answer) -> bytes:
    out = EnvoyRoute(name=route.name, match=matching.matched(route.match, guard))
    _direct(out, answer)
    return encoded(out)


@lru_cache(1)
def _careful() -> RouteMatch:
    return matching.matched(Match(conditions=(retries.CAREFUL,)))


def _message(route: Route, guard: str, clusters: Mapping[str, Cluster]) -> EnvoyRoute:
    out = EnvoyRoute(name=route.name, match=matching.matched(route.match, guard))
    match route.action:
        case Forward() as forward:
            _forward(out, route, forward)
        case Redirect() as redirect:
            _redirect(out, redirect, route)
        case answer:
            _direct(out, answer)
    _header_changes(out, route)
    for name, config in filters.asked(route, destination(route, clusters)).items():
        out.typed_per_filter_config[name].CopyFrom(config)
    return out


def destination(route: Route, clusters: Mapping[str, Cluster]) -> Cluster | None:
    """The first cluster of a route that forwards: what it speaks holds for all."""
    if not isinstance(route.action, Forward) or not route.action.to:
        return None
    return clusters.get(route.action.to[0].cluster)


def _forward(out: EnvoyRoute, route: Route, forward: Forward) -> None:
    shares = [each for each in forward.to if each.weight > 0]
    if not shares:
        _direct(out, Answer(503))
        return
    action = out.route
    action.CopyFrom(_under(route.policy))
    if len(shares) == 1:
        action.cluster = shares[0].cluster
    else:
        for each in shares:
            action.weighted_clusters.clusters.add(name=each.cluster).weight.value = each.weight
    if route.filters.rewrite is not None:
        action.regex_rewrite.CopyFrom(rewrites.rewritten(route.filters.rewrite, route.match.path))
    if route.filters.host:
        action.host_rewrite_literal = route.filters.host
    for mirror in route.filters.mirrors:
        _mirror(action, mirror)
    for key in forward.hash_on:
        _hash(action, key)


@lru_cache(1024)
def _under(policy: Policy) -> RouteAction:
    """Times. Envoy's idle timeout is for both directions and the wait for the answer's head, over all attempts together."""
    out = RouteAction()
    out.timeout.CopyFrom(seconds(policy.request))
    pauses, retry = (policy.read, policy.send), policy.retry
    attempts = max(retry.attempts, 1) if RetryOn.TIMEOUT in retry.on else 1
    out.idle_timeout.CopyFrom(seconds(0 if 0 in pauses else max(pauses) * attempts))
    if not policy.websocket:
        out.upgrade_configs.add(upgrade_type="websocket").enabled.value = False
    return out


def _retry(out: EnvoyRoute, policy: Policy, is_idempotent: bool) -> None:
    wish = retries.wished(policy, is_idempotent)
    if wish != retries.usual():
        out.route.retry_policy.CopyFrom(wish)
    if not retries.heeds_header(policy):
        out.request_headers_to_remove.append(retries.HEADER)


def _mirror(action: RouteAction, mirror: Mirror) -> None:
    out = action.request_mirror_policies.add(cluster=mirror.cluster, disable_shadow_host_suffix_append=True)
    out.runtime_fraction.default_value.numerator = round(mirror.percent * 10_000)
    out.runtime_fraction.default_value.denominator = out.runtime_fraction.default_value.MILLION
    out.host_rewrite_literal = mirror.host


def _hash(action: RouteAction, key: HashKey) -> None:
    out = action.hash_policy.add()
    match key.on:
        case HashOn.SOURCE_ADDRESS:
            out.connection_properties.source_ip = True
        case HashOn.HEADER:
            out.header.header_name = key.name
        case HashOn.COOKIE:
            out.cookie.name = key.name
        case HashOn.QUERY:
            out.query_parameter.name = key.name
        case HashOn.PATH:
            out.header.header_name = ":path"
        case HashOn.HOST:
            out.header.header_name = ":authority"


def _redirect(out: EnvoyRoute, redirect: Redirect, route: Route) -> None:
    if not is_native(redirect):
        # The script redirects; whatever keeps it from doing so ends here.
        _direct(out, Answer(500))
        return
    action = out.redirect
    action.response_code = _REDIRECT_CODES[redirect.status]
    if redirect.scheme:
        action.scheme_redirect = redirect.scheme
    action.host_redirect = redirect.host
    action.port_redirect = redirect.port or 0
    if redirect.path is not None:
        action.regex_rewrite.CopyFrom(rewrites.rewritten(redirect.path, route.match.path))


def _direct(out: EnvoyRoute, answer: Answer) -> None:
    out.direct_response.CopyFrom(DirectResponseAction(status=answer.status if 200 <= answer.status < 600 else 500))
    if answer.body:
        out.direct_response.body.inline_string = answer.body
        out.response_headers_to_add.append(_option("content-type", answer.content_type, True))


def _header_changes(out: EnvoyRoute, route: Route) -> None:
    request, response = route.filters.request_headers, route.filters.response_headers
    if request and is_literal(request):
        out.request_headers_to_remove.extend(request.remove)
        out.request_headers_to_add.extend(_options(request))
    if response and is_literal(response):
        out.response_headers_to_remove.extend(response.remove)
        out.response_headers_to_add.extend(_options(response))


def _options(changes: HeaderChanges) -> list[HeaderValueOption]:
    return [
        *(_option(name, literal(value), True) for name, value in changes.set),
        *(_option(name, literal(value), False) for name, value in changes.add),
    ]


def _option(name: str, value: str, replaces: bool) -> HeaderValueOption:
    action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD if replaces else HeaderValueOption.APPEND_IF_EXISTS_OR_ADD
    out = HeaderValueOption(append_action=action, keep_empty_value=True)
    out.header.key = name
    out.header.value = value.replace("%", "%%")
    return out
