"""How is a scenario read? One folder shows one behaviour through every layer.

`input.yaml` holds Nodes, Services, EndpointSlices and ServiceCIDRs; `packets.txt`, written by hand, says what must become of
packets; `view.yaml` and `rules.nft` are golden (rewritten by `make bless`, read by the reviewer as a diff). `queries.txt` says
what must be answered to questions for names (testing/queries.py); a folder has one of the two, or both.

A line of `packets.txt`, `#` starts a comment:

    from SOURCE [via INTERFACE] on NODE to PROTOCOL ADDRESS:PORT: VERDICT

SOURCE is an address, or `node` for the node itself. VERDICT is `reject`, `drop`, `pass`, or the endpoints that may answer,
joined by ` | `, each followed by `masqueraded` where it sees the node's address instead of the source's. After `sticky` comes
session affinity: one of the endpoints answers, and the same one every time; it is also the same on every other sticky line of
the file with that source, node and service port.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from msgspec import Struct

from mooring.dataplane.trace import Outcome, Packet, Trace, trace
from mooring.endpoints.addresses import canonical
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.meta import Document
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.services.build import build_view
from mooring.services.locality import LOOPBACK
from mooring.services.view import NodeView, Protocol

_LINE = re.compile(
    r"from (?P<source>\S+)(?: via (?P<interface>\S+))? on (?P<node>\S+) "
    r"to (?P<protocol>\S+) (?P<destination>\S+):(?P<port>\d+): (?P<verdict>.+)"
)
STICKY = "sticky "


class Expectation(Struct, frozen=True):
    """One line of packets.txt. `line` is its text, used as the test's name."""

    line: str
    node: str
    packet: Packet
    verdict: str

    @property
    def is_sticky(self) -> bool:
        return self.verdict.startswith(STICKY)

    @property
    def ends(self) -> frozenset[str]:
        """Each of the ends that the packet may meet."""
        return frozenset(self.verdict.removeprefix(STICKY).split(" | "))


class Scenario(Struct, frozen=True):
    """A folder, decoded. Documents keep their order."""

    folder: Path
    nodes: tuple[Node, ...]
    services: tuple[Service, ...]
    slices: tuple[EndpointSlice, ...]
    service_cidrs: tuple[str, ...]
    expectations: tuple[Expectation, ...]

    @property
    def title(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def view(self, node_name: str) -> NodeView:
        """What the named node must do."""
        chosen = next(each for each in self.nodes if each.metadata.name == node_name)
        return build_view(chosen, self.services, self.slices, self.service_cidrs)


def read(folder: Path) -> Scenario:
    """Raises ValueError naming the line that cannot be read, msgspec.ValidationError naming the field."""
    documents: list[Document] = [each for each in yaml.safe_load_all((folder / "input.yaml").read_text()) if each]
    of_kind = {
        kind: [d for d in documents if d["kind"] == kind] for kind in ("Node", "Service", "EndpointSlice", "ServiceCIDR")
    }
    nodes = tuple(node(each) for each in of_kind["Node"])
    packets = folder / "packets.txt"
    lines = packets.read_text().splitlines() if packets.exists() else []
    return Scenario(
        folder,
        nodes,
        tuple(service(each) for each in of_kind["Service"]),
        tuple(endpoint_slice(each) for each in of_kind["EndpointSlice"]),
        tuple(cidr for each in of_kind["ServiceCIDR"] for cidr in each["spec"]["cidrs"]),
        tuple(_expectation(line, nodes) for line in map(_uncommented, lines) if line),
    )


def find(root: Path) -> list[Scenario]:
    """Every scenario under `root`, by folder name."""
    return [read(path.parent) for path in sorted(root.glob("*/*/input.yaml"))]


def simulate(scenario: Scenario, expectation: Expectation) -> Trace:
    return trace(scenario.view(expectation.node), expectation.packet)


def verdict(traced: Trace) -> str:
    """A trace in the words of packets.txt."""
    if traced.outcome is not Outcome.FORWARD:
        return traced.outcome.value
    ends = " | ".join(endpoint_text(c.endpoint.address, c.endpoint.port, c.masqueraded) for c in traced.choices)
    return STICKY * bool(traced.affinity) + ends


def endpoint_text(address: str, port: int, masqueraded: bool) -> str:
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return where + (" masqueraded" if masqueraded else "")


def _uncommented(line: str) -> str:
    return line.partition("#")[0].strip()


def _expectation(line: str, nodes: Sequence[Node]) -> Expectation:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a packet line: {line!r}")
    destination = canonical(match["destination"].strip("[]"))
    source = match["source"]
    if source == "node":
        source = destination if destination in LOOPBACK.values() else _node_address(nodes, match["node"], ":" in destination)
    protocol, interface = Protocol(match["protocol"].upper()), match["interface"] or ""
    packet = Packet(canonical(source), destination, protocol, int(match["port"]), interface)
    return Expectation(line, match["node"], packet, match["verdict"])


def _node_address(nodes: Iterable[Node], name: str, ipv6: bool) -> str:
    addresses = next(each.internal_ips for each in nodes if each.metadata.name == name)
    return next(address for address in addresses if (":" in address) == ipv6)
