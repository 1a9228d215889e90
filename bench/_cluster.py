"""How does a benchmark get a cluster of its own? `mooring up` under its own name, taken down at the end, whatever happened."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

MOORING = str(Path(sys.executable).parent / "mooring")


class Cluster(Struct, frozen=True):
    name: str
    data_dir: Path

    @property
    def kubeconfig(self) -> Path:
        return self.data_dir / "kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "MOORING_DATA_DIR": str(self.data_dir), "KUBECONFIG": str(self.kubeconfig)}

    def mooring(self, *arguments: str) -> str:
        """Standard output. Raises RuntimeError with the command's own words."""
        done = subprocess.run([MOORING, *arguments], env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"mooring {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """A command that goes on, with its output to read from."""
        return subprocess.Popen(
            [MOORING, *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )


@contextmanager
def cluster(name: str, nodes: int = 2) -> Iterator[Cluster]:
    made = Cluster(name, Path(tempfile.mkdtemp(prefix=f"mooring-{name}-")))
    try:
        made.mooring(
            "up", "--detach", "--name", name, "--nodes", str(nodes), "--api-port", "0", "--controllers-port", "0",
            "--data-dir", str(made.data_dir),
        )  # fmt: skip
        yield made
    finally:
        subprocess.run([MOORING, "down", "--data-dir", str(made.data_dir)], capture_output=True, check=False)
        shutil.rmtree(made.data_dir, ignore_errors=True)


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` (0..1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
