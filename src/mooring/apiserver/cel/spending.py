"""How much can an evaluation cost at worst, on these very values? What is too dear is not begun: nothing can stop it later.

The evaluator counts the steps of loops and nothing else, so that a text doubled forty times, or a long one searched in each of
ten thousand steps, would take all memory or minutes. Upstream counts while it evaluates; here the same is foreseen: the syntax
tree is walked once, and stands for each part a set of values, real ones as far as they are what was given, and otherwise how
large they can be. Costs are cel-go's (cost.py), in whole characters and elements where those have a list for nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from mooring.apiserver.cel.tree import every
from mooring.model import codec

LIMIT = 10_000_000
"""Units of some 50 ns, for one expression and for all that share a budget (upstream's RuntimeCELCostBudget)."""
MOST_STEPS = 10_000
"""After so many the evaluator itself ends loops."""
_CHARACTER, _REGEX = 0.1, 0.25
_LIST, _MAP = 10, 30
_GROWTH, _LEAST = 4, 400
"""No function gives more than so much of what it takes, or more characters than that: a number that is written out in full."""
_NUMBER = 1400
"""Characters of a number with all the digits that `format` can be asked for."""
_GIVEN_ON = frozenset(("value", "or", "orValue", "optional.of", "optional.ofNonZeroValue", "dyn", "_?_:_"))
"""They give what they take."""
_NO_LONGER = frozenset(("lowerAscii", "upperAscii", "substring", "trim", "charAt", "reverse", "find"))
"""They give no more than what they are called on."""
_TRUTHS = frozenset(("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "@in", "contains", "startsWith", "endsWith", "matches"))
"""They give no more than yes or no."""
_PRODUCTS = {
    "contains": _CHARACTER, "indexOf": _CHARACTER, "lastIndexOf": _CHARACTER, "matches": _REGEX, "find": _REGEX,
    "findAll": _REGEX,
}  # fmt: skip
"""Whose cost is that of a walk over the one, times one over the other."""
_CHECK = 350_000
"""What an authorizer is asked costs so much."""
_PLAIN = frozenset({
    "_&&_", "_||_", "!_", "_?_:_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_-_", "-_", "_*_", "_/_", "_%_", "@in",
    "_[_]", "_[?_]", "_?._", "size", "startsWith", "endsWith", "type", "dyn", "int", "uint", "double", "bool", "orValue",
    "hasValue", "value",
})  # fmt: skip
_DEAR = ("comprehension_expr", "struct_expr")
"""An expression of those functions, without these, walks over its values a few times at most."""


class Made(Struct, frozen=True):
    """Any value no larger than this: `size` characters or elements, `weight` all that is in it."""

    size: int
    weight: int
    elements: tuple[Any, ...] | None = None
    """What each can be; None when nothing is known but that it is no more than the whole."""


class Budget:
    """What several expressions may cost together: those of a policy, the rules of a document."""

    def __init__(self) -> None:
        self._left: float = LIMIT

    def spend(self, cost: float) -> bool:
        """Whether there was so much left."""
        self._left -= cost
        return self._left >= 0


Values = tuple[Any, ...]
"""What a part of an expression may be: real values, and Made."""
_SCALAR: Values = (Made(0, 1),)


def plain(expr: Any) -> bool:
    """Whether no values could make this expression dear."""
    kinds = [(each.WhichOneof("expr_kind"), each) for each in every(expr)]
    return all(each.call_expr.function in _PLAIN if kind == "call_expr" else kind not in _DEAR for kind, each in kinds)


def doubles(expr: Any) -> bool:
    """Whether something is named (cel.bind), to be put together with itself: of lists, cel-go's costs say nothing."""
    named = any(
        each.WhichOneof("expr_kind") == "comprehension_expr" and _names(each.comprehension_expr) for each in every(expr)
    )
    return named and any(each.call_expr.function == "_+_" for each in every(expr))


def _names(loop: Any) -> bool:
    return loop.iter_range.WhichOneof("expr_kind") == "list_expr" and not loop.iter_range.list_expr.elements


def foreseen(expr: Any, variables: Mapping[str, Any]) -> tuple[float, int]:
    """The greatest cost of an expression, its value's handing over among it, and the greatest weight of that value."""
    walk = _Walk({name: (value,) for name, value in variables.items()})
    weight = walk.weight(walk.values(expr))
    return walk.cost + weight * _CHARACTER, weight


class _Walk:
    def __init__(self, names: dict[str, Values]) -> None:
        self._names = names
        self._often = 1.0
        self.cost = 0.0

    def weight(self, values: Values) -> int:
        return max(map(_weight, values), default=0)

    def _spend(self, cost: float) -> None:
        self.cost += cost * self._often

    def values(self, expr: Any) -> Values:
        """What an expression may be, its cost added to all that there was."""
        match expr.WhichOneof("expr_kind"):
            case "const_expr":
                constant = expr.const_expr
                return (getattr(constant, constant.WhichOneof("constant_kind")),)
            case "ident_expr":
                self._spend(1)
                return self._names.get(expr.ident_expr.name, _SCALAR)
            case "select_expr":
                select = expr.select_expr
                owner = self.values(select.operand)
                self._spend(1)
                return _SCALAR if select.test_only else tuple(_fields(owner, select.field))
            case "list_expr":
                return self._listed([self.values(each) for each in expr.list_expr.elements], _LIST)
            case "struct_expr":
                entries = expr.struct_expr.entries
                keys = [self.values(entry.map_key) for entry in entries if entry.HasField("map_key")]
                return self._listed([*keys, *[self.values(entry.value) for entry in entries]], _MAP)
            case "call_expr":
                return self._call(expr.call_expr)
            case "comprehension_expr":
                return self._loop(expr.comprehension_expr)
        return _SCALAR

    def _listed(self, elements: list[Values], cost: int) -> Values:
        self._spend(cost)
        weight = len(elements) + sum(map(self.weight, elements))
        return (Made(len(elements), weight, _any_of(*elements)),)

    def _call(self, call: Any) -> Values:
        taken = [self.values(each) for each in ([call.target] if call.HasField("target") else [])]
        taken += [self.values(each) for each in call.args]
        name = call.function
        weights = list(map(self.weight, taken))
        if name in ("_&&_", "_||_", "!_", "@not_strictly_false"):
            return _SCALAR
        if name in ("_[_]", "_[?_]", "_?._"):
            self._spend(1)
            return _indexed(taken[0], taken[1])
        if name in _GIVEN_ON:
            self._spend(1)
            return _any_of(*(taken[1:] if name == "_?_:_" else taken))
        if name in _PRODUCTS and len(taken) > 1:
            self._spend((1 + weights[0] * _CHARACTER) * max(1, weights[1] * _PRODUCTS[name]))
        else:
            self._spend((_CHECK if name == "check" else 1) + sum(weights) * _CHARACTER)
        if name in _TRUTHS:
            return _SCALAR
        if name == "_+_" or name == "cel.@mapInsert":
            if len(taken) == 3:
                taken[1:] = [(Made(1, sum(weights[1:]), taken[2]),)]
            return self._sum(taken, weights)
        if name in _NO_LONGER:
            return (Made(weights[0], weights[0]),)
        if name in ("split", "findAll"):
            return (Made(weights[0] + 1, 2 * weights[0] + 1, (Made(weights[0], weights[0]),)),)
        if name == "replace":
            most = weights[0] + (weights[0] + 1) * weights[2]
            self._spend(most * _CHARACTER)
            return (Made(most, most),)
        if name == "join":
            most = weights[0] + max(map(_size, taken[0]), default=0) * (weights[1] if len(weights) > 1 else 0)
            self._spend(most * _CHARACTER)
            return (Made(most, most),)
        numbers = max(map(_size, taken[1]), default=0) if name == "format" and len(taken) > 1 else 0
        most = _LEAST + _GROWTH * sum(weights) + _NUMBER * numbers
        return (Made(most, most),)

    def _sum(self, taken: list[Values], weights: list[int]) -> Values:
        elements = _any_of(*map(_elements, taken))
        size = sum(max(map(_size, each), default=0) for each in taken)
        return (Made(size, max(sum(weights), 1), elements),)

    def _loop(self, loop: Any) -> Values:
        """A macro's: its accumulator grows in each step by the same, or is a truth, or there is no step (cel.bind)."""
        over = self.values(loop.iter_range)
        start = self.values(loop.accu_init)
        count = min(max(map(_size, over), default=0), MOST_STEPS)
        inside = {loop.accu_var: start, loop.iter_var: _any_of(_elements(over, keys=not loop.iter_var2))}
        if loop.iter_var2:
            inside |= {loop.iter_var: _any_of(_keys(over), _SCALAR), loop.iter_var2: _any_of(_elements(over))}
        outside, often = self._names, self._often
        self._names, self._often = outside | inside, often * count
        if count:
            self.values(loop.loop_condition)
            step = self.values(loop.loop_step)
            inside[loop.accu_var] = _grown(start, step, count)
        self._names, self._often = outside | inside, often
        found = self.values(loop.result)
        self._names = outside
        return found


def _any_of(*found: Iterable[Any]) -> Values:
    """Each once: what is doubled is made of the same. Very many are one of which no more is known than how large it can be."""
    values = tuple({id(value): value for values in found for value in values}.values())
    if len(values) > MOST_STEPS:
        return (Made(max(map(_size, values)), max(map(_weight, values))),)
    return values


def _size(value: Any) -> int:
    if isinstance(value, Made):
        return value.size
    return len(value) if isinstance(value, str | bytes | list | dict) else 0


def _weight(value: Any) -> int:
    if isinstance(value, Made):
        return value.weight
    if isinstance(value, str | bytes):
        return len(value)
    if not isinstance(value, list | dict):
        return 1
    try:
        return len(codec.encode(value))
    except TypeError:  # a map's keys may be booleans
        return len(repr(value))


def _fields(values: Values, name: str) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict):
            if name in value:
                yield value[name]
        elif isinstance(value, Made):
            yield from _inside(value)


def _indexed(values: Values, index: Values) -> Values:
    names = [each for each in index if isinstance(each, str)]
    if len(names) == len(index) == 1:
        return tuple(_fields(values, names[0])) or _any_of(_elements(values))
    return _any_of(_elements(values))


def _keys(values: Values) -> Iterator[Any]:
    for value in values:
        if isinstance(value, dict):
            yield from value
        elif isinstance(value, Made):
            yield from _inside(value)


def _elements(values: Iterable[Any], keys: bool = False) -> Iterator[Any]:
    """Of lists their items, of maps their values or, of one variable, `keys`."""
    for value in values:
        if isinstance(value, dict):
            yield from value if keys else value.values()
        elif isinstance(value, list):
            yield from value
        elif isinstance(value, Made):
            yield from _inside(value)


def _inside(value: Made) -> Values:
    return (Made(value.weight, value.weight),) if value.elements is None else value.elements


def _grown(start: Values, step: Values, count: int) -> Values:
    sizes = [max(map(_size, values), default=0) for values in (start, step)]
    weights = [max(map(_weight, values), default=0) for values in (start, step)]
    size, weight = (first + count * max(last - first, 0) for first, last in (sizes, weights))
    return (Made(size, max(weight, 1), _any_of(_elements(step))),)
