"""Zones of every sort, small enough that names and addresses meet: an address in two Services, hosts that are Services."""

from hypothesis import strategies as st

from mooring.dns.names import Name, from_text, to_text
from mooring.dns.zone import PodNames, PublishedIngress, Zone, ZoneOptions
from mooring.services.names import NamedPort, PublishedEndpoint, PublishedService

EXTERNAL = ("", "example.org", "out.cluster.local", "local")
"""One beside the cluster's domain, one below it, one above it."""
REVERSE = ("10.96.0.0/16", "10.244.0.0/22", "10.244.1.0/29", "203.0.113.8/30", "fd00:96::/112", "fd00:244::/62", "10.0.0.0/8")
INSIDE = ("10.96.0.1", "10.96.7.9", "fd00:96::1", "fd00:96::af")
PODS = ("10.244.1.2", "10.244.1.3", "10.244.2.2", "fd00:244::2", "fd00:244:0:1::2", "192.0.2.1")
OUTER = ("203.0.113.9", "203.0.113.10", "198.51.100.1", "2001:db8::9", "10.96.0.1")
NAMESPACES = ("a", "b", "dns", "cluster")
NAMES = ("web", "db", "ns", "x" * 63)
HOSTS = (
    "example.org", "web.a.example.org", "shop.example.org", "*.example.org", "*.apps.example.org", "a.apps.example.org",
    "dns.example.org", "ns.dns.example.org", "b.example.org", "web.a.out.cluster.local", "*.out.cluster.local", "other.net",
    "shop.local", "x..y", "*.db.a.example.org",
)  # fmt: skip
ALIASES = ("db.example.net", "web.a.svc.cluster.local.", "192.0.2.7", "a..b", "UPPER.example.net", "")

named_ports = st.builds(
    NamedPort,
    st.sampled_from(("", "http", "dns", "p" * 63)),
    st.sampled_from(("tcp", "udp")),
    st.sampled_from((53, 80)),
)
port_lists = st.lists(named_ports, max_size=3, unique=True).map(tuple)
endpoints = st.builds(PublishedEndpoint, st.sampled_from(("one", "two", "10-244-1-2")), st.sampled_from(PODS), port_lists)
outer_lists = st.lists(st.sampled_from(OUTER), max_size=2, unique=True).map(tuple)
balancers = st.lists(st.sampled_from(("lb.example.net", "web.a.example.org", "203.0.113.1")), max_size=2).map(tuple)
services = st.builds(
    lambda addresses, ports, found, alias, external, hosts: PublishedService(
        () if alias else addresses, ports, () if alias else found, alias, external, hosts
    ),
    st.lists(st.sampled_from(INSIDE), max_size=2, unique=True).map(tuple),
    port_lists,
    st.lists(endpoints, max_size=4, unique_by=lambda each: (each.host, each.address)).map(tuple),
    st.sampled_from(("", "", "", *ALIASES)),
    outer_lists,
    balancers,
)
ingresses = st.builds(
    PublishedIngress, st.lists(st.sampled_from(HOSTS), max_size=3, unique=True).map(tuple), outer_lists, balancers
)
keys = st.tuples(st.sampled_from(NAMESPACES), st.sampled_from(NAMES))
options = st.builds(
    lambda pods, reverse, external, addresses: ZoneOptions(
        pods=pods, reverse=tuple(reverse), external=external, addresses=addresses
    ),
    st.sampled_from(PodNames),
    st.lists(st.sampled_from(REVERSE), max_size=4, unique=True),
    st.sampled_from(EXTERNAL),
    st.sampled_from(((), ("10.96.0.10",), ("10.96.0.10", "fd00:96::a"))),
)


@st.composite
def zones(draw: st.DrawFn, synced: bool = True) -> Zone:
    held = draw(st.dictionaries(keys, services, max_size=5))
    namespaces = {key[0] for key in held} | draw(st.sets(st.sampled_from(NAMESPACES), max_size=2))
    pods = draw(st.dictionaries(st.sampled_from(NAMESPACES), st.sets(st.sampled_from(PODS), max_size=3), max_size=2))
    hosts = draw(st.dictionaries(keys, ingresses, max_size=3))
    return Zone(draw(options), held, namespaces, 7, synced, pods, hosts)


def near(name: Name) -> list[Name]:
    """A name and others that differ from it by little."""
    labels = to_text(name).split(".")
    texts = {
        ".".join(labels),
        ".".join(labels[1:]),
        *(f"{label}.{'.'.join(labels)}" for label in ("x", "*", "_tcp", "_http._tcp", "_http._udp", "a.b", "10-244-1-2", "1")),
        *(".".join([label, *labels[1:]]) for label in ("x", "*", "_tcp", "one", "web", "3", "01", "256", "f")),
        ".".join(labels).swapcase(),
    }
    return [from_text(text) for text in texts if len(text) < 250]
