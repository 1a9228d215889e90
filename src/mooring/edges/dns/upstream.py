"""How is another server asked? Over UDP from a fresh random port each time, over TCP or TLS by connections that are kept.

Never raises: what went wrong is in the Heard.
"""

import asyncio
import contextlib
import errno
import ssl
from collections import Counter, defaultdict
from secrets import randbelow
from time import monotonic

from mooring.dns.chain import Exchange, Heard, Upstream
from mooring.dns.records import Query, Reply
from mooring.dns.upstream import Malformed, NotOurs, Sent, believed

STRANGERS = 64
"""Datagrams that are not the awaited reply, after which somebody is guessing and the question is given up."""
IDLE_CONNECTIONS = 8
"""Kept for each server."""
EXPIRE = 10.0
"""Seconds that an idle connection is kept (CoreDNS's `expire`)."""
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT}
_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Upstreams:
    """`counts`: connections taken from those kept, and made, by server and protocol; datagrams that were not believed."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self._idle: defaultdict[Upstream, list[tuple[float, _Stream]]] = defaultdict(list)
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def exchange(self, effect: Exchange) -> Heard:
        """Carries out one Exchange within its timeout."""
        start, error, useless, ours = monotonic(), "", False, False
        try:
            async with asyncio.timeout(effect.timeout):
                return Heard(await self._reply(effect), monotonic() - start)
        except TimeoutError:
            error = f"nothing within {effect.timeout:.1f} s"
        except Malformed as wrong:
            error = f"malformed: {wrong}"
        except (OSError, EOFError, ValueError) as wrong:
            error = str(wrong) or type(wrong).__name__
            useless = isinstance(wrong, OSError) and wrong.errno in _NO_WAY
            ours = isinstance(wrong, OSError) and wrong.errno in _OURS
        return Heard(None, monotonic() - start, error, useless, ours)

    async def close(self) -> None:
        for kept in self._idle.values():
            for _, (_, writer) in kept:
                writer.transport.abort()
        self._idle.clear()

    async def _reply(self, effect: Exchange) -> Reply:
        upstream = effect.upstream
        if upstream.tls_name or effect.tcp:
            return await self._by_stream(upstream, effect.query)
        reply = await self._by_datagram(upstream, effect.query)
        if not reply.truncated:
            return reply
        try:
            # Where TCP is swallowed there is still an answer: that it was cut off.
            async with asyncio.timeout(effect.timeout / 2):
                return await self._by_stream(upstream, effect.query)
        except (OSError, EOFError):
            return reply

    async def _by_datagram(self, upstream: Upstream, query: Query) -> Reply:
        loop = asyncio.get_running_loop()
        sent = Sent(query, randbelow(1 << 16))
        transport, waiting = await loop.create_datagram_endpoint(
            lambda: _Waiting(sent, loop.create_future()), remote_addr=(upstream.address, upstream.port)
        )
        try:
            transport.sendto(sent.octets())
            return await waiting.reply
        finally:
            self.counts["strangers", str(upstream), "udp"] += waiting.strangers
            transport.abort()

    async def _by_stream(self, upstream: Upstream, query: Query) -> Reply:
        """By a kept connection first: the server may have closed it meanwhile, then by a new one."""
        protocol = "tcp-tls" if upstream.tls_name else "tcp"
        while (kept := self._take(upstream)) is not None:
            self.counts["hits", str(upstream), protocol] += 1
            try:
                return await self._converse(upstream, kept, query)
            except (OSError, EOFError):
                continue
            except asyncio.CancelledError:
                # Silent: so are the others, most likely, and the next try is to begin anew.
                for _, (_, writer) in self._idle.pop(upstream, ()):
                    writer.transport.abort()
                raise
        self.counts["misses", str(upstream), protocol] += 1
        tls = self._context(upstream.authority) if upstream.tls_name else None
        stream = await asyncio.open_connection(
            upstream.address, upstream.port, ssl=tls, server_hostname=upstream.tls_name or None
        )
        return await self._converse(upstream, stream, query)

    async def _converse(self, upstream: Upstream, stream: _Stream, query: Query) -> Reply:
        reader, writer = stream
        sent = Sent(query, randbelow(1 << 16))
        octets = sent.octets()
        try:
            writer.write(len(octets).to_bytes(2, "big") + octets)
            for _ in range(STRANGERS):
                message = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                with contextlib.suppress(NotOurs):
                    reply = believed(message, sent)
                    self._keep(upstream, stream)
                    return reply
            raise Malformed("other replies than to our question")
        except BaseException:
            writer.transport.abort()
            raise

    def _take(self, upstream: Upstream) -> _Stream | None:
        kept = self._idle[upstream]
        while kept:
            until, stream = kept.pop()
            if until > monotonic() and not stream[0].at_eof() and not stream[1].is_closing():
                return stream
            stream[1].transport.abort()
        return None

    def _keep(self, upstream: Upstream, stream: _Stream) -> None:
        kept = self._idle[upstream]
        while kept and (len(kept) >= IDLE_CONNECTIONS or kept[0][0] < monotonic()):
            kept.pop(0)[1][1].transport.abort()
        kept.append((monotonic() + EXPIRE, stream))

    def _context(self, authority: str) -> ssl.SSLContext:
        if authority not in self._contexts:
            self._contexts[authority] = ssl.create_default_context(cafile=authority or None)
        return self._contexts[authority]


class _Waiting(asyncio.DatagramProtocol):
    """For the one datagram that is believed."""

    def __init__(self, sent: Sent, reply: asyncio.Future[Reply]) -> None:
        self._sent, self.reply, self.strangers = sent, reply, 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.reply.done():
            return
        try:
            self.reply.set_result(believed(data, self._sent))
        except NotOurs:
            self.strangers += 1
            if self.strangers > STRANGERS:
                self.reply.set_exception(Malformed(f"{self.strangers} replies to other questions"))
        except Malformed as wrong:
            self.reply.set_exception(wrong)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: nobody listens there."""
        if not self.reply.done():
            self.reply.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.reply.done():
            self.reply.cancel()
