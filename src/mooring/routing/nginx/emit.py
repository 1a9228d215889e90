"""How does NGINX carry out a RouteTable? Text and files that take a reload, and beside them the state that does not.

Hosts, paths, conditions and weights are state: Lua looks a request's route up in it. The text has one location for each group
of routes of equal settings, so it changes when a table asks for something that no route before has asked for, and hosts with
clients' certificates, which NGINX asks for by server, have a server of their own.
"""

from collections.abc import Iterable, Mapping

from mooring.routing.nginx.config import Directive, Printed, printed
from mooring.routing.nginx.emission import Emission, NginxConfig, digest
from mooring.routing.nginx.front import data_file, http_block, main_block
from mooring.routing.nginx.memo import Memo
from mooring.routing.nginx.routes import arm
from mooring.routing.nginx.servers import door, server_blocks
from mooring.routing.nginx.trees import COMMON
from mooring.routing.nginx.upstreams import common_headers, defaults, set_headers
from mooring.routing.placement import Placement
from mooring.routing.table import Cluster, Endpoints, Forward, Match, Route, RouteTable, Terminate, WeightedCluster

_UNNAMED = "data/generation.lua"
"""Stands for the name of the Lua file, which says all that is in text and file, until that is known."""


def emit(
    table: RouteTable,
    placement: Placement,
    quarantined: Mapping[str, str] | None = None,
    open_files: int = 65536,
    memo: Memo | None = None,
) -> NginxConfig:
    """`quarantined`: names of routes, or `host NAME`, that NGINX did not take, with its words. `open_files`: what a worker may
    have, which bounds its connections. `memo`: of the emissions before, for the same proxy."""
    emission = Emission(table, placement, quarantined or {}, common_headers(table.front_door, _has_clients(table)))
    memo = Memo() if memo is None else memo
    memo.begin(emission)
    doors = tuple(door(emission, listener, memo) for listener in table.listeners)
    common = _common(emission)
    body = 0 if 0 in emission.bodies else max(*emission.bodies, COMMON.body, 0)
    servers = tuple(server_blocks(emission, doors, common, body))
    data = data_file(table.front_door, common, COMMON.body if body != COMMON.body else 0)
    written = _text(emission, servers, open_files)
    generation = digest(written.text.encode() + data)
    name = f"data/{generation}.lua"
    emission.state |= _shown_certificates(table)
    # The workers of this text look into these, and only into these: they come last.
    emission.state |= {f"index/{generation}/{each.listener.name}": each.index for each in doors}
    return NginxConfig(
        text=written.text.replace(_UNNAMED, name, 1),
        files={**emission.files, name: data + f'data.generation = "{generation}"\n'.encode()},
        sources=written.sources,
        whose=emission.whose,
        users={name: frozenset(users) for name, users in emission.users.items()},
        state=emission.state,
        certificates=table.certificates,
        sets=emission.sets,
        patterns={pattern: frozenset(users) for pattern, users in emission.patterns.items()},
        refused=emission.refused,
        generation=generation,
    )


def _text(emission: Emission, servers: Iterable[Directive], open_files: int) -> Printed:
    longest_name = max(*emission.names, *map(len, emission.headers))
    http = [*http_block(emission.table, emission.placement, _UNNAMED, longest_name)]
    for module in ("proxy", "grpc"):
        http += set_headers(module, emission.headers.items())
    http += defaults()
    for _, zones in sorted(emission.zones.items()):
        http += zones
    http += (upstream for _, upstream in sorted(emission.upstreams.items()))
    http += servers
    return printed(main_block(emission.placement, http, emission.table.front_door, open_files))


def _has_clients(table: RouteTable) -> bool:
    chains = (chain for listener in table.listeners for chain in listener.chains)
    return any(isinstance(chain.tls, Terminate) and chain.tls.clients is not None for chain in chains)


def _shown_certificates(table: RouteTable) -> dict[str, bytes]:
    """Their keys, by the names that are asked for."""
    return {
        f"sni/{listener.name}/{name}": chain.tls.certificate.encode()
        for listener in table.listeners
        for chain in listener.chains
        if isinstance(chain.tls, Terminate)
        for name in chain.server_names
    }


def _common(emission: Emission) -> str:
    """The group of routes without wishes, which is always there. Its cluster is nobody's."""
    cluster = Cluster("", Endpoints(""))
    part = Emission(RouteTable(clusters={"": cluster}), emission.placement, {}, emission.headers)
    made = arm(part, Route("", Match(), Forward((WeightedCluster(""),)), policy=COMMON), "")
    emission.groups.update(part.groups)
    emission.upstreams.update(part.upstreams)
    return str(made["group"])
