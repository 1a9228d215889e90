"""How are expressions of webhooks and policies compiled? Over documents as they are: types are known only at run time.

So is what an expression can cost: it is foreseen at each evaluation, from the values (cel/spending.py).
"""

from functools import lru_cache

from mooring.apiserver.cel.declared import DYN
from mooring.apiserver.cel.environment import Environment, Program

NAMES = ("object", "oldObject", "request", "namespaceObject", "params", "variables", "authorizer")
"""https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#validation-expression"""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(dict.fromkeys(NAMES, DYN), bounded=False)


def compile(text: str, *expect: str) -> Program:
    """`expect`: the types that may come out. Raises CelError."""
    return _environment().compile(text, expect)
