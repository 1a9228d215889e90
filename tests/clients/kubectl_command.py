"""How a test runs one kubectl in one namespace, and waits for what comes of it."""

import os
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from local_cluster import PATIENCE, Cluster, eager

Done = subprocess.CompletedProcess[str]
DEADLINE = 60.0
"""Seconds that a condition gets."""


@cache
def minor(binary: Path) -> int:
    """NN of version 1.NN."""
    said = subprocess.run([binary, "version", "--client", "-o", "json"], capture_output=True, check=True).stdout
    return int(json.decode(said)["clientVersion"]["minor"].rstrip("+"))


class Kubectl:
    """One kubectl in one namespace. Commands fail the test, with what they wrote, unless `check` is False."""

    def __init__(self, binary: Path, cluster: Cluster, namespace: str, home: Path) -> None:
        self.binary, self.namespace = binary, namespace
        self.environment = eager(
            {
                **{name: value for name, value in os.environ.items() if not name.startswith("MOORING_")},
                "KUBECONFIG": str(cluster.kubeconfig),
                "HOME": str(home),
                "TMPDIR": str(home),  # kubectl leaves there what was edited and refused
            }
        )
        self.minor = minor(binary)

    def words(self, *arguments: str) -> list[str]:
        """Flags go last, where every command takes them, but before a command for a container."""
        place = arguments.index("--") if "--" in arguments else len(arguments)
        return [str(self.binary), *arguments[:place], "--namespace", self.namespace, *arguments[place:]]

    def run(self, *arguments: str, stdin: str = "", check: bool = True, editor: str = "") -> Done:
        environment = {**self.environment, "KUBE_EDITOR": editor} if editor else self.environment
        words = self.words(*arguments)
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(words)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def __call__(self, *arguments: str, stdin: str = "", editor: str = "") -> str:
        """What a command that succeeds writes."""
        return self.run(*arguments, stdin=stdin, editor=editor).stdout

    def refused(self, *arguments: str, stdin: str = "", editor: str = "") -> str:
        """What a command that must fail with 1 says of it."""
        done = self.run(*arguments, stdin=stdin, check=False, editor=editor)
        assert (1, "") == (done.returncode, done.stdout), done.stderr
        return done.stderr

    def json(self, *arguments: str) -> Any:
        return json.decode(self(*arguments, "-o", "json"))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that goes on, its output to be read line by line."""
        return subprocess.Popen(
            self.words(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        )


def eventually(look: Callable[[], Any], wanted: Callable[[Any], object]) -> Any:
    """What `look` gives as soon as it is wanted. Fails with the last thing seen."""
    deadline = time.monotonic() + DEADLINE
    while not wanted(seen := look()):
        if time.monotonic() > deadline:
            pytest.fail(f"not what was wanted after {DEADLINE} s: {seen}")
        time.sleep(0.1)
    return seen
