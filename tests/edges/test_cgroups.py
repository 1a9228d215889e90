"""One subtree of cgroup v2, filled with real processes and emptied again."""

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mooring.edges import cgroups

SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def group() -> Iterator[Path]:
    path = cgroups.subtree(f"test{secrets.token_hex(4)}")
    yield path
    cgroups.remove(path)


def _run_in(group: Path) -> subprocess.Popen[bytes]:
    procs = cgroups.create(group) / "cgroup.procs"
    process = subprocess.Popen(SLEEP)
    procs.write_text(str(process.pid))
    return process


@pytest.mark.root
def test_processes_of_the_whole_subtree_are_found_and_killed(group: Path) -> None:
    children = [_run_in(group / "a"), _run_in(group / "b" / "c")]
    assert {child.pid for child in children} == set(cgroups.processes(group))
    killer = subprocess.Popen([sys.executable, "-c", f"from mooring.edges.cgroups import *; kill(Path({str(group)!r}))"])
    assert [child.wait() for child in children] == [-9, -9]
    assert killer.wait() == 0


@pytest.mark.root
def test_removal_takes_processes_and_groups_away_and_may_be_repeated(group: Path) -> None:
    child = _run_in(group / "a" / "deep" / "group")
    remover = subprocess.Popen([sys.executable, "-c", f"from mooring.edges.cgroups import *; remove(Path({str(group)!r}))"])
    assert child.wait() == -9
    assert remover.wait() == 0
    assert not group.exists()
    cgroups.remove(group)


@pytest.mark.root
def test_one_group_can_be_killed_without_its_neighbour(group: Path) -> None:
    victim, neighbour = _run_in(group / "a"), _run_in(group / "b")
    killer = subprocess.Popen([sys.executable, "-c", f"from mooring.edges.cgroups import *; kill(Path({str(group / 'a')!r}))"])
    assert victim.wait() == -9
    assert killer.wait() == 0
    assert neighbour.poll() is None
    neighbour.kill()
    neighbour.wait()


def test_a_group_that_does_not_exist_has_no_processes() -> None:
    assert cgroups.processes(Path("/nowhere/at/all")) == []


def test_a_mount_point_with_a_blank_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("cgroup2 /a\\040place cgroup2 rw 0 0\n")
    real_open = open
    monkeypatch.setattr("builtins.open", lambda path, *rest: real_open(mounts if path == "/proc/self/mounts" else path, *rest))
    assert Path("/a place") == cgroups.mount_point()


def test_a_machine_without_cgroup_v2_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n")
    real_open = open
    monkeypatch.setattr("builtins.open", lambda path, *rest: real_open(mounts if path == "/proc/self/mounts" else path, *rest))
    with pytest.raises(cgroups.CgroupError, match="no cgroup version 2"):
        cgroups.mount_point()
