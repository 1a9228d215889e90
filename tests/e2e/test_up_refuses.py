"""What `mooring up` does on a machine that is not as it should be: it says what is wrong and what to do, ends with 1 and leaves
nothing; and after a crash at any moment, `down` and `up` find their way. (Taken ports, names and directories: test_cluster.)
"""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scene import until
from test_cluster import NONE, traces

from local_cluster import Cluster
from mooring.edges.netlink import namespaces

SINGLE = ("--nodes", "1", "--api-port", "0", "--controllers-port", "0")


def up_after(cluster: Cluster, preparation: str, *more: str) -> subprocess.CompletedProcess[str]:
    """`mooring up` in a process whose view of the machine the lines of `preparation` change."""
    arguments = ["up", "--name", cluster.name, "--data-dir", str(cluster.data_dir), *SINGLE, *more]
    imports = "import sys\nimport mooring.cli.main as main\nfrom mooring.edges import preflight"
    code = f"{imports}\n{preparation}\nsys.exit(main.run({arguments!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("preparation", "wrong", "remedy"),
    [
        (
            "import shutil; find = shutil.which; shutil.which = lambda name: None if name == 'nft' else find(name)",
            "nft: not found on the PATH",
            "install it: apt-get install nftables",
        ),
        (
            "import ctypes; load = ctypes.CDLL\n"
            "def missing(name, *rest, **more):\n"
            "    if name and 'nftables' in name: raise OSError(f'{name}: cannot open shared object file')\n"
            "    return load(name, *rest, **more)\n"
            "ctypes.CDLL = missing",
            "libnftables: the library is not installed",
            "install it: apt-get install libnftables1",
        ),
        (
            "preflight.FEATURES += (('time travel', 'ip', 'chain c { meta yesterday accept; }'),)",
            "nftables: time travel: ",
            "load or build the kernel's nf_tables modules",
        ),
        ("preflight.OLDEST_KERNEL = (99, 1)", "kernel: Linux ", "Linux 99.1 or newer is needed"),
    ],
    ids=["no nft program", "no nftables library", "a missing kernel feature", "an old kernel"],
)
def test_a_machine_without_what_is_needed_is_told_so(fresh: Cluster, preparation: str, wrong: str, remedy: str) -> None:
    done = up_after(fresh, preparation)
    first, second = done.stderr.splitlines()[:2]
    assert done.returncode == 1
    assert first.startswith(f"mooring: {wrong}")
    assert second.startswith(f"  what to do: {remedy}")
    assert traces(fresh) == NONE
    assert not fresh.data_dir.exists()


def test_read_only_cgroups_are_told_so(fresh: Cluster) -> None:
    """As in an unprivileged container; in a mount namespace of the test's own."""
    words = [sys.executable, "-m", "mooring.cli.main", "up", "--name", fresh.name, "--data-dir", str(fresh.data_dir), *SINGLE]
    mounts = '$(grep " - cgroup2 " /proc/self/mountinfo | cut -d" " -f5)'
    script = f'for at in {mounts}; do mount -o remount,bind,ro "$at"; done; exec "$@"'
    unshared = ["unshare", "--mount", "sh", "-c", script, "sh", *words]
    done = subprocess.run(unshared, capture_output=True, text=True, timeout=60, check=False)
    first, second = done.stderr.splitlines()
    assert done.returncode == 1
    assert first.startswith("mooring: cgroup v2: ") and first.endswith(" is read-only")
    assert second.startswith("  what to do: remount it: ")
    assert traces(fresh) == NONE
    assert not fresh.data_dir.exists()


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        pytest.param("forwrad: []", "unknown setting forwrad; the nearest known is forward", id="an unknown key"),
        pytest.param("forward: [{to: [10.96.0.10]}]", "'10.96.0.10' is this server itself", id="itself as upstream"),
        pytest.param("external-zone: cluster.local", "the cluster's own names", id="the cluster as the outside"),
        pytest.param("[", "is not YAML", id="no YAML"),
    ],
)
def test_dns_settings_that_no_node_would_take_are_told_before_anything_is_made(
    fresh: Cluster, tmp_path: Path, settings: str, wrong: str
) -> None:
    file = tmp_path / "dns.yaml"
    file.write_text(settings)
    done = fresh.up("--dns-config", str(file), check=False)
    assert (2, True) == (done.returncode, wrong in done.stderr), done.stderr
    assert traces(fresh) == NONE
    assert not fresh.data_dir.exists()


def test_a_data_directory_that_is_a_file_is_told_so(fresh: Cluster) -> None:
    fresh.data_dir.write_text("a file")
    done = fresh.up(check=False)
    first, second = done.stderr.splitlines()
    assert (done.returncode, first) == (1, f"mooring: {fresh.data_dir} cannot be used: File exists")
    assert second == "  what to do: choose another --data-dir"
    assert traces(fresh) == NONE
    assert fresh.data_dir.read_text() == "a file"
    fresh.data_dir.unlink()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """What a one-node cluster leaves in its directory when it goes down."""
    made = Cluster(f"t{secrets.token_hex(4)}", tmp_path_factory.mktemp("earlier") / "data")
    made.up("--nodes", "1")
    made.down()
    yield made
    made.down("--purge")


def overwrite(path: Path) -> None:
    """The second half of the pages: one alone may be a page that is not in use."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size - size // 2))


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("state.db", lambda path: os.truncate(path, 3000), "state.db is damaged"),
        ("state.db", overwrite, "state.db is damaged"),
        ("pki/ca.pem", lambda path: path.write_text(""), "pki/ca.pem is damaged"),
        ("pki/sa.key", lambda path: path.write_text("half"), "pki/sa.key is damaged"),
    ],
    ids=["the state is cut short", "the state is overwritten", "the authority is empty", "the tokens' key is cut short"],
)
def test_damaged_files_are_named_and_kept_as_they_are(
    earlier: Cluster, name: str, harm: Callable[[Path], object], said: str
) -> None:
    path = earlier.data_dir / name
    whole = path.read_bytes()
    try:
        harm(path)
        damaged = path.read_bytes()
        done = earlier.up(check=False)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
        assert "Traceback" not in done.stderr
        assert traces(earlier) == NONE
        assert path.read_bytes() == damaged
    finally:
        for side in path.parent.glob(f"{path.name}-*"):
            side.unlink()
        path.write_bytes(whole)


def test_once_mended_it_comes_up_again(earlier: Cluster) -> None:
    earlier.up()
    assert earlier.mooring("status").returncode == 0
    earlier.down()


@pytest.mark.parametrize(
    ("moment", "then"),
    [("the first namespace", "up"), ("the last namespace", "down"), ("the state", "down"), ("the first node", "up")],
)
def test_a_crash_half_way_up_leaves_nothing_that_down_or_up_cannot_handle(fresh: Cluster, moment: str, then: str) -> None:
    reached: dict[str, Callable[[], object]] = {
        "the first namespace": lambda: namespaces.named(f"mrg-{fresh.name}-"),
        "the last namespace": lambda: namespaces.exists(f"mrg-{fresh.name}-outside"),
        "the state": (fresh.data_dir / "state.db").exists,
        "the first node": (fresh.data_dir / "logs" / "node-1.log").exists,
    }
    words = [sys.executable, "-m", "mooring.cli.main", "up", "--name", fresh.name, "--data-dir", str(fresh.data_dir), *SINGLE]
    starting = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(reached[moment])
    finally:
        starting.send_signal(signal.SIGKILL)
        starting.wait()
    if then == "up":
        fresh.up("--nodes", "1")
        assert fresh.mooring("status").returncode == 0
    fresh.down()
    assert traces(fresh) == NONE


def test_two_at_once_on_one_directory_end_with_one_cluster(fresh: Cluster) -> None:
    words = [sys.executable, "-m", "mooring.cli.main", "up", "--detach", "--name", fresh.name]
    both = [
        subprocess.Popen([*words, "--data-dir", str(fresh.data_dir), *SINGLE], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    refused = next(text for text, process in zip(told, both, strict=True) if process.returncode)
    assert "is in use by" in refused.splitlines()[0]
    assert fresh.mooring("status").returncode == 0


def test_a_role_whose_start_hangs_does_not_make_up_wait_beyond_its_time(fresh: Cluster) -> None:
    log = fresh.data_dir / "logs" / "apiserver.log"
    log.parent.mkdir(parents=True)
    os.mkfifo(log)  # opening it for writing waits for a reader
    done = fresh.up("--ready-timeout", "1", check=False)
    assert (done.returncode, "the API server: not ready after 1 s" in done.stderr) == (1, True)
    assert traces(fresh) == NONE


def test_a_supervisor_that_hangs_is_ended_with_all_it_made(fresh: Cluster) -> None:
    hanging = (
        "import threading\nfrom mooring.app import lifecycle, supervisor\nlifecycle.HANG_PATIENCE = 1.0\n"
        "supervisor.readiness.api = lambda connection: ''\n"
        "ends, hangs = lifecycle._end_if_hung, threading.Event()\n"
        "lifecycle._end_if_hung = lambda *given: hangs.wait() and ends(*given)\n"
        "def hang(*_): hangs.set(); threading.Event().wait()\n"
        "supervisor.cluster.followers = hang"
    )
    done = up_after(fresh, hanging, "--ready-timeout", "1")
    assert (done.returncode, "in hang" in done.stderr, "mooring: the supervisor hangs" in done.stderr) == (1, True, True)
    assert traces(fresh) == NONE
