"""When is a container asked how it is? One task per probe of a running container, feeding the worker's verdicts."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from mooring.model.pod import Container, Hook, HttpGet, Pod, Probe
from mooring.pods.observed import Run
from mooring.pods.probing import Health, Role, Tracker, begin, health, next_delay, observe, probe_of
from mooring.pods.wishes import ExecCheck, HttpCheck, Outcome, TcpCheck
from mooring.ports.pods import Prober

log = structlog.get_logger("kubelet")
ROLES: tuple[Role, ...] = ("startup", "readiness", "liveness")
_AGENT = (("User-Agent", "kube-probe/1.33"), ("Accept", "*/*"))


def check_of(container: Container, how: Probe | Hook, pod: Pod, ip: str) -> HttpCheck | TcpCheck | ExecCheck:
    """What to do for a probe or hook. Raises ValueError for a port name that no port has, or a kind that is not served."""
    if how.exec is not None:
        return ExecCheck(pod.uid, container.name, how.exec.command or ())
    if how.http_get is not None:
        return _http(container, how.http_get, ip)
    if how.tcp_socket is not None:
        return TcpCheck(how.tcp_socket.host or ip, container.port(how.tcp_socket.port))
    kind = "grpc probes are" if getattr(how, "grpc", None) is not None else "this handler is"
    raise ValueError(f"{kind} not supported: use httpGet, tcpSocket or exec")


async def attempt(prober: Prober, what: HttpCheck | TcpCheck | ExecCheck, limit: float) -> Outcome:
    """A check that fails in whatever way: a node short of descriptors must not end all attempts, nor a defect."""
    try:
        return await prober.check(what, limit)
    except Exception as error:
        log.exception("check failed", check=str(what))
        return Outcome(False, str(error))


def _http(container: Container, given: HttpGet, ip: str) -> HttpCheck:
    named = {header.name.lower() for header in given.http_headers or ()}
    headers = tuple((header.name, header.value) for header in given.http_headers or ())
    headers += tuple(default for default in _AGENT if default[0].lower() not in named)
    path = given.path if given.path.startswith("/") else "/" + given.path
    return HttpCheck(given.host or ip, container.port(given.port), path, given.scheme or "HTTP", headers)


class ContainerProbes:
    """The probes of one run. `changed()` is called when the health has changed, `failed(role, output)` at a failed attempt."""

    def __init__(
        self,
        pod: Pod,
        container: Container,
        run: Run,
        ip: str,
        prober: Prober,
        changed: Callable[[], None],
        failed: Callable[[Role, str], None],
        known: Health | None = None,
    ) -> None:
        self.pod, self.container, self.run, self.ip, self.prober = pod, container, run, ip, prober
        self.changed, self.failed = changed, failed
        self.trackers: dict[Role, Tracker] = {role: begin(role) for role in ROLES if probe_of(container, role)}
        if known:
            self._resume(known)
        self._started = asyncio.Event()
        self._tasks = [asyncio.create_task(self._ask(role), name=f"{role} probe of {pod.key}") for role in self.trackers]
        self._note()

    def _resume(self, known: Health) -> None:
        """What an earlier agent knew of this very run: readiness must not flicker because the agent was restarted."""
        if known.started and "startup" in self.trackers:
            self.trackers["startup"] = Tracker("startup", True, True, 1)
        if known.ready and "readiness" in self.trackers:
            self.trackers["readiness"] = Tracker("readiness", True, True, 1)

    @property
    def health(self) -> Health:
        return health(self.container, self.trackers)

    def stop(self, *, keep: tuple[Role, ...] = ()) -> None:
        """Ends the tasks; with `keep`, those roles go on (readiness of a terminating pod)."""
        for role, task in zip(self.trackers, self._tasks, strict=True):
            if role not in keep:
                task.cancel()

    def _note(self) -> None:
        if self.health.started:
            self._started.set()

    async def _ask(self, role: Role) -> None:
        probe = probe_of(self.container, role)
        assert probe is not None
        if role != "startup":
            await self._started.wait()
        loop = asyncio.get_running_loop()
        age = (datetime.now(UTC) - self.run.started_at).total_seconds()
        await asyncio.sleep(max(probe.initial_delay_seconds - age, 0))
        beat = loop.time() + (probe.period_seconds if role != "liveness" else 0)
        while not self.trackers[role].over:
            delay, regular = next_delay(self.trackers[role], probe, max(beat - loop.time(), 0))
            await asyncio.sleep(delay)
            outcome = await self._attempt(probe)
            if regular:
                beat = max(beat + probe.period_seconds, loop.time())
            self._take(role, probe, outcome, regular)

    async def _attempt(self, probe: Probe) -> Outcome:
        try:
            what = check_of(self.container, probe, self.pod, self.ip)
        except ValueError as error:
            return Outcome(False, str(error))
        return await attempt(self.prober, what, float(probe.timeout_seconds))

    def _take(self, role: Role, probe: Probe, outcome: Outcome, regular: bool) -> None:
        before, tracker = self.health, self.trackers[role]
        if regular or outcome.success:
            self.trackers[role] = observe(tracker, probe, outcome.success)
        else:
            self.trackers[role] = Tracker(role, tracker.verdict, tracker.last, tracker.run, tracker.early + 1)
        if regular and not outcome.success:
            self.failed(role, outcome.output)
        self._note()
        if self.health != before:
            self.changed()
