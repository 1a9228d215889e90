"""A local cluster comes, stays, survives and goes without a trace."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local_cluster import Cluster
from mooring.edges import cgroups
from mooring.edges.netlink import namespaces

DEADLINE = 60.0

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: node-1, containers: [{name: web, image: mooring.dev/echo}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def traces(cluster: Cluster) -> dict[str, object]:
    """Everything on this machine that bears the cluster's name or directory; all empty when it is gone."""
    directory, me = str(cluster.data_dir), os.getpid()
    processes = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if directory.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != me:
                processes.append(entry.name)
        except OSError:
            continue
    links = json.loads(subprocess.run(["ip", "-json", "link"], capture_output=True, text=True, check=True).stdout)
    return {
        "namespaces": namespaces.named(f"mrg-{cluster.name}-"),
        "processes": processes,
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if directory in line],
        "cgroups": [str(path) for path in [cgroups.subtree(cluster.name)] if path.exists()],
        "root links": [link["ifname"] for link in links if link["ifname"].startswith(("pod", "node-", "nodes", "outside"))],
    }


NONE: dict[str, object] = {
    "namespaces": [],
    "processes": [],
    "mounts": [],
    "cgroups": [],
    "root links": [],
}


def supervisor(cluster: Cluster) -> int:
    pid: int = json.loads((cluster.data_dir / "supervisor.json").read_text())["pid"]
    return pid


def served(cluster: Cluster) -> bool:
    address = cluster.mooring("get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}").stdout.strip()
    asking = ("curl", "--silent", "--max-time", "30", f"http://{address}/")
    return cluster.mooring("exec", "--node", "node-1", "--", *asking, check=False).stdout.startswith("web ")


def with_a_pod(cluster: Cluster) -> None:
    cluster.mooring("apply", "-f", "-", stdin=POD)
    cluster.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    until(lambda: served(cluster))


@contextmanager
def detached(cluster: Cluster) -> Iterator[None]:
    cluster.up()
    yield
    cluster.down()


@contextmanager
def in_the_foreground(cluster: Cluster) -> Iterator[None]:
    """Until it is interrupted."""
    words = [sys.executable, "-m", "mooring.cli.main", "up", "--name", cluster.name, "--data-dir", str(cluster.data_dir)]
    process = subprocess.Popen([*words, "--api-port", "0", "--controllers-port", "0"], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    seen = ""
    while "is ready" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    yield
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE)
    assert process.returncode == 0


def test_up_and_down_leave_nothing_and_the_state_stays(fresh: Cluster) -> None:
    for running in (detached, in_the_foreground):
        with running(fresh):
            nodes = fresh.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}").stdout
            assert nodes == "node-1 node-2"
            if running is detached:
                fresh.mooring("apply", "-f", "-", stdin="{apiVersion: v1, kind: ConfigMap, metadata: {name: kept}}")
                with_a_pod(fresh)
            assert fresh.mooring("get", "configmap", "kept", "-o", "name").stdout == "configmap/kept\n"
        assert traces(fresh) == NONE
    assert not fresh.kubeconfig.exists()
    fresh.down("--purge")
    assert not fresh.data_dir.exists()


def test_going_down_again_is_harmless(fresh: Cluster) -> None:
    done = fresh.mooring("down", "--name", fresh.name)
    assert done.stdout == f"no cluster {fresh.name!r} is running\n"


def test_a_taken_port_is_named_with_its_holder_and_nothing_is_made(fresh: Cluster) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = fresh.mooring("up", "--name", fresh.name, "--api-port", str(port), "--controllers-port", "0", check=False)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"mooring: port {port} for the API: taken on 127.0.0.1 by process {os.getpid()} (")
    assert "--api-port" in second
    assert traces(fresh) == NONE
    assert not fresh.data_dir.exists()


def test_without_root_it_says_so_and_makes_nothing(fresh: Cluster) -> None:
    # All modules are loaded first: nobody may not be allowed to read them here.
    code = (
        "import os, sys, mooring.cli.main as main\n"
        "main.run(['up', '--name', 'NOT A NAME'])\n"
        "main.run(['get', 'pods', '--data-dir', '/nowhere'])\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"place = ['--data-dir', {str(fresh.data_dir)!r}]\n"
        f"sys.exit(10 * main.run(['get', 'pods', *place]) + main.run(['up', '--name', {fresh.name!r}, *place]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 11
    *_, get, up, remedy = done.stderr.splitlines()
    assert get.endswith("Permission denied; run it as root, for instance with sudo")
    assert up == "mooring: root: running as user 65534"
    assert remedy == "  what to do: run it as root, for instance with sudo"
    assert not fresh.data_dir.exists()


def test_an_unknown_setting_names_the_nearest_known(fresh: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("node: 3\n")
    done = fresh.mooring("up", "--config", str(file), check=False)
    assert (done.returncode, "the nearest known is 'nodes'" in done.stderr) == (2, True)


def test_a_second_up_on_the_same_directory_is_refused(cluster: Cluster) -> None:
    done = cluster.up(check=False)
    assert done.returncode == 1
    assert f"is in use by cluster {cluster.name!r}, process {supervisor(cluster)}" in done.stderr.splitlines()[0]
    assert cluster.mooring("status", check=False).returncode == 0


def test_a_name_that_runs_from_another_directory_is_refused_and_not_harmed(cluster: Cluster, tmp_path: Path) -> None:
    other = Cluster(cluster.name, tmp_path / "other")
    done = other.up(check=False)
    assert done.returncode == 1
    assert f"mooring: name {cluster.name!r}: taken" in done.stderr
    assert not other.data_dir.exists()
    done = other.mooring("down", "--name", cluster.name, check=False)
    assert (done.returncode, "from another data directory" in done.stderr) == (1, True)
    assert cluster.mooring("status").returncode == 0


def test_a_killed_supervisor_is_replaced_by_up_pods_feel_nothing_and_down_cleans_up_after_it(fresh: Cluster) -> None:
    fresh.up()
    with_a_pod(fresh)
    started = fresh.mooring("get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].containerID}").stdout
    os.kill(supervisor(fresh), signal.SIGKILL)
    assert served(fresh)
    assert fresh.mooring("status", check=False).returncode == 1
    fresh.up()
    assert started == fresh.mooring("get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].containerID}").stdout
    assert served(fresh)
    assert fresh.mooring("status").returncode == 0
    os.kill(supervisor(fresh), signal.SIGKILL)
    fresh.down()
    assert traces(fresh) == NONE


@pytest.mark.parametrize("role", ["apiserver", "controllers", "node-1"])
def test_a_killed_role_comes_back(cluster: Cluster, role: str) -> None:
    before = cluster.pid(role)
    assert before
    os.kill(before, signal.SIGKILL)
    until(lambda: cluster.pid(role) not in (0, before))
    until(lambda: cluster.mooring("status", check=False).returncode == 0)


@pytest.mark.parametrize("part", ["supervisor", "apiserver", "controllers", "node-1"])
def test_every_part_tells_on_sigusr1_where_its_threads_and_tasks_are(cluster: Cluster, part: str) -> None:
    parts = json.loads(cluster.mooring("status", "-o", "json").stdout)["parts"]
    pid = supervisor(cluster) if part == "supervisor" else next(each["pid"] for each in parts if each["name"] == part)
    log = cluster.data_dir / "logs" / f"{part}.log"
    before = log.stat().st_size
    os.kill(pid, signal.SIGUSR1)
    for said in (b"(most recent call first)", b"(innermost call first)"):
        until(lambda said=said: said in log.read_bytes()[before:])
    assert cluster.mooring("status").returncode == 0


def test_interrupting_up_while_it_starts_takes_everything_down(fresh: Cluster) -> None:
    log = fresh.data_dir / "logs" / "node-2.log"
    log.parent.mkdir(parents=True)
    os.mkfifo(log)  # opening it for writing waits for a reader: it goes on starting until it is interrupted
    words = [
        sys.executable,
        "-m",
        "mooring.cli.main",
        "up",
        "--detach",
        "--name",
        fresh.name,
        "--data-dir",
        str(fresh.data_dir),
    ]
    process = subprocess.Popen([*words, "--api-port", "0", "--controllers-port", "0"], stderr=subprocess.PIPE, text=True)
    until(lambda: namespaces.exists(f"mrg-{fresh.name}-node-1"))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE)
    assert process.returncode != 0
    assert traces(fresh) == NONE


def test_a_role_that_cannot_start_is_shown_with_its_last_words(fresh: Cluster) -> None:
    fresh.data_dir.mkdir()
    (fresh.data_dir / "state.db").write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    done = fresh.up(check=False)
    assert done.returncode == 1
    assert "mooring: apiserver died 3 times before it was ready" in done.stderr
    assert f"the whole log: {fresh.data_dir}/logs/apiserver.log" in done.stderr
    assert traces(fresh) == NONE


def test_doctor_finds_this_machine_fit(cluster: Cluster) -> None:
    checks = json.loads(cluster.mooring("doctor", "-o", "json").stdout)
    assert [check["name"] for check in checks if not check["passed"]] == []
