"""How is NGINX started, told to reload, and spoken to?"""

import os
import resource
import signal
from collections.abc import Mapping
from pathlib import Path

PROGRAM = "/usr/sbin/nginx"
CONFIG = "nginx.conf"
PID = "nginx.pid"
MOST_FILES = 65536


def command(folder: str, config: str = CONFIG, workers: int = 1) -> tuple[str, ...]:
    """Runs NGINX in the foreground with this configuration of the folder."""
    # Workers of a master that is root would become nobody, who may not read the folder.
    user = "user root; " if os.geteuid() == 0 else ""
    settings = f"{user}worker_processes {workers}; worker_rlimit_nofile {open_files()};"
    return (PROGRAM, "-p", folder, "-c", f"{folder}/{config}", "-e", "stderr", "-g", settings)


def open_files() -> int:
    """How many a worker may have: nobody without privileges gets more than the hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)


def request(path: str, body: bytes = b"") -> bytes:
    """To the control server, on a connection of its own."""
    head = f"POST {path} HTTP/1.1\r\nHost: control\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(received: bytes) -> str:
    """The body of a 200. Raises ConnectionError."""
    head, separator, body = received.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if not separator or status != [b"200"]:
        raise ConnectionError(body.decode("utf-8", "replace").strip() or "no answer from the control socket")
    return body.decode("utf-8", "replace")


def fields(text: str) -> Mapping[str, str]:
    """Of an answer to /state."""
    return {name: value for name, _, value in (line.partition(" ") for line in text.splitlines())}


def reload(folder: str) -> None:
    """Raises OSError if no NGINX runs there."""
    os.kill(_master(folder), signal.SIGHUP)


def generations(folder: str) -> int:
    """How many times the workers that serve there are others, which end as soon as their connections let them."""
    serving, ending = 0, 0
    try:
        master = _master(folder)
        for child in Path(f"/proc/{master}/task/{master}/children").read_text().split():
            title = Path(f"/proc/{child}/cmdline").read_bytes()
            ending += b"shutting down" in title
            serving += b"worker process" in title and b"shutting down" not in title
    except OSError:
        return 0  # it is about to end, or does
    return -(-ending // max(serving, 1))


def _master(folder: str) -> int:
    try:
        return int(Path(folder, PID).read_text())
    except ValueError as error:
        raise ProcessLookupError("NGINX has no pid file") from error
