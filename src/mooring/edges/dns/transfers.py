"""Who answers a secondary? Takes transfers out of the questions, and keeps each zone's journal while there are secondaries."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable

import structlog

from mooring.dns.journal import Journal, serial_of
from mooring.dns.keepalive import keepalive
from mooring.dns.layout import layout
from mooring.dns.names import Name, to_text
from mooring.dns.owners import Change, Given, apex_soa, apexes, changed, whole, zone_owners
from mooring.dns.records import Query, Transport, Type
from mooring.dns.transfer import Ranges, is_transfer, refused, replies
from mooring.dns.wire import NoReply, Refusal, read, refusal, write
from mooring.dns.zone import Zone, giver_of
from mooring.edges.dns.streams import Limits, Replies, Responder

log = structlog.get_logger("dns")

AT_ONCE = 8
"""Transfers that are under way; more wait."""
IN_ONE_GO = 500
"""Names that are taken down before others' questions have their turn: some 10 ms."""


class Transfers:
    """`respond` is a Responder before another one, `following`, which answers all that is no transfer.

    `changed` must be told of every change, as soon as `zone` has it. Before the first transfer nothing is held.
    """

    def __init__(self, zone: Callable[[], Zone], allowed: Ranges, following: Responder, limits: Limits | None = None) -> None:
        self._zone, self._allowed, self._following = zone, allowed, following
        self._idle = (limits or Limits()).idle
        self._journals: dict[Name, Journal] = {}
        self._complete = False
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._first = asyncio.Lock()

    def changed(self, change: Change) -> None:
        """An object gives something else than before."""
        if self._journals:
            self._note(changed(self._zone(), change))

    async def respond(self, message: bytes, client: str, transport: Transport) -> Replies:
        if not is_transfer(message):
            return await self._following(message, client, transport)
        try:
            query = read(message, client, transport)
        except NoReply:
            return None
        except Refusal as wrong:
            return refusal(message, wrong.rcode)
        reply = refused(query, self._zone(), self._allowed)
        if reply is not None:
            return write(query, reply, keepalive(query, self._idle))
        if transport is Transport.UDP:
            return write(query, next(replies(query, await self._journal(query.question.name.lower()))))
        return self._stream(query)

    async def _stream(self, query: Query) -> AsyncGenerator[bytes, None]:
        async with self._turns:
            options = keepalive(query, self._idle)
            journal = await self._journal(query.question.name.lower())
            serial = serial_of(journal.soa)
            for reply in replies(query, journal):
                yield write(query, reply, options)
                # Others' questions come in between, also when this client takes all at once.
                await asyncio.sleep(0)
            words = {"zone": to_text(query.question.name), "to": query.client, "had": query.serial, "has": serial}
            log.info("a zone was transferred", kind=Type(query.question.type).name, **words)

    async def _journal(self, apex: Name) -> Journal:
        """As the zone is now."""
        async with self._first:
            if not self._complete:
                await self._fill()
        journal = self._journals[apex]
        journal.close(apex_soa(self._zone(), apex))
        return journal

    async def _fill(self) -> None:
        """Takes down all that there is. Questions come in between, and changes too: what is noted of a name is always what it
        has now, and an object whose turn is still to come is taken as it is then.
        """
        zone = self._zone()
        self._journals = {apex: Journal(apex_soa(zone, apex)) for apex in apexes(zone.options)}
        own = zone_owners(zone)
        self._note((name, whole(zone, name) if given.shared else given) for name, given in own.items())
        count = 0
        for key, source in tuple(zone.sources()):
            zone = self._zone()
            names = tuple(changed(zone, Change(key, None, zone.source(giver_of(key, source)))))
            self._note(names)
            count += len(names)
            if count > IN_ONE_GO:
                count = 0
                await asyncio.sleep(0)
        for apex, journal in self._journals.items():
            journal.begin(apex_soa(self._zone(), apex))
        self._complete = True

    def _note(self, names: Iterable[tuple[Name, Given | None]]) -> None:
        within = layout(self._zone().options)
        for name, given in names:
            apex = within.apex(name)
            if apex is not None:
                self._journals[apex].change(name, given.rrsets if given is not None else ())
