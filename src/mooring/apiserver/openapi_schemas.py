"""How do the types look in the OpenAPI documents: the definitions of v2, the schemas of v3?

From the one table of types (schema.py), with words from the official client (schema_descriptions.py). What no request's body
has (discovery's documents, WatchEvent) is in the table here.
Shapes: https://spec.openapis.org/oas/v3.0.0, https://swagger.io/specification/v2/, and the x-kubernetes-* extensions.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from mooring.apiserver.custom import openapi as custom
from mooring.apiserver.schema import SCALARS, Field, Fields, atomic_types, type_of, types
from mooring.apiserver.schema_descriptions import describe
from mooring.model.kinds import KINDS, Kind

Json = dict[str, Any]

_SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},
}
_NAMED_SCALARS = {
    "time": "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
    "micro-time": "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
    "quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "int-or-string": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
}
RAW = "io.k8s.apimachinery.pkg.runtime.RawExtension"
PATCH = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
SCALE, EVICTION, BINDING, TOKEN = (
    "autoscaling.v1.Scale",
    "policy.v1.Eviction",
    "core.v1.Binding",
    "authentication.v1.TokenRequest",
)
SUBRESOURCE_TYPES = {"scale": SCALE, "token": TOKEN, "binding": BINDING, "eviction": EVICTION}
"""Whose body is of a type of its own."""
VERSION, API_VERSIONS, API_GROUP_LIST = "meta.version.Info", "meta.v1.APIVersions", "meta.v1.APIGroupList"
API_GROUP, API_RESOURCE_LIST = "meta.v1.APIGroup", "meta.v1.APIResourceList"
_IN_EVERY_DOCUMENT = ("meta.v1.DeleteOptions", "meta.v1.Status", "meta.v1.ListMeta", "meta.v1.WatchEvent", API_RESOURCE_LIST)
_BUILT_IN = frozenset(KINDS)

_LIST = ("[]",)
_TEXT, _NEEDED, _TEXTS, _NEEDED_TEXTS = (
    Field("string"), Field("string", required=True), Field("string", _LIST), Field("string", _LIST, required=True)
)  # fmt: skip
_TYPE_META = {"apiVersion": _TEXT, "kind": _TEXT}
_ADDRESSES = {"serverAddressByClientCIDRs": Field("meta.v1.ServerAddressByClientCIDR", _LIST)}
_BUILD = ("buildDate", "compiler", "gitCommit", "gitTreeState", "gitVersion", "goVersion", "major", "minor", "platform")
_ANSWERS: Mapping[str, Fields] = {
    "meta.v1.WatchEvent": {"object": Field(RAW, required=True), "type": _NEEDED},
    VERSION: dict.fromkeys(_BUILD, _NEEDED),
    API_VERSIONS: _TYPE_META | _ADDRESSES | {"versions": _NEEDED_TEXTS},
    API_GROUP_LIST: _TYPE_META | {"groups": Field(API_GROUP, _LIST, required=True)},
    API_GROUP: _TYPE_META | _ADDRESSES | {
        "name": _NEEDED,
        "preferredVersion": Field("meta.v1.GroupVersionForDiscovery"),
        "versions": Field("meta.v1.GroupVersionForDiscovery", _LIST, required=True),
    },
    "meta.v1.GroupVersionForDiscovery": {"groupVersion": _NEEDED, "version": _NEEDED},
    "meta.v1.ServerAddressByClientCIDR": {"clientCIDR": _NEEDED, "serverAddress": _NEEDED},
    API_RESOURCE_LIST: _TYPE_META | {
        "groupVersion": _NEEDED, "resources": Field("meta.v1.APIResource", _LIST, required=True),
    },
    "meta.v1.APIResource": {
        "categories": _TEXTS, "group": _TEXT, "kind": _NEEDED, "name": _NEEDED, "namespaced": Field("bool", required=True),
        "shortNames": _TEXTS, "singularName": _NEEDED, "storageVersionHash": _TEXT, "verbs": _NEEDED_TEXTS, "version": _TEXT,
    },
}  # fmt: skip


def definition_name(type_name: str) -> str:
    """The published name: 'io.k8s.api.core.v1.Service' of 'core.v1.Service'."""
    if type_name.startswith("io.k8s."):
        return type_name
    if type_name == VERSION:
        return "io.k8s.apimachinery.pkg.version.Info"
    if type_name.startswith("meta."):
        return "io.k8s.apimachinery.pkg.apis." + type_name
    if type_name.startswith("apiextensions."):
        return "io.k8s.apiextensions-apiserver.pkg.apis." + type_name
    return "io.k8s.api." + type_name


def own_name(kind: Kind) -> str:
    """The published name of a kind's type, built in or added."""
    return definition_name(type_of(kind)) if kind in _BUILT_IN else custom.definition_name(kind)


class Dialect:
    """Where references point, and whether a described reference must be wrapped: v3 ignores a $ref's neighbours."""

    def __init__(self, root: str, wrap: bool) -> None:
        self.root, self.wrap = root, wrap

    def reference(self, name: str, described: bool = False) -> Json:
        reference = {"$ref": self.root + name}
        return {"allOf": [reference]} if self.wrap and described else reference


V2 = Dialect("#/definitions/", wrap=False)
V3 = Dialect("#/components/schemas/", wrap=True)


def _base(field: Field, dialect: Dialect, described: bool) -> Json:
    if field.base in _SCALARS:
        return dict(_SCALARS[field.base])
    return dialect.reference(_NAMED_SCALARS.get(field.base) or definition_name(field.base), described)


def _property(field: Field, description: str, dialect: Dialect) -> Json:
    schema = _base(field, dialect, described=not field.wrappers)
    for wrapper in reversed(field.wrappers):
        if wrapper == "[]":
            schema = {"type": "array", "items": schema}
        else:
            schema = {"type": "object", "additionalProperties": schema}
    if description:
        schema = {"description": description, **schema}
    if field.patch.strategy:
        schema["x-kubernetes-patch-strategy"] = ",".join(field.patch.strategy)
    if field.patch.merge_key:
        schema["x-kubernetes-patch-merge-key"] = field.patch.merge_key
    if field.wrappers[:1] == ("[]",):
        schema["x-kubernetes-list-type"] = field.topology or "atomic"
        if field.keys:
            schema["x-kubernetes-list-map-keys"] = list(field.keys)
    elif field.topology:
        schema["x-kubernetes-map-type"] = field.topology
    return schema


def _words_of(field: Field) -> str:
    """The client describes a field that is one object only by its type."""
    return "" if field.base in SCALARS or field.base == RAW else describe(field.base).type


def gvk(group: str, version: str, kind: str) -> Json:
    return {"group": group, "kind": kind, "version": version}


@cache
def _roots() -> Mapping[str, list[Json]]:
    """The group-version-kinds of the types that stand at the root of a document."""
    found: dict[str, list[Json]] = {type_of(kind): [gvk(kind.group, kind.version, kind.kind)] for kind in KINDS}
    found[SCALE] = [gvk("autoscaling", "v1", "Scale")]
    found[TOKEN] = [gvk("authentication.k8s.io", "v1", "TokenRequest")]
    found[EVICTION] = [gvk("policy", "v1", "Eviction")]
    found[BINDING] = [gvk("", "v1", "Binding")]
    for name in ("Status", "APIVersions", "APIGroupList", "APIGroup", "APIResourceList"):
        found[f"meta.v1.{name}"] = [gvk("", "v1", name)]
    groups = sorted({(kind.group, kind.version) for kind in KINDS})
    for name in ("DeleteOptions", "WatchEvent"):
        found[f"meta.v1.{name}"] = [gvk(group, version, name) for group, version in groups]
    return found


def _fields(type_name: str) -> Fields | None:
    """None of what is no type of a table."""
    return _ANSWERS.get(type_name, types().get(type_name))


def _schema(type_name: str, dialect: Dialect) -> Json:
    fields, words = _fields(type_name) or {}, describe(type_name)
    schema: Json = {"description": words.type} if words.type else {}
    schema["type"] = "object"
    if required := [name for name, field in fields.items() if field.required]:
        schema["required"] = required
    schema["properties"] = {
        name: _property(field, words.fields.get(name) or _words_of(field), dialect) for name, field in sorted(fields.items())
    }
    if type_name in atomic_types():
        schema["x-kubernetes-map-type"] = "atomic"
    if gvks := _roots().get(type_name):
        schema["x-kubernetes-group-version-kind"] = gvks
    return schema


def list_schema(kind: Kind, dialect: Dialect) -> Json:
    words = describe(f"{type_of(kind)}List") if kind in _BUILT_IN else describe("core.v1.ConfigMapList")
    meta = {name: {"description": words.fields.get(name, ""), "type": "string"} for name in ("apiVersion", "kind")}
    described = words.fields.get("items") if kind in _BUILT_IN else f"List of {kind.plural}."
    return {
        "description": f"{kind.list_kind} is a list of {kind.kind} objects.",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": meta["apiVersion"],
            "items": {"description": described or "", "type": "array", "items": dialect.reference(own_name(kind))},
            "kind": meta["kind"],
            "metadata": {
                "description": describe("meta.v1.ListMeta").type,
                **dialect.reference(definition_name("meta.v1.ListMeta"), described=True),
            },
        },
        "x-kubernetes-group-version-kind": [gvk(kind.group, kind.version, kind.list_kind)],
    }


def _reachable(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        fields = _fields(name)
        if name in found or fields is None:
            continue
        found.add(name)
        waiting += [field.base for field in fields.values()]
    return found


def schemas_of(names: Iterable[str], dialect: Dialect) -> Json:
    """Those of types of the table and of all that they name."""
    schemas = {definition_name(name): _schema(name, dialect) for name in _reachable(names)}
    for name in _NAMED_SCALARS["time"], _NAMED_SCALARS["micro-time"]:
        schemas[name] = {"type": "string", "format": "date-time"}
    number: Json = {"oneOf": [{"type": "string"}, {"type": "number"}]} if dialect is V3 else {"type": "string"}
    schemas[_NAMED_SCALARS["quantity"]] = number
    either: Json = {"oneOf": [{"type": "integer"}, {"type": "string"}]} if dialect is V3 else {"type": "string"}
    schemas[_NAMED_SCALARS["int-or-string"]] = {"format": "int-or-string", **either}
    schemas[RAW] = {"description": "Any object, with its kind and apiVersion.", "type": "object"}
    words = "The body of a PATCH. What it is says its media type: an object, or a list of operations for a JSON patch."
    schemas[PATCH] = {"description": words, "type": "object"}
    return schemas


def schemas(kinds: Iterable[Kind], dialect: Dialect) -> Json:
    """Those of built-in kinds, their lists and subresources, and what every document has."""
    names, lists = list(_IN_EVERY_DOCUMENT), {}
    for kind in kinds:
        names.append(type_of(kind))
        names += [other for subresource, other in SUBRESOURCE_TYPES.items() if subresource in kind.subresources]
        if kind.stored:
            lists[definition_name(type_of(kind)) + "List"] = list_schema(kind, dialect)
    return schemas_of(names, dialect) | lists
