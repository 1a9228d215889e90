"""What can a rule of the packet table do? The instructions of the kernel's nf_tables machine that the skeleton uses.

A rule is a list of statements; each says what it does in nft's words and in instructions over 16 registers of 4 bytes. Three
read them: edges/nft/encode.py puts them into the kernel, interpret.py runs them, render.py prints the words. An instruction
that finds nothing (a key without an element, a comparison that fails) ends its rule, and the next rule is tried.
"""

from enum import Enum
from typing import Literal

from msgspec import Struct


class Source(Enum):
    """What can be loaded into registers."""

    SOURCE_ADDRESS = "saddr"
    DESTINATION_ADDRESS = "daddr"
    PROTOCOL = "meta l4proto"
    SOURCE_PORT = "th sport"
    DESTINATION_PORT = "th dport"
    MARK = "meta mark"
    INTERFACE = "iifname"
    INTERFACE_INDEX = "iif"
    OUT_INTERFACE = "oifname"
    STATE = "ct state"
    STATUS = "ct status"
    ORIGINAL_ADDRESS = "ct original daddr"
    ORIGINAL_PORT = "ct original proto-dst"


class Load(Struct, frozen=True):
    source: Source
    into: int


class LoadAddressType(Struct, frozen=True):
    """`fib saddr type` or `fib daddr type`: how this machine would route it, an RTN_* number in the machine's order."""

    of: Literal["saddr", "daddr"]
    into: int


class SetMark(Struct, frozen=True):
    register: int


class And(Struct, frozen=True):
    """Into the same register unless told."""

    register: int
    mask: bytes
    into: int | None = None


class Compare(Struct, frozen=True):
    register: int
    value: bytes
    equal: bool = True


class Find(Struct, frozen=True):
    """Key registers start at `key`. With `into` the element's data goes there; `verdict`: its data is where to go next."""

    set: str
    key: int
    into: int | None = None
    verdict: bool = False
    inverted: bool = False


class Remember(Struct, frozen=True):
    """Puts an element into a set that packets write, for `timeout` seconds from now; one that is there keeps its data.

    Ends the rule when the set is full.
    """

    set: str
    key: int
    data: int
    timeout: int


class Forget(Struct, frozen=True):
    """Takes an element out of a map that packets write, if it is there. The kernel wants to be told of a data register too."""

    set: str
    key: int
    data: int


class Random(Struct, frozen=True):
    modulus: int
    into: int


class Dnat(Struct, frozen=True):
    address: int
    port: int


class Masquerade(Struct, frozen=True):
    """Fully random source ports: two nodes' flows never race for the same tuple."""


class Untrack(Struct, frozen=True):
    """This packet belongs to no connection: conntrack makes no entry, and nat chains never see it. The rule goes on."""


class Reject(Struct, frozen=True):
    """A TCP reset, or ICMP port unreachable."""

    reset: bool


class Go(Struct, frozen=True):
    """`accept` ends this chain and those that led here, and the hook's next one sees the packet; after `drop` nothing does."""

    how: Literal["jump", "goto", "return", "accept", "drop"]
    chain: str = ""


Instruction = (
    Load
    | LoadAddressType
    | SetMark
    | And
    | Compare
    | Find
    | Remember
    | Forget
    | Random
    | Dnat
    | Masquerade
    | Untrack
    | Reject
    | Go
)


class Statement(Struct, frozen=True):
    """A part of a rule, in nft's words and in instructions."""

    text: str
    instructions: tuple[Instruction, ...]


class Rule(Struct, frozen=True):
    """`comment` is shown by `nft list ruleset`; rules nft's language cannot write are understood by it."""

    statements: tuple[Statement, ...]
    comment: str = ""

    @property
    def text(self) -> str:
        return " ".join(statement.text for statement in self.statements)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(each for statement in self.statements for each in statement.instructions)


class Hook(Struct, frozen=True):
    name: Literal["prerouting", "input", "output", "postrouting"]
    priority: int
    type: Literal["nat", "filter"] = "nat"


class Chain(Struct, frozen=True):
    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None
