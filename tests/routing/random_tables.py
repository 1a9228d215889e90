"""Small RouteTables whose routes answer with their names, as Hypothesis draws them, and requests that nearly match."""

from random import Random

from hypothesis import strategies as st

from mooring.routing.simulate import Request
from mooring.routing.simulation.paths import normalise
from mooring.routing.table import (
    Answer,
    Chain,
    Condition,
    How,
    Listener,
    Match,
    Part,
    PathKind,
    PathMatch,
    Route,
    RouteTable,
    VirtualHost,
)

HOSTS = ["a.test", "b.a.test", "*.a.test", "*.b.a.test", "c.test", "*.test", "*"]
PATHS = ["/", "/a", "/a/", "/a/b", "/A", "/ab", "/a.b", "/b/c/d"]
PATTERNS = ["/a/[0-9]+", "/(a|b)(/.*)?", "/.*b", "/a", "/[^/]*/b", "/a{1,2}", "/x|/b"]
VALUES = ["v", "w", "vw", ""]
VALUE_PATTERNS = ["v.*", "[vw]", "v|w", "w?"]

ASKED_HOSTS = ["a.test", "A.Test:8080", "b.a.test", "c.b.a.test", "d.c.b.a.test", "c.test", "x.c.test", "other.org", "a.test."]
PIECES = ["/", "/a", "/b", "/A", "/ab", "/a.b", "/12", "/.", "/..", "//", "/%61", "/c/d", "/aa"]

_plain = st.builds(
    PathMatch, st.sampled_from([PathKind.EXACT, PathKind.PREFIX, PathKind.STRING_PREFIX]), st.sampled_from(PATHS), st.booleans()
)
_patterns = st.builds(
    PathMatch, st.sampled_from([PathKind.REGEX, PathKind.REGEX_PREFIX]), st.sampled_from(PATTERNS), st.booleans()
)
_values = st.one_of(
    st.tuples(st.just(How.EXACT), st.sampled_from(VALUES[:3])),
    st.tuples(st.just(How.PREFIX), st.sampled_from(VALUES[:2])),
    st.tuples(st.just(How.REGEX), st.sampled_from(VALUE_PATTERNS)),
    st.tuples(st.just(How.PRESENT), st.just("")),
)


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    part = draw(st.sampled_from(list(Part)))
    if part is Part.METHOD:
        return Condition(part, How.EXACT, value=draw(st.sampled_from(["GET", "POST"])), invert=draw(st.booleans()))
    how, value = draw(_values)
    name = {Part.HEADER: "x-v", Part.QUERY: "q", Part.COOKIE: "c"}[part]
    # A header that is missing is an empty one to Envoy where a pattern is inverted: said in its lacks.
    invert = draw(st.booleans()) and not (part is Part.HEADER and value == "w?")
    return Condition(part, how, name, value, invert)


@st.composite
def tables(draw: st.DrawFn) -> RouteTable:
    """Of one plain listener."""
    names = draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=4, unique=True))
    hosts = []
    for number, name in enumerate(names):
        found = draw(st.lists(st.tuples(st.one_of(_plain, _patterns), st.lists(conditions(), max_size=2)), max_size=4))
        routes = tuple(
            Route(f"h{number}-r{index}", Match(path, tuple(each)), Answer(200, f"h{number}-r{index}"))
            for index, (path, each) in enumerate(found)
        )
        hosts.append(VirtualHost(f"h{number}", (name,), routes, many_labels=draw(st.booleans())))
    return RouteTable((Listener("http", 80, (Chain(("*",), tuple(hosts)),)),))


def climbs(path: str) -> bool:
    """Whether dots lead above the root: NGINX answers 400, Envoy stays there."""
    depth = 0
    for segment in path.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(segment, 1)
        if depth < 0:
            return True
    return False


def a_request(random: Random) -> Request:
    """One that nearly matches some route or other. Never a path of slashes alone: Envoy leaves two of them."""
    path = "".join(random.choices(PIECES, k=random.randint(1, 4)))
    while "//.." in path:  # NGINX merges slashes before it resolves dots, Envoy after
        path = path.replace("//..", "/..")
    if climbs(path):
        path = f"/a/b/c/d{path}"
    if normalise(path) == "/" != path:
        path += "/a"
    query = random.choice(["", "", "?q=v", "?q=w&q=v", "?x=1", "?q=vw", "?q", "?q="])
    headers = []
    if (value := random.choice([None, *VALUES])) is not None:
        headers.append(("X-V", value))
    if (value := random.choice([None, *VALUES])) is not None:
        headers.append(("Cookie", f"b=1; c={value}"))
    method = random.choice(["GET", "GET", "POST", "PUT"])
    return Request(random.choice(ASKED_HOSTS), path + query, method, headers=tuple(headers))
