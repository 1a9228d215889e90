"""Which cluster does a command mean? --data-dir, MOORING_DATA_DIR, --kubeconfig, KUBECONFIG, in that order; else the default
directory.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from mooring.app.connection import Connection
from mooring.app.files import Files
from mooring.app.settings import DEFAULT_DATA_DIR, Settings, load
from mooring.cli.main import CommandError
from mooring.edges.http import kubeconfig
from mooring.edges.http.kubeconfig import Access

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The cluster's directory [default: /var/lib/mooring].")]
Kubeconfig = Annotated[Path | None, typer.Option("--kubeconfig", help="A kubeconfig, of this or any other cluster.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="The namespace; the kubeconfig's when not given.")]


def access(data_dir: Path | None = None, config: Path | None = None) -> Access:
    """The API server and our keys. Raises CommandError when no cluster is found, KubeconfigError."""
    path = _kubeconfig_path(data_dir, config)
    if not path.exists():
        raise CommandError(f"no cluster: {path} does not exist; `mooring up` starts one")
    return kubeconfig.load(path)


def connection(data_dir: Path | None = None, config: Path | None = None) -> Connection:
    return Connection(access(data_dir, config))


def files(data_dir: Path | None = None, config: Path | None = None) -> Files:
    """The local cluster's directory, for the commands that reach into this machine."""
    path = _kubeconfig_path(data_dir, config)
    return Files(path.parent)


def local(data_dir: Path | None = None, config: Path | None = None) -> tuple[Settings, Files]:
    """The running local cluster. Raises CommandError when the directory holds none."""
    found = files(data_dir, config)
    if not found.settings.exists():
        raise CommandError(f"no local cluster in {found.root}; `mooring up` starts one")
    return load({"data-dir": found.root}, {}, stored=found.stored_settings()), found


def _kubeconfig_path(data_dir: Path | None, config: Path | None) -> Path:
    if data_dir or os.environ.get("MOORING_DATA_DIR"):
        return Path(os.path.abspath(data_dir or os.environ["MOORING_DATA_DIR"])) / "kubeconfig"
    if config:
        return config
    if first := os.environ.get("KUBECONFIG", "").split(":")[0]:
        return Path(first)
    return DEFAULT_DATA_DIR / "kubeconfig"
