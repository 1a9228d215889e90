"""What do the x-kubernetes-validations of a schema say of a document? (pkg/apiserver/schema/cel/validation.go)

Each node with rules has its programs; a document is walked along the nodes that have rules below them. Cost is bounded twice:
rules are refused when their definition lets them cost too much (rule_checks.py), and a document may be asked of so much only.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from msgspec import Struct

from mooring.apiserver.cel.declared import Declared
from mooring.apiserver.cel.environment import COST_EXCEEDED, OUT_OF_BUDGET, CelError, Environment, Program
from mooring.apiserver.cel.spending import Budget
from mooring.apiserver.cel.values import size_of, to_cel
from mooring.apiserver.custom import list_types
from mooring.apiserver.custom.rule_types import declared_type
from mooring.apiserver.custom.structural import Rule, Schema
from mooring.apiserver.custom.validation import ABSENT, MOST_ERRORS
from mooring.apiserver.kinds.problems import duplicate, forbidden, invalid, required
from mooring.apiserver.strategy import FieldError, below

NODE, EVALUATION, VALUE = 500, 100, 5
"""Units: what a place with rules takes, an evaluation before its first step, and each value that is handed over."""
MAX_MESSAGE = 5 * 1024


class Compiled(Struct, frozen=True, eq=False):
    """A rule with its programs. `message` is that of messageExpression."""

    rule: Rule
    program: Program
    message: Program | None
    uses_old: bool


class Node(Struct, frozen=True, eq=False):
    """The rules at a node of the schema, and the nodes below that have some."""

    schema: Schema
    type: Declared | None
    environment: Environment
    optional: Environment
    """With oldSelf as an optional value."""
    rules: tuple[Compiled, ...]
    properties: "dict[str, Node]"
    items: "Node | None"
    additional: "Node | None"

    @property
    def empty(self) -> bool:
        return not (self.rules or self.properties or self.items or self.additional)


def environments(type: Declared) -> tuple[Environment, Environment]:
    variables = {"self": type, "oldSelf": type}
    return Environment(variables), Environment(variables, frozenset({"oldSelf"}))


def nodes(schema: Schema, *, root: bool = False) -> Node | None:
    """The nodes of a schema whose rules have been checked; None when there are no rules. Raises CelError."""
    made = _node(schema, root)
    return None if made.empty else made


def _node(schema: Schema, root: bool) -> Node:
    properties = {name: made for name, each in schema.properties.items() if not (made := _node(each, each.embedded)).empty}
    items = _node(schema.items, schema.items.embedded) if schema.items else None
    additional = _node(schema.additional, schema.additional.embedded) if isinstance(schema.additional, Schema) else None
    type = declared_type(schema, root) if schema.rules else None
    plain, optional = environments(type) if type else (_NONE, _NONE)
    return Node(
        schema, type, plain, optional,
        tuple(_compiled(rule, plain, optional) for rule in schema.rules if rule.rule.strip()) if type else (),
        properties, None if items is None or items.empty else items,
        None if additional is None or additional.empty else additional,
    )  # fmt: skip


_NONE = Environment({})


def _compiled(rule: Rule, plain: Environment, optional: Environment) -> Compiled:
    environment = optional if rule.optional_old_self else plain
    message = environment.compile(rule.message_expression) if rule.message_expression.strip() else None
    program = environment.compile(rule.rule)
    return Compiled(rule, program, message, program.uses("oldSelf"))


# Evaluation -------------------------------------------------------------------------------------------------------------


def check(value: Any, node: Node, old: Any = ABSENT) -> list[FieldError]:
    """What the rules say against a document. `old` is ABSENT on create."""
    walk = _Walk()
    with suppress(_Spent):
        walk.node(value, node, old, "", False)
    return walk.found


class _Spent(Exception):
    """No further rules are run."""


class _Walk:
    def __init__(self) -> None:
        self.found: list[FieldError] = []
        self._budget = Budget()

    def node(self, value: Any, node: Node, old: Any, path: str, unchanged: bool) -> None:
        """`unchanged` when the value stands in something that is as it was."""
        if value is None:
            return
        unchanged = unchanged or (old is not ABSENT and old is not None and type(old) is type(value) and old == value)
        if node.rules:
            self._evaluate(value, node, old, path, unchanged)
        for name, inner, item, before in _children(value, node, old):
            where = f"{path}{name}" if path and name[:1] == "[" else below(path, name)
            self.node(item, inner, before, where, unchanged)

    def _evaluate(self, value: Any, node: Node, old: Any, path: str, unchanged: bool) -> None:
        assert node.type is not None
        has_old = old is not ABSENT and old is not None
        wanted = [
            each for each in node.rules
            if (has_old or bool(each.rule.optional_old_self) if each.uses_old else not unchanged)
        ]  # fmt: skip
        if not wanted:
            return
        self._spend(NODE + VALUE * size_of(value), value, node, path)
        bindings = {"self": to_cel(value, node.type)}
        if has_old and any(each.uses_old for each in wanted):
            self._spend(VALUE * size_of(old), value, node, path)
            bindings["oldSelf"] = to_cel(old, node.type)
        plain = optional = None
        for each in wanted:
            self._spend(EVALUATION, value, node, path)
            if each.rule.optional_old_self:
                activation = optional = optional or node.optional.activation(bindings)
            else:
                activation = plain = plain or node.environment.activation(bindings)
            try:
                if each.program.evaluate(activation) is not True:
                    self.found.append(self._refusal(each, activation, node.schema.type, path))
            except CelError as error:
                self._failed(str(error), each.rule, node.schema.type, path)
            if len(self.found) >= MOST_ERRORS:
                raise _Spent

    def _spend(self, cost: int, value: Any, node: Node, path: str) -> None:
        if not self._budget.spend(cost):
            self.found.append(invalid(path, node.schema.type, OUT_OF_BUDGET))
            raise _Spent

    def _failed(self, why: str, rule: Rule, type: str, path: str) -> None:
        said = (rule.message or rule.rule).strip()
        if why.startswith("no such overload"):
            detail = f"'{why}': call arguments did not match a supported operator, function or macro signature for rule: {said}"
        elif why.startswith(COST_EXCEEDED):
            detail = f"'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {said}"
        else:
            detail = f"{why} evaluating rule: {said}"
        self.found.append(invalid(path, type, detail))
        if why.startswith(COST_EXCEEDED):
            raise _Spent

    def _refusal(self, each: Compiled, activation: Any, type: str, path: str) -> FieldError:
        rule = each.rule
        detail = rule.message.strip() or f"failed rule: {rule.rule.strip()}"
        if each.message is not None:
            detail = _message(each.message, activation) or detail
        where = path + rule.field_path.strip() if rule.field_path else path
        where = where.lstrip(".") if not path else where
        match rule.reason:
            case "FieldValueForbidden":
                return forbidden(where, detail)
            case "FieldValueRequired":
                return required(where, detail)
            case "FieldValueDuplicate":
                return duplicate(where, type)
        return invalid(where, type, detail)


def _message(program: Program, activation: Any) -> str:
    """'' when the expression fails, or says nothing that can be shown: the rule's own message stands then."""
    try:
        said = program.evaluate(activation)
    except CelError:
        return ""
    text = said.strip() if isinstance(said, str) else ""
    return text if "\n" not in text and len(text) <= MAX_MESSAGE else ""


def _children(value: Any, node: Node, old: Any) -> Iterator[tuple[str, Node, Any, Any]]:
    """(step, node, value, old value) of what has rules below."""
    if isinstance(value, dict):
        before = old if isinstance(old, dict) and node.schema.map_type != "atomic" else {}
        for name, item in value.items():
            inner = node.properties.get(name) or node.additional
            if inner is not None:
                yield name, inner, item, before.get(name, ABSENT)
    elif isinstance(value, list) and node.items is not None:
        same: dict[Any, Any] = {}
        if node.schema.correlates and isinstance(old, list):
            same = {list_types.keys_of(item, node.schema): item for item in old}
        for place, item in enumerate(value):
            yield f"[{place}]", node.items, item, same.get(list_types.keys_of(item, node.schema), ABSENT) if same else ABSENT
