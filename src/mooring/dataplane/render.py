"""How does a person read a ruleset? As nft would list it, one element a line.

Rules that nft's language cannot write (a value of one map as the key of another) are shown as they are meant: `@frontends` is
the value found for the packet's destination.
"""

from collections.abc import Iterator, Mapping

from mooring.dataplane.diff import Transaction
from mooring.dataplane.instructions import Chain
from mooring.dataplane.ruleset import (
    FAMILIES,
    PROTOCOL_NUMBERS,
    SET_SPECS,
    SETS,
    TABLE,
    VERDICT_MAPS,
    Field,
    Ruleset,
    SetSpec,
    unpack,
)
from mooring.dataplane.skeleton import fixed_elements, picker, skeleton

_RANGED = (Field.ADDRESS,)
"""A range of interfaces is a prefix, which its end shows alone."""
_PROTOCOL_NAMES = {number: protocol.value.lower() for protocol, number in PROTOCOL_NUMBERS.items()}


def render(ruleset: Ruleset) -> str:
    """Both tables as text, elements in a stable order."""
    return "".join(f"{line}\n" for family in FAMILIES.values() for line in _table(family, ruleset))


def _table(family: str, ruleset: Ruleset) -> Iterator[str]:
    yield f"table {family} {TABLE} {{"
    for spec in SETS:
        yield from _set(family, spec, ruleset.elements.get((family, spec.name), {}))
    for chain in (*skeleton(family), *_pickers(family, ruleset)):
        yield f"  chain {chain.name} {{"
        if chain.hook:
            yield f"    type {chain.hook.type} hook {chain.hook.name} priority {chain.hook.priority}; policy accept;"
        for rule in chain.rules:
            yield f"    {rule.text}" + (f'  comment "{rule.comment}"' if rule.comment else "")
        yield "  }"
    yield "}"


def _pickers(family: str, ruleset: Ruleset) -> Iterator[Chain]:
    fixed = fixed_elements()
    for name in sorted(VERDICT_MAPS, reverse=True):
        for key in sorted(ruleset.elements.get((family, name), {}), key=lambda each: unpack(family, (Field.MARK,), each)):
            if key not in fixed[(family, name)]:
                yield picker(family, name, ruleset.elements[(family, name)][key].decode())


def _set(family: str, spec: SetSpec, items: Mapping[bytes, bytes]) -> Iterator[str]:
    yield f"  {'map' if spec.data else 'set'} {spec.name} {{  # {spec.comment}"
    for line in sorted(element(family, spec, key, data) for key, data in items.items()):
        yield f"    {line}"
    yield "  }"


def element(family: str, spec: SetSpec, key: bytes, data: bytes) -> str:
    """One element as nft writes it; a range as first-last."""
    if spec.interval:
        middle = len(key) // 2
        ends = zip(spec.key, _words(family, spec.key, key[:middle]), _words(family, spec.key, key[middle:]), strict=True)
        return " . ".join(f"{first}-{last}" if first != last and field in _RANGED else last for field, first, last in ends)
    shown = " . ".join(_words(family, spec.key, key))
    return f"{shown} : {' . '.join(_words(family, spec.data, data))}" if spec.data else shown


def lines(transaction: Transaction) -> Iterator[str]:
    """A transaction for people: '- ip frontends: 10.96.0.1 . tcp . 80 : 0x00002003' is taken out, with '+' put in."""
    for change in transaction.changes:
        family, name = change.set
        for sign, items in (("-", change.remove), ("+", change.add)):
            for key, data in items:
                yield f"{sign} {family} {name}: {element(family, SET_SPECS[name], key, data)}"


def _words(family: str, fields: tuple[Field, ...], packed: bytes) -> list[str]:
    return [_word(field, value) for field, value in zip(fields, unpack(family, fields, packed), strict=True)]


def _word(field: Field, value: str | int) -> str:
    match field, value:
        case Field.PROTOCOL, int():
            return _PROTOCOL_NAMES.get(value, str(value))
        case Field.MARK, int():
            return f"{value:#010x}"
        case Field.VERDICT, _:
            return f"goto {value}"
    return str(value)
