"""Does the store keep its word through kill -9 and power cuts, at any moment of writing, compacting, opening and closing?

No acknowledged transaction is lost, none is half there, no revision that anyone was shown is used again, and watches resume
without gap or repeat (crash_ledger.py). `MOORING_CRASHES` says how many, `MOORING_SEED` which: failures name life and cut.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest
from crash_ledger import Ledger, Watcher
from crash_writer import Orders
from power_cuts import Disk, Kind, Operation, operations

from mooring.edges.sqlite.log import Log
from mooring.store.state import State

KILLS = int(os.environ.get("MOORING_CRASHES", "10"))
CUTS = int(os.environ.get("MOORING_CRASHES", "20"))
CUTS_A_LIFE = 5
SEED = int(os.environ.get("MOORING_SEED", "1"))
HERE = Path(__file__).parent


class Writer:
    """crash_writer.py as a process."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, HERE / "crash_writer.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | environment,
            text=True,
        )

    def start(self, orders: Orders) -> int:
        """The new life's process."""
        assert self._process.stdin
        self._process.stdin.write(msgspec.json.encode(orders).decode() + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout
        return int(json.loads(self._process.stdout.readline()))

    def ended(self) -> int:
        """The wait status of the life that was started last."""
        return self._answer()

    def end(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@contextlib.contextmanager
def writer(**environment: str) -> Iterator[Writer]:
    made = Writer(**environment)
    try:
        yield made
    finally:
        made.end()


def watchers() -> list[Watcher]:
    return [Watcher(""), Watcher("/left/"), Watcher("/right/3/"), Watcher("/last/")]


def checked(found: Path, ledger: Ledger, rng: Random) -> State:
    log = Log(found / "state.db")
    try:
        state, _ = log.load()
    finally:
        log.close()
    ledger.check(state, rng)
    return state


def resume(following: list[Watcher], state: State, rng: Random) -> None:
    for watcher in following:
        if rng.random() < 0.7:  # some stay away for a while
            watcher.resume(state)


@pytest.mark.timeout(3600)
def test_kill_9_at_any_moment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, ledger, following = Random(SEED), Ledger(), watchers()
    place, found = tmp_path / "place", tmp_path / "found"
    place.mkdir()
    with writer() as process:
        for life in range(KILLS):
            pid = process.start(Orders(str(place), life, rounds=10_000, steps=15))
            wait_for_size(place / "journal", rng.choice((0, rng.randrange(12_000))))
            time.sleep(rng.uniform(0, 0.02))  # the moment is what varies: nothing is waited for
            os.kill(pid, signal.SIGKILL)
            assert os.WTERMSIG(process.ended()) == signal.SIGKILL
            with named(f"life {life}"):
                ledger.told(content(place / "journal"))
                (place / "journal").unlink(missing_ok=True)
                shutil.rmtree(found, ignore_errors=True)
                shutil.copytree(place, found)  # the next life has to recover by itself
                resume(following, checked(found, ledger, rng), rng)
    assert ledger.acknowledged > KILLS * 10, "it was never killed under load"
    tell(capsys, f"{KILLS} kills", ledger.acknowledged, ledger, following)


def content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def wait_for_size(path: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while len(content(path)) < size:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@contextlib.contextmanager
def named(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"{what}, seed {SEED}")
        raise


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("recorder") / "power_cuts.so"
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "power_cuts.c", "-lpthread"], check=True)
    return library


@pytest.mark.timeout(3600)
def test_power_cuts_at_any_moment(tmp_path: Path, recorder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, ledger, following = Random(SEED), Ledger(), watchers()
    place, trace = tmp_path / "place", tmp_path / "trace"
    left: dict[str, bytes] = {}
    moments: Counter[str] = Counter()
    acknowledged = 0
    with writer(LD_PRELOAD=str(recorder)) as process:
        for life in range(-(-CUTS // CUTS_A_LIFE)):
            lay(place, left)
            for number in range(rng.randint(1, 3)):  # all but the last are killed, mostly: what is not synced is in memory
                orders = Orders(str(place), life * 3 + number, rounds=rng.randint(1, 3), steps=8, trace=str(trace))
                fail = rng.choice((0, 0, rng.randint(1, 40)))
                process.start(msgspec.structs.replace(orders, stop=rng.randrange(20, 1000), fail=fail))
                assert process.ended() == 0
            history = list(operations(trace))
            trace.unlink()
            cuts = chosen(Disk(place, left, "journal"), history, rng)
            moments.update(cuts.values())
            goes_on = rng.choice(list(cuts))
            disk, base = Disk(place, left, "journal"), ledger
            for position, operation in enumerate(history):
                if position in cuts:
                    image = disk.after_power_cut(rng)
                    learned = base.copy()
                    lay(place, image)
                    with named(f"life {life}, cut before operation {position}: {cuts[position]}"):
                        learned.told(disk.written)
                        state = checked(place, learned, rng)
                        if position == goes_on:
                            left, ledger = image, learned
                            resume(following, state, rng)
                    acknowledged += learned.acknowledged - base.acknowledged
                disk.do(operation)
    tell(capsys, f"{moments.total()} power cuts at {len(moments)} sorts of moments", acknowledged, ledger, following)
    assert acknowledged > CUTS, "it was never cut under load"


def test_what_a_killed_process_had_not_synced_is_synced_before_it_is_shown(tmp_path: Path, recorder: Path) -> None:
    rng, place, trace = Random(SEED), tmp_path / "place", tmp_path / "trace"
    place.mkdir()
    with writer(LD_PRELOAD=str(recorder)) as process:
        for life, stop in enumerate((-20, 0)):
            plain = Orders(str(place), life, rounds=1, steps=20, kept=(10_000,), checkpoint=(1000,))  # each fsync is a commit
            process.start(msgspec.structs.replace(plain, trace=str(trace), stop=stop))
            assert process.ended() == 0
    disk, first, ledger = Disk(place, {}, "journal"), Ledger(), Ledger()
    for operation in operations(trace):
        disk.do(operation)
        if operation.kind is Kind.OPEN and operation.data.endswith(b"journal"):
            first.told(disk.written)
            unsynced = disk.unsynced("state.db-wal")
        if operation.data.startswith(b"opened") and first.revision:
            break
    ledger.told(disk.written)
    assert unsynced
    assert ledger.revision > first.revision, "the second process has found nothing that the first did not know"
    for _ in range(8):
        lay(place, disk.after_power_cut(rng))
        checked(place, ledger.copy(), rng)


def chosen(disk: Disk, history: list[Operation], rng: Random) -> dict[int, str]:
    """Positions to cut at, and what is next: two anywhere, and three where each sort of moment, however rare, is as likely."""
    sorts: defaultdict[str, list[int]] = defaultdict(list)
    for position, operation in enumerate(history):
        disk.do(operation)
        sorts[disk.what(operation)].append(position)
    cuts: dict[int, str] = {}
    every = [(position, sort) for sort, positions in sorts.items() for position in positions]
    while len(cuts) < CUTS_A_LIFE:
        sort = rng.choice(every)[1] if len(cuts) < 2 else rng.choice(list(sorts))
        cuts[rng.choice(sorts[sort])] = sort
    return cuts


def lay(place: Path, content: dict[str, bytes]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, octets in content.items():
        (place / name).write_bytes(octets)


def tell(capsys: pytest.CaptureFixture[str], what: str, acknowledged: int, ledger: Ledger, following: list[Watcher]) -> None:
    if "MOORING_CRASHES" not in os.environ:
        return
    resumed, again = sum(each.resumed for each in following), sum(each.listed_again for each in following)
    with capsys.disabled():
        print(
            f"\n{what}: {acknowledged} acknowledged transactions, up to revision {ledger.revision},"
            f" compacted to {ledger.oldest}; watches resumed {resumed} times, too late {again} times"
        )
