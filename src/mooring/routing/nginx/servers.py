"""Which server of NGINX takes a connection? One for each listener, and one for each host that asks for clients' certificates
or would else be taken for one that does, because a wildcard for it does.

The host is looked up with the path, by Lua. Wildcards stand for one label or for any number, as their virtual hosts say. What
the chains of a TLS listener do not share becomes a condition on the routes: the name that the connection asked for.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from mooring.routing.nginx.config import Bare, Call, Directive, Value, directive, variable
from mooring.routing.nginx.data import encoded
from mooring.routing.nginx.emission import Emission, error_locations, named, own_errors
from mooring.routing.nginx.front import is_believing, listens, look_at_what_is_said, mapped
from mooring.routing.nginx.locations import INTERNAL
from mooring.routing.nginx.memo import Memo
from mooring.routing.nginx.routes import answer_of
from mooring.routing.nginx.trees import OnChain, Tree
from mooring.routing.nginx.upstreams import MODULES, set_headers
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
_REFUSED = "this host's configuration was refused"


class Host(Struct, frozen=True):
    """`views`: what the chains make of it. `clients`: of the chain that asks for the same name, with all of its names."""

    name: str
    many_labels: bool
    views: tuple[OnChain, ...]
    clients: ClientCertificates | None
    asked_for: tuple[str, ...]


class Door(Struct, frozen=True):
    """One listener's servers. `index`: what Lua looks a host up in."""

    listener: Listener
    own: tuple[tuple[Host, frozenset[str]], ...]
    """Hosts with a server of their own; NGINX tries their wildcards in this order."""
    groups: frozenset[str]
    index: bytes
    hsts: str
    """What most hosts that say something of HSTS say."""


def door(emission: Emission, listener: Listener, memo: Memo) -> Door:
    hosts: dict[str, object] = {}
    own: list[tuple[Host, frozenset[str]]] = []
    groups: set[str] = set()
    usual = _usual(listener)
    found = tuple(_hosts(listener))
    apart = _apart(emission, listener, found)
    for host in found:
        name = f"host {host.name}"
        emission.whose[name] = host.views[0].host.source
        if not _HOST.fullmatch(host.name):
            emission.refused[name] = f"{host.name!r} is not a host's name"
            continue
        views = host.views
        if name in emission.quarantined:
            emission.refused[name] = emission.quarantined[name]
            first = views[0].host
            answers = tuple(answer_of(route, 500, _REFUSED) for route in first.routes)
            views = (OnChain(msgspec.structs.replace(first, routes=answers)),)
        made: Tree = memo.tree(emission, views)
        groups |= made.groups
        hsts = next((view.host.hsts for view in views if view.host.hsts), "") if listener.is_tls else ""
        hosts[host.name] = {"tree": made.key, "many": host.many_labels or None, "hsts": _exception(hsts, usual)}
        if host.name in apart or _is_covered(host.name, apart):
            asks = host.clients if host.name in apart else None
            own.append((msgspec.structs.replace(host, clients=asks), made.groups))
    index = encoded({"hosts": hosts, "chains": _chains(listener) if listener.is_tls else None})
    own.sort(key=lambda each: len(each[0].name), reverse=True)
    return Door(listener, tuple(own), frozenset(groups), index, usual)


def _apart(emission: Emission, listener: Listener, hosts: Iterable[Host]) -> frozenset[str]:
    """The names whose connections must not be another server's: NGINX asks for certificates, or refuses, by server."""
    asking = {host.name for host in hosts if host.clients is not None and f"host {host.name}" not in emission.quarantined}
    handed_on = (chain.server_names for chain in listener.chains if isinstance(chain.tls, Passthrough))
    return frozenset(asking.union(*handed_on))


def _is_covered(name: str, apart: frozenset[str]) -> bool:
    """Whether a wildcard of those would take this host."""
    bare = name.removeprefix("*")
    wildcards = ("*" + bare[at:] for at, character in enumerate(bare) if character == ".")
    return ("*" in apart and name != "*") or any(each in apart and each != name for each in wildcards)


def _usual(listener: Listener) -> str:
    if not listener.is_tls:
        return ""
    found = Counter(host.hsts for chain in listener.chains for host in chain.virtual_hosts if host.hsts)
    return max(found, key=lambda value: (found[value], value)) if found else ""


def _exception(hsts: str, usual: str) -> str | None:
    """What Lua must say for this host; `-` is that the backend's word stands."""
    return None if hsts == usual else hsts or "-"


def server_blocks(emission: Emission, doors: Iterable[Door], common: str, body: int) -> Iterator[Directive]:
    """`common`: the group that is served where routes are looked up, with bodies of so many octets."""
    for each in doors:
        if not any(host.name == "*" for host, _ in each.own):
            yield _server(emission, each, None, each.groups, common, body)
        servers = [(host.name, _server(emission, each, host, groups, common, body)) for host, groups in each.own]
        servers += _refusing(emission, each.listener)
        # The longest wildcard first: of patterns NGINX takes the first.
        yield from (server for _, server in sorted(servers, key=lambda named: len(named[0]), reverse=True))


def _hosts(listener: Listener) -> Iterator[Host]:
    """Each host that a chain has, as every chain sees it: one that has it not may have a wildcard for it, or `*`."""
    chains = [chain for chain in listener.chains if not isinstance(chain.tls, Passthrough)]
    kinds = {id(chain.virtual_hosts): (_name(chain), _by_host(chain)) for chain in reversed(chains)}
    hosts: dict[str, bool] = {}
    for each in (each for _, by_host in reversed(kinds.values()) for each in by_host.values()):
        for host in each.hosts:
            hosts.setdefault(host, each.many_labels)
    clients = {
        name: chain
        for chain in reversed(chains)
        if isinstance(chain.tls, Terminate) and chain.tls.clients is not None
        for name in chain.server_names
    }
    for host, many_labels in hosts.items():
        views = [
            OnChain(virtual_host, chain)
            for chain, by_host in reversed(kinds.values())
            if (virtual_host := _seen(by_host, host)) is not None
        ]
        if len(views) == len(kinds) and all(view.host is views[0].host for view in views):
            views = [OnChain(views[0].host)]
        chain = clients.get(host)
        asks = chain.tls.clients if chain is not None and isinstance(chain.tls, Terminate) else None
        yield Host(host, many_labels, tuple(views), asks, chain.server_names if chain is not None else ())


def _name(chain: Chain) -> str:
    return chain.server_names[0] if chain.server_names else "*"


def _chains(listener: Listener) -> Mapping[str, str]:
    """Which chain a server name belongs to: chains of the same virtual hosts are one."""
    names: dict[int, str] = {}
    for chain in listener.chains:
        names.setdefault(id(chain.virtual_hosts), _name(chain))
    return {
        name: "" if isinstance(chain.tls, Passthrough) else names[id(chain.virtual_hosts)]
        for chain in reversed(listener.chains)
        for name in chain.server_names
    }


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


def server_name(host: str, many_labels: bool) -> str:
    if host == "*":
        return "_"
    if not host.startswith("*."):
        return host
    return ("~^.+" if many_labels else r"~^[^.]+") + re.escape(host[1:]) + "$"


def _server(emission: Emission, each: Door, host: Host | None, groups: frozenset[str], common: str, body: int) -> Directive:
    """Of one host, or of the rest."""
    listener = each.listener
    block = [*_listens(emission, listener, default=host is None or host.name == "*")]
    block.append(directive("server_name", Bare(server_name(host.name, host.many_labels) if host else "_")))
    if listener.is_tls:
        block.append(directive("ssl_certificate_by_lua_block", Call("certificate", (listener.name,))))
        if host is not None and host.clients is not None:
            block += _client_certificates(emission, host, host.clients)
        block += _hsts(emission, each.hsts)
    takes_most = host is None or host.name == "*"
    told = _told(emission, listener)
    if takes_most and not is_believing(emission.table.front_door):
        block += (line for module in ("proxy", "grpc") for line in set_headers(module, told.items()))
    block += look_at_what_is_said(emission.table.front_door)
    block += _ways(listener)
    block.append(directive("location", "/", block=_looking_up(emission, each, common, body, told if takes_most else {})))
    places: dict[str, Directive] = {}
    for name in sorted(groups | {common}):
        group = emission.groups[name]
        block.append(directive("location", Bare(name), block=group.block, source=name))
        for place, location in group.places.items():
            places.setdefault(place, msgspec.structs.replace(location, source=name))
    return directive("server", block=(*block, *places.values()), source=f"host {host.name}" if host else "")


def _looking_up(emission: Emission, each: Door, common: str, body: int, told: Mapping[str, Value | str]) -> Iterable[Directive]:
    """Where most requests stay. Whose host's HSTS is not the usual, and if backends are `told` here what asks for another
    protocol, goes on in the group's own location, so no other request pays for these."""
    listener = each.listener
    yield directive("client_max_body_size", str(body))
    if told:
        yield directive("if", Bare("($http_upgrade)"), block=(directive("set", Bare("$m_group"), common),))
        yield from set_headers("proxy", {**told, "Connection": "", "Upgrade": ""}.items())
    yield directive("set_by_lua_block", Bare("$m_way"), Call("find", (listener.name,)))
    yield directive("if", Bare("($m_group)"), block=(directive("rewrite_by_lua_block", Call("go", (listener.name,))),))
    if each.hsts:
        yield directive("add_header", "Strict-Transport-Security", each.hsts, "always")
    yield from (one for one in emission.groups[common].block if one.name != "client_max_body_size")


def _hsts(emission: Emission, usual: str) -> Iterable[Directive]:
    """In place of the backend's, unless the route sets one by itself, which Lua calls `own`."""
    if not usual:
        return
    shown, backends = f"m_hsts_{named(usual)}", variable("upstream_http_strict_transport_security")
    emission.zones[shown] = (mapped(variable("m_hsts"), shown, variable("m_hsts"), ("", usual), ("-", backends), ("own", "")),)
    yield from (directive(f"{way}_hide_header", "Strict-Transport-Security") for way in MODULES)
    yield directive("add_header", "Strict-Transport-Security", variable(shown), "always")


def _told(emission: Emission, listener: Listener) -> Mapping[str, Value | str]:
    """What most backends are told. Unless a peer is believed it has the words in it that every request here has in common, for
    words cost a request less than variables."""
    if is_believing(emission.table.front_door):
        return emission.headers
    common = dict.fromkeys(("X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Scheme"), "https" if listener.is_tls else "http")
    return {**emission.headers, **common, "X-Forwarded-Port": str(listener.port)}


def _ways(listener: Listener) -> Iterable[Directive]:
    """What every server has: the values of most requests, which then are looked up in no map, errors, and the way that ending
    connections take."""
    plain = (directive("set", Bare("$m_authority"), Bare("$host")),)
    yield directive("if", Bare("($http_host"), Bare("="), Bare("$host)"), block=plain)
    yield from own_errors()
    yield from error_locations()
    yield directive("location", Bare(INTERNAL), block=(directive("internal"),))
    closing = (
        directive("keepalive_timeout", "0"),
        directive("client_max_body_size", "0"),
        directive("rewrite_by_lua_block", Call("last", (listener.name,))),
    )
    yield directive("location", Bare("@closing"), block=closing)


def _listens(emission: Emission, listener: Listener, default: bool) -> Iterable[Directive]:
    front, placement = emission.table.front_door, emission.placement
    words = ["default_server"] if default else []
    if listener.is_tls:
        words += ["ssl", *(["http2"] if front.http2 else [])]
    if front.proxy_protocol:
        words.append("proxy_protocol")
    for address in listens(placement, placement.bound(listener.port)):
        yield directive("listen", Bare(address), *words)


def _client_certificates(emission: Emission, host: Host, clients: ClientCertificates) -> Iterable[Directive]:
    name = f"host {host.name}"
    modes = {Verify.REQUIRED: "on", Verify.OPTIONAL: "optional", Verify.OPTIONAL_UNVERIFIED: "optional_no_ca"}
    yield directive("ssl_verify_client", modes[clients.verify])
    yield directive("ssl_client_certificate", Bare(emission.file(clients.authorities, ".pem", name)))
    yield directive("ssl_verify_depth", str(clients.depth))
    if clients.revoked:
        yield directive("ssl_crl", Bare(emission.file(clients.revoked, ".pem", name)))
    for part, value in (("verify", "verify"), ("subject", "s_dn"), ("issuer", "i_dn")):
        yield directive("set", Bare(f"$m_client_{part}"), Bare(f"$ssl_client_{value}"))
    if clients.hand_on:
        yield directive("set", Bare("$m_client_certificate"), Bare("$ssl_client_escaped_cert"))
    unverified = Call("unverified", (clients.error_page, *host.asked_for))
    yield directive("error_page", "495", "496", "=", Bare("@unverified"))
    yield directive("location", Bare("@unverified"), block=(directive("content_by_lua_block", unverified),))


def _refusing(emission: Emission, listener: Listener) -> Iterator[tuple[str, Directive]]:
    """TLS that was to go on as it is: no connection, rather than one that ends here. By the name that is refused."""
    for chain in listener.chains:
        if isinstance(chain.tls, Passthrough):
            for name in chain.server_names:
                if _HOST.fullmatch(name) and name != "*":
                    listening = _listens(emission, listener, default=False)
                    named = directive("server_name", Bare(server_name(name, False)))
                    yield name, directive("server", block=(*listening, named, directive("ssl_reject_handshake", "on")))
