"""What does a worker process do? It answers from the table on its sockets, hands over what it cannot answer, and nothing else.

`python -m mooring.edges.dns.worker FOLDER NUMBER CGROUP SOCKET...`, started by the pool with sockets as inherited descriptors.
In the folder are the table, the agent's `ask.sock`, and for each worker a lock file, by which the next agent finds it, and its
counters. It imports little, so that it starts in some 30 ms; it lives until a signal ends it, whatever becomes of the agent.
"""

import fcntl
import mmap
import os
import socket
import sys
import time

from mooring.dns.table import MAGIC

try:
    from mooring.edges.dns import hotpath as loop
except ImportError:
    from mooring.edges.dns import plainpath as loop  # type: ignore[no-redef]

TABLE, ASK_SOCKET = "table", "ask.sock"
COUNTERS_SIZE = 1024
SEND_BUFFER = 4 << 20
"""Octets of questions that wait for the agent; more are dropped."""
RECONNECT = 50
"""Milliseconds between two tries to find an agent."""
TABLE_PAUSE = 0.01
FOREIGN_TABLE, BROKEN_SOCKET, NOT_ALONE = 3, 4, 5
"""Exit codes: the table is of another version; a socket is no longer one; another worker has this number."""
_SO_SNDBUFFORCE = 32


def lock_file(number: int) -> str:
    return f"worker-{number}.lock"


def counters_file(number: int) -> str:
    return f"worker-{number}.counters"


def main(arguments: list[str]) -> int:
    folder, number, group = arguments[0], int(arguments[1]), arguments[2]
    sockets = tuple(map(int, arguments[3:]))
    if group:
        with open(f"{group}/cgroup.procs", "w") as procs:
            procs.write("0")
    os.chdir(folder)  # names below are short enough for a Unix socket, however long the folder's is
    lock = os.open(lock_file(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return NOT_ALONE
    inodes = ",".join(str(os.fstat(descriptor).st_ino) for descriptor in sockets)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {MAGIC} {inodes}\n".encode(), 0)
    return work(number, sockets, counters(number))


def counters(number: int) -> mmap.mmap:
    """They go on from where an earlier worker of this number left them."""
    descriptor = os.open(counters_file(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(descriptor, COUNTERS_SIZE)
    mapped = mmap.mmap(descriptor, COUNTERS_SIZE)
    os.close(descriptor)
    return mapped


def work(number: int, sockets: tuple[int, ...], counted: mmap.mmap) -> int:
    """Until something is wrong: which exit code tells it."""
    agent: socket.socket | None = None
    while True:
        agent = agent or connect()
        handover = agent.fileno() if agent else -1
        why = loop.serve(TABLE, sockets, -1, handover, number, counted, -1 if agent else RECONNECT)
        if why == loop.FOREIGN:
            return FOREIGN_TABLE
        if why == loop.BROKEN:
            return BROKEN_SOCKET
        if why == loop.NO_TABLE:
            time.sleep(TABLE_PAUSE)
        if why == loop.HANDOVER_LOST and agent:
            agent.close()
            agent = None


def connect() -> socket.socket | None:
    """To the agent, where there is one."""
    agent = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        agent.connect(ASK_SOCKET)
    except OSError:
        agent.close()
        return None
    try:
        agent.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, SEND_BUFFER)
    except PermissionError:
        agent.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return agent


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
