"""Which processes make a local cluster, and with which words is each started? Pure: settings in, roles out."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from mooring.app.files import Files, Running
from mooring.app.process import Role
from mooring.app.roles.node_names import default_workers
from mooring.app.settings import Settings
from mooring.edges.netlink import namespaces
from mooring.edges.netlink.topology import NodePlace, Topology, namespace_name, topology

NODE_NETWORK_PORT = 6443
"""The API server's port on the node network, which is ours alone."""
SUPERVISOR = "supervisor"
STORAGE_CLASS = "standard"
"""The default one, of directories of the nodes."""


def network(settings: Settings) -> Topology:
    """The wish for the cluster's namespaces, links and addresses."""
    return topology(
        settings.name,
        settings.node_names,
        settings.node_networks,
        ranges=(*settings.service_cidrs, *settings.pod_cidrs),
        pods=settings.pod_cidrs,
        dns=settings.cluster_dns,
        node_ports=settings.node_ports,
    )


def server_url(running: Running) -> str:
    """Where the machine itself finds the API server."""
    return f"https://127.0.0.1:{running.api_port}"


def node_network_url(settings: Settings) -> str:
    """Where nodes and pods find it."""
    return f"https://{_with_port(settings.switch_addresses[0])}"


def api_server(settings: Settings, files: Files, running: Running, group: Path, nodes_read_pods: bool = False) -> Role:
    switch = str(namespaces.path(namespace_name(settings.name, "switch")))
    arguments = [
        *("--data-dir", str(files.root)),
        *("--listen", f"127.0.0.1:{running.api_port}"),
        *(f"--listen={_with_port(address)}@{switch}" for address in settings.switch_addresses),
        *("--kubelet-namespace", switch),
        *("--service-cidr", ",".join(settings.service_cidrs)),
        *("--node-port-range", settings.node_port_range),
        *("--cluster-domain", settings.cluster_domain),
        *(("--nodes-read-pods",) if nodes_read_pods else ()),
    ]
    return _role(settings, files, "apiserver", arguments, group / "apiserver")


DnsSockets = Mapping[str, tuple[socket.socket, ...]]
"""By node: UDP sockets, one for each DNS worker, and a TCP one, bound to each cluster DNS address in the node's namespace."""


def followers(settings: Settings, files: Files, running: Running, group: Path, held: DnsSockets) -> list[Role]:
    """The roles that need the API server: the controllers and the nodes."""
    controllers = [
        *("--kubeconfig", str(files.role_kubeconfig("controllers"))),
        *("--port", str(running.controllers_port)),
        *("--service-cidr", ",".join(settings.service_cidrs)),
        *("--pod-cidr", ",".join(settings.pod_cidrs)),
        *("--cluster-dns", ",".join(settings.cluster_dns)),
        *("--advertise", settings.switch_addresses[0]),
        *("--advertise-port", str(NODE_NETWORK_PORT)),
        *("--load-balancer-pool", settings.pool_ranges),
        *("--ingress-classes", ",".join(settings.ingress_class_names)),
        *("--storage-class", STORAGE_CLASS),
    ]
    places = zip(network(settings).nodes, settings.node_zones, strict=True)
    return [
        _role(settings, files, "controllers", controllers, group / "controllers"),
        *(_node(settings, files, place, zone, group, held[place.name]) for place, zone in places),
    ]


def _node(settings: Settings, files: Files, place: NodePlace, zone: str, group: Path, held: tuple[socket.socket, ...]) -> Role:
    arguments = [
        *("--name", place.name),
        *("--kubeconfig", str(files.role_kubeconfig(place.name))),
        *("--data-dir", str(files.root)),
        *("--cgroup", str(group / place.name)),
        *("--address", ",".join(str(address.ip) for address in place.addresses)),
        *("--cluster-dns", ",".join(settings.cluster_dns)),
        *("--cluster-domain", settings.cluster_domain),
        # By default none: the machine's own name servers cannot be reached from namespaces without a way out.
        *("--resolv-conf", str(settings.resolv_conf or "")),
        *(("--dns-config", str(settings.dns_config)) if settings.dns_config else ()),
        *("--dns-sockets", ",".join(str(each.fileno()) for each in held)),
        *("--dns-workers", str(default_workers())),
        *("--dns-ranges", ",".join((*settings.service_cidrs, *settings.pod_cidrs))),
        *("--node-port-range", settings.node_port_range),
        *(("--zone", zone) if zone else ()),
        *(("--nodeport-addresses", settings.nodeport_addresses) if settings.nodeport_addresses else ()),
        *(("--masquerade-all",) if settings.masquerade_all else ()),
    ]
    return structs.replace(_role(settings, files, "node", arguments, group / place.name / "agent", place.name), sockets=held)


def _with_port(address: str) -> str:
    return f"{f'[{address}]' if ':' in address else address}:{NODE_NETWORK_PORT}"


def _role(settings: Settings, files: Files, command: str, arguments: list[str], group: Path, node: str = "") -> Role:
    return Role(
        name=node or command,
        argv=(sys.executable, "-m", "mooring.cli.main", command, *arguments, "--log-format", settings.log_format),
        cgroup=group,
        log=files.log(node or command),
        namespace=namespace_name(settings.name, node) if node else "",
    )
