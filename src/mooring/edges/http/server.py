"""How does the API server's core meet the network?

An HTTPS server on asyncio transports and httptools, without a framework: those cost half the throughput. It accepts, keeps
peers to their time, and stops in order; each connection's requests are answered by server_exchange.Exchange.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Sequence

from mooring.apiserver.contract import Settings
from mooring.edges.http.auditing import Auditing
from mooring.edges.http.authn import Verify
from mooring.edges.http.server_connection import Connection, Patience
from mooring.edges.http.server_exchange import Exchange, Handle, Refuse
from mooring.edges.http.server_metrics import Metrics
from mooring.edges.http.server_parser import MAX_STRANGERS, Room
from mooring.edges.http.server_proxy import Dial
from mooring.edges.http.server_watch import Hub
from mooring.edges.http.webhooks import Inquire
from mooring.ports.store import Store

HANDSHAKE_TIMEOUT = 10.0


class ApiServer:
    """`start`, then `stop`. Sockets are given, listening already, so that one may live in another network namespace."""

    def __init__(
        self,
        handle: Handle,
        store: Store,
        settings: Settings,
        *,
        tls: ssl.SSLContext | None,
        verify: Verify | None = None,
        dial: Dial | None = None,
        patience: Patience | None = None,
        inquire: Inquire | None = None,
        auditing: Auditing | None = None,
        refuse: Refuse | None = None,
    ) -> None:
        """`tls` None serves plain HTTP. Without `verify` no bearer token is good; without `dial` no kubelet is reached, without
        `inquire` no webhook; without `auditing` nothing is written down, without `refuse` nobody is refused before the body."""
        self._tls, self._settings, self._patience = tls, settings, patience or Patience()
        self._room = Room()
        self._strangers = Room(MAX_STRANGERS, self._room)
        self._hub = Hub(store, inquire)
        self.metrics = Metrics(lambda: self._hub.watchers, lambda: store.snapshot.revision)
        self._exchange = Exchange(
            handle, store, settings, verify, dial, self._hub, self.metrics, inquire, auditing, refuse, self._room
        )
        self._live: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._enforcing: asyncio.Task[None] | None = None
        self._trusted: Callable[[bytes], bool] = lambda certificate: True

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serves on listening sockets, which are the server's from now on."""
        loop = asyncio.get_running_loop()
        timeout = HANDSHAKE_TIMEOUT if self._tls else None
        for listening in sockets:
            listening.setblocking(False)
            self._servers.append(
                await loop.create_server(
                    self._accept, sock=listening, ssl=self._tls, ssl_handshake_timeout=timeout, backlog=1024
                )
            )
        self._enforcing = asyncio.create_task(self._enforce())

    async def stop(self, grace: float = 10.0) -> None:
        """Accepts nothing more, ends watches, finishes what is being answered within `grace` seconds, drops the rest."""
        for server in self._servers:
            server.close()
        self._hub.end()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while self._live:
                    for connection in tuple(self._live):  # again: a handshake under way may end meanwhile
                        connection.drain()
                    await asyncio.sleep(0.01)
        for connection in tuple(self._live):
            connection.abort()
        if self._enforcing:
            self._enforcing.cancel()

    def renounce(self, trusted: Callable[[bytes], bool]) -> None:
        """Ends connections whose client's certificate (DER) is trusted no more; again when handshakes under way are over, by
        what is trusted then."""
        self._trusted = trusted
        self._end_renounced()
        asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, self._end_renounced)

    def _end_renounced(self) -> None:
        for connection in tuple(self._live):
            connection.leave_unless(self._trusted)

    def _accept(self) -> Connection:
        exchange, limit = self._exchange, self._settings.max_body
        return Connection(exchange.serve, self._live, limit, self._patience, self._room, self._strangers, exchange.judge)

    async def _enforce(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1 if self._patience.head > 2 else 0.05)
            for connection in tuple(self._live):
                connection.enforce(loop.time())
