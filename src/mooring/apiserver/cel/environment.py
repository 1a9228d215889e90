"""How does the text of an expression become a program, and what does a program say of given values?

Where variables have declared types, an expression is checked against them as protobuf messages made for this (types.py), then
compiled once more for evaluation with variables of no declared type: so documents need not be copied into messages, and an
absent field is an error, not a default. Whose library does it is engine.py's.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from msgspec import Struct

from mooring.apiserver.cel import spending, tree
from mooring.apiserver.cel.declared import BOOL, Declared

MAX_LENGTH = 64 * 1024
"""Characters of an expression; the parser's own limit is a little above."""
Check = Callable[[dict[str, Any], str], dict[str, Any]]
"""(what is asked, the verb) -> the decision, all opaque values."""
_VALUE, _HAS = "__value_", "__has_"
COST_EXCEEDED = "operation cancelled: actual cost limit exceeded"
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


@cache
def _engine() -> Any:
    """Loaded for the first expression: 9 MB that a server without policies and definitions' rules has no use for."""
    from mooring.apiserver.cel import engine

    return engine


class CelError(Exception):
    """An expression that does not compile, or failed on these values, in the words of upstream's implementation."""


class OutOfBudget(Exception):
    """Too little is left of a budget for this expression: it ends what shares the budget, and not only this expression."""


class Program:
    """An expression ready to be evaluated. `checked` is its syntax tree with types, for cost estimates."""

    def __init__(self, text: str, variables: "Variables", checked: Any, return_type: str, bounded: bool) -> None:
        """`bounded`: what it may cost at worst was looked at (cost.py), so that no look at its values is needed."""
        self.text, self.checked, self.return_type = text, checked, return_type
        self._foresee = spending.doubles(checked.expr) if bounded else not spending.plain(checked.expr)
        self._used = frozenset(name for name in variables.names if _mentions(_inside(checked.expr, variables), name))
        self._variables = variables
        self._compiled: Any = None

    def uses(self, variable: str) -> bool:
        return variable in self._used

    def evaluate(
        self, bindings: "Mapping[str, Any] | Activation", check: Check | None = None, budget: spending.Budget | None = None
    ) -> Any:
        """The value: None, bool, int, float, str, bytes, list, dict, datetime or timedelta. Raises CelError, OutOfBudget."""
        activation = bindings if isinstance(bindings, Activation) else Activation(self._variables, bindings, check)
        if self._foresee:
            cost, _ = spending.foreseen(self.checked.expr, activation.given)
            if cost > spending.LIMIT:
                raise CelError(COST_EXCEEDED)
            if budget is not None and not budget.spend(cost):
                raise OutOfBudget(OUT_OF_BUDGET)
        try:
            if self._compiled is None:
                self._compiled = _engine().program(self._variables.bound, self._variables.around(self.text))
            return _engine().evaluated(self._compiled, activation.bound)
        except (RuntimeError, TypeError, ValueError) as error:
            raise CelError(failure(str(error))) from None


def _inside(expr: Any, variables: "Variables") -> Any:
    """The expression itself, out of what makes its optional values."""
    for _ in variables.optional:
        expr = expr.comprehension_expr.result
    return expr


def _mentions(expr: Any, name: str) -> bool:
    """Whether a variable is read anywhere. A loop's own variable of that name counts too: nobody writes that."""
    return any(each.WhichOneof("expr_kind") == "ident_expr" and each.ident_expr.name == name for each in tree.every(expr))


class Variables(Struct, frozen=True):
    """Names of variables; those of `optional` have optional values."""

    names: frozenset[str]
    optional: frozenset[str] = frozenset()

    @property
    def bound(self) -> frozenset[str]:
        """What the evaluator is given: an optional value cannot be, so it is made there of a value and whether there is one."""
        return frozenset((self.names - self.optional) | {f"{mark}{name}" for name in self.optional for mark in (_VALUE, _HAS)})

    def around(self, text: str) -> str:
        for name in sorted(self.optional):
            text = f"cel.bind({name}, {_HAS}{name} ? optional.of({_VALUE}{name}) : optional.none(), (\n{text}\n))"
        return text


class Activation:
    """Values of variables, handed over once for several programs of one environment. An optional one may be left out."""

    def __init__(self, variables: Variables, bindings: Mapping[str, Any], check: Check | None = None) -> None:
        """`check` answers what an authorizer among the values is asked (libraries/authz.py)."""
        self.given = {name: bindings[name] for name in variables.names - variables.optional if name in bindings}
        for name in variables.optional:
            self.given |= {_VALUE + name: bindings.get(name), _HAS + name: name in bindings}
        self.bound = _engine().activation(variables.bound, self.given, check)


class Environment:
    """Variables and their types. Make one for each set of them, and keep it while expressions over them are compiled."""

    def __init__(
        self, variables: Mapping[str, Declared], optional: frozenset[str] = frozenset(), *, bounded: bool = True
    ) -> None:
        """Variables in `optional` have optional values of their type. `bounded` as for a program."""
        self._bounded = bounded
        self._types = dict(variables)
        self.variables = Variables(frozenset(variables), optional)
        self._checker: Any = None

    def activation(self, bindings: Mapping[str, Any]) -> Activation:
        return Activation(self.variables, bindings)

    def compile(self, text: str, expect: tuple[str, ...] = ()) -> Program:
        """`expect` names the types that may come out: bool, string, int... (dyn always may). Raises CelError."""
        if len(text) > MAX_LENGTH:
            raise CelError(
                f"ERROR: <input>:-1:0: expression code point size exceeds limit: size: {len(text)}, limit {MAX_LENGTH}"
            )
        try:
            compiled = self._environment().compile(self.variables.around(text))
        except RuntimeError as error:
            raise CelError(compile_failure(str(error), len(self.variables.optional))) from None
        checked, found = _engine().tree(compiled)
        if expect and found not in expect and found != "dyn":
            raise CelError(f"must evaluate to {' or '.join(expect)}")
        return Program(text, self.variables, checked, found, self._bounded)

    def _environment(self) -> Any:
        if self._checker is None:
            if all(type.form == "dyn" for type in self._types.values()):
                self._checker = _engine().evaluator(self.variables.bound)
            else:
                flags = {_HAS + name for name in self.variables.optional}
                types = {_VALUE + name if name in self.variables.optional else name: type for name, type in self._types.items()}
                self._checker = _engine().checker(types | dict.fromkeys(flags, BOOL))
        return self._checker


# Words ------------------------------------------------------------------------------------------------------------------

_STATUS = re.compile(r"^[A-Z_]+: (.*?)(?: \[[A-Z_]+\])?$", re.S)
_STRUCT = re.compile(r"(undefined field '[^']*') not found in struct '[^']*'")
_PLACE = re.compile(r"<input>:(\d+):")
_FAILURES = (
    (re.compile(r'Key not found in map : "?(.*?)"?$', re.S), r"no such key: \1"),
    (re.compile(r"Index error: index=(-?\d+) size=\d+"), r"index out of bounds: \1"),
    (re.compile(r"^divide by zero$"), "division by zero"),
    (re.compile(r"No matching overloads found.*", re.S), "no such overload"),
    (re.compile(r"Applying SELECT to non-message type"), "no such overload"),
    (re.compile(r"Iteration budget exceeded.*", re.S), COST_EXCEEDED),
)


def compile_failure(text: str, lines_before: int = 0) -> str:
    found = _STATUS.match(text)
    words = _STRUCT.sub(r"\1", found[1] if found else text).replace("null_type", "null")
    return _PLACE.sub(lambda place: f"<input>:{int(place[1]) - lines_before}:", words)


def failure(text: str) -> str:
    """An evaluator's error in cel-go's words."""
    found = _STATUS.match(text)
    words = found[1] if found else text
    for pattern, put in _FAILURES:
        if pattern.search(words):
            return pattern.sub(put, words)
    return words
