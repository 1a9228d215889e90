"""How does a shim serve? One loop over its socket, its containers' pipes and their pidfds; one request or event per packet.

Requests (JSON, SOCK_SEQPACKET) and their answers:
    {"op": "watch"}                                     then {"exited": container} at each exit
    {"op": "run", "argv": [...], "input": text}         {"code": n, "output": text}: a set-up command in the pod's network
    {"op": "start", "directory": path}                  {"started": pid} or {"failed": why}
    {"op": "signal", "container": name, "signal": n}    {}
    {"op": "exec", "container": name, "argv": [...], "terminal": bool} with three descriptors
                                                        {"started": pid} or {"failed": why}; then {"exited": code}
An exec lives as long as its connection: closing it kills the command.
"""

import array
import contextlib
import json
import os
import select
import signal
import socket
import time

import container
import kernel
import log

_PACKET = 64 * 1024


def main(directory):
    os.chdir(directory)
    with open("sandbox.json") as file:
        spec = json.load(file)
    container.join(spec["cgroup"] + "/shim")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _make_namespaces(spec)
    shim = Shim(directory, spec)
    os.write(1, b"ready\n")
    nowhere = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1):
        os.dup2(nowhere, target)
    shim.serve()


def _make_namespaces(spec):
    flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    kernel.unshare(flags | (0 if spec["host_network"] else kernel.CLONE_NEWNET))
    # On the host network too: several nodes of a local cluster share one machine, and each has a name of its own.
    socket.sethostname(spec["hostname"])
    # Slave, not private: a file system that the host unmounts must not be kept busy by pods.
    kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_SLAVE)
    if not spec["host_network"]:
        # As containerd sets them for pods: low ports and ping need no capability in a network that is the pod's own.
        for name, value in (("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")):
            with open("/proc/sys/net/ipv4/" + name, "w") as file:
                file.write(value)
    for path, options in spec["memory"].items():
        kernel.mount("tmpfs", path, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def run(argv, text):
    """Runs a command on at most a pipe's worth (64 KiB) of input; exit code and output. (subprocess takes 10 ms to import.)"""
    (source, feed), (result, sink) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    os.write(feed, text.encode())
    os.close(feed)
    actions = [(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_DUP2, sink, 2)]
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
    os.close(source)
    os.close(sink)
    with open(result, errors="replace") as file:
        output = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output


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

    def __init__(self, pid, errors, directory, spec, streams):
        super().__init__(pid, errors)
        self.directory, self.spec, self.streams = directory, spec, streams
        self.started = time.time_ns()
        self.starter = None

    def record(self, **more):
        """Writes state.json; a reader sees the old or the new one."""
        path = self.directory + "/state.json"
        with open(path + ".new", "w") as file:
            json.dump({"pid": self.pid, "started": self.started, **more}, file)
        os.rename(path + ".new", path)


class Shim:
    def __init__(self, directory, spec):
        self.directory, self.spec = directory, spec
        self.containers = {}
        self.watchers = set()
        self.poll = select.epoll()
        self.ready = {}
        self.own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self.pause = self._start_pause() if spec["share_processes"] else None
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind("shim.sock.new")
        os.chmod("shim.sock.new", 0o600)
        listener.listen(64)
        os.rename("shim.sock.new", "shim.sock")
        self._watch(listener.fileno(), lambda: self._accept(listener))

    def serve(self):
        while True:
            for descriptor, _ in self.poll.poll():
                act = self.ready.get(descriptor)
                if act:
                    act()

    def _watch(self, descriptor, act):
        self.ready[descriptor] = act
        self.poll.register(descriptor, select.EPOLLIN)

    def _forget(self, descriptor):
        if self.ready.pop(descriptor, None):
            self.poll.unregister(descriptor)

    def _start_pause(self):
        """PID 1 of a shared PID namespace: it reaps, and does nothing else."""
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            return pid
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            try:
                os.wait()
            except ChildProcessError:
                signal.pause()

    # Connections

    def _accept(self, listener):
        connection, _ = listener.accept()
        state = {"connection": connection, "command": None}
        self._watch(connection.fileno(), lambda: self._receive(state))

    def _receive(self, state):
        connection = state["connection"]
        descriptors = array.array("i")
        try:
            data, extra, _, _ = connection.recvmsg(
                _PACKET, socket.CMSG_SPACE(3 * descriptors.itemsize), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            data, extra = b"", []
        for level, kind, content in extra:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if data:
            try:
                self._act(state, json.loads(data), list(descriptors))
            except Exception as error:
                self._send(connection, {"failed": f"{type(error).__name__}: {error}"})
        else:
            self._forget(connection.fileno())
            self.watchers.discard(connection)
            if state["command"]:
                state["command"].kill(signal.SIGKILL)
            connection.close()
        for descriptor in descriptors:
            os.close(descriptor)

    def _send(self, connection, message):
        try:
            connection.send(json.dumps(message).encode(), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except OSError:
            self.watchers.discard(connection)

    def _act(self, state, request, descriptors):
        connection, op = state["connection"], request["op"]
        if op == "watch":
            self.watchers.add(connection)
            self._send(connection, {})
        elif op == "run":
            code, output = run(request["argv"], request["input"])
            self._send(connection, {"code": code, "output": output})
        elif op == "start":
            self._start(connection, request["directory"])
        elif op == "signal":
            child = self.containers.get(request.get("container")) or state["command"]
            if child:
                child.kill(request["signal"])
            self._send(connection, {})
        elif op == "exec":
            self._exec(state, request, descriptors)

    # Containers

    def _fork(self, become, pids):
        """Forks a child whose PID namespace is new (`pids` None), the pod's, or that of the process of the pidfd."""
        if pids is not None:
            kernel.setns(pids, kernel.CLONE_NEWPID)
        elif not self.pause:
            kernel.unshare(kernel.CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                become()
            return pid
        finally:
            if not self.pause:
                kernel.setns(self.own_pids, kernel.CLONE_NEWPID)

    def _start(self, connection, directory):
        with open(directory + "/spec.json") as file:
            spec = json.load(file)
        name = spec["name"]
        if name in self.containers:
            self._send(connection, {"failed": f"container {name} is running"})
            return
        nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        (out, out_end), (err, err_end), (errors, errors_end) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        pid = self._fork(lambda: container.become_container(spec, self, (nothing, out_end, err_end), errors_end), None)
        for descriptor in (nothing, out_end, err_end, errors_end):
            os.close(descriptor)
        kept = log.Log(directory + "/log", spec["log_limit"], spec["log_kept"])
        streams = [log.Stream(kept, "stdout", out), log.Stream(kept, "stderr", err)]
        run = Running(pid, errors, directory, spec, streams)
        self.containers[name] = run
        for stream in streams:
            os.set_blocking(stream.descriptor, False)
            self._watch(stream.descriptor, lambda stream=stream: stream.read() and self._close(stream.descriptor))
        self._watch(run.pidfd, lambda: self._exited(run))
        self._watch(errors, lambda: self._executed(run, connection))

    def _executed(self, child, connection):
        """The error pipe ended: empty when the command was executed, since it closes on exec."""
        child.why += (data := os.read(child.errors, 4096))
        if data:
            return
        self._close(child.errors)
        child.errors = None
        if not child.why:
            if isinstance(child, Running):
                child.record()
            self._send(connection, {"started": child.pid})
        elif isinstance(child, Running):
            child.starter = connection  # Told once its end is on record.
        else:
            self._send(connection, {"failed": child.why.decode(errors="replace")})

    def _exited(self, run):
        if run.errors is not None:  # It told the starter why, or that it started, before it ended: that comes first.
            return
        self._forget(run.pidfd)
        with open(run.spec["cgroup"] + "/cgroup.kill", "w") as file:
            file.write("1")
        code, number = run.reap()
        for stream in run.streams:
            if stream.descriptor in self.ready:
                stream.drain()
        why = run.why.decode(errors="replace")
        run.record(finished=time.time_ns(), code=code, signal=number, failed=why)
        del self.containers[run.spec["name"]]
        if run.starter:
            self._send(run.starter, {"failed": why})
        for watcher in list(self.watchers):
            self._send(watcher, {"exited": run.spec["name"]})

    def _exec(self, state, request, descriptors):
        run, connection = self.containers.get(request["container"]), state["connection"]
        if run is None:
            self._send(connection, {"failed": f"container {request['container']} is not running"})
            return
        errors, errors_end = os.pipe2(os.O_CLOEXEC)

        def become():
            container.become_command(run.spec, request["argv"], run.pidfd, descriptors, errors_end, request["terminal"])

        command = Child(self._fork(become, run.pidfd), errors)
        os.close(errors_end)
        state["command"] = command
        self._watch(errors, lambda: self._executed(command, connection))
        self._watch(command.pidfd, lambda: self._command_exited(state, command))

    def _command_exited(self, state, command):
        if command.errors is not None:
            return
        self._forget(command.pidfd)
        code, _ = command.reap()
        state["command"] = None
        if not command.why:
            self._send(state["connection"], {"exited": code})

    def _close(self, descriptor):
        self._forget(descriptor)
        os.close(descriptor)
