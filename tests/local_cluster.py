"""A local cluster as the tests drive it: from outside, by the same commands that people use."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PATIENCE = 60.0
"""Seconds after which a command counts as hung."""


class Cluster:
    """A cluster by its directory. Commands raise CalledProcessError, with what they wrote, unless `check` is False."""

    def __init__(self, name: str, data_dir: Path) -> None:
        self.name, self.data_dir = name, data_dir
        self.kubeconfig = data_dir / "kubeconfig"

    def up(self, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Starts it detached, on free ports."""
        ports = ("--api-port", "0", "--controllers-port", "0")
        return self.mooring("up", "--detach", "--name", self.name, *ports, *more, check=check)

    def down(self, *more: str) -> None:
        self.mooring("down", "--name", self.name, *more)

    def mooring(self, command: str, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """`mooring COMMAND` on this cluster."""
        words = (sys.executable, "-m", "mooring.cli.main", command, "--data-dir", str(self.data_dir), *arguments)
        return _run(words, stdin, check)

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run((kubectl(), "--kubeconfig", str(self.kubeconfig), *arguments), stdin, check)

    def in_pod(self, pod: str, *argv: str, namespace: str = "default") -> str:
        """What a command in a pod writes."""
        return self.mooring("exec", "-n", namespace, pod, "--", *argv).stdout

    def on_node(self, node: str, *argv: str) -> str:
        """What a command in a node's network namespace writes."""
        return self.mooring("exec", "--node", node, "--", *argv).stdout

    def outside(self, *argv: str) -> str:
        """What a command in the external client's network namespace writes."""
        return self.mooring("exec", "--outside", "--", *argv).stdout


def kubectl() -> str:
    """The stock kubectl: the environment's KUBECTL, else the one on the PATH."""
    found = os.environ.get("KUBECTL") or shutil.which("kubectl")
    assert found, "kubectl is needed: scripts/bootstrap installs it"
    return found


def _run(words: Sequence[str], stdin: str, check: bool) -> subprocess.CompletedProcess[str]:
    # A setting or cluster of the developer's own must not reach in here.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MOORING_") and key != "KUBECONFIG"}
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False, env=clean)
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(words)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done
