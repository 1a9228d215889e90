"""mooring doctor: can this machine run a cluster, and what is missing?"""

import os
from collections.abc import Iterator
from typing import Annotated

import typer

from mooring.app import settings as configuration
from mooring.app.lifecycle import local_checks
from mooring.cli import output
from mooring.cli.target import DataDir, files
from mooring.edges import preflight
from mooring.edges.netlink import namespaces, topology


def command(
    data_dir: DataDir = None,
    form: Annotated[str, typer.Option("--output", "-o", help="json")] = "",
) -> None:
    """Try everything a cluster needs and say for each what was found and, if it failed, what to do."""
    found = files(data_dir)
    settings = configuration.load({"data-dir": found.root}, os.environ, stored=found.stored_settings())
    checks = [*preflight.machine(), *local_checks(settings), *_node_ports(settings)]
    if form:
        fields = ("name", "passed", "needed", "found", "remedy")
        output.document([{field: getattr(check, field) for field in fields} for check in checks], form)
    else:
        for check in checks:
            verdict = "ok  " if check.passed else "FAIL" if check.needed else "warn"
            print(f"{verdict}  {check.name}: {check.found}")
            if not check.passed:
                print(f"      what to do: {check.remedy}")
    if preflight.failures(checks):
        raise typer.Exit(1)


def _node_ports(settings: configuration.Settings) -> Iterator[preflight.Check]:
    """Of this machine, as a node by itself, and of the cluster's nodes that run here."""
    places = (topology.namespace_name(settings.name, name) for name in settings.node_names)
    for place in ("", *filter(namespaces.exists, places)):
        yield preflight.check_node_ports(settings.node_ports, place)
