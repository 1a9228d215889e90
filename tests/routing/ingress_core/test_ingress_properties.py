"""What holds for any set of Ingresses? Order does not show, a memo does not show, and every path is served or told about."""

import re
from collections.abc import Sequence
from itertools import pairwise
from time import process_time

import re2
from hypothesis import given
from hypothesis import strategies as st
from tests.routing.ingress_core.ingress_objects import CLASS, NOW, ingress, known, service, tls_secret, translated

from mooring.model.ingress import ingress as view
from mooring.model.meta import Document
from mooring.routing.ingress.annotations import KNOWN
from mooring.routing.ingress.build import build
from mooring.routing.ingress.memo import Memo
from mooring.routing.ingress.objects import Objects, Translation
from mooring.routing.ingress.precedence import precedence
from mooring.routing.simulate import Request, simulate
from mooring.routing.table import Member, PathKind, PathMatch, RegexRewrite

HOSTS = ("", "a.com", "b.com", "*.com", "www.a.com", "A.com")
TYPES = ("Exact", "Prefix", "ImplementationSpecific")
TEXTS = ("/", "/a", "/a/", "/a/b", "/A", "/aa", "/a/b/", "/[ab]+", "/(")
TO = ("web:80", "web:http", "other:80", "nobody:80", "outside:80", "web:81")
WISHES: tuple[dict[str, str], ...] = (
    {},
    {},
    {},
    {"use-regex": "true"},
    {"rewrite-target": "/x/$1"},
    {"force-ssl-redirect": "true"},
    {"canary": "true", "canary-weight": "20", "canary-by-header": "X-Canary"},
    {"server-alias": "b.com,c.com"},
    {"from-to-www-redirect": "true", "app-root": "/a"},
    {"default-backend": "other"},
    {"backend-protocol": "GRPC"},
    {"auth-tls-secret": "shop/ca"},
    {"ssl-passthrough": "true"},
    {"permanent-redirect": "https://x.example.com"},
)
HOST = re.compile(r"\*|(\*\.)?[-a-z0-9.]+")
FIXED = (
    service(),
    service("other"),
    service("outside", type="ExternalName", externalName="x.example.com"),
    tls_secret("a", "a.com", "*.com"),
    {**tls_secret("ca", "ca"), "stringData": {"ca.crt": tls_secret("ca", "ca")["stringData"]["tls.crt"]}},
)

paths = st.lists(st.tuples(st.sampled_from(TYPES), st.sampled_from(TEXTS), st.sampled_from(TO)), min_size=1, max_size=3)
rules = st.lists(st.tuples(st.sampled_from(HOSTS), st.none() | paths), max_size=3)
tls = st.none() | st.lists(
    st.fixed_dictionaries(
        {
            "hosts": st.lists(st.sampled_from(("a.com", "b.com", "x.com")), max_size=2),
            "secretName": st.sampled_from(("a", "no", "")),
        }
    ),
    max_size=2,
)


@st.composite
def one(draw: st.DrawFn, wishes: Sequence[dict[str, str]] = WISHES) -> Document:
    return ingress(
        draw(st.sampled_from("pqrs")),
        *draw(rules),
        annotations=draw(st.sampled_from(wishes)),
        default=draw(st.sampled_from(("", "", "web:80", "other:http", "nobody:80"))),
        tls=draw(tls),
        day=draw(st.integers(1, 3)),
    )


def by_name(documents: Sequence[Document]) -> list[Document]:
    return list({each["metadata"]["name"]: each for each in documents}.values())


@given(st.lists(one(), max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_show(documents: list[Document], random: object) -> None:
    documents = by_name(documents)
    mixed = [*documents, *FIXED]
    random.shuffle(mixed)  # type: ignore[attr-defined]

    one_way, other = translated(*documents, *FIXED), translated(*mixed)
    assert one_way.table == other.table
    assert (one_way.served, one_way.sets) == (other.served, other.sets)
    assert list(one_way.findings) == list(other.findings)


@given(st.lists(st.tuples(st.sampled_from("pqrs"), st.none() | one()), min_size=1, max_size=8), st.data())
def test_a_memo_does_not_show(changes: list[tuple[str, Document | None]], data: st.DataObject) -> None:
    there = known(*FIXED)
    ingresses, services, secrets = dict(there.ingresses), dict(there.services), dict(there.secrets)
    kept = dict(services), dict(secrets)
    memo = Memo()
    for name, document in changes:
        ingresses.pop(("shop", name), None)
        if document is not None:
            ingresses["shop", document["metadata"]["name"]] = view(document)
        for whole, now in zip(kept, (services, secrets), strict=True):
            for key in whole:
                match data.draw(st.integers(0, 9)):
                    case 0:
                        now.pop(key, None)
                    case 1:
                        now[key] = whole[key]
        objects = Objects(ingresses, there.classes, services, secrets, {}, there.default_certificate)
        assert build(objects, CLASS, NOW) == build(objects, CLASS, NOW, memo)


def invariants(found: Translation) -> None:
    """What emitters rely on."""
    table = found.table
    names: dict[str, int] = {}
    for listener in table.listeners:
        server_names = [name for chain in listener.chains for name in chain.server_names]
        assert len(server_names) == len(set(server_names))
        for chain in listener.chains:
            hosts = [host for each in chain.virtual_hosts for host in each.hosts]
            assert len(hosts) == len(set(hosts))
            for route in (route for each in chain.virtual_hosts for route in each.routes):
                assert names.setdefault(route.name, id(route)) == id(route) or route.name == "misdirected"
                for to in getattr(route.action, "to", ()):
                    assert to.cluster in table.clusters
            if certificate := getattr(chain.tls, "certificate", ""):
                assert certificate in table.certificates
    for key, cluster in table.clusters.items():
        assert key == cluster.name
        if members := getattr(cluster.where, "set", ""):
            assert members in found.sets


@given(st.lists(one(), max_size=5))
def test_names_are_unique_and_lead_somewhere(documents: list[Document]) -> None:
    invariants(translated(*by_name(documents), *FIXED))


PLAIN = ({}, {"backend-protocol": "GRPC"}, {"permanent-redirect": "https://x.example.com"}, {"force-ssl-redirect": "true"})


def asking(kind: str, path: str) -> list[str]:
    """What this path alone should match, if none is longer."""
    match kind:
        case "Exact":
            return [path]
        case "Prefix":
            return [path.rstrip("/") or "/", path.rstrip("/") + "/unlikely"]
    return [path + "unlikely"]


@given(st.lists(one(PLAIN), max_size=5))
def test_every_path_is_reached_or_told_about(documents: list[Document]) -> None:
    found = translated(*by_name(documents), *FIXED)
    told = {(each.about.name, each.field.removesuffix(".path").removesuffix(".backend")) for each in found.findings}
    members = {name: (Member("10.0.0.1", 80),) for name in found.sets}
    for document in by_name(documents):
        name = document["metadata"]["name"]
        for number, rule in enumerate(document["spec"]["rules"]):
            for place, path in enumerate(rule.get("http", {}).get("paths", ())):
                field = f"spec.rules[{number}].http.paths[{place}]"
                host = rule.get("host", "").replace("*", "some") or "nobody.example.org"
                wanted = f"ingress shop/{name} {field}"
                asked = [Request(host, text) for text in asking(path["pathType"], path["path"])]
                reached = [simulate(found.table, each, members).source for each in asked]
                assert wanted in reached or (name, field) in told, (reached, wanted)


texts = st.text(max_size=12) | st.text("/.*[](){}^$|?+\\\\ab0 ;\\n", max_size=12).map(lambda text: "/" + text)
hostile = st.builds(
    lambda host, kind, path, wishes: ingress(
        "web", (host, [(kind, path, "web:80")]), ("good.com", [("Prefix", "/", "web:80")]), annotations=wishes
    ),
    st.sampled_from(HOSTS) | st.text(max_size=8),
    st.sampled_from(TYPES) | st.text(max_size=3),
    texts,
    st.dictionaries(st.sampled_from(sorted(KNOWN)), texts, max_size=3),
)


@given(hostile)
def test_nothing_that_is_written_raises_or_gets_into_the_table_unread(document: Document) -> None:
    found = translated(document, *FIXED)

    invariants(found)
    for route in (route for each in found.table.listeners[0].chains[0].virtual_hosts for route in each.routes):
        path, rewrite = route.match.path, route.filters.rewrite
        assert re.fullmatch(r"/[^\x00-\x20\x7f]*", path.value)
        if path.kind is PathKind.REGEX_PREFIX:
            re2.compile(path.value)
        if isinstance(rewrite, RegexRewrite):
            named = [int(number) for number in re.findall(r"(?<!\\)\\([0-9])", rewrite.substitution)]
            assert max(named, default=0) <= re2.compile(rewrite.pattern).groups
    assert all(HOST.fullmatch(host) for each in found.table.listeners[0].chains[0].virtual_hosts for host in each.hosts)


matches = st.builds(PathMatch, st.sampled_from(list(PathKind)), st.text("/aé[", min_size=1, max_size=4))


@given(st.lists(matches, unique=True), st.randoms(use_true_random=False))
def test_precedence_orders_longer_before_shorter_and_exact_first(found: list[PathMatch], random: object) -> None:
    ordered = sorted(found, key=lambda match: precedence(match, False))
    random.shuffle(found)  # type: ignore[attr-defined]
    again = sorted(found, key=lambda match: precedence(match, False))

    assert [len(match.value) for match in ordered] == sorted((len(match.value) for match in found), reverse=True)
    unordered = (PathKind.REGEX, PathKind.REGEX_PREFIX)
    assert [each for each in ordered if each.kind not in unordered] == [each for each in again if each.kind not in unordered]
    for before, after in pairwise(ordered):
        if before.value == after.value and after.kind is PathKind.EXACT:
            assert before.kind is PathKind.EXACT


def test_a_change_costs_what_it_touches() -> None:
    """5,000 routes over 2,000 Services; processor time, so that other work on the machine does not count."""

    def web(number: int, first: int) -> Document:
        paths = [("Prefix", f"/path-{place}", f"s{(number * 10 + place + first) % 2000}:80") for place in range(10)]
        return ingress(f"i{number}", (f"h{number}.example.com", paths))

    there = known(*(web(number, 0) for number in range(500)), *(service(f"s{number}") for number in range(2000)))
    ingresses, memo = dict(there.ingresses), Memo()
    objects = Objects(ingresses, there.classes, there.services, {}, {}, there.default_certificate)
    before = process_time()
    build(objects, CLASS, NOW, memo)
    cold, changes = process_time() - before, []
    for number in range(20):
        ingresses["shop", f"i{number}"] = view(web(number, 1))
        before = process_time()
        found = build(objects, CLASS, NOW, memo)
        changes.append(process_time() - before)

    assert cold < 1.0
    assert sorted(changes)[10] < 0.05
    assert build(objects, CLASS, NOW) == found
