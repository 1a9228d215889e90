"""mooring bench: run a benchmark."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

import mooring
from mooring.cli.main import CommandError


def command(
    name: Annotated[str, typer.Argument(help="Which; `--list` shows them all.")] = "",
    everything: Annotated[bool, typer.Option("--list", help="Show which there are.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object of named figures.")] = False,
) -> int:
    """Run a benchmark: real peers in the same run, ratios first."""
    checkout = Path(mooring.__file__).resolve().parents[2]
    if not (checkout / "bench" / "__main__.py").exists():
        raise CommandError(f"the benchmarks belong to a checkout of the repository; {checkout} has none")
    flags = ["--list"] * everything + ["--json"] * json
    return subprocess.run([sys.executable, "-m", "bench", *filter(None, [name]), *flags], cwd=checkout, check=False).returncode
