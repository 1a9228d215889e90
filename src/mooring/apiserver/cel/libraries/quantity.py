"""Quantities: quantity, isQuantity, arithmetic and comparison (apiserver/pkg/cel/library/quantity.go)."""

import re
from fractions import Fraction
from typing import Any

from mooring.apiserver.cel.libraries.function import Function, opaque

QUANTITY = "kubernetes.Quantity"
Opaque = dict[str, Any]
_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?")
_TENS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_TWOS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_WHY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
MOST = (1 << 63) - 1


def parse(text: str) -> Fraction:
    """The number that a resource quantity is. Raises ValueError."""
    found = _FORM.fullmatch(text) if len(text) < 1000 else None
    if found is None:
        raise ValueError(_WHY)
    suffix = found[2] or ""
    if suffix in _TWOS:
        return Fraction(found[1]) * (1 << _TWOS[suffix])
    power = _TENS[suffix] if suffix in _TENS else int(suffix[1:])
    return Fraction(found[1]) * Fraction(10) ** power


def _quantity(number: Fraction) -> Opaque:
    return opaque(QUANTITY, str(number))


def _of(quantity: Opaque) -> Fraction:
    return Fraction(quantity["value"])


def _is_quantity(text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def _is_integer(quantity: Opaque) -> bool:
    number = _of(quantity)
    return number.denominator == 1 and -MOST - 1 <= number <= MOST


def _as_integer(quantity: Opaque) -> int:
    if not _is_integer(quantity):
        raise ValueError("cannot convert value to integer")
    return int(_of(quantity))


def _compare(one: Opaque, other: Opaque) -> int:
    return (_of(one) > _of(other)) - (_of(one) < _of(other))


FUNCTIONS = (
    Function("quantity", ("string",), QUANTITY, lambda text: _quantity(parse(text)), member=False),
    Function("isQuantity", ("string",), "bool", _is_quantity, member=False),
    Function("isInteger", (QUANTITY,), "bool", _is_integer),
    Function("asInteger", (QUANTITY,), "int", _as_integer),
    Function("asApproximateFloat", (QUANTITY,), "double", lambda quantity: float(_of(quantity))),
    Function("sign", (QUANTITY,), "int", lambda quantity: (_of(quantity) > 0) - (_of(quantity) < 0)),
    Function("isGreaterThan", (QUANTITY, QUANTITY), "bool", lambda one, other: _compare(one, other) > 0),
    Function("isLessThan", (QUANTITY, QUANTITY), "bool", lambda one, other: _compare(one, other) < 0),
    Function("compareTo", (QUANTITY, QUANTITY), "int", _compare),
    Function("add", (QUANTITY, QUANTITY), QUANTITY, lambda one, other: _quantity(_of(one) + _of(other))),
    Function("add", (QUANTITY, "int"), QUANTITY, lambda one, number: _quantity(_of(one) + number)),
    Function("sub", (QUANTITY, QUANTITY), QUANTITY, lambda one, other: _quantity(_of(one) - _of(other))),
    Function("sub", (QUANTITY, "int"), QUANTITY, lambda one, number: _quantity(_of(one) - number)),
)
