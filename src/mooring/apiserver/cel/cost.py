"""How much can an expression cost at worst, before any value is seen?

In the units of cel-go's estimate (checker/cost.go), about 50 ns each, with the costs that Kubernetes gives its own functions
(apiserver/pkg/cel/library/cost.go): so that upstream and we refuse the same rules. Sizes come from the declared types; nothing
declared means as much as fits into a request, or no bound at all.
"""

import math
from collections.abc import Mapping
from typing import Any

from mooring.apiserver.cel.declared import Declared
from mooring.apiserver.cel.environment import Program

NO_BOUND = (1 << 64) - 1
_STRING_FACTOR, _REGEX_FACTOR = 0.1, 0.25
_LIST, _MAP, _STRUCT = 10, 30, 40
_ONE_WALK = frozenset(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"))
_ARGUMENT_WALK = frozenset(("url", "cidr", "isIP", "isCIDR", "ip", "quantity", "isQuantity", "isURL", "semver", "isSemver"))
_TARGET_WALK = frozenset(("lowerAscii", "upperAscii", "substring", "trim"))
_CONCATENATION = frozenset(("add_string", "add_bytes"))
_COMPARISON = frozenset(
    [f"{word}_{of}" for word in ("less", "greater", "less_equals", "greater_equals") for of in ("string", "bytes")]
    + ["equals", "not_equals"]
)

_KEY = Declared("string", max_size=0)
"""Upstream takes no account of how long the keys of a map may be."""
_LONGEST_FORMAT = 128
"""Characters of the longest expression that a named format is checked by."""

Size = tuple[int, int]
"""(least, most) elements, characters or octets."""
_UNKNOWN: Size = (0, NO_BOUND)


def estimate(program: Program, types: Mapping[str, Declared]) -> int:
    """The greatest cost, of variables with these types."""
    return _Estimate(program.checked, types).cost(program.checked.expr)


def times(cost: int, count: int) -> int:
    return min(cost * count, NO_BOUND)


def _plus(*costs: int) -> int:
    return min(sum(costs), NO_BOUND)


def _share(size: int, factor: float) -> int:
    return NO_BOUND if size == NO_BOUND else math.ceil(size * factor)


class _Estimate:
    def __init__(self, checked: Any, types: Mapping[str, Declared]) -> None:
        self._types, self._references = checked.type_map, checked.reference_map
        self._names: dict[str, list[Declared | None]] = {name: [type] for name, type in types.items()}
        self._declared: dict[int, Declared] = {}
        self._sizes: dict[int, Size] = {}

    def cost(self, expr: Any) -> int:
        match expr.WhichOneof("expr_kind"):
            case "ident_expr":
                self._remember(expr, (self._names.get(expr.ident_expr.name) or [None])[-1])
                return 1
            case "select_expr":
                return self._select(expr)
            case "call_expr":
                return self._call(expr)
            case "list_expr":
                return _plus(_LIST, *map(self.cost, expr.list_expr.elements))
            case "struct_expr":
                entries = expr.struct_expr.entries
                base = _STRUCT if expr.struct_expr.message_name else _MAP
                keys = [self.cost(entry.map_key) for entry in entries if entry.HasField("map_key")]
                return _plus(base, *keys, *(self.cost(entry.value) for entry in entries))
            case "comprehension_expr":
                return self._comprehension(expr)
        return 0

    def _remember(self, expr: Any, declared: Declared | None) -> None:
        if declared is not None:
            self._declared[expr.id] = declared

    def _select(self, expr: Any) -> int:
        select = expr.select_expr
        cost = self.cost(select.operand)
        owner = self._declared.get(select.operand.id)
        if owner is not None:
            if owner.form == "object" and select.field in owner.fields:
                self._remember(expr, owner.fields[select.field].type)
            elif owner.form == "map":
                self._remember(expr, owner.element)
        if select.test_only:
            return cost
        kind = self._kind(select.operand)
        return _plus(cost, 1) if kind in ("map_type", "message_type", "type_param", "dyn") else cost

    def _kind(self, expr: Any) -> str:
        return str(self._types[expr.id].WhichOneof("type_kind")) if expr.id in self._types else ""

    def _scalar(self, expr: Any) -> bool:
        if expr.id not in self._types:
            return False
        type = self._types[expr.id]
        kind = type.WhichOneof("type_kind")
        # Of the primitive types, STRING is 5 and BYTES 6; of the well known ones, TIMESTAMP is 2 and DURATION 3.
        return (kind == "primitive" and type.primitive not in (5, 6)) or (kind == "well_known" and type.well_known in (2, 3))

    def _size(self, expr: Any) -> Size:
        if expr.id in self._sizes:
            return self._sizes[expr.id]
        match expr.WhichOneof("expr_kind"):
            case "const_expr":
                constant = expr.const_expr
                kind = constant.WhichOneof("constant_kind")
                length = len(getattr(constant, kind)) if kind in ("string_value", "bytes_value") else 1
                return length, length
            case "list_expr":
                count = len(expr.list_expr.elements)
                return count, count
            case "struct_expr":
                count = len(expr.struct_expr.entries)
                return count, count
        if declared := self._declared.get(expr.id):
            return (0, 0) if declared.scalar else (0, declared.max_size)
        return (1, 1) if self._scalar(expr) else _UNKNOWN

    def _call(self, expr: Any) -> int:
        call = expr.call_expr
        arguments = [self.cost(argument) for argument in call.args]
        target = call.target if call.HasField("target") else None
        base = self.cost(target) if target is not None else 0
        overloads = list(self._references[expr.id].overload_id) if expr.id in self._references else []
        if "index_list" in overloads or "index_map" in overloads:
            owner = self._declared.get(call.args[0].id)
            self._remember(expr, owner.element if owner else None)
        own = self._own(expr, call, target, overloads)
        if own is not None:
            return _plus(base, own, *arguments)
        worst = max((self._standard(expr, call, target, overload, arguments) for overload in overloads), default=1)
        return _plus(base, worst)

    def _own(self, expr: Any, call: Any, target: Any, overloads: list[str]) -> int | None:
        """What Kubernetes says a function costs; None where cel-go's rules hold."""
        name, args = call.function, call.args
        if name in _ONE_WALK and target is not None:
            return self._walk(target)
        if name in _ARGUMENT_WALK:
            return _share(self._size(args[0])[1], _STRING_FACTOR) if target is None and args else 1
        if name == "ip.isCanonical":
            return _share(self._size(args[0])[1], 2 * _STRING_FACTOR)
        if target is None:
            return None
        size = self._size(target)
        if name in _TARGET_WALK:
            self._sizes[expr.id] = size
            return _share(size[1], _STRING_FACTOR)
        if name in ("find", "findAll"):
            self._sizes[expr.id] = 0, size[1]
            return times(_share(_plus(size[1], 1), _STRING_FACTOR), _share(self._size(args[0])[1], _REGEX_FACTOR))
        if name == "validate" and args:
            walk = _share(_plus(self._size(args[0])[1], 1), _STRING_FACTOR)
            return times(walk, _share(_LONGEST_FORMAT, _REGEX_FACTOR))
        if name == "split":
            most = size[1]
            if len(args) > 1 and args[1].const_expr.WhichOneof("constant_kind") == "int64_value":
                most = max(args[1].const_expr.int64_value, 0)
            self._sizes[expr.id] = 0, most
            return _share(size[1], 2 * _STRING_FACTOR)
        if name == "replace" and len(args) >= 2:
            self._sizes[expr.id] = _replaced(size, self._size(args[0]), self._size(args[1]))
            return _share(size[1], 2 * _STRING_FACTOR)
        if name == "join":
            return self._join(expr, target, args)
        return None

    def _walk(self, target: Any) -> int:
        """Once through a list, with its strings, or through a string."""
        size = self._size(target)[1]
        declared = self._declared.get(target.id)
        if self._kind(target) != "list_type":
            return _share(size, _STRING_FACTOR)
        element = declared.element if declared else None
        if element is not None:
            long = _share(element.max_size, _STRING_FACTOR) if element.form in ("string", "bytes") else 0
        else:
            of = self._types[target.id].list_type.elem_type
            long = NO_BOUND if of.WhichOneof("type_kind") == "primitive" and of.primitive in (5, 6) else 0
        return times(_plus(1, long), size)

    def _join(self, expr: Any, target: Any, args: Any) -> int:
        count, declared = self._size(target)[1], self._declared.get(target.id)
        length = declared.element.max_size if declared and declared.element else NO_BOUND
        if target.WhichOneof("expr_kind") == "list_expr":
            length = max((self._size(element)[1] for element in target.list_expr.elements), default=0)
        between = times(self._size(args[0])[1], max(count - 1, 0)) if args else 0
        most = _plus(times(length, count), between)
        self._sizes[expr.id] = 0, most
        return _share(most, _STRING_FACTOR)

    def _standard(self, expr: Any, call: Any, target: Any, overload: str, costs: list[int]) -> int:
        args, total = call.args, _plus(*costs)
        if overload in ("starts_with_string", "ends_with_string", "string_to_bytes", "bytes_to_string") and args:
            if overload.endswith(("_bytes", "to_string")):
                self._sizes[expr.id] = self._size(args[0])
            return _plus(_share(self._size(args[0])[1], _STRING_FACTOR), total)
        if overload == "in_list":
            return _plus(self._size(args[1])[1], total)
        if overload in ("matches_string", "matches"):
            text, pattern = (target, args[0]) if target is not None else (args[0], args[1])
            walk = _share(_plus(self._size(text)[1], 1), _STRING_FACTOR)
            return _plus(times(walk, _share(self._size(pattern)[1], _REGEX_FACTOR)), total)
        if overload == "contains_string" and target is not None:
            both = times(_share(self._size(target)[1], _STRING_FACTOR), _share(self._size(args[0])[1], _STRING_FACTOR))
            return _plus(both, total)
        if overload in ("logical_or", "logical_and"):
            return total
        if overload == "conditional":
            one, other = self._size(args[1]), self._size(args[2])
            self._sizes[expr.id] = min(one[0], other[0]), max(one[1], other[1])
            self._remember(expr, self._either(args[1], args[2]))
            return _plus(costs[0], max(costs[1], costs[2]))
        if overload in _CONCATENATION or overload == "add_list":
            one, other = self._size(args[0]), self._size(args[1])
            joined = self._sizes[expr.id] = _plus(one[0], other[0]), _plus(one[1], other[1])
            return _plus(1 if overload == "add_list" else _share(joined[1], _STRING_FACTOR), total)
        if overload in _COMPARISON:
            return _plus(_share(min(self._size(args[0])[1], self._size(args[1])[1]), _STRING_FACTOR), total)
        return _plus(1, total)

    def _either(self, one: Any, other: Any) -> Declared | None:
        """What both are, as far as sizes go: an empty list is no longer than any."""
        empty = [each.WhichOneof("expr_kind") == "list_expr" and not each.list_expr.elements for each in (one, other)]
        known = [self._declared.get(each.id) for each, bare in zip((one, other), empty, strict=True) if not bare]
        if not known or None in known:
            return None
        return max((each for each in known if each), key=lambda each: each.element.max_size if each.element else each.max_size)

    def _comprehension(self, expr: Any) -> int:
        loop = expr.comprehension_expr
        whole = self.cost(loop.iter_range)
        start = self.cost(loop.accu_init)
        count = self._size(loop.iter_range)[1]
        bound = self._declared.get(loop.accu_init.id) if not count else None
        with _Scope(self._names, self._variables(loop)), _Scope(self._names, {loop.accu_var: bound}):
            step = _plus(self.cost(loop.loop_condition), self.cost(loop.loop_step))
            result = self.cost(loop.result)
        if not count and loop.result.id in self._sizes:
            self._sizes[expr.id] = self._sizes[loop.result.id]
        elif self._kind(expr) in ("list_type", "map_type"):
            self._sizes[expr.id] = 0, count
        return _plus(whole, start, times(step, count), result)

    def _variables(self, loop: Any) -> dict[str, Declared | None]:
        """What the names of a loop stand for: items, keys, or places and items."""
        over = self._declared.get(loop.iter_range.id)
        element = over.element if over else None
        second = getattr(loop, "iter_var2", "")
        key = _KEY if over and over.form == "map" else None
        if second:
            return {loop.iter_var: key, second: element}
        return {loop.iter_var: key if over and over.form == "map" else element}


class _Scope:
    """Names that hide others for a while."""

    def __init__(self, names: dict[str, list[Declared | None]], inside: dict[str, Declared | None]) -> None:
        self._names, self._inside = names, inside

    def __enter__(self) -> None:
        for name, declared in self._inside.items():
            self._names.setdefault(name, []).append(declared)

    def __exit__(self, *_: object) -> None:
        for name in self._inside:
            self._names[name].pop()


def _replaced(size: Size, old: Size, new: Size) -> Size:
    if not old[0]:
        most = _plus(times(_plus(size[1], 1), new[1]), size[1])
    elif new[1] <= old[0]:
        most = size[1]
    else:
        most = times(math.ceil(size[1] / old[0]), new[1])
    return 0, most
