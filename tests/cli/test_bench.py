"""What does `python -m bench` tell, and what does it leave behind when it is ended?"""

import importlib
import signal
import subprocess
import sys

import pytest
from bench.__main__ import main, names

STARTED = """
import asyncio, sys, time, types
import bench.__main__ as entry

def plain(options):
    try:
        print("begun", flush=True)
        time.sleep(1000)
    finally:
        print("cleaning", flush=True)
        sys.stdin.readline()
        print("cleaned", flush=True)

def in_a_loop(options):
    async def endless():
        try:
            print("begun", flush=True)
            await asyncio.sleep(1000)
        finally:
            print("cleaning", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            print("cleaned", flush=True)
    asyncio.run(endless())

idle = sys.modules["bench.idle"] = types.ModuleType("bench.idle")
idle.run = {"plain": plain, "loop": in_a_loop}[sys.argv[1]]
entry.names = lambda: ["idle"]
sys.exit(entry.main(["idle"]))
"""


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_tells_what_a_benchmark_measures_and_runs_nothing(
    name: str, flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = importlib.import_module(f"bench.{name}")
    monkeypatch.setattr(benchmark, "run", lambda options: pytest.fail("it ran"))
    assert main([name, flag]) == 0
    assert capsys.readouterr().out.strip() == (benchmark.__doc__ or "").strip()


@pytest.mark.parametrize("kind", ["plain", "loop"])
def test_sigterm_lets_a_benchmark_clean_up(kind: str) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", STARTED, kind], **pipes, text=True) as process:
        try:
            assert process.stdin and process.stdout
            assert process.stdout.readline() == "begun\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "cleaning\n"
            process.send_signal(signal.SIGTERM)  # as timeout(1) does: once more, to the whole group
            process.stdin.write("go on\n")
            process.stdin.flush()
            assert process.stdout.read() == "cleaned\n"
            assert process.wait(60) == 130
        finally:
            process.kill()
