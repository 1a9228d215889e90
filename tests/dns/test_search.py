"""Which names does a client try, in which order?"""

import pytest

from mooring.dns.search import ResolverConfig, candidates, config

POD = "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(POD, ResolverConfig(("10.96.0.10",), SEARCH, 5), id="a pod's"),
        pytest.param("", ResolverConfig(()), id="an empty one"),
        pytest.param("# all\nnameserver 1.2.3.4 ; one\n", ResolverConfig(("1.2.3.4",)), id="comments are passed over"),
        pytest.param("search a b\ndomain c\n", ResolverConfig((), ("c",)), id="the last list of domains wins"),
        pytest.param("search a. .\n", ResolverConfig((), ("a", "")), id="final dots are no part of a domain"),
        pytest.param("options ndots:99 ndots:x timeout:1\n", ResolverConfig((), (), 15), id="ndots has a limit"),
        pytest.param("nameserver\nnonsense here\n", ResolverConfig(()), id="what is not understood says nothing"),
    ],
)
def test_a_resolv_conf_is_read(text: str, expected: ResolverConfig) -> None:
    assert expected == config(text)


@pytest.mark.parametrize(
    ("name", "ndots", "expected"),
    [
        pytest.param("web", 5, [f"web.{each}" for each in SEARCH] + ["web"], id="few dots: the search domains first"),
        pytest.param("a.b.c", 2, ["a.b.c", *(f"a.b.c.{each}" for each in SEARCH)], id="enough dots: as it is first"),
        pytest.param("example.org.", 5, ["example.org"], id="a final dot: only as it is"),
        pytest.param("web", 0, ["web", *(f"web.{each}" for each in SEARCH)], id="ndots 0: as it is first"),
    ],
)
def test_the_names_that_are_asked(name: str, ndots: int, expected: list[str]) -> None:
    assert expected == [each.name for each in candidates(name, ResolverConfig(("10.96.0.10",), SEARCH, ndots))]


def test_a_dot_as_search_domain_is_the_name_itself() -> None:
    assert ["web", "web"] == [each.name for each in candidates("web", ResolverConfig((), ("",), 5))]
