"""admissionregistration.k8s.io/v1: webhooks and policies, their defaults and rules.

Upstream: pkg/apis/admissionregistration/{v1,validation}.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from mooring.apiserver.admission import expressions
from mooring.apiserver.cel.environment import CelError
from mooring.apiserver.contract import Env
from mooring.apiserver.errors import quote
from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.label_selectors import check_label_selector
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.printing import age
from mooring.apiserver.kinds.problems import invalid, required, too_many, unsupported
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import (
    MUTATING_WEBHOOK_CONFIGURATION,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    VALIDATING_WEBHOOK_CONFIGURATION,
    Kind,
)

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_SCOPES = ("*", "Cluster", "Namespaced")
_FAILURES = ("Fail", "Ignore")
_MATCHES = ("Equivalent", "Exact")
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_ACTIONS = ("Audit", "Deny", "Warn")
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")
_MAX_CONDITIONS = 64
_MAX_EXPRESSIONS = 500
"""Of one kind in a policy, and of all webhooks of a configuration: a short one takes a quarter of a millisecond to compile."""


def _default_match(match: Document) -> None:
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    for rule in (*(match.get("resourceRules") or ()), *(match.get("excludeResourceRules") or ())):
        rule.setdefault("scope", "*")


def _check_rule(rule: Document, field: str) -> Iterator[FieldError]:
    operations = rule.get("operations") or []
    if not operations:
        yield required(f"{field}.operations")
    if len(operations) > 1 and "*" in operations:
        yield invalid(f"{field}.operations", operations, "if '*' is present, must not specify other operations")
    for index, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            yield unsupported(f"{field}.operations[{index}]", operation, _OPERATIONS)
    for name in ("apiGroups", "apiVersions", "resources"):
        values = rule.get(name) or []
        if not values:
            yield required(f"{field}.{name}")
        if len(values) > 1 and "*" in values and name != "resources":
            yield invalid(f"{field}.{name}", values, f"if '*' is present, must not specify other {_WORDS[name]}")
        for index, value in enumerate(values):
            if value == "" and name != "apiGroups":
                yield required(f"{field}.{name}[{index}]")
    resources = rule.get("resources") or []
    if "*/*" in resources and len(resources) > 1:
        yield invalid(f"{field}.resources", resources, "if '*/*' is present, must not specify other resources")
    scope = rule.get("scope")
    if scope is not None and scope not in _SCOPES:
        yield unsupported(f"{field}.scope", scope, _SCOPES)


_WORDS = {"apiGroups": "API groups", "apiVersions": "API versions"}


def _check_conditions(conditions: list[Document] | None, field: str) -> Iterator[FieldError]:
    if len(conditions or ()) > _MAX_CONDITIONS:
        yield too_many(field, len(conditions or ()), _MAX_CONDITIONS)
        return
    seen: set[str] = set()
    for index, condition in enumerate(conditions or ()):
        name, where = condition.get("name") or "", f"{field}[{index}]"
        if not name:
            yield required(f"{where}.name")
        else:
            yield from (invalid(f"{where}.name", name, why) for why in formats.qualified_name(name))
        if name in seen:
            yield FieldError("FieldValueDuplicate", f"{where}.name", f"Duplicate value: {quote(name)}")
        seen.add(name)
        yield from _check_expression(condition.get("expression"), f"{where}.expression", "bool")


def _check_expression(text: str | None, field: str, *expect: str) -> Iterator[FieldError]:
    if not (text or "").strip():
        yield required(field)
        return
    try:
        expressions.compile(text or "", *expect)
    except CelError as error:
        yield invalid(field, text, f"compilation failed: {error}")


class WebhookConfiguration(Plain):
    generation = True
    columns: tuple[Column, ...] = (NAME, Column("Webhooks", "integer"), AGE)

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def default(self, document: Document) -> None:
        for webhook in document.get("webhooks") or ():
            webhook.setdefault("failurePolicy", "Fail")
            webhook.setdefault("timeoutSeconds", 10)
            _default_match(webhook)
            if self.kind is MUTATING_WEBHOOK_CONFIGURATION:
                webhook.setdefault("reinvocationPolicy", "Never")
            for rule in webhook.get("rules") or ():
                rule.setdefault("scope", "*")
            if service := (webhook.get("clientConfig") or {}).get("service"):
                service.setdefault("port", 443)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found: list[FieldError] = []
        seen: set[str] = set()
        webhooks: list[Document] = document.get("webhooks") or []
        conditions = sum(len(webhook.get("matchConditions") or ()) for webhook in webhooks)
        if conditions > _MAX_EXPRESSIONS:
            return [too_many("webhooks.matchConditions", conditions, _MAX_EXPRESSIONS)]
        for index, webhook in enumerate(webhooks):
            field, name = f"webhooks[{index}]", webhook.get("name") or ""
            found += self._check_webhook(webhook, field)
            if name in seen:
                found.append(FieldError("FieldValueDuplicate", f"{field}.name", f"Duplicate value: {quote(name)}"))
            seen.add(name)
        return found

    def _check_webhook(self, webhook: Document, field: str) -> Iterator[FieldError]:
        name = webhook.get("name") or ""
        if not name:
            yield required(f"{field}.name")
        elif name.count(".") < 2:
            yield invalid(f"{field}.name", name, "should be a domain with at least three segments separated by dots")
        else:
            yield from (invalid(f"{field}.name", name, why) for why in formats.subdomain(name))
        versions = webhook.get("admissionReviewVersions") or []
        if not versions:
            yield required(f"{field}.admissionReviewVersions", "must specify one of v1, v1beta1")
        elif "v1" not in versions:
            yield invalid(f"{field}.admissionReviewVersions", versions, "must include at least one of v1")
        for index, rule in enumerate(webhook.get("rules") or ()):
            yield from _check_rule(rule, f"{field}.rules[{index}]")
        for key, known in (("failurePolicy", _FAILURES), ("matchPolicy", _MATCHES)):
            if webhook.get(key) not in known:
                yield unsupported(f"{field}.{key}", webhook.get(key), known)
        if webhook.get("sideEffects") is None:
            yield required(f"{field}.sideEffects", f"must specify one of {', '.join(_SIDE_EFFECTS)}")
        elif webhook["sideEffects"] not in _SIDE_EFFECTS:
            yield unsupported(f"{field}.sideEffects", webhook["sideEffects"], _SIDE_EFFECTS)
        if not 1 <= webhook["timeoutSeconds"] <= 30:
            why = "the timeout value must be between 1 and 30 seconds"
            yield invalid(f"{field}.timeoutSeconds", webhook["timeoutSeconds"], why)
        if webhook.get("reinvocationPolicy", "Never") not in ("IfNeeded", "Never"):
            yield unsupported(f"{field}.reinvocationPolicy", webhook["reinvocationPolicy"], ("IfNeeded", "Never"))
        for key in ("namespaceSelector", "objectSelector"):
            yield from check_label_selector(webhook.get(key) or {}, f"{field}.{key}")
        yield from _check_client(webhook.get("clientConfig") or {}, f"{field}.clientConfig")
        yield from _check_conditions(webhook.get("matchConditions"), f"{field}.matchConditions")

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        return [document["metadata"].get("name", ""), len(document.get("webhooks") or ()), age(document, env)]


def _check_client(client: Document, field: str) -> Iterator[FieldError]:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield required(field, "exactly one of url or service is required")
        return
    try:
        base64.b64decode(client.get("caBundle") or "", validate=True)
    except (binascii.Error, ValueError):
        yield invalid(f"{field}.caBundle", client["caBundle"], "unable to load root certificates: not base64")
    if service is not None:
        for name in ("name", "namespace"):
            if not service.get(name):
                yield required(f"{field}.service.{name}", f"service {name} is required")
        if not 1 <= service.get("port", 443) <= 65535:
            why = "port is not valid: must be between 1 and 65535, inclusive"
            yield invalid(f"{field}.service.port", service["port"], why)
        path = service.get("path")
        if path and not path.startswith("/"):
            yield invalid(f"{field}.service.path", path, "must start with a '/'")
        return
    yield from _check_url(str(url), f"{field}.url")


def _check_url(url: str, field: str) -> Iterator[FieldError]:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        host = parts.hostname
        parts.port  # noqa: B018  (raises for one that is none)
    except ValueError as error:
        yield required(field, f"url must be a valid URL: {error}{form}")
        return
    if parts.scheme != "https":
        yield invalid(field, parts.scheme, f"'https' is the only allowed URL scheme{form}")
    if not host:
        yield invalid(field, host or "", f"host must be specified{form}")
    if parts.username is not None:
        yield invalid(field, parts.username, "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid(field, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid(field, parts.query, "query parameters are not permitted in the URL")


class Policy(Plain):
    kind = VALIDATING_ADMISSION_POLICY
    generation = True
    has_status = True
    columns: tuple[Column, ...] = (NAME, Column("Validations", "integer"), Column("ParamKind"), AGE)

    def default(self, document: Document) -> None:
        spec = document.setdefault("spec", {})
        spec.setdefault("failurePolicy", "Fail")
        if (match := spec.get("matchConstraints")) is not None:
            _default_match(match)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        return list(self._check(document["spec"]))

    def _check(self, spec: Document) -> Iterator[FieldError]:
        if spec.get("failurePolicy") not in _FAILURES:
            yield unsupported("spec.failurePolicy", spec.get("failurePolicy"), _FAILURES)
        if (param := spec.get("paramKind")) is not None:
            yield from (required(f"spec.paramKind.{name}") for name in ("apiVersion", "kind") if not param.get(name))
        if (match := spec.get("matchConstraints")) is None:
            yield required("spec.matchConstraints")
        else:
            if not match.get("resourceRules"):
                yield required("spec.matchConstraints.resourceRules")
            yield from _check_match(match, "spec.matchConstraints")
        yield from _check_conditions(spec.get("matchConditions"), "spec.matchConditions")
        if not spec.get("validations") and not spec.get("auditAnnotations"):
            why = "validations or auditAnnotations must contain at least one item"
            yield required("spec.validations", why)
            yield required("spec.auditAnnotations", why)
        many = {name: len(spec.get(name) or ()) for name in ("variables", "validations", "auditAnnotations")}
        if max(many.values()) > _MAX_EXPRESSIONS:
            yield from (
                too_many(f"spec.{name}", count, _MAX_EXPRESSIONS) for name, count in many.items() if count > _MAX_EXPRESSIONS
            )
            return
        for index, one in enumerate(spec.get("variables") or ()):
            name = one.get("name") or ""
            if not name.isidentifier():
                yield invalid(f"spec.variables[{index}].name", name, "name is not a valid CEL identifier")
            yield from _check_expression(one.get("expression"), f"spec.variables[{index}].expression")
        for index, one in enumerate(spec.get("validations") or ()):
            yield from self._check_validation(one, f"spec.validations[{index}]")
        for index, one in enumerate(spec.get("auditAnnotations") or ()):
            if not one.get("key"):
                yield required(f"spec.auditAnnotations[{index}].key")
            yield from _check_expression(one.get("valueExpression"), f"spec.auditAnnotations[{index}].valueExpression")

    def _check_validation(self, one: Document, field: str) -> Iterator[FieldError]:
        yield from _check_expression(one.get("expression"), f"{field}.expression", "bool")
        message = one.get("message")
        if message is not None and (not message.strip() or "\n" in message.strip()):
            why = "must not contain line breaks" if message.strip() else "message must be non-empty if specified"
            yield invalid(f"{field}.message", message, why)
        if one.get("messageExpression"):
            yield from _check_expression(one["messageExpression"], f"{field}.messageExpression", "string")
        if (reason := one.get("reason")) is not None and reason not in _REASONS:
            yield unsupported(f"{field}.reason", reason, _REASONS)

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec = document.get("spec") or {}
        param = spec.get("paramKind") or {}
        shown = f"{param.get('apiVersion', '')}/{param.get('kind', '')}" if param else "<unset>"
        return [document["metadata"].get("name", ""), len(spec.get("validations") or ()), shown, age(document, env)]


def _check_match(match: Document, field: str) -> Iterator[FieldError]:
    for name in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(match.get(name) or ()):
            yield from _check_rule(rule, f"{field}.{name}[{index}]")
    if match.get("matchPolicy", "Equivalent") not in _MATCHES:
        yield unsupported(f"{field}.matchPolicy", match["matchPolicy"], _MATCHES)
    for name in ("namespaceSelector", "objectSelector"):
        yield from check_label_selector(match.get(name) or {}, f"{field}.{name}")


class PolicyBinding(Plain):
    kind = VALIDATING_ADMISSION_POLICY_BINDING
    generation = True
    columns: tuple[Column, ...] = (NAME, Column("PolicyName"), Column("ParamRef"), AGE)

    def default(self, document: Document) -> None:
        if (match := document.setdefault("spec", {}).get("matchResources")) is not None:
            _default_match(match)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        return list(self._check(document["spec"]))

    def _check(self, spec: Document) -> Iterator[FieldError]:
        if not spec.get("policyName"):
            yield required("spec.policyName")
        if (param := spec.get("paramRef")) is not None:
            if bool(param.get("name")) == (param.get("selector") is not None):
                why = "Forbidden: name and selector are mutually exclusive"
                yield FieldError("FieldValueForbidden", "spec.paramRef.name", why)
            if param.get("parameterNotFoundAction") not in ("Allow", "Deny"):
                given = param.get("parameterNotFoundAction")
                yield unsupported("spec.paramRef.parameterNotFoundAction", given or "", ("Allow", "Deny"))
        if (match := spec.get("matchResources")) is not None:
            yield from _check_match(match, "spec.matchResources")
        actions = spec.get("validationActions") or []
        if not actions:
            yield required("spec.validationActions", "at least one validation action is required")
        yield from (
            unsupported(f"spec.validationActions[{index}]", action, _ACTIONS)
            for index, action in enumerate(actions) if action not in _ACTIONS
        )  # fmt: skip
        if {"Deny", "Warn"} <= set(actions):
            why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response "
            yield invalid("spec.validationActions", actions, f"{why}and headers serves no purpose)")

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec = document.get("spec") or {}
        param = spec.get("paramRef") or {}
        named = f"{param.get('namespace', '*')}/{param['name']}" if param.get("name") else "<unset>"
        return [document["metadata"].get("name", ""), spec.get("policyName", ""), named, age(document, env)]


STRATEGIES = (
    WebhookConfiguration(MUTATING_WEBHOOK_CONFIGURATION), WebhookConfiguration(VALIDATING_WEBHOOK_CONFIGURATION), Policy(),
    PolicyBinding(),
)  # fmt: skip
