"""How does a process, a thread or a socket get into a network namespace?

Namespaces are the named ones of `ip netns`: a file under /run/netns that holds the namespace (ip-netns(8)). Entering uses
setns(2) through ctypes, since os.setns came with Python 3.12. A namespace belongs to a thread, so work inside one runs in a
thread of its own that ends with the work: no other thread ever finds itself in the wrong place.
"""

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path("/run/netns")
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
Result = TypeVar("Result")


def path(name: str) -> Path:
    """The file that holds a named namespace."""
    return ROOT / name


def exists(name: str) -> bool:
    return path(name).exists()


def named(prefix: str) -> list[str]:
    """The names that start with `prefix`, sorted."""
    return sorted(entry.name for entry in ROOT.glob(prefix + "*")) if ROOT.is_dir() else []


def setns(descriptor: int, kind: int = CLONE_NEWNET) -> None:
    """Moves the calling thread into the namespace an open descriptor holds. Raises OSError."""
    if _libc.setns(descriptor, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter the namespace: {os.strerror(number)}")


def enter(name: str) -> None:
    """Moves the calling thread into a named namespace, for good."""
    descriptor = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(descriptor)
    finally:
        os.close(descriptor)


def within(name: str, work: Callable[[], Result]) -> Result:
    """Runs `work` inside a named namespace and returns what it returns, or raises what it raises. Blocks until it is done.

    Sockets made and processes started by `work` stay in that namespace.
    """
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            enter(name)
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name=f"in {name}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def open_socket(name: str, family: int, kind: int) -> socket.socket:
    """A socket that lives in a named namespace while the caller stays where it is."""
    return within(name, lambda: socket.socket(family, kind))
