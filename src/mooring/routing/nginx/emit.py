"""How does NGINX carry out a RouteTable? Text and files that take a reload, and beside them the state that does not.

A path is found by NGINX's own tree, a proxied request passes Lua once (the balancer), and only routes that share a path, have
weights or change requests run more of it.
"""

from collections.abc import Mapping

from mooring.routing.nginx.config import printed
from mooring.routing.nginx.emission import Emission, NginxConfig, digest
from mooring.routing.nginx.front import http_block, main_block
from mooring.routing.nginx.servers import chain_numbers, server_blocks
from mooring.routing.nginx.upstreams import common_headers, defaults, set_headers
from mooring.routing.placement import Placement
from mooring.routing.table import RouteTable, Terminate

_UNNAMED = "data/generation.lua"
"""Stands for the name of the Lua file, which says all that is in text and file, until that is known."""


def emit(
    table: RouteTable, placement: Placement, quarantined: Mapping[str, str] | None = None, open_files: int = 65536
) -> NginxConfig:
    """`quarantined`: names of routes, or `host NAME`, that NGINX did not take, with its words. `open_files`: what a worker may
    have, which bounds its connections."""
    emission = Emission(table, placement, quarantined or {}, headers=common_headers())
    servers = tuple(server_blocks(emission))
    chains = {listener.name: chain_numbers(listener) for listener in table.listeners if listener.is_tls}
    data = emission.data(chains)
    http = [*http_block(table, placement, _UNNAMED)]
    for module in ("proxy", "grpc"):
        http += set_headers(module, emission.headers.items())
    http += defaults()
    for zones in emission.zones.values():
        http += zones
    http += emission.upstreams.values()
    http += servers
    main = main_block(placement, http, table.front_door, open_files)
    written = printed(main)
    generation = digest(written.text.encode() + data)
    name = f"data/{generation}.lua"
    files = {**emission.files, name: data + f'data.generation = "{generation}"\n'.encode()}
    for listener in table.listeners:
        for chain in listener.chains:
            if isinstance(chain.tls, Terminate):
                emission.state |= {f"sni/{listener.name}/{name}": chain.tls.certificate for name in chain.server_names}
    return NginxConfig(
        text=written.text.replace(_UNNAMED, name, 1),
        files=files,
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
