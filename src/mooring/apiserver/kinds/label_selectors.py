"""Which label selectors are refused, and in which words? (ValidateLabelSelector in k8s.io/apimachinery)"""

from collections.abc import Mapping
from typing import Any

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.metadata import check_labels
from mooring.apiserver.kinds.problems import each, forbidden, invalid, required
from mooring.apiserver.strategy import FieldError

OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def check_label_selector(selector: Mapping[str, Any], field: str) -> list[FieldError]:
    found = check_labels(selector.get("matchLabels") or {}, f"{field}.matchLabels")
    for place, rule in enumerate(selector.get("matchExpressions") or ()):
        here, operator, values = f"{field}.matchExpressions[{place}]", rule.get("operator", ""), rule.get("values") or ()
        if operator not in OPERATORS:
            found.append(invalid(f"{here}.operator", operator, "not a valid selector operator"))
        elif operator in ("In", "NotIn") and not values:
            found.append(required(f"{here}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in ("Exists", "DoesNotExist") and values:
            found.append(forbidden(f"{here}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
        found += each(f"{here}.key", rule.get("key", ""), formats.qualified_name(rule.get("key", "")))
        for at, value in enumerate(values):
            found += each(f"{here}.values[{at}]", value, formats.label_value(value))
    return found
