"""How does a test run many commands without waiting, each time, for Python to start and load them?

A process that has loaded the commands (multiprocessing's fork server) forks for each: process, arguments, streams, environment
and exit code are its own as ever, it only begins where the imports end. Commands that tests start in full show the rest: `up`,
the roles, what has a terminal, is killed, watched or told to be on this node.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from mooring.cli.main import COMMANDS, run

STREAMS = ("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY)
"""In the order of their descriptors: file and flag."""

_turn = threading.Lock()
"""Starting a process looks for those that have ended: of two threads that read one's exit code, only one would get it."""
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    [
        *(f"mooring.cli.{name}" for title, group in COMMANDS.items() if not title.startswith("Roles") for name in group),
        *(f"mooring.cli.{name}" for name in ("explain_ingress", "jsonpath", "remote_command", "trace_query", "trace_request")),
        "typer._adapters",
    ]
)


def run_warm(
    words: Sequence[str], stdin: str, environment: Mapping[str, str], patience: float
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run of `mooring` with these words, text captured. Raises TimeoutExpired."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stream, _ in STREAMS:
            (folder / stream).write_text(stdin if stream == "stdin" else "")
        process = _server.Process(target=_become, args=(list(words), folder, dict(environment)))
        with _turn:
            process.start()
        if not wait([process.sentinel], patience):
            process.kill()
            raise subprocess.TimeoutExpired(["mooring", *words], patience)
        with _turn:
            process.join()
        told = {stream: (folder / stream).read_text() for stream in ("stdout", "stderr")}
    return subprocess.CompletedProcess(["mooring", *words], process.exitcode, **told)


def _become(words: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    """In the forked process."""
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, (stream, flag) in enumerate(STREAMS):
        os.dup2(os.open(folder / stream, flag | os.O_CLOEXEC), descriptor)
    sys.stdin, sys.argv = os.fdopen(0), ["mooring", *words]
    sys.exit(run(words))
