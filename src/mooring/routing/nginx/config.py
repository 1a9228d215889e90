"""How is a configuration of NGINX written down? A tree of directives, and a printer that lets no word become syntax.

There are no templates: every word of the text comes out of `_token`, which quotes it, so a value that came from an object can
never end its directive, open a block or begin another line. `$` is the one character that means something inside of words, to
some directives: a plain `str` is literal everywhere (`$` becomes the variable `$dollar`), variables are only made by `Name`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from msgspec import Struct

LONGEST_WORD = 4000
"""NGINX reads its file through a buffer of 4096 octets, and a word must fit."""


class Unprintable(ValueError):
    """A word that NGINX cannot read back: too long, or with a control character in it."""


class Name(Struct, frozen=True, gc=False):
    """A variable of NGINX; the name is never a user's."""

    name: str


class Value(Struct, frozen=True, gc=False):
    """Text with variables in it, for the directives that replace them."""

    parts: tuple[str | Name, ...]


class Bare(Struct, frozen=True, gc=False):
    """Text for the directives that replace no variables: regular expressions, paths of locations, names of files."""

    text: str


class Call(Struct, frozen=True, gc=False):
    """The body of a `*_by_lua_block`: one call of a function of our Lua module."""

    function: str
    arguments: tuple[int | str, ...] = ()


Word = str | Value | Bare | Call


class Directive(Struct, frozen=True, gc=False):
    """`name` is quoted as words are, for within `map` and `geo` it is a value. `block` None: the directive has none. `source`:
    whose it is, for the lines of it and of its block."""

    name: str
    words: tuple[Word, ...] = ()
    block: tuple["Directive", ...] | None = None
    source: str = ""


def directive(name: str, *words: Word, block: Iterable[Directive] | None = None, source: str = "") -> Directive:
    return Directive(name, words, None if block is None else tuple(block), source)


def variable(name: str) -> Value:
    return Value((Name(name),))


class Printed(Struct, frozen=True):
    """`sources`: for each line that is somebody's, whose; lines are counted from 1."""

    text: str
    sources: Mapping[int, str]


def printed(directives: Iterable[Directive]) -> Printed:
    """Raises Unprintable."""
    lines: list[str] = []
    sources: dict[int, str] = {}
    for line, source in _lines(directives, "", ""):
        lines.append(line)
        if source:
            sources[len(lines)] = source
    return Printed("\n".join(lines) + "\n", sources)


def check(directives: Iterable[Directive]) -> None:
    """Raises Unprintable if `printed` would."""
    for _ in _lines(directives, "", ""):
        pass


def _lines(directives: Iterable[Directive], indent: str, source: str) -> Iterator[tuple[str, str]]:
    for one in directives:
        whose = one.source or source
        head = indent + " ".join([_name(one.name), *map(_token, one.words)])
        if one.block is not None:
            yield head + " {", whose
            yield from _lines(one.block, indent + "    ", whose)
            yield indent + "}", whose
        elif one.words and isinstance(one.words[-1], Call):
            yield head, whose
        else:
            yield head + ";", whose


@lru_cache(maxsize=100_000)
def _token(word: Word) -> str:
    if isinstance(word, Call):
        arguments = ", ".join(str(each) if isinstance(each, int) else lua(each) for each in word.arguments)
        return f"{{ return mooring.{word.function}({arguments}) }}"
    if isinstance(word, Value):
        text = "".join(_literal(part) if isinstance(part, str) else f"${{{part.name}}}" for part in word.parts)
    elif isinstance(word, Bare):
        text = word.text
    else:
        text = _literal(word)
    if _SIMPLE.fullmatch(text):
        return text
    if _UNPRINTABLE.search(text):
        raise Unprintable("a control character in a value")
    if len(text.encode()) > LONGEST_WORD:
        raise Unprintable(f"a value of more than {LONGEST_WORD} octets")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_SIMPLE = re.compile(r"[A-Za-z0-9_./-]{1,200}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@lru_cache(maxsize=10_000)
def _name(name: str) -> str:
    return _token(Bare(name))


def _literal(text: str) -> str:
    return text.replace("$", "${dollar}")


def lua(value: object) -> str:
    """A Python value as a literal of Lua; in strings everything but letters, digits and a few marks is written as `\\ddd`.

    None is nil, mappings and sequences are tables.
    """
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return '"' + "".join(_octet(octet) for octet in value.encode("utf-8", "surrogatepass")) + '"'
        case Mapping():
            return "{" + ",".join(f"[{lua(key)}]={lua(each)}" for key, each in value.items()) + "}"
        case tuple() | list():
            return "{" + ",".join(map(lua, value)) + "}"
    raise TypeError(type(value).__name__)


_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:/@ -")


def _octet(octet: int) -> str:
    return chr(octet) if octet in _PLAIN else f"\\{octet:03d}"
