"""What do the compiled tables do to the first packet of a connection? The kernel's nf_tables machine, in Python.

It runs the very instructions the kernel gets, over the very elements, so a mistake of the compiler shows without a kernel. It
is not the simulator (trace.py), which reads the NodeView; the two, and the kernel, must agree.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

from msgspec import Struct

from mooring.dataplane import instructions as ins
from mooring.dataplane.instructions import Chain, Instruction, Source
from mooring.dataplane.ruleset import (
    ENDPOINTS,
    FAMILIES,
    INTERFACE_NAME_SIZE,
    PROTOCOL_NUMBERS,
    SET_SPECS,
    VERDICT_MAPS,
    Field,
    Ruleset,
    mark,
    packed,
    unpack,
)
from mooring.dataplane.skeleton import (
    AGAIN,
    RAW_OUTPUT,
    RAW_PREROUTING,
    RTN_LOCAL,
    STATE_NEW,
    STATE_UNTRACKED,
    STATUS_DNAT,
    fixed_elements,
    picker,
    skeleton,
)
from mooring.services.view import Family, Protocol

RTN_UNICAST = 1
"""What `fib ... type` says of an address that is routed elsewhere."""


class Packet(Struct, frozen=True):
    """The first packet of a connection as it comes to this node's hooks.

    `mark` is the packet's own, set by others; `interface` where it came in, '' for one of the node itself. `bridged`: that is a
    bridge, the packet leaves by another of its ports, and with br_netfilter the bridge carries it on by itself.
    """

    source: str
    destination: str
    port: int
    protocol: Protocol
    from_node: bool = False
    mark: int = 0
    interface: str = ""
    bridged: bool = False
    source_port: int = 0


class Fate(Struct, frozen=True):
    """`untouched`: no Service's rule concerned it. `endpoint` is where it went; `masqueraded`: its source became the node's.

    `tracked`: conntrack knows of it.
    """

    verdict: Literal["forward", "reject", "drop", "untouched"]
    endpoint: tuple[str, int] | None = None
    masqueraded: bool = False
    mark: int = 0
    tracked: bool = True


class _Ended(Exception):
    """A verdict that ends the hook."""

    def __init__(self, verdict: Literal["reject", "drop", "nat"]) -> None:
        self.verdict = verdict


class _Accepted(Exception):
    """The packet is let go on to the chains behind."""


class _Break(Exception):
    """An instruction found nothing: the rule does not apply."""


Affinity = dict[tuple[str, bytes], bytes]
"""What the affinity maps of both tables hold: (family, key) -> data."""


def interpret(
    ruleset: Ruleset,
    packet: Packet,
    choose: Callable[[int], int],
    local: frozenset[str] = frozenset(),
    affinity: Affinity | None = None,
) -> Fate:
    """What becomes of the packet. `choose(n)` plays `numgen random mod n`; `local` are the addresses of this machine.

    The packet may write into `affinity`; None is a map that is full of other clients.
    """
    machine = _Machine(ruleset, packet, choose, local, affinity)
    machine.run(RAW_OUTPUT if packet.from_node else RAW_PREROUTING)
    try:
        hook = "output" if packet.from_node else "prerouting"
        machine.run_nat(hook)
        machine.run_nat(hook + AGAIN)
    except _Ended as ended:
        if ended.verdict != "nat":
            return Fate(ended.verdict, mark=machine.mark)
    delivered = machine.destination in local and not packet.from_node
    try:
        if not delivered:
            machine.leaving = True
            machine.run_nat("postrouting")
        elif "input" in machine.chains:
            machine.run("input")
    except _Ended as ended:
        if ended.verdict != "nat":
            return Fate(ended.verdict, mark=machine.mark, tracked=machine.tracked)
        machine.masqueraded = True
    verdict: Literal["forward", "untouched"] = "forward" if machine.endpoint else "untouched"
    return Fate(verdict, machine.endpoint, machine.masqueraded, machine.mark, machine.tracked)


class _Machine:
    def __init__(
        self,
        ruleset: Ruleset,
        packet: Packet,
        choose: Callable[[int], int],
        local: frozenset[str],
        affinity: Affinity | None,
    ) -> None:
        self.family = FAMILIES[Family.IPV6 if ":" in packet.destination else Family.IPV4]
        self.packet, self.choose, self.local, self.affinity = packet, choose, local, affinity
        self.elements = ruleset.elements
        self.chains: dict[str, Chain] = {chain.name: chain for chain in skeleton(self.family)}
        for name in VERDICT_MAPS:
            fixed = fixed_elements()[(self.family, name)]
            for chain in self.elements.get((self.family, name), {}).values():
                if chain not in fixed.values():
                    self.chains[chain.decode()] = picker(self.family, name, chain.decode())
        self.mark = packet.mark
        self.leaving = False
        self.endpoint: tuple[str, int] | None = None
        self.masqueraded = False
        self.tracked = True
        self.registers = bytearray(64)

    def run_nat(self, name: str) -> None:
        """Runs a chain of type nat: one for connections."""
        if self.tracked:
            with suppress(_Accepted):
                self.run(name)

    def run(self, name: str) -> bool:
        """Runs a chain. True when its rules were used up or left by return; a goto leaves the calling chain too."""
        for rule in self.chains[name].rules:
            self.registers = bytearray(64)
            try:
                for instruction in rule.instructions:
                    go = self.step(instruction)
                    if go is None:
                        continue
                    if go.how == "jump":
                        self.run(go.chain)
                    elif go.how == "goto":
                        return self.run(go.chain)
                    else:
                        return True
            except _Break:
                continue
        return True

    def step(self, instruction: Instruction) -> ins.Go | None:
        match instruction:
            case ins.Load(source, into):
                self.put(into, self.load(source))
            case ins.LoadAddressType(of, into):
                looked_at = self.packet.source if of == "saddr" else self.destination
                self.put(into, mark(RTN_LOCAL if looked_at in self.local else RTN_UNICAST))
            case ins.SetMark(register):
                self.mark = int(unpack(self.family, SET_SPECS[ENDPOINTS].key[:1], self.get(register, 4))[0])
            case ins.And(register, mask, into):
                value = self.get(register, len(mask))
                self.put(register if into is None else into, bytes(a & b for a, b in zip(value, mask, strict=True)))
            case ins.Compare(register, value, equal):
                if (self.get(register, len(value)) == value) != equal:
                    raise _Break
            case ins.Find():
                return self.find(instruction)
            case ins.Remember() | ins.Forget():
                self.write(instruction)
            case ins.Random(modulus, into):
                self.put(into, mark(self.choose(modulus)))
            case ins.Dnat(register, port):
                packed = self.get(register, self.width) + self.get(port, 4)
                where, number = unpack(self.family, SET_SPECS[ENDPOINTS].data, packed)
                self.endpoint = (str(where), int(number))
                raise _Ended("nat")
            case ins.Masquerade():
                raise _Ended("nat")
            case ins.Untrack():
                self.tracked = False
            case ins.Reject():
                raise _Ended("reject")
            case ins.Go("drop"):
                raise _Ended("drop")
            case ins.Go("accept"):
                raise _Accepted
            case ins.Go():
                return instruction
        return None

    def write(self, wanted: ins.Remember | ins.Forget) -> None:
        """What a packet does to the affinity map."""
        spec = SET_SPECS[wanted.set]
        key = self.family, self.get(wanted.key, self.length(spec.key))
        if isinstance(wanted, ins.Forget):
            (self.affinity or {}).pop(key, None)
        elif self.affinity is None:
            raise _Break
        else:
            self.affinity.setdefault(key, self.get(wanted.data, self.length(spec.data)))

    def find(self, wanted: ins.Find) -> ins.Go | None:
        spec = SET_SPECS[wanted.set]
        items = self.elements.get((self.family, wanted.set), {})
        key = self.get(wanted.key, self.length(spec.key))
        if spec.interval:
            data = _in_range(items, key, self.lengths(spec.key))
        elif spec.size:
            data = (self.affinity or {}).get((self.family, key))
        else:
            data = items.get(key)
        if (data is None) != wanted.inverted:
            raise _Break
        if wanted.verdict:
            return ins.Go("goto", (data or b"").decode())
        if wanted.into is not None:
            self.put(wanted.into, data or b"")
        return None

    def lengths(self, fields: tuple[Field, ...]) -> list[int]:
        """How many bytes of registers each field takes."""
        known = {Field.ADDRESS: self.width, Field.INTERFACE: INTERFACE_NAME_SIZE}
        return [known.get(field, 4) for field in fields]

    def length(self, fields: tuple[Field, ...]) -> int:
        return sum(self.lengths(fields))

    @property
    def width(self) -> int:
        return 4 if self.family == "ip" else 16

    @property
    def destination(self) -> str:
        return self.endpoint[0] if self.endpoint else self.packet.destination

    def load(self, source: Source) -> bytes:
        match source:
            case Source.SOURCE_ADDRESS:
                return packed(self.packet.source)
            case Source.DESTINATION_ADDRESS:
                return packed(self.destination)
            case Source.ORIGINAL_ADDRESS:
                return packed(self.packet.destination)
            case Source.PROTOCOL:
                return bytes([PROTOCOL_NUMBERS[self.packet.protocol]])
            case Source.SOURCE_PORT:
                return self.packet.source_port.to_bytes(2, "big")
            case Source.DESTINATION_PORT:
                return (self.endpoint[1] if self.endpoint else self.packet.port).to_bytes(2, "big")
            case Source.ORIGINAL_PORT:
                return self.packet.port.to_bytes(2, "big")
            case Source.MARK:
                return mark(self.mark)
            case Source.INTERFACE:
                return _interface("" if self.leaving and self.packet.bridged else self.packet.interface)
            case Source.INTERFACE_INDEX:
                return mark(0 if self.packet.from_node or (self.leaving and self.packet.bridged) else 1)
            case Source.OUT_INTERFACE:
                return _interface(self.packet.interface if self.packet.bridged else "")
            case Source.STATE:
                return mark(STATE_NEW if self.tracked else STATE_UNTRACKED)
            case Source.STATUS:
                return mark(STATUS_DNAT if self.endpoint else 0)

    def put(self, register: int, value: bytes) -> None:
        """Writes whole registers: the kernel clears what a short value leaves."""
        padded = value + bytes(-len(value) % 4)
        self.registers[register * 4 : register * 4 + len(padded)] = padded

    def get(self, register: int, length: int) -> bytes:
        return bytes(self.registers[register * 4 : register * 4 + length])


def _interface(name: str) -> bytes:
    return name.encode().ljust(INTERFACE_NAME_SIZE, b"\0")


def _in_range(items: Mapping[bytes, bytes], key: bytes, lengths: list[int]) -> bytes | None:
    """b'' when some range holds every field of the key."""
    fields = [slice(sum(lengths[:each]), sum(lengths[: each + 1])) for each in range(len(lengths))]
    for item in items:
        first, last = item[: len(key)], item[len(key) :]
        if all(first[field] <= key[field] <= last[field] for field in fields):
            return b""
    return None
