"""Where a Pod runs when it matters who else runs where: affinity between Pods, topology spread, preferences."""

import pytest
from workloads import change, document, namespace, node, pod, said

from mooring.control.reconcilers.scheduler import Scheduler
from mooring.model.kinds import NAMESPACE, NODE, POD, SERVICE
from mooring.testing.world import MemoryWorld, settle

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
WEB, DB = {"app": "web"}, {"app": "db"}
NOT_WITH, NOT_APART = "node(s) didn't match pod affinity rules", "node(s) didn't match pod anti-affinity rules"
UNWELCOME = "node(s) didn't satisfy existing pods anti-affinity rules"
UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{UNEVEN} (missing required label)"


def nodes(*names: str, **zones: str) -> list[dict]:
    """Ready nodes; zones by name where they have one."""
    return [node(name, metadata={"labels": {HOST: name, **({ZONE: zones[name]} if name in zones else {})}}) for name in names]


def there(name: str, at: str, labels: dict = WEB, space: str = "default", **spec) -> dict:
    return document(
        POD,
        name,
        space,
        metadata={"labels": dict(labels)},
        spec={"containers": [{"name": "main", "image": "echo:1"}], "nodeName": at, **spec},
        status={"phase": "Running"},
    )


def term(labels: dict | None = WEB, key: str = HOST, **rest) -> dict:
    return {"topologyKey": key, **({} if labels is None else {"labelSelector": {"matchLabels": labels}}), **rest}


def near(*terms: dict) -> dict:
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}}


def far(*terms: dict) -> dict:
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}}


def preferring(section: str, weight: int, wanted: dict) -> dict:
    weighted = {"weight": weight, "podAffinityTerm": wanted}
    return {"affinity": {section: {"preferredDuringSchedulingIgnoredDuringExecution": [weighted]}}}


def spread(key: str = HOST, labels: dict | None = WEB, when: str = "DoNotSchedule", skew: int = 1, **rest) -> dict:
    selector = {} if labels is None else {"labelSelector": {"matchLabels": labels}}
    constraint = {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, **selector, **rest}
    return {"topologySpreadConstraints": [constraint]}


def place(waiting: dict, *others: dict) -> tuple[str, list[str]]:
    """(the node chosen, '' for none; what was reported)"""
    world = MemoryWorld([namespace("default"), namespace("other", metadata={"labels": {"team": "b"}}), *others, waiting])
    settled = settle(Scheduler(), world)
    return world.get(POD, "default", waiting["metadata"]["name"])["spec"].get("nodeName", ""), said(settled.reports)


@pytest.mark.parametrize(
    ("spec", "others", "expected"),
    [
        pytest.param(near(term(DB)), [there("db", "b", DB)], "b", id="affinity: where the other is"),
        pytest.param(near(term(DB)), [there("db", "b", DB, "other")], "", id="affinity: another namespace's does not count"),
        pytest.param(near(term(DB, namespaces=["other"])), [there("db", "b", DB, "other")], "b", id="affinity: named spaces"),
        pytest.param(
            near(term(DB, namespaceSelector={"matchLabels": {"team": "b"}})), [there("db", "b", DB, "other")], "b",
            id="affinity: selected namespaces",
        ),
        pytest.param(near(term(DB, namespaceSelector={})), [there("db", "b", DB, "other")], "b", id="affinity: all namespaces"),
        pytest.param(
            near(term(DB, namespaceSelector={"matchLabels": {"team": "x"}})), [there("db", "b", DB, "other")], "",
            id="affinity: no such namespace",
        ),
        pytest.param(
            near(term(DB), term({"app": "cache"})), [there("both", "b", DB), there("cache", "a", {"app": "cache"})], "",
            id="affinity: one Pod must match all terms",
        ),
        pytest.param(near(term(DB)), [], "", id="affinity: nobody to be near"),
        pytest.param(near(term(WEB)), [], "any", id="affinity: the first of its kind may go anywhere"),
        pytest.param(near(term(WEB)), [there("web-0", "b")], "b", id="affinity: the second goes to the first"),
        pytest.param(near(term(WEB, "rack")), [], "", id="affinity: the first too needs the label on its node"),
        pytest.param(near(term(None)), [there("web-0", "b")], "", id="affinity: no selector means nobody"),
        pytest.param(
            near(term(WEB, matchLabelKeys=["version"])),
            [there("old", "a", {**WEB, "version": "1"}), there("new", "b", {**WEB, "version": "2"})],
            "b",
            id="affinity: matchLabelKeys",
        ),
        pytest.param(
            near(term(WEB, mismatchLabelKeys=["version"])),
            [there("old", "a", {**WEB, "version": "1"}), there("new", "b", {**WEB, "version": "2"})],
            "a",
            id="affinity: mismatchLabelKeys",
        ),
        pytest.param(far(term(WEB)), [there("web-0", "a")], "b", id="anti-affinity: where no other is"),
        pytest.param(far(term(WEB)), [there("web-0", "a"), there("web-1", "b")], "", id="anti-affinity: they are everywhere"),
        pytest.param(far(term(WEB)), [there("web-0", "a", space="other")], "any", id="anti-affinity: of its namespace only"),
        pytest.param({}, [there("hermit", "a", DB, **far(term(WEB)))], "b", id="anti-affinity of others keeps it out"),
        pytest.param(
            {}, [there("hermit", "a", DB, "other", **far(term(WEB, namespaces=["default"])))], "b",
            id="anti-affinity of others, from another namespace",
        ),
        pytest.param({}, [there("hermit", "a", DB, **far(term({"app": "x"})))], "any", id="anti-affinity of others, not of it"),
        pytest.param(
            far(term(WEB)), [{**there("done", "a"), "status": {"phase": "Succeeded"}}, there("web-1", "b")], "a",
            id="anti-affinity: what has ended does not count",
        ),
        pytest.param(preferring("podAffinity", 100, term(DB)), [there("db", "b", DB)], "b", id="preferred affinity"),
        pytest.param(preferring("podAntiAffinity", 100, term(DB)), [there("db", "b", DB)], "a", id="preferred anti-affinity"),
        pytest.param(
            {}, [there("fan", "b", DB, **preferring("podAffinity", 100, term(WEB)))], "b", id="the preference of one there"
        ),
    ],
)  # fmt: skip
def test_a_pod_goes_where_others_are_or_are_not(spec, others, expected):
    waiting = pod("waiting", metadata={"labels": {**WEB, "version": "2"}}, spec=spec)
    chosen, _ = place(waiting, *nodes("a", "b"), *others)
    assert chosen in (("a", "b") if expected == "any" else (expected,))


@pytest.mark.parametrize(
    ("spec", "others", "reason"),
    [
        (near(term(DB)), [], f"2 {NOT_WITH}"),
        (far(term(WEB)), [there("web-0", "a"), there("web-1", "b")], f"2 {NOT_APART}"),
        ({}, [there(f"hermit-{n}", n, DB, **far(term(WEB))) for n in "ab"], f"2 {UNWELCOME}"),
        (far(term(WEB)), [there("web-0", "a"), there("h", "b", DB, **far(term(WEB)))], f"1 {NOT_APART}, 1 {UNWELCOME}"),
        (spread(), [there("w", "a"), there("x", "a")], ""),
        (spread("rack"), [], f"2 {NO_LABEL}"),
        (spread(minDomains=3), [there("w", "a"), there("x", "b")], f"2 {UNEVEN}"),
    ],
)
def test_the_event_says_why_in_upstreams_words(spec, others, reason):
    chosen, reports = place(pod("waiting", spec=spec), *nodes("a", "b"), *others)
    if reason:
        assert reports == [f"Warning FailedScheduling 0/2 nodes are available: {reason}."]
    assert bool(chosen) == (not reason)


@pytest.mark.parametrize(
    ("spec", "others", "expected"),
    [
        pytest.param(spread(), [there("w0", "a"), there("w1", "b")], "c", id="to the emptiest"),
        pytest.param(spread(skew=2), [there("w0", "a"), there("w1", "a"), there("w2", "b")], "b c", id="within the skew"),
        pytest.param(spread(ZONE), [there("w0", "a")], "c", id="zones: the other zone"),
        pytest.param(spread(labels=DB), [there("db", "a", DB), there("db1", "a", DB)], "b c", id="it is not of the set itself"),
        pytest.param(
            spread(ZONE, nodeAffinityPolicy="Ignore") | {"nodeSelector": {ZONE: "east"}}, [there("w0", "a")], "",
            id="zones: Ignore counts those it cannot go to",
        ),
        pytest.param(
            spread(ZONE) | {"nodeSelector": {ZONE: "east"}}, [there("w0", "a")], "a b", id="zones: Honor leaves them out"
        ),
        pytest.param(
            spread(matchLabelKeys=["version"]),
            [*(there(f"old-{n}", n, {**WEB, "version": "1"}) for n in "bc"), there("new", "a", {**WEB, "version": "2"})],
            "b c",
            id="matchLabelKeys: old versions do not count",
        ),
        pytest.param(
            spread(), [there("w0", "a", space="other"), there("w1", "b"), there("w2", "c")], "a", id="of its namespace only"
        ),
        pytest.param(
            spread(),
            [{**(gone := there("w0", "a")), "metadata": gone["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
             there("w1", "b"), there("w2", "c")],
            "a",
            id="what is ending does not count",
        ),
        pytest.param(spread(when="ScheduleAnyway"), [there("w0", "a"), there("w1", "b")], "c", id="as a preference"),
        pytest.param(spread("rack", when="ScheduleAnyway"), [], "a b c", id="a preference refuses nobody"),
    ],
)  # fmt: skip
def test_a_pod_keeps_its_set_evenly_spread(spec, others, expected):
    waiting = pod("waiting", metadata={"labels": {**WEB, "version": "2"}}, spec=spec)
    chosen, _ = place(waiting, *nodes("a", "b", "c", a="east", b="east", c="west"), *others)
    assert chosen in (expected.split() or [""])


def test_a_taint_it_does_not_bear_makes_no_domain_when_taints_are_honoured():
    three = nodes("a", "b", "c")
    three[2]["spec"] = {"taints": [{"key": "k", "effect": "NoSchedule"}]}
    others = [there("w0", "a"), there("w1", "b")]
    assert place(pod("waiting", spec=spread()), *three, *others)[0] == ""
    assert place(pod("waiting", spec=spread(nodeTaintsPolicy="Honor")), *three, *others)[0] in ("a", "b")


def test_nine_pods_spread_over_three_zones_and_stay_even():
    world = MemoryWorld([namespace("default"), *nodes("a", "b", "c", a="x", b="y", c="z")])
    for number in range(9):
        world.add(pod(f"w{number}", spec=spread(ZONE)))
    settle(Scheduler(), world)
    placed = [each["spec"]["nodeName"] for each in world.list(POD)]
    assert {name: placed.count(name) for name in "abc"} == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(lambda world: world.add(there("db", "b", DB)), id="the other comes"),
        pytest.param(lambda world: change(world, POD, "far-off", metadata={"labels": DB}), id="another is relabelled"),
        pytest.param(
            lambda world: change(world, NAMESPACE, "other", metadata={"labels": {"team": "x"}}), id="a namespace is relabelled"
        ),
        pytest.param(lambda world: change(world, NODE, "b", spec={"unschedulable": False}), id="a node is uncordoned"),
    ],
)
def test_a_pod_that_waits_for_company_hears_of_it(event):
    wish = near(term(DB, namespaces=["default"], namespaceSelector={"matchLabels": {"team": "x"}}))
    cordoned = nodes("b")[0] | {"spec": {"unschedulable": True}}
    world = MemoryWorld(
        [namespace("default"), namespace("other"), *nodes("a"), cordoned, there("far-off", "a"), there("db", "a", DB, "other")]
    )
    world.add(pod("waiting", spec=wish))
    settle(Scheduler(), world)
    world.changes.clear()
    event(world)
    scheduler = Scheduler()
    keys = {key for each in world.changes if each.kind != SERVICE for key in scheduler.keys(each, world)}
    assert ("default", "waiting") in keys
