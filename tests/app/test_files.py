"""The data directory: who holds it, and what was left in it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mooring.app.files import Files, InUse, Running, boot_id, start_time
from mooring.app.settings import load
from mooring.app.teardown import purge


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "data")
    made.create()
    return made


def me(**more: object) -> Running:
    plain = Running(
        pid=os.getpid(), started=start_time(os.getpid()), boot=boot_id(), cluster="x", api_port=1, controllers_port=2
    )
    return msgspec.structs.replace(plain, **more)


def test_only_its_owner_may_look_inside(files: Files) -> None:
    files.write_running(me())
    files.write_kubeconfig("secret")
    assert 0o700 == stat.S_IMODE(files.root.stat().st_mode)
    assert 0o600 == stat.S_IMODE(files.kubeconfig.stat().st_mode)


def test_one_supervisor_at_a_time_and_the_second_hears_who_is_first(files: Files) -> None:
    files.write_running(me())
    lock = files.lock()
    assert files.locked()
    with pytest.raises(InUse, match=f"cluster 'x', process {os.getpid()}"):
        files.lock()
    os.close(lock)
    assert not files.locked()


def test_a_lock_dies_with_its_process(files: Files) -> None:
    code = (
        f"from pathlib import Path; from mooring.app.files import Files; Files(Path({str(files.root)!r})).lock();"
        "print('held', flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    assert files.locked()
    holder.kill()
    holder.wait()
    assert not files.locked()
    holder.communicate()


def test_the_record_of_another_boot_does_not_count(files: Files) -> None:
    files.write_running(me())
    assert me() == files.running()
    files.write_running(me(boot="another"))
    assert files.running() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}'], ids=["empty", "half", "a list", "a wrong type"])
def test_a_damaged_record_is_no_record(files: Files, content: bytes) -> None:
    (files.root / "supervisor.json").write_bytes(content)
    assert files.running() is None


def test_settings_come_back_and_a_new_directory_has_none(files: Files) -> None:
    assert {} == files.stored_settings()
    made = load({"name": "y", "nodes": 7, "dual-stack": True, "data-dir": files.root}, {})
    files.write_settings(made)
    assert made == load({"data-dir": files.root}, {}, stored=files.stored_settings())


def test_purging_takes_what_is_ours_and_leaves_what_is_not(files: Files) -> None:
    (files.root / "state.db").write_text("x")
    (files.root / "state.db-wal").write_text("x")
    files.log("apiserver").write_text("x")
    (files.node_volumes("node-1") / "pvc-1").mkdir(parents=True)
    files.write_running(me())
    stranger = files.root / "images.yaml"
    stranger.write_text("[]")
    purge(files)
    assert [stranger] == list(files.root.iterdir())
    stranger.unlink()
    purge(files)
    assert not files.root.exists()


def test_a_process_that_is_gone_never_started() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start_time(child.pid) == 0, "ended, but not reaped"
    child.wait()
    assert start_time(child.pid) == 0
    assert start_time(os.getpid()) > 0
