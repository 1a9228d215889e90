"""Which rules about the failure and the success of a Job are refused? (pkg/apis/batch/validation)"""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.problems import duplicate, each, invalid, required, too_long, too_many, unsupported
from mooring.apiserver.kinds.workloads import NOT_NEGATIVE
from mooring.apiserver.strategy import Document, FieldError

MOST_RULES, MOST_CODES, MOST_PATTERNS = 20, 255, 20
LONGEST_INDEXES = 64 * 1024
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATES = ("False", "True", "Unknown")


def check_failure_policy(spec: Document) -> list[FieldError]:
    rules, field = (spec.get("podFailurePolicy") or {}).get("rules") or (), "spec.podFailurePolicy.rules"
    found = [too_many(field, len(rules), MOST_RULES)] if len(rules) > MOST_RULES else []
    template = spec["template"]["spec"]
    names = {one.get("name") for group in ("containers", "initContainers") for one in template.get(group) or ()}
    for place, rule in enumerate(rules[:MOST_RULES]):
        here, action = f"{field}[{place}]", rule.get("action", "")
        if not action:
            found.append(required(f"{here}.action", f"valid values: {_listed(ACTIONS)}"))
        elif action not in ACTIONS:
            found.append(unsupported(f"{here}.action", action, ACTIONS))
        elif action == "FailIndex" and "backoffLimitPerIndex" not in spec:
            found.append(invalid(f"{here}.action", action, "requires the backoffLimitPerIndex to be set"))
        codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
        if codes is not None:
            found += _check_codes(codes, f"{here}.onExitCodes", names)
        found += _check_patterns(patterns, f"{here}.onPodConditions")
        if codes is not None and patterns:
            found.append(_bare(here, "specifying both OnExitCodes and OnPodConditions is not supported"))
        if codes is None and not patterns:
            found.append(_bare(here, "specifying one of OnExitCodes and OnPodConditions is required"))
    return found


def _bare(field: str, words: str) -> FieldError:
    """An Invalid that does not repeat the value."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {words}")


def _listed(values: Sequence[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def _check_codes(codes: Document, field: str, names: set[Any]) -> list[FieldError]:
    found: list[FieldError] = []
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        found.append(required(f"{field}.operator", f"valid values: {_listed(OPERATORS)}"))
    elif operator not in OPERATORS:
        found.append(unsupported(f"{field}.operator", operator, OPERATORS))
    if codes.get("containerName") is not None and codes["containerName"] not in names:
        words = "must be one of the container or initContainer names in the pod template"
        found.append(invalid(f"{field}.containerName", codes["containerName"], words))
    if not values:
        found.append(invalid(f"{field}.values", values, "at least one value is required"))
    elif len(values) > MOST_CODES:
        found.append(too_many(f"{field}.values", len(values), MOST_CODES))
    seen: set[int] = set()
    for place, value in enumerate(values[:MOST_CODES]):
        if operator == "In" and value == 0:
            found.append(invalid(f"{field}.values[{place}]", value, "must not be 0 for the In operator"))
        if value in seen:
            found.append(duplicate(f"{field}.values[{place}]", value))
        seen.add(value)
    if values != sorted(values):
        found.append(invalid(f"{field}.values", values, "must be ordered"))
    return found


def _check_patterns(patterns: Sequence[Document], field: str) -> list[FieldError]:
    found = [too_many(field, len(patterns), MOST_PATTERNS)] if len(patterns) > MOST_PATTERNS else []
    for place, pattern in enumerate(patterns[:MOST_PATTERNS]):
        type = pattern.get("type", "")
        found += each(f"{field}[{place}].type", type, formats.qualified_name(type))
        if pattern.get("status") not in STATES:
            found.append(unsupported(f"{field}[{place}].status", pattern.get("status"), STATES))
    return found


def check_success_policy(spec: Document) -> list[FieldError]:
    """Of an Indexed Job; any other is refused one at all."""
    rules, field, end = spec["successPolicy"].get("rules") or (), "spec.successPolicy.rules", spec.get("completions") or 0
    if not rules:
        return [required(field, "at least one rules must be specified when the successPolicy is specified")]
    found = [too_many(field, len(rules), MOST_RULES)] if len(rules) > MOST_RULES else []
    for place, rule in enumerate(rules[:MOST_RULES]):
        here, listed, count = f"{field}[{place}]", rule.get("succeededIndexes"), rule.get("succeededCount")
        if listed is None and count is None:
            found.append(required(here, "at least one of succeededCount or succeededIndexes must be specified"))
        total = None
        if listed is not None and len(listed) > LONGEST_INDEXES:
            found.append(too_long(f"{here}.succeededIndexes", LONGEST_INDEXES))
        elif listed is not None:
            total, wrong = _total(listed, end)
            if wrong:
                found.append(invalid(f"{here}.succeededIndexes", listed, f"error parsing succeededIndexes: {wrong}"))
        if count is not None:
            found += _check_count(count, end, total, f"{here}.succeededCount")
    return found


def _check_count(count: int, end: int, total: int | None, field: str) -> list[FieldError]:
    found = [invalid(field, count, NOT_NEGATIVE)] if count < 0 else []
    if count > end:
        words = f"must be less than or equal to {end} (the number of specified completions)"
        found.append(invalid(field, count, words))
    if total is not None and count > total:
        words = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        found.append(invalid(field, count, words))
    return found


def _total(text: str, end: int) -> tuple[int, str]:
    """How many indexes a written form holds, and what is wrong with it."""
    total, last = 0, -1
    for part in text.split(",") if text else ():
        ends = part.split("-")
        if len(ends) > 2:
            words = "violates the requirement that an index interval can have at most two parts separated by '-'"
            return total, f'the fragment "{part}" {words}'
        wrong = next((one for one in ends if not (one.isdecimal() and one.isascii() and len(one) < 11)), None)
        if wrong is not None:
            return total, f'cannot convert string to integer for index: "{wrong}"'
        first, final = int(ends[0]), int(ends[-1])
        if final >= end:
            return total, f'too large index: "{ends[-1]}"'
        if first <= last:
            return total, f"non-increasing order, previous: {last}, current: {first}"
        if len(ends) == 2 and first >= final:
            return total, f"non-increasing order, previous: {first}, current: {final}"
        total, last = total + final - first + 1, final
    return total, ""
