"""Which objects does a selector see? Label selectors and field selectors, parsed and matched as upstream does.

Grammar: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api and .../field-selectors/
"""

import re
from collections.abc import Callable, Mapping

from mooring.apiserver.errors import StatusError, bad_request, quote
from mooring.apiserver.kinds.formats import label_value, qualified_name
from mooring.apiserver.remembered import remembered

Labels = Mapping[str, str]
Matcher = Callable[[Labels], bool]

_BAD_VALUE = "unable to parse requirement: values[0]: Invalid value: {}: {}"
_TOKEN = re.compile(r"\s*(?:(?P<symbol>==|!=|=|!|,|\(|\)|<|>)|(?P<word>[^\s,()=!<>]+))")


_REMEMBERED, _LONG = 1024, 1024
"""Selectors that are remembered, and the characters of those that are not."""


@remembered(_REMEMBERED, _LONG)
def label_matcher(text: str) -> Matcher | None:
    """A predicate over labels, None when everything matches. Raises StatusError 400."""
    requirements = _Parser(text).requirements() if text.strip() else []
    if not requirements:
        return None
    if len(requirements) == 1:
        return requirements[0]
    return lambda labels: all(requirement(labels) for requirement in requirements)


def label_equality(text: str) -> tuple[str, str] | None:
    """The first label that a selector wants to have one certain value. Raises StatusError 400."""
    parser = _Parser(text)
    if text.strip():
        parser.requirements()
    return parser.equality


class _Parser:
    """Recursive descent over requirement ("," requirement)*."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        self.equality: tuple[str, str] | None = None
        position, text = 0, text.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise bad_request(f"unable to parse requirement: found '{text[position:]}'")
            self.tokens.append(match["symbol"] or match["word"])
            position = match.end()
        self.at = 0

    def requirements(self) -> list[Matcher]:
        found = [self._requirement()]
        while self.at < len(self.tokens):
            self._expect(",")
            found.append(self._requirement())
        return found

    def _requirement(self) -> Matcher:
        if self._peek() == "!":
            self.at += 1
            absent = self._key()
            return lambda labels: absent not in labels
        key = self._key()
        operator = self._peek()
        if operator in ("", ","):
            return lambda labels: key in labels
        self.at += 1
        if operator in ("=", "=="):
            equal = self._value()
            self.equality = self.equality or (key, equal)
            return lambda labels: labels.get(key) == equal
        if operator == "!=":
            unequal = self._value()
            return lambda labels: labels.get(key) != unequal
        if operator == "in":
            among = self._values()
            return lambda labels: labels.get(key) in among
        if operator == "notin":
            outside = self._values()
            return lambda labels: labels.get(key) not in outside
        if operator in ("<", ">"):
            return _compare(key, operator, self._value())
        raise bad_request(
            f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt, !, or end of selector"
        )

    def _key(self) -> str:
        key = self._peek()
        if not key or key in "=!,()<>":
            raise bad_request(f"unable to parse requirement: found '{key}', expected: !, identifier")
        for why in qualified_name(key):
            raise bad_request(f"unable to parse requirement: key: Invalid value: {quote(key)}: {why}")
        self.at += 1
        return key

    def _value(self) -> str:
        value = self._peek()
        if value in ("", ","):
            return ""
        for why in label_value(value):
            raise bad_request(_BAD_VALUE.format(quote(value), why))
        self.at += 1
        return value

    def _values(self) -> frozenset[str]:
        self._expect("(")
        values = {self._value()}
        while self._peek() == ",":
            self.at += 1
            values.add(self._value())
        self._expect(")")
        return frozenset(values)

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _expect(self, token: str) -> None:
        if self._peek() != token:
            raise bad_request(f"unable to parse requirement: found '{self._peek()}', expected: '{token}'")
        self.at += 1


def _compare(key: str, operator: str, text: str) -> Matcher:
    try:
        bound = int(text)
    except ValueError:
        raise bad_request(_BAD_VALUE.format(quote(text), "for 'Gt', 'Lt' operators, the value must be an integer")) from None

    def holds(labels: Labels) -> bool:
        try:
            value = int(labels[key])
        except (KeyError, ValueError):
            return False
        return value > bound if operator == ">" else value < bound

    return holds


class FieldTerm(tuple[str, str, bool]):
    """(label, value, equal)."""


@remembered(_REMEMBERED, _LONG)
def field_terms(text: str) -> tuple[FieldTerm, ...]:
    """The terms of `a=b,c!=d`, in order; '\\', ',' and '=' are escaped by '\\' in values. Raises StatusError 400."""
    return tuple(_field_term(part) for part in _split_unescaped(text) if part)


def _split_unescaped(text: str) -> list[str]:
    parts, current, escaped = [], "", False
    for char in text:
        if char == "," and not escaped:
            parts.append(current)
            current = ""
        else:
            current += char
        escaped = char == "\\" and not escaped
    return [*parts, current]


def _field_term(part: str) -> FieldTerm:
    match = re.match(r"(?P<label>[^=!]*?)(?P<operator>!=|==|=)(?P<value>.*)", part, re.S)
    if match is None:
        raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
    value = _unescape(match["value"], part)
    return FieldTerm((match["label"].strip(), value, match["operator"] != "!="))


def _unescape(value: str, part: str) -> str:
    result, escaped = "", False
    for char in value:
        if escaped:
            if char not in "\\,=":
                raise bad_request(f"invalid selector: '{part}'; can't understand '\\{char}'")
            result, escaped = result + char, False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        else:
            result += char
    if escaped:
        raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
    return result


def pinned(text: str) -> tuple[tuple[str, str], ...]:
    """(label, value) of the terms that leave a field only one value: by more than these nobody is allowed more. Nothing of a
    selector that is none, as who uses it will say."""
    try:
        return tuple((label, value) for label, value, equal in field_terms(text) if equal)
    except StatusError:
        return ()


def check_fields(terms: tuple[FieldTerm, ...], own: frozenset[str]) -> None:
    """Refuses labels the kind does not know; `own` are those beyond metadata.name and metadata.namespace."""
    for label, _, _ in terms:
        if label in ("metadata.name", "metadata.namespace") or label in own:
            continue
        if own:
            raise bad_request(f"field label not supported: {label}")
        raise bad_request(f'{quote(label)} is not a known field selector: only "metadata.name", "metadata.namespace"')


def fields_match(terms: tuple[FieldTerm, ...], fields: Mapping[str, str]) -> bool:
    """Whether every term holds; a field the object lacks reads as ''."""
    return all((fields.get(label, "") == value) is equal for label, value, equal in terms)
