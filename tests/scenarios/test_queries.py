"""Is every question of a scenario answered as a person wrote down? By simulator, table, and a real server over UDP and TCP."""

from collections.abc import Sequence
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rdatatype
import pytest
from tests.dns.dns_tables import LOOPBACK, question, table

from mooring.app.resolver import ResolverOptions, resolver
from mooring.dns.names import Name, to_text
from mooring.dns.owners import Asks, Owners, everything
from mooring.dns.records import Record
from mooring.dns.table_answer import ASK, TableReader
from mooring.edges.dns.server import DnsServer, bind
from mooring.testing.queries import Ask, Questions, find_questions, simulated, words, zone_text

SCENARIOS = find_questions(Path(__file__).parent)
ASKS = [pytest.param(each, ask, id=f"{each.title}: {ask.line}") for each in SCENARIOS for ask in each.asks]
TITLES = [pytest.param(each, id=each.title) for each in SCENARIOS]
PATIENCE = 30
"""Seconds; each question waits for its answer alone."""


@pytest.mark.parametrize(("scenario", "ask"), ASKS)
def test_the_simulator_gives_the_written_answer(scenario: Questions, ask: Ask) -> None:
    assert simulated(scenario.zone, ask.question) == ask.expected


@pytest.mark.parametrize("scenario", TITLES)
def test_the_compiled_table_gives_the_written_answers_or_leaves_them_to_the_agent(scenario: Questions) -> None:
    reader, given = TableReader(table(scenario.zone)), dict(everything(scenario.zone))
    for ask in scenario.asks:
        reply = reader.answer(question(ask.question.name, ask.question.type, payload=1232), LOOPBACK).reply
        assert (reply == ASK) is _asks(given, ask.question.name.lower()), ask.line
        if isinstance(reply, bytes):
            assert _words(dns.message.from_wire(reply)) == ask.expected, ask.line


@pytest.mark.parametrize("scenario", TITLES)
async def test_a_real_server_gives_the_written_answers_over_udp_and_tcp(scenario: Questions) -> None:
    node = resolver(ResolverOptions(ranges=("127.0.0.0/8",)), lambda: scenario.zone)
    server, sockets = DnsServer(node.resolver.respond), bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    await server.start(sockets)
    try:
        for ask in scenario.asks:
            query = dns.message.make_query(to_text(ask.question.name) + ".", ask.question.type, use_edns=0, payload=1232)
            over_udp = await dns.asyncquery.udp(query, "127.0.0.1", PATIENCE, port)
            over_tcp = await dns.asyncquery.tcp(query, "127.0.0.1", PATIENCE, port)
            assert (_words(over_udp), _words(over_tcp)) == (ask.expected, ask.expected), ask.line
            assert over_udp.question == over_tcp.question == query.question
    finally:
        await server.close()
        await node.close()


@pytest.mark.parametrize("scenario", TITLES)
def test_the_zone_is_as_last_reviewed(scenario: Questions, bless: bool) -> None:
    path, text = scenario.folder / "zone.txt", zone_text(scenario.zone)
    if bless:
        path.write_text(text)
    assert path.read_text() == text, "read the difference, then `make bless`"


def _words(message: dns.message.Message) -> Sequence[str]:
    assert not message.flags & dns.flags.TC
    return words(
        message.rcode(),
        [
            Record(b"\0", int(rrset.rdtype), rrset.ttl, data.to_wire())
            for rrset in message.answer
            for data in rrset
            if rrset.rdtype != dns.rdatatype.OPT
        ],
    )


def _asks(given: Owners, name: Name) -> bool:
    """Whether the table may not know: an alias, names made up on demand, names elsewhere."""
    if name in given:
        return bool(given[name].asks & Asks.SELF)
    while name[0]:
        name = name[1 + name[0] :]
        if name in given:
            return bool(given[name].asks & Asks.BELOW)
    return True
