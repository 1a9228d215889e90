"""How is a broken rule said? In upstream's words: k8s.io/apimachinery/pkg/util/validation/field."""

from collections.abc import Iterable
from typing import Any

from mooring.apiserver.strategy import FieldError
from mooring.model.codec import encode

IMMUTABLE = "field is immutable"


def shown(value: Any) -> str:
    """A value as upstream prints it: strings and structures as JSON, numbers and booleans plainly."""
    return encode(value).decode()


def required(field: str, detail: str = "") -> FieldError:
    return FieldError("FieldValueRequired", field, "Required value" + (f": {detail}" if detail else ""))


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, f"Invalid value: {shown(value)}: {detail}")


def forbidden(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {shown(value)}")


def unsupported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    known = ", ".join(shown(item) for item in sorted(supported))
    return FieldError("FieldValueNotSupported", field, f"Unsupported value: {shown(value)}: supported values: {known}")


def too_long(field: str, limit: int) -> FieldError:
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    return FieldError("FieldValueTooMany", field, f"Too many: {count}: must have at most {limit} item{'s' * (limit != 1)}")


def not_found(field: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", field, f"Not found: {shown(value)}")


def each(field: str, value: Any, messages: Iterable[str]) -> list[FieldError]:
    """One Invalid for each message of a format rule (formats.py)."""
    return [invalid(field, value, message) for message in messages]
