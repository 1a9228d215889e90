"""How does a question get through the chain? What the handlers ask for is carried out, and every question has its reply.

Each question's steps are driven in its own task. Work beside (the same question of several clients, prefetching, probes of
servers that are down) runs in tasks of the resolver, each key once. What breaks costs its own question a SERVFAIL and a line in
the log.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable
from random import Random
from time import monotonic, time

import structlog
from msgspec import Struct
from msgspec.structs import replace

from mooring.alloc.rng import Rng
from mooring.dns import cookies, wire
from mooring.dns.chain import Beside, Context, Exchange, Heard, Next, Pause, Sent, Steps
from mooring.dns.keepalive import keepalive
from mooring.dns.names import to_text
from mooring.dns.records import Opcode, Query, Rcode, Record, Reply, Transport, Type
from mooring.dns.wording import kind_text

log = structlog.get_logger("dns")

OUTSTANDING = 1000
"""Questions that wait for the outside at once; one more is answered with SERVFAIL."""
BESIDE = 2000
"""Tasks beside them; what would be one more is done in the question's own, or left."""

IDLE = 10.0
"""Seconds that clients are told they may keep a connection idle (RFC 7828); what the streams grant."""

Exchanger = Callable[[Exchange], Awaitable[Heard]]


class Settled(Struct, frozen=True):
    """What came of one question, and how: for the query log, metrics and the tracer."""

    query: Query
    reply: Reply
    context: Context
    seconds: float


class Resolver:
    """`head`: the chain that clients meet. `whole`: the part of it that an alias's target passes again. `secret`: for cookies.

    `settled` is told of each reply.
    """

    def __init__(
        self,
        head: Next,
        whole: Next,
        exchange: Exchanger,
        secret: bytes,
        settled: Callable[[Settled], None] = lambda _: None,
        rng: Rng | None = None,
    ) -> None:
        self._head, self._whole, self._exchange, self._secret, self._settled = head, whole, exchange, secret, settled
        self._rng = rng or Random()
        self._beside: dict[Hashable, asyncio.Task[Reply]] = {}
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Questions that wait for the outside now."""
        return self._waiting

    async def respond(self, message: bytes, client: str, transport: Transport) -> bytes | None:
        """The reply's octets, None when none is due. Never raises but for cancellation."""
        try:
            query = wire.read(message, client, transport)
            options = (*cookies.reply_option(query, self._secret, int(time())), *keepalive(query, IDLE))
        except wire.NoReply:
            return None
        except wire.Refusal as refusal:
            return wire.refusal(message, refusal.rcode)
        except cookies.BadCookie:
            return wire.refusal(message, Rcode.FORMERR)
        try:
            return wire.write(query, await self.resolve(query), options)
        except Exception:
            log.exception("no answer", message=message[:512].hex())
            return wire.refusal(message, Rcode.SERVFAIL)

    async def resolve(self, query: Query) -> Reply:
        """The whole chain's reply, as the client is due it."""
        context = Context(monotonic(), [], self._whole)
        start = context.now
        reply = self._finished(query, await self._reply(query, context))
        self._settled(Settled(query, reply, context, monotonic() - start))
        return reply

    async def _reply(self, query: Query, context: Context) -> Reply:
        if query.edns is not None and query.edns.version:
            return Reply(Rcode.BADVERS)
        if query.opcode != Opcode.QUERY:
            return Reply(Rcode.NOTIMP)
        try:
            return await self.run(self._head(query, context), context, bounded=True)
        except Exception:
            log.exception("a handler broke", name=to_text(query.question.name), type=kind_text(query.question.type))
            return Reply(Rcode.SERVFAIL)

    def _finished(self, query: Query, reply: Reply) -> Reply:
        """RA, AD where it was asked for (RFC 6840 section 5.7), and addresses in turn so that clients spread.

        An rcode that needs EDNS0 would be another one to a client without.
        """
        if reply.rcode > 15 and query.edns is None:
            return Reply(Rcode.SERVFAIL, recursion_available=True)
        wants_ad = query.authentic_data or (query.edns is not None and query.edns.dnssec_ok)
        answer = self._turned(reply.answer) if len(reply.answer) > 1 else reply.answer
        return replace(reply, answer=answer, recursion_available=True, authentic_data=reply.authentic_data and wants_ad)

    def _turned(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """Addresses in any order, in the places where addresses are."""
        places = [at for at, each in enumerate(records) if each.type in (Type.A, Type.AAAA)]
        by = self._rng.randrange(len(places)) if len(places) > 1 else 0
        turned = list(records)
        for at, taken in zip(places, places[by:] + places[:by], strict=True):
            turned[at] = records[taken]
        return tuple(turned)

    async def run(self, steps: Steps, context: Context, *, bounded: bool = False) -> Reply:
        """Drives one chain of steps to its reply. `bounded`: it counts among those that wait."""
        waits = False
        sent: Sent = None
        try:
            while True:
                try:
                    effect = steps.send(sent)
                except StopIteration as done:
                    reply: Reply = done.value
                    return reply
                if bounded and not waits and not (isinstance(effect, Beside) and effect.wait == 0):
                    if self._waiting >= OUTSTANDING:
                        context.note("resolver", "failed", f"{OUTSTANDING} questions wait already")
                        return Reply(Rcode.SERVFAIL)
                    waits = True
                    self._waiting += 1
                sent = await self._carry_out(effect)
                context.now = monotonic()
        finally:
            self._waiting -= waits
            steps.close()

    async def _carry_out(self, effect: Exchange | Beside | Pause) -> Sent:
        match effect:
            case Exchange():
                return await self._exchange(effect)
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case Beside():
                return await self._by_side(effect)

    async def _by_side(self, effect: Beside) -> Reply | None:
        task = self._beside.get(effect.key) if effect.key is not None else None
        if task is not None:
            effect.steps.close()
        elif len(self._beside) >= BESIDE and not effect.needed:
            return await self.run(effect.steps, effect.context) if effect.wait else None
        else:
            task = self._started(effect)
        if not effect.wait:
            return None
        await asyncio.wait({task}, timeout=effect.wait if effect.wait < float("inf") else None)
        return task.result() if task.done() and not task.cancelled() and task.exception() is None else None

    def _started(self, effect: Beside) -> asyncio.Task[Reply]:
        key = effect.key if effect.key is not None else object()
        task = self._beside[key] = asyncio.create_task(self.run(effect.steps, effect.context))
        task.add_done_callback(lambda done: self._ended(key, done))
        return task

    def _ended(self, key: Hashable, task: asyncio.Task[Reply]) -> None:
        self._beside.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a handler broke", exc_info=error, work=str(key))

    async def close(self) -> None:
        """Ends all work beside."""
        tasks = list(self._beside.values())
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
