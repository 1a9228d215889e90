"""mooring gateway: a proxy and what programs it, for the Ingresses of one IngressClass."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mooring.cli.main import CommandError
from mooring.cli.roles import LogFormat, RoleKubeconfig, addresses, host_and_port, log_to_stdout


def command(
    class_name: Annotated[str, typer.Option("--class", help="The IngressClass; its controller says which proxy.")],
    config: RoleKubeconfig = None,
    data_dir: Annotated[Path | None, typer.Option(help="Instead of --kubeconfig: a local cluster's directory.")] = None,
    run_dir: Annotated[Path, typer.Option(help="All files and sockets; nothing else is written.")] = Path("/run/gateway"),
    proxy: Annotated[str, typer.Option(help="envoy or nginx, without asking the IngressClass.")] = "",
    address: Annotated[str, typer.Option(help="Where to listen, joined by commas; '': everywhere.")] = "",
    http_port: Annotated[int, typer.Option(help="Bound for port 80.")] = 8080,
    https_port: Annotated[int, typer.Option(help="Bound for port 443, TCP and UDP.")] = 8443,
    ready_port: Annotated[int, typer.Option(help="/readyz of the proxy: 503 while it drains.")] = 8081,
    health_address: Annotated[str, typer.Option(help="Health and metrics of the control process.")] = ":8082",
    concurrency: Annotated[int, typer.Option(help="The proxy's workers; 0: one for each CPU.")] = 0,
    drain_seconds: Annotated[float, typer.Option(help="How long connections may last after SIGTERM.")] = 30.0,
    control: Annotated[bool, typer.Option("--control", help="Only what programs the proxy.")] = False,
    log_format: LogFormat = "text",
) -> None:
    """Serve the Ingresses of one class until SIGTERM, against any Kubernetes API server; needs no root."""
    where, listen = _health(health_address), addresses(address, "--address")
    if proxy not in ("", "envoy", "nginx"):
        raise CommandError(f"--proxy {proxy!r}: envoy or nginx", 2)
    if not control:
        _supervise(run_dir, drain_seconds)
    from mooring.app.roles import gateway

    log_to_stdout(log_format)
    options = gateway.Options(
        class_name=class_name,
        run_dir=run_dir,
        kubeconfig=config or (data_dir / "kubeconfig" if data_dir else None),
        proxy=gateway.Kind(proxy) if proxy else None,
        addresses=listen,
        ports={80: http_port, 443: https_port},
        ready_port=ready_port,
        health=where,
        concurrency=concurrency,
    )
    try:
        gateway.run(options)
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from error


def _health(text: str) -> tuple[str, int]:
    """':8082' is every address: ''."""
    host, port = host_and_port(f"*{text}" if text.startswith(":") else text, "--health-address")
    return "" if host == "*" else host, port


def _supervise(run_dir: Path, drain_seconds: float) -> None:
    """Becomes the supervisor, executed anew: nothing loaded here stays in memory. It runs this command with --control."""
    run_dir.mkdir(parents=True, exist_ok=True)
    itself = [sys.executable, "-m", "mooring.cli.main", *sys.argv[1:], "--control"]
    supervisor = [sys.executable, "-m", "mooring.app.gateway_supervisor", str(run_dir), str(drain_seconds), *itself]
    os.execv(sys.executable, supervisor)
