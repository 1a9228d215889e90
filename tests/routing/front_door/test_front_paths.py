"""Is the path that rules are matched by the one that the backend sees, whatever a client writes?

`/secret` is closed to this client. The expected path is that of simulate's `normalise`, None for 400; where a proxy differs,
and is as safe, its own is written beside it.
"""

from collections.abc import Iterator

import pytest
from msgspec import structs
from tests.routing.front_door.front_lab import CLUSTERS, ECHO, HOST, Lab, at, lab, table, until

from mooring.routing.nginx.lacks import lacks
from mooring.routing.simulation.paths import normalise
from mooring.routing.table import (
    Cluster,
    Endpoints,
    ExternalAuth,
    Filters,
    Forward,
    FrontDoor,
    HeaderChanges,
    Mirror,
    PathRewrite,
    Redirect,
    Route,
    Speaks,
    Template,
    VirtualHost,
    WeightedCluster,
)

CLOSED = "closed"
SAME = "as simulate says"
KEEPS = FrontDoor(keeps_encoded_slashes=True)
ROWS: dict[str, tuple[str | None, str | None]] = {
    # path: (Envoy's, NGINX's)
    "/x": (SAME, SAME),
    "/x/../y": (SAME, SAME),
    "/x/..": (SAME, SAME),
    "/x/.": (SAME, SAME),
    "/x/%2e%2e/y": (SAME, SAME),
    "/x/../secret": (CLOSED, CLOSED),
    "/x/%2e%2e/secret": (CLOSED, CLOSED),
    "/x/%2E./secret": (CLOSED, CLOSED),
    "//secret": (CLOSED, CLOSED),
    "/./secret": (CLOSED, CLOSED),
    "/x/..//secret": (CLOSED, CLOSED),
    "/%73ecret": (CLOSED, CLOSED),
    "/secret/": (CLOSED, CLOSED),
    "/secret?x": (CLOSED, CLOSED),
    "/x%3f/../secret": (CLOSED, CLOSED),
    "/../secret": (CLOSED, None),
    "/%2e%2e/secret": (CLOSED, None),
    "/x/../../secret": (CLOSED, None),
    # Envoy takes a segment of dots with parameters for dots, as Java's servers do.
    "/x/..;/secret": (CLOSED, None),
    "/x/..;a=b/secret": (CLOSED, None),
    "/.;/secret": (CLOSED, None),
    "/..;/secret": (CLOSED, None),
    "/x/..%3b/secret": (SAME, None),
    "/x\\..\\secret": (CLOSED, None),
    "/x//../secret": ("/x/secret", CLOSED),
    "/secret%2f": (None, None),
    "/%2fsecret": (None, None),
    "/x%2f..%2fsecret": (None, None),
    "/x%2F..%2Fsecret": (None, None),
    "/x/%2e%2e%2fsecret": (None, None),
    "/x%5c..%5csecret": (None, None),
    "/secret%00": (None, None),
    "/x%00": (None, None),
    "/x%0d%0aX-A:1": (SAME, None),
    "/x%7f": (SAME, None),
    "/x%": ("/x%", None),
    "/x%zz": ("/x%zz", None),
    "/x#y": (None, None),
    "/x?a#b": (None, None),
    "/x/%252e%252e/secret": (SAME, SAME),
    "/x/%c0%ae%c0%ae/secret": (SAME, SAME),
    "/x/.../secret": (SAME, SAME),
    "/x?/../secret": ("/x?/../secret", "/x?/../secret"),
    "/x?a=%2f%5c%00//": ("/x?a=%2f%5c%00//", "/x?a=%2f%5c%00//"),
    "/SECRET": (SAME, SAME),
    "/x%20y": (SAME, SAME),
    "/x%2By": (SAME, SAME),
    "/%e2%82%ac": (SAME, SAME),
    "/:mooring:/close": (SAME, "404"),
    "/:mooring:/said": (SAME, "404"),
    "//:mooring:/said": (SAME, "404"),
    "//%3amooring:/auth/1": (SAME, "404"),
    "/" + "a/../" * 2000 + "x": (SAME, SAME),
    "/" + "a" * 9000: (SAME, SAME),
}

KEPT: dict[str, tuple[str | None, str | None]] = {
    # Where escaped slashes are parts of elements.
    "/x%2Fy": (SAME, SAME),
    "/x%2fy/%5C/%5c": (SAME, SAME),
    "/%2F": (SAME, SAME),
    "/%2fsecret": (SAME, SAME),
    "/secret%2f": (SAME, SAME),
    "/secret%2Fx": (SAME, SAME),
    "/secret/%2F": (CLOSED, CLOSED),
    "/x%2Fy/../secret": (CLOSED, CLOSED),
    "/x%2Fy/..//./secret/%2f": (CLOSED, CLOSED),
    "/%73ecret/x%2Fy": (CLOSED, CLOSED),
    "/x%2Fy/%2e%2e/secret": (CLOSED, CLOSED),
    "/x%2Fy/../../secret": (CLOSED, None),
    "/x//y%2Fz/../%7E": (SAME, SAME),
    "/x%2Fy/.": (SAME, SAME),
    "/x%2Fy/": (SAME, SAME),
    "/x%2F%25%3F%20%e2%82%ac%2By": (SAME, SAME),
    "/x%252F%2Fy": (SAME, SAME),
    "/x%252Fy": (SAME, SAME),
    "/x%2Fy?a=%2f..%2f&b": ("/x%2Fy?a=%2f..%2f&b", "/x%2Fy?a=%2f..%2f&b"),
    "/x?a=%2f..%2f": ("/x?a=%2f..%2f", "/x?a=%2f..%2f"),
    "http://a.test/x%2Fy": ("/x%2Fy", "/x%2Fy"),
    "/x/..%2fsecret": (None, None),
    "/x/%2e%2e%2Fsecret": (None, None),
    "/x/.%2E%5csecret": (None, None),
    "/.%2fsecret": (None, None),
    "/x%2f../secret": (None, None),
    "/x%2F%2e%2e": (None, None),
    "/x%2F..?y": (None, None),
    "/x%5c..%5csecret": (None, None),
    "/x%2f.%2fsecret": (None, None),
    "/x%2f..;a/secret": (None, None),
    "/x%2f..%3ba/secret": (None, None),
    "/x/..%3ba%2fsecret": (None, None),
    # To Envoy these are dots, in all of the element.
    "/x/..;a%2fsecret": ("/", None),
    "/x/..;a%2fy/../secret": (CLOSED, None),
    "/x%2f...%2f..y": (SAME, SAME),
    "/x%2Fy%00": (None, None),
    "/x%2Fy%0a": (SAME, None),
    "/x%2Fy#z": (None, None),
    "/:mooring:%2fsaid": (SAME, "404"),
    "/:mooring:/x%2fy": (SAME, "404"),
    "/x%2fy/../:mooring:/said": (SAME, "404"),
}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("front")) as found:
        found.serve(table())
        yield found


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path[:30])
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_no_path_leads_around_a_rule(front: Lab, proxy: str, path: str) -> None:
    expected = ROWS[path][proxy == "nginx"]
    _asked(front, proxy, path, normalise(path) if expected == SAME else expected)


@pytest.fixture(scope="module")
def keeping(front: Lab) -> Lab:
    front.serve(table(KEEPS))
    return front


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path[:30])
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_escaped_slashes_that_are_kept_lead_around_none(keeping: Lab, proxy: str, path: str) -> None:
    expected = KEPT[path][proxy == "nginx"]
    _asked(keeping, proxy, path, normalise(path, keeps_slashes=True) if expected == SAME else expected)


def _asked(front: Lab, proxy: str, path: str, expected: str | None) -> None:
    answers = {CLOSED: (403, []), None: (400, []), "404": (404, [])}
    status, seen = answers.get(expected, (200, [expected]))
    reply = front.ask(proxy, path)
    assert (status, seen) == (reply.status, [each.path for each in front.heard])


def asking(path: str) -> Filters:
    return Filters(external_auth=ExternalAuth("echo", "auth.test", Template((path,))))


OF_FILTERS = (
    Route("copied", at("/copied"), ECHO, Filters(mirrors=(Mirror("echo", host="copy.test"),), rewrite=PathRewrite("/c"))),
    Route("asked", at("/asked"), ECHO, Filters(rewrite=PathRewrite("/100%"))),
    Route("guarded", at("/guarded"), ECHO, asking("/status/200")),
    Route("kept out", at("/kept-out"), ECHO, asking("/status/403")),
    Route("moved", at("/moved"), Redirect(302, path=PathRewrite("/there"))),
    Route("told", at("/told"), ECHO, Filters(request_headers=HeaderChanges(set=(("x-a", "1"),)), host="inner.test")),
    Route("spoken to by HTTP/2", at("/h2"), Forward((WeightedCluster("h2"),)), source="h2"),
)
FILTERING = structs.replace(
    table(KEEPS, hosts=(VirtualHost("a", (HOST,), OF_FILTERS),)),
    clusters={**CLUSTERS, "h2": Cluster("h2", Endpoints("echo"), Speaks.HTTP2)},
)


@pytest.fixture(scope="module")
def filtering(front: Lab) -> Lab:
    front.serve(FILTERING)
    return front


@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_filters_keep_escaped_slashes(filtering: Lab, proxy: str) -> None:
    assert "/there/x%2Fy%25?z=%2f" == filtering.ask(proxy, "/moved/x%2Fy%25?z=%2f").one("location").removeprefix(
        f"http://{HOST}"
    )

    assert 200 == filtering.ask(proxy, "/told/x%2fy").status
    assert [("/told/x%2fy", "inner.test")] == [(each.path, each.one("host")) for each in filtering.heard]

    filtering.ask(proxy, "/asked/x%2fy%20z")
    assert ["/100%25/x%2fy%20z" if proxy == "nginx" else "/100%/x%2fy%20z"] == [each.path for each in filtering.heard]

    assert 200 == filtering.ask(proxy, "/copied/x%2fy%20?z").status
    until(lambda: len(filtering.heard) == 2, "the copy does not come")
    assert {(HOST, "/c/x%2fy%20?z"), ("copy.test", "/c/x%2fy%20?z")} == {
        (each.one("host"), each.path) for each in filtering.heard
    }

    assert 200 == filtering.ask(proxy, "/guarded/../guarded/x%2fy").status
    assert [("auth.test", "/status/200"), (HOST, "/guarded/x%2fy")] == [
        (each.one("host"), each.path) for each in filtering.heard
    ]
    assert 403 == filtering.ask(proxy, "/kept-out/x%2fy").status
    assert ["/status/403"] == [each.path for each in filtering.heard]


def test_nginx_refuses_them_where_it_cannot_hand_them_on(filtering: Lab) -> None:
    assert ["h2"] == [source for source, sentence in lacks(FILTERING) if "escaped slash" in sentence]
    assert 400 == filtering.ask("nginx", "/h2/x%2fy").status
