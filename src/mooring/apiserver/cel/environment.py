"""How does the text of an expression become a program, and what does a program say of given values?

Google's C++ implementation (cel_expr_python) parses, checks and evaluates (decision 0014). Where variables have declared types,
an expression is checked against them as protobuf messages made for this (types.py), then compiled once more for evaluation with
variables of no declared type: so documents need not be copied into messages, and an absent field is an error, not a default.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel
from google.api.expr.v1alpha1 import checked_pb2
from google.protobuf import any_pb2
from msgspec import Struct

from mooring.apiserver.cel import libraries
from mooring.apiserver.cel.declared import DYN, Declared
from mooring.apiserver.cel.types import Messages

MAX_LENGTH = 64 * 1024
"""Characters of an expression; the parser's own limit is a little above."""
_LIBRARIES = ("sets", "two-var-comprehensions", "strings", "optional", "bindings", "math", "encoders")
_CONFIG = "name: kubernetes\nextensions:\n" + "".join(f"  - name: {name}\n" for name in _LIBRARIES)

_VALUE, _HAS = "__value_", "__has_"
_UNSERVED = frozenset({"cel.@mapInsert"})
"""transformMap and transformMapEntry: the library checks them, but its Python form cannot evaluate them."""
COST_EXCEEDED = "operation cancelled: actual cost limit exceeded"


class CelError(Exception):
    """An expression that does not compile, or failed on these values, in the words of upstream's implementation."""


class Program:
    """An expression ready to be evaluated. `checked` is its syntax tree with types, for cost estimates."""

    def __init__(self, text: str, variables: "Variables", checked: Any, return_type: str) -> None:
        self.text, self.checked, self.return_type = text, checked, return_type
        self.references = frozenset(reference.name.lstrip(".") for reference in checked.reference_map.values())
        self._used = frozenset(name for name in variables.names if _mentions(_inside(checked.expr, variables), name))
        self._variables = variables
        self._compiled: Any = None

    def uses(self, variable: str) -> bool:
        return variable in self._used

    def evaluate(self, bindings: "Mapping[str, Any] | Activation") -> Any:
        """The value: None, bool, int, float, str, bytes, list, dict, datetime or timedelta. Raises CelError."""
        try:
            if self._compiled is None:
                self._compiled = _runtime(self._variables).compile(self._variables.around(self.text))
            activation = bindings if isinstance(bindings, Activation) else Activation(self._variables, bindings)
            found = self._compiled.eval(activation.bound)
            if found.type() == cel.Type.ERROR:
                raise CelError(failure(str(found.value())))
            return libraries.plain(found.plain_value())
        except (RuntimeError, TypeError, ValueError) as error:
            raise CelError(failure(str(error))) from None


def _inside(expr: Any, variables: "Variables") -> Any:
    """The expression itself, out of what makes its optional values."""
    for _ in variables.optional:
        expr = expr.comprehension_expr.result
    return expr


def _mentions(expr: Any, name: str) -> bool:
    """Whether a variable is read anywhere. A loop's own variable of that name counts too: nobody writes that."""
    match expr.WhichOneof("expr_kind"):
        case "ident_expr":
            return bool(expr.ident_expr.name == name)
        case "select_expr":
            return _mentions(expr.select_expr.operand, name)
        case "call_expr":
            parts = [*expr.call_expr.args, *([expr.call_expr.target] if expr.call_expr.HasField("target") else [])]
        case "list_expr":
            parts = list(expr.list_expr.elements)
        case "struct_expr":
            entries = expr.struct_expr.entries
            parts = [entry.value for entry in entries] + [entry.map_key for entry in entries if entry.HasField("map_key")]
        case "comprehension_expr":
            loop = expr.comprehension_expr
            parts = [loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result]
        case _:
            return False
    return any(_mentions(part, name) for part in parts)


class Variables(Struct, frozen=True):
    """Names of variables; those of `optional` have optional values."""

    names: frozenset[str]
    optional: frozenset[str] = frozenset()

    @property
    def bound(self) -> list[str]:
        """What the evaluator is given: an optional value cannot be, so it is made there of a value and whether there is one."""
        return sorted((self.names - self.optional) | {f"{mark}{name}" for name in self.optional for mark in (_VALUE, _HAS)})

    def around(self, text: str) -> str:
        for name in sorted(self.optional):
            text = f"cel.bind({name}, {_HAS}{name} ? optional.of({_VALUE}{name}) : optional.none(), (\n{text}\n))"
        return text


class Activation:
    """Values of variables, handed over once for several programs of one environment. An optional one may be left out."""

    def __init__(self, variables: Variables, bindings: Mapping[str, Any]) -> None:
        given = {name: bindings[name] for name in variables.names - variables.optional if name in bindings}
        for name in variables.optional:
            given |= {_VALUE + name: bindings.get(name), _HAS + name: name in bindings}
        self.bound = _runtime(variables).Activation(given)


class Environment:
    """Variables and their types. Make one for each set of them, and keep it while expressions over them are compiled."""

    def __init__(self, variables: Mapping[str, Declared], optional: frozenset[str] = frozenset()) -> None:
        """Variables in `optional` have optional values of their type."""
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
        packed = any_pb2.Any.FromString(compiled.serialize())
        checked = checked_pb2.CheckedExpr.FromString(packed.value)
        found = str(compiled.return_type().name()).lower()
        if expect and found not in expect and found != "dyn":
            raise CelError(f"must evaluate to {' or '.join(expect)}")
        program = Program(text, self.variables, checked, found)
        if _UNSERVED & program.references:
            raise CelError("ERROR: <input>:1:1: undeclared reference to 'transformMap' (in container '')")
        return program

    def _environment(self) -> Any:
        if self._checker is None:
            messages = Messages()
            if all(type is DYN for type in self._types.values()):
                self._checker = _runtime(self.variables)
            else:
                variables = {name: messages.type_of(type) for name, type in self._types.items()}
                for name in self.variables.optional:
                    variables |= {_VALUE + name: variables.pop(name), _HAS + name: cel.Type.BOOL}
                self._checker = cel.NewEnv(
                    descriptor_pool=messages.pool(), config=_config(), variables=variables, extensions=libraries.declared()
                )
        return self._checker


@lru_cache(maxsize=1)
def _config() -> Any:
    return cel.NewEnvConfigFromYaml(_CONFIG)


@lru_cache(maxsize=64)
def _runtime(variables: Variables) -> Any:
    """Every variable of no declared type, and functions that compute."""
    untyped = dict.fromkeys(variables.bound, cel.Type.DYN)
    return cel.NewEnv(config=_config(), variables=untyped, extensions=libraries.computed())


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
