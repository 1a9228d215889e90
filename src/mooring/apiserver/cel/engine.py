"""Who parses, checks and evaluates? Google's C++ implementation (cel_expr_python, decision 0014), given types and functions.

Only environment.py loads this, and late.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel
from google.api.expr.v1alpha1 import checked_pb2
from google.protobuf import any_pb2

from mooring.apiserver.cel import libraries
from mooring.apiserver.cel.declared import Declared
from mooring.apiserver.cel.libraries import maps, regex
from mooring.apiserver.cel.tree import every
from mooring.apiserver.cel.types import Messages

_LIBRARIES = ("sets", "two-var-comprehensions", "strings", "optional", "bindings", "math", "encoders")
_CONFIG = "name: kubernetes\nextensions:\n" + "".join(f"  - name: {name}\n" for name in _LIBRARIES)


@lru_cache(maxsize=1)
def _config() -> Any:
    return cel.NewEnvConfigFromYaml(_CONFIG)


def checker(types: Mapping[str, Declared]) -> Any:
    """An environment whose variables have these types, and whose functions compute nothing."""
    messages = Messages()
    variables = {name: messages.type_of(type) for name, type in types.items()}
    return cel.NewEnv(descriptor_pool=messages.pool(), config=_config(), variables=variables, extensions=libraries.declared())


@lru_cache(maxsize=64)
def evaluator(variables: frozenset[str]) -> Any:
    """Every variable of no declared type, and functions that compute."""
    untyped = dict.fromkeys(sorted(variables), cel.Type.DYN)
    return cel.NewEnv(config=_config(), variables=untyped, extensions=libraries.computed())


def program(variables: frozenset[str], text: str) -> Any:
    """An expression ready to be evaluated."""
    compiled = evaluator(variables).compile(text)
    packed = any_pb2.Any.FromString(compiled.serialize())
    served = [library for library in (maps, regex) if library.UNSERVED.encode() in packed.value]
    if not served:
        return compiled
    checked = checked_pb2.CheckedExpr.FromString(packed.value)
    for library in served:
        library.serve(checked, [each for each in every(checked.expr) if each.WhichOneof("expr_kind") == "call_expr"])
    packed.value = checked.SerializeToString()
    return evaluator(variables).deserialize(packed.SerializeToString())


def activation(variables: frozenset[str], values: Mapping[str, Any], check: Callable[..., Any] | None) -> Any:
    functions = libraries.asking(check) if check else None
    return evaluator(variables).Activation(values, functions)


def tree(compiled: Any) -> tuple[Any, str]:
    """The syntax tree with its types, and the name of the whole's type."""
    packed = any_pb2.Any.FromString(compiled.serialize())
    return checked_pb2.CheckedExpr.FromString(packed.value), str(compiled.return_type().name()).lower()


def evaluated(compiled: Any, activation: Any) -> Any:
    """The value, plain. Raises RuntimeError, TypeError or ValueError."""
    found = compiled.eval(activation)
    if found.type() == cel.Type.ERROR:
        raise ValueError(str(found.value()))
    return libraries.plain(found.plain_value())
