"""Which path do the proxies mean, and how is a new prefix joined to the rest?"""

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


@given(st.lists(st.sampled_from(["/", ".", "..", "a", "%2e", "%41", "%20", "//"]), max_size=10))
def test_a_plain_path_stays_as_it_is(parts: list[str]) -> None:
    plain = normalise("/" + "".join(parts))
    assert plain is not None
    assert normalise(plain) == plain
    assert "//" not in plain and "/../" not in f"{plain}/" and "/./" not in f"{plain}/"


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
