"""How does one look into a container that runs? Copies of its output go to listeners; its input is handed out.

A listener that reads slowly makes its stream wait, and with it the container, as with any pipe: no more than one piece is held.
Source: containerd's CRI plugin (stdin and stdinOnce), Kubernetes API reference, Container.
"""

import os
import select


class Listener:
    """Writes what a stream says to a descriptor, which is its own."""

    def __init__(self, shim, stream, descriptor):
        self.shim, self.stream, self.descriptor = shim, stream, descriptor
        self.pending, self.over = b"", False
        os.set_blocking(descriptor, False)
        stream.listeners.add(self)

    def tell(self, data):
        waited = bool(self.pending)
        self.pending += data
        if not waited:
            self.flush()

    def flush(self):
        try:
            while self.pending:
                self.pending = self.pending[os.write(self.descriptor, self.pending) :]
        except BlockingIOError:
            self.shim.watch(self.descriptor, self.flush, select.EPOLLOUT)
            self.shim.pace(self.stream)
            return
        except OSError:
            self.close()
            return
        self.shim.forget(self.descriptor)
        if self.over:
            self.close()
        self.shim.pace(self.stream)

    def end(self):
        """The stream says no more."""
        self.over = True
        self.stream.listeners.discard(self)
        if not self.pending:
            self.close()

    def close(self):
        self.stream.listeners.discard(self)
        if self.descriptor >= 0:
            self.shim.forget(self.descriptor)
            os.close(self.descriptor)
            self.descriptor, self.pending = -1, b""
            self.shim.pace(self.stream)


class Attachment:
    """One client's: as long as its connection. `names` are the streams of `descriptors`, each a pipe's writing end."""

    def __init__(self, shim, run, names, descriptors, stdin):
        self.run, self.stdin = run, stdin and run.spec.get("stdin", False)
        streams = {stream.name.decode(): stream for stream in run.streams if stream.open}
        self.listeners = []
        for name, descriptor in zip(names, descriptors, strict=False):
            if name in streams:
                self.listeners.append(Listener(shim, streams[name], os.dup(descriptor)))

    def handed_out(self):
        """What the client gets: the terminal's master, or the writing end of stdin if it asked for that and it is open."""
        if self.run.terminal is not None:
            return [self.run.terminal]
        return [self.run.stdin] if self.stdin and self.run.stdin is not None else []

    def end_input(self):
        """With stdinOnce the first client's end is the end of stdin."""
        if self.stdin and self.run.spec.get("stdin_once"):
            self.run.close_stdin()

    def close(self):
        self.end_input()
        for listener in self.listeners:
            listener.close()
