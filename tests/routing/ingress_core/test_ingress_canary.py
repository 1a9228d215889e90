"""Who gets to the canary, by which rule, and in which order?"""

import pytest
from tests.routing.ingress_core.ingress_objects import ingress, service, translated

from mooring.routing.ingress.canary import branches, shares
from mooring.routing.ingress.objects import SetOf
from mooring.routing.ingress.wishes import Canary
from mooring.routing.table import Condition, Endpoints, Fixed, How, Part, WeightedCluster

HEADER = Condition(Part.HEADER, How.EXACT, "x-canary", "always")
NOT_BY_HEADER = Condition(Part.HEADER, How.EXACT, "x-canary", "never")
COOKIE = Condition(Part.COOKIE, How.EXACT, "Canary", "always")
NOT_BY_COOKIE = Condition(Part.COOKIE, How.EXACT, "Canary", "never")

BRANCHES: dict[str, tuple[Canary, list[tuple[Condition, bool]]]] = {
    "nothing is decided before the weight": (Canary(weight=10), []),
    "a header says always or never": (Canary(header="X-Canary"), [(HEADER, True), (NOT_BY_HEADER, False)]),
    "only one value does, and there is no never": (
        Canary(header="X-Canary", value="blue"),
        [(Condition(Part.HEADER, How.EXACT, "x-canary", "blue"), True)],
    ),
    "a value is more than a pattern": (
        Canary(header="X-Canary", value="blue", pattern="red"),
        [(Condition(Part.HEADER, How.EXACT, "x-canary", "blue"), True)],
    ),
    "a pattern": (
        Canary(header="X-Canary", pattern="(?s:.*)red"),
        [(Condition(Part.HEADER, How.REGEX, "x-canary", "(?s:.*)red"), True)],
    ),
    "a pattern without a header is none": (Canary(pattern="red"), []),
    "a cookie, whose name has its letter case": (Canary(cookie="Canary"), [(COOKIE, True), (NOT_BY_COOKIE, False)]),
    "the header comes before the cookie": (
        Canary(header="X-Canary", cookie="Canary"),
        [(HEADER, True), (NOT_BY_HEADER, False), (COOKIE, True), (NOT_BY_COOKIE, False)],
    ),
}


@pytest.mark.parametrize(("canary", "expected"), BRANCHES.values(), ids=list(BRANCHES))
def test_conditions_come_in_order(canary: Canary, expected: list[tuple[Condition, bool]]) -> None:
    assert expected == [(condition, to_canary) for _, condition, to_canary in branches(canary)]


SHARES: dict[str, tuple[Canary, list[int]]] = {
    "percent": (Canary(weight=30), [70, 30]),
    "of another total": (Canary(weight=30, total=1000), [970, 30]),
    "a total below 100 is 100, as upstream has it": (Canary(weight=25, total=50), [75, 25]),
    "nothing": (Canary(), [100]),
    "everything": (Canary(weight=100), [100]),
    "more than everything": (Canary(weight=300, total=200), [200]),
    "less than nothing": (Canary(weight=-1), [100]),
}


@pytest.mark.parametrize(("canary", "expected"), SHARES.values(), ids=list(SHARES))
def test_the_rest_is_shared_by_weight(canary: Canary, expected: list[int]) -> None:
    assert expected == [each.weight for each in shares(canary, "main", "next")]


def test_whoever_gets_nothing_is_left_out() -> None:
    assert (WeightedCluster("main", 100),) == shares(Canary(), "main", "next")
    assert (WeightedCluster("next", 100),) == shares(Canary(weight=100), "main", "next")


def test_while_a_canary_has_no_endpoint_the_main_backend_has_its_share() -> None:
    """As upstream: a canary that is scaled to nothing costs no request."""
    rule: tuple[str, list[tuple[str, str, str]] | None] = ("a.com", [("Prefix", "/", "web:80")])
    other: tuple[str, list[tuple[str, str, str]] | None] = ("a.com", [("Prefix", "/", "next:80")])
    canary = ingress("next", other, annotations={"canary": "true", "canary-weight": "100"}, day=2)
    found = translated(ingress("web", rule), canary, service(), service("next"))
    (cluster,) = [each for each in found.table.clusters.values() if each.source == "service shop/next"]

    assert isinstance(cluster.where, Endpoints)
    assert SetOf("shop", "next", "http", SetOf("shop", "web", "http")) == found.sets[cluster.where.set]

    page = {"default-backend": "page"}
    main, pages = ingress("web", rule, annotations=page), service("page", type="ExternalName", externalName="far.example")
    for there, fallback in (
        (service(), SetOf("shop", "web", "http", Fixed("far.example", 80))),
        (None, Fixed("far.example", 80)),
    ):
        found = translated(main, canary, service("next"), pages, *([there] if there else []))
        assert SetOf("shop", "next", "http", fallback) in found.sets.values()
