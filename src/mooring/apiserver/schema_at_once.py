"""Is a document of its kind's types, with nothing unknown and nothing null? msgspec tells in one call, as nearly all are.

What it says no to, schema.check_structure looks at field by field: it finds the words, and removes nulls. So this may refuse
what is good (kinds that contain themselves have no form here), and never passes what is not.
"""

from functools import cache, lru_cache
from types import GenericAlias
from typing import Annotated, Any

import msgspec

from mooring.apiserver import schema
from mooring.apiserver.schema import Field
from mooring.model.kinds import Kind


class _Time:
    pass


class _Quantity:
    pass


class _Bytes:
    pass


_FOUND: dict[type, Any] = {made: made() for made in (_Time, _Quantity, _Bytes)}


_SHORT = 64


@lru_cache(1024)
def _time_trouble(text: str) -> str:
    """An object's times come with each of its updates."""
    return schema.check_time(text)


def _worded(wanted: type, value: Any) -> Any:
    """Scalars that are written as text. Raises ValueError."""
    if wanted is _Time:
        trouble = _time_trouble(value) if isinstance(value, str) and len(value) < _SHORT else "no time"
    elif wanted is _Quantity:
        trouble = schema.check_quantity(value)
    else:
        trouble = schema.check_bytes(value) if isinstance(value, str) else "not text"
    if trouble:
        raise ValueError(trouble)
    return _FOUND[wanted]


def _whole(bits: int) -> Any:
    return Annotated[int, msgspec.Meta(ge=-(1 << bits), le=(1 << bits) - 1)]


_SCALARS: dict[str, Any] = {
    "string": str,
    "bool": bool,
    "int32": _whole(31),
    "int64": _whole(63),
    "time": _Time,
    "micro-time": _Time,
    "quantity": _Quantity,
    "bytes": _Bytes,
    "int-or-string": _whole(31) | str,
    "any": bool | int | float | str | list[Any] | dict[str, Any],
}


def fits(kind: Kind, document: dict[str, Any]) -> bool:
    """Whether schema.check_structure has nothing to say and nothing to remove. False may be wrong, True never."""
    form = _form_of(kind)
    if form is None:
        return False
    try:
        msgspec.convert(document, form, dec_hook=_worded)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


class _ContainsItself(Exception):
    pass


@cache
def _form_of(kind: Kind) -> Any:
    try:
        return _struct(schema.type_of(kind), ())
    except _ContainsItself:
        return None


_known: dict[str, Any] = {}


def _struct(name: str, above: tuple[str, ...]) -> Any:
    if name in above:
        raise _ContainsItself
    if name not in _known:
        fields = schema.types()[name]
        # Names as `$ref` and `default` cannot be those of attributes.
        names = {f"field_{place}": field for place, field in enumerate(fields)}
        below = [(own, _form(fields[field], 0, (*above, name)), None) for own, field in names.items()]
        _known[name] = msgspec.defstruct(name.rpartition(".")[2], below, rename=names, forbid_unknown_fields=True, gc=False)
    return _known[name]


def _form(field: Field, depth: int, above: tuple[str, ...]) -> Any:
    if depth == len(field.wrappers):
        return _SCALARS[field.base] if field.base in schema.SCALARS else _struct(field.base, above)
    inner = _form(field, depth + 1, above)
    wrapped: Any = GenericAlias(list, (inner,)) if field.wrappers[depth] == "[]" else GenericAlias(dict, (str, inner))
    return wrapped
