"""What does NGINX do with a request once its route is known? What its group of routes does, and what Lua does for it alone."""

from collections.abc import Iterable, Mapping

from mooring.routing.nginx.config import Call, Directive, directive
from mooring.routing.nginx.emission import Emission, named, set_name
from mooring.routing.nginx.filters import Places, filters_of
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


def arm(emission: Emission, route: Route, cluster_name: str) -> dict[str, object]:
    """What the look-up says of this route and, if it forwards, this one of its clusters: its cluster, set, group and leaf.
    Raises ValueError for what cannot be written down."""
    action = route.action
    if not isinstance(action, Forward):
        return _own_answer(emission, route, action)
    cluster = emission.table.clusters.get(cluster_name)
    if cluster is None or cluster.speaks is Speaks.OPAQUE:
        return _own_answer(emission, route, Answer(503, because="no such backend"))
    data: dict[str, object] = leaf_data(emission, route, action)
    sticky = action.affinity is not None or bool(action.hash_on)
    places: Places = {}
    block = [*_silent(route), *filters_of(emission, places, route, data)]
    block += _lua(data, least=not sticky and cluster.balance in (Balance.LEAST_REQUEST, Balance.EWMA))
    block += forward(emission, route, cluster, sticky)
    emission.bodies.add(route.policy.body)
    return {
        "cluster": shown(cluster.name),
        "set": set_name(cluster.where),
        "group": emission.group(block, places, route.name),
        "leaf": emission.leaf(data) or None,
        "body": route.policy.body or None,
    }


def shown(name: str) -> str:
    """For the access log, whatever it holds: without what JSON escapes. Two names are never shown alike."""
    written = "".join(each if each.isprintable() and each not in '"\\' else "?" for each in name)[:500]
    return written if written == name else f"{written}~{named(name)}"


def _silent(route: Route) -> Iterable[Directive]:
    if not route.policy.access_log:
        yield directive("access_log", "off")


def _own_answer(emission: Emission, route: Route, action: Redirect | Answer) -> dict[str, object]:
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
    places: Places = {}
    block = [*_silent(route), *filters_of(emission, places, route, data)]
    block += _lua(data)
    block.append(directive("content_by_lua_block", Call("act")))
    return {"group": emission.group(block, places, route.name), "leaf": emission.leaf(data)}


def _lua(data: Mapping[str, object], least: bool = False) -> Iterable[Directive]:
    if data.keys() & {"cors", "add", "rewrite"}:
        yield directive("rewrite_by_lua_block", Call("request"))
    if data.keys() & {"cors", "response", "affinity", "auth_cookies"}:
        yield directive("header_filter_by_lua_block", Call("answer"))
    if least:
        yield directive("log_by_lua_block", Call("done"))
