"""Which kernel settings does a node's traffic need, and how are they read and set in its network namespace?

Below /proc/sys/net a process sees the settings of the namespace it is in. A setting is written only when it differs; one that
cannot be written is told, and harms nobody else. Meanings: Documentation/networking/{nf_conntrack-sysctl,ip-sysctl}.rst.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from mooring.dataplane.localhost import LOCALHOST_SYSCTLS

ROOT = Path("/proc/sys")
MOST_TRACKED = 1 << 20
"""Flows to which a machine's many cores may raise the limit, as in kube-proxy: each takes memory."""

Ports = tuple[int, int]
"""First and last of a range."""

_TRACKED = "net/netfilter/nf_conntrack_max"
_BUCKETS = "net/netfilter/nf_conntrack_buckets"
_BUCKET_SHARE = 4
"""Flows in a bucket at most, when the table is full."""
_EPHEMERAL = "net/ipv4/ip_local_port_range"
_RESERVED = "net/ipv4/ip_local_reserved_ports"


class ConntrackOptions(Struct, frozen=True):
    """As kube-proxy's flags of the same names: seconds, and 0 for leaving a setting as it is.

    Liberal by default: a long transfer has segments that conntrack's window does not expect, and without it they would be left
    untranslated, so that the client's own kernel resets the connection (kubernetes/kubernetes#74839).
    """

    max_per_core: int = 32768
    min: int = 131072
    tcp_timeout_established: int = 24 * 3600
    tcp_timeout_close_wait: int = 3600
    tcp_be_liberal: bool = True


class Sysctl(Struct, frozen=True):
    """`machine_wide`: only the first namespace may set it; elsewhere it is left alone. `at_least`: more is as good."""

    name: str
    value: int
    machine_wide: bool = False
    at_least: bool = False


class Outcome(Struct, frozen=True):
    """What became of a setting that differed. `error` is '' when it was set."""

    name: str
    before: str
    value: int
    error: str = ""


class Overlap(Struct, frozen=True):
    """Node ports that the kernel may give to this node's own connections, and the command that forbids it."""

    ephemeral: Ports
    exposed: tuple[Ports, ...]
    command: str

    def __str__(self) -> str:
        ports = ", ".join(map(_range_text, self.exposed))
        return f"node ports {ports} are also ephemeral ports here (net.ipv4.ip_local_port_range {_range_text(self.ephemeral)})"


def wished(options: ConntrackOptions, cores: int, localhost_node_ports: bool) -> Iterator[Sysctl]:
    """What a node needs. Those for node ports at 127.0.0.1 are safe only once the packet tables are there: they guard them."""
    if options.max_per_core:
        tracked = min(max(options.max_per_core * cores, options.min), max(MOST_TRACKED, options.min))
        yield Sysctl(_TRACKED, tracked, machine_wide=True)
        yield Sysctl(_BUCKETS, tracked // _BUCKET_SHARE, machine_wide=True, at_least=True)
    for name, seconds in (("established", options.tcp_timeout_established), ("close_wait", options.tcp_timeout_close_wait)):
        if seconds:
            yield Sysctl(f"net/netfilter/nf_conntrack_tcp_timeout_{name}", seconds)
    if options.tcp_be_liberal:
        yield Sysctl("net/netfilter/nf_conntrack_tcp_be_liberal", 1)
    if localhost_node_ports:
        for name, value in LOCALHOST_SYSCTLS.items():
            yield Sysctl(name, int(value))


def ensure(wishes: Iterable[Sysctl], root: Path = ROOT) -> list[Outcome]:
    """Sets what differs, in the calling thread's network namespace; tells of each that did."""
    found = []
    for wish in wishes:
        path = root / wish.name
        before = ""
        try:
            if wish.machine_wide and not path.stat().st_mode & 0o200:
                continue
            before = path.read_text().strip()
            if before == str(wish.value) or (wish.at_least and int(before) >= wish.value):
                continue
            path.write_text(str(wish.value))
        except (OSError, ValueError) as error:
            found.append(Outcome(wish.name, before, wish.value, str(error)))
        else:
            found.append(Outcome(wish.name, before, wish.value))
    return found


def overlap(node_ports: Ports, root: Path = ROOT) -> Overlap | None:
    """None when no node port is an ephemeral port too, or all that are have been reserved. Raises OSError, ValueError.

    A node port holds no socket, so the kernel may use its number for a connection of the node's own: whose answers, or whose
    requests to the node port, then go to the wrong place (kubernetes/kubernetes#111682).
    """
    low, high = map(int, (root / _EPHEMERAL).read_text().split())
    reserved = (root / _RESERVED).read_text().strip()
    exposed = set(range(max(low, node_ports[0]), min(high, node_ports[1]) + 1))
    for first, last in map(_range_of, filter(None, reserved.split(","))):
        exposed.difference_update(range(first, last + 1))
    if not exposed:
        return None
    wish = ",".join(filter(None, (reserved, _range_text(node_ports))))
    return Overlap((low, high), tuple(_runs(exposed)), f"sysctl -w net.ipv4.ip_local_reserved_ports={wish}")


def _runs(ports: Iterable[int]) -> Iterator[Ports]:
    """Numbers as ranges."""
    first = last = -1
    for port in sorted(ports):
        if port != last + 1:
            if last >= 0:
                yield first, last
            first = port
        last = port
    yield first, last


def _range_of(text: str) -> Ports:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _range_text(ports: Ports) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"
