"""Does the demo tell its story to the end, and does a short soak find nothing lost?"""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from bench._cluster import cluster as bench_cluster
from bench.soak import soak

ROOT = Path(__file__).resolve().parents[2]
SOAK_SECONDS, REST = 15.0, 2.0


def test_the_demo_ends_well_and_leaves_nothing() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "hello" / "demo.py"],
        capture_output=True,
        text=True,
        timeout=110,
        env={**os.environ, "COLUMNS": "120", "MOORING_CONTROLLERS_PORT": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9][\d,]* requests, 0 failed", done.stdout)
    assert not list(Path("/run/netns").glob("mrg-demo-*"))


def test_a_short_soak_with_kill_9_of_each_role_loses_nothing() -> None:
    with bench_cluster("soaktest") as made:
        report = asyncio.run(soak(made, SOAK_SECONDS, 7, lambda _: None, REST))
    assert report.faults == []
    assert set(report.kills) == {"apiserver", "controllers", "node-1", "node-2"}
    assert report.writes > 100 and report.requests > 100 and report.packets == 1000
