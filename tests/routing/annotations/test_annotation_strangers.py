"""Can the author of an Ingress break the reader, or write into a proxy's configuration?"""

from collections.abc import Iterator, Mapping

import msgspec
from annotated import OBJECTS, reading
from hypothesis import given, settings
from hypothesis import strategies as st

from mooring.routing.ingress.annotations.registry import KNOWN
from mooring.routing.ingress.wishes import Wishes

NAMES = sorted(KNOWN)
SYNTAX = "\n\r\t\0;{}\"'\\`#$ @~^|<>()[]*?=&%,:/.-_"
PIECES = (
    "true",
    "false",
    "on",
    "off",
    "basic",
    "digest",
    "cookie",
    "10.0.0.0/8",
    "http://a.org/",
    "https://$host/x",
    "/a/$1",
    "$request_uri",
    "${host}",
    "$http_x_y",
    "error timeout",
    "8m",
    "60",
    "308",
    "HTTPS",
    "GRPC",
    "shop/users",
    "users",
    "answers",
    "pages",
    "X-A, X-B",
    "*",
    "~^a$",
    "v[0-9]+",
    "; deny all;",
    "\n}\nserver {",
)
VALUES = st.lists(st.one_of(st.sampled_from(PIECES), st.sampled_from(SYNTAX), st.text(max_size=3)), max_size=5).map("".join)


def strings(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Every string in a value, and the field that it is in."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from strings(getattr(value, field), f"{where}.{field}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (*strings(key, where), *strings(item, where))
    elif isinstance(value, tuple | frozenset | list):
        for item in value:
            yield from strings(item, where)


def syntax(wishes: Wishes) -> set[tuple[str, str]]:
    """What would be syntax in some configuration, where it does not belong."""
    free = (".refused", ".basic_auth.users")
    found = set()
    for where, text in strings(wishes):
        if where.startswith(free):
            continue
        wrong = set("\n\r\t\0;\"'`")
        if where != ".canary.pattern":
            wrong |= set("{}\\")
        if where not in (".canary.pattern", ".rewrite"):
            wrong |= {"$"}
        if wrong & set(text) or not text.isascii() or not text.isprintable():
            found.add((where, text))
    return found


WITHOUT_HEADERS = msgspec.structs.replace(OBJECTS, config_maps={})
"""Their values may hold quotes and semicolons, which emitters quote."""


@settings(max_examples=10 * settings.default.max_examples)  # they cost next to nothing
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=8))
def test_no_value_breaks_the_reader_or_brings_syntax_with_it(annotations: dict[str, str]) -> None:
    wishes, findings = reading(annotations, WITHOUT_HEADERS)
    assert set() == syntax(wishes)
    assert all("\n" not in found.text and found.text.isprintable() for found in findings)


@given(VALUES)
def test_nor_does_any_value_of_any_annotation_alone(value: str) -> None:
    base = {"enable-cors": "true", "affinity": "cookie", "auth-type": "basic", "auth-secret": "users", "auth-url": "http://a/"}
    for name in NAMES:
        for annotations in ({name: value}, {**base, name: value}, {"canary": "true", "canary-by-header": "x", name: value}):
            assert set() == syntax(reading(annotations, WITHOUT_HEADERS)[0])


@given(st.dictionaries(st.text(max_size=12), VALUES, max_size=4))
def test_nor_does_an_unknown_name(annotations: dict[str, str]) -> None:
    _, findings = reading(annotations)
    assert all(found.text.isprintable() and len(found.text) < 1024 for found in findings)
