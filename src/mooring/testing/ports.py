"""On which port can a server listen a moment later? One that neither a client nor another test has taken by then.

A port that the kernel chooses (bind to 0) is one of those that it also gives to clients: in the moment between closing and
listening any process of the machine may get it. These are from below, though above those that components have by default; each
worker of pytest-xdist has its own, and none is given twice.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

_FIRST, _LANES = 12_000, 8


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody has at this address, by TCP or UDP. Raises StopIteration when all were given."""
    return next(port for port in _candidates() if _is_free(host, port))


@cache
def _candidates() -> Iterator[int]:
    """What is left of this process's share of the ports."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    lane = range(_FIRST + worker % _LANES, low, _LANES)
    begin = os.getpid() % len(lane)
    return iter((*lane[begin:], *lane[:begin]))


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with closing(socket.socket(family, kind)) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
