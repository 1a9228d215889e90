"""How do a proxy and its control process live together? A supervisor small enough to be a pod's first process.

It imports the standard library alone: it lives as long as the pod, and its memory with it. The control process says by a file,
`<run>/launch.json`, which proxy is to be started and how it is drained; from then on the two do not depend on each other.
Control that dies is started again, the proxy goes on serving; a proxy that dies ends the supervisor, and so the container, with
code 1.

    SIGTERM, SIGHUP: the proxy drains (not ready any more, answers ask clients to leave), then both are stopped
    SIGINT:          both are stopped

    python -m mooring.app.gateway_supervisor RUN_DIR DRAIN_SECONDS CONTROL_COMMAND...
"""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

FIRST_PAUSE, LONGEST_PAUSE, GROWN_UP = 0.05, 20.0, 10.0
"""Seconds before control is started again, doubled while it dies before it is grown up (as app/process.py does it)."""
LAUNCH = "launch.json"
"""Written by control, whole at once: {"argv": [...], "drain": [[SOCKET, METHOD, PATH], ...], "active": [SOCKET, METHOD, PATH]}.
`drain` are requests that make the proxy drain; the lines `NAME: NUMBER` of the answer to `active` count connections left;
"stop": the signal that ends it once there are none."""
PROPAGATION = 3.0
"""Seconds for which new connections may still come: balancers must first see that this proxy is not ready."""
POLL, PATIENCE = 0.1, 5.0
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
DRAINING = (signal.SIGTERM, signal.SIGHUP)
SIGNALS = (*DRAINING, signal.SIGINT, signal.SIGCHLD)

Request = tuple[str, str, str]
"""(Unix socket, method, path)"""


class Supervisor:
    def __init__(self, folder: Path, drain_seconds: float, control: list[str]) -> None:
        self._launch, self._drain_seconds, self._control_argv = folder / LAUNCH, drain_seconds, control
        self._control, self._proxy = 0, 0
        self._proxy_code: int | None = None
        self._born = 0.0
        self._pause, self._again_at = FIRST_PAUSE, 0.0
        self._plan: dict[str, Any] = {}
        self._stopping = False

    def run(self) -> int:
        """Until a signal or the proxy's end; the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # whoever started us may ignore one (nohup), and it would never come
        if os.getpid() != 1:
            # What a killed proxy leaves behind (NGINX its workers, which keep the ports) comes to us, as it does to process 1.
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._launch.unlink(missing_ok=True)  # of an earlier life in the same folder
        while True:
            self._start_what_is_due()
            got = self._wait(POLL if not self._proxy or not self._control else 3600.0)
            if self._proxy_code is not None:
                say(f"the proxy {how_it_ended(self._proxy_code)}")
                self._stop()
                return 1
            if got in DRAINING:
                self._stop(signal.Signals(self._plan.get("stop", signal.SIGTERM)) if self._drain() else signal.SIGTERM)
                return 0
            if got == signal.SIGINT:
                self._stop()
                return 0

    def _start_what_is_due(self) -> None:
        if not self._control and time.monotonic() >= self._again_at:
            self._control, self._born = start(self._control_argv), time.monotonic()
        if not self._proxy and self._launch.exists():
            self._plan = json.loads(self._launch.read_bytes())
            self._proxy = start(self._plan["argv"])

    def _wait(self, seconds: float) -> int:
        """Sleeps until a signal comes; buries the dead. The signal's number, 0 for none."""
        got = signal.sigtimedwait(SIGNALS, seconds)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break
            self._buried(pid, os.waitstatus_to_exitcode(status))
        return got.si_signo if got else 0

    def _buried(self, pid: int, code: int) -> None:
        if pid == self._proxy:
            self._proxy, self._proxy_code = 0, code
        elif pid == self._control:
            self._control = 0
            self._pause = FIRST_PAUSE if time.monotonic() - self._born > GROWN_UP else self._pause
            self._again_at = time.monotonic() + self._pause
            if not self._stopping:
                say(f"control {how_it_ended(code)}; starting it again in {self._pause:g} s")
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _drain(self) -> bool:
        """Until no connection is left (True), the time is up, or SIGINT comes. Control goes on meanwhile: endpoints still
        change."""
        if not self._proxy or self._drain_seconds <= 0:
            return False
        for each in self._plan.get("drain", ()):
            with contextlib.suppress(OSError):
                ask(tuple(each))
        begun = time.monotonic()
        earliest, latest = begun + min(PROPAGATION, self._drain_seconds), begun + self._drain_seconds
        while self._proxy and (now := time.monotonic()) < latest:
            if now >= earliest and self._active() == 0:
                return True
            self._start_what_is_due()
            if self._wait(POLL) == signal.SIGINT:
                return False
        if self._proxy:
            left = "some" if (active := self._active()) is None else active
            say(f"{left} connections are cut off: {self._drain_seconds:g} s were not enough for them")
        return False

    def _active(self) -> int | None:
        """How many connections the proxy still has. One that is too busy to say so may have some: None."""
        if not self._plan.get("active"):
            return 0
        try:
            answer = ask(tuple(self._plan["active"]))
        except OSError:
            return None
        found = re.findall(r": (\d+)\s*$", answer, re.MULTILINE)
        return sum(map(int, found)) if found else None

    def _stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        """`first`: what the proxy gets to begin with."""
        self._stopping = True
        for numbers in ((first, signal.SIGTERM), (signal.SIGKILL, signal.SIGKILL)):
            for pid, number in zip((self._proxy, self._control), numbers, strict=True):
                if pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            until = time.monotonic() + PATIENCE
            while (self._proxy or self._control) and time.monotonic() < until:
                self._wait(POLL)
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def start(argv: list[str]) -> int:
    """A child that dies with us; its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.execvp(argv[0], argv)
    except OSError as error:
        say(f"{argv[0]}: {error.strerror}")
    finally:
        os._exit(127)


def prctl(option: int, value: int) -> None:
    import ctypes  # here, so that process 1 of a pod never holds it

    ctypes.CDLL(None).prctl(option, value)


def children() -> list[int]:
    """Ours, and those that were left to us. None where there is no /proc of ours."""
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    return []


def ask(request: Request) -> str:
    """The body of the answer, as it came. Raises OSError."""
    place, method, path = request
    answer = b""
    with socket.socket(socket.AF_UNIX) as opened:
        opened.settimeout(PATIENCE)
        opened.connect(place)
        opened.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
        )
        while part := opened.recv(65536):
            answer += part
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace")


def how_it_ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def say(line: str) -> None:
    print(f"gateway: {line}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    folder, drain_seconds, *control = arguments
    return Supervisor(Path(folder), float(drain_seconds), control).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
