"""Where does a node's kernel differ from the wish, and what of whose is it? Each difference in words.

What is compared are values: the elements as the dataplane's own diff finds them, the fixed rules as an inventory tells them.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from enum import Enum

from msgspec import Struct

from mooring.dataplane.compile import elements
from mooring.dataplane.conntrack import Flow
from mooring.dataplane.diff import Change, Transaction
from mooring.dataplane.ids import Numbered
from mooring.dataplane.installed import Installed
from mooring.dataplane.inventory import Chain, Inventory, Rule, Table
from mooring.dataplane.ruleset import (
    ALLOWED,
    CLUSTER_IPS,
    ENDPOINTS,
    FRONTENDS,
    HAIRPINS,
    KEPT_SOURCES,
    MASQUERADED,
    OUTSIDE_FRONTENDS,
    OUTSIDE_SHAPES,
    POD_CIDRS,
    POD_INTERFACES,
    PROTOCOL_NUMBERS,
    RESTRICTED,
    SERVICE_CIDRS,
    SET_SPECS,
    SHAPE_BITS,
    SHAPES,
    SLOTS,
    TABLE,
    TRANSPARENT,
    UNTRACKED,
    Field,
    SetKey,
    packed,
    unpack,
)
from mooring.dataplane.shapes import DROP_SHAPE, REJECT_SHAPE
from mooring.dataplane.skeleton import DNAT_PRIORITY
from mooring.services.view import NodeView, ServicePort, ServicePortName

_PROTOCOLS = {number: protocol.value for protocol, number in PROTOCOL_NUMBERS.items()}
_ENDS = {REJECT_SHAPE: "refuse", DROP_SHAPE: "drop"}
_NOUNS = {
    FRONTENDS: "frontend",
    OUTSIDE_FRONTENDS: "frontend for the outside",
    ENDPOINTS: "endpoint",
    SLOTS: "affinity slot",
    SHAPES: "shape",
    OUTSIDE_SHAPES: "shape for the outside",
    RESTRICTED: "restriction of frontend",
    ALLOWED: "allowed sources",
    CLUSTER_IPS: "cluster IP",
    SERVICE_CIDRS: "service range",
    POD_CIDRS: "pod range",
    POD_INTERFACES: "pod interface",
    KEPT_SOURCES: "kept sources",
    HAIRPINS: "hairpin",
    MASQUERADED: "masquerade at frontend",
    TRANSPARENT: "kept source at frontend",
    UNTRACKED: "untracked address",
}
"""What an element of each set is called."""
_REWRITES = ("nat dnat", "redir", "tproxy", "target DNAT", "target REDIRECT", "target TPROXY")
"""How the form of an instruction begins that changes a packet's destination."""


class Kind(Enum):
    MISSING = "missing"
    FOREIGN = "foreign"
    ALTERED = "altered"


class Drift(Struct, frozen=True):
    """One difference. `place` is the set or chain, `whose` the object it belongs to, '' when it is everybody's."""

    kind: Kind
    place: str
    what: str
    whose: str = ""
    wished: str = ""
    found: str = ""

    @property
    def words(self) -> str:
        """In one sentence."""
        said = f"{self.kind.value}: {self.what}"
        match self.kind:
            case Kind.MISSING if self.wished:
                said += f", which shall be {self.wished}"
            case Kind.FOREIGN if self.found:
                said += f", which is {self.found}"
            case Kind.ALTERED:
                said += f" is {self.found or 'another'}, and shall be {self.wished or 'as it was'}"
        return said + (f" ({self.whose})" if self.whose else "")


Element = tuple[SetKey, bytes]


def element_drift(installed: Installed, transaction: Transaction) -> dict[Element, Drift]:
    """What a transaction that makes the wish of what was found says is wrong, for each element it touches."""
    touched = {(change.set, key) for change in transaction.changes for key, _ in (*change.remove, *change.add)}
    names = _Names(installed, touched)
    found: dict[Element, Drift] = {}
    for change in transaction.changes:
        old, new = dict(change.remove), dict(change.add)
        for key in {**old, **new}:
            found[(change.set, key)] = names.drift(change.set, key, old.get(key), new.get(key))
    return found


def only(transaction: Transaction, wanted: Iterable[Element]) -> Transaction:
    """The part of a transaction that touches these elements."""
    keys = set(wanted)
    changes = (
        Change(
            change.set,
            tuple(each for each in change.remove if (change.set, each[0]) in keys),
            tuple(each for each in change.add if (change.set, each[0]) in keys),
        )
        for change in transaction.changes
    )
    return Transaction(tuple(change for change in changes if change.remove or change.add))


class _Names:
    """Whose is which element of the tables?"""

    def __init__(self, installed: Installed, touched: Iterable[Element]) -> None:
        self._by_number: dict[int, Numbered] = {}
        self._owners: dict[Element, Numbered] = {}
        self._holders: dict[str, ServicePortName] = {}
        wanted = set(touched)
        for name in sorted(installed.services):
            for numbered in installed.services[name]:
                self._by_number[numbered.id] = numbered
                for each in numbered.port.frontends:
                    self._holders.setdefault(each.address, numbered.port.name)
                for set_key, items in elements((numbered,)).items() if wanted else ():
                    for key in items:
                        if (set_key, key) in wanted:
                            self._owners.setdefault((set_key, key), numbered)

    def drift(self, set_key: SetKey, key: bytes, old: bytes | None, new: bytes | None) -> Drift:
        family, name = set_key
        kind = Kind.MISSING if old is None else Kind.FOREIGN if new is None else Kind.ALTERED
        owner = self._owners.get((set_key, key))
        return Drift(
            kind,
            f"{family} {TABLE} {name}",
            self._what(family, name, key),
            _title(owner.port.name) if owner else self._guess(family, name, key),
            self._data(family, name, new),
            self._data(family, name, old),
        )

    def _what(self, family: str, name: str, key: bytes) -> str:
        spec = SET_SPECS[name]
        noun = _NOUNS.get(name, name)
        if name in (ENDPOINTS, SLOTS):
            gid, slot = (int(each) for each in unpack(family, spec.key, key))
            pool = "local" if gid >> SHAPE_BITS & 1 else "cluster"
            # With affinity an endpoint's place is a checksum.
            where = slot if slot < 1 << SHAPE_BITS else f"{slot:#x}"
            return f"{noun} {where} ({pool} pool of number {gid >> SHAPE_BITS >> 1})"
        if name == ALLOWED:
            first, last = (unpack(family, spec.key, part) for part in _halves(key))
            return f"{noun} {first[3]}-{last[3]} of {_words(spec.key[:3], first[:3])}"
        if spec.interval:
            first, last = (unpack(family, spec.key, part) for part in _halves(key))
            return f"{noun} {_words(spec.key, first)}" + ("" if first == last else f"-{_words(spec.key, last)}")
        return f"{noun} {_words(spec.key, unpack(family, spec.key, key))}"

    def _data(self, family: str, name: str, data: bytes | None) -> str:
        """What an element leads to."""
        if not data:
            return ""
        fields = SET_SPECS[name].data
        values = unpack(family, fields, data)
        if name in (FRONTENDS, OUTSIDE_FRONTENDS):
            gid, shape = int(values[0]) >> SHAPE_BITS, int(values[0]) & (1 << SHAPE_BITS) - 1
            owner = self._by_number.get(gid >> 1)
            whose = _title(owner.port.name) if owner else f"number {gid >> 1}, which no Service has"
            pool = "local" if gid & 1 else "cluster"
            return f"{_ENDS.get(shape, f'to the {pool} endpoints, shape {shape},')} of {whose}"
        return _words(fields, values)

    def _guess(self, family: str, name: str, key: bytes) -> str:
        """Of an element that nobody wishes: whom it touches."""
        values = unpack(family, SET_SPECS[name].key, _halves(key)[0] if SET_SPECS[name].interval else key)
        if name in (ENDPOINTS, SLOTS):
            owner = self._by_number.get(int(values[0]) >> SHAPE_BITS >> 1)
            return f"{_title(owner.port.name)} has no such slot" if owner else "no Service has this number"
        if SET_SPECS[name].key[0] is Field.ADDRESS and (holder := self._holders.get(str(values[0]))):
            return f"the address is service/{holder.service}'s in {holder.namespace}"
        return ""


def rule_drift(found: Mapping[str, Table], wished: Mapping[str, Table]) -> tuple[Drift, ...]:
    """What is wrong with the tables' sets, chains and rules, by family. Of tables of another version only that is told."""
    drifts: list[Drift] = []
    for family, want in wished.items():
        place = f"{family} {TABLE}"
        have = found.get(family)
        if have is None:
            drifts.append(Drift(Kind.MISSING, place, f"table {place}"))
        elif have.comment != want.comment:
            drifts.append(Drift(Kind.ALTERED, place, f"table {place}", "", want.comment, have.comment or "without a version"))
        else:
            drifts += _set_drift(place, have.sets, want.sets)
            for name in {**want.chains, **have.chains}:
                drifts += _chain_drift(place, name, have.chains.get(name), want.chains.get(name))
    return tuple(drifts)


def _set_drift(table: str, have: Mapping[str, str], want: Mapping[str, str]) -> Iterator[Drift]:
    for name in {**want, **have}:
        old, new = have.get(name), want.get(name)
        if old != new:
            kind = Kind.MISSING if old is None else Kind.FOREIGN if new is None else Kind.ALTERED
            told = ("", "") if kind is not Kind.ALTERED else (f"of type {new}", f"of type {old}")
            yield Drift(kind, f"{table} {name}", f"set {name} ({table})", "", *told)


def _chain_drift(table: str, name: str, have: Chain | None, want: Chain | None) -> Iterator[Drift]:
    place, what = f"{table} {name}", f"chain {name} ({table})"
    if have is None or want is None:
        yield Drift(Kind.MISSING if have is None else Kind.FOREIGN, place, what)
        return
    if _hook(have) != _hook(want):
        yield Drift(Kind.ALTERED, place, what, "", _hook(want), _hook(have))
    matcher = SequenceMatcher(None, [each.form for each in have.rules], [each.form for each in want.rules], autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            continue
        old, new = list(have.rules[i:j]), list(want.rules[k:m])
        while old and new:
            yield _rule(Kind.ALTERED, place, what, old.pop(0), new.pop(0))
        yield from (_rule(Kind.FOREIGN, place, what, each, None) for each in old)
        yield from (_rule(Kind.MISSING, place, what, None, each) for each in new)


def _rule(kind: Kind, place: str, chain: str, old: Rule | None, new: Rule | None) -> Drift:
    told = new or old
    name = f' "{told.comment}"' if told and told.comment else ""
    wished, found = (("; ".join(each.form) if each else "") for each in (new, old))
    return Drift(kind, place, f"rule{name} of {chain}", "", wished, found)


def _hook(chain: Chain) -> str:
    return f"{chain.kind} {chain.hook} {chain.priority} policy {chain.policy}" if chain.hook else "called by others"


def rivals(inventory: Inventory, view: NodeView) -> tuple[str, ...]:
    """Other people's tables that may send our frontends' packets elsewhere before ours see them."""
    ours = {packed(each.address).hex(): each.address for port in _ports(view) for each in port.frontends}
    found = []
    for table in inventory:
        first = [each for each in table.chains.values() if _comes_first(each)]
        forms = [form for chain in table.chains.values() for rule in chain.rules for form in rule.form]
        if table.name == TABLE or not first or not any(form.startswith(_REWRITES) for form in forms):
            continue
        named = sorted({ours[word] for form in forms if form.startswith("cmp") for word in form.split() if word in ours})
        hooks = ", ".join(f"{each.name} ({each.hook} {each.priority})" for each in first)
        about = f" It names {', '.join(named)}." if named else ""
        found.append(f"table {table.family} {table.name} rewrites destinations too, and not after us: chain {hooks}.{about}")
    return tuple(found)


def _comes_first(chain: Chain) -> bool:
    """Of two nat chains at one hook the first that rewrites wins; other kinds may rewrite as well."""
    return chain.hook in ("prerouting", "output") and chain.priority <= DNAT_PRIORITY and chain.kind in ("nat", "filter")


def flow_drift(flows: Iterable[Flow], view: NodeView) -> tuple[Drift, ...]:
    """Stale UDP flows: their clients go on to an endpoint that is none any more."""
    owners = {(each.address, each.port): port.name for port in _ports(view) for each in port.frontends}
    return tuple(
        Drift(
            Kind.FOREIGN,
            "conntrack",
            f"UDP flow {_where(flow.source)} -> {_where(flow.destination)}",
            _title(owners[flow.destination]) if flow.destination in owners else "",
            "",
            f"answered by {_where(flow.server)}, no endpoint",
        )
        for flow in flows
    )


def _ports(view: NodeView) -> Iterator[ServicePort]:
    return (port for ports in view.services.values() for port in ports)


def _title(name: ServicePortName) -> str:
    port = f"port {name.port}" if name.port else f"port of {name.protocol.value}"
    return f"service/{name.service} in {name.namespace}, {port}"


def _where(where: tuple[str, int]) -> str:
    address, port = where
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _halves(key: bytes) -> tuple[bytes, bytes]:
    return key[: len(key) // 2], key[len(key) // 2 :]


def _words(fields: tuple[Field, ...], values: tuple[str | int, ...]) -> str:
    """Fields as people write them: 10.96.0.1:80/TCP."""
    told = list(values)
    if fields[:1] == (Field.ADDRESS,) and Field.PORT in fields:
        where = _where((str(values[0]), int(values[fields.index(Field.PORT)])))
        protocol = values[fields.index(Field.PROTOCOL)] if Field.PROTOCOL in fields else None
        return where + (f"/{_PROTOCOLS.get(int(protocol), protocol)}" if protocol is not None else "")
    return " . ".join(
        f"chain {each}" if field is Field.VERDICT else str(each) for field, each in zip(fields, told, strict=True)
    )
