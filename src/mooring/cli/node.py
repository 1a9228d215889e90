"""mooring node: run pods, the dataplane and DNS of one node."""

from pathlib import Path
from typing import Annotated

import typer

from mooring.app.roles import node
from mooring.app.settings import DEFAULT_DATA_DIR
from mooring.cli.main import CommandError
from mooring.cli.roles import LogFormat, RoleKubeconfig, addresses, log_to_stdout
from mooring.edges import cgroups


def command(
    name: Annotated[str, typer.Option("--name", help="The node's name.")],
    address: Annotated[str, typer.Option(help="The node's own addresses, the primary first, joined by commas.")],
    config: RoleKubeconfig = None,
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Holds pki/ and nodes/NAME.")] = DEFAULT_DATA_DIR,
    cgroup: Annotated[Path | None, typer.Option(help="The node's cgroup [default: mooring-NAME at cgroup v2's root].")] = None,
    cluster_dns: Annotated[str, typer.Option(help="Addresses this node holds on lo, joined by commas.")] = "10.96.0.10",
    cluster_domain: Annotated[str, typer.Option()] = "cluster.local",
    dns_sockets: Annotated[str, typer.Option(help="Bound DNS sockets a supervisor passes on: UDP,TCP,...")] = "",
    zone: Annotated[str, typer.Option(help="Its topology.kubernetes.io/zone.")] = "",
    kubelet_port: Annotated[int, typer.Option(help="Logs and exec, for the API server.")] = 10250,
    health_port: Annotated[int, typer.Option(help="/healthz, /livez, /readyz and /metrics.")] = 10256,
    log_format: LogFormat = "text",
) -> None:
    """Run a node in this network namespace, against any Kubernetes API server, until SIGTERM. Pods and rules stay."""
    log_to_stdout(log_format)
    options = node.Options(
        name=name,
        kubeconfig=config,
        data_dir=data_dir,
        cgroup=cgroup or cgroups.subtree(name),
        addresses=addresses(address, "--address"),
        cluster_dns=addresses(cluster_dns, "--cluster-dns"),
        cluster_domain=cluster_domain,
        dns_sockets=tuple(int(number) for number in dns_sockets.split(",") if number),
        zone=zone,
        kubelet_port=kubelet_port,
        health_port=health_port,
    )
    try:
        node.run(options)
    except OSError as error:
        raise CommandError(str(error)) from error
