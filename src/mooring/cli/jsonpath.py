"""What does a kubectl JSONPath template say about a document?

The everyday part of https://kubernetes.io/docs/reference/kubectl/jsonpath/: text around `{...}`; in the braces `.field`,
`['field']`, `[0]`, `[-1]`, `[1:3]`, `[*]`, `.*`, `..field`, filters `[?(@.a=="b")]`, quoted text, and `{range ...}...{end}`.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from mooring.cli.main import CommandError

_STEP = re.compile(
    r"""\.\.(?P<deep>[\w-]+) | \.\*(?P<all>) | \.(?P<field>(?:[\w/-]|\\.)+) | \[\*\](?P<every>)
      | \[(?P<index>-?\d+)\] | \[(?P<first>-?\d*):(?P<last>-?\d*)\] | \['(?P<quoted>[^']*)'\]
      | \[\?\(@(?P<left>[^=!<>()]*?)\s*(?:(?P<sign>==|!=|<=|>=|<|>)\s*(?P<right>"[^"]*"|'[^']*'|[^)\s]+))?\s*\)\]""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def evaluate(template: str, document: Any) -> str:
    """The template filled in; several results stand blank-separated, as kubectl writes them. Raises CommandError."""
    if "{" not in template:
        template = "{" + (template if template.startswith((".", "[", "$")) else f".{template}") + "}"
    parts = re.findall(r"\{((?:[^{}\"']|\"[^\"]*\"|'[^']*')*)\}|([^{}]+)", template)
    text, rest = _fill([(expression.strip(), literal) for expression, literal in parts], document, document)
    if rest:
        raise CommandError("jsonpath: {end} without {range}", 2)
    return text


def _fill(parts: list[tuple[str, str]], root: Any, here: Any) -> tuple[str, list[tuple[str, str]]]:
    """Text up to the end or the {end} of this level, and what follows that."""
    text = ""
    while parts:
        (expression, literal), *parts = parts
        if expression == "end":
            return text, parts or [("", "")]
        if expression.startswith("range "):
            rest: list[tuple[str, str]] = []
            items = list(_select(expression.removeprefix("range ").strip(), root, here))
            for item in items:
                inner, rest = _fill(parts, root, item)
                text += inner
                if not rest:
                    raise CommandError("jsonpath: {range} without {end}", 2)
            parts = rest if items else _after_end(parts)
        elif expression[:1] in ('"', "'"):
            text += expression[1:-1].encode().decode("unicode_escape")
        elif expression:
            text += " ".join(_text(value) for value in _select(expression, root, here))
        else:
            text += literal
    return text, []


def _after_end(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    depth = 1
    for index, (expression, _) in enumerate(parts):
        depth += expression.startswith("range ") - (expression == "end")
        if not depth:
            return parts[index + 1 :]
    raise CommandError("jsonpath: {range} without {end}", 2)


def _select(path: str, root: Any, here: Any) -> Iterator[Any]:
    values = [root if path.startswith("$") else here]
    position = 1 if path[:1] in ("$", "@") else 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise CommandError(f"jsonpath: cannot read {path[position:]!r} in {path!r}", 2)
        values = [found for value in values for found in _step(step, value)]
        position = step.end()
    return iter(values)


def _step(step: re.Match[str], value: Any) -> list[Any]:
    found = step.groupdict()
    name = found["field"] or found["quoted"]
    if name is not None:
        name = name.replace("\\.", ".")
        return [value[name]] if isinstance(value, dict) and name in value else []
    if found["deep"]:
        return list(_deep(found["deep"], value))
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if found["index"] is not None:
        index = int(found["index"])
        return [items[index]] if -len(items) <= index < len(items) else []
    if found["first"] is not None:
        return list(items[slice(*(int(bound) if bound else None for bound in (found["first"], found["last"])))])
    if found["left"] is not None:
        return [item for item in items if _holds(found, item)]
    return list(items)


def _holds(found: dict[str, str | None], item: Any) -> bool:
    left = list(_select("@" + (found["left"] or ""), item, item))
    if not found["sign"]:
        return bool(left)
    text = found["right"] or ""
    right = text[1:-1] if text[:1] in "\"'" else _literal(text)
    return any(type(value) is type(right) and _COMPARE[found["sign"]](value, right) for value in left)


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _deep(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if name in value:
            yield value[name]
        for inner in value.values():
            yield from _deep(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _deep(name, inner)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
