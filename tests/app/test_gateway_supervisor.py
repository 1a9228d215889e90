"""Do proxy and control live together as they should, whoever dies first? The supervisor with small processes in their place."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import pytest

from mooring.app import gateway_supervisor

DEADLINE = 60.0
CONTROL = 'echo $$ > "$0/control.pid"; cp "$0/launch" "$0/launch.new"; mv -n "$0/launch.new" "$0/launch.json"; exec sleep 1000'
PROXY = 'echo $$ > "$0/proxy.pid"; exec sleep 1000'


class Family:
    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self.folder, self.process = folder, process

    def pid(self, name: str, other_than: int = 0) -> int:
        """Of the living process that wrote it down."""
        end = monotonic() + DEADLINE
        while True:
            with suppress(OSError, ValueError):
                found = int((self.folder / f"{name}.pid").read_text())
                if found != other_than and alive(found):
                    return found
            assert monotonic() < end, f"no {name}"
            sleep(0.01)

    def end(self) -> int:
        return self.process.wait(DEADLINE)


@contextmanager
def family(folder: Path, drain_seconds: float = 0.0, plan: Mapping[str, object] | None = None) -> Iterator[Family]:
    (folder / "launch").write_text(json.dumps(plan or {"argv": ["sh", "-c", PROXY, str(folder)]}))
    (folder / "launch.json").write_text("of an earlier life")
    command = [sys.executable, "-m", "mooring.app.gateway_supervisor", str(folder), str(drain_seconds)]
    with subprocess.Popen([*command, "sh", "-c", CONTROL, str(folder)], stderr=subprocess.DEVNULL) as process:
        try:
            yield Family(folder, process)
        finally:
            process.kill()


def alive(pid: int) -> bool:
    """A process that nobody has buried yet is dead all the same."""
    with suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def until_dead(*pids: int) -> None:
    end = monotonic() + DEADLINE
    while any(map(alive, pids)):
        assert monotonic() < end, f"{pids} live on"
        sleep(0.01)


def test_control_that_is_killed_is_started_again_and_the_proxy_goes_on(tmp_path: Path) -> None:
    with family(tmp_path) as made:
        proxy, control = made.pid("proxy"), made.pid("control")
        for _ in range(2):
            os.kill(control, signal.SIGKILL)
            control = made.pid("control", other_than=control)
        assert proxy == made.pid("proxy")
        made.process.terminate()
        assert 0 == made.end()
        until_dead(proxy, control)


def test_a_dead_proxy_ends_everything(tmp_path: Path) -> None:
    with family(tmp_path) as made:
        proxy, control = made.pid("proxy"), made.pid("control")
        os.kill(proxy, signal.SIGKILL)
        assert 1 == made.end()
        until_dead(control)


def test_sigint_ends_a_drain(tmp_path: Path) -> None:
    with family(tmp_path, drain_seconds=1000.0) as made:
        proxy, control = made.pid("proxy"), made.pid("control")
        made.process.send_signal(signal.SIGTERM)
        made.process.send_signal(signal.SIGINT)
        assert 0 == made.end()
        until_dead(proxy, control)


def test_children_die_with_it(tmp_path: Path) -> None:
    with family(tmp_path) as made:
        proxy, control = made.pid("proxy"), made.pid("control")
        made.process.kill()
        until_dead(proxy, control)


def test_it_imports_the_standard_library_alone() -> None:
    tree = ast.parse(Path(gateway_supervisor.__file__).read_text())
    imports = [each for each in ast.walk(tree) if isinstance(each, ast.Import | ast.ImportFrom)]
    names = [alias.name for each in imports if isinstance(each, ast.Import) for alias in each.names]
    names += [each.module or "" for each in imports if isinstance(each, ast.ImportFrom)]
    assert set() == {name.partition(".")[0] for name in names} - sys.stdlib_module_names


def serving(folder: Path, answers: list[str]) -> threading.Thread:
    """An admin interface on FOLDER/admin.sock that gives these answers, one for each request, and then the last for ever; ''
    is no answer at all. What it was asked is in FOLDER/asked."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "admin.sock"))
    listening.listen()

    def serve() -> None:
        while True:
            opened, _ = listening.accept()
            with opened, (folder / "asked").open("a") as asked:
                asked.write(opened.recv(65536).decode().split(" ")[1] + "\n")
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if answer:
                    opened.sendall(f"HTTP/1.1 200 OK\r\n\r\n{answer}\n".encode())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


STOPS = """
trap 'echo quit > "$0/ended"; exit 0' QUIT
trap 'echo term > "$0/ended"; exit 0' TERM
echo $$ > "$0/proxy.pid"
while :; do sleep 0.05; done
"""


@pytest.mark.parametrize(
    ("answers", "seconds", "sent", "ended"),
    [
        # One that is too busy to answer may still have connections.
        pytest.param(["", "left: 1", "left: 0"], 1000.0, signal.SIGHUP, "quit", id="drained, it ends as it likes best"),
        pytest.param(["left: 1"], 0.2, signal.SIGTERM, "term", id="what has not ended in time is cut off"),
    ],
)
def test_a_proxy_drains(tmp_path: Path, answers: list[str], seconds: float, sent: int, ended: str) -> None:
    socket_ = str(tmp_path / "admin.sock")
    plan = {"argv": ["sh", "-c", STOPS, str(tmp_path)], "active": [socket_, "GET", "/active"], "stop": signal.SIGQUIT}
    asked = len(answers)
    serving(tmp_path, answers)
    with family(tmp_path, drain_seconds=seconds, plan=plan) as made:
        made.pid("proxy")
        made.process.send_signal(sent)
        assert 0 == made.end()
    assert ended == (tmp_path / "ended").read_text().strip()
    assert len((tmp_path / "asked").read_text().split()) >= asked


LEAVES = 'sleep 1000 & echo $! > "$0/orphan.pid"; echo $$ > "$0/proxy.pid"; exec sleep 1000'


def test_what_a_killed_proxy_leaves_behind_ends_too(tmp_path: Path) -> None:
    """NGINX's workers would keep the ports."""
    with family(tmp_path, plan={"argv": ["sh", "-c", LEAVES, str(tmp_path)]}) as made:
        proxy, orphan = made.pid("proxy"), made.pid("orphan")
        os.kill(proxy, signal.SIGKILL)
        assert 1 == made.end()
        until_dead(orphan)
