"""mooring logs: show what a container wrote."""

import sys
from typing import Annotated

import typer

from mooring.cli.main import CommandError
from mooring.cli.target import DataDir, Kubeconfig, Namespace, connection
from mooring.model.kinds import POD


def command(
    pod: Annotated[str, typer.Argument(help="POD or pod/POD")],
    container: Annotated[str, typer.Option("--container", "-c", help="Which, when the pod has several.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it writes.")] = False,
    previous: Annotated[bool, typer.Option("--previous", "-p", help="Of the run before this one.")] = False,
    tail: Annotated[int, typer.Option(help="Only the last lines; -1: all.")] = -1,
    since: Annotated[int, typer.Option(help="Only of the last seconds; 0: all.")] = 0,
    timestamps: Annotated[bool, typer.Option("--timestamps", help="Say when each line was written.")] = False,
    namespace: Namespace = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> None:
    """Show what a container wrote to its standard output and error."""
    name = pod.removeprefix("pod/").removeprefix("pods/")
    if "/" in name:
        raise CommandError(f"logs of {pod}: only a pod has them; `mooring get pods` shows their names", 2)
    server = connection(data_dir, config)
    query = {
        "container": container,
        "follow": "true" if follow else "",
        "previous": "true" if previous else "",
        "tailLines": str(tail) if tail >= 0 else "",
        "sinceSeconds": str(since) if since > 0 else "",
        "timestamps": "true" if timestamps else "",
    }
    path = POD.path(namespace or server.access.namespace, name, "log")
    for chunk in server.stream(path, {key: value for key, value in query.items() if value}):
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
