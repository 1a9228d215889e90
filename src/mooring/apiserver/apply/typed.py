"""Is an applied document of its type? Every fault with its path, in the words of structured-merge-diff/typed/validate.go."""

from typing import Any

from mooring.apiserver.apply.sets import step_text
from mooring.apiserver.apply.types import ListType, MapType, MergeType
from mooring.apiserver.apply.walk import BadItem, item_step
from mooring.apiserver.strategy import below

MAX_FAULTS = 50


def faults(kind: MergeType, value: Any) -> list[str]:
    """E.g. '.spec.ports: element 0: associative list with keys has an element that omits key field "port" ...'."""
    found: list[str] = []
    _check(kind, value, "", found)
    return found


def told(found: list[str]) -> str:
    """As upstream lists them: one alone, several below each other."""
    if len(found) == 1:
        return found[0]
    return "\n".join(["errors:", *(f"  {fault}" for fault in found)])


def _check(kind: MergeType, value: Any, path: str, found: list[str]) -> None:
    if value is None or len(found) >= MAX_FAULTS:
        return
    if isinstance(value, dict) and kind.map is not None:
        _check_fields(kind.map, value, path, found)
    elif isinstance(value, list) and kind.list is not None:
        _check_items(kind.list, value, path, found)
    elif kind.scalar and not isinstance(value, dict | list):
        if fault := _scalar_fault(kind.scalar, value):
            found.append(f"{path}: {fault}")
    elif fault := _form_fault(kind, value):
        found.append(f"{path}: {fault}")


def _scalar_fault(scalar: str, value: Any) -> str:
    match scalar:
        case "numeric" if isinstance(value, bool) or not isinstance(value, int | float):
            return "expected numeric (int or float), got value.valueUnstructured"
        case "string" if not isinstance(value, str):
            return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
        case "boolean" if not isinstance(value, bool):
            return f"expected boolean, got &{{{_go(value)}}}"
    return ""


def _form_fault(kind: MergeType, value: Any) -> str:
    if kind.map is not None:
        return f"expected map, got &{{{_go(value)}}}"
    if kind.scalar:
        return _scalar_fault(kind.scalar, value) or f"expected scalar, got &{{{_go(value)}}}"
    return f"expected list, got &{{{_go(value)}}}"


def _check_fields(mapped: MapType, value: dict[str, Any], path: str, found: list[str]) -> None:
    for name, item in value.items():
        field = mapped.fields.get(name)
        inner = field.type if field is not None else mapped.element
        if inner is None:
            found.append(f"{path}.{name}: field not declared in schema")
        else:
            _check(inner, item, f".{below(path[1:], name)}", found)


def _check_items(listed: ListType, items: list[Any], path: str, found: list[str]) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if listed.topology == "atomic":
            step = f"i:{index}"
        else:
            try:
                step = item_step(listed, item)
            except BadItem as error:
                found.append(f"{path}: element {index}: {error}")
                return
            if step in seen:
                found.append(f"{path}: duplicate entries for key {step_text(step)}")
            seen.add(step)
        _check(listed.element, item, path + step_text(step), found)


def _go(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_go(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(_go, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)


def _go_syntax(value: Any) -> str:
    """A value as Go's %#v prints it."""
    if isinstance(value, dict):
        inside = ", ".join(f'"{key}":{_go_syntax(value[key])}' for key in sorted(value))
        return f"map[string]interface {{}}{{{inside}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go_syntax, value))}}}"
    if isinstance(value, str):
        return f'"{value}"'
    return _go(value)
