"""mooring up: start a cluster on this machine and wait until it is ready."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from mooring.app import settings as configuration
from mooring.app.files import Files
from mooring.app.lifecycle import refuse, up, up_detached
from mooring.cli.main import CommandError
from mooring.cli.progress import Progress
from mooring.cli.target import DataDir
from mooring.edges import preflight

Zones = Annotated[str | None, typer.Option(help="How many, or their names: the nodes get them in turn [default: none].")]
NodePorts = Annotated[
    str | None, typer.Option(help="Where node ports answer: primary, all, localhost, CIDRs [default: primary].")
]
Pool = Annotated[str | None, typer.Option(help="CIDRs, FIRST-LAST, or none [default: 172.30.1.0/24, fd00:172:30:1::/64].")]

Classes = Annotated[
    str | None, typer.Option(help="IngressClasses, the default one first, or none [default: mooring-envoy,mooring-nginx].")
]
ResolvConf = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, resolve_path=True, help="The nodes' own name servers [default: none]."),
]
DnsConfig = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, resolve_path=True, help="How the nodes answer names, a YAML file."),
]


def command(
    context: typer.Context,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when ready; the cluster goes on.")] = False,
    name: Annotated[str | None, typer.Option(help="Names namespaces and cgroup [default: mooring].")] = None,
    data_dir: DataDir = None,
    config: Annotated[Path | None, typer.Option("--config", help="A YAML file of settings, named as these flags.")] = None,
    nodes: Annotated[int | None, typer.Option(help="How many [default: 2].")] = None,
    zones: Zones = None,
    api_port: Annotated[int | None, typer.Option(help="On 127.0.0.1; 0: any free one [default: 6443].")] = None,
    controllers_port: Annotated[int | None, typer.Option(help="Their health and metrics; 0: any free one.")] = None,
    dual_stack: Annotated[bool | None, typer.Option("--dual-stack", help="IPv4 and IPv6.")] = None,
    ipv6: Annotated[bool | None, typer.Option("--ipv6", help="IPv6 alone.")] = None,
    service_cidr: Annotated[str | None, typer.Option(help="[default: 10.96.0.0/16, fd00:96::/112].")] = None,
    pod_cidr: Annotated[str | None, typer.Option(help="[default: 10.244.0.0/16, fd00:244::/56].")] = None,
    node_network: Annotated[str | None, typer.Option(help="[default: 172.30.0.0/24, fd00:172:30::/64].")] = None,
    node_port_range: Annotated[str | None, typer.Option(help="[default: 30000-32767].")] = None,
    nodeport_addresses: NodePorts = None,
    masquerade_all: Annotated[bool | None, typer.Option("--masquerade-all", help="Hide every client of a cluster IP.")] = None,
    load_balancer_pool: Pool = None,
    ingress_classes: Classes = None,
    cluster_domain: Annotated[str | None, typer.Option(help="[default: cluster.local].")] = None,
    resolv_conf: ResolvConf = None,
    dns_config: DnsConfig = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
    ready_timeout: Annotated[float | None, typer.Option(help="Seconds to wait until all is ready [default: 120].")] = None,
) -> None:
    """Start a cluster on this machine and wait until it is ready.

    Without --detach it runs until Ctrl-C and then takes everything down; the cluster's state stays in its directory.
    """
    # Before anything else: without root not even the settings in an existing directory can be read.
    refuse([preflight.check_root()])
    flags: dict[str, Any] = {
        key.replace("_", "-"): value for key, value in context.params.items() if key not in ("detach", "config")
    }
    directory = configuration.data_dir(data_dir, os.environ, config)
    stored = Files(directory).stored_settings()
    settings = configuration.load(flags | {"data-dir": directory}, os.environ, config, stored)
    _check_dns(settings)
    (up_detached if detach else up)(settings, Progress().show)


def _check_dns(settings: configuration.Settings) -> None:
    """Nodes would refuse the same file one by one, each again and again."""
    if settings.dns_config is None:
        return
    from mooring.app.resolver import load, zone_options
    from mooring.dns.settings import DnsSettingsError, routes

    try:
        dns = load(settings.dns_config)
        routes(dns, (), settings.cluster_dns)
        zone_options(dns, settings.cluster_domain, (*settings.service_cidrs, *settings.pod_cidrs), settings.cluster_dns)
    except (configuration.SettingsError, DnsSettingsError) as error:
        raise CommandError(f"--dns-config: {error}", 2) from error
