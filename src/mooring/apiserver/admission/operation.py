"""What is about to happen, as admission sees it (admission.k8s.io/v1 AdmissionRequest)?"""

from typing import Any

from msgspec import Struct

from mooring.apiserver.authorization.reviews import user_info
from mooring.apiserver.call import Call
from mooring.apiserver.registry import registry
from mooring.apiserver.resources import Resource
from mooring.model.kinds import Kind

Document = dict[str, Any]

CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


class Operation(Struct, frozen=True):
    """`document` is what will be (None on DELETE), `old` what is (None on CREATE and CONNECT). `kind` is that of `document`:
    the resource's own, or what is sent to a subresource (Scale, Eviction, PodExecOptions)."""

    call: Call
    verb: str
    document: Document | None
    old: Document | None
    kind: Kind
    options: Document

    @property
    def dry_run(self) -> bool:
        return "All" in self.options.get("dryRun", ())

    @property
    def name(self) -> str:
        """'' for a create whose name will be generated."""
        return self.call.name or str((self.document or {}).get("metadata", {}).get("name") or "")

    @property
    def subresource(self) -> str:
        return self.call.target.subresource

    def seen_as(self, resource: Resource) -> "Operation":
        """The same as an operation on another version of the resource."""
        own = self.call.resource
        if resource is own or self.subresource:
            return self

        def converted(document: Document | None) -> Document | None:
            return resource.from_stored(own.to_stored(document)) if document is not None else None

        return Operation(self.call, self.verb, converted(self.document), converted(self.old), resource.kind, self.options)


def operation(call: Call, verb: str, document: Document | None, old: Document | None, kind: Kind | None = None) -> Operation:
    return Operation(call, verb, document, old, kind or call.kind, _options(call, verb))


def _options(call: Call, verb: str) -> Document:
    kind = {CREATE: "CreateOptions", UPDATE: "UpdateOptions"}.get(verb, "")
    if not kind:
        return {}
    if verb == UPDATE and call.verb == "patch":
        kind = "PatchOptions"
    found: Document = {"apiVersion": "meta.k8s.io/v1", "kind": kind}
    if call.dry_run:
        found["dryRun"] = ["All"]
    for name in ("fieldManager", "fieldValidation"):
        if value := call.query(name):
            found[name] = value
    return found


def equivalents(call: Call) -> list[Resource]:
    """The call's resource, and every other version or group under which the same objects are served."""
    own = call.resource
    others = [one for one in registry(call.snapshot).resources if one.stored == own.stored and one is not own]
    return [own, *others]


def request_of(seen: Operation, resource: Resource, uid: str) -> Document:
    """The AdmissionRequest: of the version that matched, with what was asked for beside it."""
    call = seen.call
    asked = call.kind
    kind = resource.kind if seen.kind == resource.kind else seen.kind
    request: Document = {
        "uid": uid,
        "kind": _gvk(kind),
        "resource": {"group": resource.kind.group, "version": resource.kind.version, "resource": resource.kind.plural},
        "requestKind": _gvk(asked if not seen.subresource else seen.kind),
        "requestResource": {"group": asked.group, "version": asked.version, "resource": asked.plural},
        "operation": seen.verb,
        "userInfo": user_info(call.request.user),
        "object": seen.document,
        "oldObject": seen.old,
        "dryRun": seen.dry_run,
        "options": seen.options or None,
    }
    if seen.subresource:
        request["subResource"] = request["requestSubResource"] = seen.subresource
    if seen.name:
        request["name"] = seen.name
    if call.namespace:
        request["namespace"] = call.namespace
    elif asked.plural == "namespaces" and seen.name:
        request["namespace"] = seen.name
    return request


def _gvk(kind: Kind) -> Document:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}
