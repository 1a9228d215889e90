"""How does a JSON document become what an expression computes with, and what comes back?"""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mooring.apiserver.cel.declared import Declared

_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)")
_DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h|d|w))+")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def duration(text: str) -> timedelta:
    """Go's notation ('1h30m'), with days and weeks. Raises ValueError."""
    text = text.replace(" ", "")
    if text in ("0", "+0", "-0"):
        return timedelta()
    if not _DURATION.fullmatch(text):
        raise ValueError(f"time: invalid duration {text!r}")
    seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(text))
    try:
        return timedelta(seconds=-seconds if text[0] == "-" else seconds)
    except OverflowError:
        raise ValueError(f"time: invalid duration {text!r}") from None


def timestamp(text: str) -> datetime:
    """RFC 3339, or a date alone. Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def to_cel(value: Any, type: Declared) -> Any:
    """A value of a document for the evaluator. What does not fit its type is left as it is: its own rules refuse it."""
    if value is None:
        return None
    match type.form:
        case "object" if isinstance(value, Mapping):
            return {
                written: to_cel(value[field.name], field.type) for written, field in type.fields.items() if field.name in value
            }
        case "list" if isinstance(value, list) and type.element is not None:
            element = type.element
            return [to_cel(item, element) for item in value] if element.form not in _AS_THEY_ARE else value
        case "map" if isinstance(value, Mapping) and type.element is not None:
            element = type.element
            return {key: to_cel(item, element) for key, item in value.items()}
        case "double" if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        case "timestamp" | "duration" | "bytes" if isinstance(value, str):
            return _special(value, type.form)
    return value


_AS_THEY_ARE = frozenset({"string", "int", "bool", "dyn"})


def _special(value: str, form: str) -> Any:
    from mooring.apiserver.cel.times import message  # protobuf's share of what environment.py loads late

    try:
        if form == "bytes":
            return base64.b64decode(value)
        return message(timestamp(value) if form == "timestamp" else duration(value))
    except (ValueError, OverflowError):  # of times in UTC, the years end at 1 and 9999
        return value


def size_of(value: Any) -> int:
    """How many values there are in a value, itself among them: what it costs to hand it over."""
    if isinstance(value, Mapping):
        return 1 + sum(map(size_of, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(size_of, value))
    return 1
