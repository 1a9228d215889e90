"""Is a log read whole, from where it was asked, and followed across rotations? The shim's own writer, real files."""

import asyncio
import shutil
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mooring.edges.pods.logs import read_log
from mooring.edges.pods.pod_files import termination_message
from mooring.edges.pods.shim.log import Log
from mooring.ports.pods import LogOptions

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def line(number: int, stream: str = "stdout", tag: str = "F", text: str = "") -> bytes:
    stamp = (BEGIN + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{number:09d}Z {stream} {tag} {text or f'line {number}'}\n".encode()


async def read(folder: Path, **options: object) -> bytes:
    return b"".join([chunk async for chunk in read_log(folder, LogOptions(**options), lambda: True)])


def numbers(*wanted: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in wanted)


@pytest.fixture
def kept(tmp_path: Path) -> Log:
    """Ten lines in three files."""
    made = Log(str(tmp_path / "log"), 4 * len(line(0)), 4)
    for number in range(10):
        made.write(line(number))
    assert {"log", "log.1", "log.2"} == {path.name for path in tmp_path.iterdir()}
    return made


CASES = {
    "all": ({}, range(10)),
    "the last": ({"tail_lines": 1}, [9]),
    "the last of several files": ({"tail_lines": 7}, range(3, 10)),
    "more than there are": ({"tail_lines": 10**12}, range(10)),
    "none": ({"tail_lines": 0}, []),
    "since": ({"since": BEGIN + timedelta(seconds=6)}, range(6, 10)),
    "since, in another zone": ({"since": datetime.fromisoformat("2026-01-01T02:00:08+02:00")}, [8, 9]),
    "the last since": ({"since": BEGIN + timedelta(seconds=6), "tail_lines": 2}, [8, 9]),
    "fewer since": ({"since": BEGIN + timedelta(seconds=8), "tail_lines": 5}, [8, 9]),
    "since the future": ({"since": BEGIN + timedelta(days=1)}, []),
    "errors alone": ({"stream": "Stderr"}, []),
}


@pytest.mark.parametrize(("options", "wanted"), CASES.values(), ids=CASES)
async def test_what_is_there(tmp_path: Path, kept: Log, options: dict, wanted: list[int]) -> None:
    assert numbers(*wanted) == await read(tmp_path, **options)


async def test_limits_timestamps_streams_and_parts_of_lines(tmp_path: Path) -> None:
    kept = Log(str(tmp_path / "log"), 10**6, 4)
    kept.write(line(1, tag="P", text="one ") + line(2, text="whole") + b"spam\n" + line(3, "stderr"))
    kept.write(line(4, tag="P", text="no end"))
    assert b"one whole\nline 3\nno end" == await read(tmp_path)
    stamped = "2026-01-01T00:00:01.000000001Z one whole\n2026-01-01T00:00:03.000000003Z line 3\n"
    assert (stamped + "2026-01-01T00:00:04.000000004Z no end").encode() == await read(tmp_path, timestamps=True)
    assert b"line 3\n" == await read(tmp_path, stream="Stderr")
    assert b"one whole\nno end" == await read(tmp_path, stream="Stdout")
    for size in (1, 9, 12):
        assert b"one whole\nline 3\nno end"[:size] == await read(tmp_path, limit_bytes=size)


@pytest.mark.parametrize("rotations", [1, 2, 4])
async def test_a_follower_misses_nothing_however_often_the_log_is_moved_aside_between_two_looks(
    tmp_path: Path, kept: Log, rotations: int
) -> None:
    over = False
    chunks = read_log(tmp_path, LogOptions(follow=True, tail_lines=1), lambda: over)
    assert (b"", numbers(9)) == (await anext(chunks), await anext(chunks))
    for number in range(10, 10 + 4 * rotations):
        kept.write(line(number))
    over = True
    assert numbers(*range(10, 10 + 4 * rotations)) == b"".join([chunk async for chunk in chunks])


async def test_what_is_gone_before_it_was_read_is_not_waited_for(tmp_path: Path, kept: Log) -> None:
    over = False
    chunks = read_log(tmp_path, LogOptions(follow=True, tail_lines=1), lambda: over)
    await anext(chunks), await anext(chunks)
    for number in range(10, 100):
        kept.write(line(number))
    over = True
    left = b"".join([chunk async for chunk in chunks])
    assert left.endswith(numbers(98, 99)) and 12 <= left.count(b"\n") <= 22


async def test_following_ends_with_the_run_and_has_its_last_words(tmp_path: Path, kept: Log) -> None:
    looks = []

    def ended() -> bool:
        looks.append(1)
        if len(looks) == 3:
            kept.write(line(10))
        return len(looks) > 2

    chunks = [chunk async for chunk in read_log(tmp_path, LogOptions(follow=True), ended)]
    assert numbers(*range(11)) == b"".join(chunks)


async def test_a_log_that_is_deleted_while_it_is_followed_is_told_to_its_end(tmp_path: Path, kept: Log) -> None:
    over = False
    chunks = read_log(tmp_path, LogOptions(follow=True, limit_bytes=10**6), lambda: over)
    await anext(chunks), await anext(chunks)
    kept.write(line(10, text="last words"))
    shutil.rmtree(tmp_path)
    over = True
    assert b"last words" in b"".join([chunk async for chunk in chunks])


async def test_a_follower_of_what_says_nothing_is_answered_at_once(tmp_path: Path) -> None:
    chunks = read_log(tmp_path, LogOptions(follow=True), lambda: False)
    assert b"" == await asyncio.wait_for(anext(chunks), 60)
    await chunks.aclose()


async def test_the_end_of_a_large_log_is_not_held_in_memory(tmp_path: Path) -> None:
    kept = Log(str(tmp_path / "log"), 10**9, 4)
    for start in range(0, 30_000, 1000):
        kept.write(b"".join(line(number) for number in range(start, start + 1000)))
    tracemalloc.start()
    lines = 0
    async for chunk in read_log(tmp_path, LogOptions(tail_lines=20_000), lambda: True):
        lines += chunk.count(b"\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (20_000, True) == (lines, peak < 4_000_000), peak


def test_a_full_disk_costs_lines_and_not_the_container() -> None:
    Log("/dev/full", 10**6, 4).write(line(1))


def test_of_a_termination_message_the_end_is_read_however_large_its_file(tmp_path: Path) -> None:
    with (tmp_path / "termination").open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, 2)
        file.write(b"last words")
    message = termination_message(tmp_path, False)
    assert (4096, True) == (len(message), message.endswith("\0last words"))
