"""Roles as real processes: in their place from the first instruction, restarted, ended, logged."""

import asyncio
import os
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from mooring.app import process
from mooring.app.process import Role, keep_running, rotate
from mooring.edges import cgroups
from mooring.edges.netlink import namespaces, topology

DEADLINE = 60.0


@pytest.fixture
def group() -> Iterator[Path]:
    path = cgroups.subtree(f"test{secrets.token_hex(4)}")
    yield path
    cgroups.remove(path)


def role(tmp_path: Path, group: Path, code: str, namespace: str = "") -> Role:
    return Role("role", (sys.executable, "-u", "-c", code), group / "role", tmp_path / "role.log", namespace)


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not what():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def kept(chosen: Role) -> AsyncIterator[list[str]]:
    """The role, kept running for the length of the block; gives what was reported."""
    stop, reports = asyncio.Event(), list[str]()
    keeping = asyncio.create_task(keep_running(chosen, stop, reports.append))
    try:
        yield reports
    finally:
        stop.set()
        await asyncio.wait_for(keeping, DEADLINE)


def lines(chosen: Role) -> list[str]:
    """Whole ones: `print` of an unbuffered Python writes each word by itself."""
    with suppress(FileNotFoundError):
        return chosen.log.read_text().split("\n")[:-1]
    return []


async def runs(chosen: Role) -> None:
    """Waits until it has written a line, and its keeper waits for its end: a role is heard of before its start is over."""
    await until(lambda: lines(chosen) and any(each.get_coro().__name__ == "aside" for each in asyncio.all_tasks()))


@pytest.mark.root
async def test_it_starts_inside_its_cgroup_and_its_namespace(tmp_path: Path, group: Path) -> None:
    cluster = f"t{secrets.token_hex(4)}"
    made = topology.topology(cluster, ["a"], ["172.30.0.0/24"], ranges=[], dns=())
    topology.ensure(made)
    try:
        code = "import os, signal; print(open('/proc/self/cgroup').read(), os.stat('/proc/self/ns/net').st_ino); signal.pause()"
        chosen = role(tmp_path, group, code, made.namespace("a"))
        async with kept(chosen):
            await until(lambda: lines(chosen))
            await until(lambda: str(namespaces.path(made.namespace("a")).stat().st_ino) in chosen.log.read_text())
            assert any(line.endswith(f"/{group.name}/role") for line in lines(chosen))
    finally:
        topology.remove(cluster)


@pytest.mark.root
async def test_one_that_dies_is_started_again_and_the_report_says_how_it_died(tmp_path: Path, group: Path) -> None:
    chosen = role(tmp_path, group, "import os, signal; print(os.getpid()); signal.pause()")
    async with kept(chosen) as reports:
        await until(lambda: len(lines(chosen)) == 1)
        os.kill(int(lines(chosen)[0]), 9)
        await until(lambda: len(lines(chosen)) == 2)
        assert reports == [f"role was killed by SIGKILL; starting it again in 0.05 s; its log: {chosen.log}"]


@pytest.mark.root
async def test_restarts_grow_slower_while_it_keeps_dying(tmp_path: Path, group: Path) -> None:
    async with kept(role(tmp_path, group, "raise SystemExit(3)")) as reports:
        await until(lambda: len(reports) == 3)
    assert [f"in {pause} s" in report for pause, report in zip(("0.05", "0.1", "0.2"), reports, strict=False)] == [True] * 3
    assert all("exited with code 3" in report for report in reports)


@pytest.mark.root
async def test_its_children_do_not_survive_its_death(tmp_path: Path, group: Path) -> None:
    code = "import os, signal, subprocess; print(os.getpid(), subprocess.Popen(['sleep', '1000']).pid); signal.pause()"
    chosen = role(tmp_path, group, code)
    async with kept(chosen):
        await until(lambda: len(lines(chosen)) == 1)
        parent, child = map(int, lines(chosen)[0].split())
        os.kill(parent, 9)
        await until(lambda: child not in cgroups.processes(group))


@pytest.mark.root
async def test_a_start_that_hangs_holds_nobody_up(tmp_path: Path, group: Path) -> None:
    chosen = role(tmp_path, group, "print('late')")
    os.mkfifo(chosen.log)  # opening it for writing waits for a reader
    async with kept(chosen) as reports:
        await until(chosen.cgroup.exists)
    assert reports == []
    # The first line and no more: the role may have been started again before its end is noticed here.
    with await asyncio.to_thread(chosen.log.open) as log:
        assert await asyncio.to_thread(log.readline) == "late\n"


@pytest.mark.root
async def test_one_that_is_being_started_when_it_is_to_stop_ends(tmp_path: Path, group: Path) -> None:
    async with kept(role(tmp_path, group, "import signal; signal.pause()")):
        await asyncio.sleep(0)
    await until(lambda: not any(each.name.startswith("aside") for each in threading.enumerate()))
    assert not cgroups.processes(group)


@pytest.mark.root
async def test_stopping_asks_first_and_insists_later(tmp_path: Path, group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    polite = role(
        tmp_path, group, "import signal, sys; signal.signal(15, lambda *_: sys.exit('bye')); print(1); signal.pause()"
    )
    async with kept(polite):
        await runs(polite)
    assert lines(polite)[-1] == "bye"
    monkeypatch.setattr(process, "STOP_PATIENCE", 0.05)
    stubborn = Role("stubborn", (sys.executable, "-u", "-c", "import signal, time\nsignal.signal(15, signal.SIG_IGN)\n"
                                 "print(1)\nwhile True: signal.pause()"), group / "s", tmp_path / "s.log")  # fmt: skip
    async with kept(stubborn):
        await runs(stubborn)
    assert cgroups.processes(group) == []


async def test_a_large_log_moves_aside_and_its_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LOG_SIZE", 100)
    log = tmp_path / "role.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"x" * 200)
    stop = asyncio.Event()
    rotating = asyncio.create_task(rotate(tmp_path, stop))
    await until(lambda: log.stat().st_size == 0)
    os.write(descriptor, b"after")
    os.close(descriptor)
    stop.set()
    await rotating
    assert (log.read_bytes(), (tmp_path / "role.log.1").read_bytes()) == (b"after", b"x" * 200)
