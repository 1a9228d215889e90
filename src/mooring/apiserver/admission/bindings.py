"""Which values have the variables of an expression of admission: object, request, authorizer...?"""

from typing import Any

from msgspec import Struct, structs

from mooring.apiserver.admission import authorizer, expressions
from mooring.apiserver.admission.matching import Condition, namespace_of
from mooring.apiserver.admission.operation import Operation, request_of
from mooring.apiserver.cel.environment import CelError, Check, Program
from mooring.apiserver.cel.spending import Budget
from mooring.apiserver.resources import Resource

Document = dict[str, Any]


def conditions(documents: list[Document] | None) -> tuple[Condition, ...]:
    """matchConditions, compiled; one that does not compile fails when it is asked."""
    return tuple(_condition(document) for document in documents or ())


def _condition(document: Document) -> Condition:
    try:
        return Condition(document.get("name", ""), expressions.compile(document.get("expression", ""), "bool"))
    except CelError as error:
        return Condition(document.get("name", ""), None, str(error))


class Bindings(Struct, frozen=True):
    """Values of all variables; `check` answers the authorizer among them. Without a `budget` each expression has its own."""

    values: Document
    check: Check
    budget: Budget | None = None

    def evaluate(self, program: Program) -> Any:
        """Raises CelError, OutOfBudget."""
        return program.evaluate(self.values, self.check, self.budget)

    def budgeted(self) -> "Bindings":
        """The same values, for expressions that share a new budget."""
        return structs.replace(self, budget=Budget())


def bind(seen: Operation, resource: Resource, params: Document | None = None) -> Bindings:
    """Every variable; `variables` is empty, policies add them one after the other."""
    request = request_of(seen, resource, seen.call.env.request_id)
    request.pop("object")
    request.pop("oldObject")
    namespace = namespace_of(seen)
    shown = None
    if namespace is not None:
        shown = {name: namespace[name] for name in ("apiVersion", "kind", "metadata", "spec", "status") if name in namespace}
    found: Document = {
        "object": seen.document,
        "oldObject": seen.old,
        "request": request,
        "namespaceObject": shown,
        "params": params,
        "variables": {},
        "authorizer": authorizer.authorizer(request),
    }
    return Bindings(found, authorizer.check_in(seen.call.snapshot))
