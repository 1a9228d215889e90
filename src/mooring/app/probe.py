"""How is a foreseen journey tried on the kernel? A probe is sent from where it starts, and each node on the way is watched.

Only in a local cluster, whose namespaces are on this machine. Nothing is changed: the packet is watched by a table that the
kernel itself takes away again (edges/nft/watch.py), and connection tracking is only asked.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from time import monotonic
from typing import Self

from msgspec import Struct

from mooring.app.cluster import network
from mooring.app.files import Files
from mooring.app.objects import Objects
from mooring.app.places import Origin
from mooring.app.settings import Settings
from mooring.dataplane.inventory import Inventory
from mooring.dataplane.ruleset import TABLE
from mooring.dataplane.sighting import Flow, Line, Met, Place, Seen, Sighting, Tracked
from mooring.dataplane.skeleton import RAW_OUTPUT, RAW_PREROUTING, skeleton
from mooring.edges.live.probe import Probe, ProbeError
from mooring.edges.live.route import next_hop
from mooring.edges.live.tracked import FlowWatch
from mooring.edges.netlink import namespaces
from mooring.edges.netlink.topology import namespace_name
from mooring.edges.nft import inventory
from mooring.edges.nft.watch import Event, PacketWatch
from mooring.edges.pods.pod_files import load_sandbox
from mooring.endpoints.addresses import is_ipv6
from mooring.services.view import Protocol

PATIENCE = 3.5
"""Seconds without an answer that are silence: a first packet that got lost is repeated after one."""
GRACE = 0.5
"""Seconds to wait for an answer once the kernel has dropped the packet, or has passed on a datagram that asks for none."""
_STEP = 0.02
_PORTS = 20
"""Source ports tried until one has no old flow."""


class Stop(Struct, frozen=True):
    """A node on the way: its namespace ('' for this process's own) and addresses."""

    node: str
    namespace: str
    addresses: tuple[str, ...]


class Plan(Struct, frozen=True):
    """What to send: from an address in the network namespace that the file `place` holds, and who is to be watched."""

    place: str
    source: str
    destination: Place
    protocol: Protocol
    stops: tuple[Stop, ...]


def place_of(settings: Settings, files: Files, origin: Origin) -> str:
    """The file of the network namespace in which a packet starts. Raises ProbeError."""
    if origin.kind == "pod":
        return _pod_place(files, origin.node, origin.uid)
    if origin.kind == "outside" and origin.address not in map(str, (each.ip for each in network(settings).outside)):
        raise ProbeError(f"{origin.address} is nobody of this cluster: a probe can come from a pod, a node or outside")
    return str(namespaces.path(namespace_name(settings.name, origin.node if origin.kind == "node" else "outside")))


def stop(settings: Settings, objects: Objects, node: str) -> Stop:
    found = objects.node(node)
    return Stop(node, namespace_name(settings.name, node), found.internal_ips if found else ())


def outside(settings: Settings, address: str) -> tuple[str, str]:
    """The external client's address of the family of `address`, and where it sends what is for that, '' when nowhere."""
    own = next((str(each.ip) for each in network(settings).outside if (each.version == 6) is is_ipv6(address)), "")
    return own, next_hop(namespace_name(settings.name, "outside"), address)


def _pod_place(files: Files, node: str, uid: str) -> str:
    directory = files.node(node) / "pods" / uid
    sandbox = load_sandbox(directory)
    with suppress(OSError):
        if sandbox and os.path.samefile(f"/proc/{sandbox.shim}/cwd", directory):
            return f"/proc/{sandbox.shim}/ns/net"
    raise ProbeError(f"the pod does not run on this machine: there is no shim of it in {directory}")


def observe(plan: Plan) -> Seen:
    """Sends the probe. Raises ProbeError, FirewallError, ConntrackError, OSError."""
    for _ in range(_PORTS):
        with ExitStack() as left:
            probe = left.enter_context(Probe(plan.place, plan.source, plan.destination, plan.protocol))
            watches = [left.enter_context(_Watch(each, probe.flow)) for each in plan.stops]
            for watch in watches:
                watch.look()
            if any(watch.tracked for watch in watches):
                # An old flow from the same port: its packets would not meet the tables again.
                continue
            probe.send()
            met = _wait(probe, watches)
            return Seen(probe.flow, met, tuple(watch.sighting() for watch in watches))
    raise ProbeError(f"no source port is free of old flows to {plan.destination[0]}")


def _wait(probe: Probe, watches: Sequence["_Watch"]) -> Met:
    """Until it is clear what the probe met."""
    begun = monotonic()
    decided = 0.0
    while True:
        met = probe.met(_STEP)
        for watch in watches:
            watch.look()
        now = monotonic()
        if met:
            return met
        last = watches[-1]
        passed = probe.flow.protocol is not Protocol.TCP and (last.tracked or last.untracked)
        over = any(watch.dropped for watch in watches) or passed
        decided = decided or (now if over else 0.0)
        if (decided and now - decided > GRACE) or now - begun > PATIENCE:
            return Met.SILENCE


class _Watch:
    """One node's eyes on the probe."""

    def __init__(self, stop: Stop, flow: Flow) -> None:
        self.stop = stop
        self._steps = PacketWatch(stop.namespace, flow)
        self._flow = FlowWatch(stop.namespace, flow)
        self._events: list[Event] = []
        self.tracked: Tracked | None = None

    def __enter__(self) -> Self:
        with ExitStack() as left:
            left.enter_context(self._steps)
            left.enter_context(self._flow)
            self._left = left.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()

    @property
    def dropped(self) -> bool:
        return any(each.verdict == "drop" for each in self._first_packet())

    @property
    def untracked(self) -> bool:
        """A rule of these chains of ours is told of only when it applied."""
        raw = (RAW_PREROUTING, RAW_OUTPUT)
        return any(each.table == TABLE and each.chain in raw and each.handle for each in self._first_packet())

    def look(self) -> None:
        self._events += self._steps.events()
        self.tracked = self._flow.look()

    def sighting(self) -> Sighting:
        self._events += self._steps.events()
        rules = _words(inventory.take(self.stop.namespace))
        lines = tuple(_line(each, rules) for each in self._first_packet() if _tells(each))
        return Sighting(self.stop.node, self.stop.addresses, lines, self.tracked, self.dropped, self.untracked)

    def _first_packet(self) -> list[Event]:
        """Until the next packet of the flow begins; the marking rule's own steps are left out.

        A packet that a node sends to itself begins twice, in output and in prerouting, with two numbers.
        """
        begun: set[str] = set()
        numbers: set[int] = set()
        found = []
        for each in self._events:
            if each.table == self._steps.table:
                if each.handle and each.chain in begun:
                    break
                begun.add(each.chain)
                numbers.add(each.packet)
            elif each.packet in numbers:
                found.append(each)
        return found


def _tells(event: Event) -> bool:
    """The end of a chain is told twice, as a step without a rule and by the policy."""
    return event.kind == "policy" or bool(event.handle)


def _line(event: Event, rules: Mapping[tuple[str, str, str, int], str]) -> Line:
    table = f"{event.family} {event.table}"
    if event.kind == "policy":
        return Line(table, event.chain, event.verdict)
    return Line(table, event.chain, event.verdict, rules.get((event.family, event.table, event.chain, event.handle), ""))


def _words(found: Inventory) -> dict[tuple[str, str, str, int], str]:
    """What to call a rule: our own by its text, any rule by its comment, else by its handle."""
    words = {}
    for table in found:
        own = {chain.name: chain for chain in skeleton(table.family)} if table.name == TABLE else {}
        for chain in table.chains.values():
            ours = own[chain.name].rules if chain.name in own else ()
            for index, rule in enumerate(chain.rules):
                text = ours[index].text if len(ours) == len(chain.rules) else ""
                said = " ".join(part for part in (text, f'"{rule.comment}"' if rule.comment else "") if part)
                words[(table.family, table.name, chain.name, rule.handle)] = said or f"rule {rule.handle}"
    return words
