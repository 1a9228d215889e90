"""Is the first route that matches found, whatever NGINX's own tree prefers?"""

from hypothesis import given
from hypothesis import strategies as st

from mooring.routing.nginx.locations import Candidate, Region, regions
from mooring.routing.table import PathKind, PathMatch

paths = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=0, max_size=3).map(lambda parts: "/" + "/".join(parts))
written = st.builds(lambda path, slash: path + slash if path != "/" else path, paths, st.sampled_from(["", "/"]))
kinds = st.sampled_from([PathKind.EXACT, PathKind.PREFIX, PathKind.STRING_PREFIX])
candidates = st.lists(
    st.builds(lambda kind, path, sure: Candidate(PathMatch(kind, path), not sure), kinds, written, st.booleans()), max_size=6
)


def matches(candidate: Candidate, path: str) -> bool:
    value = candidate.path.value
    match candidate.path.kind:
        case PathKind.EXACT:
            return path == value
        case PathKind.PREFIX:
            bare = value.rstrip("/")
            return path == bare or path.startswith(bare + "/")
        case _:
            return path.startswith(value)


def chosen(found: dict[Region, tuple[int, ...]], path: str) -> tuple[int, ...]:
    """As NGINX does: an exact location, else the longest prefix; one that ends with a slash redirects its bare form."""
    if (exact := found.get(Region(path, True))) is not None:
        return exact
    assert not any(not region.exact and region.path == path + "/" for region in found), "NGINX would redirect"
    assert Region(path + "/", True) not in found, "NGINX would redirect"
    prefixes = (region for region in found if not region.exact and path.startswith(region.path))
    return found[max(prefixes, key=lambda one: len(one.path))]


@given(candidates, written)
def test_a_region_holds_the_routes_that_match_in_their_order(given: list[Candidate], path: str):
    expected = []
    for index, candidate in enumerate(given):
        if matches(candidate, path):
            expected.append(index)
            if not candidate.is_conditional:
                break
    assert tuple(expected) == chosen(regions(given), path)


def test_patterns_take_part_everywhere():
    given = [
        Candidate(PathMatch(PathKind.PREFIX, "/sure")),
        Candidate(PathMatch(PathKind.REGEX, "/.*x")),
        Candidate(PathMatch(PathKind.EXACT, "/e")),
    ]
    expected = {
        Region("/sure/", False): (0,),
        Region("/sure", True): (0,),
        Region("/e", True): (1, 2),
        Region("/", False): (1,),
    }
    assert expected == regions(given)
