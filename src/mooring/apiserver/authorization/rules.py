"""What does one RBAC rule allow, and which rules do others cover?

https://kubernetes.io/docs/reference/access-authn-authz/rbac/, matching as plugin/pkg/auth/authorizer/rbac and
component-helpers/auth/rbac/validation (Covers).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product
from typing import Any

from msgspec import Struct

from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.errors import quote

ALL = "*"
_LOOKED_AT = 10_000
"""Single permissions: lists of a thousand groups, resources and verbs, a small request, are a billion."""
_TOLD = 100


class Rule(Struct, frozen=True):
    """A PolicyRule: every listed verb on every listed resource (of these names, if any), or on these other paths."""

    verbs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As upstream writes a rule in a refusal."""
        parts = (
            ("APIGroups", self.groups), ("Resources", self.resources), ("ResourceNames", self.names),
            ("NonResourceURLs", self.paths), ("Verbs", self.verbs),
        )  # fmt: skip
        return "{" + ", ".join(f"{name}:[{', '.join(map(quote, values))}]" for name, values in parts if values) + "}"


def rule(document: dict[str, Any]) -> Rule:
    """Of a PolicyRule document."""

    def listed(name: str) -> tuple[str, ...]:
        return tuple(document.get(name) or ())

    return Rule(listed("verbs"), listed("apiGroups"), listed("resources"), listed("resourceNames"), listed("nonResourceURLs"))


def document(of: Rule) -> dict[str, Any]:
    """The PolicyRule document of a rule."""
    fields = (
        ("verbs", of.verbs), ("apiGroups", of.groups), ("resources", of.resources), ("resourceNames", of.names),
        ("nonResourceURLs", of.paths),
    )  # fmt: skip
    return {name: list(values) for name, values in fields if values}


def allows(given: Rule, asked: Attributes) -> bool:
    if ALL not in given.verbs and asked.verb not in given.verbs:
        return False
    if not asked.resource:
        return any(_path_matches(pattern, asked.path) for pattern in given.paths)
    return (
        (ALL in given.groups or asked.group in given.groups)
        and _names_resource(given.resources, asked.combined, asked.subresource)
        and (not given.names or asked.name in given.names)
    )


def _names_resource(resources: Sequence[str], combined: str, subresource: str) -> bool:
    return ALL in resources or combined in resources or bool(subresource and f"*/{subresource}" in resources)


def _path_matches(pattern: str, path: str) -> bool:
    return pattern in (ALL, path) or (pattern.endswith(ALL) and path.startswith(pattern.rstrip(ALL)))


# Covering ---------------------------------------------------------------------------------------------------------------


def uncovered(wanted: Iterable[Rule], held: Sequence[Rule]) -> list[Rule]:
    """The single permissions of `wanted` that no rule of `held` gives, in order, each once.

    Only so many are looked at: of rules that no other one covers as a whole and that grant more, what is beyond is not held.
    """
    broad = [one for one in wanted if not any(_covers_whole(rule, one) for rule in held)]
    singles = list(islice((single for one in broad for single in _singles(one)), _LOOKED_AT + 1))
    missing = [single for single in singles if not any(_covers(rule, single) for rule in held)]
    if len(singles) > _LOOKED_AT:
        return list(dict.fromkeys(missing[:_TOLD])) or singles[-1:]
    return list(dict.fromkeys(missing))


def _covers_whole(owner: Rule, wanted: Rule) -> bool:
    """Whether one rule alone gives all of another, found without taking it apart."""
    return (
        (ALL in owner.verbs or set(wanted.verbs) <= set(owner.verbs))
        and (ALL in owner.groups or set(wanted.groups) <= set(owner.groups))
        and (ALL in owner.resources or set(wanted.resources) <= set(owner.resources))
        and (not owner.names or (bool(wanted.names) and set(wanted.names) <= set(owner.names)))
        and all(any(_path_matches(pattern, path) for pattern in owner.paths) for path in wanted.paths)
    )


def _singles(of: Rule) -> Iterator[Rule]:
    for group, resource, verb in product(of.groups, of.resources, of.verbs):
        for name in of.names or ("",):
            yield Rule((verb,), (group,), (resource,), (name,) if name else ())
    for path, verb in product(of.paths, of.verbs):
        yield Rule((verb,), paths=(path,))


def _covers(owner: Rule, single: Rule) -> bool:
    if ALL not in owner.verbs and single.verbs[0] not in owner.verbs:
        return False
    if single.paths:
        (path,) = single.paths
        return any(_path_matches(pattern, path) for pattern in owner.paths)
    (group,), (resource,) = single.groups, single.resources
    return (
        (ALL in owner.groups or group in owner.groups)
        and _names_resource(owner.resources, resource, resource.partition("/")[2])
        and (not owner.names or (bool(single.names) and single.names[0] in owner.names))
    )
