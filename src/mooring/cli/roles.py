"""What do the roles' command lines have in common?"""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from mooring.cli.main import CommandError

LogFormat = Annotated[str, typer.Option("--log-format", help="text or json")]
RoleKubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", help="The API server and our keys; a pod's service account when not given.")
]


def log_to_stdout(form: str) -> None:
    """Logs to standard output, and the stacks on SIGUSR1 (app/stacks.py)."""
    from mooring.app import logs, stacks

    if form not in ("text", "json"):
        raise CommandError(f"--log-format {form!r}: text or json", 2)
    stacks.on_signal()
    logs.configure(cast(Literal["text", "json"], form))


def ranges(text: str, option: str) -> tuple[str, ...]:
    """'10.96.0.0/16,fd00:96::/112' taken apart and checked."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    for part in parts:
        try:
            ipaddress.ip_network(part)
        except ValueError as error:
            raise CommandError(f"{option} {part!r}: {error}", 2) from error
    return parts


def addresses(text: str, option: str) -> tuple[str, ...]:
    """'172.30.0.11,fd00::11' taken apart and checked."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    for part in parts:
        try:
            ipaddress.ip_address(part)
        except ValueError as error:
            raise CommandError(f"{option} {part!r}: {error}", 2) from error
    return parts


def host_and_port(text: str, option: str) -> tuple[str, int]:
    """'127.0.0.1:6443', '[::1]:6443'."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise CommandError(f"{option} {text!r}: HOST:PORT is expected", 2)
    return host.strip("[]"), int(port)
