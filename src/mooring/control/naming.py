"""What are generated things called? Names that the same decision, taken twice, gives twice.

A name chosen by the server (generateName) makes every repeated create a second object. Here the name of the next object follows
from its maker's version and from the names it is known to have already, so a create whose answer was lost, or one planned
again from the same stale view, meets AlreadyExists instead of doubling; and once the view has moved on, names are new.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Upstream's: no vowels, so no words; no 0, 1, 3, which look like letters."""
LONGEST_BASE = 63 - 5


def digest(value: Any, length: int) -> str:
    """`length` letters that follow from the JSON value alone, whatever the order of its keys."""
    number = int.from_bytes(sha256(msgspec.json.encode(value, order="sorted")).digest())
    letters = []
    for _ in range(length):
        number, rest = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[rest])
    return "".join(letters)


def next_names(base: str, version: Iterable[str], taken: Iterable[str], count: int) -> list[str]:
    """`count` new names 'base' + 5 letters, each following from `version`, the `taken` names and the new ones before it."""
    known, seed = set(taken), list(version)
    names: list[str] = []
    while len(names) < count:
        attempt = 0
        while (name := base[:LONGEST_BASE] + digest([seed, sorted(known), attempt], 5)) in known:
            attempt += 1
        known.add(name)
        names.append(name)
    return names
