"""How is a RouteTable read? As lines for people: what is as always is left out, secrets are never shown."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from mooring.routing.simulation.matching import told
from mooring.routing.table import (
    DEFAULT_POLICY,
    Answer,
    Chain,
    Cluster,
    Endpoints,
    Forward,
    Listener,
    Policy,
    Redirect,
    Route,
    RouteTable,
    Template,
    Terminate,
    VirtualHost,
)


def text(table: RouteTable) -> str:
    return "\n".join(_lines(table)) + "\n"


def _lines(table: RouteTable) -> Iterator[str]:
    shown: dict[int, str] = {}
    for listener in table.listeners:
        yield from _listener(listener, shown)
    for name in sorted(table.clusters):
        yield _cluster(name, table.clusters[name])
    for name in sorted(table.certificates):
        yield f"certificate {name}{_source(table.certificates[name].source)}"
    for each in _differing(table.front_door):
        yield f"front door: {each}"


def _listener(listener: Listener, shown: dict[int, str]) -> Iterator[str]:
    """`shown`: where virtual hosts of this identity have been written out."""
    for chain in listener.chains:
        here = f"{listener.name}, {' '.join(chain.server_names)}" if listener.is_tls else listener.name
        yield f"listener {listener.name}, port {listener.port}" + (f": {_chain(chain)}" if listener.is_tls else "")
        known = shown.setdefault(id(chain.virtual_hosts), here)
        if known != here and chain.virtual_hosts:
            yield f"  virtual hosts as those of {known}"
            continue
        for host in chain.virtual_hosts:
            yield from (f"  {line}" for line in _host(host))


def _chain(chain: Chain) -> str:
    names = " ".join(chain.server_names)
    if isinstance(chain.tls, Terminate):
        more = "".join(f", {each}" for each in _differing(chain.tls, "certificate"))
        return f"{names}, certificate {chain.tls.certificate}{more}"
    return f"{names}, passed through to {chain.tls.cluster}{_source(chain.tls.source)}" if chain.tls else names


def _host(host: VirtualHost) -> Iterator[str]:
    many = ", any number of labels" if host.many_labels else ""
    names = " ".join(host.hosts)
    hsts = f", HSTS {host.hsts}" if host.hsts else ""
    yield f"host {host.name}{f' ({names})' if names != host.name else ''}{many}{hsts}{_source(host.source)}"
    for route in host.routes:
        yield from (f"  {line}" for line in _route(route))


def _route(route: Route) -> Iterator[str]:
    yield f"{told(route.match)} -> {action_text(route)}"
    yield f"  route {route.name}{_source(route.source)}"
    yield from (f"  {each}" for each in settings(route))


def settings(route: Route, usual: Policy = DEFAULT_POLICY) -> Iterator[str]:
    """Everything of its filters and policy that is not as always, a line each."""
    for name, value in _changed(route.filters):
        yield f"{name}: {shown(value)}"
    for each in fields(usual):
        value = getattr(route.policy, each.name)
        if value != getattr(usual, each.name):
            yield f"policy {each.name}: {shown(value)}"


def action_text(route: Route) -> str:
    match route.action:
        case Answer() as answer:
            return f"answer {answer.status}" + "".join(f", {each}" for each in _differing(answer, "status"))
        case Redirect() as redirect:
            return f"redirect {redirect.status}" + "".join(f", {each}" for each in _differing(redirect, "status"))
        case Forward() as forward:
            weighed = len(forward.to) > 1
            to = " | ".join(f"{each.cluster} weight {each.weight}" if weighed else each.cluster for each in forward.to)
            return (to or "nobody") + "".join(f", {each}" for each in _differing(forward, "to"))


def _cluster(name: str, cluster: Cluster) -> str:
    where = cluster.where
    place = f"endpoints {where.set}" if isinstance(where, Endpoints) else f"{where.host}:{where.port}"
    more = "".join(f", {each}" for each in _differing(cluster, "name", "where", "source"))
    return f"cluster {name}: {place}{more}{_source(cluster.source)}"


def _source(source: str) -> str:
    return f"  # {source}" if source else ""


def _differing(value: Struct, *without: str) -> Iterator[str]:
    return (f"{name} {shown(each)}" for name, each in _changed(value) if name not in without)


def _changed(value: Struct) -> Iterator[tuple[str, Any]]:
    """Fields that are not as always."""
    for each in fields(value):
        found = getattr(value, each.name)
        default = each.default if each.default_factory is NODEFAULT else each.default_factory()
        if found != default:
            yield each.name, found


def shown(value: Any) -> str:
    """Any value of a table, on one line."""
    match value:
        case Enum():
            return str(value.value)
        case Template():
            return "".join(part if isinstance(part, str) else f"${{{part.value}}}" for part in value.parts)
        case bytes():
            return f"({len(value)} octets)"
        case tuple():
            return f"[{', '.join(map(shown, value))}]"
        case Mapping():
            return f"[{', '.join(f'{name}: {shown(each)}' for name, each in value.items())}]"
        case Struct():
            if type(value).__repr__ is not Struct.__repr__:
                return repr(value)
            inner = ", ".join(f"{name}={shown(each)}" for name, each in _changed(value))
            return f"{type(value).__name__}({inner})"
    return str(value)
