"""What does the shim know of a process that it started?"""

import contextlib
import json
import os
import signal
import time


class Child:
    """A process of ours: a container's first process or an executed command."""

    def __init__(self, pid, errors):
        self.pid, self.pidfd, self.errors = pid, os.pidfd_open(pid), errors
        self.why = b""

    def kill(self, number):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def reap(self):
        """Exit code and signal, as upstream's container status has them."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        if os.WIFSIGNALED(status):
            return 128 + os.WTERMSIG(status), os.WTERMSIG(status)
        return os.WEXITSTATUS(status), 0


class Running(Child):
    """A container's run: its files are in `directory`."""

    def __init__(self, pid, spec, streams):
        super().__init__(pid, None)
        self.spec, self.streams = spec, streams
        self.started = time.time_ns()
        self.starter = self.console = self.terminal = self.stdin = None
        self.attached = set()

    @property
    def entered(self):
        """Whether it executes its command. Before that it may still have the host's root, where nobody is to be let in."""
        return self.errors is None and not self.why

    def close_stdin(self):
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def record(self, **more):
        """Writes state.json; a reader sees the old or the new one."""
        path = self.directory + "/state.json"
        with open(path + ".new", "w") as file:
            json.dump({"pid": self.pid, "started": self.started, **more}, file)
        os.rename(path + ".new", path)
