"""Formats by name: format.dns1123Label().validate(text), format.named(name) (apiserver/pkg/cel/library/format.go)."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from uuid import UUID

from mooring.apiserver.cel.libraries.function import NONE, Function, opaque, some
from mooring.apiserver.cel.libraries.url import FUNCTIONS as _URLS
from mooring.apiserver.kinds import formats

FORMAT = "kubernetes.NamedFormat"
_is_url: Callable[[str], bool] = next(each.does for each in _URLS if each.does and each.name == "isURL")


def _prefix(rule: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """As for generateName: a trailing dash is followed by more."""
    return lambda text: rule(text[:-1] + "a" if text.endswith("-") else text)


def _read(read: Callable[[str], object], why: str) -> Callable[[str], list[str]]:
    def check(text: str) -> list[str]:
        try:
            read(text)
        except (ValueError, binascii.Error):
            return [why]
        return []

    return check


def _byte(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _date(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError(text)
    return date.fromisoformat(text)


def _datetime(text: str) -> datetime:
    if not re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", text):
        raise ValueError(text)
    return datetime.fromisoformat(text)


_RULES: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": formats.label,
    "dns1123Subdomain": formats.subdomain,
    "dns1035Label": formats.label_1035,
    "qualifiedName": formats.qualified_name,
    "dns1123LabelPrefix": _prefix(formats.label),
    "dns1123SubdomainPrefix": _prefix(formats.subdomain),
    "dns1035LabelPrefix": _prefix(formats.label_1035),
    "labelValue": formats.label_value,
    "uri": lambda text: [] if _is_url(text) else ["invalid URI"],
    "uuid": _read(UUID, "does not match the UUID format"),
    "byte": _read(_byte, "invalid base64"),
    "date": _read(_date, "invalid date"),
    "datetime": _read(_datetime, "invalid datetime"),
}


def _named(name: str) -> dict[str, Any]:
    return some(opaque(FORMAT, name)) if name in _RULES else NONE


def _validate(format: dict[str, Any], text: str) -> dict[str, Any]:
    found = _RULES[format["value"]](text)
    return some(found) if found else NONE


FUNCTIONS = (
    *(Function(f"format.{name}", (), FORMAT, lambda name=name: opaque(FORMAT, name), member=False) for name in _RULES),
    Function("format.named", ("string",), f"optional<{FORMAT}>", _named, member=False),
    Function("validate", (FORMAT, "string"), "optional<list<string>>", _validate),
)
