"""What does NGINX do with a request once its route is known? The directives of one location."""

from collections.abc import Iterable, Mapping

from mooring.routing.nginx.config import Bare, Call, Directive, directive
from mooring.routing.nginx.emission import Emission
from mooring.routing.nginx.filters import Place, filters_of
from mooring.routing.nginx.leaves import header_value, leaf_data, replaced, template
from mooring.routing.nginx.upstreams import forward
from mooring.routing.table import (
    Answer,
    Balance,
    Forward,
    Redirect,
    Route,
    Speaks,
)


def answer_of(route: Route, status: int, because: str) -> Route:
    """The route with nothing but an answer of its own."""
    return Route(route.name, route.match, Answer(status, because=because), source=route.source)


def arm(emission: Emission, place: Place, route: Route, cluster_name: str) -> tuple[Directive, ...]:
    """The location's block for this route and, if it forwards, this one of its clusters. Raises ValueError for what cannot be
    written down."""
    action = route.action
    if not isinstance(action, Forward):
        return _own_answer(emission, place, route, action)
    cluster = emission.table.clusters.get(cluster_name)
    if cluster is None or cluster.speaks is Speaks.OPAQUE:
        return _own_answer(emission, place, route, Answer(503, because="no such backend"))
    data: dict[str, object] = leaf_data(emission, route, action)
    number = emission.leaf(data)
    sticky = action.affinity is not None or bool(action.hash_on)
    block: list[Directive] = [
        directive("set", Bare("$m_route"), _shown(route.name)),
        directive("set", Bare("$m_cluster"), _shown(cluster.name)),
    ]
    if not route.policy.access_log:
        block.append(directive("access_log", "off"))
    block += filters_of(emission, place, route, number, data)
    block += _lua(number, data, least=not sticky and cluster.balance in (Balance.LEAST_REQUEST, Balance.EWMA))
    block += forward(emission, route, cluster, number if sticky else 0)
    return tuple(block)


def _shown(name: str) -> str:
    """For the access log, whatever it holds."""
    return "".join(character if character.isprintable() else "?" for character in name)[:500]


def _own_answer(emission: Emission, place: Place, route: Route, action: Redirect | Answer) -> tuple[Directive, ...]:
    data = leaf_data(emission, route, action)
    if isinstance(action, Answer):
        header_value(action.content_type)
        data["answer"] = {"status": action.status, "body": action.body, "content_type": action.content_type}
    else:
        data["redirect"] = {
            "status": action.status,
            "scheme": action.scheme,
            "host": action.host,
            "port": action.port,
            "path": replaced(route, action.path) if action.path else None,
            "url": template(action.url) if action.url else None,
        }
    number = emission.leaf(data)
    block = [directive("set", Bare("$m_route"), _shown(route.name))]
    if not route.policy.access_log:
        block.append(directive("access_log", "off"))
    block += filters_of(emission, place, route, number, data)
    block += _lua(number, data)
    block.append(directive("content_by_lua_block", Call("act", (number,))))
    return tuple(block)


def _lua(number: int, data: Mapping[str, object], least: bool = False) -> Iterable[Directive]:
    if data.keys() & {"cors", "add", "rewrite"}:
        yield directive("rewrite_by_lua_block", Call("request", (number,)))
    if data.keys() & {"cors", "response", "affinity", "auth_cookies"}:
        yield directive("header_filter_by_lua_block", Call("answer", (number,)))
    if least:
        yield directive("log_by_lua_block", Call("done"))
