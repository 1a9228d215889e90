"""mooring down: stop the cluster and leave nothing running."""

from typing import Annotated

import typer

from mooring.app import teardown
from mooring.app.lifecycle import down, refuse
from mooring.app.settings import Settings
from mooring.cli.progress import Progress
from mooring.cli.target import DataDir, files
from mooring.edges import preflight


def command(
    data_dir: DataDir = None,
    name: Annotated[str, typer.Option(help="Of a cluster whose directory is lost [default: what the directory says].")] = "",
    purge: Annotated[bool, typer.Option("--purge", help="Forget the cluster's state, keys and logs as well.")] = False,
) -> None:
    """Stop the cluster: every process, namespace, link, mount and cgroup of it goes.

    Its state, keys and logs stay in its directory for the next `up`, unless --purge. Works after any crash, and when repeated.
    """
    refuse([preflight.check_root()])
    found = files(data_dir)
    chosen = name or found.stored_settings().get("name") or Settings().name
    stopped = down(found, chosen, Progress().show)
    if purge:
        teardown.purge(found)
    print(f"cluster {chosen!r} is down" if stopped else f"no cluster {chosen!r} is running")
