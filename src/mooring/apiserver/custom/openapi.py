"""How does a definition's schema look in the server's OpenAPI documents? (upstream: pkg/controller/openapi/builder)

v3 shows it as it was written; v2, which knows no null, no junctors and no untyped values, shows as much as it can.
"""

from collections.abc import Callable
from typing import Any

from mooring.model.kinds import Kind

Json = dict[str, Any]
Reference = Callable[[str], Json]

_META_WORDS = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object. Servers should convert "
    "recognized schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    "kind": "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
    "endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    "metadata": "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
}
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_NOT_IN_V2 = ("allOf", "anyOf", "oneOf", "not", "nullable")


class Published:
    """The schema of one kind."""

    def __init__(self, kind: Kind, raw: Json) -> None:
        self.kind, self._raw = kind, raw

    @property
    def name(self) -> str:
        return definition_name(self.kind)

    def v3(self, reference: Reference) -> Json:
        return self._root(_shown(self._raw, reference), reference)

    def v2(self, reference: Reference) -> Json:
        return self._root(_shown_v2(self._raw, reference), reference)

    def _root(self, schema: Json, reference: Reference) -> Json:
        meta = {
            "apiVersion": {"description": _META_WORDS["apiVersion"], "type": "string"},
            "kind": {"description": _META_WORDS["kind"], "type": "string"},
            "metadata": {"description": _META_WORDS["metadata"], **_described(reference(_OBJECT_META))},
        }
        schema["type"] = "object"
        schema["properties"] = (schema.get("properties") or {}) | meta
        kind = self.kind
        schema["x-kubernetes-group-version-kind"] = [{"group": kind.group, "kind": kind.kind, "version": kind.version}]
        return schema


def _described(reference: Json) -> Json:
    """v3 ignores what stands beside a reference, unless that is wrapped."""
    return {"allOf": [reference], "default": {}} if reference["$ref"].startswith("#/components") else reference


def definition_name(kind: Kind) -> str:
    """'com.example.stable.v1.CronTab' of stable.example.com/v1 CronTab."""
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def _shown(raw: Json, reference: Reference) -> Json:
    schema = dict(raw)
    if raw.get("properties"):
        schema["properties"] = {name: _shown(each, reference) for name, each in raw["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(raw.get(name), dict):
            schema[name] = _shown(raw[name], reference)
    if raw.get("x-kubernetes-embedded-resource"):
        own = schema.get("properties") or {}
        schema["properties"] = own | {
            "apiVersion": {"description": _META_WORDS["apiVersion"], "type": "string"},
            "kind": {"description": _META_WORDS["kind"], "type": "string"},
            "metadata": {"description": _META_WORDS["metadata"], **_described(reference(_OBJECT_META))},
        }
    return schema


def _shown_v2(raw: Json, reference: Reference) -> Json:
    """An untyped value, or one that may be null, is anything to v2."""
    schema = {name: value for name, value in raw.items() if name not in _NOT_IN_V2}
    if raw.get("nullable") or raw.get("x-kubernetes-preserve-unknown-fields") or raw.get("x-kubernetes-int-or-string"):
        for name in ("type", "items", "properties", "additionalProperties", "required"):
            schema.pop(name, None)
        return schema
    if raw.get("properties"):
        schema["properties"] = {name: _shown_v2(each, reference) for name, each in raw["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(raw.get(name), dict):
            schema[name] = _shown_v2(raw[name], reference)
    return schema
