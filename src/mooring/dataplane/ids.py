"""Which number has a service port, and which slot and number each of its endpoints?

They live in the kernel's elements, so they must stay what they are while what they name lives: a changed number rewrites
elements, and session affinity remembers those of endpoints. A service port's number and its endpoints' slots are read back from
the kernel when an agent restarts; an endpoint's number is computed from its address and port alone.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from zlib import crc32

from msgspec import Struct

from mooring.services.view import ServicePort

LARGEST_ID = (1 << 19) - 1
"""A gid is id << 1 | sub and must fit the upper 20 bits of a frontend's value."""


class Numbered(Struct, frozen=True, gc=False):
    """A service port with its number. `cluster[slot]` and `local[slot]` are endpoints packed as the kernel keeps them.

    Only the pools that some arm uses are filled. `shapes` are the numbers of the two pools' shapes. `frontends` are the port's,
    packed as keys, `hairpins` its local endpoints' addresses: what has been numbered can be written without reading any text.
    """

    port: ServicePort
    id: int
    cluster: tuple[bytes, ...]
    local: tuple[bytes, ...]
    shapes: tuple[int, int] = (0, 0)
    frontends: tuple[bytes, ...] = ()
    hairpins: tuple[bytes, ...] = ()


class OutOfIds(ValueError):
    """More than 524,287 service ports on one node."""


class Ids:
    """Hands out numbers. A released one comes back last of all, so that nothing still refers to it."""

    def __init__(self, used: Iterable[int] = (), going: Iterable[int] = ()) -> None:
        """`going`: what still refers to them is about to be taken away, so they count as released just now."""
        taken = set(used)
        last = set(going) - taken
        self._fresh = max(taken | last, default=0) + 1
        self._released = deque(each for each in range(1, self._fresh) if each not in taken and each not in last)
        self._released.extend(sorted(last))

    def take(self) -> int:
        """Raises OutOfIds."""
        if self._fresh <= LARGEST_ID:
            self._fresh += 1
            return self._fresh - 1
        if not self._released:
            raise OutOfIds(f"all {LARGEST_ID} service port numbers are in use")
        return self._released.popleft()

    def release(self, number: int) -> None:
        self._released.append(number)


def place(previous: Sequence[bytes], wanted: Sequence[bytes]) -> tuple[bytes, ...]:
    """The slots of `wanted`, without gaps, moving as few as possible.

    An endpoint keeps its slot. New ones fill the holes first; holes that are left are filled by moving the last endpoints.
    """
    left = set(wanted)
    if len(previous) == len(wanted) and left == set(previous):
        return tuple(previous)
    slots: list[bytes | None] = []
    for endpoint in previous:
        slots.append(endpoint if endpoint in left else None)
        left.discard(endpoint)
    new = [endpoint for endpoint in wanted if endpoint in left]
    new.reverse()
    hole = 0
    while True:
        while slots and slots[-1] is None and not new:
            slots.pop()
        while hole < len(slots) and slots[hole] is not None:
            hole += 1
        if hole < len(slots):
            slots[hole] = new.pop() if new else slots.pop()
        elif new:
            slots.append(new.pop())
        else:
            return tuple(slot for slot in slots if slot is not None)


def endpoint_numbers(endpoints: Iterable[bytes]) -> dict[bytes, int]:
    """A number for each endpoint of a service port: the same as long as it lives, on every node, whoever computes it.

    Endpoints that differ in their IPv4 address alone never get the same checksum; of any two that do, one chance in four
    billion, the first keeps it.
    """
    endpoints = tuple(endpoints)
    found = dict(zip(endpoints, map(crc32, endpoints), strict=True))
    if len(set(found.values())) == len(found):
        return found
    taken: set[int] = set()
    for endpoint in sorted(found):
        number = crc32(endpoint)
        while number in taken:
            number = number + 1 & 0xFFFFFFFF
        taken.add(number)
        found[endpoint] = number
    return found
