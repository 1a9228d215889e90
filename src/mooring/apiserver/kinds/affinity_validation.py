"""Which wishes about where to run are refused, and in which words? Node and pod affinity, topology spread constraints.

Source: validateAffinity, validateTopologySpreadConstraints, ValidateNodeSelector in k8s.io/kubernetes/pkg/apis/core/validation.
"""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.label_selectors import check_label_selector
from mooring.apiserver.kinds.metadata import check_labels
from mooring.apiserver.kinds.problems import duplicate, each, forbidden, invalid, required, unsupported
from mooring.apiserver.strategy import FieldError

Spec = dict[str, Any]

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
WHEN = ("DoNotSchedule", "ScheduleAnyway")
INCLUSION = ("Honor", "Ignore")
NOT_EMPTY = "can not be empty"


def check_affinity(spec: Spec, field: str) -> list[FieldError]:
    """spec.affinity and spec.topologySpreadConstraints of a pod; `field` is where its spec stands."""
    found: list[FieldError] = []
    affinity = spec.get("affinity") or {}
    if (node := affinity.get("nodeAffinity")) is not None:
        found += _check_node_affinity(node, f"{field}.affinity.nodeAffinity")
    for name in ("podAffinity", "podAntiAffinity"):
        part, here = affinity.get(name) or {}, f"{field}.affinity.{name}"
        for place, term in enumerate(part.get(REQUIRED) or ()):
            found += _check_term(term, f"{here}.{REQUIRED}[{place}]")
        for place, weighted in enumerate(part.get(PREFERRED) or ()):
            found += _check_weight(weighted, f"{here}.{PREFERRED}[{place}]")
            found += _check_term(weighted.get("podAffinityTerm") or {}, f"{here}.{PREFERRED}[{place}].podAffinityTerm")
    return found + _check_spread(spec.get("topologySpreadConstraints") or (), f"{field}.topologySpreadConstraints")


def _check_weight(weighted: Spec, field: str) -> list[FieldError]:
    weight = weighted.get("weight", 0)
    return [] if 1 <= weight <= 100 else [invalid(f"{field}.weight", weight, "must be in the range 1-100")]


# Nodes ------------------------------------------------------------------------------------------------------------------


def _check_node_affinity(affinity: Spec, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if affinity.get(REQUIRED) is not None:
        found += check_node_selector(affinity[REQUIRED], f"{field}.{REQUIRED}")
    for place, weighted in enumerate(affinity.get(PREFERRED) or ()):
        found += _check_weight(weighted, f"{field}.{PREFERRED}[{place}]")
        found += _check_node_term(weighted.get("preference") or {}, f"{field}.{PREFERRED}[{place}].preference")
    return found


def check_node_selector(selector: Spec, field: str) -> list[FieldError]:
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        return [required(f"{field}.nodeSelectorTerms", "must have at least one node selector term")]
    return [
        error for place, term in enumerate(terms) for error in _check_node_term(term, f"{field}.nodeSelectorTerms[{place}]")
    ]


def _check_node_term(term: Spec, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for place, rule in enumerate(term.get("matchExpressions") or ()):
        here = f"{field}.matchExpressions[{place}]"
        found += _check_node_rule(rule, here)
        found += each(f"{here}.key", rule.get("key", ""), formats.qualified_name(rule.get("key", "")))
    for place, rule in enumerate(term.get("matchFields") or ()):
        found += _check_field_rule(rule, f"{field}.matchFields[{place}]")
    return found


def _check_node_rule(rule: Spec, field: str) -> list[FieldError]:
    operator, values = rule.get("operator", ""), rule.get("values") or ()
    match operator:
        case "In" | "NotIn":
            if not values:
                return [required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'")]
        case "Exists" | "DoesNotExist":
            if values:
                words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                return [forbidden(f"{field}.values", words)]
        case "Gt" | "Lt":
            if len(values) != 1:
                return [required(f"{field}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")]
        case _:
            return [invalid(f"{field}.operator", operator, "not a valid selector operator")]
    return []


def _check_field_rule(rule: Spec, field: str) -> list[FieldError]:
    key, operator, values = rule.get("key", ""), rule.get("operator", ""), rule.get("values") or ()
    found: list[FieldError] = []
    if operator not in ("In", "NotIn"):
        found.append(invalid(f"{field}.operator", operator, "not a valid selector operator"))
    elif len(values) != 1:
        words = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        found.append(required(f"{field}.values", words))
    if key != "metadata.name":
        return [*found, invalid(f"{field}.key", key, "not a valid field selector key")]
    for place, value in enumerate(values):
        found += each(f"{field}.values[{place}]", value, formats.subdomain(value))
    return found


# Pods -------------------------------------------------------------------------------------------------------------------


def _check_term(term: Spec, field: str) -> list[FieldError]:
    selector = term.get("labelSelector")
    found: list[FieldError] = []
    if selector is not None:
        found += check_label_selector(selector, f"{field}.labelSelector")
    if (among := term.get("namespaceSelector")) is not None:
        found += check_label_selector(among, f"{field}.namespaceSelector")
    for name in term.get("namespaces") or ():
        found += each(f"{field}.namespace", name, formats.label(name))
    found += _check_keys(term, "matchLabelKeys", field) + _check_keys(term, "mismatchLabelKeys", field)
    both = [key for key in term.get("matchLabelKeys") or () if key in (term.get("mismatchLabelKeys") or ())]
    for place, key in enumerate(both):
        found.append(invalid(f"{field}.matchLabelKeys[{place}]", key, "exists in both matchLabelKeys and mismatchLabelKeys"))
    return found + _check_topology_key(term, field)


def _check_topology_key(term: Spec, field: str) -> list[FieldError]:
    key = term.get("topologyKey", "")
    if not key:
        return [required(f"{field}.topologyKey", NOT_EMPTY)]
    return each(f"{field}.topologyKey", key, formats.qualified_name(key))


def _check_keys(term: Spec, name: str, field: str) -> list[FieldError]:
    """Label keys that narrow a selector: there must be one, and it must not speak of them itself."""
    keys, selector = term.get(name) or (), term.get("labelSelector")
    if not keys:
        return []
    if selector is None:
        return [forbidden(f"{field}.{name}", "must not be specified when labelSelector is not set")]
    used = {*(selector.get("matchLabels") or {}), *(rule.get("key") for rule in selector.get("matchExpressions") or ())}
    found: list[FieldError] = []
    for place, key in enumerate(keys):
        found += check_labels({key: ""}, f"{field}.{name}[{place}]")
        if key in used:
            found.append(invalid(f"{field}.{name}[{place}]", key, "exists in both matchLabelKeys and labelSelector"))
    return found


# Spread -----------------------------------------------------------------------------------------------------------------


def _check_spread(constraints: Sequence[Spec], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for place, constraint in enumerate(constraints):
        here = f"{field}[{place}]"
        key, when, skew = (constraint.get(name) for name in ("topologyKey", "whenUnsatisfiable", "maxSkew"))
        if (skew or 0) <= 0:
            found.append(invalid(f"{here}.maxSkew", skew or 0, "must be greater than zero"))
        found += _check_topology_key(constraint, here)
        if when not in WHEN:
            found.append(unsupported(f"{here}.whenUnsatisfiable", when or "", WHEN))
        if (key or "", when or "") in seen:
            found.append(duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {when}}}"))
        seen.add((key or "", when or ""))
        found += _check_min_domains(constraint.get("minDomains"), when, f"{here}.minDomains")
        for name in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if (policy := constraint.get(name)) is not None and policy not in INCLUSION:
                found.append(unsupported(f"{here}.{name}", policy, INCLUSION))
        found += _check_keys(constraint, "matchLabelKeys", here)
        if (selector := constraint.get("labelSelector")) is not None:
            found += check_label_selector(selector, f"{here}.labelSelector")
    return found


def _check_min_domains(least: int | None, when: object, field: str) -> list[FieldError]:
    if least is None:
        return []
    found = [invalid(field, least, "must be greater than zero")] if least <= 0 else []
    if when != "DoNotSchedule":
        words = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"
        found.append(invalid(field, least, words))
    return found
