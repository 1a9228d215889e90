"""Which chain picks an endpoint, and which number leads to it? One shape for each number of slots, and each affinity timeout.

`numgen ... mod N` and a timeout are constants of a rule, so each pair needs a chain of its own; a frontend's value names it by
12 bits. Shapes without affinity are numbered by arithmetic. Pairs with affinity get a number when they are first used; their
chains' names say what they are, so the numbers can be read back from the kernel.
"""

from collections import deque
from collections.abc import Collection

from msgspec import Struct

from mooring.dataplane.ruleset import OUTSIDE_SHAPES, SHAPE_BITS, SHAPES

REJECT_SHAPE = 0
DROP_SHAPE = 1
FIRST_STICKY = 2048
LAST_STICKY = (1 << SHAPE_BITS) - 1
EXACT_SLOTS = 1024
SLOT_STEP = 64

PREFIXES = {SHAPES: "pick", OUTSIDE_SHAPES: "outside-pick"}
"""verdict map -> how its chains' names begin"""


class Shape(Struct, frozen=True, gc=False):
    """How an endpoint is picked: one of so many slots; with a timeout, a client keeps its endpoint for so many seconds."""

    slots: int
    timeout: int = 0


class OutOfShapes(ValueError):
    """More pairs of a number of slots and a timeout than there are numbers for."""


def slots_for(endpoints: int) -> int:
    """How many slots so many endpoints take: one each, above 1024 the next multiple of 64.

    There must not be many numbers of slots. The slots above the number of endpoints repeat some of them: at most 63, and
    there are more than 1024.
    """
    return endpoints if endpoints <= EXACT_SLOTS else -(-endpoints // SLOT_STEP) * SLOT_STEP


def plain_number(slots: int) -> int:
    """The number of the shape without affinity; 0, reject, for no slots."""
    if slots == 0:
        return REJECT_SHAPE
    return slots + 1 if slots <= EXACT_SLOTS else EXACT_SLOTS + 1 + (slots - EXACT_SLOTS) // SLOT_STEP


def chain_name(verdict_map: str, shape: Shape) -> str:
    name = f"{PREFIXES[verdict_map]}-{shape.slots}"
    return f"{name}-for-{shape.timeout}" if shape.timeout else name


def shape_named(verdict_map: str, chain: str) -> Shape | None:
    """The shape whose chain has this name; None for a name that chain_name never gives."""
    slots, _, timeout = chain.removeprefix(f"{PREFIXES[verdict_map]}-").partition("-for-")
    if not slots.isdecimal() or not (timeout or "0").isdecimal():
        return None
    shape = Shape(int(slots), int(timeout or 0))
    return shape if shape.slots and chain_name(verdict_map, shape) == chain else None


class Shapes:
    """The numbers of all shapes. Those with affinity are remembered, those without computed."""

    def __init__(self) -> None:
        self._sticky: dict[Shape, int] = {}
        self._free = deque(range(FIRST_STICKY, LAST_STICKY + 1))

    def number(self, endpoints: int, timeout: int) -> int:
        """The number for a pool of so many endpoints. Raises OutOfShapes."""
        slots = slots_for(endpoints)
        if not timeout or not slots:
            return plain_number(slots)
        shape = Shape(slots, timeout)
        number = self._sticky.get(shape)
        if number is None:
            if not self._free:
                raise OutOfShapes(
                    f"session affinity: {LAST_STICKY - FIRST_STICKY + 1} pairs of a number of endpoints and a timeout are in "
                    f"use on this node, so ({endpoints} endpoints, {timeout} s) cannot be added"
                )
            number = self._sticky[shape] = self._free.popleft()
        return number

    def recall(self, number: int, shape: Shape) -> bool:
        """Takes a number found in the kernel for what it was there. False when it cannot mean that, or no longer."""
        if not shape.timeout:
            return number == plain_number(shape.slots) and slots_for(shape.slots) == shape.slots
        if self._sticky.get(shape) == number:
            return True
        if shape in self._sticky or number not in self._free:
            return False
        self._free.remove(number)
        self._sticky[shape] = number
        return True

    def keep(self, used: Collection[int]) -> set[int]:
        """Gives up the numbers with affinity that are not used, and says which they were."""
        gone = {number for number in self._sticky.values() if number not in used}
        self._sticky = {shape: number for shape, number in self._sticky.items() if number not in gone}
        self._free.extend(sorted(gone))
        return gone
