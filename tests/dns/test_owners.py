"""Do the names, enumerated, say what `answer` says of each? And does a change touch all that it must?"""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.dns.random_zones import ingresses, keys, near, options, services, zones

from mooring.dns.answer import Reason, answer
from mooring.dns.layout import layout, parents
from mooring.dns.names import Name
from mooring.dns.owners import Asks, Change, Given, Owners, apex_soa, apexes, changed, everything, owners, visible
from mooring.dns.records import Question, Rcode, Record, Type
from mooring.dns.shared import SharedNames, index
from mooring.dns.zone import PublishedIngress, Source, Zone, ZoneOptions
from mooring.services.names import PublishedService

TYPES = (Type.A, Type.AAAA, Type.SRV, Type.PTR, Type.CNAME, Type.TXT, Type.SOA, Type.NS, 99)
ASK = "ask the agent"
Said = tuple[Rcode, frozenset[Record], frozenset[Record], tuple[Record, ...]] | str
"""The answer, the additional and the authority section."""


def looked_up(zone: Zone, table: Owners, question: Question) -> Said:
    """As whoever has nothing but the enumeration answers."""
    name = question.name.lower()
    apex = next((each for each in (name, *parents(name)) if each in apexes(zone.options)), None)
    if apex is None:
        return "elsewhere"
    here = table.get(name)
    negative = frozenset[Record](), frozenset[Record](), (apex_soa(zone, apex),)
    if here is None:
        encloser = next(table[each] for each in parents(name) if each in table)
        return ASK if encloser.asks & Asks.BELOW else (Rcode.NXDOMAIN, *negative)
    if here.asks & Asks.SELF:
        return ASK
    found = next((each for each in here.rrsets if each.type == question.type), None)
    if found is None:
        return (Rcode.NOERROR, *negative)
    return Rcode.NOERROR, frozenset(found.records(question.name)), frozenset(found.additional), ()


def answered(zone: Zone, question: Question) -> Said:
    found = answer(zone, question)
    if found.reason is Reason.ELSEWHERE:
        return "elsewhere"
    reply = found.reply
    assert len(set(reply.answer)) == len(reply.answer)
    return Rcode(reply.rcode), frozenset(reply.answer), frozenset(reply.additional), reply.authority


@given(zones(), st.randoms(use_true_random=False))
def test_every_name_and_those_near_it_are_answered_as_the_enumeration_says(zone: Zone, rng: Random) -> None:
    zone = structs.replace(zone, shared=index(zone))
    table = dict(everything(zone))
    for name in [*table, *(each for known in rng.sample(sorted(table), min(len(table), 8)) for each in near(known))]:
        for kind in TYPES:
            question = Question(name, kind)
            expected, found = looked_up(zone, table, question), answered(zone, question)
            if expected != ASK:
                assert found == expected, question
            elif (here := table.get(name.lower())) is not None:
                assert _alias(found) == {each.data[0] for each in here.rrsets if each.type == Type.CNAME}, question


def _alias(said: Said) -> set[bytes]:
    assert not isinstance(said, str)
    return {record.data for record in said[1]}


@given(zones())
def test_every_name_comes_once(zone: Zone) -> None:
    names = [name for name, _ in everything(zone)]
    assert sorted(names) == sorted(set(names))


@given(zones())
def test_every_name_stands_below_names_that_are_there(zone: Zone) -> None:
    table = dict(everything(zone))
    within = layout(zone.options)
    for name in table:
        if name not in within.apexes:
            assert name[1 + name[0] :] in table


@given(zones(), keys, services | st.none(), ingresses | st.none())
def test_what_a_change_touches_makes_the_old_enumeration_the_new(
    zone: Zone, key: tuple[str, str], service: PublishedService | None, ingress: PublishedIngress | None
) -> None:
    zone = structs.replace(zone, shared=index(zone), namespaces=zone.namespaces | {key[0]})
    assert isinstance(zone.shared, SharedNames)
    zone = structs.replace(zone, shared=index(zone))
    table = dict(everything(zone))
    for field, after in (("services", service), ("ingresses", ingress)):
        held: dict[tuple[str, str], Source] = dict(getattr(zone, field))
        before = held.pop(key, None)
        if after is not None:
            held[key] = after
        zone = structs.replace(zone, **{field: held})
        assert isinstance(zone.shared, SharedNames)
        zone.shared.change(key, before, after)
        _apply(table, zone, Change(key, before, after))
        assert table == dict(everything(structs.replace(zone, shared=None)))


def _apply(table: dict[Name, Given], zone: Zone, change: Change) -> None:
    for name, now in changed(zone, change):
        if now is None:
            del table[name]
        else:
            table[name] = now


@given(options, keys, services, services)
def test_what_looks_the_same_gives_the_same(
    chosen: ZoneOptions, key: tuple[str, str], one: PublishedService, other: PublishedService
) -> None:
    for first, second in ((one, other), (one, None), (structs.replace(one, external=other.external), one)):
        if visible(chosen, first) == visible(chosen, second):
            assert owners(chosen, key, first) == owners(chosen, key, second)
