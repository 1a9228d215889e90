"""Are a pod's terminals, standard streams and sockets real? Commands on a pts, containers attached to, connections within."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pods_lab import NodeLab, collected, node_lab, until
from pods_wishes import ROOT, container, sandbox

from mooring.edges.kubelet.session import read, write
from mooring.edges.pods.assembly import Pods
from mooring.edges.pods.shim_link import receive, send
from mooring.edges.pods.streams import Attachment
from mooring.ports.pods import LogOptions, RuntimeFailure

pytestmark = pytest.mark.root


@pytest.fixture
def lab() -> Iterator[NodeLab]:
    with node_lab() as made:
        yield made


@pytest.fixture
async def node(lab: NodeLab) -> AsyncIterator[Pods]:
    opened = lab.pods()
    await opened.runtime.adopt(lambda seen: None)
    await opened.runtime.sandbox(sandbox("p"))
    yield opened
    opened.runtime.close()


async def heard(descriptor: int, wanted: bytes) -> bytes:
    """What is read until `wanted` is in it."""
    seen = b""
    async with asyncio.timeout(60):
        while wanted not in seen:
            data = await read(descriptor)
            assert data, seen
            seen += data
    return seen


async def rest(descriptor: int) -> bytes:
    seen = b""
    async with asyncio.timeout(60):
        while data := await read(descriptor):
            seen += data
    return seen


def is_over(node: Pods, name: str) -> bool:
    return not node.streams.running("p", name)


def resident_kilobytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


async def test_a_commands_terminal_has_a_name_an_owner_and_a_size(node: Pods) -> None:
    user = ROOT.__class__(1000, 1000, (), (), False)
    await node.runtime.start("p", container("c", "exec sleep 600", identity=user))
    argv = ("sh", "-c", "read go; tty; stat -c %u $(tty); stty size; echo $TERM; ps -o tty= $$ | tr -d ' '")
    process = await node.streams.exec("p", "c", argv, stdin=True, tty=True)
    process.resize(133, 42)
    await write(process.stdin, b"go\n")
    assert b"go\r\n/dev/pts/0\r\n1000\r\n42 133\r\nxterm\r\npts/0\r\n" == await rest(process.stdout)
    assert 0 == await process.wait()
    process.close()


async def test_control_c_and_hanging_up_reach_what_runs_on_a_terminal(node: Pods) -> None:
    await node.runtime.start("p", container("c", "exec sleep 600"))
    process = await node.streams.exec(
        "p", "c", ("sh", "-c", "trap 'echo caught; exit 9' INT; echo up; sleep 600 & wait"), tty=True
    )
    await heard(process.stdout, b"up\r\n")
    await write(process.stdin, b"\x03")
    await heard(process.stdout, b"caught\r\n")
    assert 9 == await process.wait()
    process.close()


async def test_attaching_hears_from_now_on_and_the_log_hears_all(node: Pods) -> None:
    script = "echo before; while read line; do echo got $line; echo err >&2; done; echo end"
    await node.runtime.start("p", container("c", script, stdin=True))
    await until(lambda: (node.runtime.directory("p") / "containers/c/0/log").stat().st_size)
    first, second = [await node.streams.attach("p", "c", stdin=True) for _ in range(2)]
    await write(first.stdin, b"one\n")
    for each in (first, second):
        assert (b"got one\n", b"err\n") == (await heard(each.stdout, b"\n"), await heard(each.stderr, b"\n"))
    await first.end_input()
    await first.kill()
    first.close()
    assert node.streams.running("p", "c"), "without stdinOnce the input stays open when a client goes"
    await write(second.stdin, b"two\n")
    assert (b"got two\n", b"err\n") == (await heard(second.stdout, b"\n"), await heard(second.stderr, b"\n"))
    await second.kill()
    second.close()
    assert b"before\ngot one\nerr\ngot two\nerr\n" == await collected(node.streams.logs("p", "c", LogOptions()))


async def test_with_stdin_once_the_first_clients_end_is_the_end_of_input(node: Pods) -> None:
    await node.runtime.start("p", container("c", "cat; echo end; exit 4", stdin=True, stdin_once=True))
    attached = await node.streams.attach("p", "c", stdin=True)
    await write(attached.stdin, b"x" * 300_000)
    await attached.end_input()
    said = await rest(attached.stdout)
    assert (300_004, b"end\n") == (len(said), said[-4:])
    assert (b"", 4) == (await rest(attached.stderr), await attached.wait())
    attached.close()


async def test_a_client_that_is_cut_off_ends_the_input_too(node: Pods) -> None:
    await node.runtime.start("p", container("c", "cat > /dev/null; exit 5", stdin=True, stdin_once=True))
    attached = await node.streams.attach("p", "c", stdin=True)
    attached.close()
    await until(lambda: is_over(node, "c"))
    assert 5 == node.runtime.seen("p").latest("c").exit_code


async def test_a_container_on_a_terminal(node: Pods) -> None:
    await node.runtime.start(
        "p", container("c", "tty; read go; stty size; read word; echo $word; exit 3", stdin=True, tty=True)
    )
    attached = await node.streams.attach("p", "c", stdin=True, stderr=False)
    attached.resize(91, 17)
    await write(attached.stdin, b"go\n")
    await heard(attached.stdout, b"17 91\r\n")
    await write(attached.stdin, b"bye\n")
    assert b"bye\r\nbye\r\n" == await rest(attached.stdout)
    assert 3 == await attached.wait()
    attached.close()
    log = await collected(node.streams.logs("p", "c", LogOptions()))
    assert b"/dev/pts/0\r\n" in log and log.endswith(b"bye\r\nbye\r\n")


async def test_a_slow_listener_makes_the_container_wait_and_loses_nothing(node: Pods) -> None:
    script = "read go; head -c 3000000 /dev/zero | tr '\\0' x; echo; touch /go/done; read end"
    await node.runtime.start("p", container("c", script, stdin=True, mounts=("go",)))
    done = node.runtime.directory("p") / "disk/go/done"
    attached: Attachment = await node.streams.attach("p", "c", stdin=True)
    await write(attached.stdin, b"go\n")
    await until(lambda: (node.runtime.directory("p") / "containers/c/0/log").stat().st_size > 60_000)
    shim = node.runtime._pods["p"].sandbox.shim
    assert not done.exists(), "64 KiB in each of two pipes, and one piece in the shim: the rest waits in the container"
    assert 60_000 > resident_kilobytes(shim)
    said = await heard(attached.stdout, b"\n")
    assert 3_000_001 == len(said)
    await until(done.exists)
    await attached.kill()
    attached.close()


async def test_a_listener_that_stopped_listening_lets_the_container_go_on(node: Pods) -> None:
    await node.runtime.start("p", container("c", "read go; head -c 3000000 /dev/zero; exit 0", stdin=True))
    attached = await node.streams.attach("p", "c", stdin=True)
    await write(attached.stdin, b"go\n")
    await until(lambda: (node.runtime.directory("p") / "containers/c/0/log").stat().st_size > 10_000)
    await attached.kill()
    await until(lambda: is_over(node, "c"))
    attached.close()


async def test_another_agent_attaches_to_what_it_adopts(lab: NodeLab, node: Pods) -> None:
    await node.runtime.start("p", container("c", "while read line; do echo got $line; done", stdin=True, stdin_once=True))
    node.runtime.close()
    later = lab.pods()
    await later.runtime.adopt(lambda seen: None)
    attached = await later.streams.attach("p", "c", stdin=True)
    await write(attached.stdin, b"one\n")
    assert b"got one\n" == await heard(attached.stdout, b"\n")
    attached.close()
    later.runtime.close()


async def test_no_command_runs_in_a_container_that_is_still_being_made(lab: NodeLab, node: Pods) -> None:
    """As after a restart, when the client was let in while the run before went on. What is not made yet has the host's root."""
    group = lab.cgroup / "node" / "p" / "slow"
    group.mkdir()
    (group / "cgroup.freeze").write_text("1")
    starting = asyncio.create_task(node.runtime.start("p", container("slow", "sleep 600")))
    await until(lambda: (group / "cgroup.procs").read_text())
    looking = asyncio.create_task(node.streams.exec("p", "slow", ("test", "-e", str(lab.state / "pods"))))
    await until(lambda: looking.done() or len((group / "cgroup.procs").read_text().split()) == 2)
    (group / "cgroup.freeze").write_text("0")
    with pytest.raises(RuntimeFailure, match="container slow is not running"):
        async with asyncio.timeout(60):
            escaped = await looking
            assert 0 != await escaped.wait()
            escaped.close()
    await starting
    inside = await node.streams.exec("p", "slow", ("test", "-e", str(lab.state / "pods")))
    assert 1 == await inside.wait()
    inside.close()


async def test_a_command_for_a_container_that_has_just_died_leaves_nothing_open(lab: NodeLab, node: Pods) -> None:
    """The shim finds the request before it hears of the end."""
    group, link = lab.cgroup / "node" / "p", node.runtime.link("p")
    assert link is not None
    shim = int((group / "shim/cgroup.procs").read_text())

    def held() -> int:
        return len(os.listdir(f"/proc/{shim}/fd"))

    before = held()
    await node.runtime.start("p", container("c", "exec sleep 600"))
    with link.connect() as connection:
        send(connection, {"op": "holds", "container": "c"})
        assert {"held": True} == await receive(connection)
        os.kill(shim, signal.SIGSTOP)
        nowhere = os.open("/dev/null", os.O_RDWR)
        request = {"op": "exec", "container": "c", "argv": ["true"], "terminal": False}
        send(connection, request, [nowhere] * 3)
        os.close(nowhere)
        (group / "c/cgroup.kill").write_text("1")
        await until(lambda: "populated 0" in (group / "c/cgroup.events").read_text())
        os.kill(shim, signal.SIGCONT)
        assert "No such process" in (await receive(connection))["failed"]
    await until(lambda: is_over(node, "c"))
    await until(lambda: held() == before)


async def test_what_does_not_run_is_not_attached_to(node: Pods) -> None:
    with pytest.raises(RuntimeFailure, match="container c is not running"):
        await node.streams.attach("p", "c")
    with pytest.raises(RuntimeFailure, match="container c is not running"):
        await node.streams.attach("q", "c")


@pytest.mark.parametrize(("family", "host"), [("AF_INET", "127.0.0.1"), ("AF_INET6", "::1")])
async def test_a_connection_reaches_a_pods_own_localhost(node: Pods, family: str, host: str) -> None:
    program = (
        f"import socket as s; l = s.socket(s.{family}); l.bind(('{host}', 80)); l.listen(); print('up', flush=True)\n"
        "c, _ = l.accept(); t = b''\n"
        "while d := c.recv(9): t += d\n"
        "c.sendall(b'heard ' + t)"
    )
    await node.runtime.start("p", container("c", image="python", args=("python3", "-c", program)))
    await until(lambda: (node.runtime.directory("p") / "containers/c/0/log").stat().st_size)
    connection = await node.streams.connect("p", 80)
    await connection.write(b"hello there")
    connection.write_eof()
    assert b"heard hello there" == await connection.read()
    assert b"" == await connection.read()
    connection.close()


async def test_a_port_where_nobody_listens_is_refused_as_upstream_says(node: Pods) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        await node.streams.connect("p", 81)
    assert caught.value.message == (
        'failed to connect to localhost:81 inside namespace "pod-p", '
        "IPv4: dial tcp4 127.0.0.1:81: connect: connection refused IPv6 dial tcp6 [::1]:81: connect: connection refused "
    )
    with pytest.raises(RuntimeFailure, match="the pod does not run"):
        await node.streams.connect("gone", 81)


async def test_nothing_is_left_open(node: Pods) -> None:
    await node.runtime.start("p", container("c", "exec cat", stdin=True))
    shim = node.runtime._pods["p"].sandbox.shim

    def open_now() -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (shim, os.getpid()))

    before = open_now()
    for _ in range(5):
        attached = await node.streams.attach("p", "c", stdin=True)
        await attached.kill()
        attached.close()
        process = await node.streams.exec("p", "c", ("true",), tty=True)
        await process.wait()
        process.close()
        with pytest.raises(RuntimeFailure):
            await node.streams.connect("p", 9)
    await until(lambda: open_now() <= before)
