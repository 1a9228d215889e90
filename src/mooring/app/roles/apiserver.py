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
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import structlog
import uvloop
from msgspec import Struct

from mooring.apiserver.audit import Policy
from mooring.apiserver.authorization import bootstrap
from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.handle import handle, refusal
from mooring.app.roles.housekeeping import delete_old_events, keep_history_short
from mooring.app.roles.serving_keys import ServingKeys
from mooring.edges.http.audit import AuditLog
from mooring.edges.http.auditing import Auditing
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.http.webhooks import Webhooks
from mooring.edges.pki import Pki
from mooring.edges.sqlite.store import SqliteStore

log = structlog.get_logger(__name__)

STOP_GRACE = 8.0
"""Seconds for requests in flight at SIGTERM; the supervisor kills after ten."""


class Listen(Struct, frozen=True):
    """Where to listen: an address, a port (0: any free one) and the name of a network namespace ('': this one)."""

    host: str
    port: int
    namespace: str = ""


class Audit(Struct, frozen=True):
    """What is written down, and where: upstream's --audit-log-path, -maxsize (megabytes) and -maxbackup."""

    policy: Policy
    path: Path
    max_size: int = 100
    backups: int = 10


class Options(Struct, frozen=True):
    """`names` are DNS names and addresses to certify beyond the listeners' own and those every cluster has.

    Kubelets are dialed from the namespace named `kubelet_namespace`. What `settings` says of tokens is set by `serve`.
    """

    data_dir: Path
    listen: tuple[Listen, ...] = (Listen("127.0.0.1", 6443),)
    settings: Settings = Settings()
    kubelet_namespace: str = ""
    names: tuple[str, ...] = ()
    audit: Audit | None = None


def run(options: Options) -> None:
    """`serve` in a loop of its own, until SIGTERM or SIGINT."""
    uvloop.run(serve(options))


async def serve(options: Options, ready: Callable[[Sequence[tuple[str, int]]], None] = lambda addresses: None) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight.

    `ready` is called with the (host, port) of each listener once they are served. Raises OSError (an address is taken, a
    namespace is missing), StorageError (the file is locked, damaged, or can no longer be written).
    """
    pki = Pki(options.data_dir / "pki")
    keys = ServingKeys(pki, certified_names(options), options.settings.issuer, options.kubelet_namespace)
    settings, verify = keys.settings(options.settings), keys.tokens.verify
    async with contextlib.AsyncExitStack() as cleanup:
        sockets = [cleanup.enter_context(listener(place.host, place.port, place.namespace)) for place in options.listen]
        store = await SqliteStore.open(options.data_dir / "state.db")
        cleanup.push_async_callback(store.close)
        _spare_the_collector()
        await _bootstrap(store, settings)
        auditing = _auditing(options.audit, cleanup) if options.audit else None
        ask = Webhooks(options.kubelet_namespace)
        tls = keys.tls.context
        server = ApiServer(
            handle, store, settings, tls=tls, verify=verify, dial=keys.dial, inquire=ask, auditing=auditing, refuse=refusal
        )
        keys.renounce = server.renounce
        cleanup.push_async_callback(server.stop, STOP_GRACE)
        await server.start(sockets)
        addresses = [_address(served) for served in sockets]
        log.info("serving", addresses=[f"{host}:{port}" for host, port in addresses], revision=store.snapshot.revision)
        ready(addresses)
        await _until_stopped(store, keys)
        log.info("stopping")


def _auditing(audit: Audit, cleanup: contextlib.AsyncExitStack) -> Auditing:
    file = AuditLog(audit.path, audit.max_size, audit.backups)
    cleanup.callback(file.close)
    return Auditing(audit.policy, file, lambda: datetime.now(UTC))


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


async def _until_stopped(store: SqliteStore, keys: ServingKeys) -> None:
    """Keeps house until a signal comes. Raises the store's failure when it fails: only a new start can tell what is durable."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    chores = [
        asyncio.create_task(keep_history_short(store)),
        asyncio.create_task(delete_old_events(store)),
        asyncio.create_task(keys.follow()),
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


def _address(listening: socket.socket) -> tuple[str, int]:
    host, port = listening.getsockname()[:2]
    return host, port


def _spare_the_collector() -> None:
    """Records hold no cycles, so the cyclic collector need not look at what was loaded, nor often at what comes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
