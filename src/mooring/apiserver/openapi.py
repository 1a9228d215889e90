"""How does the API describe itself to clients: OpenAPI v2 (one document) and v3 (an index, a document a group version)?

kubectl asks v3 for `explain`, for server-side field validation (the `fieldValidation` parameter) and, in later versions, for
merge keys; before, it asks v2, as protobuf (openapi_protobuf.py). Documents are made once, when first asked for, kept as bytes.
Shapes: https://spec.openapis.org/oas/v3.0.0, https://swagger.io/specification/v2/, and the x-kubernetes-* extensions.
"""

import hashlib
from functools import cache
from typing import Any

from mooring.apiserver.openapi_protobuf import encode_document
from mooring.apiserver.schema import SCALARS, Field, type_of, types
from mooring.apiserver.schema_descriptions import describe
from mooring.model.codec import encode
from mooring.model.kinds import KINDS, Kind

Json = dict[str, Any]

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What the answer is called. Clients ask with '@' before the version, which Go refuses to parse in a Content-Type."""
V2_PROTOBUF_ASKED = "application/com.github.proto-openapi.spec.v2"
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
_EVERYWHERE = ("meta.v1.DeleteOptions", "meta.v1.Status")
_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")


def definition_name(type_name: str) -> str:
    """The published name: 'io.k8s.api.core.v1.Service' of 'core.v1.Service'."""
    if type_name.startswith("meta."):
        return "io.k8s.apimachinery.pkg.apis." + type_name
    if type_name.startswith("apiextensions."):
        return "io.k8s.apiextensions-apiserver.pkg.apis." + type_name
    return "io.k8s.api." + type_name


# Schemas ----------------------------------------------------------------------------------------------------------------


class _Dialect:
    """Where references point, and whether a described reference must be wrapped: v3 ignores a $ref's neighbours."""

    def __init__(self, root: str, wrap: bool) -> None:
        self.root, self.wrap = root, wrap

    def reference(self, name: str, described: bool = False) -> Json:
        reference = {"$ref": self.root + name}
        return {"allOf": [reference]} if self.wrap and described else reference


V2 = _Dialect("#/definitions/", wrap=False)
V3 = _Dialect("#/components/schemas/", wrap=True)


def _base(field: Field, dialect: _Dialect, described: bool) -> Json:
    if field.base in _SCALARS:
        return dict(_SCALARS[field.base])
    return dialect.reference(_NAMED_SCALARS.get(field.base) or definition_name(field.base), described)


def _property(field: Field, description: str, dialect: _Dialect) -> Json:
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
    return "" if field.base in SCALARS else describe(field.base).type


def _gvk(group: str, version: str, kind: str) -> Json:
    return {"group": group, "kind": kind, "version": version}


def _roots() -> dict[str, list[Json]]:
    """The group-version-kinds of the types that stand at the root of a document."""
    found: dict[str, list[Json]] = {}
    for kind in KINDS:
        found[type_of(kind)] = [_gvk(kind.group, kind.version, kind.kind)]
    found["autoscaling.v1.Scale"] = [_gvk("autoscaling", "v1", "Scale")]
    found["authentication.v1.TokenRequest"] = [_gvk("authentication.k8s.io", "v1", "TokenRequest")]
    found["core.v1.Binding"] = [_gvk("", "v1", "Binding")]
    found["meta.v1.Status"] = [_gvk("", "v1", "Status")]
    groups = sorted({(kind.group, kind.version) for kind in KINDS})
    found["meta.v1.DeleteOptions"] = [_gvk(group, version, "DeleteOptions") for group, version in groups]
    return found


def _schema(type_name: str, dialect: _Dialect) -> Json:
    fields, words = types()[type_name], describe(type_name)
    schema: Json = {"description": words.type} if words.type else {}
    schema["type"] = "object"
    if required := [name for name, field in fields.items() if field.required]:
        schema["required"] = required
    schema["properties"] = {
        name: _property(field, words.fields.get(name) or _words_of(field), dialect) for name, field in sorted(fields.items())
    }
    if gvks := _roots().get(type_name):
        schema["x-kubernetes-group-version-kind"] = gvks
    return schema


def _list_schema(kind: Kind, dialect: _Dialect) -> Json:
    item = dialect.reference(definition_name(type_of(kind)))
    return {
        "description": f"{kind.list_kind} is a list of {kind.kind} objects.",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": item},
            "kind": {"type": "string"},
            "metadata": dialect.reference(definition_name("meta.v1.ListMeta")),
        },
        "x-kubernetes-group-version-kind": [_gvk(kind.group, kind.version, kind.list_kind)],
    }


def _reachable(names: list[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found or name not in types():
            continue
        found.add(name)
        waiting += [field.base for field in types()[name].values()]
    return found


def _schemas(kinds: tuple[Kind, ...], dialect: _Dialect) -> Json:
    names = [type_of(kind) for kind in kinds] + [*_EVERYWHERE, "meta.v1.ListMeta"]
    for kind in kinds:
        names += [other for subresource, other in _SUBRESOURCE_TYPES.items() if subresource in kind.subresources]
    schemas = {definition_name(name): _schema(name, dialect) for name in _reachable(names)}
    for kind in kinds:
        schemas[definition_name(type_of(kind)) + "List"] = _list_schema(kind, dialect)
    micro = {"type": "string", "format": "date-time"}
    schemas[_NAMED_SCALARS["time"]] = dict(micro)
    schemas[_NAMED_SCALARS["micro-time"]] = dict(micro)
    schemas[_NAMED_SCALARS["quantity"]] = (
        {"oneOf": [{"type": "string"}, {"type": "number"}]} if dialect is V3 else {"type": "string"}
    )
    schemas[_NAMED_SCALARS["int-or-string"]] = (
        {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
        if dialect is V3
        else {"type": "string", "format": "int-or-string"}
    )
    return dict(sorted(schemas.items()))


# Paths ------------------------------------------------------------------------------------------------------------------

_SUBRESOURCE_TYPES = {"scale": "autoscaling.v1.Scale", "token": "authentication.v1.TokenRequest", "binding": "core.v1.Binding"}
_STRING, _INTEGER, _BOOLEAN = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_WRITE_PARAMETERS = (("dryRun", _STRING), ("fieldManager", _STRING), ("fieldValidation", _STRING))
_LIST_PARAMETERS = (
    ("allowWatchBookmarks", _BOOLEAN), ("continue", _STRING), ("fieldSelector", _STRING), ("labelSelector", _STRING),
    ("limit", _INTEGER), ("resourceVersion", _STRING), ("resourceVersionMatch", _STRING), ("sendInitialEvents", _BOOLEAN),
    ("timeoutSeconds", _INTEGER), ("watch", _BOOLEAN),
)  # fmt: skip
_DELETE_PARAMETERS = (("dryRun", _STRING), ("gracePeriodSeconds", _INTEGER), ("propagationPolicy", _STRING))
_ACTIONS = {"get": "get", "post": "post", "put": "put", "patch": "patch", "delete": "delete", "list": "list"}


def _parameter(name: str, schema: Json, place: str, dialect: _Dialect) -> Json:
    base: Json = {"name": name, "in": place, "required": place == "path"}
    if dialect is V2:
        return base | schema | {"uniqueItems": True}
    return base | {"schema": schema | {"uniqueItems": True}}


def _body(name: str, dialect: _Dialect, media: tuple[str, ...]) -> Json:
    reference = dialect.reference(name)
    if dialect is V2:
        return {"parameters": [{"name": "body", "in": "body", "required": True, "schema": reference}], "consumes": list(media)}
    return {"requestBody": {"required": True, "content": {kind: {"schema": reference} for kind in media}}}


def _operation(kind: Kind, action: str, identity: str, body: str, answer: str, dialect: _Dialect) -> Json:
    parameters = {"post": _WRITE_PARAMETERS, "put": _WRITE_PARAMETERS, "list": _LIST_PARAMETERS, "delete": _DELETE_PARAMETERS}
    query = (*_WRITE_PARAMETERS, ("force", _BOOLEAN)) if action == "patch" else parameters.get(action, ())
    shown = [_parameter(name, schema, "query", dialect) for name, schema in query]
    operation: Json = {"operationId": identity, "parameters": shown}
    if body:
        described = _body(body, dialect, _PATCH_TYPES if action == "patch" else ("application/json",))
        operation["parameters"] = shown + described.pop("parameters", [])
        operation |= described
    reference = dialect.reference(answer)
    response: Json = {"schema": reference} if dialect is V2 else {"content": {"application/json": {"schema": reference}}}
    operation["responses"] = {"200": {"description": "OK", **response}}
    if dialect is V2:
        operation["produces"] = ["application/json"]
    operation["x-kubernetes-action"] = action
    operation["x-kubernetes-group-version-kind"] = _gvk(kind.group, kind.version, kind.kind)
    return operation


def _identity(kind: Kind, action: str, suffix: str = "") -> str:
    group = "".join(part.capitalize() for part in (kind.group.partition(".")[0] or "core", kind.version))
    return action + group + ("Namespaced" if kind.namespaced else "") + kind.kind + suffix


def _paths(kinds: tuple[Kind, ...], dialect: _Dialect) -> Json:
    paths: Json = {}
    status, options = definition_name("meta.v1.Status"), definition_name("meta.v1.DeleteOptions")

    def add(kind: Kind, path: str, action: str, body: str, answer: str, suffix: str = "") -> None:
        names = [name for name in ("namespace", "name") if "{" + name + "}" in path]
        item = paths.setdefault(path, {})
        if names:
            item["parameters"] = [_parameter(name, _STRING, "path", dialect) for name in names]
        method, words = ("get", "list") if action == "list" else (action, action)
        item[method] = _operation(kind, words, _identity(kind, words, suffix), body, answer, dialect)

    for kind in kinds:
        own, namespace = definition_name(type_of(kind)), "{namespace}" if kind.namespaced else ""
        collection, one = kind.path(namespace), kind.path(namespace, "{name}")
        if not kind.stored:
            add(kind, collection, "post", own, own)
            continue
        add(kind, collection, "list", "", own + "List")
        add(kind, collection, "post", own, own)
        add(kind, collection, "delete", options, status, "Collection")
        if kind.namespaced:
            add(kind, kind.path(), "list", "", own + "List", "ForAllNamespaces")
        add(kind, one, "get", "", own)
        add(kind, one, "put", own, own)
        add(kind, one, "patch", own, own)
        add(kind, one, "delete", options, status)
        for subresource in kind.subresources:
            other = _SUBRESOURCE_TYPES.get(subresource)
            name = definition_name(other) if other else own
            if subresource in ("token", "binding"):
                add(kind, f"{one}/{subresource}", "post", name, name, subresource.capitalize())
            elif subresource in ("status", "scale"):
                for action, body in (("get", ""), ("put", name), ("patch", name)):
                    add(kind, f"{one}/{subresource}", action, body, name, subresource.capitalize())
    return dict(sorted(paths.items()))


# Documents --------------------------------------------------------------------------------------------------------------

_INFO = {"title": "Kubernetes", "version": "v1.33.0"}


def _group_versions() -> dict[str, tuple[Kind, ...]]:
    found: dict[str, tuple[Kind, ...]] = {}
    for kind in KINDS:
        path = f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"
        found[path] = (*found.get(path, ()), kind)
    return found


@cache
def _v2() -> Json:
    return {"swagger": "2.0", "info": _INFO, "paths": _paths(KINDS, V2), "definitions": _schemas(KINDS, V2)}


@cache
def openapi_v2() -> bytes:
    """The whole API as one Swagger 2.0 document, JSON."""
    return encode(_v2())


@cache
def openapi_v2_protobuf() -> bytes:
    """The same as gnostic's openapi.v2.Document, for clients that accept V2_PROTOBUF; Go's accept nothing else."""
    return encode_document(_v2())


@cache
def openapi_v3(group_version: str) -> bytes | None:
    """One group version ('api/v1', 'apis/apps/v1') as an OpenAPI 3.0 document, JSON; None when there is none."""
    kinds = _group_versions().get(group_version)
    if kinds is None:
        return None
    return encode(
        {"openapi": "3.0.0", "info": _INFO, "paths": _paths(kinds, V3), "components": {"schemas": _schemas(kinds, V3)}}
    )


@cache
def openapi_v3_index() -> bytes:
    """Where each group version's document lies, with the hash of its content so that clients may keep it for ever."""
    paths = {}
    for group_version in _group_versions():
        digest = hashlib.sha512(openapi_v3(group_version) or b"").hexdigest()[:128].upper()
        paths[group_version] = {"serverRelativeURL": f"/openapi/v3/{group_version}?hash={digest}"}
    return encode({"paths": paths})
