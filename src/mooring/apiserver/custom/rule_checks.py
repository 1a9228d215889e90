"""Do the expressions of a schema compile, and can they be paid for? (upstream's validation.go and celcontext)

A rule's cost is its own, at worst, times how often it may be asked: once for each item of every list and value of every map it
stands in, as many as their bounds allow, or as fit into a request where there is no bound.
"""

from collections.abc import Iterator

from msgspec import Struct

from mooring.apiserver.cel.cost import NO_BOUND, estimate, times
from mooring.apiserver.cel.declared import MAX_REQUEST, Declared
from mooring.apiserver.cel.environment import CelError, Environment
from mooring.apiserver.custom.rule_types import declared_type
from mooring.apiserver.custom.rules import environments
from mooring.apiserver.custom.structural import Raw, Rule, Schema
from mooring.apiserver.kinds.problems import forbidden, invalid, too_many
from mooring.apiserver.strategy import FieldError

EXPRESSION_LIMIT, DEFINITION_LIMIT = 10_000_000, 100_000_000
MAX_RULES = 1000
"""Of a version: each takes a fraction of a millisecond to compile, however little it costs to ask."""
_NAMED = 4
"""How many of the dearest expressions are named when all together are too dear."""
_ADVICE = (
    "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared"
)
_RAW_FIELDS = {
    "rule": "rule", "message": "message", "message_expression": "messageExpression", "reason": "reason",
    "field_path": "fieldPath", "optional_old_self": "optionalOldSelf",
}  # fmt: skip


class _Site(Struct, frozen=True):
    """A node with rules. `often` is how often it may occur, None when nothing bounds that; `uncorrelated` is the path of the
    outermost list or map whose items cannot be told to be the same as old ones."""

    schema: Schema
    path: str
    root: bool
    often: int | None
    uncorrelated: str


def check_rules(schema: Schema, path: str) -> list[FieldError]:
    """What is wrong with the expressions of a schema that is right otherwise."""
    found: list[FieldError] = []
    costs: list[tuple[int, str]] = []
    sites = list(_sites(schema, path, True, 1, ""))
    if (rules := sum(len(site.schema.rules) for site in sites)) > MAX_RULES:
        return [too_many(f"{path}.x-kubernetes-validations", rules, MAX_RULES)]
    for site in sites:
        found += _check_site(site, costs)
    total = min(sum(cost for cost, _ in costs), NO_BOUND)
    if total > DEFINITION_LIMIT:
        dearest = sorted(costs, key=lambda cost: -cost[0])[:_NAMED]
        why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        found += [forbidden(where, why) for cost, where in dearest if cost]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        found.append(forbidden(path, _too_dear(name, total, DEFINITION_LIMIT)))
    return found


def _sites(schema: Schema, path: str, root: bool, often: int | None, uncorrelated: str) -> Iterator[_Site]:
    if schema.rules:
        yield _Site(schema, path, root or schema.embedded, often, uncorrelated)
    inside = uncorrelated or (path if schema.map_type == "atomic" else "")
    for name, each in schema.properties.items():
        yield from _sites(each, f"{path}.properties[{name}]", False, often, inside)
    if isinstance(schema.additional, Schema):
        yield from _sites(
            schema.additional, f"{path}.additionalProperties", False, _many(often, schema.checks.max_properties), uncorrelated
        )
    if schema.items is not None:
        inside = uncorrelated or ("" if schema.correlates else path)
        yield from _sites(schema.items, f"{path}.items", False, _many(often, schema.checks.max_items), inside)


def _many(often: int | None, most: int | None) -> int | None:
    return None if often is None or most is None else times(often, max(most, 0))


def _check_site(site: _Site, costs: list[tuple[int, str]]) -> list[FieldError]:
    type = declared_type(site.schema, site.root)
    found: list[FieldError] = []
    if type is None:
        why = (
            "rule declared on schema that does not support validation rules type: "
            f"'{site.schema.type}' x-kubernetes-preserve-unknown-fields: '{str(site.schema.preserve_unknown).lower()}'"
        )
        return [FieldError("InternalError", f"{site.path}.x-kubernetes-validations", f"Internal error: {why}")]
    plain, optional = environments(type)
    types = {"self": type, "oldSelf": type}
    for place, rule in enumerate(site.schema.rules):
        field = f"{site.path}.x-kubernetes-validations[{place}]"
        environment = optional if rule.optional_old_self else plain
        try:
            program = environment.compile(rule.rule)
        except CelError as error:
            found.append(invalid(f"{field}.rule", _raw(rule), f"compilation failed: {error}"))
            continue
        if program.return_type not in ("bool", "dyn"):
            found.append(invalid(f"{field}.rule", _raw(rule), "cel expression must evaluate to a bool"))
            continue
        cost = times(estimate(program, types), _cardinality(site, type))
        found += _charge(costs, cost, f"{field}.rule", "estimated rule cost")
        found += _check_message(environment, rule, field, types, costs)
        if program.uses("oldSelf"):
            if site.uncorrelated:
                why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {site.uncorrelated}"
                found.append(invalid(f"{field}.rule", rule.rule, why))
        elif rule.optional_old_self is not None:
            why = "may not be set if oldSelf is not used in rule"
            found.append(invalid(f"{field}.optionalOldSelf", rule.optional_old_self, why))
    return found


def _check_message(
    environment: Environment, rule: Rule, field: str, types: dict[str, Declared], costs: list[tuple[int, str]]
) -> list[FieldError]:
    if not rule.message_expression.strip():
        return []
    field = f"{field}.messageExpression"
    try:
        message = environment.compile(rule.message_expression)
    except CelError as error:
        return [invalid(field, _raw(rule), f"messageExpression compilation failed: {error}")]
    if message.return_type not in ("string", "dyn"):
        return [invalid(field, _raw(rule), "messageExpression must evaluate to a string")]
    return _charge(costs, estimate(message, types), field, "estimated messageExpression cost")


def _cardinality(site: _Site, type: Declared) -> int:
    return site.often if site.often is not None else MAX_REQUEST // (type.min_json + 1)


def _charge(costs: list[tuple[int, str]], cost: int, field: str, name: str) -> list[FieldError]:
    costs.append((cost, field))
    return [forbidden(field, _too_dear(name, cost, EXPRESSION_LIMIT))] if cost > EXPRESSION_LIMIT else []


def _too_dear(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    words = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return f"{name} exceeds budget by factor of {words} ({_ADVICE})"


def _raw(rule: Rule) -> Raw:
    found = {written: getattr(rule, name) for name, written in _RAW_FIELDS.items()}
    return {name: value for name, value in found.items() if value not in ("", None)}
