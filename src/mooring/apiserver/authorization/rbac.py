"""Which rules does a user have, and by which binding? Roles and bindings become an index once a change, not once a request."""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.authorization.rules import Rule, allows, rule
from mooring.apiserver.contract import User
from mooring.apiserver.errors import quote
from mooring.model import codec
from mooring.model.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from mooring.store.snapshot import Snapshot

_KINDS = (ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING)
_REMEMBERED, _LONG = 10_000, 512
"""Answers kept: few users ask for few things again and again. What is longer than any name is not."""


class Grant(Struct, frozen=True):
    """What one binding gives to one subject, in one namespace or ('') everywhere. `error` says why it gives nothing."""

    namespace: str
    rules: tuple[Rule, ...]
    source: str
    """'ClusterRoleBinding "b" of ClusterRole "r" to User "u"', as upstream's reasons name it."""
    error: str = ""


class Verdict(Struct, frozen=True):
    allowed: bool
    reason: str = ""


class Index:
    """Every grant by its subject: ('User', name) or ('Group', name). A service account is the user it authenticates as."""

    def __init__(self, grants: dict[tuple[str, str], list[Grant]]) -> None:
        self._grants = grants
        self._answers: dict[tuple[object, ...], Verdict] = {}

    def grants(self, user: User) -> Iterator[Grant]:
        yield from self._grants.get(("User", user.name), ())
        for group in user.groups:
            yield from self._grants.get(("Group", group), ())

    def rules(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """All rules that hold for the user in a namespace ('' for the whole cluster), and what could not be resolved."""
        found: list[Rule] = []
        errors: list[str] = []
        for grant in self.grants(user):
            if not grant.namespace or grant.namespace == namespace:
                found += grant.rules
                errors += [grant.error] if grant.error else []
        return found, errors

    def decide(self, asked: Attributes) -> Verdict:
        user, path = asked.user, "" if asked.resource else asked.path
        resource = asked.group, asked.resource, asked.subresource
        key = (user.name, user.groups, asked.verb, resource, asked.namespace, asked.name, path)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._decide(asked)
            if len(asked.name) + len(path) > _LONG:
                return answer
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[key] = answer
        return answer

    def _decide(self, asked: Attributes) -> Verdict:
        errors: list[str] = []
        for grant in self.grants(asked.user):
            if grant.namespace and grant.namespace != asked.namespace:
                continue
            if any(allows(rule, asked) for rule in grant.rules):
                return Verdict(True, f"RBAC: allowed by {grant.source}")
            errors += [grant.error] if grant.error else []
        told = errors[0] if len(errors) == 1 else f"[{', '.join(dict.fromkeys(errors))}]"
        return Verdict(False, f"RBAC: {told}" if errors else "")


def index(snapshot: Snapshot) -> Index:
    return snapshot.derived(_index, *(kind.prefix for kind in _KINDS))


def _index(snapshot: Snapshot) -> Index:
    grants: dict[tuple[str, str], list[Grant]] = {}
    for kind in (CLUSTER_ROLE_BINDING, ROLE_BINDING):
        for record in snapshot.scan(kind.prefix):
            for subject, grant in _grants_of(codec.decode(record.value), snapshot):
                grants.setdefault(subject, []).append(grant)
    return Index(grants)


def _grants_of(binding: dict[str, Any], snapshot: Snapshot) -> Iterator[tuple[tuple[str, str], Grant]]:
    meta, reference = binding["metadata"], binding.get("roleRef") or {}
    namespace = meta.get("namespace", "")
    rules, error = role_rules(reference, namespace, snapshot)
    where = f"/{namespace}" if namespace else ""
    for subject in binding.get("subjects") or ():
        kind, name = subject.get("kind", ""), subject.get("name", "")
        shown = f"{kind} {quote(name)}"
        if kind == "ServiceAccount":
            home = subject.get("namespace") or namespace
            shown = f"{kind} {quote(f'{name}/{home}')}"
            kind, name = "User", f"system:serviceaccount:{home}:{name}"
        source = (
            f"{binding['kind']} {quote(meta['name'] + where)} of {reference.get('kind', '')} "
            f"{quote(reference.get('name', ''))} to {shown}"
        )
        yield (kind, name), Grant(namespace, rules, source, error)


def role_rules(reference: dict[str, Any], namespace: str, snapshot: Snapshot) -> tuple[tuple[Rule, ...], str]:
    """The rules of the role that a roleRef names, and why there are none."""
    kind = {"ClusterRole": CLUSTER_ROLE, "Role": ROLE}.get(reference.get("kind", ""))
    name = reference.get("name", "")
    if kind is None or (kind is ROLE and not namespace):
        return (), f"unsupported role reference kind: {quote(reference.get('kind', ''))}"
    record = snapshot.get(kind.key(namespace, name))
    if record is None:
        return (), f"{kind.group_resource.replace('roles', 'role', 1)} {quote(name)} not found"
    return tuple(rule(each) for each in codec.decode(record.value).get("rules") or ()), ""
