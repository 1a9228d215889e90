"""A local cluster as the tests drive it: from outside, by the same commands that people use."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from mooring.edges.netlink import namespaces
from mooring.edges.netlink.topology import namespace_name
from warm_command import run_warm

PATIENCE = 100.0
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
        """`mooring COMMAND` on this cluster, warm but for `up`, whose process lives on."""
        words = (command, "--data-dir", str(self.data_dir), *arguments)
        if command == "up":
            return self.cold(*words, check=check)
        return _checked(run_warm(words, stdin, _environment(), PATIENCE), check)

    def cold(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`mooring` with these words alone, by an interpreter of its own."""
        return _run((sys.executable, "-m", "mooring.cli.main", *words), "", check)

    def pid(self, part: str) -> int:
        """The process of what `status` names so; 0 while it does not run."""
        parts = json.loads(self.mooring("status", "-o", "json", check=False).stdout)["parts"]
        found: int = next(each["pid"] for each in parts if each["name"] == part)
        return found

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run((kubectl(), "--kubeconfig", str(self.kubeconfig), *arguments), stdin, check)

    def in_pod(self, pod: str, *argv: str, namespace: str = "default") -> str:
        """What a command in a pod writes."""
        return self.mooring("exec", "-n", namespace, pod, "--", *argv).stdout

    def on_node(self, node: str, *argv: str) -> str:
        """What a command in a node's network namespace writes."""
        return self.mooring("exec", "--node", node, "--", *argv).stdout

    def within(self, place: str) -> list[str]:
        """Words before a command that is to run, and live on, in a network namespace: a node's, or the `outside`."""
        return ["nsenter", f"--net={namespaces.path(namespace_name(self.name, place))}"]

    def outside(self, *argv: str) -> str:
        """What a command in the external client's network namespace writes."""
        return self.mooring("exec", "--outside", "--", *argv).stdout


def kubectl() -> str:
    """The stock kubectl: the environment's KUBECTL, else the newest of those found."""
    return os.environ.get("KUBECTL") or str(kubectls()[-1])


@cache
def kubectls() -> tuple[Path, ...]:
    """Every kubectl.1.NN beside that of the PATH, or in the directory that MOORING_KUBECTLS names, oldest first; then it.

    It is not among them where it has versions beside it: it asks the server which one to become, and runs that.
    """
    found = shutil.which("kubectl")
    assert found, "kubectl is needed: scripts/bootstrap installs it"
    named = os.environ.get("MOORING_KUBECTLS")
    versions = sorted(Path(named or Path(found).resolve().parent).glob("kubectl.1.[0-9][0-9]"))
    return tuple(versions) if versions and not named else (*versions, Path(found))


def eager(environment: dict[str, str]) -> dict[str, str]:
    """A kubectl lives for a tenth of a second: collecting its garbage is a third of its work."""
    return {"GOGC": "400", **environment}


def _run(words: Sequence[str], stdin: str, check: bool) -> subprocess.CompletedProcess[str]:
    env = eager(_environment())
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False, env=env)
    return _checked(done, check)


def _environment() -> dict[str, str]:
    """A setting or cluster of the developer's own must not reach in here."""
    return {key: value for key, value in os.environ.items() if not key.startswith("MOORING_") and key != "KUBECONFIG"}


def _checked(done: subprocess.CompletedProcess[str], check: bool) -> subprocess.CompletedProcess[str]:
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(done.args)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done
