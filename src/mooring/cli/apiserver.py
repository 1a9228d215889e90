"""mooring apiserver: serve the Kubernetes API."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from mooring.apiserver.admission.built_in import OPTIONAL
from mooring.apiserver.audit import BadPolicy, policy
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

ReadPods = Annotated[
    bool, typer.Option("--nodes-read-pods", help="Nodes may read all pods: their --dns-config has pods: verified or autopath.")
]


def command(
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Holds state.db and pki/.")] = DEFAULT_DATA_DIR,
    listen: Places = None,
    kubelet_namespace: Annotated[str, typer.Option(help="The network namespace from which nodes are reached.")] = "",
    service_cidr: Annotated[str, typer.Option(help="One range per family.")] = "10.96.0.0/16",
    node_port_range: Annotated[str, typer.Option(help="FIRST-LAST")] = "30000-32767",
    cluster_domain: Annotated[str, typer.Option()] = "cluster.local",
    name: Annotated[list[str] | None, typer.Option("--name", help="Another name or address to certify.")] = None,
    enable_admission_plugins: Annotated[
        list[str] | None, typer.Option(help=f"Beyond those that are always on: {', '.join(OPTIONAL)}; may be repeated.")
    ] = None,
    nodes_read_pods: ReadPods = False,
    audit_policy_file: Annotated[Path | None, typer.Option(help="An audit.k8s.io/v1 Policy.")] = None,
    audit_log_path: Annotated[Path | None, typer.Option(help="Where audit events go.")] = None,
    audit_log_maxsize: Annotated[int, typer.Option(help="Megabytes after which the file is rotated; 0: never.")] = 100,
    audit_log_maxbackup: Annotated[int, typer.Option(help="Rotated files that are kept.")] = 10,
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
        enable_admission_plugins=tuple(enable_admission_plugins or ()),
        nodes_read_pods=nodes_read_pods,
    )
    if unknown := set(settings.enable_admission_plugins) - set(OPTIONAL):
        raise CommandError(f"--enable-admission-plugins {min(unknown)}: there are {', '.join(OPTIONAL)}", 2)
    audit = _audit(audit_policy_file, audit_log_path, audit_log_maxsize, audit_log_maxbackup)
    places = tuple(map(_place, listen or ["127.0.0.1:6443"]))
    try:
        apiserver.run(apiserver.Options(data_dir, places, settings, kubelet_namespace, tuple(name or ()), audit))
    except (OSError, StorageError) as error:
        raise CommandError(str(error)) from error


def _audit(policy_file: Path | None, path: Path | None, max_size: int, backups: int) -> apiserver.Audit | None:
    if (policy_file is None) != (path is None):
        raise CommandError("--audit-policy-file and --audit-log-path go together", 2)
    if policy_file is None or path is None:
        return None
    try:
        return apiserver.Audit(policy(yaml.safe_load(policy_file.read_text())), path, max_size, backups)
    except (OSError, yaml.YAMLError, BadPolicy) as error:
        raise CommandError(f"--audit-policy-file {policy_file}: {error}", 2) from error


def _place(text: str) -> apiserver.Listen:
    where, _, namespace = text.partition("@")
    return apiserver.Listen(*host_and_port(where, "--listen"), namespace)
