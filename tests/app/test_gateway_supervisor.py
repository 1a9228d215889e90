"""Do proxy and control live together as they should, whoever dies first? The supervisor with small processes in their place."""

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

from mooring.app import gateway_supervisor

DEADLINE = 15.0
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
def family(folder: Path, drain_seconds: float = 0.0) -> Iterator[Family]:
    (folder / "launch").write_text(json.dumps({"argv": ["sh", "-c", PROXY, str(folder)]}))
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
