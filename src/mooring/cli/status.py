"""mooring status: what runs, where, and how it is."""

from typing import Annotated

import msgspec
import typer

from mooring.app.lifecycle import refuse
from mooring.app.status import status
from mooring.cli import output
from mooring.cli.target import DataDir, Kubeconfig, local
from mooring.edges import preflight


def command(
    data_dir: DataDir = None,
    config: Kubeconfig = None,
    form: Annotated[str, typer.Option("--output", "-o", help="json or yaml")] = "",
) -> None:
    """What runs, where, and how it is. Exit code 1 when something is not well."""
    refuse([preflight.check_root()])
    found = status(*local(data_dir, config))
    if form:
        output.document(msgspec.to_builtins(found) | {"healthy": found.healthy}, form)
    else:
        print(f"cluster  {found.cluster}   {found.version}\nserver   {found.server}")
        print(f"files    {found.data_dir}\npods     {found.pods}\n")
        rows = [[part.name, part.pid or "-", part.place or "-", part.trouble or "ok"] for part in found.parts]
        print(output.columns(["PART", "PROCESS", "ADDRESS", "STATE"], rows))
    if not found.healthy:
        raise typer.Exit(1)
