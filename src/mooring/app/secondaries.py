"""How does a node hand its zones to secondaries? By its settings: who may have them, and who is told of changes."""

import asyncio
import contextlib
from collections.abc import Sequence
from ipaddress import ip_network

from mooring.control.dns import ZoneKeeper
from mooring.dns.notify import Secondary
from mooring.dns.settings import DnsSettings, server
from mooring.edges.dns.notify import Notifier
from mooring.edges.dns.server import DnsServer, bind
from mooring.edges.dns.streams import Responder
from mooring.edges.dns.transfers import Transfers


def with_secondaries(
    settings: DnsSettings,
    names: ZoneKeeper,
    following: Responder,
    tasks: asyncio.TaskGroup,
    cleanup: contextlib.AsyncExitStack,
    source: str = "",
) -> Responder:
    """What answers instead of `following`: that itself, where nobody may have the zones.

    `source`: our address as secondaries know it, '' for that of the way to them.
    """
    allowed = tuple(ip_network(text) for text in settings.transfer.to)
    secondaries = [Secondary(*server("transfer.notify", text)) for text in settings.transfer.notify]
    if secondaries:
        notifier = Notifier(lambda: names.zone, secondaries, source)
        cleanup.callback(names.subscribe(lambda change: notifier.changed()))
        tasks.create_task(_tell(names, notifier), name="NOTIFY")
    if not allowed:
        return following
    transfers = Transfers(lambda: names.zone, allowed, following)
    cleanup.callback(names.subscribe(transfers.changed))
    return transfers.respond


async def listen(
    settings: DnsSettings, addresses: Sequence[str], respond: Responder, cleanup: contextlib.AsyncExitStack
) -> None:
    """Also at the node's own addresses, where somebody may have the zones: from outside nobody reaches those of the cluster's
    DNS. Raises OSError when somebody else answers there.
    """
    for address in addresses if settings.transfer.to else ():
        server = DnsServer(respond)
        await server.start(bind(address))
        cleanup.push_async_callback(server.close)


async def _tell(names: ZoneKeeper, notifier: Notifier) -> None:
    """Also of what there is at the start, once it is all there."""
    await names.wait_synced()
    await notifier.run()
