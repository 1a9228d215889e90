"""What do ValidatingAdmissionPolicies say? CEL over the object, as their bindings want it: deny, warn, or leave a note.

https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/ and
apiserver/pkg/admission/plugin/policy/validating.
"""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct, structs

from mooring.apiserver import errors
from mooring.apiserver.admission import bindings, expressions
from mooring.apiserver.admission.bindings import Bindings
from mooring.apiserver.admission.matching import Condition, Selection, conditions_hold, rule
from mooring.apiserver.admission.operation import Operation
from mooring.apiserver.cel.environment import CelError, OutOfBudget, Program
from mooring.apiserver.errors import quote
from mooring.apiserver.kinds.workloads import matches
from mooring.apiserver.registry import registry
from mooring.apiserver.resources import Resource
from mooring.model import codec
from mooring.model.kinds import (
    LOCAL_SUBJECT_ACCESS_REVIEW,
    MUTATING_WEBHOOK_CONFIGURATION,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    TOKEN_REVIEW,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
)
from mooring.store.snapshot import Snapshot

Document = dict[str, Any]

_UNSEEN = frozenset({
    VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING, MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_WEBHOOK_CONFIGURATION, TOKEN_REVIEW, SELF_SUBJECT_REVIEW, SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_ACCESS_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW, SELF_SUBJECT_RULES_REVIEW,
})  # fmt: skip
"""What no policy sees, or a broken one could not be removed."""
_CODES = {"Unauthorized": 401, "Forbidden": 403, "Invalid": 422, "RequestEntityTooLarge": 413}
_DEFAULT_REASON = "Invalid"
_FAILURE = "validation.policy.admission.k8s.io/validation_failure"


class Expression(Struct, frozen=True):
    """`program` None: it does not compile, and `broken` says why."""

    text: str
    program: Program | None
    broken: str = ""

    def evaluate(self, bound: Bindings) -> Any:
        """Raises CelError, OutOfBudget."""
        if self.program is None:
            raise CelError(f"compilation error: {self.broken}")
        return bound.evaluate(self.program)


class Validation(Struct, frozen=True):
    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


class Policy(Struct, frozen=True):
    name: str
    selection: Selection
    conditions: tuple[Condition, ...]
    variables: tuple[tuple[str, Expression], ...]
    validations: tuple[Validation, ...]
    audit_annotations: tuple[tuple[str, Expression], ...]
    param_kind: tuple[str, str] | None
    """(apiVersion, kind)"""
    lenient: bool


class Binding(Struct, frozen=True):
    name: str
    policy: Policy
    selection: Selection | None
    param: Document | None
    actions: tuple[str, ...]


class Complaint(Struct, frozen=True):
    binding: Binding
    message: str
    reason: str
    action: str
    index: int = 0
    """Of the validation."""


class Notes(Struct, frozen=True):
    """What is not a refusal: warnings for the client, annotations for the audit log."""

    warnings: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


def validate(seen: Operation) -> Notes:
    """Raises StatusError when a binding that denies has a complaint, the first of them told."""
    known = seen.call.snapshot.derived(
        _bindings, VALIDATING_ADMISSION_POLICY.prefix, VALIDATING_ADMISSION_POLICY_BINDING.prefix
    )
    if not known or seen.call.kind in _UNSEEN:
        return Notes()
    complaints: list[Complaint] = []
    annotations: list[tuple[str, str]] = []
    for binding in known:
        found, notes = _ask(binding, seen)
        complaints += found
        annotations += notes
    for one in complaints:
        if one.action == "Deny":
            raise _refusal(one, seen)
    if audited := [_failure(one) for one in complaints if one.action == "Audit"]:
        annotations.append((_FAILURE, codec.encode(audited).decode()))
    warned = dict.fromkeys(_told("Validation failed for", one) for one in complaints if one.action == "Warn")
    return Notes(tuple(warned), tuple(annotations))


def _failure(one: Complaint) -> Document:
    """How the audit log tells of it."""
    binding = one.binding
    return {
        "message": one.message, "policy": binding.policy.name, "binding": binding.name, "expressionIndex": one.index,
        "validationActions": list(binding.actions),
    }  # fmt: skip


def _told(word: str, one: Complaint) -> str:
    return f"{word} ValidatingAdmissionPolicy '{one.binding.policy.name}' with binding '{one.binding.name}': {one.message}"


def _refusal(one: Complaint, seen: Operation) -> errors.StatusError:
    message = (
        f"ValidatingAdmissionPolicy '{one.binding.policy.name}' with binding '{one.binding.name}' denied request: {one.message}"
    )
    kind = seen.call.kind
    subject = f"{kind.group_resource} {quote(seen.name)}" if seen.name else kind.group_resource
    details = errors.details_of(kind, seen.name) | {"causes": [{"message": message}]}
    return errors.StatusError(_CODES.get(one.reason, 422), one.reason, f"{subject} is forbidden: {message}", details)


def _ask(binding: Binding, seen: Operation) -> tuple[list[Complaint], list[tuple[str, str]]]:
    policy = binding.policy
    resource = policy.selection.sees(seen)
    if resource is None or (binding.selection is not None and binding.selection.sees(seen) is None):
        return [], []
    try:
        params = list(_params(binding, seen))
    except CelError as error:
        return _failed(binding, str(error)), []
    complaints: list[Complaint] = []
    annotations: list[tuple[str, str]] = []
    for param in params:
        found, notes = _ask_with(binding, seen, resource, param)
        complaints += found
        annotations += notes
    return complaints, annotations


def _ask_with(
    binding: Binding, seen: Operation, resource: Resource, param: Document | None
) -> tuple[list[Complaint], list[tuple[str, str]]]:
    policy = binding.policy
    bound = bindings.bind(seen.seen_as(resource), resource, param)
    try:
        if not conditions_hold(policy.conditions, bound.evaluate):
            return [], []
    except CelError as error:
        return _failed(binding, str(error)), []
    try:  # two budgets, as upstream has it: annotations have their own
        return _judge(binding, bound.budgeted()), list(_annotations(policy, bound.budgeted()))
    except OutOfBudget as error:
        return _failed(binding, str(error)), []


def _judge(binding: Binding, bound: Bindings) -> list[Complaint]:
    """Raises OutOfBudget."""
    policy = binding.policy
    broken: dict[str, str] = {}
    for name, expression in policy.variables:
        try:
            bound.values["variables"][name] = expression.evaluate(bound)
        except CelError as error:
            broken[name] = _why(expression, error, broken)
    verdicts = [_verdict(one.expression, bound, broken) for one in policy.validations]
    return [
        structs.replace(each, index=index)
        for index, (one, verdict) in enumerate(zip(policy.validations, verdicts, strict=True))
        for each in _complaints(binding, one, verdict, bound)
    ]


def _verdict(expression: Expression, bound: Bindings, broken: dict[str, str]) -> bool | str:
    """Whether it holds, or why that cannot be told."""
    try:
        return expression.evaluate(bound) is True
    except CelError as error:
        return _why(expression, error, broken)


def _complaints(binding: Binding, one: Validation, verdict: bool | str, bound: Bindings) -> list[Complaint]:
    if verdict is True:
        return []
    if isinstance(verdict, str):
        return _failed(binding, f"expression '{one.expression.text}' resulted in error: {verdict}")
    message = one.message.strip() or f"failed expression: {one.expression.text.strip()}"
    if one.message_expression is not None:
        try:
            said = one.message_expression.evaluate(bound)
            if isinstance(said, str) and said.strip() and "\n" not in said.strip():
                message = said.strip()
        except OutOfBudget as error:
            raise OutOfBudget(f"failed messageExpression: {error}") from None
        except CelError:
            pass  # the message stands in for it, as upstream has it
    return [Complaint(binding, message, one.reason, action) for action in binding.actions]


def _why(expression: Expression, error: CelError, broken: dict[str, str]) -> str:
    """What a variable could not be is the reason when an expression misses it."""
    read = re.findall(r"\bvariables\.(\w+)", expression.text)
    return next((broken[name] for name in read if name in broken), str(error))


def _failed(binding: Binding, why: str) -> list[Complaint]:
    """An evaluation that failed denies, unless the policy's failurePolicy is Ignore."""
    if binding.policy.lenient:
        return []
    return [Complaint(binding, why, _DEFAULT_REASON, action) for action in binding.actions]


def _annotations(policy: Policy, bound: Bindings) -> Iterator[tuple[str, str]]:
    for key, expression in policy.audit_annotations:
        try:
            said = expression.evaluate(bound)
        except CelError as error:
            said = f"error: {error}"
        if isinstance(said, str) and said:
            yield f"{policy.name}/{key}", said


# Parameters -------------------------------------------------------------------------------------------------------------


def _params(binding: Binding, seen: Operation) -> Iterator[Document | None]:
    """The objects that the binding names as parameters; one None when there are none to be had. Raises CelError."""
    wanted, reference = binding.policy.param_kind, binding.param
    if wanted is None or reference is None:
        yield None
        return
    resource = registry(seen.call.snapshot).find_kind(*wanted)
    if resource is None:
        raise CelError(f"failed to find resource referenced by paramKind: '{wanted[0]}, Kind={wanted[1]}'")
    namespace = reference.get("namespace") or (seen.call.namespace if resource.kind.namespaced else "")
    if resource.kind.namespaced and not namespace:
        raise CelError("use of namespaced paramKind resource without a namespace in a cluster-scoped request")
    found = list(_named(resource, namespace, reference, seen.call.snapshot))
    if not found and reference.get("parameterNotFoundAction") != "Allow":
        raise CelError("no params found for policy binding with `Deny` parameterNotFoundAction")
    yield from found


def _named(resource: Resource, namespace: str, reference: Document, snapshot: Snapshot) -> Iterator[Document]:
    if name := reference.get("name"):
        record = snapshot.get(resource.key(namespace, name))
        if record is not None:
            yield resource.load(record.value)
        return
    for record in snapshot.scan(resource.prefix(namespace)):
        document = resource.load(record.value)
        if matches(reference.get("selector") or {}, document["metadata"].get("labels") or {}):
            yield document


# Reading ----------------------------------------------------------------------------------------------------------------


def _bindings(snapshot: Snapshot) -> tuple[Binding, ...]:
    policies = {}
    for record in snapshot.scan(VALIDATING_ADMISSION_POLICY.prefix):
        policy = _policy(codec.decode(record.value))
        policies[policy.name] = policy
    found = []
    for record in snapshot.scan(VALIDATING_ADMISSION_POLICY_BINDING.prefix):
        document = codec.decode(record.value)
        spec = document.get("spec") or {}
        if (named := policies.get(spec.get("policyName", ""))) is not None:
            selection = _selection(spec["matchResources"], everything=True) if spec.get("matchResources") else None
            actions = tuple(spec.get("validationActions") or ())
            found.append(Binding(document["metadata"]["name"], named, selection, spec.get("paramRef"), actions))
    return tuple(found)


def _policy(document: Document) -> Policy:
    spec = document.get("spec") or {}
    param = spec.get("paramKind")
    return Policy(
        document["metadata"]["name"],
        _selection(spec.get("matchConstraints") or {}, everything=False),
        bindings.conditions(spec.get("matchConditions")),
        tuple((one.get("name", ""), expression(one.get("expression", ""))) for one in spec.get("variables") or ()),
        tuple(_validation(one) for one in spec.get("validations") or ()),
        tuple((one.get("key", ""), expression(one.get("valueExpression", ""))) for one in spec.get("auditAnnotations") or ()),
        (param.get("apiVersion", ""), param.get("kind", "")) if param else None,
        spec.get("failurePolicy") == "Ignore",
    )


def _validation(one: Document) -> Validation:
    said = one.get("messageExpression")
    return Validation(
        expression(one.get("expression", ""), "bool"),
        one.get("message") or "",
        expression(said, "string") if said else None,
        one.get("reason") or _DEFAULT_REASON,
    )


def expression(text: str, *expect: str) -> Expression:
    try:
        return Expression(text, expressions.compile(text, *expect))
    except CelError as error:
        return Expression(text, None, str(error))


def _selection(document: Document, everything: bool) -> Selection:
    """`everything`: without rules all is seen (a binding's matchResources narrows the policy's)."""
    rules = tuple(rule(one) for one in document.get("resourceRules") or ())
    if not rules and everything:
        rules = (rule({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*", "*"]}),)
    return Selection(
        rules,
        tuple(rule(one) for one in document.get("excludeResourceRules") or ()),
        document.get("namespaceSelector"),
        document.get("objectSelector"),
        document.get("matchPolicy") == "Exact",
    )
