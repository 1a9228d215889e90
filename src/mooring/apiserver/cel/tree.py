"""What is a syntax tree made of? CheckedExpr of cel.dev/expr, as the library hands it out."""

from collections.abc import Iterator
from typing import Any


def parts(expr: Any) -> list[Any]:
    """What stands directly below."""
    match expr.WhichOneof("expr_kind"):
        case "select_expr":
            return [expr.select_expr.operand]
        case "call_expr":
            return [*expr.call_expr.args, *([expr.call_expr.target] if expr.call_expr.HasField("target") else [])]
        case "list_expr":
            return list(expr.list_expr.elements)
        case "struct_expr":
            entries = expr.struct_expr.entries
            return [entry.value for entry in entries] + [entry.map_key for entry in entries if entry.HasField("map_key")]
        case "comprehension_expr":
            loop = expr.comprehension_expr
            return [loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result]
    return []


def every(expr: Any) -> Iterator[Any]:
    """The expression and all below."""
    yield expr
    for part in parts(expr):
        yield from every(part)
