"""Is what Lua is told what was meant? Values are read back as data.lua reads them."""

from hypothesis import given
from hypothesis import strategies as st

from mooring.routing.nginx.data import encoded

texts = st.text(max_size=8)
values = st.recursive(
    st.one_of(texts, st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(texts, st.integers()), inner, max_size=3)),
    max_leaves=10,
)


def read(octets: bytes, at: int) -> tuple[object, int]:
    kind, at = octets[at : at + 1], at + 1
    if kind in (b"t", b"f"):
        return kind == b"t", at
    if kind == b"s":
        colon = octets.index(b":", at)
        end = colon + 1 + int(octets[at:colon])
        return octets[colon + 1 : end].decode(), end
    if kind == b"n":
        end = octets.index(b";", at)
        return float(octets[at:end]), end + 1
    assert kind in (b"l", b"d")
    found = []
    while octets[at : at + 1] != b"e":
        each, at = read(octets, at)
        found.append(each)
    return (found if kind == b"l" else dict(zip(found[::2], found[1::2], strict=True))), at + 1


def numbers(value: object) -> object:
    """All as Lua has them."""
    if isinstance(value, bool | str):
        return value
    if isinstance(value, dict):
        return {numbers(key): numbers(each) for key, each in value.items()}
    return [numbers(each) for each in value] if isinstance(value, list) else float(value)  # type: ignore[arg-type]


@given(values)
def test_what_is_read_is_what_was_meant(value: object):
    written = encoded(value)
    assert (numbers(value), len(written)) == read(written, 0)


def test_nothing_is_said_of_what_there_is_not():
    assert encoded({"a": 1}) == encoded({"a": 1, "b": None})
