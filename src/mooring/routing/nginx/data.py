"""How is a value told to Lua through the control socket? Every value says its length or its end: nothing in it is syntax."""

from collections.abc import Mapping


def encoded(value: object) -> bytes:
    """As data.lua reads it. In mappings None is left out; keys are texts or whole numbers."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def _write(value: object, parts: list[bytes]) -> None:
    match value:
        case str():
            octets = value.encode("utf-8", "surrogatepass")
            parts.append(b"s%d:" % len(octets))
            parts.append(octets)
        case bool():
            parts.append(b"t" if value else b"f")
        case int() | float():
            parts.append(f"n{value!r};".encode())
        case Mapping():
            parts.append(b"d")
            for key, each in value.items():
                if each is not None:
                    _write(key, parts)
                    _write(each, parts)
            parts.append(b"e")
        case tuple() | list():
            parts.append(b"l")
            for each in value:
                _write(each, parts)
            parts.append(b"e")
        case _:
            raise TypeError(type(value).__name__)
