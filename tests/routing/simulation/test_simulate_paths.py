"""Which path do the proxies mean, and how is a new prefix joined to the rest?"""

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.routing.simulation.paths import normalise, rejoined


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        pytest.param("/", "/", id="the root"),
        pytest.param("/a/b", "/a/b", id="a plain path"),
        pytest.param("//a///b//", "/a/b/", id="slashes are merged"),
        pytest.param("/a/./b/../c", "/a/c", id="dots are resolved"),
        pytest.param("/../../a", "/a", id="nobody gets above the root"),
        pytest.param("/a/..", "/", id="dots at the end leave a folder"),
        pytest.param("/a/b/.", "/a/b/", id="a dot at the end too"),
        pytest.param("/a//../b", "/a/b", id="dots leave an empty element before slashes are merged"),
        pytest.param("/a/%2e%2E/b", "/b", id="escaped dots are dots"),
        pytest.param("/%41%7eb", "/A~b", id="what needs no escape has none"),
        pytest.param("/a%20b%C3%a9", "/a%20b%C3%a9", id="other escapes stay as they are"),
        pytest.param("/a/...", "/a/...", id="three dots are a name"),
        pytest.param("/a%2fb", None, id="an escaped slash is refused"),
        pytest.param("/a%5Cb", None, id="an escaped backslash is refused"),
        pytest.param("/a\\b", None, id="a backslash is refused"),
        pytest.param("/a%00", None, id="NUL is refused"),
        pytest.param("/a%2", None, id="half an escape is refused"),
        pytest.param("/a%zz", None, id="an escape of no number is refused"),
        pytest.param("a", None, id="a path begins with a slash"),
    ],
)
def test_paths_are_made_plain(sent: str, meant: str | None) -> None:
    assert normalise(sent) == meant


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        pytest.param("/a%2fb%2F%5C%5c", "/a%2fb%2F%5C%5c", id="parts of an element, as they are sent"),
        pytest.param("/a%2fb/../c%2F", "/c%2F", id="real dots leave all of an element"),
        pytest.param("/a/..%2fb", None, id="dots before an escaped slash climb"),
        pytest.param("/a%2F%2e%2E", None, id="dots behind one do"),
        pytest.param("/a%2f..;x/b", None, id="dots with parameters may be dots"),
        pytest.param("/a%2f...%2f..b", "/a%2f...%2f..b", id="dots among others are a name"),
        pytest.param("/a%00%2f", None, id="NUL is refused anyway"),
    ],
)
def test_escaped_slashes_can_be_kept(sent: str, meant: str | None) -> None:
    assert meant == normalise(sent, keeps_slashes=True)


@given(st.lists(st.sampled_from(["/", ".", "..", "a", "%2e", "%41", "%20", "//"]), max_size=10))
def test_a_plain_path_stays_as_it_is(parts: list[str]) -> None:
    plain = normalise("/" + "".join(parts))
    assert plain is not None
    assert normalise(plain) == plain
    assert "//" not in plain and "/../" not in f"{plain}/" and "/./" not in f"{plain}/"


@given(st.lists(st.sampled_from(["/", ".", "..", "a", "%2e", "%2E", ";", "%3b", "%2f", "%2F", "%5c", "%41"]), max_size=10))
def test_what_is_kept_does_not_climb_when_it_is_decoded(parts: list[str]) -> None:
    plain = normalise("/" + "".join(parts), keeps_slashes=True)
    if plain is not None:
        assert normalise(plain, keeps_slashes=True) == plain
        elements = [element for element in plain.split("/") if re.search("%2f|%5c", element, re.IGNORECASE)]
        decoded = [unquote(part).partition(";")[0] for each in elements for part in re.split("(?i)%2f|%5c", each)]
        assert {".", ".."}.isdisjoint(decoded)


@pytest.mark.parametrize(
    ("prefix", "rest", "expected"),
    [
        ("/new", "", "/new"),
        ("/new", "/", "/new/"),
        ("/new", "/a", "/new/a"),
        ("/new/", "/a", "/new/a"),
        ("/new/", "a", "/new/a"),
        ("/", "/a", "/a"),
        ("/", "", "/"),
        ("/", "/", "/"),
        ("", "", "/"),
        ("", "/a", "/a"),
    ],
)
def test_one_slash_joins_a_prefix_to_the_rest(prefix: str, rest: str, expected: str) -> None:
    assert rejoined(prefix, rest) == expected
