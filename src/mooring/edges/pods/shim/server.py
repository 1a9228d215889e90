"""How does a shim serve? One loop over its socket, its containers' pipes and their pidfds; one request or event per packet.

Requests (JSON, SOCK_SEQPACKET) and their answers:
    {"op": "watch"}                                     then {"exited": container} at each exit
    {"op": "run", "argv": [...], "input": text}         {"code": n, "output": text}: a set-up command in the pod's network
    {"op": "start", "directory": path}                  {"started": pid} or {"failed": why}; a `target` in its spec.json is
                                                        the container whose PID namespace it joins
    {"op": "holds", "container": name}                  {"held": bool}: whether it runs, or is being made
    {"op": "signal", "container": name, "signal": n}    {}
    {"op": "exec", "container": name, "argv": [...], "terminal": bool} with three descriptors, or one socket for the terminal
                                                        {"started": pid} or {"failed": why}; then {"exited": code}
    {"op": "attach", "container": name, "streams": ["stdout", "stderr"], "stdin": bool} with a descriptor for each stream
                                                        {"attached": is it a terminal} with what to write to,
                                                        or {"failed": why}; then {"exited": code}
    {"op": "end-input"}                                 on an attached connection: {}
    {"op": "socket", "version": 4 or 6}                 {} with an unconnected TCP socket of the pod's network
An exec lives as long as its connection: closing it kills the command. Closing an attached one detaches.
"""

import array
import contextlib
import json
import os
import select
import signal
import socket
import time

import attach
import container
import kernel
import log
import running

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
        self.watch(listener.fileno(), lambda: self._accept(listener))

    def serve(self):
        while True:
            for descriptor, _ in self.poll.poll():
                act = self.ready.get(descriptor)
                if act:
                    act()

    def watch(self, descriptor, act, events=select.EPOLLIN):
        if descriptor not in self.ready:
            self.poll.register(descriptor, events)
        self.ready[descriptor] = act

    def forget(self, descriptor):
        if self.ready.pop(descriptor, None):
            self.poll.unregister(descriptor)

    def pace(self, stream):
        """Reads a stream as long as no listener is behind."""
        if stream.open and not any(listener.pending for listener in stream.listeners):
            self.watch(stream.descriptor, lambda: stream.read() and self._stream_ended(stream))
        else:
            self.forget(stream.descriptor)

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
        try:
            connection, _ = listener.accept()
        except OSError:  # Out of descriptors, say: the pod lives on, and who connects waits.
            time.sleep(0.01)
            return
        state = {"connection": connection, "command": None, "attachment": None}
        self.watch(connection.fileno(), lambda: self._receive(state))

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
            self.forget(connection.fileno())
            self.watchers.discard(connection)
            if state["command"]:
                state["command"].kill(signal.SIGKILL)
            if state["attachment"]:
                state["attachment"].run.attached.discard(connection)
                state["attachment"].close()
            connection.close()
        for descriptor in descriptors:
            os.close(descriptor)

    def _send(self, connection, message, descriptors=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            connection.sendmsg([json.dumps(message).encode()], rights, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
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
        elif op == "holds":
            self._send(connection, {"held": request["container"] in self.containers})
        elif op == "signal":
            child = self.containers.get(request.get("container")) or state["command"]
            if child:
                child.kill(request["signal"])
            self._send(connection, {})
        elif op == "exec":
            self._exec(state, request, descriptors)
        elif op == "attach":
            self._attach(state, request, descriptors)
        elif op == "end-input":
            if state["attachment"]:
                state["attachment"].end_input()
            self._send(connection, {})
        elif op == "socket":
            with socket.socket(socket.AF_INET6 if request["version"] == 6 else socket.AF_INET) as made:
                made.setblocking(False)
                self._send(connection, {}, [made.fileno()])
        else:
            self._send(connection, {"failed": f"unknown request {op}"})

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
        target = spec.get("target")
        if target and target not in self.containers:
            self._send(connection, {"failed": f"container {target} is not running"})
            return
        kept = log.Log(directory + "/log", spec["log_limit"], spec["log_kept"])
        errors, errors_end = os.pipe2(os.O_CLOEXEC)
        run = self._fork_on_terminal(spec, errors_end) if spec.get("tty") else self._fork_on_pipes(spec, kept, errors_end)
        os.close(errors_end)
        run.directory, run.errors, run.log = directory, errors, kept
        self.containers[name] = run
        for stream in run.streams:
            self.pace(stream)
        self.watch(run.pidfd, lambda: self._exited(run))
        self.watch(errors, lambda: self._executed(run, connection))

    def _pids(self, spec):
        """As _fork wants it."""
        return self.containers[spec["target"]].pidfd if spec.get("target") else None

    def _fork_on_pipes(self, spec, kept, errors_end):
        source, feed = os.pipe2(os.O_CLOEXEC) if spec.get("stdin") else (os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), None)
        (out, out_end), (err, err_end) = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        streams = (source, out_end, err_end)
        pid = self._fork(lambda: container.become_container(spec, self, streams, errors_end), self._pids(spec))
        for descriptor in streams:
            os.close(descriptor)
        for descriptor in (out, err):
            os.set_blocking(descriptor, False)
        run = running.Running(pid, spec, [log.Stream(kept, "stdout", out), log.Stream(kept, "stderr", err)])
        run.stdin = feed
        return run

    def _fork_on_terminal(self, spec, errors_end):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            pid = self._fork(lambda: container.become_container(spec, self, (), errors_end, theirs), self._pids(spec))
        run = running.Running(pid, spec, [])
        run.console = ours
        return run

    def _take_terminal(self, run):
        """The container sent the master before it executed anything."""
        console, run.console = run.console, None
        with console:
            _, descriptors, _, _ = socket.recv_fds(console, 1, 1, socket.MSG_DONTWAIT)
        for descriptor in descriptors:
            os.set_blocking(descriptor, False)
            os.set_inheritable(descriptor, False)
            run.terminal = descriptor
            run.streams = [log.Stream(run.log, "stdout", descriptor)]
            self.pace(run.streams[0])

    def _executed(self, child, connection):
        """The error pipe ended: empty when the command was executed, since it closes on exec."""
        child.why += (data := os.read(child.errors, 4096))
        if data:
            return
        self._close(child.errors)
        child.errors = None
        if isinstance(child, running.Running) and child.console:
            with contextlib.suppress(BlockingIOError):
                self._take_terminal(child)
        if not child.why:
            if isinstance(child, running.Running):
                child.record()
            self._send(connection, {"started": child.pid})
        elif isinstance(child, running.Running):
            child.starter = connection  # Told once its end is on record.
        else:
            self._send(connection, {"failed": child.why.decode(errors="replace")})

    def _exited(self, run):
        if run.errors is not None:  # It told the starter why, or that it started, before it ended: that comes first.
            return
        self.forget(run.pidfd)
        with open(run.spec["cgroup"] + "/cgroup.kill", "w") as file:
            file.write("1")
        code, number = run.reap()
        for stream in run.streams:
            if stream.open:
                stream.drain()
            for listener in tuple(stream.listeners):
                listener.end()
        run.close_stdin()
        why = run.why.decode(errors="replace")
        run.record(finished=time.time_ns(), code=code, signal=number, failed=why)
        run.log.let_go()
        del self.containers[run.spec["name"]]
        if run.starter:
            self._send(run.starter, {"failed": why})
        for watcher in list(self.watchers):
            self._send(watcher, {"exited": run.spec["name"]})
        for connection in run.attached:
            self._send(connection, {"exited": code})

    def _stream_ended(self, stream):
        stream.open = False
        stream.log.let_go()
        for listener in tuple(stream.listeners):
            listener.end()
        for run in self.containers.values():
            if run.terminal == stream.descriptor:
                run.terminal = None
        self._close(stream.descriptor)
        stream.descriptor = -1

    def _attach(self, state, request, descriptors):
        run, connection = self.containers.get(request["container"]), state["connection"]
        if run is None or not run.entered:
            self._send(connection, {"failed": f"container {request['container']} is not running"})
            return
        state["attachment"] = attach.Attachment(self, run, request["streams"], descriptors, request["stdin"])
        run.attached.add(connection)
        self._send(connection, {"attached": bool(run.spec.get("tty"))}, state["attachment"].handed_out())

    def _exec(self, state, request, descriptors):
        run, connection = self.containers.get(request["container"]), state["connection"]
        if run is None or not run.entered:
            self._send(connection, {"failed": f"container {request['container']} is not running"})
            return
        errors, errors_end = os.pipe2(os.O_CLOEXEC)

        def become():
            container.become_command(run.spec, request["argv"], run.pidfd, descriptors, errors_end, request["terminal"])

        try:
            command = running.Child(self._fork(become, run.pidfd), errors)
        except OSError:  # It has just died, say.
            os.close(errors)
            raise
        finally:
            os.close(errors_end)
        state["command"] = command
        self.watch(errors, lambda: self._executed(command, connection))
        self.watch(command.pidfd, lambda: self._command_exited(state, command))

    def _command_exited(self, state, command):
        if command.errors is not None:
            return
        self.forget(command.pidfd)
        code, _ = command.reap()
        state["command"] = None
        if not command.why:
            self._send(state["connection"], {"exited": code})

    def _close(self, descriptor):
        self.forget(descriptor)
        os.close(descriptor)
