"""Node views at random, for Hypothesis."""

from hypothesis import strategies as st

from mooring.services.view import NodeView, Pool, Protocol, ServiceName, ServicePort, ServicePortName
from mooring.testing.node_views import FOUR, SIX, external_port, node_view, service_port

NAMES = ("a", "b", "c")


@st.composite
def service_ports(draw: st.DrawFn, service: str) -> tuple[ServicePort, ...]:
    """A Service's ports. Services share addresses now and then, as they must not, and endpoints, as they may."""
    ports: dict[ServicePortName, ServicePort] = {}
    for _ in range(draw(st.integers(0, 3))):
        six = draw(st.booleans())
        number = draw(st.integers(1, 4))
        endpoints = draw(st.lists(st.sampled_from(SIX if six else FOUR), unique=True))
        port = draw(st.sampled_from([80, 443]))
        policy = draw(st.sampled_from(list(Pool)))
        if draw(st.integers(0, 3)) == 0:
            made = external_port(service, f"2001:db8::{number}" if six else f"203.0.113.{number}", endpoints, policy, port)
        else:
            protocol = draw(st.sampled_from([Protocol.TCP, Protocol.UDP]))
            address = f"fd00:96::{number}" if six else f"10.96.0.{number}"
            made = service_port(service, address, endpoints, port, protocol, policy)
        ports[made.name] = made
    return tuple(ports.values())


@st.composite
def node_views(draw: st.DrawFn) -> NodeView:
    services = {name: draw(service_ports(name)) for name in draw(st.sets(st.sampled_from(NAMES)))}
    return node_view({name: ports for name, ports in services.items() if ports})


@st.composite
def apart_node_views(draw: st.DrawFn) -> NodeView:
    """No two service ports share a frontend."""
    view = draw(node_views())
    seen: set[tuple[str, int, Protocol]] = set()
    kept: dict[ServiceName, tuple[ServicePort, ...]] = {}
    for name, ports in view.services.items():
        good = []
        for port in ports:
            where = {(each.address, each.port, port.name.protocol) for each in port.frontends}
            if not where & seen:
                seen |= where
                good.append(port)
        if good:
            kept[name] = tuple(good)
    return NodeView(view.node, kept, view.service_cidrs, view.pod_cidrs, view.node_addresses)
