"""What does the official Python client ask of an API server? Read from the source of its API classes."""

import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

_SERIALIZED = re.compile(r"    def _(\w+)_serialize\((.*?)(?:\n\n\n\n|\Z)", re.S)
_QUERY = re.compile(r"_query_params\.append\(\('(\w+)'")
_PLACE = re.compile(r"method='(\w+)',\s*resource_path='([^']+)'")


class Operation(Struct, frozen=True):
    """`answer` is the client's class of what comes with 200."""

    name: str
    method: str
    path: str
    query: frozenset[str]
    answer: str


@cache
def operations() -> tuple[Operation, ...]:
    return tuple(_operations())


def _operations() -> Iterator[Operation]:
    found = find_spec("kubernetes")
    assert found is not None and found.submodule_search_locations
    for path in sorted(Path(found.submodule_search_locations[0], "client/api").glob("*_api.py")):
        source = path.read_text()
        answers = _answers(source)
        for name, body in _SERIALIZED.findall(source):
            if place := _PLACE.search(body):
                yield Operation(name, place[1].lower(), place[2], frozenset(_QUERY.findall(body)), answers.get(name, ""))


def _answers(source: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for match in re.finditer(r"    def (\w+)\(|'200': \"(\w+)\"", source):
        name = match[1] or name
        if match[2]:
            found.setdefault(name, match[2])
    return found
