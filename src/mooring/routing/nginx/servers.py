"""Which server of NGINX takes a request? One for each virtual host, on every listener that has it.

NGINX looks a host up in its own way; hosts that are wildcards become expressions, the longest first, because `*.foo.com` to
NGINX means any number of labels. What the chains of a TLS listener do not share becomes a condition on the routes: the name
that the connection asked for.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from mooring.routing.nginx.choices import OnChain, locations_of
from mooring.routing.nginx.config import Bare, Call, Directive, directive, variable
from mooring.routing.nginx.emission import NOT_FOUND, Emission, error_locations, named, own_errors
from mooring.routing.nginx.front import CLOSING, listens
from mooring.routing.nginx.locations import INTERNAL
from mooring.routing.nginx.routes import answer_of
from mooring.routing.table import (
    Chain,
    ClientCertificates,
    Listener,
    Passthrough,
    Terminate,
    Verify,
    VirtualHost,
)

_HOST = re.compile(r"(\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?)")


class Server(Struct, frozen=True):
    """`views`: what the chains make of this host. `clients`: of the chain that asks for the same name."""

    host: str
    many_labels: bool
    views: tuple[OnChain, ...]
    clients: ClientCertificates | None
    listeners: tuple[Listener, ...]


def chain_numbers(listener: Listener) -> dict[str, int]:
    """Which chain a server name belongs to."""
    return {name: number for number, chain in enumerate(listener.chains, 1) for name in reversed(chain.server_names)}


def server_blocks(emission: Emission) -> Iterator[Directive]:
    merged: dict[tuple[object, ...], Server] = {}
    for listener in emission.table.listeners:
        for server in _servers(listener):
            # A virtual host that two listeners share is written once; not two TLS ones, whose certificates may differ.
            key: tuple[object, ...] = (
                server.host,
                server.many_labels,
                tuple((id(view.host), view.listener, view.chain) for view in server.views),
                id(server.clients) if server.clients else 0,
            )
            before = merged.get(key)
            if before is None:
                merged[key] = server
            elif not (listener.is_tls and any(each.is_tls for each in before.listeners)):
                merged[key] = msgspec.structs.replace(before, listeners=(*before.listeners, listener))
            else:
                merged[(*key, listener.name)] = server
    groups: dict[tuple[object, ...], list[Server]] = {}
    for server in sorted(merged.values(), key=lambda each: -len(each.host)):
        # Hosts of one virtual host share a block.
        key = (
            tuple((id(view.host), view.listener, view.chain) for view in server.views),
            server.many_labels,
            id(server.clients) if server.clients else 0,
            tuple(each.name for each in server.listeners),
            server.host.startswith("*") and server.host,
        )
        groups.setdefault(key, []).append(server)
    for servers in groups.values():
        yield _block(emission, servers)
    for listener in emission.table.listeners:
        if "*" not in {host for chain in listener.chains for each in chain.virtual_hosts for host in each.hosts}:
            yield _nobody(emission, listener)
        for chain in listener.chains:
            if isinstance(chain.tls, Passthrough):
                yield _refused(emission, listener, chain)


def _servers(listener: Listener) -> Iterator[Server]:
    """Each host that a chain has, as every chain sees it: one that has it not may have a wildcard for it, or `*`."""
    chains = [(number, chain) for number, chain in enumerate(listener.chains, 1) if not isinstance(chain.tls, Passthrough)]
    found = {id(chain): _by_host(chain) for _, chain in chains}
    hosts = dict.fromkeys(
        (host, each.many_labels) for _, chain in chains for each in chain.virtual_hosts for host in each.hosts
    )
    for host, many_labels in hosts:
        views = [
            OnChain(virtual_host, listener.name, number)
            for number, chain in chains
            if (virtual_host := _seen(found[id(chain)], host)) is not None
        ]
        if len(views) == len(chains) and all(view.host is views[0].host for view in views):
            views = [OnChain(views[0].host)]
        yield Server(host, many_labels, tuple(views), _clients(listener.chains, host), (listener,))


def _by_host(chain: Chain) -> dict[str, VirtualHost]:
    return {host: each for each in reversed(chain.virtual_hosts) for host in each.hosts}


def _seen(by_host: Mapping[str, VirtualHost], host: str) -> VirtualHost | None:
    """The most precise of a chain's virtual hosts for all that this host may stand for."""
    if host in by_host:
        return by_host[host]
    labels = host.removeprefix("*.").split(".")
    for depth in range(1 - host.startswith("*."), len(labels)):
        wildcard = by_host.get("*." + ".".join(labels[depth:]))
        if wildcard is not None and (depth == 1 - host.startswith("*.") or wildcard.many_labels):
            return wildcard
    return by_host.get("*")


def _clients(chains: Iterable[Chain], host: str) -> ClientCertificates | None:
    for chain in chains:
        if host in chain.server_names and isinstance(chain.tls, Terminate):
            return chain.tls.clients
    return None


def server_name(host: str, many_labels: bool) -> str:
    if host == "*":
        return "_"
    if not host.startswith("*."):
        return host
    return ("~^.+" if many_labels else r"~^[^.]+") + re.escape(host[1:]) + "$"


def _block(emission: Emission, servers: list[Server]) -> Directive:
    first = servers[0]
    name = f"host {first.host}"
    emission.whose[name] = first.views[0].host.source
    good = [server.host for server in servers if _HOST.fullmatch(server.host)]
    for server in servers:
        if server.host not in good:
            emission.refused[name] = f"{server.host!r} is not a host's name"
    block: list[Directive] = []
    for listener in first.listeners:
        block += _listens(emission, listener, default="*" in good)
    block += (directive("server_name", Bare(server_name(host, first.many_labels))) for host in good or ["invalid.invalid"])
    secured = [listener.name for listener in first.listeners if listener.is_tls]
    views = first.views
    if secured:
        block.append(directive("ssl_certificate_by_lua_block", Call("certificate", (secured[0],))))
        if first.clients is not None and name not in emission.quarantined:
            block += _client_certificates(emission, first, name)
        block += _hsts(emission, next((view.host.hsts for view in views if view.host.hsts), ""))
    if name in emission.quarantined:
        emission.refused[name] = emission.quarantined[name]
        virtual_host = views[0].host
        answers = tuple(answer_of(route, 500, "this host's configuration was refused") for route in virtual_host.routes)
        views = (OnChain(msgspec.structs.replace(virtual_host, routes=answers)),)
    block += _common(emission)
    block += locations_of(emission, views)
    return directive("server", block=block, source=name)


def _hsts(emission: Emission, value: str) -> Iterable[Directive]:
    """In place of the backend's, unless the route sets one by itself."""
    if value:
        name = f"m_hsts_{named(value)}"
        emission.zones.setdefault(
            name,
            (
                directive(
                    "map",
                    variable("sent_http_strict_transport_security"),
                    Bare(f"${name}"),
                    block=(directive("default", ""), directive("", value)),
                ),
            ),
        )
        yield from (directive(f"{way}_hide_header", "Strict-Transport-Security") for way in ("proxy", "grpc"))
        yield directive("add_header", "Strict-Transport-Security", variable(name), "always")


def _listens(emission: Emission, listener: Listener, default: bool) -> Iterable[Directive]:
    front, placement = emission.table.front_door, emission.placement
    words = ["default_server"] if default else []
    if listener.is_tls:
        words += ["ssl", *(["http2"] if front.http2 else [])]
    if front.proxy_protocol:
        words.append("proxy_protocol")
    for address in listens(placement, placement.bound(listener.port)):
        yield directive("listen", Bare(address), *words)


def _client_certificates(emission: Emission, server: Server, name: str) -> Iterable[Directive]:
    clients = server.clients
    assert clients is not None
    modes = {Verify.REQUIRED: "on", Verify.OPTIONAL: "optional", Verify.OPTIONAL_UNVERIFIED: "optional_no_ca"}
    yield directive("ssl_verify_client", modes[clients.verify])
    yield directive("ssl_client_certificate", Bare(emission.file(clients.authorities, ".pem", name)))
    yield directive("ssl_verify_depth", str(clients.depth))
    if clients.revoked:
        yield directive("ssl_crl", Bare(emission.file(clients.revoked, ".pem", name)))
    for name, value in (("verify", "verify"), ("subject", "s_dn"), ("issuer", "i_dn")):
        yield directive("set", Bare(f"$m_client_{name}"), Bare(f"$ssl_client_{value}"))
    if clients.hand_on:
        yield directive("set", Bare("$m_client_certificate"), Bare("$ssl_client_escaped_cert"))
    for listener in server.listeners:
        number = chain_numbers(listener).get(server.host)
        if listener.is_tls and number:
            unverified = Call("unverified", (listener.name, number, clients.error_page))
            yield directive("error_page", "495", "496", "=", Bare("@unverified"))
            yield directive("location", Bare("@unverified"), block=(directive("content_by_lua_block", unverified),))


def _common(emission: Emission) -> Iterable[Directive]:
    """What every server has: the failed backend, and the way that unclean paths and ending connections take."""
    yield from own_errors()
    yield from error_locations()
    for condition, where in (
        (("-f", Bare(f"{emission.placement.folder}/{CLOSING}")), "close"),
        ((Bare("$m_unclean"),), "unclean"),
    ):
        inner = (
            directive("set", Bare("$m_uri"), Bare("$uri")),
            directive("rewrite", Bare("^"), Bare(INTERNAL + where), "last"),
        )
        yield directive("if", *_parenthesised(condition), block=inner)
    for where, more in (("close", (directive("keepalive_timeout", "0"),)), ("unclean", ())):
        block = (
            directive("internal"),
            *more,
            directive("client_max_body_size", "0"),
            directive("rewrite_by_lua_block", Call("detour")),
        )
        yield directive("location", "=", Bare(INTERNAL + where), block=block)


def _parenthesised(words: tuple[str | Bare, ...]) -> tuple[str | Bare, ...]:
    """NGINX takes the parentheses of `if` for parts of its words."""
    texts = [word.text if isinstance(word, Bare) else word for word in words]
    texts[0], texts[-1] = "(" + texts[0], texts[-1] + ")" if len(texts) > 1 else "(" + texts[0] + ")"
    return tuple(map(Bare, texts))


def _nobody(emission: Emission, listener: Listener) -> Directive:
    """Hosts that nobody has."""
    block = [*_listens(emission, listener, default=True), directive("server_name", Bare("_"))]
    if listener.is_tls:
        block.append(directive("ssl_certificate_by_lua_block", Call("certificate", (listener.name,))))
    return directive(
        "server", block=(*block, *own_errors(), *error_locations(), directive("location", "/", block=(NOT_FOUND,)))
    )


def _refused(emission: Emission, listener: Listener, chain: Chain) -> Directive:
    """TLS that was to go on as it is: no connection, rather than one that ends here."""
    names = [name for name in chain.server_names if _HOST.fullmatch(name) and name != "*"] or ["invalid.invalid"]
    block = (
        *_listens(emission, listener, default=False),
        *(directive("server_name", Bare(server_name(name, False))) for name in names),
        directive("ssl_reject_handshake", "on"),
    )
    return directive("server", block=block)
