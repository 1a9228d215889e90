"""mooring apiserver: serve the Kubernetes API."""

from pathlib import Path
from typing import Annotated

import typer

from mooring.apiserver.contract import Settings
from mooring.app.roles import apiserver
from mooring.app.settings import DEFAULT_DATA_DIR
from mooring.cli.main import CommandError
from mooring.cli.roles import LogFormat, host_and_port, log_to_stdout, ranges
from mooring.store.errors import StorageError

Places = Annotated[
    list[str] | None,
    typer.Option("--listen", help="HOST:PORT, or HOST:PORT@/run/netns/NAME in that network namespace; may be repeated."),
]


def command(
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Holds state.db and pki/.")] = DEFAULT_DATA_DIR,
    listen: Places = None,
    kubelet_namespace: Annotated[str, typer.Option(help="The network namespace from which nodes are reached.")] = "",
    service_cidr: Annotated[str, typer.Option(help="One range per family.")] = "10.96.0.0/16",
    node_port_range: Annotated[str, typer.Option(help="FIRST-LAST")] = "30000-32767",
    cluster_domain: Annotated[str, typer.Option()] = "cluster.local",
    name: Annotated[list[str] | None, typer.Option("--name", help="Another name or address to certify.")] = None,
    log_format: LogFormat = "text",
) -> None:
    """Serve the Kubernetes API on SQLite until SIGTERM."""
    log_to_stdout(log_format)
    first, _, last = node_port_range.partition("-")
    if not (first.isdigit() and last.isdigit()):
        raise CommandError(f"--node-port-range {node_port_range!r}: FIRST-LAST", 2)
    settings = Settings(
        service_cidrs=ranges(service_cidr, "--service-cidr"),
        node_port_range=(int(first), int(last)),
        cluster_domain=cluster_domain,
        issuer=f"https://kubernetes.default.svc.{cluster_domain}",
    )
    places = tuple(map(_place, listen or ["127.0.0.1:6443"]))
    try:
        apiserver.run(apiserver.Options(data_dir, places, settings, kubelet_namespace, tuple(name or ())))
    except (OSError, StorageError) as error:
        raise CommandError(str(error)) from error


def _place(text: str) -> apiserver.Listen:
    where, _, namespace = text.partition("@")
    return apiserver.Listen(*host_and_port(where, "--listen"), namespace)
