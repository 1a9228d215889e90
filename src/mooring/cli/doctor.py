"""mooring doctor: can this machine run a cluster, and what is missing?"""

import os
from typing import Annotated

import typer

from mooring.app import settings as configuration
from mooring.app.lifecycle import local_checks
from mooring.cli import output
from mooring.cli.target import DataDir, files
from mooring.edges import preflight


def command(
    data_dir: DataDir = None,
    form: Annotated[str, typer.Option("--output", "-o", help="json")] = "",
) -> None:
    """Try everything a cluster needs and say for each what was found and, if it failed, what to do."""
    found = files(data_dir)
    settings = configuration.load({"data-dir": found.root}, os.environ, stored=found.stored_settings())
    checks = [*preflight.machine(), *local_checks(settings)]
    if form:
        output.document([{"name": c.name, "passed": c.passed, "found": c.found, "remedy": c.remedy} for c in checks], form)
    else:
        for check in checks:
            print(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.found}")
            if not check.passed:
                print(f"      what to do: {check.remedy}")
    if preflight.failures(checks):
        raise typer.Exit(1)
