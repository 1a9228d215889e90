"""Which fixed rules turn the elements into what happens to a packet?

All chains hook into nat, so they see the first packet of a connection only; conntrack does the rest. A source outside this
node is asked for in `outside-frontends` first, everyone in `frontends`. The value found names the service port's endpoints (its
upper 20 bits) and the chain of its shape (the lower 12), which picks a slot at random.

Registers do not live from one rule to the next, so a picking chain looks its frontend up again. A value found in a map is
passed through the packet's mark before it is used as a key, and the mark is put back at once: nft 1.0.6 aborts on *listing* a
rule where the result of one map is the key of another (netlink_delinearize.c:126), whoever lists it.
"""

from functools import lru_cache
from hashlib import sha256

import msgspec

from mooring.dataplane import instructions as ins
from mooring.dataplane import ruleset as names
from mooring.dataplane.instructions import Chain, Hook, Instruction, Rule, Source, Statement
from mooring.dataplane.ruleset import mark
from mooring.services.view import Protocol

DNAT_PRIORITY = -100
"""NF_IP_PRI_NAT_DST: after conntrack (-200) and mangle (-150), before routing decides."""
SNAT_PRIORITY = 100
"""NF_IP_PRI_NAT_SRC: after everything that filters by the pod's own address."""

RTN_LOCAL = 2
STATUS_DNAT = 1 << 5

REFUSE = "refuse"
DISCARD = "discard"
SERVICES = "services"
OUTSIDE = "outside"

_SAVED_MARK = 15

PICKERS = {names.SHAPES: ("pick", names.FRONTENDS), names.OUTSIDE_SHAPES: ("outside-pick", names.OUTSIDE_FRONTENDS)}
"""verdict map -> (what its chains are called, which frontends they serve)"""


@lru_cache
def skeleton(family: str) -> tuple[Chain, ...]:
    """The chains of one table, each after those it goes to. `family` is 'ip' or 'ip6'."""
    return (
        Chain(REFUSE, (Rule((_tcp(), _reject(True))), Rule((_reject(False),)))),
        Chain(DISCARD, (Rule((_go("drop"),)),)),
        Chain(OUTSIDE, (_dispatch(family, names.OUTSIDE_FRONTENDS, names.OUTSIDE_SHAPES),)),
        Chain(
            SERVICES,
            (
                _dispatch(family, names.FRONTENDS, names.SHAPES),
                Rule((_address_in(family, "daddr", names.CLUSTER_IPS), _go("goto", REFUSE)), "a Service, but not this port"),
                Rule(
                    (_address_in(family, "daddr", names.SERVICE_CIDRS), _address_type("daddr", local=False), _go("drop")),
                    "no Service has this address",
                ),
            ),
        ),
        Chain(
            "prerouting",
            (
                Rule((_address_in(family, "saddr", names.POD_CIDRS, inverted=True), _go("jump", OUTSIDE))),
                Rule((_go("jump", SERVICES),)),
            ),
            Hook("prerouting", DNAT_PRIORITY),
        ),
        Chain("output", (Rule((_go("jump", SERVICES),)),), Hook("output", DNAT_PRIORITY)),
        Chain("postrouting", _postrouting(family), Hook("postrouting", SNAT_PRIORITY)),
    )


def _postrouting(family: str) -> tuple[Rule, ...]:
    masquerade = Statement("masquerade fully-random", (ins.Masquerade(),))
    outsider = _address_in(family, "saddr", names.POD_CIDRS, inverted=True)
    return (
        Rule((_not_dnat(), _go("return"))),
        Rule((_hairpin(family), masquerade), "a pod reaches itself"),
        Rule((_original_in(family, names.MASQUERADED), masquerade), "this frontend hides every source"),
        Rule(
            (_original_in(family, names.FRONTENDS), _address_type("saddr", local=True), masquerade),
            "the node, to a frontend",
        ),
        Rule((outsider, _original_address_in(family, names.CLUSTER_IPS), masquerade), "from outside this node"),
    )


@lru_cache(maxsize=4096)
def picker(family: str, verdict_map: str, shape: int) -> Chain:
    """The chain that a shape of a verdict map goes to."""
    prefix, frontends = PICKERS[verdict_map]
    slots = names.slots_of(shape)
    width = _width(family)
    pick: tuple[Instruction, ...] = (
        ins.And(0, mark(0xFFFFFFFF << names.SHAPE_BITS & 0xFFFFFFFF)),
        ins.Random(slots, into=1),
        ins.Find(names.ENDPOINTS, key=0, into=2),
        ins.Dnat(address=2, port=2 + width),
    )
    text = f"dnat to (@{frontends} & 0xfffff000) . numgen random mod {slots} map @{names.ENDPOINTS}"
    rule = Rule((Statement(text, _find_frontend(family, frontends) + pick),), f"one of {slots}")
    return Chain(f"{prefix}-{slots}", (rule,))


def fixed_elements() -> dict[names.SetKey, dict[bytes, bytes]]:
    """The elements every table has: the two shapes that pick nothing."""
    ends = {mark(names.REJECT_SHAPE): REFUSE.encode(), mark(names.DROP_SHAPE): DISCARD.encode()}
    return {(family, verdict_map): dict(ends) for family in names.FAMILIES.values() for verdict_map in PICKERS}


@lru_cache(maxsize=8192)
def shape_element(verdict_map: str, shape: int) -> tuple[bytes, bytes]:
    """The element that leads to a shape's chain."""
    return mark(shape), f"{PICKERS[verdict_map][0]}-{names.slots_of(shape)}".encode()


@lru_cache
def fingerprint() -> str:
    """Changes with every change of the rules or sets: an agent knows by it whether the kernel's tables are of its own kind."""
    everything = (names.SETS, [skeleton(family) for family in ("ip", "ip6")], [picker("ip", each, 3) for each in PICKERS])
    return sha256(repr(everything).encode()).hexdigest()[:16]


def _width(family: str) -> int:
    """How many registers an address takes."""
    return 1 if family == "ip" else 4


def _find_frontend(family: str, frontends: str) -> tuple[Instruction, ...]:
    """The value of the packet's frontend into register 0, through the mark and back."""
    width = _width(family)
    return (
        ins.Load(Source.MARK, _SAVED_MARK),
        ins.Load(Source.DESTINATION_ADDRESS, 0),
        ins.Load(Source.PROTOCOL, width),
        ins.Load(Source.DESTINATION_PORT, width + 1),
        ins.Find(frontends, key=0, into=0),
        ins.SetMark(0),
        ins.Load(Source.MARK, 0),
        ins.SetMark(_SAVED_MARK),
    )


def _dispatch(family: str, frontends: str, shapes: str) -> Rule:
    go = (ins.And(0, mark((1 << names.SHAPE_BITS) - 1)), ins.Find(shapes, key=0, verdict=True))
    text = f"@{frontends} & 0xfff vmap @{shapes}"
    return Rule((Statement(text, _find_frontend(family, frontends) + go),), "a frontend: go to the chain of its shape")


def _original_in(family: str, frontends: str) -> Statement:
    """The destination as it was before it was rewritten is one of these frontends."""
    width = _width(family)
    is_map = bool(names.SET_SPECS[frontends].data)
    return Statement(
        f"ct original {family} daddr . meta l4proto . ct original proto-dst @{frontends}",
        (
            ins.Load(Source.ORIGINAL_ADDRESS, 0),
            ins.Load(Source.PROTOCOL, width),
            ins.Load(Source.ORIGINAL_PORT, width + 1),
            ins.Find(frontends, key=0, into=0 if is_map else None),
        ),
    )


def _original_address_in(family: str, addresses: str) -> Statement:
    text = f"ct original {family} daddr @{addresses}"
    return Statement(text, (ins.Load(Source.ORIGINAL_ADDRESS, 0), ins.Find(addresses, key=0)))


def _address_in(family: str, which: str, addresses: str, inverted: bool = False) -> Statement:
    source = Source.SOURCE_ADDRESS if which == "saddr" else Source.DESTINATION_ADDRESS
    text = f"{family} {which} {'!= ' if inverted else ''}@{addresses}"
    return Statement(text, (ins.Load(source, 0), ins.Find(addresses, key=0, inverted=inverted)))


def _hairpin(family: str) -> Statement:
    load = (ins.Load(Source.SOURCE_ADDRESS, 0), ins.Load(Source.DESTINATION_ADDRESS, _width(family)))
    return Statement(f"{family} saddr . {family} daddr @{names.HAIRPINS}", (*load, ins.Find(names.HAIRPINS, key=0)))


def _address_type(of: str, local: bool) -> Statement:
    load = ins.LoadAddressType("saddr" if of == "saddr" else "daddr", 0)
    return Statement(f"fib {of} type {'' if local else '!= '}local", (load, ins.Compare(0, mark(RTN_LOCAL), equal=local)))


def _not_dnat() -> Statement:
    load = (ins.Load(Source.STATUS, 0), ins.And(0, mark(STATUS_DNAT)), ins.Compare(0, mark(0)))
    return Statement("ct status & dnat == 0x0", load)


def _tcp() -> Statement:
    tcp = bytes([names.PROTOCOL_NUMBERS[Protocol.TCP]])
    return Statement("meta l4proto tcp", (ins.Load(Source.PROTOCOL, 0), ins.Compare(0, tcp)))


def _reject(reset: bool) -> Statement:
    return Statement("reject with tcp reset" if reset else "reject", (ins.Reject(reset),))


def _go(how: str, chain: str = "") -> Statement:
    return Statement(f"{how} {chain}".rstrip(), (msgspec.convert({"how": how, "chain": chain}, ins.Go),))
