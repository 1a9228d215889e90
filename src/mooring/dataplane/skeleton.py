"""Which fixed rules turn the elements into what happens to a packet?

The chains hook into nat, so they see the first packet of a connection only; conntrack does the rest. Of the three that are
filters, one guards loopback addresses, and two come before conntrack: what this node answers itself is not tracked, so no nat
chain sees it, neither questions nor answers.

A transaction is atomic, but a packet is not: the kernel fixes a chain's rules when a packet enters it and a set's elements when
the set is asked, so a packet that a commit overtakes may find a frontend and no slot, or no frontend where there always was
one. Hence a destination is decided on in two chains of one hook: what the first rewrote never comes to the second, and only the
second refuses. A frontend without a slot ends the first (`accept`), lest an outside source get the arm of the inside.

A source outside this node is asked for in `outside-frontends` first, everyone in `frontends`. The value found names the service
port's endpoints (its upper 20 bits) and the chain of its shape (the lower 12), which picks a slot.

Registers do not live from one rule to the next, so a picking chain looks its frontend up again. A value found in a map is
passed through the packet's mark before it is used as a key, and the mark is put back at once: nft 1.0.6 aborts on *listing* a
rule where the result of one map is the key of another (netlink_delinearize.c:126), whoever lists it.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Literal

import msgspec

from mooring.dataplane import instructions as ins
from mooring.dataplane import ruleset as names
from mooring.dataplane.instructions import Chain, Hook, Instruction, Rule, Source, Statement
from mooring.dataplane.ruleset import mark
from mooring.dataplane.shapes import DROP_SHAPE, PREFIXES, REJECT_SHAPE, Shape, chain_name, shape_named
from mooring.services.view import Protocol

RAW_PRIORITY = -300
"""NF_IP_PRI_RAW: before conntrack (-200), after fragments are put together (-400), so that every packet has its ports."""
DNAT_PRIORITY = -100
"""NF_IP_PRI_NAT_DST: after conntrack (-200) and mangle (-150), before routing decides."""
AGAIN_PRIORITY = DNAT_PRIORITY + 1
"""Behind the chain that asks first, whichever of two generations of the tables that one is of."""
FILTER_PRIORITY = 0
"""NF_IP_PRI_FILTER"""
SNAT_PRIORITY = 100
"""NF_IP_PRI_NAT_SRC: after everything that filters by the pod's own address."""

RTN_LOCAL = 2
STATUS_DNAT = 1 << 5
STATE_ESTABLISHED, STATE_RELATED, STATE_NEW, STATE_UNTRACKED = 1 << 1, 1 << 2, 1 << 3, 1 << 6

REFUSE = "refuse"
DISCARD = "discard"
LOOPBACK = "loopback"
SERVICES = "services"
OUTSIDE = "outside"
UNSERVED = "unserved"
AGAIN = "-again"
RAW_PREROUTING, RAW_OUTPUT = "raw-prerouting", "raw-output"

_SAVED_MARK = 15
_CLIENT = 9
"""The first register of an affinity key. Nothing else needs these: an IPv6 address and a port end before them."""
_GID_MASK = mark(0xFFFFFFFF << names.SHAPE_BITS & 0xFFFFFFFF)
_ID_MASK = mark(0xFFFFFFFF << names.SHAPE_BITS + 1 & 0xFFFFFFFF)
_FRONTENDS_OF = {names.SHAPES: names.FRONTENDS, names.OUTSIDE_SHAPES: names.OUTSIDE_FRONTENDS}


@lru_cache
def skeleton(family: str) -> tuple[Chain, ...]:
    """The chains of one table, each after those it goes to. `family` is 'ip' or 'ip6'."""
    guard = (_guard(),) if family == "ip" else ()
    return (
        Chain(REFUSE, (Rule((_tcp(), _reject(True))), Rule((_reject(False),)))),
        Chain(DISCARD, (Rule((_go("drop"),)),)),
        *((_loopback(), _input()) if family == "ip" else ()),
        *_raw(family),
        Chain(OUTSIDE, (_dispatch(family, names.OUTSIDE_FRONTENDS, names.OUTSIDE_SHAPES),)),
        Chain(SERVICES, (_dispatch(family, names.FRONTENDS, names.SHAPES),)),
        Chain(
            UNSERVED,
            (
                Rule((_address_in(family, "daddr", names.CLUSTER_IPS), _go("goto", REFUSE)), "a Service, but not this port"),
                Rule(
                    (_address_in(family, "daddr", names.SERVICE_CIDRS), _address_type("daddr", local=False), _go("drop")),
                    "no Service has this address",
                ),
            ),
        ),
        *_twice("prerouting", (*guard, _ranges(family), _from_outside(family), _jump(SERVICES))),
        *_twice("output", (_ranges(family), _jump(SERVICES))),
        Chain("postrouting", _postrouting(family), Hook("postrouting", SNAT_PRIORITY)),
    )


def _twice(hook: Literal["prerouting", "output"], rules: tuple[Rule, ...]) -> tuple[Chain, Chain]:
    """The chain that decides at a hook, and the one behind it for what a commit overtook there."""
    return (
        Chain(hook, rules, Hook(hook, DNAT_PRIORITY)),
        Chain(hook + AGAIN, (*rules, _jump(UNSERVED)), Hook(hook, AGAIN_PRIORITY)),
    )


def _jump(chain: str) -> Rule:
    return Rule((_go("jump", chain),))


def _from_outside(family: str) -> Rule:
    return Rule((_address_in(family, "saddr", names.POD_CIDRS, inverted=True), _from_no_pod(), _go("jump", OUTSIDE)))


def _loopback() -> Chain:
    """Node ports at 127.0.0.1 need route_localnet, and with it the kernel lets loopback addresses in from everywhere."""
    return Chain(LOOPBACK, tuple(Rule((_in_loopback(which), _go("drop"))) for which in ("saddr", "daddr")))


def _guard() -> Rule:
    return Rule((_from_elsewhere_than_lo(), _go("jump", LOOPBACK)), "loopback addresses are for the node itself")


def _input() -> Chain:
    """nat chains never see what conntrack takes for no connection's packet."""
    strange = _state_is_not(STATE_ESTABLISHED | STATE_RELATED)
    rule = Rule((_from_elsewhere_than_lo(), strange, _go("jump", LOOPBACK)), "also what belongs to no connection")
    return Chain("input", (rule,), Hook("input", FILTER_PRIORITY, "filter"))


def _raw(family: str) -> tuple[Chain, Chain]:
    """A question, whoever asks, and its answer, which begins here. Over lo a packet stays what it was said to be in output, so
    nothing that comes in need be taken for an answer.
    """
    untrack = Statement("notrack", (ins.Untrack(),))
    question = Rule((_of_untracked(family, "d"), untrack), "this node answers itself")
    answer = Rule((_of_untracked(family, "s"), untrack), "what it answered")
    return (
        Chain(RAW_PREROUTING, (question,), Hook("prerouting", RAW_PRIORITY, "filter")),
        Chain(RAW_OUTPUT, (question, answer), Hook("output", RAW_PRIORITY, "filter")),
    )


def _of_untracked(family: str, end: Literal["s", "d"]) -> Statement:
    """The packet's source or its destination is in `untracked`."""
    text = f"{family} {end}addr . meta l4proto . th {end}port @{names.UNTRACKED}"
    return Statement(text, (*_load_end(family, end), ins.Find(names.UNTRACKED, key=0)))


def _ranges(family: str) -> Rule:
    width = _width(family)
    load = _load_frontend(family)
    restricted = Statement(f"{_frontend_words(family)} @{names.RESTRICTED}", (*load, ins.Find(names.RESTRICTED, key=0)))
    unknown = Statement(
        f"{_frontend_words(family)} . {family} saddr != @{names.ALLOWED}",
        (*load, ins.Load(Source.SOURCE_ADDRESS, width + 2), ins.Find(names.ALLOWED, key=0, inverted=True)),
    )
    return Rule((restricted, unknown, _go("drop")), "a source that may not")


def _postrouting(family: str) -> tuple[Rule, ...]:
    masquerade = Statement("masquerade fully-random", (ins.Masquerade(),))
    transparent = _original_in(family, names.TRANSPARENT)
    to_cluster_ip = Statement(
        f"ct original {family} daddr @{names.CLUSTER_IPS}",
        (ins.Load(Source.ORIGINAL_ADDRESS, 0), ins.Find(names.CLUSTER_IPS, key=0)),
    )
    changeable = _address_in(family, "saddr", names.KEPT_SOURCES, inverted=True)
    return (
        Rule((_not_dnat(), _go("return"))),
        Rule((_hairpin(family), masquerade), "a pod reaches itself"),
        Rule((_original_in(family, names.MASQUERADED), masquerade), "this frontend hides every source"),
        Rule((transparent, _address_type("saddr", local=True), masquerade), "this one only the node"),
        Rule((transparent, _go("return"))),
        Rule((*_bridged(), _address_type("saddr", local=False), _go("return")), "from pod to pod by their bridge alone"),
        Rule((changeable, _from_no_pod(), to_cluster_ip, masquerade), "a cluster IP, from no pod here"),
    )


@lru_cache(maxsize=8192)
def picker(family: str, verdict_map: str, chain: str) -> Chain:
    """The chain of this name that a verdict map goes to: it picks an endpoint. Raises ValueError for other names."""
    shape = shape_named(verdict_map, chain)
    if shape is None:
        raise ValueError(f"no chain of {verdict_map} is called {chain!r}")
    frontends = _FRONTENDS_OF[verdict_map]
    overtaken = Rule((_go("accept"),), "no such slot: a commit overtook this packet")
    if shape.timeout:
        return Chain(chain, (*_sticky_rules(family, frontends, shape), overtaken))
    pick = (
        ins.And(0, _GID_MASK),
        ins.Random(shape.slots, into=1),
        ins.Find(names.ENDPOINTS, key=0, into=2),
        ins.Dnat(address=2, port=2 + _width(family)),
    )
    text = f"dnat to (@{frontends} & 0xfffff000) . numgen random mod {shape.slots} map @{names.ENDPOINTS}"
    rule = Rule((Statement(text, _find_frontend(family, frontends) + pick),), f"one of {shape.slots}")
    return Chain(chain, (rule, overtaken))


def _sticky_rules(family: str, frontends: str, shape: Shape) -> tuple[Rule, ...]:
    """What the client had, while that lives; else a new pick, remembered; where no client can be remembered, just a pick.

    An update leaves the data of an element as it is, hence the deletion before it.
    """
    width = _width(family)
    gid = f"(@{frontends} & 0xfffff000)"
    client = f"{family} saddr . (@{frontends} & 0xffffe000)"
    find = (*_find_frontend(family, frontends), ins.And(0, _ID_MASK, into=_CLIENT + width), ins.And(0, _GID_MASK))
    key = (ins.Load(Source.SOURCE_ADDRESS, _CLIENT),)
    recall = (ins.Find(names.AFFINITY, key=_CLIENT, into=1), *_through_mark(1))
    pick = (ins.Random(shape.slots, into=1), ins.Find(names.SLOTS, key=0, into=1), *_through_mark(1))
    reach = (ins.Find(names.ENDPOINTS, key=0, into=2),)
    remember = (ins.Remember(names.AFFINITY, _CLIENT, 1, shape.timeout),)
    replace = (ins.Forget(names.AFFINITY, _CLIENT, 1), *remember)
    dnat = (ins.Dnat(address=2, port=2 + width),)

    known, picked = f"({client} map @{names.AFFINITY})", f"(numgen random mod {shape.slots} map @{names.SLOTS})"
    to = f"dnat to {gid} . {{}} map @{names.ENDPOINTS}"
    update = f"update @{names.AFFINITY} {{{{ {client} timeout {shape.timeout}s : {{}} }}}}"
    recalled = f"{update.format(known)} {to.format(known)}"
    chosen = f"delete @{names.AFFINITY} {{ {client} }} {update.format(picked)} {to.format(picked)}"
    return (
        Rule((Statement(recalled, find + key + recall + reach + remember + dnat),), "the endpoint this client had"),
        Rule((Statement(chosen, find + key + pick + reach + replace + dnat),), f"one of {shape.slots}, for {shape.timeout} s"),
        Rule((Statement(to.format(picked), find + pick + reach + dnat),), "no room to remember this client"),
    )


def fixed_elements() -> dict[names.SetKey, dict[bytes, bytes]]:
    """The elements every table has: the two shapes that pick nothing."""
    ends = {mark(REJECT_SHAPE): REFUSE.encode(), mark(DROP_SHAPE): DISCARD.encode()}
    return {(family, verdict_map): dict(ends) for family in names.FAMILIES.values() for verdict_map in PREFIXES}


@lru_cache
def fingerprint() -> str:
    """Changes with every change of the rules or sets: an agent knows by it whether the kernel's tables are of its own kind."""
    chains = [(each, chain_name(each, shape)) for each in PREFIXES for shape in (Shape(3), Shape(3, 60))]
    rules = [(skeleton(family), *(picker(family, *each) for each in chains)) for family in names.FAMILIES.values()]
    everything = (names.SETS, rules)
    return sha256(repr(everything).encode()).hexdigest()[:16]


def _width(family: str) -> int:
    """How many registers an address takes."""
    return 1 if family == "ip" else 4


def _frontend_words(family: str) -> str:
    return f"{family} daddr . meta l4proto . th dport"


def _load_frontend(family: str) -> tuple[Instruction, ...]:
    """The packet's destination as a key, from register 0 on."""
    return _load_end(family, "d")


def _load_end(family: str, end: Literal["s", "d"]) -> tuple[Instruction, ...]:
    """The packet's source or its destination as a key of that form."""
    width = _width(family)
    return (
        ins.Load(Source.SOURCE_ADDRESS if end == "s" else Source.DESTINATION_ADDRESS, 0),
        ins.Load(Source.PROTOCOL, width),
        ins.Load(Source.SOURCE_PORT if end == "s" else Source.DESTINATION_PORT, width + 1),
    )


def _find_frontend(family: str, frontends: str) -> tuple[Instruction, ...]:
    """The value of the packet's frontend into register 0. The packet's own mark is kept from here on."""
    keep = ins.Load(Source.MARK, _SAVED_MARK)
    return (keep, *_load_frontend(family), ins.Find(frontends, key=0, into=0), *_through_mark(0))


def _through_mark(register: int) -> tuple[Instruction, ...]:
    return (ins.SetMark(register), ins.Load(Source.MARK, register), ins.SetMark(_SAVED_MARK))


def _dispatch(family: str, frontends: str, shapes: str) -> Rule:
    go = (ins.And(0, mark((1 << names.SHAPE_BITS) - 1)), ins.Find(shapes, key=0, verdict=True))
    text = f"@{frontends} & 0xfff vmap @{shapes}"
    return Rule((Statement(text, _find_frontend(family, frontends) + go),), "a frontend: go to the chain of its shape")


def _original_in(family: str, frontends: str) -> Statement:
    """The destination as it was before it was rewritten is one of these frontends."""
    width = _width(family)
    return Statement(
        f"ct original {family} daddr . meta l4proto . ct original proto-dst @{frontends}",
        (
            ins.Load(Source.ORIGINAL_ADDRESS, 0),
            ins.Load(Source.PROTOCOL, width),
            ins.Load(Source.ORIGINAL_PORT, width + 1),
            ins.Find(frontends, key=0),
        ),
    )


def _address_in(family: str, which: str, addresses: str, inverted: bool = False) -> Statement:
    source = Source.SOURCE_ADDRESS if which == "saddr" else Source.DESTINATION_ADDRESS
    text = f"{family} {which} {'!= ' if inverted else ''}@{addresses}"
    return Statement(text, (ins.Load(source, 0), ins.Find(addresses, key=0, inverted=inverted)))


def _from_no_pod() -> Statement:
    load = ins.Load(Source.INTERFACE, 0)
    return Statement(f"iifname != @{names.POD_INTERFACES}", (load, ins.Find(names.POD_INTERFACES, key=0, inverted=True)))


def _bridged() -> tuple[Statement, Statement]:
    """With br_netfilter a bridge carries on itself what is rewritten to another of its ports, and forgets where it came in."""
    nowhere = (ins.Load(Source.INTERFACE_INDEX, 0), ins.Compare(0, mark(0)))
    pods = (ins.Load(Source.OUT_INTERFACE, 0), ins.Find(names.POD_INTERFACES, key=0))
    return Statement("iif 0", nowhere), Statement(f"oifname @{names.POD_INTERFACES}", pods)


def _from_elsewhere_than_lo() -> Statement:
    compare = ins.Compare(0, b"lo".ljust(names.INTERFACE_NAME_SIZE, b"\0"), equal=False)
    return Statement('iifname != "lo"', (ins.Load(Source.INTERFACE, 0), compare))


def _in_loopback(which: str) -> Statement:
    source = Source.SOURCE_ADDRESS if which == "saddr" else Source.DESTINATION_ADDRESS
    prefix = (ins.And(0, bytes((255, 0, 0, 0))), ins.Compare(0, bytes((127, 0, 0, 0))))
    return Statement(f"ip {which} 127.0.0.0/8", (ins.Load(source, 0), *prefix))


def _state_is_not(states: int) -> Statement:
    load = (ins.Load(Source.STATE, 0), ins.And(0, mark(states)), ins.Compare(0, mark(0)))
    return Statement("ct state ! established,related", load)


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
