"""How is a container's output kept? In the CRI's log format: `2026-01-02T03:04:05.000000006Z stdout F text`.

Source: Kubernetes docs, "Logging Architecture"; kubelet's CRI log parser. A line longer than 16 KiB, and a last line without an
end, are partial: tag P. A full log is moved aside as `log.1`, the older ones counting up.
"""

import contextlib
import os
import time

MAX_LINE = 16 * 1024
_CHUNK = 64 * 1024


class Log:
    """One log file of one run. `limit` is in bytes; `kept` moved-aside files stay. It is closed when the run and its streams
    have let go of it."""

    def __init__(self, path, limit, kept):
        self.path, self.limit, self.kept = path, limit, kept
        self.holders = 1
        self._open()

    def let_go(self):
        self.holders -= 1
        if not self.holders:
            os.close(self.file)

    def _open(self):
        self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self.size = os.fstat(self.file).st_size

    def write(self, data):
        """What a full disk does not take is lost: the containers go on."""
        with contextlib.suppress(OSError):
            if self.size and self.size + len(data) > self.limit:
                self._rotate()
            self.size += os.write(self.file, data)

    def _rotate(self):
        full = self.file
        for number in range(self.kept, 0, -1) if os.path.exists(self.path) else ():
            source = f"{self.path}.{number - 1}" if number > 1 else self.path
            if os.path.exists(source):
                os.rename(source, f"{self.path}.{number}")
        self._open()
        os.close(full)


class Stream:
    """One of a run's two pipes, or its terminal: cuts what arrives into lines and writes them; listeners get it as it is."""

    def __init__(self, log, name, descriptor):
        self.log, self.name, self.descriptor = log, name.encode(), descriptor
        self.rest, self.open = b"", True
        self.listeners = set()
        log.holders += 1

    def read(self):
        """Copies what is there. True at the end of the stream."""
        data = self._take()
        if data is None:
            return False
        if not data:
            self.flush()
        return not data

    def drain(self):
        """Copies until nothing is left to read now."""
        while self._take():
            pass
        self.flush()

    def _take(self):
        """Copies one piece: None when there is none now, b"" at the end (of a terminal: EIO, when nobody has it open)."""
        try:
            data = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""
        if data:
            self._copy(self.rest + data)
            for listener in tuple(self.listeners):
                listener.tell(data)
        return data

    def flush(self):
        if self.rest:
            self.log.write(b"%s %s P %s\n" % (now(), self.name, self.rest))
            self.rest = b""

    def _copy(self, data):
        stamp, out = now(), []
        lines = data.split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            while len(line) > MAX_LINE:
                out.append(b"%s %s P %s\n" % (stamp, self.name, line[:MAX_LINE]))
                line = line[MAX_LINE:]
            out.append(b"%s %s F %s\n" % (stamp, self.name, line))
        while len(self.rest) > MAX_LINE:
            out.append(b"%s %s P %s\n" % (stamp, self.name, self.rest[:MAX_LINE]))
            self.rest = self.rest[MAX_LINE:]
        if out:
            self.log.write(b"".join(out))


def now():
    """RFC 3339 with nanoseconds, UTC."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % nanoseconds
