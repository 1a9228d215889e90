"""Is the path that rules are matched by the one that the backend sees, whatever a client writes?

`/secret` is closed to this client. The expected path is that of simulate's `normalise`, None for 400; where a proxy differs,
and is as safe, its own is written beside it.
"""

from collections.abc import Iterator

import pytest
from tests.routing.front_door.front_lab import Lab, lab, table

from mooring.routing.simulation.paths import normalise

pytestmark = pytest.mark.xdist_group("front paths")

CLOSED = "closed"
SAME = "as simulate says"
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


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("front")) as found:
        found.serve(table())
        yield found


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path[:30])
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
def test_no_path_leads_around_a_rule(front: Lab, proxy: str, path: str) -> None:
    expected = ROWS[path][proxy == "nginx"]
    if expected == SAME:
        expected = normalise(path)
    answers = {CLOSED: (403, []), None: (400, []), "404": (404, [])}
    status, seen = answers.get(expected, (200, [expected]))
    reply = front.ask(proxy, path)
    assert (status, seen) == (reply.status, [each.path for each in front.heard])
