"""rbac.authorization.k8s.io/v1: roles and bindings, their defaults and rules (pkg/apis/rbac/{v1,validation})."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.errors import quote
from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.label_selectors import check_label_selector
from mooring.apiserver.kinds.metadata import path_segment
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.printing import age
from mooring.apiserver.kinds.problems import required, unsupported
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model import codec
from mooring.model.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Kind

_GROUP = "rbac.authorization.k8s.io"
_CREATED = Column("Created At", "date")


class Role(Plain):
    columns: tuple[Column, ...] = (NAME, _CREATED)

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def name_rule(self, name: str) -> list[str]:
        """May hold what no other name may: ':'."""
        return path_segment(name)

    def default(self, document: Document) -> None:
        document.setdefault("rules", None)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found: list[FieldError] = []
        for index, rule in enumerate(document.get("rules") or ()):
            found += self._check_rule(rule, f"rules[{index}]")
        selectors = (document.get("aggregationRule") or {}).get("clusterRoleSelectors")
        if document.get("aggregationRule") is not None and not selectors:
            why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            found.append(required("aggregationRule.clusterRoleSelectors", why))
        for index, selector in enumerate(selectors or ()):
            found += check_label_selector(selector, f"aggregationRule.clusterRoleSelectors[{index}]")
        return found

    def _check_rule(self, rule: Document, field: str) -> list[FieldError]:
        found = []
        if not rule.get("verbs"):
            found.append(required(f"{field}.verbs", "verbs must contain at least one value"))
        if rule.get("nonResourceURLs"):
            if self.kind is ROLE:
                why = "Invalid value: namespaced rules cannot apply to non-resource URLs"
                found.append(FieldError("FieldValueInvalid", f"{field}.nonResourceURLs", why))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                why = "Invalid value: rules cannot apply to both regular resources and non-resource URLs"
                found.append(FieldError("FieldValueInvalid", f"{field}.nonResourceURLs", why))
            return found
        if not rule.get("apiGroups"):
            found.append(required(f"{field}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            found.append(required(f"{field}.resources", "resource rules must supply at least one resource"))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        meta = document["metadata"]
        return [meta.get("name", ""), meta.get("creationTimestamp")]


class Binding(Plain):
    columns: tuple[Column, ...] = (
        NAME, Column("Role"), AGE, Column("Users", priority=1), Column("Groups", priority=1),
        Column("ServiceAccounts", priority=1),
    )  # fmt: skip

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def name_rule(self, name: str) -> list[str]:
        return path_segment(name)

    def default(self, document: Document) -> None:
        reference = document.get("roleRef")
        if reference is not None and not reference.get("apiGroup"):
            reference["apiGroup"] = _GROUP
        for subject in document.get("subjects") or ():
            if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
                subject["apiGroup"] = _GROUP

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found = self._check_reference(document.get("roleRef") or {})
        for index, subject in enumerate(document.get("subjects") or ()):
            found += self._check_subject(subject, f"subjects[{index}]")
        if old is not None and document.get("roleRef") != old.get("roleRef"):
            now = document.get("roleRef") or {}
            shown = codec.encode({name: now.get(name, "") for name in ("apiGroup", "kind", "name")}).decode()
            found.append(FieldError("FieldValueInvalid", "roleRef", f"Invalid value: {shown}: cannot change roleRef"))
        return found

    def _check_reference(self, reference: Document) -> list[FieldError]:
        found = []
        if reference.get("apiGroup") != _GROUP:
            found.append(unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (_GROUP,)))
        kinds = ("ClusterRole",) if self.kind is CLUSTER_ROLE_BINDING else ("Role", "ClusterRole")
        if reference.get("kind") not in kinds:
            found.append(unsupported("roleRef.kind", reference.get("kind") or "", kinds))
        name = reference.get("name") or ""
        if not name:
            found.append(required("roleRef.name"))
        wrong = path_segment(name)
        found += [FieldError("FieldValueInvalid", "roleRef.name", f"Invalid value: {quote(name)}: {why}") for why in wrong]
        return found

    def _check_subject(self, subject: Document, field: str) -> list[FieldError]:
        found = []
        kind, name, group = subject.get("kind") or "", subject.get("name") or "", subject.get("apiGroup") or ""
        if not name:
            found.append(required(f"{field}.name"))
        if kind == "ServiceAccount":
            wrong = formats.subdomain(name) if name else []
            found += [FieldError("FieldValueInvalid", f"{field}.name", f"Invalid value: {quote(name)}: {why}") for why in wrong]
            if group:
                found.append(unsupported(f"{field}.apiGroup", group, ("",)))
            if self.kind is CLUSTER_ROLE_BINDING and not subject.get("namespace"):
                found.append(required(f"{field}.namespace"))
        elif kind in ("User", "Group"):
            if group != _GROUP:
                found.append(unsupported(f"{field}.apiGroup", group, (_GROUP,)))
        else:
            found.append(unsupported(f"{field}.kind", kind, ("ServiceAccount", "User", "Group")))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        reference = document.get("roleRef") or {}
        by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
        for subject in document.get("subjects") or ():
            space = f"{subject.get('namespace', '')}/" if subject.get("kind") == "ServiceAccount" else ""
            by_kind.setdefault(subject.get("kind", ""), []).append(space + subject.get("name", ""))
        return [
            document["metadata"].get("name", ""),
            f"{reference.get('kind', '')}/{reference.get('name', '')}",
            age(document, env),
            *(", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")),
        ]


STRATEGIES = (Role(ROLE), Role(CLUSTER_ROLE), Binding(ROLE_BINDING), Binding(CLUSTER_ROLE_BINDING))
