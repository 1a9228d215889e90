"""How are tables, rules and elements written as nf_tables netlink messages? Numbers from linux/netfilter/nf_tables.h.

Text through libnftables would need two transactions (its rules, our elements), so a full replacement could not be atomic; and
some rules cannot be written as text at all. So everything goes as messages of one batch.
"""

import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from mooring.dataplane import instructions as ins
from mooring.dataplane.instructions import Chain, Instruction, Rule, Source
from mooring.dataplane.ruleset import INTERFACE_NAME_SIZE, SET_SPECS, TABLE, Field, SetSpec
from mooring.edges.nft.netlink import ACK, APPEND, CREATE, NESTED, REQUEST, attribute, message, nested, number, text

NF_TABLES = 10 << 8
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NEW_TABLE, GET_TABLE, DELETE_TABLE = NF_TABLES | 0, NF_TABLES | 1, NF_TABLES | 2
NEW_CHAIN = NF_TABLES | 3
DELETE_CHAIN = NF_TABLES | 5
NEW_RULE, GET_RULE, DELETE_RULE = NF_TABLES | 6, NF_TABLES | 7, NF_TABLES | 8
NEW_SET = NF_TABLES | 9
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = NF_TABLES | 12, NF_TABLES | 13, NF_TABLES | 14
GET_GENERATION = NF_TABLES | 16

PROTOCOL_FAMILIES = {"ip": socket.AF_INET, "ip6": socket.AF_INET6}
WIDTHS = {"ip": 4, "ip6": 16}

_LARGEST_NEST = 60_000
_INTERVAL_END = 1
_SET_INTERVAL, _SET_MAP, _SET_TIMEOUT, _SET_DYNAMIC, _SET_CONCATENATION = 0x4, 0x8, 0x10, 0x20, 0x80
_UPDATE, _DELETE = 1, 2  # nft_dynset_ops
_VERDICT_TYPE = 0xFFFFFF00
_GOTO = -4
_VERDICTS = {"jump": -3, "goto": _GOTO, "return": -5, "drop": 0, "accept": 1}
_VERDICT_REGISTER = 0
_FIRST_REGISTER = 8  # NFT_REG32_00
_HOOKS = {"prerouting": 0, "input": 1, "output": 3, "postrouting": 4}
_FULLY_RANDOM = 1 << 4  # NF_NAT_RANGE_PROTO_RANDOM_FULLY
_NETWORK, _TRANSPORT = 1, 2  # nft_payload_bases
_COMMENT = 0  # NFTNL_UDATA_TABLE_COMMENT and NFTNL_UDATA_RULE_COMMENT, as nft writes and shows them
_KEY_BYTE_ORDER, _DATA_BYTE_ORDER, _SET_COMMENT = 0, 1, 7  # enum nftnl_udata_set_types
_HOST_ENDIAN = struct.pack("=I", 1)  # nft's enum byteorder


def generic(family: str) -> bytes:
    """struct nfgenmsg."""
    return struct.pack("!BBH", PROTOCOL_FAMILIES[family], 0, 0)


class Batch:
    """Messages of one transaction, and what each was about, to name the one that was refused."""

    def __init__(self, next_sequence: Callable[[], int]) -> None:
        self._next = next_sequence
        self._messages: list[bytes] = []
        self._about: dict[int, str] = {}
        self.last = 0
        self._edge(BATCH_BEGIN, 0)

    def add(self, kind: int, flags: int, family: str, about: str, *payload: bytes) -> None:
        sequence = self._next()
        self._about[sequence] = about
        self._messages.append(message(kind, REQUEST | flags, sequence, generic(family) + b"".join(payload)))

    def about(self, sequence: int) -> str:
        return self._about.get(sequence, "committing")

    def finish(self) -> bytes:
        self._edge(BATCH_END, ACK)
        return b"".join(self._messages)

    def _edge(self, kind: int, flags: int) -> None:
        self.last = self._next()
        self._messages.append(message(kind, REQUEST | flags, self.last, struct.pack("!BBH", 0, 0, NF_TABLES >> 8)))


def table(batch: Batch, family: str, comment: str) -> None:
    """An empty table, whatever stood under its name before."""
    where = f"table {family} {TABLE}"
    batch.add(NEW_TABLE, CREATE, family, f"{where}: making sure it exists", text(1, TABLE))
    batch.add(DELETE_TABLE, 0, family, f"{where}: deleting the old one", text(1, TABLE))
    batch.add(NEW_TABLE, CREATE, family, f"{where}: creating it", text(1, TABLE), attribute(6, user_comment(comment)))


def remove_table(batch: Batch, family: str) -> None:
    batch.add(NEW_TABLE, CREATE, family, f"table {family} {TABLE}: making sure it exists", text(1, TABLE))
    batch.add(DELETE_TABLE, 0, family, f"table {family} {TABLE}: deleting it", text(1, TABLE))


def user_comment(comment: str) -> bytes:
    """libnftnl's user data: type, length, value."""
    value = comment.encode() + b"\0"
    return bytes([_COMMENT, len(value)]) + value


def new_set(batch: Batch, family: str, spec: SetSpec, number_: int) -> None:
    key_type, key_length, parts = _type(family, spec.key)
    flags = (_SET_INTERVAL if spec.interval else 0) | (_SET_MAP if spec.data else 0)
    flags |= _SET_CONCATENATION if len(spec.key) > 1 else 0
    payload = [text(1, TABLE), text(2, spec.name), number(4, key_type), number(5, key_length), number(10, number_)]
    if spec.is_verdict_map:
        payload += [number(6, _VERDICT_TYPE), number(7, 16)]
    elif spec.data:
        data_type, data_length, _ = _type(family, spec.data)
        payload += [number(6, data_type), number(7, data_length)]
    described = [number(1, spec.size)] if spec.size else []
    if len(parts) > 1:
        described.append(nested(2, *(nested(1, number(1, part)) for part in parts)))
    if described:
        payload.append(nested(9, *described))
    flags |= _SET_DYNAMIC | _SET_TIMEOUT if spec.size else 0
    payload.insert(2, number(3, flags))
    payload.append(attribute(13, _set_user_data(spec)))
    batch.add(NEW_SET, CREATE, family, f"creating set {family} {TABLE} {spec.name}", *payload)


def _set_user_data(spec: SetSpec) -> bytes:
    """What nft shows a set with: the machine's byte order for marks that stand alone, and a comment."""
    comment = spec.comment.encode() + b"\0"
    data = bytes([_SET_COMMENT, len(comment)]) + comment
    for kind, fields in ((_KEY_BYTE_ORDER, spec.key), (_DATA_BYTE_ORDER, spec.data)):
        if fields == (Field.MARK,):
            data = bytes([kind, 4]) + _HOST_ENDIAN + data
    return data


_TYPES = {Field.PROTOCOL: (12, 1), Field.PORT: (13, 2), Field.MARK: (19, 4), Field.INTERFACE: (41, INTERFACE_NAME_SIZE)}


def _type(family: str, fields: Sequence[Field]) -> tuple[int, int, list[int]]:
    """nft's type number of a (concatenated) key, its length in registers' bytes, and the length of each field."""
    kind, lengths = 0, []
    for field in fields:
        each, length = (7, 4) if family == "ip" and field is Field.ADDRESS else (8, 16)
        if field is not Field.ADDRESS:
            each, length = _TYPES[field]
        kind = kind << 6 | each
        lengths.append(length)
    total = sum(length + 3 & ~3 for length in lengths) if len(lengths) > 1 else lengths[0]
    return kind, total, lengths


def new_chain(batch: Batch, family: str, chain: Chain) -> None:
    payload = [text(1, TABLE), text(3, chain.name)]
    if chain.hook:
        hook = nested(4, number(1, _HOOKS[chain.hook.name]), number(2, chain.hook.priority))
        payload += [hook, text(7, chain.hook.type), number(5, 1)]
    batch.add(NEW_CHAIN, CREATE, family, f"creating chain {family} {TABLE} {chain.name}", *payload)


def empty_chain(batch: Batch, family: str, chain: str) -> None:
    about = f"taking the rules out of chain {family} {TABLE} {chain}"
    batch.add(DELETE_RULE, 0, family, about, text(1, TABLE), text(2, chain))


def remove_chain(batch: Batch, family: str, chain: str) -> None:
    about = f"deleting chain {family} {TABLE} {chain}"
    batch.add(DELETE_CHAIN, 0, family, about, text(1, TABLE), text(3, chain))


def new_rules(batch: Batch, family: str, chain: Chain) -> None:
    for rule in chain.rules:
        about = f"adding a rule to chain {family} {TABLE} {chain.name}: {rule.text}"
        batch.add(NEW_RULE, CREATE | APPEND, family, about, text(1, TABLE), text(2, chain.name), *_rule(family, rule))


def _rule(family: str, rule: Rule) -> list[bytes]:
    expressions = nested(4, *(nested(1, *_expression(family, each)) for each in rule.instructions))
    return [expressions, attribute(7, user_comment(rule.comment))] if rule.comment else [expressions]


def _register(index: int) -> int:
    return _FIRST_REGISTER + index


_META = {
    Source.PROTOCOL: 16,
    Source.MARK: 3,
    Source.INTERFACE: 6,
    Source.INTERFACE_INDEX: 4,
    Source.OUT_INTERFACE: 7,
}
_CONNECTION = {Source.STATE: 0, Source.STATUS: 2}


def _load(family: str, load: ins.Load) -> list[bytes]:
    into = number(1, _register(load.into))
    match load.source:
        case Source.SOURCE_ADDRESS | Source.DESTINATION_ADDRESS as which:
            offsets = {"ip": (12, 16), "ip6": (8, 24)}[family]
            offset = offsets[which is Source.DESTINATION_ADDRESS]
            return _named("payload", into, number(2, _NETWORK), number(3, offset), number(4, WIDTHS[family]))
        case Source.SOURCE_PORT | Source.DESTINATION_PORT as which:
            offset = 2 if which is Source.DESTINATION_PORT else 0
            return _named("payload", into, number(2, _TRANSPORT), number(3, offset), number(4, 2))
        case Source.ORIGINAL_ADDRESS:
            return _named("ct", into, number(2, 20 if family == "ip" else 22), attribute(3, b"\0"))
        case Source.ORIGINAL_PORT:
            return _named("ct", into, number(2, 12), attribute(3, b"\0"))
        case Source.STATE | Source.STATUS as key:
            return _named("ct", into, number(2, _CONNECTION[key]))
        case key:
            return _named("meta", into, number(2, _META[key]))


def _expression(family: str, each: Instruction) -> list[bytes]:
    """One instruction as the name and the attributes of a kernel expression."""
    match each:
        case ins.Load():
            return _load(family, each)
        case ins.LoadAddressType(of, into):
            return _named("fib", number(1, _register(into)), number(2, 3), number(3, 1 if of == "saddr" else 2))
        case ins.SetMark(register):
            return _named("meta", number(2, 3), number(3, _register(register)))
        case ins.And(register, mask, to):
            where = number(1, _register(register)) + number(2, _register(register if to is None else to)) + number(3, len(mask))
            return _named("bitwise", where, nested(4, attribute(1, mask)), nested(5, attribute(1, bytes(len(mask)))))
        case ins.Compare(register, value, equal):
            return _named("cmp", number(1, _register(register)), number(2, 0 if equal else 1), nested(3, attribute(1, value)))
        case ins.Find(name, key, into, verdict, inverted):
            payload = [text(1, name), number(2, _register(key))]
            if verdict or into is not None:
                payload.append(number(3, _VERDICT_REGISTER if into is None else _register(into)))
            return _named("lookup", *payload, *([number(5, 1)] if inverted else []))
        case ins.Remember() | ins.Forget():
            return _write(each)
        case ins.Random(modulus, into):
            return _named("numgen", number(1, _register(into)), number(2, modulus), number(3, 1), number(4, 0))
        case ins.Dnat(address, port):
            kind = number(1, 1) + number(2, PROTOCOL_FAMILIES[family])
            return _named("nat", kind, number(3, _register(address)), number(5, _register(port)))
        case ins.Masquerade():
            return _named("masq", number(1, _FULLY_RANDOM))
        case ins.Untrack():
            return _named("notrack")
        case ins.Reject(reset):
            code = 3 if family == "ip" else 4  # port unreachable
            return _named("reject", number(1, 1 if reset else 0), attribute(2, bytes([0 if reset else code])))
        case ins.Go(how, chain):
            return _named("immediate", number(1, _VERDICT_REGISTER), nested(2, _verdict(_VERDICTS[how], chain)))


def _write(each: ins.Remember | ins.Forget) -> list[bytes]:
    """What packets put into sets, and take out of them."""
    element = number(4, _register(each.key)) + number(5, _register(each.data))
    operation = number(3, _UPDATE if isinstance(each, ins.Remember) else _DELETE)
    timeout = attribute(6, (each.timeout * 1000).to_bytes(8, "big")) if isinstance(each, ins.Remember) else b""
    return _named("dynset", text(1, each.set), operation, element, timeout)


def _named(name: str, *payload: bytes) -> list[bytes]:
    return [text(1, name), nested(2, *payload)]


def _verdict(code: int, chain: str = "") -> bytes:
    return nested(2, number(1, code), *([text(2, chain)] if chain else []))


def elements(
    batch: Batch, kind: int, family: str, name: str, items: Iterable[tuple[bytes, bytes]], with_data: bool = True
) -> None:
    """Adds (NEW_ELEMENT) or deletes (DELETE_ELEMENT) elements, in as many messages as they need."""
    spec = SET_SPECS[name]
    where = text(1, TABLE) + text(2, name)
    verb = "adding to" if kind == NEW_ELEMENT else "deleting from"
    about = f"{verb} {family} {TABLE} {name}"
    left = iter(items)
    count = _LARGEST_NEST // _element_size(family, spec)
    while some := list(islice(left, count)):
        entries = encoded(family, spec, some, with_data and bool(spec.data))
        batch.add(kind, CREATE if kind == NEW_ELEMENT else 0, family, about, where, attribute(3 | NESTED, entries))


def _element_size(family: str, spec: SetSpec) -> int:
    """No element takes more bytes than this."""
    return 64 + 2 * 16 * len(spec.key) + 2 * WIDTHS[family] * len(spec.data)


def encoded(family: str, spec: SetSpec, items: Sequence[tuple[bytes, bytes]], with_data: bool) -> bytes:
    """Elements (not none) as list entries. The attributes' heads are the same for all: keys and data are joined by them."""
    if spec.interval and len(spec.key) == 1:
        return b"".join(part for key, _ in items for part in _range(key))
    length = _type(family, spec.key)[1]
    key_head = _value_head(1, length)
    if spec.is_verdict_map and with_data:
        return b"".join(_list_entry(key_head + key, nested(2, _verdict(_GOTO, chain.decode()))) for key, chain in items)
    size = len(key_head) + length
    bodies: Iterable[bytes] = (key for key, _ in items)
    if spec.interval:  # a range of keys of several fields is one element with two keys
        end_head = _value_head(10, length)
        size += len(end_head) + length
        bodies = (end_head.join((key[:length], key[length:])) for key, _ in items)
    elif with_data:
        data_length = _type(family, spec.data)[1]
        data_head = _value_head(2, data_length)
        size += len(data_head) + data_length
        bodies = map(data_head.join, items)
    head = struct.pack("=HH", 4 + size, 1 | NESTED) + key_head
    return head + head.join(bodies)


def _value_head(kind: int, length: int) -> bytes:
    """What stands before a key or data of so many bytes, a multiple of 4."""
    return struct.pack("=HHHH", length + 8, kind | NESTED, length + 4, 1)


def _list_entry(*inner: bytes) -> bytes:
    return nested(1, *inner)


def _range(key: bytes) -> Iterable[bytes]:
    """A range is two elements: its first key, and the one after its last, if there is one, marked as an end."""
    width = len(key) // 2
    yield _list_entry(nested(1, attribute(1, key[:width])))
    after = int.from_bytes(key[width:], "big") + 1
    if after < 1 << width * 8:
        yield _list_entry(nested(1, attribute(1, after.to_bytes(width, "big"))), number(3, _INTERVAL_END))
