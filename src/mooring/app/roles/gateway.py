"""`mooring gateway --control`: makes the Ingresses of one class true in the proxy that runs beside it."""

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct, field
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from mooring.app.gateway_supervisor import LAUNCH
from mooring.app.roles.stopping import stop_signal
from mooring.control.gateway import Gateway
from mooring.control.gateway_metrics import GatewayMetrics
from mooring.control.recorder import Recorder
from mooring.edges.dns.names import Names
from mooring.edges.http import health, kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.edges.spare_certificate import spare_certificate
from mooring.model.choice import Choice
from mooring.model.ingress import PROXIES
from mooring.model.kinds import INGRESS_CLASS
from mooring.ports.api import Api, ApiError, ApiUnavailable
from mooring.ports.proxy import Launch, Proxy
from mooring.routing.ingress.build import build
from mooring.routing.ingress.memo import Memo
from mooring.routing.placement import Placement
from mooring.routing.table import Certificate

COMPONENT = "mooring-gateway"
Prepare = Callable[[Placement, int], Launch]
"""Makes what a proxy needs to be started; the number is that of its workers."""
LOOK_AGAIN = 1.0
"""Seconds until an IngressClass that is not there is asked for again."""

log = structlog.get_logger("gateway")


class Kind(Choice):
    """Which proxy runs beside us; the controller of the IngressClass is `mooring.dev/` and this."""

    ENVOY = "envoy"
    NGINX = "nginx"


class Options(Struct, frozen=True, kw_only=True):
    """Without a kubeconfig, the service account of the pod this runs in. `addresses` '' are all, of both families if there are
    two. `ports`: what clients name -> what is bound. `proxy` None: as the IngressClass says. `concurrency` 0: one for each CPU.
    """

    class_name: str
    run_dir: Path
    kubeconfig: Path | None = None
    proxy: Kind | None = None
    addresses: tuple[str, ...] = ()
    ports: Mapping[int, int] = field(default_factory=lambda: {80: 8080, 443: 8443})
    ready_port: int = 8081
    health: tuple[str, int] = ("", 8082)
    concurrency: int = 0

    @property
    def placement(self) -> Placement:
        return Placement(str(self.run_dir), self.addresses or everywhere(), self.ports, self.ready_port)


def run(options: Options) -> None:
    """`serve` in a loop of its own, until SIGTERM or SIGINT. asyncio's loop: gRPC's own poller is made for it."""
    asyncio.run(serve(options))


async def serve(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Follows the API until SIGTERM or SIGINT. `ready` is called once the proxy has its first table.

    Raises KubeconfigError, and OSError when the port is taken. A server that does not answer is waited for.
    """
    working = asyncio.create_task(_work(options, ready))
    stopping = asyncio.create_task(stop_signal())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        log.info("stopping")
        working.cancel()
    try:
        await working
    except asyncio.CancelledError:
        return


async def _work(options: Options, ready: Callable[[], None]) -> None:
    access = kubeconfig.load(options.kubeconfig) if options.kubeconfig else kubeconfig.in_cluster()
    options.run_dir.mkdir(parents=True, exist_ok=True)
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    metrics = GatewayMetrics(registry)
    with closing(Names()) as names:
        async with ApiClient(access, agent=COMPONENT) as api:
            kind = options.proxy or await kind_of(api, options.class_name)
            spare = spare_certificate(options.run_dir)
            proxy = _proxy(kind, options, spare, metrics)
            recorder = Recorder(api, COMPONENT)
            memo = Memo()
            gateway = Gateway(
                api,
                lambda objects, now: build(objects, options.class_name, now, memo),
                proxy,
                recorder,
                metrics,
                names,
                default_certificate=spare,
            )
            place = health.Health(*options.health, registry, {"first-table": gateway.missing})
            async with health.serve(place), asyncio.TaskGroup() as tasks:
                tasks.create_task(gateway.run())
                await gateway.built.wait()
                # Views hold no cycles of our making, so the collector need not look often at what comes.
                gc.set_threshold(50_000, 20, 50)
                log.info("serving", ingress_class=options.class_name, proxy=kind.value)
                ready()


async def kind_of(api: Api, class_name: str) -> Kind:
    """Waits for the class. Raises ValueError when its controller is not ours."""
    while True:
        try:
            found = await api.get(INGRESS_CLASS, "", class_name)
            controller = (found.get("spec") or {}).get("controller") or ""
            if controller in PROXIES:
                return Kind(PROXIES[controller])
            raise ValueError(f"IngressClass {class_name} belongs to the controller {controller!r}, which is none of ours")
        except (ApiError, ApiUnavailable) as error:
            log.info("the class cannot be read yet", ingress_class=class_name, error=str(error))
        await asyncio.sleep(LOOK_AGAIN)


def _proxy(kind: Kind, options: Options, spare: Certificate, metrics: GatewayMetrics) -> Proxy:
    """Made; what it needs to be started is made and told to the supervisor by the first control process of a supervisor's life.

    Later ones touch nothing of it: the proxy may just be starting.
    """
    make = _envoy if kind is Kind.ENVOY else _nginx
    proxy, prepare = make(options.placement, spare, metrics)
    if not (options.run_dir / LAUNCH).exists():
        tell(options.run_dir, prepare(options.placement, options.concurrency or len(os.sched_getaffinity(0))))
    return proxy


# What the other proxy needs is not loaded: gRPC and Envoy's messages are two thirds of the memory.


def _envoy(placement: Placement, spare: Certificate, metrics: GatewayMetrics) -> tuple[Proxy, Prepare]:
    from mooring.edges.envoy.launch import prepared
    from mooring.edges.envoy.proxy import EnvoyProxy
    from mooring.edges.envoy.stream import Verdict
    from mooring.routing.xds.emit import Emitter

    def observe(verdict: Verdict) -> None:
        result = "rejected" if verdict.reason else "accepted"
        metrics.updates.labels(verdict.type_url.rpartition(".")[2], result).inc(len(verdict.versions))

    return EnvoyProxy(placement, Emitter(placement), spare, observe=observe), prepared


def _nginx(placement: Placement, spare: Certificate, metrics: GatewayMetrics) -> tuple[Proxy, Prepare]:
    from mooring.edges.nginx.launch import prepared
    from mooring.edges.nginx.proxy import NginxProxy

    return NginxProxy(placement, spare), prepared


def tell(run_dir: Path, launch: Launch) -> None:
    """The supervisor starts the proxy from it, once."""
    file = run_dir / LAUNCH
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(launch))
    fresh.rename(file)


def everywhere() -> tuple[str, ...]:
    """`::`, which takes IPv4 too; where there is no IPv6, 0.0.0.0."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return ("0.0.0.0",)
    return ("::",)
