"""`mooring apiserver`: the Kubernetes API on SQLite, composed from the core, the store, the keys and the HTTP edge.

It writes nothing outside its data directory: `state.db` and `pki/`. One process, one loop, one writer thread. Listeners and
the sockets that dial kubelets may belong to another network namespace; the process itself stays where it was started.
"""

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import msgspec
import structlog
import uvloop
from msgspec import Struct

from mooring.apiserver.authorization import bootstrap
from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.handle import handle
from mooring.app.roles.housekeeping import delete_old_events, keep_history_short
from mooring.edges.http.authn import ServiceAccountTokens
from mooring.edges.http.kubelet import KubeletDialer
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.http.tls import client_context, server_context
from mooring.edges.pki import Identity, Pki
from mooring.edges.sqlite.store import SqliteStore

log = structlog.get_logger(__name__)

RENEWAL_CHECK = timedelta(hours=12)
STOP_GRACE = 8.0
"""Seconds for requests in flight at SIGTERM; the supervisor kills after ten."""


class Listen(Struct, frozen=True):
    """Where to listen: an address, a port (0: any free one) and the name of a network namespace ('': this one)."""

    host: str
    port: int
    namespace: str = ""


class Options(Struct, frozen=True):
    """`names` are DNS names and addresses to certify beyond the listeners' own and those every cluster has.

    Kubelets are dialed from the namespace named `kubelet_namespace`. `settings.token_signer` is set by `serve`.
    """

    data_dir: Path
    listen: tuple[Listen, ...] = (Listen("127.0.0.1", 6443),)
    settings: Settings = Settings()
    kubelet_namespace: str = ""
    names: tuple[str, ...] = ()


def run(options: Options) -> None:
    """`serve` in a loop of its own, until SIGTERM or SIGINT."""
    uvloop.run(serve(options))


async def serve(options: Options, ready: Callable[[Sequence[tuple[str, int]]], None] = lambda addresses: None) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight.

    `ready` is called with the (host, port) of each listener once they are served. Raises OSError (an address is taken, a
    namespace is missing), StorageError (the file is locked, damaged, or can no longer be written).
    """
    pki = Pki(options.data_dir / "pki")
    identity = pki.server(certified_names(options))
    tls = server_context(identity.path, pki.authority)
    tokens = ServiceAccountTokens(pki.service_account_key().read_bytes(), options.settings.issuer)
    settings = msgspec.structs.replace(options.settings, token_signer=tokens.sign, token_verifier=tokens.review)
    dial = KubeletDialer(client_context(pki.authority, pki.kubelet_client().path), options.kubelet_namespace)
    async with contextlib.AsyncExitStack() as cleanup:
        sockets = [cleanup.enter_context(listener(place.host, place.port, place.namespace)) for place in options.listen]
        store = await SqliteStore.open(options.data_dir / "state.db")
        cleanup.push_async_callback(store.close)
        _spare_the_collector()
        await _bootstrap(store, settings)
        server = ApiServer(handle, store, settings, tls=tls, verify=tokens.verify, dial=dial)
        cleanup.push_async_callback(server.stop, STOP_GRACE)
        await server.start(sockets)
        addresses = [_address(served) for served in sockets]
        log.info("serving", addresses=[f"{host}:{port}" for host, port in addresses], revision=store.snapshot.revision)
        ready(addresses)
        await _until_stopped(store, lambda: _renew(tls, pki, identity, options))
        log.info("stopping")


async def _bootstrap(store: SqliteStore, settings: Settings) -> None:
    """The roles and bindings that every cluster has, there before anybody may ask for anything."""
    env = Env(datetime.now(UTC), Random(), settings)
    await asyncio.gather(*map(store.commit, bootstrap.missing(store.snapshot, env)))


def certified_names(options: Options) -> tuple[str, ...]:
    """Every name and address by which clients may reach this server."""
    domain = f"kubernetes.default.svc.{options.settings.cluster_domain}"
    services = [str(ipaddress.ip_network(cidr)[1]) for cidr in options.settings.service_cidrs]
    hosts = [place.host for place in options.listen if place.host not in ("0.0.0.0", "::")]
    return (*options.names, domain, *services, *hosts, socket.gethostname())


async def _until_stopped(store: SqliteStore, renew: Callable[[], None]) -> None:
    """Keeps house until a signal comes. Raises the store's failure when it fails: only a new start can tell what is durable."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    chores = [
        asyncio.create_task(keep_history_short(store)),
        asyncio.create_task(delete_old_events(store)),
        asyncio.create_task(_renew_again(renew)),
        asyncio.create_task(store.failed()),
    ]
    waiting = asyncio.create_task(stopped.wait())
    try:
        done, _ = await asyncio.wait([waiting, *chores], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (waiting, *chores):
            task.cancel()
        await asyncio.gather(waiting, *chores, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _renew_again(renew: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(RENEWAL_CHECK.total_seconds())
        await asyncio.to_thread(renew)


def _renew(tls: ssl.SSLContext, pki: Pki, identity: Identity, options: Options) -> None:
    """Makes the certificate anew when it is near its end, and shows it to connections from now on."""
    before = identity.certificate
    if pki.server(certified_names(options)).certificate != before:
        tls.load_cert_chain(identity.path)
        log.info("server certificate renewed")


def _address(listening: socket.socket) -> tuple[str, int]:
    host, port = listening.getsockname()[:2]
    return host, port


def _spare_the_collector() -> None:
    """Records hold no cycles, so the cyclic collector need not look at what was loaded, nor often at what comes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
