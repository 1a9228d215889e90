"""Does a tree of path prefixes find the same route as a walk through the list?"""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from xds.type.matcher.v3.matcher_pb2 import Matcher

from mooring.routing.simulation.matching import path_matches
from mooring.routing.table import Condition, How, Match, Part, PathKind, PathMatch
from mooring.routing.xds import matcher
from mooring.routing.xds.matcher import Keyed

PIECES = ["/", "/a", "/b", "a", "/ab", "/c", "/d", "b"]
SOME = (Condition(Part.METHOD, How.EXACT, value="GET"),)

paths = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map(lambda pieces: "/" + "".join(pieces).lstrip("/"))
literal = st.builds(
    PathMatch,
    st.sampled_from([PathKind.EXACT, PathKind.PREFIX, PathKind.PREFIX, PathKind.STRING_PREFIX]),
    paths,
    st.sampled_from([False] * 5 + [True]),
)
patterns = st.sampled_from(["/a.*", "/[ab]/b", "/.*"]).map(lambda pattern: PathMatch(PathKind.REGEX, pattern))
matches = st.builds(Match, literal, st.sampled_from([(), SOME]))
# Few patterns among plain paths, as in life: a tree is not made of many.
lists = st.tuples(
    st.lists(matches, min_size=matcher.SCANNED, max_size=40), st.lists(st.builds(Match, patterns), max_size=1), st.randoms()
)


def keyed(match: Match) -> Keyed:
    return matcher.keyed(match, "", ())


@given(lists, paths, st.booleans())
def test_the_first_of_the_leaf_is_the_first_of_the_list(
    drawn: tuple[list[Match], list[Match], Random], path: str, is_get: bool
) -> None:
    wishes = [*drawn[0], *drawn[1]]
    drawn[2].shuffle(wishes)
    leaves = matcher.leaves([keyed(each) for each in wishes])
    if leaves is None:
        return

    def takes(place: int) -> bool:
        return path_matches(wishes[place].path, path) and (is_get or not wishes[place].conditions)

    for asked in (path, f"{path}?a/b"):
        longest = max((key for key in leaves if asked.startswith(key)), key=len)
        expected = next((place for place in range(len(wishes)) if takes(place)), None)
        assert expected == next((place for place in leaves[longest] if takes(place)), None)


def test_few_routes_are_scanned() -> None:
    assert matcher.leaves([keyed(Match(PathMatch(PathKind.EXACT, f"/{place}"))) for place in range(matcher.SCANNED)]) is None


def test_leaves_of_many_paths_stay_short() -> None:
    exact = [keyed(Match(PathMatch(PathKind.EXACT, f"/p/{place}"))) for place in range(1000)]
    prefixes = [keyed(Match(PathMatch(PathKind.PREFIX, f"/p/{place}"))) for place in range(1000)]
    leaves = matcher.leaves([*exact, *prefixes, keyed(Match())])
    assert leaves is not None
    assert 3 == max(len(leaf) for leaf in leaves.values())


def test_a_tree_of_too_many_patterns_is_a_list() -> None:
    wishes = [keyed(Match(PathMatch(PathKind.REGEX, f"/{place}"))) for place in range(50)]
    assert matcher.leaves([*wishes, *(keyed(Match(PathMatch(PathKind.EXACT, f"/{place}"))) for place in range(50))]) is None


def test_nothing_stands_behind_a_route_that_takes_all() -> None:
    wishes = [Match(PathMatch(PathKind.EXACT, f"/{place}")) for place in range(20)]
    leaves = matcher.leaves([keyed(each) for each in (*wishes, Match(), Match(conditions=SOME))])
    assert leaves is not None
    assert (20,) == leaves[""]


def test_the_joined_bytes_are_a_matcher() -> None:
    wishes = [Match(PathMatch(PathKind.PREFIX, f"/{place}")) for place in range(20)]
    routes = [matcher.keyed(each, "", (b"\n\x01" + bytes([65 + place]),)) for place, each in enumerate(wishes)]
    leaves = matcher.leaves(routes)
    assert leaves is not None
    made = Matcher.FromString(matcher.tree(routes, leaves))
    assert {f"/{place}" for place in range(20)} == set(made.matcher_tree.prefix_match_map.map)
    assert made.HasField("on_no_match")
