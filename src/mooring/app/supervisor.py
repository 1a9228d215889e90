"""What does `mooring up` do once everything it needs is there? Starts the roles, says when they are ready, keeps them
running.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial

from mooring.app import cluster, identities, readiness
from mooring.app.aside import aside
from mooring.app.connection import Connection
from mooring.app.files import Files, Running
from mooring.app.outside_routes import OutsideRoutes
from mooring.app.pod_routes import follow_routes
from mooring.app.process import Role, keep_running, rotate
from mooring.app.progress import Step, Tell
from mooring.app.resolver import load
from mooring.app.roles.node_names import default_workers
from mooring.app.roles.serving_keys import RENEWAL_CHECK
from mooring.app.settings import Settings
from mooring.edges import cgroups
from mooring.edges.dns.server import bind
from mooring.edges.http import kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.edges.http.renewal import again_and_again
from mooring.edges.netlink import namespaces

TRIES = 3
"""A role that dies this often before the cluster was ever ready will not come up by itself."""
LAST_WORDS = 5
"""Lines of a role's log that are shown when it would not start."""


class NeverReady(Exception):
    """The cluster did not come up; the message ends with the last words of the role at fault, where one is known."""


class Supervisor:
    """One life of a cluster, from its first process to its last."""

    def __init__(self, settings: Settings, files: Files, running: Running, tell: Tell) -> None:
        self._settings, self._files, self._running, self._tell = settings, files, running, tell
        self._group = cgroups.subtree(settings.name)
        self._deaths: Counter[str] = Counter()
        self._hopeless = asyncio.Event()
        self._stop = asyncio.Event()
        self._ready = False

    async def run(self, when_ready: Callable[[], None]) -> None:
        """Returns after SIGINT or SIGTERM, with every role ended. Raises NeverReady."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        failure: NeverReady | None = None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(rotate(self._files.logs, self._stop))
            try:
                await self._unless_stopped(asyncio.create_task(self._start(tasks)))
            except NeverReady as error:
                failure = error
                self._stop.set()
            if not self._stop.is_set():
                self._ready = True
                when_ready()
            keeping = [
                tasks.create_task(self._keep_routes(), name="routes of the switch and of the outside"),
                tasks.create_task(again_and_again(self._renew, RENEWAL_CHECK), name="renewal"),
            ]
            await self._stop.wait()
            for task in keeping:
                task.cancel()
        if failure:
            raise failure

    async def _unless_stopped(self, starting: asyncio.Task[None]) -> None:
        """Waits for the start, for a signal, or for a role that keeps dying, whichever comes first."""
        stopped, hopeless = asyncio.create_task(self._stop.wait()), asyncio.create_task(self._hopeless.wait())
        await asyncio.wait({starting, stopped, hopeless}, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (stopped, hopeless):
            waiting.cancel()
        if starting.done():
            await starting
            return
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        if self._hopeless.is_set():
            name, deaths = self._deaths.most_common(1)[0]
            raise NeverReady(f"{name} died {deaths} times before it was ready{self._last_words(name)}")

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        settings, files, running = self._settings, self._files, self._running
        deadline = asyncio.get_running_loop().time() + settings.ready_timeout
        connection = Connection(kubeconfig.load(files.kubeconfig), timeout=5.0)
        try:
            names = load(settings.dns_config)
            self._keep(tasks, cluster.api_server(settings, files, running, self._group, names.follows_pods))
            await readiness.wait("the API server", partial(readiness.api, connection), deadline, self._tell)
            for role in cluster.followers(settings, files, running, self._group, await aside(self._dns_sockets)):
                self._keep(tasks, role)
            await readiness.wait("the controllers", partial(readiness.health, running.controllers_port), deadline, self._tell)
            places = {name: cluster.network(settings).namespace(name) for name in settings.node_names}
            for name, namespace in places.items():
                await readiness.wait(name, partial(readiness.node, connection, name, namespace), deadline, self._tell)
            for name, namespace in places.items():
                answers = partial(readiness.dns, namespace, settings.cluster_dns, settings.cluster_domain)
                await readiness.wait(f"the cluster DNS of {name}", answers, deadline, self._tell)
        except readiness.NotReady as error:
            raise NeverReady(f"{error}; the logs are in {files.logs}") from error
        finally:
            connection.close()

    def _dns_sockets(self) -> cluster.DnsSockets:
        """Kept open by the supervisor, so that queries wait in them while a node's agent restarts."""
        places = {name: cluster.network(self._settings).namespace(name) for name in self._settings.node_names}
        return {
            name: tuple(
                each
                for address in self._settings.cluster_dns
                for each in namespaces.within(place, partial(bind, address, readers=max(1, default_workers())))
            )
            for name, place in places.items()
        }

    async def _keep_routes(self) -> None:
        """The switch's way to every node's pods, by which the API server answers them, and the outside's to Services."""
        network, settings = cluster.network(self._settings), self._settings
        own = (*settings.node_networks, *settings.service_cidrs, *settings.pod_cidrs)
        async with (
            ApiClient(kubeconfig.load(self._files.kubeconfig), agent="mooring-supervisor") as api,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(follow_routes(api, "", network.namespace("switch")))
            tasks.create_task(OutsideRoutes(api, network.namespace("outside"), own).run())

    def _renew(self) -> None:
        """What nears its end, for the roles to find."""
        identities.ensure(self._settings, self._files, self._running)

    def _keep(self, tasks: asyncio.TaskGroup, role: Role) -> None:
        tasks.create_task(keep_running(role, self._stop, partial(self._role_died, role.name)), name=role.name)

    def _role_died(self, name: str, how: str) -> None:
        self._deaths[name] += 1
        self._tell(Step("note", how))
        if not self._ready and self._deaths[name] >= TRIES:
            self._hopeless.set()

    def _last_words(self, name: str) -> str:
        lines = self._files.log(name).read_text(errors="replace").splitlines()[-LAST_WORDS:]
        return "".join(f"\n  {line}" for line in (*lines, f"the whole log: {self._files.log(name)}"))
