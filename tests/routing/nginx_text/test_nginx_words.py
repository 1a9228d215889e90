"""Can a value become syntax? What is printed is read back word by word as NGINX reads it."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from mooring.routing.nginx.config import Bare, Directive, Name, Unprintable, Value, directive, lua, printed

Read = tuple[list[str], list["Read"] | None]


def tokens(text: str) -> Iterator[str | tuple[str]]:
    """After ngx_conf_read_token: marks as they are, words in a tuple."""
    at, end = 0, len(text)
    while at < end:
        character = text[at]
        if character in " \n":
            at += 1
        elif character in ";{}":
            yield character
            at += 1
        elif character in "\"'":
            at += 1
            word = ""
            while text[at] != character:
                if text[at] == "\\":
                    at += 1
                    word += (
                        text[at] if text[at] in "\"'\\" else {"t": "\t", "r": "\r", "n": "\n"}.get(text[at], "\\" + text[at])
                    )
                else:
                    word += text[at]
                at += 1
            at += 1
            assert text[at] in " ;{)", "a quoted word is not followed by a blank"
            yield (word,)
        else:
            start = at
            while text[at] not in " ;{\n":
                at += 1
            yield (text[start:at],)


def blocks(words: Iterator[str | tuple[str]]) -> list[Read]:
    found: list[Read] = []
    current: list[str] = []
    for word in words:
        if isinstance(word, tuple):
            current.append(word[0])
        elif word == "}":
            assert not current
            return found
        else:
            found.append((current, blocks(words) if word == "{" else None))
            current = []
    assert not current
    return found


def meant(directives: tuple[Directive, ...]) -> list[Read]:
    return [([one.name, *map(_word, one.words)], None if one.block is None else meant(one.block)) for one in directives]


def _word(word: object) -> str:
    if isinstance(word, Bare):
        return word.text
    if isinstance(word, Value):
        return "".join(f"${{{part.name}}}" if isinstance(part, Name) else part.replace("$", "${dollar}") for part in word.parts)
    return str(word).replace("$", "${dollar}")


hostile = st.text(st.sampled_from("a\\\"'$;{} #`()~@é/=\t"), max_size=12)
words = st.one_of(hostile, hostile.map(Bare), st.builds(lambda text: Value((text, Name("uri"), text)), hostile))
leaves = st.builds(lambda name, given: directive(name, *given), st.sampled_from(["set", "map"]), st.lists(words, max_size=4))
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda given, block: directive("block", *given, block=block), st.lists(words, max_size=3), st.lists(inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(trees, max_size=4))
def test_what_is_read_is_what_was_meant(directives: list[Directive]):
    try:
        text = printed(directives).text
    except Unprintable:
        assert any("\t" in _word(word) for word in _all(directives))
        return
    assert meant(tuple(directives)) == blocks(tokens(text))


def _all(directives: list[Directive] | tuple[Directive, ...]) -> Iterator[object]:
    for one in directives:
        yield from one.words
        yield from _all(one.block or ())


def test_every_line_knows_whose_it_is():
    tree = directive("http", block=(directive("a"), directive("b", block=(directive("c"),), source="mine"), directive("d")))
    assert {3: "mine", 4: "mine", 5: "mine"} == printed([tree]).sources


@given(st.text(max_size=30))
def test_a_string_in_lua_has_no_quote_brace_or_backslash_of_its_own(text: str):
    written = lua(text)
    inner = written[1:-1]
    assert written[0] == written[-1] == '"'
    assert not set(inner) & set("\"'{}\n\r[]$;")
    assert text.encode("utf-8", "surrogatepass") == _read_lua(inner)


def _read_lua(inner: str) -> bytes:
    octets = bytearray()
    at = 0
    while at < len(inner):
        if inner[at] == "\\":
            octets.append(int(inner[at + 1 : at + 4]))
            at += 4
        else:
            octets.append(ord(inner[at]))
            at += 1
    return bytes(octets)
