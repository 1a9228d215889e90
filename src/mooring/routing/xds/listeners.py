"""Where does Envoy listen, and which chain serves a connection? A Listener of the table as one of Envoy's, and its QUIC twin.

A filter chain changes only when its own TLS, names or front door do: what is routed comes by RDS and certificates by SDS, so
neither closes a connection.
"""

from collections.abc import Callable, Iterator, Mapping

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.any_pb2 import Any
from msgspec import Struct, structs

from mooring.routing.placement import Placement
from mooring.routing.table import Chain, FrontDoor, Listener, Passthrough, Terminate
from mooring.routing.xds import access_log, http, tls
from mooring.routing.xds.clusters import over_ads
from mooring.routing.xds.sharing import certificate
from mooring.routing.xds.wire import encoded, packed, repeated, seconds, split

BUFFER = 128 * 1024
"""Octets held of one connection in each direction before its sender must wait."""

_FILTER_CHAINS = 3
"""The number of Listener.filter_chains."""


class Served(Struct, frozen=True):
    """A filter chain to be made, all of it that matters: equal ones are the same bytes. `certificates` are those of a chain
    that ends TLS; one that has several names none in `tls`."""

    name: str
    server_names: tuple[str, ...]
    tls: Terminate | Passthrough | None
    certificates: tuple[str, ...]
    routes: str
    port: int
    believes: bool
    is_quic: bool
    front: FrontDoor


Encode = Callable[[Served], bytes]
Together = Mapping[int, tuple[int, ...]]
"""As sharing.together gives it."""


def listener(
    wish: Listener, front: FrontDoor, placement: Placement, names: Mapping[int, str], together: Together, encode: Encode
) -> bytes:
    """A serialised Listener message over TCP. `names`: of the route configuration, by the chain's place; a chain that has none
    is left out. `encode` gives each chain's bytes."""
    out = EnvoyListener(name=wish.name)
    _addresses(out, wish, placement, SocketAddress.TCP)
    out.per_connection_buffer_limit_bytes.value = BUFFER
    if front.proxy_protocol:
        _listener_filter(out, "envoy.filters.listener.proxy_protocol", packed(ProxyProtocol()))
    if wish.is_tls:
        _listener_filter(out, "envoy.filters.listener.tls_inspector", packed(TlsInspector()))
    out.listener_filters_timeout.CopyFrom(seconds(front.header_timeout))
    return encoded(out) + repeated(_FILTER_CHAINS, map(encode, _served(wish, front, names, together, False)))


def quic_listener(
    wish: Listener, front: FrontDoor, placement: Placement, names: Mapping[int, str], together: Together, encode: Encode
) -> bytes:
    """Its twin over UDP. Chains that ask for client certificates are not in it: HTTP/3 has no answer to a client without."""
    out = EnvoyListener(name=quic_name(wish))
    _addresses(out, wish, placement, SocketAddress.UDP)
    out.udp_listener_config.quic_options.SetInParent()
    out.udp_listener_config.downstream_socket_config.prefer_gro.value = True
    return encoded(out) + repeated(_FILTER_CHAINS, map(encode, _served(wish, front, names, together, True)))


def quic_name(wish: Listener) -> str:
    return f"{wish.name} quic"


def speaks_quic(chain: Chain) -> bool:
    return isinstance(chain.tls, Terminate) and chain.tls.clients is None


def _served(wish: Listener, front: FrontDoor, names: Mapping[int, str], together: Together, is_quic: bool) -> Iterator[Served]:
    for place, chain in enumerate(wish.chains):
        if place not in names or (is_quic and not speaks_quic(chain)):
            continue
        tls, server_names = chain.tls, tuple(name for name in chain.server_names if name != "*")
        certificates: tuple[str, ...] = (tls.certificate,) if isinstance(tls, Terminate) else ()
        if place in together:
            if place != together[place][0]:
                continue
            those = [wish.chains[each] for each in together[place]]
            server_names = tuple(sorted({name for each in those for name in each.server_names}))
            certificates = tuple(sorted({certificate(each) for each in those}))
            tls = structs.replace(tls, certificate="") if isinstance(tls, Terminate) else tls
        for believes in (True, False) if front.trusted_proxies and not isinstance(tls, Passthrough) else (False,):
            # A chain for all others that has names besides would be found by those alone.
            for matched in dict.fromkeys([server_names, () if "*" in chain.server_names else server_names]):
                name = matched[0] + " and others" if place in together else ",".join(matched) or "*"
                yield Served(name, matched, tls, certificates, names[place], wish.port, believes, is_quic, front)


def filter_chain(served: Served) -> bytes:
    """A serialised FilterChain message."""
    out = FilterChain(name=_name(served))
    out.filter_chain_match.server_names.extend(served.server_names)
    if served.believes:
        for cidr in served.front.trusted_proxies:
            source = out.filter_chain_match.source_prefix_ranges.add()
            source.address_prefix, source.prefix_len.value = split(cidr)
    if isinstance(served.tls, Passthrough):
        out.filters.append(_passed_through(served.tls, served.front))
        return encoded(out)
    clients = served.tls.clients if served.tls is not None else None
    door = http.Door(served.routes, served.port, served.tls is not None, served.believes, served.is_quic, clients)
    manager = http.manager(door, served.front)
    out.filters.append(Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)))
    if served.tls is not None:
        out.transport_socket_connect_timeout.CopyFrom(seconds(served.front.header_timeout))
        protocols = ("h3",) if served.is_quic else (("h2", "http/1.1") if served.front.http2 else ("http/1.1",))
        context = tls.downstream(served.tls, served.certificates, served.front, protocols, over_ads())
        out.transport_socket.CopyFrom(tls.over_quic(context) if served.is_quic else tls.over_tcp(context))
    return encoded(out)


def _name(served: Served) -> str:
    return f"{served.name} trusted" if served.believes else served.name


def _passed_through(wish: Passthrough, front: FrontDoor) -> Filter:
    proxy = TcpProxy(stat_prefix="passthrough", cluster=wish.cluster)
    if front.access_log:
        proxy.access_log.append(access_log.of_connections())
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))


def _addresses(out: EnvoyListener, wish: Listener, placement: Placement, protocol: int) -> None:
    first, *others = placement.addresses
    out.address.CopyFrom(_address(first, placement.bound(wish.port), protocol))
    for other in others:
        out.additional_addresses.add().address.CopyFrom(_address(other, placement.bound(wish.port), protocol))


def _address(host: str, port: int, protocol: int) -> Address:
    out = Address()
    out.socket_address.protocol = protocol
    out.socket_address.address = host
    out.socket_address.port_value = port
    out.socket_address.ipv4_compat = host == "::"
    return out


def _listener_filter(out: EnvoyListener, name: str, config: Any) -> None:
    out.listener_filters.add(name=name).typed_config.CopyFrom(config)
