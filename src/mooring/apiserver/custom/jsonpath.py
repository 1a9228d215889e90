"""What does a JSONPath of a printer column find? kubectl's dialect (client-go/util/jsonpath), as far as definitions use it.

Fields, quoted names, indexes and slices, '*', recursive descent and filters: `.status.conditions[?(@.type=="Ready")].status`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from mooring.apiserver.remembered import remembered

Step = Callable[[Any], Iterator[Any]]
Path = tuple[Step, ...]

_TOKEN = re.compile(
    r"""(?P<deep>\.\.)
    |\.?\[\s*(?:(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote)).)*)(?P=quote))\s*\]
    |\.?\[\s*\?\s*\((?P<filter>(?:[^()'"]|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")*)\)\s*\]
    |\.?\[\s*(?P<index>-?\d+|\*)\s*\]
    |\.?\[\s*(?P<slice>-?\d*\s*:\s*-?\d*(?:\s*:\s*\d+)?)\s*\]
    |\.(?P<star>\*)
    |\.?(?P<name>(?:\\.|[^.\[\]\\{}()'"$@*?\s])+)
    |(?P<root>[$@])
    |(?P<dot>\.)$""",
    re.X,
)
_OPERATOR = re.compile("==|!=|<=|>=|<|>")
_LITERALS = {"true": True, "false": False, "null": None}


MAX_LENGTH = 1024
"""Characters of a path. Each step of it is walked for each row of each Table."""


@remembered(1024, 256)
def parse(text: str) -> Path:
    """Raises ValueError."""
    text = text.strip()
    if len(text) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} characters")
    steps: list[Step] = []
    place, deep = 0, False
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None or (token["root"] and place):
            raise ValueError(f"unrecognized path {text!r}")
        place = token.end()
        if token["deep"]:
            deep = True
        elif step := _step(token):
            steps.append(_descending(step) if deep else step)
            deep = False
    return tuple(steps)


def find(document: Any, path: Path) -> Iterator[Any]:
    """Every value that the path leads to, once; none where something on the way is not there."""
    values = [document]
    for step in path:
        # Recursive descents meet the same values by many ways.
        values = list({id(found): found for value in values for found in step(value)}.values())
    return iter(values)


def _step(token: re.Match[str]) -> Step | None:
    if token["quote"]:
        return _field(re.sub(r"\\(.)", r"\1", token["quoted"]))
    if token["filter"] is not None:
        return _filter(token["filter"])
    if token["index"]:
        return _every if token["index"] == "*" else _index(int(token["index"]))
    if token["slice"]:
        return _slice(token["slice"])
    if token["star"]:
        return _every
    return _field(re.sub(r"\\(.)", r"\1", token["name"])) if token["name"] else None


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _index(number: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= number < len(value):
            yield value[number]

    return step


def _slice(text: str) -> Step:
    parts = [int(part) if part.strip() else None for part in text.split(":")]
    if len(parts) > 2 and parts[2] == 0:
        raise ValueError("step must be >= 1")
    chosen = slice(*parts)

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[chosen]

    return step


def _descending(step: Step) -> Step:
    def deep(value: Any) -> Iterator[Any]:
        yield from step(value)
        for inner in _every(value):
            yield from deep(inner)

    return deep


def _filter(text: str) -> Step:
    found = _OPERATOR.search(text)
    left = _operand(text[: found.start()] if found else text)
    right = _operand(text[found.end() :]) if found else None
    operator = found[0] if found else ""

    def step(value: Any) -> Iterator[Any]:
        for item in _every(value):
            if right is None:
                if any(True for _ in left(item)):
                    yield item
            elif any(_compared(one, other, operator) for one in left(item) for other in right(item)):
                yield item

    return step


def _operand(text: str) -> Callable[[Any], Iterator[Any]]:
    text = text.strip()
    if text[:1] in ("@", "$", "."):
        path = parse(text)
        return lambda item: find(item, path)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        constant: Any = re.sub(r"\\(.)", r"\1", text[1:-1])
    elif text in _LITERALS:
        constant = _LITERALS[text]
    else:
        constant = float(text) if re.fullmatch(r"-?\d+\.\d+", text) else int(text)
    return lambda item: iter((constant,))


def _compared(one: Any, other: Any, operator: str) -> bool:
    if operator == "==":
        return bool(one == other)
    if operator == "!=":
        return bool(one != other)
    try:
        return bool({"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[operator])
    except TypeError:
        return False
