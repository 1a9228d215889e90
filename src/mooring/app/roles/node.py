"""`mooring node`: all that a node does, in one process: its pods, its packets, its names, its routes, its kubelet API.

It works in the network namespace it was started in and against any Kubernetes API server. Nothing in it interrupts traffic
when it ends: pods, rules and routes stay, and the next agent takes them over.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from time import time

import msgspec
import structlog
import uvloop
from msgspec import Struct
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from mooring.app.files import Files
from mooring.app.pod_routes import follow_routes
from mooring.app.resolver import ResolverOptions, resolver, zone_options
from mooring.app.roles import node_names
from mooring.app.roles.node_names import NamesOptions
from mooring.app.roles.serving_keys import RENEWAL_CHECK
from mooring.app.roles.stopping import stop_signal
from mooring.app.secondaries import listen, with_secondaries
from mooring.control import proxy_health
from mooring.control.cache import Cache
from mooring.control.dataplane import Dataplane, DataplaneOptions
from mooring.control.dns import ZoneKeeper
from mooring.control.dns_metrics import ProgrammingMetric
from mooring.control.kubelet import Kubelet, NodeOptions
from mooring.control.kubelet_pod import Machine
from mooring.control.kubelet_volumes import VolumeKeeper
from mooring.control.proxy_options import publish
from mooring.control.reconciler import Report
from mooring.control.recorder import Recorder
from mooring.control.volume_matching import PROVISIONER
from mooring.dns.settings import DnsSettings
from mooring.edges import descriptors
from mooring.edges.dns.publisher import last_serial
from mooring.edges.http import health, kubeconfig
from mooring.edges.http.client import ApiClient
from mooring.edges.http.renewal import Followed, Renewable, again_and_again
from mooring.edges.http.tls import server_context
from mooring.edges.kubelet.server import KubeletServer
from mooring.edges.netlink import sysctls
from mooring.edges.netlink.conntrack import KernelConntrack
from mooring.edges.nft.firewall import NftFirewall
from mooring.edges.pki import KUBELET_CLIENT, Pki
from mooring.edges.pods.assembly import Pods, pods
from mooring.edges.pods.directories import VolumeDirectories
from mooring.edges.pods.host import facts
from mooring.edges.pods.runtime import RuntimeOptions
from mooring.model.meta import Meta
from mooring.model.node import Node, NodeAddress, NodeStatus
from mooring.model.service import Service
from mooring.pods.node import NodeIdentity
from mooring.pods.resolv_conf import read
from mooring.ports.api import Api
from mooring.ports.health import Answer
from mooring.services.locality import LOOPBACK, Locality, ProxyOptions, locality
from mooring.services.view import Family

log = structlog.get_logger("node")

EVERYWHERE = ""
"""All of the node's addresses, of both families."""
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")
"""Who may ask for names where nothing is said: whoever the internet cannot be (RFC 1918, 6598, 4193, 4291)."""
PROXY_MODE = Answer(
    200, "nftables", {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
)  # fmt: skip


DNS_OK = Answer(200, "OK", health.OK.headers)
Address = tuple[str, int]
"""Host ('' for every address) and port."""


class Options(Struct, frozen=True):
    """`data_dir` holds pki/ and, below nodes/<name> and volumes/<name>, this node's pods and the directories of its volumes.
    `cgroup` is the node's own group.

    `dns_sockets` are descriptors of sockets already bound, for each of `cluster_dns` one UDP socket for each of `dns_workers`,
    but at least one, and a TCP one: who passes them on and keeps them open makes queries wait, not fail, while this process
    restarts. Without them it binds its own. `dns_ranges`: CIDRs of Services and pods, who may ask and have names by address.
    """

    name: str
    kubeconfig: Path | None
    data_dir: Path
    cgroup: Path
    addresses: tuple[str, ...]
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    dns_sockets: tuple[int, ...] = ()
    dns_workers: int = 1
    dns_ranges: tuple[str, ...] = ()
    dns: DnsSettings = DnsSettings()
    resolv_conf: str = "/etc/resolv.conf"
    """The file of whom the node itself asks for names; '': nobody."""
    zone: str = ""
    kubelet_port: int = 10250
    healthz: Address | None = (EVERYWHERE, 10256)
    """Where to say how the node is; None for nowhere."""
    metrics: Address | None = ("127.0.0.1", 10249)
    """The same for kube-proxy's other page."""
    dns_health: Address | None = (EVERYWHERE, 9153)
    """The same for CoreDNS's pages: whether names are answered, /health and /ready, and /metrics."""
    proxy: ProxyOptions = ProxyOptions()
    conntrack: sysctls.ConntrackOptions = sysctls.ConntrackOptions()
    node_ports: sysctls.Ports = (30000, 32767)

    @property
    def state(self) -> Path:
        return self.data_dir / "nodes" / self.name

    @property
    def proxying(self) -> ProxyOptions:
        """All that the tables depend on: what is said of Services, and that this node answers names itself."""
        return msgspec.structs.replace(self.proxy, cluster_dns=self.cluster_dns)

    @property
    def here(self) -> Locality:
        """The node as it will be registered. Raises ValueError for options that mean nothing."""
        addresses = tuple(NodeAddress("InternalIP", each) for each in self.addresses)
        return locality(Node(Meta(self.name), status=NodeStatus(addresses)), self.proxying)


def run(options: Options) -> None:
    """`serve` in a loop of its own, until SIGTERM or SIGINT."""
    descriptors.take_all()
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
        names = _zone_keeper(options, api, dataplane)
        tasks = await cleanup.enter_async_context(asyncio.TaskGroup())
        kubelet = Kubelet(api, _ports(machine), _node_options(options, followed.services.cache), tasks)
        checks = {
            "dataplane-sync": lambda: "" if dataplane.health().synced else "the kernel's tables do not follow the API yet",
            "dns-sync": lambda: "" if names.synced else "Services have not been listed yet",
            "node-registered": lambda: "" if kubelet.reporter.document else "the Node object does not exist yet",
        }
        for page in _health_pages(options, dataplane, registry, checks):
            await cleanup.enter_async_context(health.serve(page))
        await _serve_kubelet_api(options, machine, kubelet, tasks, cleanup)
        for name, loop in (
            ("kubelet", kubelet.run()),
            ("dataplane", dataplane.run()),
            ("dns", names.run()),
            ("routes", follow_routes(api, options.name)),
            ("events", events.run()),
            ("volumes", _volume_keeper(options, api).run()),
            ("proxy options", publish(api, followed.nodes, options.name, options.proxying)),
            ("kernel settings", _set_kernel(options, dataplane, events.record)),
        ):
            tasks.create_task(loop, name=name)
        await _answer_names(options, names, registry, tasks, cleanup)
        ProgrammingMetric(registry).follow(followed.slices)
        log.info("serving", node=options.name, addresses=options.addresses, dns=options.cluster_dns)
        ready()
        await asyncio.Event().wait()


def _volume_keeper(options: Options, api: Api) -> VolumeKeeper:
    recorder = Recorder(api, f"{PROVISIONER}_{options.name}", options.name)
    return VolumeKeeper(api, options.name, VolumeDirectories(Files(options.data_dir).node_volumes(options.name)), recorder)


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
    wish = DataplaneOptions(options.name, proxy=options.proxying)
    return Dataplane(api, firewall, conntrack, wish, registry, health.HttpAnswerServer(), events.record)


def _health_pages(
    options: Options, dataplane: Dataplane, registry: CollectorRegistry, checks: Mapping[str, health.Check]
) -> Iterator[health.Health]:
    """kube-proxy's two, one for whoever must know whether the node works, one for who looks after it; and CoreDNS's."""
    metrics = dataplane.metrics
    if options.healthz:
        answers = {
            "/healthz": proxy_health.counted(lambda: proxy_health.healthz(dataplane.health(), time()), metrics.healthz),
            "/livez": proxy_health.counted(lambda: proxy_health.livez(dataplane.health(), time()), metrics.livez),
        }
        yield health.Health(*options.healthz, registry, checks, answers)
    if options.metrics:
        yield health.Health(*options.metrics, registry, checks, {"/proxyMode": lambda: PROXY_MODE})
    if options.dns_health:
        names = checks["dns-sync"]
        yield health.Health(*options.dns_health, registry, {}, {"/health": lambda: DNS_OK, "/ready": lambda: _ready(names())})


def _ready(missing: str) -> Answer:
    """As CoreDNS's: OK, or 503 and the plugin that is not ready."""
    return Answer(503, "kubernetes", DNS_OK.headers) if missing else DNS_OK


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
    return Machine(machine.runtime, machine.images, machine.volumes, machine.prober, machine.runtime)


def _node_options(options: Options, services: Cache[Service]) -> NodeOptions:
    return NodeOptions(
        identity=NodeIdentity(options.name, options.addresses, options.zone, kubelet_port=options.kubelet_port),
        facts=facts(options.state),
        cluster_dns=options.cluster_dns,
        cluster_domain=options.cluster_domain,
        resolv_conf=partial(_text, options.resolv_conf),
        resolv_conf_path=options.resolv_conf,
        hosts=partial(_text, "/etc/hosts"),
        services=lambda namespace: [msgspec.to_builtins(each) for each in services.list(namespace)],
    )


def _zone_keeper(options: Options, api: Api, dataplane: Dataplane) -> ZoneKeeper:
    followed = dataplane.followed
    wish = zone_options(options.dns, options.cluster_domain, options.dns_ranges, options.cluster_dns)
    serial = last_serial(options.state / "dns")
    return ZoneKeeper(api, followed.services, followed.slices, wish, clients=options.dns.autopath, serial=serial)


async def _answer_names(
    options: Options,
    names: ZoneKeeper,
    registry: CollectorRegistry,
    tasks: asyncio.TaskGroup,
    cleanup: contextlib.AsyncExitStack,
) -> None:
    """On every cluster DNS address, which this node holds on its loopback interface."""
    dns, own = options.dns, (*options.cluster_dns, *options.addresses)
    ranges = (*(options.dns_ranges or PRIVATE), *(f"{each}/{128 if ':' in each else 32}" for each in own))
    file = read(_text(options.resolv_conf))
    asked = ResolverOptions(dns, own, ranges, nameservers=file.nameservers, search=file.searches, host=options.name)
    made = resolver(asked, lambda: names.zone, registry)
    cleanup.push_async_callback(made.close)
    wish = NamesOptions(
        options.state / "dns",
        options.cgroup / "dns",
        options.cluster_dns,
        options.dns_workers,
        options.dns_sockets,
        node_names.table_options(dns, ranges, own),
    )
    respond = with_secondaries(dns, names, made.resolver.respond, tasks, cleanup)
    await listen(dns, options.addresses, respond, cleanup)
    await node_names.answer(wish, names, respond, registry, tasks, cleanup)


async def _serve_kubelet_api(
    options: Options, machine: Pods, kubelet: Kubelet, tasks: asyncio.TaskGroup, cleanup: contextlib.AsyncExitStack
) -> None:
    """Logs and streams, for the API server alone."""
    pki = Pki(options.data_dir / "pki")
    identity = pki.node(options.name, options.addresses)
    followed = Followed((identity.path, pki.authority))
    tls = Renewable(lambda: server_context(identity.path, pki.authority))
    tasks.create_task(followed.follow(tls.renew), name="keys")
    tasks.create_task(again_and_again(lambda: pki.node(options.name, options.addresses), RENEWAL_CHECK), name="renewal")

    def find(namespace: str, name: str) -> str | None:
        for uid, document in kubelet.pods.objects.items():
            if (document["metadata"]["namespace"], document["metadata"]["name"]) == (namespace, name):
                return uid
        return None

    allowed, listed = frozenset({KUBELET_CLIENT.common_name}), kubelet.pods.objects
    for address in options.addresses:
        server = KubeletServer(machine.streams, find, allowed, lambda: list(listed.values()))
        await server.start(address, options.kubelet_port, tls.context)
        cleanup.push_async_callback(server.close)


def _text(path: str) -> str:
    """A file of the node's own; '' when there is none."""
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="replace")
    return ""
