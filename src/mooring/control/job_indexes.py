"""How are the indexes of an Indexed Job written and counted? As intervals: '1,3-5,7' stands for 1, 3, 4, 5 and 7.

Upstream: pkg/controller/job/indexed_job_utils.go. Two neighbours are listed ('3,4'), three or more are shortened ('3-5'). A Job
may have a thousand million indexes, so they are never listed one by one.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

Interval = tuple[int, int]
"""The first and the last, both inside."""


class Indexes(Struct, frozen=True):
    """Intervals in increasing order, with gaps between them."""

    intervals: tuple[Interval, ...] = ()

    def __contains__(self, index: int) -> bool:
        return any(first <= index <= last for first, last in self.intervals)

    def __str__(self) -> str:
        return ",".join(_text(first, last) for first, last in self.intervals)

    @property
    def total(self) -> int:
        return sum(last - first + 1 for first, last in self.intervals)

    def with_(self, *others: "Indexes") -> "Indexes":
        every = sorted(interval for each in (self, *others) for interval in each.intervals)
        done: list[Interval] = []
        for interval in every:
            _join(done, interval)
        return Indexes(tuple(done))

    def missing(self, end: int) -> Iterator[int]:
        """Those below `end` that are not here, in order."""
        candidate = 0
        for first, last in (*self.intervals, (end, end)):
            yield from range(candidate, min(first, end))
            candidate = max(candidate, last + 1)

    def common(self, other: "Indexes") -> int:
        """How many are in both."""
        return self.total + other.total - self.with_(other).total


def indexes(values: Iterable[int]) -> Indexes:
    return Indexes().with_(Indexes(tuple((value, value) for value in set(values))))


def parse(text: str, end: int) -> Indexes:
    """Of a written form those below `end`; what is no number or interval is passed over."""
    found = []
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) <= 2 and all(each.isdecimal() and each.isascii() for each in ends) and int(ends[0]) < end:
            found.append((int(ends[0]), min(int(ends[-1]), end - 1)))
    return Indexes().with_(Indexes(tuple(each for each in found if each[0] <= each[1])))


def _text(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}{',' if last == first + 1 else '-'}{last}"


def _join(done: list[Interval], following: Interval) -> None:
    if done and following[0] <= done[-1][1] + 1:
        done[-1] = done[-1][0], max(done[-1][1], following[1])
    else:
        done.append(following)
