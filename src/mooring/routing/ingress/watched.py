"""What did a pure function look up? Mappings that take note, so that its result can be kept while they answer the same."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from mooring.routing.ingress.objects import Objects

Key = TypeVar("Key")
Value = TypeVar("Value")

Looked = tuple[str, Any, Any]
"""(field of Objects, key, what was there or None)"""
_FIELDS = ("ingresses", "classes", "services", "secrets", "config_maps")


class Watched(Mapping[Key, Value]):
    """Another mapping, whose every look-up is told. Who goes through all of it asked about what no note can hold: `through`."""

    def __init__(
        self, source: Mapping[Key, Value], note: Callable[[Key, Value | None], None], through: Callable[[], None]
    ) -> None:
        self._source, self._note, self._through = source, note, through

    def __getitem__(self, key: Key) -> Value:
        found = self._source.get(key)
        self._note(key, found)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[Key]:
        self._through()
        return iter(self._source)

    def __len__(self) -> int:
        self._through()
        return len(self._source)


class Notes:
    """Everything that was looked up in `objects`. `complete` is False once somebody went through a whole mapping."""

    def __init__(self, objects: Objects) -> None:
        self.looked: list[Looked] = []
        self.complete = True
        watched = {field: self._watched(field, getattr(objects, field)) for field in _FIELDS}
        self.objects = msgspec.structs.replace(objects, **watched)

    def _watched(self, field: str, source: Mapping[Any, Any]) -> Watched[Any, Any]:
        def note(key: object, found: object) -> None:
            self.looked.append((field, key, found))

        def through() -> None:
            self.complete = False

        return Watched(source, note, through)


def still_holds(looked: tuple[Looked, ...], objects: Objects) -> bool:
    """Whether every look-up would find the very same objects again."""
    return all(getattr(objects, field).get(key) is found for field, key, found in looked)
