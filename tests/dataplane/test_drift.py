"""Is what differs between wish and kernel named by what it is and by whose it is?"""

import sys
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from random_views import node_views

from mooring.dataplane.conntrack import Flow
from mooring.dataplane.diff import diff
from mooring.dataplane.installed import Installed
from mooring.dataplane.inventory import Chain, Rule, Table
from mooring.dataplane.recognise import compare
from mooring.dataplane.ruleset import (
    ALLOWED,
    CLUSTER_IPS,
    ENDPOINTS,
    FRONTENDS,
    HAIRPINS,
    OUTSIDE_FRONTENDS,
    POD_CIDRS,
    SERVICE_CIDRS,
    SHAPES,
    Ruleset,
    frontend,
    mark,
    packed,
    port,
)
from mooring.dataplane.verify import Drift, Kind, element_drift, flow_drift, only, rivals, rule_drift
from mooring.services.view import NodeView, Pool, Protocol
from mooring.testing.node_views import FOUR, SIX, external_port, node_view, service_port, there

WEB = service_port("web", "10.96.0.1", FOUR[:3])
EXT = external_port("ext", "203.0.113.1", FOUR, Pool.LOCAL)
GUARDED = structs.replace(EXT, frontends=tuple(structs.replace(each, allowed=("192.0.2.0/24",)) for each in EXT.frontends))
VIEW = node_view(
    {"ext": [GUARDED], "web": [WEB, service_port("web", "fd00:96::1", SIX)], "none": [service_port("none", "10.96.0.3", [])]}
)

Tables = dict[tuple[str, str], dict[bytes, bytes]]
VIP = frontend("10.96.0.1", Protocol.TCP, 80)


def number(tables: Tables, where: bytes, family: str = "ip") -> int:
    """The number of the service port that a frontend leads to."""
    return int.from_bytes(tables[(family, FRONTENDS)][where], sys.byteorder) >> 13


def slot(tables: Tables, index: int) -> bytes:
    """The key of a slot of service web."""
    return mark(number(tables, VIP) << 13) + mark(index)


def found(change: Callable[[Tables], object], view: NodeView = VIEW) -> list[Drift]:
    """What is told of a kernel that held the view and was changed."""
    tables: Tables = {key: dict(items) for key, items in Installed.of(view).ruleset().elements.items()}
    change(tables)
    installed, transaction = compare(view, Ruleset(tables, Installed.of(view).ruleset().skeleton))
    return list(element_drift(installed, transaction).values())


def test_a_kernel_as_wished_has_no_drift() -> None:
    assert found(lambda tables: None) == []


def put(name: str, key: bytes, data: bytes, family: str = "ip") -> Callable[[Tables], object]:
    return lambda tables: tables.setdefault((family, name), {}).update({key: data})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            lambda tables: tables[("ip", CLUSTER_IPS)].pop(packed("10.96.0.1")),
            ["missing: cluster IP 10.96.0.1 (service/web in default, port tcp-80)"],
            id="a cluster IP is gone",
        ),
        pytest.param(
            lambda tables: tables[("ip", ENDPOINTS)].pop(slot(tables, 1)),
            [
                "missing: endpoint 1 (cluster pool of number {web}), which shall be 10.244.1.2:9090 "
                "(service/web in default, port tcp-80)"
            ],
            id="an endpoint is gone",
        ),
        pytest.param(
            lambda tables: tables[("ip", ENDPOINTS)].update({slot(tables, 1): packed("192.0.2.9") + port(99)}),
            [
                "altered: endpoint 1 (cluster pool of number {web}) is 192.0.2.9:99, and shall be 10.244.1.2:9090 "
                "(service/web in default, port tcp-80)"
            ],
            id="an endpoint is another",
        ),
        pytest.param(
            lambda tables: tables[("ip", ENDPOINTS)].update({slot(tables, 7): packed("192.0.2.9") + port(99)}),
            [
                "foreign: endpoint 7 (cluster pool of number {web}), which is 192.0.2.9:99 "
                "(service/web in default, port tcp-80 has no such slot)"
            ],
            id="an endpoint too many",
        ),
        pytest.param(
            put(ENDPOINTS, mark(4000 << 13) + mark(0), packed("192.0.2.9") + port(99)),
            ["foreign: endpoint 0 (cluster pool of number 4000), which is 192.0.2.9:99 (no Service has this number)"],
            id="an endpoint of nobody",
        ),
        pytest.param(
            put(FRONTENDS, frontend("10.96.0.1", Protocol.TCP, 81), mark(0)),
            [
                "foreign: frontend 10.96.0.1:81/TCP, which is refuse of number 0, which no Service has "
                "(the address is service/web's in default)"
            ],
            id="a frontend too many",
        ),
        pytest.param(
            lambda tables: tables[("ip", FRONTENDS)].update(
                {VIP: tables[("ip", FRONTENDS)][VIP][:0] + mark(number(tables, VIP) << 13 | 1)}
            ),
            [
                "altered: frontend 10.96.0.1:80/TCP is drop of service/web in default, port tcp-80, and shall be "
                "to the cluster endpoints, shape 4, of service/web in default, port tcp-80 "
                "(service/web in default, port tcp-80)"
            ],
            id="a frontend that drops",
        ),
        pytest.param(
            lambda tables: tables[("ip", FRONTENDS)].pop(VIP),
            [
                "missing: frontend 10.96.0.1:80/TCP, which shall be to the cluster endpoints, shape 4, of "
                "service/web in default, port tcp-80 (service/web in default, port tcp-80)"
            ],
            id="the only frontend is gone",
        ),
        pytest.param(
            lambda tables: (tables[("ip", FRONTENDS)].clear(), tables[("ip", OUTSIDE_FRONTENDS)].clear()),
            [
                "missing: frontend 10.96.0.1:80/TCP, which shall be to the cluster endpoints, shape 4, of "
                "service/web in default, port tcp-80 (service/web in default, port tcp-80)",
                "missing: frontend 10.96.0.3:80/TCP, which shall be refuse of service/none in default, port tcp-80 "
                "(service/none in default, port tcp-80)",
                "missing: frontend 203.0.113.1:80/TCP, which shall be to the cluster endpoints, shape 6, of "
                "service/ext in default, port ext-80 (service/ext in default, port ext-80)",
                "missing: frontend for the outside 203.0.113.1:80/TCP, which shall be to the local endpoints, shape 4, of "
                "service/ext in default, port ext-80 (service/ext in default, port ext-80)",
            ],
            id="all frontends are gone",
        ),
        pytest.param(
            lambda tables: tables[("ip", HAIRPINS)].pop(packed("10.244.1.2") * 2),
            ["missing: hairpin 10.244.1.2 . 10.244.1.2 (service/ext in default, port ext-80)"],
            id="a hairpin is gone",
        ),
        pytest.param(
            put(SERVICE_CIDRS, packed("192.0.2.0") + packed("192.0.2.255"), b""),
            ["foreign: service range 192.0.2.0-192.0.2.255"],
            id="a range too many",
        ),
        pytest.param(
            lambda tables: tables[("ip6", POD_CIDRS)].clear(),
            ["missing: pod range fd00:244:1::-fd00:244:1:0:ffff:ffff:ffff:ffff"],
            id="the pods' range is gone",
        ),
        pytest.param(
            lambda tables: tables[("ip", ALLOWED)].clear(),
            ["missing: allowed sources 192.0.2.0-192.0.2.255 of 203.0.113.1:80/TCP (service/ext in default, port ext-80)"],
            id="nobody is allowed any more",
        ),
        pytest.param(
            lambda tables: tables[("ip", SHAPES)].update({mark(4): b"discard"}),
            ["altered: shape 4 is chain discard, and shall be chain pick-3 (service/web in default, port tcp-80)"],
            id="a shape that leads elsewhere",
        ),
        pytest.param(
            lambda tables: tables[("ip", OUTSIDE_FRONTENDS)].clear(),
            [
                "missing: frontend for the outside 203.0.113.1:80/TCP, which shall be to the local endpoints, shape 4, of "
                "service/ext in default, port ext-80 (service/ext in default, port ext-80)"
            ],
            id="a policy is forgotten",
        ),
    ],
)
def test_elements_that_differ_are_named(change: Callable[[Tables], object], expected: list[str]) -> None:
    tables: Tables = {key: dict(items) for key, items in Installed.of(VIEW).ruleset().elements.items()}
    assert sorted(each.format(web=number(tables, VIP)) for each in expected) == sorted(each.words for each in found(change))


@given(node_views())
def test_what_an_agent_installed_has_no_drift(view: NodeView) -> None:
    assert not compare(view, Installed.of(view).ruleset())[1]


@given(node_views(), st.randoms(use_true_random=False))
def test_of_any_element_that_is_gone_just_that_is_told(view: NodeView, rng: Random) -> None:
    """Also of one by which a service port would be known, and whatever Services claim from each other."""
    wish = Installed.of(view).ruleset()
    left: Tables = {set_key: dict(items) for set_key, items in wish.elements.items()}
    set_key, key = rng.choice([(each, key) for each, items in left.items() for key in items])
    del left[set_key][key]
    installed, transaction = compare(view, Ruleset(left, wish.skeleton))
    assert {(set_key, key): Kind.MISSING} == {each: drift.kind for each, drift in element_drift(installed, transaction).items()}


def test_an_empty_table_misses_everything() -> None:
    told = found(lambda tables: tables.clear())
    assert {each.kind for each in told} == {Kind.MISSING}
    assert sum(map(len, Installed.of(VIEW).ruleset().elements.values())) == len(told)


def test_a_repair_can_be_limited_to_what_lasts() -> None:
    tables: Tables = {key: dict(items) for key, items in Installed.of(VIEW).ruleset().elements.items()}
    first, second = slot(tables, 0), slot(tables, 1)
    broken: Tables = {**tables, ("ip", ENDPOINTS): {**tables[("ip", ENDPOINTS)], first: b"\1" * 8, second: b"\2" * 8}}
    whole = diff(broken, tables)
    part = only(whole, [(("ip", ENDPOINTS), second)])
    assert [(change.set, change.remove, change.add) for change in part.changes] == [
        (("ip", ENDPOINTS), ((second, b"\2" * 8),), ((second, tables[("ip", ENDPOINTS)][second]),))
    ]
    assert not only(whole, [])


RULES = (Rule(("meta l4proto", "cmp == 06"), "tcp"), Rule(("immediate drop",), "the rest"))
WISHED = Table(
    "ip",
    "mooring",
    "mooring 1",
    {"services": Chain("services", RULES), "prerouting": Chain("prerouting", RULES[:1], "nat", "prerouting", -100, "accept")},
    {"frontends": "8 1 2"},
)


def altered(**changes: object) -> Table:
    return structs.replace(WISHED, **changes)


def chains(**changes: Chain) -> Table:
    return altered(chains={**WISHED.chains, **changes})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(WISHED, [], id="as wished"),
        pytest.param(None, ["missing: table ip mooring"], id="no table"),
        pytest.param(
            altered(comment="mooring 0", chains={}),
            ["altered: table ip mooring is mooring 0, and shall be mooring 1"],
            id="another version's table is told as that alone",
        ),
        pytest.param(
            altered(comment=""),
            ["altered: table ip mooring is without a version, and shall be mooring 1"],
            id="somebody else's table",
        ),
        pytest.param(
            altered(chains={"services": WISHED.chains["services"]}), ["missing: chain prerouting (ip mooring)"], id="no chain"
        ),
        pytest.param(chains(mine=Chain("mine")), ["foreign: chain mine (ip mooring)"], id="a chain too many"),
        pytest.param(
            chains(services=Chain("services", RULES[:1])),
            ['missing: rule "the rest" of chain services (ip mooring), which shall be immediate drop'],
            id="no rule",
        ),
        pytest.param(
            chains(services=Chain("services", (Rule(("immediate accept",)), *RULES))),
            ["foreign: rule of chain services (ip mooring), which is immediate accept"],
            id="a rule too many",
        ),
        pytest.param(
            chains(services=Chain("services", (RULES[0], Rule(("immediate accept",), "the rest")))),
            ['altered: rule "the rest" of chain services (ip mooring) is immediate accept, and shall be immediate drop'],
            id="another rule",
        ),
        pytest.param(
            chains(services=Chain("services", (Rule(RULES[0].form, "other words", 17), Rule(RULES[1].form, "", 18)))),
            [],
            id="rules with other comments and handles do the same",
        ),
        pytest.param(
            chains(services=Chain("services", RULES[::-1])),
            [
                'missing: rule "tcp" of chain services (ip mooring), which shall be meta l4proto; cmp == 06',
                'foreign: rule "tcp" of chain services (ip mooring), which is meta l4proto; cmp == 06',
            ],
            id="rules in another order",
        ),
        pytest.param(
            chains(prerouting=Chain("prerouting", RULES[:1], "nat", "prerouting", 0, "drop")),
            [
                "altered: chain prerouting (ip mooring) is nat prerouting 0 policy drop, "
                "and shall be nat prerouting -100 policy accept"
            ],
            id="another hook",
        ),
        pytest.param(altered(sets={}), ["missing: set frontends (ip mooring)"], id="no set"),
        pytest.param(
            altered(sets={"frontends": "8 1 2", "mine": "0"}), ["foreign: set mine (ip mooring)"], id="a set too many"
        ),
        pytest.param(
            altered(sets={"frontends": "0 1 2"}),
            ["altered: set frontends (ip mooring) is of type 0 1 2, and shall be of type 8 1 2"],
            id="a set of another type",
        ),
    ],
)
def test_rules_that_differ_are_named(found: Table | None, expected: list[str]) -> None:
    assert expected == [each.words for each in rule_drift({"ip": found} if found else {}, {"ip": WISHED})]


def rival(kind: str = "nat", hook: str = "prerouting", priority: int = -100, *forms: str) -> Table:
    rule = Rule(forms or ("cmp == 0a600001", "nat dnat ip"))
    return Table("ip", "theirs", "", {"theirs-in": Chain("theirs-in", (), kind, hook, priority), "go": Chain("go", (rule,))})


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        pytest.param(
            rival(),
            "table ip theirs rewrites destinations too, and not after us: chain theirs-in (prerouting -100). "
            "It names 10.96.0.1.",
            id="at our priority, with our address",
        ),
        pytest.param(
            rival("nat", "output", -150, "target DNAT"),
            "table ip theirs rewrites destinations too, and not after us: chain theirs-in (output -150).",
            id="before us, for anybody",
        ),
        pytest.param(rival("nat", "prerouting", -99), "", id="after us"),
        pytest.param(rival("nat", "postrouting", -150), "", id="at another hook"),
        pytest.param(rival("nat", "prerouting", -100, "nat snat ip"), "", id="only sources"),
        pytest.param(structs.replace(rival(), name="mooring"), "", id="ourselves"),
    ],
)
def test_tables_that_decide_before_us_are_named(table: Table, expected: str) -> None:
    assert ([expected] if expected else []) == list(rivals([table], VIEW))


def test_a_stale_flow_names_its_service() -> None:
    view = node_view({"dns": [service_port("dns", "10.96.0.2", [there("10.244.2.2")], 53, Protocol.UDP)]})
    flow = Flow(("10.244.1.9", 4000), ("10.96.0.2", 53), ("10.244.9.9", 53))
    [told] = flow_drift([flow], view)
    assert told.words == (
        "foreign: UDP flow 10.244.1.9:4000 -> 10.96.0.2:53, which is answered by 10.244.9.9:53, no endpoint "
        "(service/dns in default, port udp-53)"
    )
