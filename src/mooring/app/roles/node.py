"""`mooring node`: all that a node does, in one process: its pods, its packets, its names, its routes, its kubelet API.

It works in the network namespace it was started in and against any Kubernetes API server. Nothing in it interrupts traffic
when it ends: pods, rules and routes stay, and the next agent takes them over.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import time

import msgspec
import structlog
import uvloop
from msgspec import Struct
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from mooring.app.pod_routes import follow_routes
from mooring.app.roles.controllers import stop_signal
from mooring.control import proxy_health
from mooring.control.cache import Cache
from mooring.control.dataplane import Dataplane, DataplaneOptions
from mooring.control.dns import ZoneKeeper
from mooring.control.kubelet import Kubelet, NodeOptions
from mooring.control.kubelet_pod import Machine
from mooring.control.proxy_options import publish
from mooring.control.reconciler import Report
from mooring.control.recorder import Recorder
from mooring.dns.wire import respond
from mooring.edges.dns.server import DnsServer, bind, inherited
from mooring.edges.http import health, kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.edges.http.tls import server_context
from mooring.edges.kubelet.server import KubeletServer
from mooring.edges.netlink import sysctls
from mooring.edges.netlink.conntrack import KernelConntrack
from mooring.edges.nft.firewall import NftFirewall
from mooring.edges.pki import KUBELET_CLIENT, Pki
from mooring.edges.pods.assembly import Pods, pods
from mooring.edges.pods.host import facts
from mooring.edges.pods.runtime import RuntimeOptions
from mooring.model.meta import Meta
from mooring.model.node import Node, NodeAddress, NodeStatus
from mooring.model.service import Service
from mooring.pods.node import NodeIdentity
from mooring.ports.api import Api
from mooring.ports.health import Answer
from mooring.services.locality import LOOPBACK, Locality, ProxyOptions, locality
from mooring.services.view import Family

log = structlog.get_logger("node")

NAMES_PATIENCE = 5.0
"""Seconds for which queries rather wait than fail after a start, as long as a resolver waits for its first try."""
EVERYWHERE = ""
"""All of the node's addresses, of both families."""
PROXY_MODE = Answer(
    200, "nftables", {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
)  # fmt: skip


Address = tuple[str, int]
"""Host ('' for every address) and port."""


class Options(Struct, frozen=True):
    """`data_dir` holds pki/ and, below nodes/<name>, this node's pods. `cgroup` is the node's own group.

    `dns_sockets` are descriptors of sockets already bound, UDP and TCP for each of `cluster_dns`: who passes them on and keeps
    them open makes queries wait, not fail, while this process restarts. Without them it binds its own.
    """

    name: str
    kubeconfig: Path | None
    data_dir: Path
    cgroup: Path
    addresses: tuple[str, ...]
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    dns_sockets: tuple[int, ...] = ()
    zone: str = ""
    kubelet_port: int = 10250
    healthz: Address | None = (EVERYWHERE, 10256)
    """Where to say how the node is; None for nowhere."""
    metrics: Address | None = ("127.0.0.1", 10249)
    """The same for kube-proxy's other page."""
    proxy: ProxyOptions = ProxyOptions()
    conntrack: sysctls.ConntrackOptions = sysctls.ConntrackOptions()
    node_ports: sysctls.Ports = (30000, 32767)

    @property
    def state(self) -> Path:
        return self.data_dir / "nodes" / self.name

    @property
    def here(self) -> Locality:
        """The node as it will be registered. Raises ValueError for options that mean nothing."""
        addresses = tuple(NodeAddress("InternalIP", each) for each in self.addresses)
        return locality(Node(Meta(self.name), status=NodeStatus(addresses)), self.proxy)


def run(options: Options) -> None:
    """`serve` in a loop of its own, until SIGTERM or SIGINT."""
    uvloop.run(serve(options))


async def serve(options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Runs the node until SIGTERM or SIGINT. `ready` is called once names are answered and health is served.

    Raises KubeconfigError, and OSError when an address is not there or a port is taken.
    """
    working = asyncio.create_task(_work(options, ready))
    stopping = asyncio.create_task(stop_signal())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        log.info("stopping", node=options.name)
        working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _work(options: Options, ready: Callable[[], None]) -> None:
    """Everything, until cancelled or until one part fails: then the role ends, and whoever supervises it starts it anew."""
    access = kubeconfig.load(options.kubeconfig) if options.kubeconfig else kubeconfig.in_cluster()
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    registry = _registry()
    async with contextlib.AsyncExitStack() as cleanup:
        api = await cleanup.enter_async_context(ApiClient(access, agent=f"mooring-node/{options.name}"))
        runtime = RuntimeOptions(options.state, options.cgroup / "pods", options.name, hidden=(str(options.data_dir),))
        machine = pods(runtime, options.data_dir / "images.yaml")
        cleanup.callback(machine.runtime.close)
        events = Recorder(api, "kube-proxy", options.name)
        dataplane = _dataplane(options, api, registry, events, cleanup)
        followed = dataplane.followed
        names = ZoneKeeper(api, followed.services, followed.slices, options.cluster_domain)
        tasks = await cleanup.enter_async_context(asyncio.TaskGroup())
        kubelet = Kubelet(api, _ports(machine), _node_options(options, followed.services.cache), tasks)
        checks = {
            "dataplane-sync": lambda: "" if dataplane.health().synced else "the kernel's tables do not follow the API yet",
            "dns-sync": lambda: "" if names.synced else "Services have not been listed yet",
            "node-registered": lambda: "" if kubelet.reporter.document else "the Node object does not exist yet",
        }
        for page in _health_pages(options, dataplane, registry, checks):
            await cleanup.enter_async_context(health.serve(page))
        await _serve_kubelet_api(options, machine, kubelet, cleanup)
        for name, loop in (
            ("kubelet", kubelet.run()),
            ("dataplane", dataplane.run()),
            ("dns", names.run()),
            ("routes", follow_routes(api, options.name)),
            ("events", events.run()),
            ("proxy options", publish(api, followed.nodes, options.name, options.proxy)),
            ("kernel settings", _set_kernel(options, dataplane, events.record)),
        ):
            tasks.create_task(loop, name=name)
        await _answer_names(options, names, cleanup)
        log.info("serving", node=options.name, addresses=options.addresses, dns=options.cluster_dns)
        ready()
        await asyncio.Event().wait()


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


def _dataplane(
    options: Options, api: Api, registry: CollectorRegistry, events: Recorder, cleanup: contextlib.AsyncExitStack
) -> Dataplane:
    """This network namespace's."""
    firewall, conntrack = NftFirewall(), KernelConntrack()
    cleanup.callback(firewall.close)
    cleanup.callback(conntrack.close)
    wish = DataplaneOptions(options.name, proxy=options.proxy)
    return Dataplane(api, firewall, conntrack, wish, registry, health.HttpAnswerServer(), events.record)


def _health_pages(
    options: Options, dataplane: Dataplane, registry: CollectorRegistry, checks: Mapping[str, health.Check]
) -> Iterator[health.Health]:
    """kube-proxy's two: one for whoever must know whether the node works, one for who looks after it."""
    metrics = dataplane.metrics
    if options.healthz:
        answers = {
            "/healthz": proxy_health.counted(lambda: proxy_health.healthz(dataplane.health(), time()), metrics.healthz),
            "/livez": proxy_health.counted(lambda: proxy_health.livez(dataplane.health(), time()), metrics.livez),
        }
        yield health.Health(*options.healthz, registry, checks, answers)
    if options.metrics:
        yield health.Health(*options.metrics, registry, checks, {"/proxyMode": lambda: PROXY_MODE})


async def _set_kernel(options: Options, dataplane: Dataplane, report: Callable[[Report], None]) -> None:
    """The settings that traffic needs. After the tables are there, since with them come those of connection tracking."""
    await dataplane.synced.wait()
    localhost = LOOPBACK[Family.IPV4] in options.here.node_port_addresses
    for each in await asyncio.to_thread(sysctls.ensure, sysctls.wished(options.conntrack, os.cpu_count() or 1, localhost)):
        if each.error:
            log.warning("a kernel setting was refused", name=each.name, value=each.value, error=each.error)
        else:
            log.info("kernel setting", name=each.name, before=each.before, value=each.value)
    try:
        overlap = sysctls.overlap(options.node_ports)
    except (OSError, ValueError) as error:
        log.warning("ephemeral ports cannot be read", error=str(error))
        return
    if overlap:
        log.warning(str(overlap), do=overlap.command)
        regarding = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": options.name, "uid": options.name}}
        message = f"{overlap}: a connection of the node's own may take one; reserve them: {overlap.command}"
        report(Report(regarding, "Warning", "NodePortRangeOverlapsEphemeral", message))


def _ports(machine: Pods) -> Machine:
    return Machine(machine.runtime, machine.images, machine.volumes, machine.prober)


def _node_options(options: Options, services: Cache[Service]) -> NodeOptions:
    return NodeOptions(
        identity=NodeIdentity(options.name, options.addresses, options.zone, kubelet_port=options.kubelet_port),
        facts=facts(options.state),
        cluster_dns=options.cluster_dns,
        cluster_domain=options.cluster_domain,
        resolv_conf=_text("/etc/resolv.conf"),
        hosts=_text("/etc/hosts"),
        services=lambda namespace: [msgspec.to_builtins(each) for each in services.list(namespace)],
    )


async def _answer_names(options: Options, names: ZoneKeeper, cleanup: contextlib.AsyncExitStack) -> None:
    """On every cluster DNS address, which this node holds on its loopback interface."""
    # Not wait_for: before Python 3.12 it loses a cancellation that meets the end of what it waits for, and this role would
    # live on without its tasks.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(NAMES_PATIENCE):
            await names.wait_synced()
    held = [inherited(pair) for pair in zip(options.dns_sockets[::2], options.dns_sockets[1::2], strict=True)]
    for sockets in held or [bind(address) for address in options.cluster_dns]:
        server = DnsServer(lambda message, stream: respond(message, names.zone, stream=stream))
        await server.start(sockets)
        cleanup.push_async_callback(server.close)


async def _serve_kubelet_api(options: Options, machine: Pods, kubelet: Kubelet, cleanup: contextlib.AsyncExitStack) -> None:
    """Logs and exec, for the API server alone."""
    pki = Pki(options.data_dir / "pki")
    identity = pki.node(options.name, options.addresses)

    def find(namespace: str, name: str) -> str | None:
        for uid, document in kubelet.pods.objects.items():
            if (document["metadata"]["namespace"], document["metadata"]["name"]) == (namespace, name):
                return uid
        return None

    for address in options.addresses:
        server = KubeletServer(machine.streams, find, frozenset({KUBELET_CLIENT.common_name}))
        await server.start(address, options.kubelet_port, server_context(identity.path, pki.authority))
        cleanup.push_async_callback(server.close)


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""
