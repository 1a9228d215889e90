"""How do secondaries hear of changes? Sends NOTIFY over UDP as `dns.notify` decides, and listens for the answers."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence

import structlog

from mooring.dns.names import Name
from mooring.dns.notify import Notice, Secondary, answered, changed, message, sent
from mooring.dns.owners import apex_soa, apexes
from mooring.dns.zone import Zone

log = structlog.get_logger("dns")


class Notifier:
    """Tells every secondary of every zone of ours, each apart. `source`: our address in their eyes, where it matters."""

    def __init__(self, zone: Callable[[], Zone], secondaries: Sequence[Secondary], source: str = "") -> None:
        self._zone, self._secondaries, self._source = zone, tuple(secondaries), source
        self._notices: dict[tuple[Secondary, Name], Notice] = {}
        self._transports: dict[Secondary, asyncio.DatagramTransport] = {}
        self._woken = asyncio.Event()

    def changed(self) -> None:
        """The zone has another serial, or is known at all since now."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        self._woken.set()
        try:
            while self._secondaries:
                if self._woken.is_set():
                    self._woken.clear()
                    self._look(loop.time())
                await self._tell(loop.time())
                await self._wait()
        finally:
            for transport in self._transports.values():
                transport.close()

    def _look(self, now: float) -> None:
        """A zone that is not yet whole is nobody's business."""
        zone = self._zone()
        if not zone.synced:
            return
        for apex in apexes(zone.options):
            soa = apex_soa(zone, apex)
            for secondary in self._secondaries:
                notice = self._notices.get((secondary, apex))
                self._notices[secondary, apex] = Notice(soa) if notice is None else changed(notice, soa, now)

    async def _tell(self, now: float) -> None:
        for (secondary, apex), notice in tuple(self._notices.items()):
            if notice.at > now:
                continue
            self._notices[secondary, apex] = notice = sent(notice, secrets.randbelow(1 << 16), now)
            try:
                (await self._transport(secondary)).sendto(message(notice))
            except (OSError, ValueError) as error:  # ValueError: the source is of another family
                log.warning("a secondary cannot be told", secondary=secondary.address, error=str(error), tries=notice.tries)

    async def _wait(self) -> None:
        until = min((notice.at for notice in self._notices.values()), default=float("inf"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until if until < float("inf") else None):
                await self._woken.wait()

    async def _transport(self, secondary: Secondary) -> asyncio.DatagramTransport:
        """Connected, so that only the secondary's own answers arrive. Raises OSError: no way there."""
        transport = self._transports.get(secondary)
        if transport is None or transport.is_closing():
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Answers(lambda data: self._answered(secondary, data)),
                local_addr=(self._source, 0) if self._source else None,
                remote_addr=(secondary.address, secondary.port),
            )
            self._transports[secondary] = transport
        return transport

    def _answered(self, secondary: Secondary, data: bytes) -> None:
        for key, notice in self._notices.items():
            if key[0] == secondary:
                self._notices[key] = answered(notice, data)
        # What had to wait for this answer may be due before what the loop waits for.
        self._woken.set()


class _Answers(asyncio.DatagramProtocol):
    """Errors (nobody listens there) are as good as silence."""

    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._heard(data)
