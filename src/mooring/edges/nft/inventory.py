"""How is the inventory of a namespace's nf_tables taken, and what should our own tables look like in it?

What is wished goes the same way as what is found: it is encoded as for the kernel and read back by the same functions, so no
second description of the fixed rules can grow old. Numbers from linux/netfilter/nf_tables.h.
"""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count

from msgspec import structs

from mooring.dataplane.instructions import Chain as WishedChain
from mooring.dataplane.inventory import Chain, Inventory, Rule, Table, own_tables
from mooring.dataplane.ruleset import FAMILIES, SETS, TABLE, VERDICT_MAPS
from mooring.dataplane.shapes import shape_named
from mooring.dataplane.skeleton import fingerprint, picker, skeleton
from mooring.edges.nft import encode
from mooring.edges.nft.encode import Batch
from mooring.edges.nft.netlink import NetlinkError, NetlinkSocket, attributes, text
from mooring.ports.firewall import FirewallError

_GET_CHAIN, _NEW_SET, _GET_SET = encode.NF_TABLES | 4, encode.NF_TABLES | 9, encode.NF_TABLES | 10
_ATTEMPTS = 20
_GENERIC = 4
_HEADER = struct.Struct("=IHHII")
_FAMILIES = {socket.AF_INET: "ip", socket.AF_INET6: "ip6", 1: "inet", 3: "arp", 5: "netdev", 7: "bridge"}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_VERDICTS = {0: "drop", 1: "accept", -1: "continue", -3: "jump", -4: "goto", -5: "return"}

_FACTS = {
    "payload": (2, 3, 4),
    "meta": (2,),
    "ct": (2, 3),
    "cmp": (2, 3),
    "range": (2, 3, 4),
    "bitwise": (4, 5),
    "lookup": (1, 5),
    "immediate": (2,),
    "numgen": (2, 3, 4),
    "nat": (1, 2),
    "masq": (1,),
    "reject": (1, 2),
    "fib": (2, 3),
    "dynset": (1, 3, 6),
    "target": (1,),
    "match": (1,),
}
"""expression -> its attributes that say what it does, registers left out."""
_WORDS = {
    ("payload", 2): {0: "link", 1: "network", 2: "transport"},
    ("meta", 2): {3: "mark", 4: "iif", 5: "oif", 6: "iifname", 7: "oifname", 12: "nftrace", 15: "nfproto", 16: "l4proto"},
    ("ct", 2): {0: "state", 1: "direction", 2: "status", 3: "mark", 11: "proto-src", 12: "proto-dst"},
    ("cmp", 2): {0: "==", 1: "!=", 2: "<", 3: "<=", 4: ">", 5: ">="},
    ("lookup", 5): {0: "", 1: "inverted"},
    ("nat", 1): {0: "snat", 1: "dnat"},
    ("nat", 2): {socket.AF_INET: "ip", socket.AF_INET6: "ip6"},
    ("reject", 1): {0: "icmp", 1: "tcp reset"},
    ("dynset", 3): {0: "add", 1: "update", 2: "delete"},
}
"""(expression, attribute) -> what its numbers mean."""
_NAMES = {("lookup", 1), ("dynset", 1), ("target", 1), ("match", 1)}
_NESTS = {("cmp", 3), ("range", 3), ("range", 4), ("bitwise", 4), ("bitwise", 5), ("immediate", 2)}
_SETTERS = {"meta": 3, "ct": 4}
"""Expressions that write instead of reading when they have a source register."""

Attributes = dict[int, bytes]


def take(namespace: str = "") -> Inventory:
    """Every table of a network namespace ('' for this process's own). Raises FirewallError."""
    try:
        netlink = NetlinkSocket(namespace)
        try:
            return _take(netlink)
        finally:
            netlink.close()
    except (NetlinkError, OSError) as error:
        raise FirewallError(f"reading the tables: {error}") from error


def own(netlink: NetlinkSocket) -> dict[str, Table]:
    """Our tables alone, by family: quick where other people's are large. Raises NetlinkError."""
    tables = [
        Table(family, TABLE, _comment(found.get(6, b"")))
        for family, found in _dump(netlink, encode.GET_TABLE)
        if _text(found[1]) == TABLE and family in FAMILIES.values()
    ]
    told = [
        (made, family, found)
        for asked, made in ((_GET_CHAIN, encode.NEW_CHAIN), (encode.GET_RULE, encode.NEW_RULE), (_GET_SET, _NEW_SET))
        for table in tables
        for family, found in _dump(netlink, asked, encode.generic(table.family) + text(1, TABLE))
        if _text(found[1]) == TABLE
    ]
    return own_tables(_assembled(told, tables))


def expected(found: Inventory) -> dict[str, Table]:
    """Our tables by family as they should be, among all that were found.

    Chains that pick endpoints are as many as are there: they come with their elements, and one that nobody goes to any more
    harms nobody, as long as it is what its name says.
    """
    present = own_tables(found)
    tables = {}
    for family in FAMILIES.values():
        names = sorted(present[family].chains) if family in present else ()
        pickers = (picker(family, each, name) for each in sorted(VERDICT_MAPS) for name in names if shape_named(each, name))
        tables[family] = _told(family, f"{TABLE} {fingerprint()}", (*skeleton(family), *pickers))
    return tables


def _told(family: str, comment: str, chains: Sequence[WishedChain]) -> Table:
    """A table of ours as the kernel would tell it."""
    sequence = count(1)
    batch = Batch(lambda: next(sequence))
    for index, spec in enumerate(SETS, start=1):
        encode.new_set(batch, family, spec, index)
    for chain in chains:
        encode.new_chain(batch, family, chain)
        encode.new_rules(batch, family, chain)
    return _assembled(_messages(batch.finish()), [Table(family, TABLE, comment)])[0]


def _take(netlink: NetlinkSocket) -> Inventory:
    tables = [Table(family, _text(found[1]), _comment(found.get(6, b""))) for family, found in _dump(netlink, encode.GET_TABLE)]
    told = [
        (made, family, found)
        for asked, made in ((_GET_CHAIN, encode.NEW_CHAIN), (encode.GET_RULE, encode.NEW_RULE), (_GET_SET, _NEW_SET))
        for family, found in _dump(netlink, asked)
    ]
    return _assembled(told, tables)


def _assembled(told: Iterable[tuple[int, str, Attributes]], tables: Iterable[Table]) -> Inventory:
    """Tables with what messages of these kinds say of them."""
    chains: dict[tuple[str, str], dict[str, Chain]] = {}
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    sets: dict[tuple[str, str], dict[str, str]] = {}
    for kind, family, found in told:
        where = (family, _text(found[1]))
        if kind == encode.NEW_CHAIN:
            chains.setdefault(where, {})[_text(found[3])] = _chain(found)
        elif kind == encode.NEW_RULE:
            rules.setdefault((*where, _text(found[2])), []).append(_rule(found))
        elif kind == _NEW_SET:
            sets.setdefault(where, {})[_text(found[2])] = _set(found)
    return [
        Table(family, name, table.comment, _with_rules((family, name), chains, rules), sets.get((family, name), {}))
        for table in tables
        for family, name in [(table.family, table.name)]
    ]


def _with_rules(
    where: tuple[str, str],
    chains: Mapping[tuple[str, str], Mapping[str, Chain]],
    rules: Mapping[tuple[str, str, str], list[Rule]],
) -> Mapping[str, Chain]:
    return {
        name: structs.replace(chain, rules=tuple(rules.get((*where, name), ())))
        for name, chain in chains.get(where, {}).items()
    }


def _dump(netlink: NetlinkSocket, kind: int, where: bytes = bytes(4)) -> list[tuple[str, Attributes]]:
    """Everything of one kind, of one moment; of one table where the kernel can choose. Raises NetlinkError."""
    for attempt in range(_ATTEMPTS):
        found: list[tuple[str, Attributes]] = []
        try:
            netlink.dump(kind, where, lambda payload, found=found: found.append(_read(payload)))  # type: ignore[misc]
            return found
        except NetlinkError as error:
            if error.code != errno.EINTR or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("not reached")


def _messages(data: bytes) -> Iterator[tuple[int, str, Attributes]]:
    offset = 0
    while offset < len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if kind >= encode.NF_TABLES:
            yield (kind, *_read(data[offset + _HEADER.size : offset + length]))
        offset += length


def _read(payload: bytes) -> tuple[str, Attributes]:
    return _FAMILIES.get(payload[0], str(payload[0])), dict(attributes(payload, _GENERIC))


def _chain(found: Attributes) -> Chain:
    hook = dict(attributes(found.get(4, b"")))
    if 1 not in hook:
        return Chain(_text(found[3]))
    number, priority = _number(hook[1]), int.from_bytes(hook[2], "big", signed=True)
    where = _HOOKS[number] if number < len(_HOOKS) else str(number)
    policy = _VERDICTS[_number(found.get(5, b"\1"))]
    return Chain(_text(found[3]), (), _text(found[7]), where, priority, policy)


def _set(found: Attributes) -> str:
    """Flags, then the types and lengths of key and data."""
    return " ".join(str(_number(found.get(kind, b""))) for kind in (3, 4, 5, 6, 7))


def _rule(found: Attributes) -> Rule:
    form = tuple(_form(expression) for _, expression in attributes(found.get(4, b"")))
    return Rule(form, _comment(found.get(7, b"")), _number(found.get(3, b"")))


def _form(expression: bytes) -> str:
    parts = dict(attributes(expression))
    name, data = _text(parts[1]), dict(attributes(parts.get(2, b"")))
    words = [name, *(["set"] if name in _SETTERS and _SETTERS[name] in data else [])]
    for kind in _FACTS.get(name, ()):
        value = data.get(kind, b"")
        if (name, kind) in _NAMES:
            words.append(_text(value))
        elif (name, kind) in _NESTS:
            words.append(_data(value))
        else:
            # Zero is what the kernel fills in where nothing was said.
            words.append(_WORDS.get((name, kind), {}).get(_number(value), str(_number(value))))
    return " ".join(word for word in words if word)


def _data(nest: bytes) -> str:
    """NFTA_DATA_VALUE in hexadecimal, or an NFTA_DATA_VERDICT in words."""
    for kind, value in attributes(nest):
        if kind == 1:
            return value.hex()
        verdict = dict(attributes(value))
        code = int.from_bytes(verdict[1], "big", signed=True)
        return f"{_VERDICTS.get(code, code)} {_text(verdict.get(2, b''))}".rstrip()
    return ""


def _comment(user_data: bytes) -> str:
    """libnftnl's user data: type, length, value; type 0 is a comment of tables and rules."""
    offset = 0
    while offset + 2 <= len(user_data):
        kind, length = user_data[offset], user_data[offset + 1]
        if kind == 0:
            return _text(user_data[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
