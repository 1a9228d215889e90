"""Which operations does a webhook or a policy want to see? Rules, namespace and object selectors, match conditions.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from mooring.apiserver.admission.operation import Operation, equivalents
from mooring.apiserver.cel.environment import CelError, Program
from mooring.apiserver.kinds.workloads import matches
from mooring.apiserver.resources import Resource
from mooring.model import codec
from mooring.model.kinds import NAMESPACE

Document = dict[str, Any]

ALL = "*"


class Rule(Struct, frozen=True):
    """RuleWithOperations; `names` only in policies."""

    operations: tuple[str, ...]
    groups: tuple[str, ...]
    versions: tuple[str, ...]
    resources: tuple[str, ...]
    scope: str = ALL
    names: tuple[str, ...] = ()


def rule(document: Document) -> Rule:
    def listed(name: str) -> tuple[str, ...]:
        return tuple(document.get(name) or ())

    return Rule(
        listed("operations"), listed("apiGroups"), listed("apiVersions"), listed("resources"),
        document.get("scope") or ALL, listed("resourceNames"),
    )  # fmt: skip


class Selection(Struct, frozen=True):
    """What is seen: by any rule and none of `excluded`, in namespaces and of objects that the selectors fit."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...] = ()
    namespaces: Document | None = None
    objects: Document | None = None
    exact: bool = False
    """matchPolicy Exact: other versions of the same resource are not looked at."""

    def sees(self, seen: Operation) -> Resource | None:
        """The version of the resource by which the operation is seen; None when it is not."""
        resource = self._by_rules(seen)
        if resource is None or not _fits_namespace(self.namespaces, seen) or not _fits_object(self.objects, seen):
            return None
        return resource

    def _by_rules(self, seen: Operation) -> Resource | None:
        for resource in (seen.call.resource,) if self.exact or seen.subresource else equivalents(seen.call):
            if _any_rule(self.excluded, seen, resource):
                return None
            if _any_rule(self.rules, seen, resource):
                return resource
        return None


def _any_rule(rules: Iterable[Rule], seen: Operation, resource: Resource) -> bool:
    return any(_rule_fits(one, seen, resource) for one in rules)


def _rule_fits(one: Rule, seen: Operation, resource: Resource) -> bool:
    kind = resource.kind
    return (
        (ALL in one.operations or seen.verb in one.operations)
        and (ALL in one.groups or kind.group in one.groups)
        and (ALL in one.versions or kind.version in one.versions)
        and any(_resource_fits(pattern, kind.plural, seen.subresource) for pattern in one.resources)
        and (one.scope == ALL or one.scope == ("Namespaced" if kind.namespaced else "Cluster"))
        and (not one.names or seen.name in one.names)
    )


def _resource_fits(pattern: str, plural: str, subresource: str) -> bool:
    """'pods', 'pods/status', 'pods/*', '*/status', '*' (no subresources), '*/*'."""
    wanted, slash, below = pattern.partition("/")
    if wanted not in (ALL, plural):
        return False
    if not slash:
        return not subresource
    return below in (ALL, subresource)


def _fits_namespace(selector: Document | None, seen: Operation) -> bool:
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return True
    call = seen.call
    if call.kind == NAMESPACE and not seen.subresource:
        return matches(selector, _labels(seen.document if seen.document is not None else seen.old))
    if not call.namespace:
        return True
    namespace = namespace_of(seen)
    return matches(selector, _labels(namespace))


def namespace_of(seen: Operation) -> Document | None:
    """The Namespace that the operation is in; None outside of any, or when it is gone."""
    record = seen.call.snapshot.get(NAMESPACE.key("", seen.call.namespace)) if seen.call.namespace else None
    found: Document | None = codec.decode(record.value) if record else None
    return found


def _fits_object(selector: Document | None, seen: Operation) -> bool:
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return True
    return any(matches(selector, _labels(document)) for document in (seen.document, seen.old) if document is not None)


def _labels(document: Document | None) -> dict[str, str]:
    return ((document or {}).get("metadata") or {}).get("labels") or {}


class Condition(Struct, frozen=True):
    """A named CEL expression that says whether the operation is of interest; `broken` when it does not compile."""

    name: str
    program: Program | None
    broken: str = ""


def conditions_hold(conditions: Sequence[Condition], evaluate: Callable[[Program], Any]) -> bool:
    """Whether all hold. One that is false decides, whatever others fail. Raises CelError when none is false and one failed."""
    failures = []
    for one in conditions:
        try:
            if one.program is None:
                raise CelError(one.broken)
            if evaluate(one.program) is not True:
                return False
        except CelError as error:
            failures.append(str(error))
    if failures:
        raise CelError(", ".join(failures))
    return True
