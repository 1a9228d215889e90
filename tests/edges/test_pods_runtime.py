"""Pods for real: namespaces, processes, links, mounts, and nothing left of them."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pods_lab import NodeLab, collected, node_lab, until
from pods_wishes import ROOT, container, sandbox

from mooring.edges.pods import cgroups
from mooring.edges.pods.assembly import Pods
from mooring.edges.pods.host import closed
from mooring.edges.pods.images.table import ImageTable
from mooring.edges.pods.volumes import write_files
from mooring.pods.observed import PodSeen, Run
from mooring.pods.security import CAPABILITIES, Identity
from mooring.pods.wishes import ContainerWish, ExecCheck, File, HttpCheck, Mount, TcpCheck, Volume
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
    yield opened
    opened.runtime.close()


def latest(node: Pods, uid: str, name: str) -> Run:
    seen = node.runtime.seen(uid)
    assert seen is not None
    run = seen.latest(name)
    assert run is not None
    return run


def read(path: str) -> str:
    return Path(path).read_text()


def there(path: str) -> bool:
    return os.path.lexists(path)


async def outcome(node: Pods, uid: str, wish: ContainerWish) -> tuple[int, str]:
    """Starts a container and waits for its end: exit code and log."""
    await node.runtime.start(uid, wish)
    await until(lambda: not latest(node, uid, wish.name).running)
    text = await collected(node.streams.logs(uid, wish.name, LogOptions()))
    return latest(node, uid, wish.name).exit_code, text.decode()


async def said(node: Pods, script: str, **fields: Any) -> str:
    """What a script prints in a fresh container of pod 'p'."""
    run = f"c{len(node.runtime.seen('p').runs)}"  # type: ignore[union-attr]
    _, text = await outcome(node, "p", container(run, script, **fields))
    return text


async def test_a_pod_runs_is_reached_and_leaves_nothing(lab: NodeLab, node: Pods) -> None:
    seen = await node.runtime.sandbox(sandbox("a"))
    await node.runtime.start("a", container("echo", image="mooring.dev/echo:v7"))
    for ip in seen.ips:
        await until_answers(node, ip)
        body = (await node.prober.check(HttpCheck(ip, 8080, "/", "HTTP"), 60)).output
        assert body.startswith(f"pod-a v7 namespace=default ip={seen.ips[0]} node=node-a client=")
    assert len(lab.processes()) == 2
    await node.runtime.remove("a")
    assert ([], [], []) == (lab.links(), lab.processes(), list((lab.state / "pods").iterdir()))
    assert not [path for path in lab.cgroup.glob("node/*") if path.is_dir()]
    assert str(lab.state) not in read("/proc/self/mountinfo")


async def until_answers(node: Pods, ip: str) -> None:
    async with asyncio.timeout(60):
        while not (await node.prober.check(TcpCheck(ip, 8080), 1)).success:
            await asyncio.sleep(0.01)


async def test_two_pods_reach_each_other_by_address(node: Pods) -> None:
    a, b = [await node.runtime.sandbox(sandbox(uid)) for uid in ("a", "b")]
    await node.runtime.start("a", container("echo", image="mooring.dev/echo"))
    await until_answers(node, a.ips[0])
    for ip in ("127.0.0.1", a.ips[1]):
        assert ip not in b.ips
    _, text = await outcome(node, "b", container("client", f"curl -s -m60 http://{a.ips[0]}:8080/clientip"))
    assert text.startswith(b.ips[0] + ":")
    _, text = await outcome(node, "b", container("client6", f"curl -s -m60 http://[{a.ips[1]}]:8080/clientip"))
    assert text.startswith(f"[{b.ips[1]}]:")


async def test_what_a_container_sees_of_the_host(lab: NodeLab, node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    installed = Path(sys.prefix).parts
    shown = f"{installed[2]}\n" if installed[1] in ("home", "tmp", "run") else ""
    # The way to the interpreter, which built-in images run, is all that may be seen there.
    assert shown == await said(node, f"ls -A /root/.ssh /home /tmp /run {lab.state}/pods 2>/dev/null | grep -v '^/\\|^$'")
    assert "" == await said(node, "cat /etc/shadow")
    assert "pod-p\npod-p\n" == await said(node, "hostname; cat /etc/hostname")
    assert "nameserver 10.96.0.10\n" == await said(node, "cat /etc/resolv.conf")
    assert "1\n" == await said(node, "echo $$")
    assert "eth0 lo\n" == await said(node, "echo $(ls /sys/class/net)")
    assert "written\n" == await said(node, "echo written > /etc/mooring-test; cat /etc/mooring-test")
    assert not there("/etc/mooring-test")
    assert "ok\n" == await said(node, f"{sys.executable} -c 'import mooring; print(\"ok\")'")


FORBIDDEN = {
    "mounting": "mount -t tmpfs none /mnt",
    "making a device": "mknod /tmp/disk b 254 0",
    "changing the kernel's settings": "echo 1 > /proc/sys/kernel/sysrq",
    "adding a route": "ip route add 192.0.2.0/24 dev eth0",
    "writing to sysfs": "mkdir /sys/fs/cgroup/x",
}


@pytest.mark.parametrize("command", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_what_a_container_cannot_do(node: Pods, command: str) -> None:
    await node.runtime.sandbox(sandbox("p"))
    assert "refused\n" == await said(node, f"({command}) 2>/dev/null || echo refused")


async def test_the_security_context(node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    somebody = structs.replace(ROOT, user=1000, group=2000, groups=(3000,), read_only_root=True)
    assert "1000 2000 2000 3000\n" == await said(node, "echo $(id -u) $(id -g) $(id -G)", identity=somebody)
    assert "refused\n" == await said(node, "touch /x 2>/dev/null || echo refused", identity=somebody)
    # What images need may lie below: only its owner may enter the host's own.
    assert "entered\n" == await said(node, "cd /root && echo entered", identity=somebody)
    bare = structs.replace(ROOT, capabilities=(CAPABILITIES["NET_BIND_SERVICE"],))
    wanted = "CapPrm: 0000000000000400 CapEff: 0000000000000400 CapBnd: 0000000000000400 NoNewPrivs: 1\n"
    assert wanted == await said(node, "echo $(grep -E 'Cap(Prm|Eff|Bnd)|NoNew' /proc/self/status)", identity=bare)


async def test_mooring_and_its_proxies_run_as_anybody_wherever_they_lie(lab: NodeLab) -> None:
    """With the clone hidden but for what images need, read-only, without capabilities."""
    node = lab.pods(hidden=(str(Path(sys.prefix).parent),))
    await node.runtime.adopt(lambda seen: None)
    await node.runtime.sandbox(sandbox("p", volumes=(Volume("run", "memory", group=65532),)))
    nobody = Identity(65532, 65532, (65532,), (), True)
    script = (
        "id -u; envoy --version | grep -c version; nginx -v 2>&1 | grep -c version; echo it > /dev/stdout; "
        "touch /run/gateway/x && stat -c %g /run/gateway/x; touch /x 2>/dev/null || echo refused"
    )
    command, mounts = ("/bin/sh", "-c", script), (Mount("run", "/run/gateway"),)
    wish = container("shell", image="mooring.dev/gateway", command=command, identity=nobody, mounts_=mounts)
    assert (0, "65532\n1\n1\nit\n65532\nrefused\n") == await outcome(node, "p", wish)
    code, text = await outcome(node, "p", container("itself", image="mooring.dev/gateway", args=("--help",), identity=nobody))
    assert (0, True) == (code, "Usage: " in text), text
    node.runtime.close()


def test_what_only_its_owner_may_enter_is_hidden_on_the_way_to_what_images_need(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    own = [each for each in closed((str(inner),)) if Path(each).is_relative_to(tmp_path)]
    assert str(tmp_path / "a") in own and str(tmp_path / "a" / "b") not in own


async def test_volumes_are_shared_live_and_bounded(node: Pods) -> None:
    volumes = (Volume("disk", "disk"), Volume("mem", "memory", size=1 << 20), Volume("conf", "files"))
    await node.runtime.sandbox(sandbox("p", volumes=volumes))
    await node.volumes.write("p", "conf", {"a": File(b"1"), "d/b": File(b"2", 0o400)})
    both = (Mount("disk", "/var/run/disk"), Mount("mem", "/mem"), Mount("conf", "/conf", read_only=True))
    assert "12400\n" == await said(node, "echo $(cat /conf/a)$(cat /conf/d/b)$(stat -Lc %a /conf/d/b)", mounts_=both)
    await said(node, "echo d > /var/run/disk/x; echo m > /mem/x", mounts_=both)
    assert "d m\n" == await said(node, "echo $(cat /var/run/disk/x) $(cat /mem/x)", mounts_=both)
    assert not there("/run/disk")
    assert "full\n" == await said(node, "head -c 2000000 /dev/zero > /mem/big 2>/dev/null || echo full", mounts_=both)
    assert "refused\n" == await said(node, "touch /conf/new 2>/dev/null || echo refused", mounts_=both)
    await node.runtime.start(
        "p", container("follow", "while [ $(cat /conf/a) = 1 ]; do sleep 0.02; done; ls /conf", mounts_=both)
    )
    await node.volumes.write("p", "conf", {"a": File(b"3"), "c": File(b"4")})
    await until(lambda: not latest(node, "p", "follow").running)
    assert b"a\nc\n" == await collected(node.streams.logs("p", "follow", LogOptions()))
    assert "3\n" == await said(node, "echo $(cat /one)", mounts_=(Mount("conf", "/one", "a", True),))


async def test_a_sub_path_cannot_lead_out_of_its_volume(node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    await said(node, "ln -s /etc /go/out; mkdir /go/in", mounts=("go",))
    assert "" == await said(node, "ls /x", mounts_=(Mount("go", "/x", "in"),))
    with pytest.raises(RuntimeFailure, match="leads out of its volume"):
        await said(node, "ls /x", mounts_=(Mount("go", "/x", "out"),))


def test_nothing_in_a_volume_leads_its_writer_elsewhere(tmp_path: Path) -> None:
    """Not a link in place of the last version, nor what a writer left behind that was killed."""
    folder, other = tmp_path / "volume", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
    (other / "file").touch()
    (folder / "..data").symlink_to(other)
    (folder / "..data_tmp").symlink_to(other)
    (folder / "stranger").mkdir()
    write_files(folder, {"a": File(b"1")})
    assert (b"1", True) == ((folder / "a").read_bytes(), (other / "file").exists())
    there = set(folder.iterdir())
    with pytest.raises(OSError, match="directory"):
        write_files(folder, {"a/b": File(b"1"), "a": File(b"2")})
    assert there == set(folder.iterdir())


async def test_no_mount_reaches_the_host(node: Pods, tmp_path: Path) -> None:
    await node.runtime.sandbox(sandbox("p"))
    await said(node, "ln -s ../../../../.host /go/near; ln -s ../../../.. /go/far", mounts=("go",))
    roots = ("/.host", "/../..", "/go/near", "/go/far")
    mounts = (Mount("go", "/go"), *(Mount("go", f"{root}{tmp_path}/planted") for root in roots))
    assert "planted\n" == await said(node, f"ls {tmp_path}", mounts_=mounts)
    assert not there(str(tmp_path / "planted"))


async def test_a_host_path_is_seen_and_checked(lab: NodeLab, node: Pods, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("there\n")
    await node.runtime.sandbox(sandbox("p", volumes=(Volume("h", "host", str(tmp_path), "Directory"),)))
    assert "there\n" == await said(node, "cat /h/file", mounts=("h",))
    with pytest.raises(RuntimeFailure, match="hostPath type check failed"):
        await node.runtime.sandbox(sandbox("q", volumes=(Volume("h", "host", str(tmp_path / "none"), "Directory"),)))
    assert not (lab.cgroup / "node" / "q").exists()


async def test_how_a_container_ended(node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    await outcome(node, "p", container("told", "echo why > /dev/termination-log; exit 3"))
    await outcome(node, "p", container("logged", "echo one; echo two; exit 4", fall_back_to_logs=True))
    with pytest.raises(RuntimeFailure, match=r'exec: "nothing": executable file not found in \$PATH'):
        await node.runtime.start("p", container("missing", command=("nothing",)))
    await node.runtime.start("p", container("stubborn", "while :; do sleep 1; done"))
    await node.runtime.signal("p", "stubborn", signal.SIGKILL)
    await until(lambda: not latest(node, "p", "stubborn").running)
    found = {name: (r.exit_code, r.signal, r.reason, r.message) for name in SEEN if (r := latest(node, "p", name))}
    assert SEEN == found


SEEN = {
    "told": (3, 0, "Error", "why\n"),
    "logged": (4, 0, "Error", "one\ntwo"),
    "missing": (128, 0, "StartError", 'exec: "nothing": executable file not found in $PATH'),
    "stubborn": (137, 9, "Error", ""),
}


async def test_what_the_machine_refuses_is_why_a_container_could_not_be_made(lab: NodeLab, node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    (lab.state / "pods/p/containers").touch()
    with pytest.raises(RuntimeFailure, match="Not a directory"):
        await node.runtime.start("p", container("c", "true"))


async def test_ending_a_container_ends_all_it_started(lab: NodeLab, node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    await outcome(node, "p", container("parent", "sleep 600 & (setsid sleep 600 &) ; exit 0"))
    await until(lambda: len(lab.processes()) == 1, what="only the shim is left")


async def test_shared_processes_see_each_other(node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p", share_processes=True))
    await node.runtime.start("p", container("one", "exec sleep 600"))
    assert "sleep\n" == await said(node, "for p in /proc/[0-9]*; do cat $p/comm; done | grep sleep")


async def test_logs_tail_since_limits_and_previous(node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    await outcome(node, "p", container("c", "echo one; echo two; echo three; printf four"))
    await outcome(node, "p", container("c", "echo again; echo wrong >&2", attempt=1))
    again = latest(node, "p", "c").started_at
    cases = [
        (LogOptions(previous=True), b"one\ntwo\nthree\nfour"),
        (LogOptions(previous=True, tail_lines=2), b"three\nfour"),
        (LogOptions(previous=True, tail_lines=0), b""),
        (LogOptions(previous=True, limit_bytes=5), b"one\nt"),
        (LogOptions(previous=True, since=again), b""),
        (LogOptions(since=again, follow=True, stream="Stdout"), b"again\n"),
        (LogOptions(stream="Stderr"), b"wrong\n"),
    ]
    for options, wanted in cases:
        assert (options, wanted) == (options, await collected(node.streams.logs("p", "c", options)))
    stamped = await collected(node.streams.logs("p", "c", LogOptions(timestamps=True, stream="Stdout")))
    assert stamped.endswith(b"Z again\n")
    with pytest.raises(RuntimeFailure, match='previous terminated container "d" in pod "pod-p" not found'):
        await collected(node.streams.logs("p", "d", LogOptions(previous=True)))
    with pytest.raises(RuntimeFailure, match="is not available"):
        await collected(node.streams.logs("p", "../containers/c", LogOptions()))


async def test_a_log_is_moved_aside_and_followed_across(lab: NodeLab) -> None:
    node = lab.pods(log_limit=4096, log_kept=2)
    await node.runtime.adopt(lambda seen: None)
    await node.runtime.sandbox(sandbox("p"))
    script = "until [ -e /go/go ]; do sleep 0.01; done; for i in $(seq 300); do echo line $i; sleep 0; done"
    await node.runtime.start("p", container("c", script, mounts=("go",)))
    follow = asyncio.create_task(collected(node.streams.logs("p", "c", LogOptions(follow=True))))
    (lab.state / "pods/p/disk/go/go").touch()
    await until(lambda: not latest(node, "p", "c").running)
    assert (await follow).endswith(b"line 300\n")
    aside = sorted(path.name for path in (lab.state / "pods/p/containers/c/0").glob("log*"))
    assert ["log", "log.1", "log.2"] == aside
    node.runtime.close()


async def test_exec_carries_streams_and_exit_codes(node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    await node.runtime.start("p", container("c", "export X=1; exec sleep 600", env={"GREETING": "hello"}))
    process = await node.streams.exec("p", "c", ("sh", "-c", "cat; echo $GREETING $$ >&2; exit 5"), stdin=True)
    assert process.stdin is not None
    os.write(process.stdin, b"typed\n")
    os.close(process.stdin)
    process.stdin = None
    output = await process.output()
    assert (5, b"typed\n") == (await process.wait(), output[:6])
    assert output[6:].startswith(b"hello ")
    process.close()
    with pytest.raises(RuntimeFailure, match="executable file not found"):
        await node.streams.exec("p", "c", ("nothing",))
    with pytest.raises(RuntimeFailure, match="container d is not running"):
        await node.streams.exec("p", "d", ("true",))


async def test_exec_on_a_terminal_and_kill(lab: NodeLab, node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    await node.runtime.start("p", container("c", "exec sleep 600"))
    process = await node.streams.exec("p", "c", ("sh", "-c", "stty size; test -t 0 && exec sleep 600"), stdin=True, tty=True)
    process.resize(100, 40)
    await until(lambda: len(lab.processes()) == 3)
    await process.kill()
    assert 137 == await process.wait()
    process.close()


def test_limits_are_written_where_the_kernel_has_them(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").touch()
    assert ("cpu",) == cgroups.limit(tmp_path, {"cpu": 1500, "memory": 2**26})
    assert ("150000 100000", False) == ((tmp_path / "cpu.max").read_text(), (tmp_path / "memory.max").exists())


def test_a_file_of_images_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_text("- {name: mine, command: [true]}\n".replace("true", "'true'"))
    table = ImageTable(file)
    assert table.find("mine")
    for at, wrong in enumerate((b"- {name: [", b"\xff", b"- 1"), 1):
        file.write_bytes(wrong)
        os.utime(file, (at, at))
        assert table.find("mine") and table.all()


PROBES = {
    "ready": (lambda ip: HttpCheck(ip, 8080, "/ready", "HTTP"), True, "ready on\n"),
    "not found": (lambda ip: HttpCheck(ip, 8080, "/none", "HTTP"), False, "HTTP probe failed with statuscode: 404"),
    "refused": (
        lambda ip: HttpCheck(ip, 9, "/", "HTTP"), False,
        'Get "http://{ip}:9/": dial tcp {ip}:9: connect: connection refused'),
    "too slow": (
        lambda ip: HttpCheck(ip, 8080, "/slow?seconds=60", "HTTP"), False,
        'Get "http://{ip}:8080/slow?seconds=60": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'),
    "no HTTP": (lambda ip: HttpCheck(ip, 8081, "/", "HTTP"), False, 'Get "http://{ip}:8081/": malformed HTTP response'),
    "two headers in one": (
        lambda ip: HttpCheck(ip, 8080, "/", "HTTP", (("A", "x\r\nB: y"),)), False,
        'Get "http://{ip}:8080/": net/http: invalid header field value for "A"'),
    "a port": (lambda ip: TcpCheck(ip, 8081), True, ""),
    "no port": (lambda ip: TcpCheck(ip, 9), False, "dial tcp {ip}:9: connect: connection refused"),
    "a command": (lambda ip: ExecCheck("p", "echo", ("sh", "-c", "echo fine")), True, "fine"),
    "a failing command": (lambda ip: ExecCheck("p", "echo", ("sh", "-c", "echo bad; exit 1")), False, "bad"),
    "a slow command": (lambda ip: ExecCheck("p", "echo", ("sleep", "60")), False, 'command "sleep 60" timed out'),
}  # fmt: skip


async def test_probes(node: Pods) -> None:
    ip = (await node.runtime.sandbox(sandbox("p"))).ips[0]
    await node.runtime.start("p", container("echo", image="mooring.dev/echo"))
    await until_answers(node, ip)
    for name, (check, success, output) in PROBES.items():
        timeout = 0.3 if "slow" in name else 60.0
        found = await node.prober.check(check(ip), timeout)
        assert (name, success, output.replace("{ip}", ip)) == (name, found.success, found.output)


async def test_a_killed_agent_is_followed_by_one_that_adopts(lab: NodeLab) -> None:
    agent = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, str(Path(__file__).with_name("pods_agent.py")), str(lab.state), str(lab.cgroup / "node"), "k"],
        stdout=subprocess.PIPE,
    )
    assert agent.stdout is not None
    assert b"running\n" == await asyncio.to_thread(agent.stdout.readline)
    agent.kill()
    agent.wait()
    agent.stdout.close()
    (lab.state / "pods/k/disk/go/go").write_text("missed\n")  # 'brief' ends while no agent watches.
    state = lab.state / "pods/k/containers/brief/0/state.json"
    await until(lambda: "finished" in state.read_text())
    changes: list[PodSeen] = []
    node = lab.pods()
    (seen,) = await node.runtime.adopt(changes.append)
    assert (True, ("talker",)) == (seen.alive, seen.running)
    assert (7, "Error") == (latest(node, "k", "brief").exit_code, latest(node, "k", "brief").reason)
    assert b"missed\n" == await collected(node.streams.logs("k", "brief", LogOptions()))
    await node.runtime.signal("k", "talker", signal.SIGKILL)
    await until(lambda: changes and not changes[-1].running)
    await node.runtime.start("k", container("talker", "exec sleep 600", attempt=1))
    await node.runtime.remove("k")
    assert ([], []) == (lab.links(), lab.processes())


async def test_while_a_container_is_made_anew_its_log_is_that_of_the_run_before(lab: NodeLab, node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    group = lab.cgroup / "node" / "p" / "c"
    await node.runtime.start("p", container("c", "echo first"))
    await until(lambda: not latest(node, "p", "c").running)
    (group / "cgroup.freeze").write_text("1")
    starting = asyncio.create_task(node.runtime.start("p", container("c", "echo second; exec sleep 600", attempt=1)))
    await until(lambda: (group / "cgroup.procs").read_text())
    for options in (LogOptions(), LogOptions(follow=True)):
        assert b"first\n" == await collected(node.streams.logs("p", "c", options))
    with pytest.raises(RuntimeFailure, match="previous terminated"):
        await collected(node.streams.logs("p", "c", LogOptions(previous=True)))
    (group / "cgroup.freeze").write_text("0")
    await starting


@pytest.mark.parametrize("late", [False, True])
async def test_a_start_that_outlives_its_agent_is_not_made_again(lab: NodeLab, late: bool) -> None:
    """The agent dies while the shim makes the container; the next adopts meanwhile, and asks before it is made or after."""
    first, group = lab.pods(), lab.cgroup / "node" / "p" / "slow"
    await first.runtime.adopt(lambda seen: None)
    await first.runtime.sandbox(sandbox("p"))
    group.mkdir()
    (group / "cgroup.freeze").write_text("1")
    wish = container("slow", "echo once; exec sleep 600")
    starting = asyncio.create_task(first.runtime.start("p", wish))
    await until(lambda: (group / "cgroup.procs").read_text())
    starting.cancel()
    await asyncio.wait([starting])
    first.runtime.close()
    second, folder = lab.pods(), lab.state / "pods/p/containers/slow/0"
    (seen,) = await second.runtime.adopt(lambda seen: None)
    assert (True, ()) == (seen.alive, seen.running)
    if late:
        (group / "cgroup.freeze").write_text("0")
        await until(lambda: (folder / "log").read_text())
    again = asyncio.create_task(second.runtime.start("p", wish))
    await asyncio.sleep(0)
    (group / "cgroup.freeze").write_text("0")
    assert ("slow",) == (await again).running
    await until(lambda: (folder / "log").read_text())
    assert b"once\n" == await collected(second.streams.logs("p", "slow", LogOptions()))
    await second.runtime.remove("p")


async def test_a_pod_whose_shim_dies_is_seen_dead_and_made_anew(lab: NodeLab) -> None:
    changes: list[PodSeen] = []
    node = lab.pods()
    await node.runtime.adopt(changes.append)
    first = await node.runtime.sandbox(sandbox("p"))
    await node.runtime.start("p", container("c", "exec sleep 600"))
    shim = int((lab.cgroup / "node/p/shim/cgroup.procs").read_text())
    os.kill(shim, signal.SIGKILL)
    await until(lambda: changes and not changes[-1].alive)
    assert (137, "ContainerStatusUnknown") == (changes[-1].runs["c"][-1].exit_code, changes[-1].runs["c"][-1].reason)
    await until(lambda: not lab.processes(), what="containers die with their shim")
    second = await node.runtime.sandbox(sandbox("p"))
    assert (first.ips, True) == (second.ips, second.alive)
    await node.runtime.start("p", container("c", "exec sleep 600", attempt=1))
    assert 1 == latest(node, "p", "c").attempt
    await node.runtime.remove("p")


async def test_a_pod_that_ended_keeps_its_logs_but_no_address(lab: NodeLab, node: Pods) -> None:
    await node.runtime.sandbox(sandbox("p"))
    await outcome(node, "p", container("c", "echo last words"))
    await node.runtime.remove("p", keep_files=True)
    assert ([], []) == (lab.links(), lab.processes())
    assert b"last words\n" == await collected(node.streams.logs("p", "c", LogOptions()))
    (seen,) = await lab.pods().runtime.adopt(lambda seen: None)
    assert (False, 0) == (seen.alive, seen.runs["c"][-1].exit_code)
    await node.runtime.remove("p")
    assert not list((lab.state / "pods").iterdir())


async def test_addresses_rest_before_they_come_again(node: Pods) -> None:
    given = []
    for uid in ("a", "b", "c"):
        given.append((await node.runtime.sandbox(sandbox(uid))).ips[0])
        await node.runtime.remove(uid)
    assert 3 == len(set(given))


async def test_a_full_range_says_so(node: Pods, lab: NodeLab) -> None:
    await node.runtime.sandbox(sandbox("a", pod_cidrs=("10.244.9.0/30",)))
    with pytest.raises(RuntimeFailure, match=r"no free address in 10\.244\.9\.0/30"):
        await node.runtime.sandbox(sandbox("b", pod_cidrs=("10.244.9.0/30",)))
    assert 1 == len(lab.links())


async def test_the_host_network_is_the_nodes(lab: NodeLab, node: Pods) -> None:
    machine = socket.gethostname()
    seen = await node.runtime.sandbox(sandbox("p", host_network=True, hostname="node-a"))
    assert (("172.30.0.11",), []) == (seen.ips, lab.links())
    assert "lo\n" == await said(node, "echo $(ls /sys/class/net)")
    assert "node-a\nnode-a\n" == await said(node, "hostname; cat /etc/hostname")
    assert machine == socket.gethostname() != "node-a"


async def test_echo_switches_readiness_drains_and_speaks_udp(node: Pods) -> None:
    ip = (await node.runtime.sandbox(sandbox("p"))).ips[0]
    await node.runtime.start("p", container("echo", image="mooring.dev/echo", args=("--drain=2",)))
    await until_answers(node, ip)
    reach = f"http://{ip}:8080"
    ask = f"curl -s -o /dev/null -w '%{{http_code}} ' {reach}/ready"
    assert "503 200 " == await said(node, f"for s in off on; do curl -s {reach}/ready?state=$s >/dev/null; {ask}; done")
    client = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(60);"
    client += f" s.sendto(b'ping', ('{ip}', 8080)); print(s.recv(999).decode().split()[0])"
    assert "pod-p\n" == await said(node, f'python3 -c "{client}"')
    slow = asyncio.create_task(node.prober.check(HttpCheck(ip, 8080, "/slow?seconds=0.1", "HTTP"), 60))
    await asyncio.sleep(0)
    await node.runtime.signal("p", "echo", signal.SIGTERM)
    assert (await node.prober.check(HttpCheck(ip, 8080, "/", "HTTP"), 60)).success
    assert (await slow).success
    await until(lambda: not latest(node, "p", "echo").running)
    assert 0 == latest(node, "p", "echo").exit_code
