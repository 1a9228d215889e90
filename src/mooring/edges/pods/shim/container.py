"""How does a forked child become a container's process, or a command in one? It never returns: it executes or exits.

Who is to have a terminal gets one of the container's own /dev/pts, opened inside: it has a name there (`tty`), and its master
goes out over a socket.
"""

import os
import signal
import socket
import stat

import kernel
import rootfs

FAILED = 128
"""The exit code of a start that never reached the command, as containerd's StartError has it."""


def become_container(spec, shim, streams, errors, console=None):
    """PID 1 of the container, unless it is among the processes of another. `streams`: descriptors for stdin, stdout, stderr; or
    `console`, the socket that gets the master of its terminal. What goes wrong is written to `errors`."""

    def prepare():
        join(spec["cgroup"])
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWCGROUP)
        rootfs.enter(spec["root"], os.path.join(shim.directory, "rootfs"))
        os.makedirs(spec["cwd"], exist_ok=True)
        return _terminal(console, spec) if console else streams

    _become(prepare, spec, spec["argv"], errors)


def become_command(spec, argv, container, streams, errors, terminal):
    """A command in a running container; `container` is the pidfd of its first process. With `terminal`, `streams` is one
    socket, for the master."""

    def prepare():
        join(spec["cgroup"])
        kernel.setns(container, kernel.CLONE_NEWNS | kernel.CLONE_NEWCGROUP)
        return _terminal(socket.socket(fileno=streams[0]), spec) if terminal else streams

    _become(prepare, spec, argv, errors)


def _become(prepare, spec, argv, errors):
    try:
        os.setsid()
        os.umask(0o022)
        for target, source in enumerate(prepare()):
            _give(source, spec["identity"]["user"])
            os.dup2(source, target)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _take_identity(spec["identity"])
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(spec["cwd"])
        _execute(argv, {"TERM": "xterm", **spec["env"]} if os.isatty(0) else spec["env"])
    except BaseException as error:
        os.write(errors, str(error).encode()[:3000] or repr(error).encode())
    finally:
        os._exit(FAILED)


def _terminal(console, spec):
    """Opens a terminal, takes it as the session's, sends its master away. Gives its stdin, stdout and stderr."""
    import fcntl
    import termios

    master, slave = os.openpty()
    os.fchown(slave, spec["identity"]["user"], -1)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    socket.send_fds(console, [b"t"], [master])
    os.close(master)
    return slave, slave, slave


def _give(stream, user):
    """A pipe is its maker's: without this nobody else could open /dev/stdout. (runc: fixStdioPermissions)"""
    if stat.S_ISFIFO(os.fstat(stream).st_mode):
        os.fchown(stream, user, -1)


def join(cgroup):
    with open(cgroup + "/cgroup.procs", "w") as file:
        file.write("0")


def _take_identity(identity):
    held = set(identity["capabilities"])
    kernel.limit_capabilities(held)
    os.setgroups(identity["groups"])
    os.setresgid(identity["group"], identity["group"], identity["group"])
    os.setresuid(identity["user"], identity["user"], identity["user"])
    if identity["user"] == 0:
        kernel.set_capabilities(held)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def _execute(argv, env):
    try:
        os.execvpe(argv[0], argv, env)
    except (FileNotFoundError, NotADirectoryError):
        where = "no such file or directory" if "/" in argv[0] else "executable file not found in $PATH"
        raise FileNotFoundError(f'exec: "{argv[0]}": {where}') from None
    except PermissionError:
        raise PermissionError(f'exec: "{argv[0]}": permission denied') from None
