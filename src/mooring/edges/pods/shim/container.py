"""How does a forked child become a container's process, or a command in one? It never returns: it executes or exits."""

import os
import signal
import stat

import kernel
import rootfs

FAILED = 128
"""The exit code of a start that never reached the command, as containerd's StartError has it."""


def become_container(spec, shim, streams, errors):
    """PID 1 of the container. `streams`: descriptors for stdin, stdout, stderr. What goes wrong is written to `errors`."""

    def prepare():
        join(spec["cgroup"])
        kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWCGROUP)
        rootfs.enter(spec["root"], os.path.join(shim.directory, "rootfs"))
        os.makedirs(spec["cwd"], exist_ok=True)

    _become(prepare, spec, spec["argv"], streams, errors)


def become_command(spec, argv, container, streams, errors, terminal):
    """A command in a running container; `container` is the pidfd of its first process."""

    def prepare():
        join(spec["cgroup"])
        kernel.setns(container, kernel.CLONE_NEWNS | kernel.CLONE_NEWCGROUP)
        if terminal:
            _take_terminal(streams[0])

    _become(prepare, spec, argv, streams, errors)


def _become(prepare, spec, argv, streams, errors):
    try:
        os.setsid()
        os.umask(0o022)
        prepare()
        for target, source in enumerate(streams):
            _give(source, spec["identity"]["user"])
            os.dup2(source, target)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _take_identity(spec["identity"])
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.chdir(spec["cwd"])
        _execute(argv, spec["env"])
    except BaseException as error:
        os.write(errors, str(error).encode()[:3000] or repr(error).encode())
    finally:
        os._exit(FAILED)


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


def _take_terminal(descriptor):
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def _execute(argv, env):
    try:
        os.execvpe(argv[0], argv, env)
    except (FileNotFoundError, NotADirectoryError):
        where = "no such file or directory" if "/" in argv[0] else "executable file not found in $PATH"
        raise FileNotFoundError(f'exec: "{argv[0]}": {where}') from None
    except PermissionError:
        raise PermissionError(f'exec: "{argv[0]}": permission denied') from None
