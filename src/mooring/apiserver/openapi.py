"""How does the API describe itself to clients: OpenAPI v2 (one document) and v3 (an index, a document a group version)?

kubectl asks v3 for `explain`, for server-side field validation (the `fieldValidation` parameter) and, in later versions, for
merge keys; before, it asks v2, as protobuf (openapi_protobuf.py). Documents are made once, when first asked for, kept as bytes.
What they say of types is in openapi_schemas.py, of paths in openapi_paths.py.
"""

import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache

from mooring.apiserver.custom.serving import CustomResource
from mooring.apiserver.openapi_paths import discovery_paths, discovery_type, paths
from mooring.apiserver.openapi_protobuf import encode_document
from mooring.apiserver.openapi_schemas import (
    API_RESOURCE_LIST,
    SCALE,
    V2,
    V3,
    Dialect,
    Json,
    list_schema,
    schemas,
    schemas_of,
)
from mooring.apiserver.registry import BUILT_IN, Registry
from mooring.model.codec import encode
from mooring.model.kinds import KINDS, Kind

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What the answer is called. Clients ask with '@' before the version, which Go refuses to parse in a Content-Type."""
V2_PROTOBUF_ASKED = "application/com.github.proto-openapi.spec.v2"
_KEPT = 4
"""Documents of so many states of the definitions: clients ask for the newest."""
_INFO = {"title": "Kubernetes", "version": "v1.33.0"}
_SECURITY = {
    "type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication",
}  # fmt: skip
_WITHOUT_KINDS = ("api", "apis", "version")
_EVERYWHERE = ("meta.v1.ObjectMeta", "meta.v1.DeleteOptions", "meta.v1.Status", "meta.v1.ListMeta", API_RESOURCE_LIST)
"""What custom kinds need of the table of types."""

Published = tuple[Kind | CustomResource, ...]


def _group_versions(registry: Registry) -> dict[str, Published]:
    """The kinds of each document; groups and what is above them have none."""
    found: dict[str, Published] = dict.fromkeys(_WITHOUT_KINDS, ())
    for resource in registry.resources:
        kind = resource.kind
        path = f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"
        if kind.group:
            found[f"apis/{kind.group}"] = ()
        found[path] = (*found.get(path, ()), resource if isinstance(resource, CustomResource) else kind)
    return found


def _kind(published: Kind | CustomResource) -> Kind:
    return published if isinstance(published, Kind) else published.kind


def _custom_schemas(published: Published, dialect: Dialect) -> Json:
    """Those of kinds that definitions have added, and their lists."""
    found: Json = {}
    for each in published:
        if isinstance(each, CustomResource):
            shown = each.served_version.published
            found[shown.name] = shown.v2(dialect.reference) if dialect is V2 else shown.v3(dialect.reference)
            found[f"{shown.name}List"] = list_schema(each.kind, dialect)
    return found


# Version 2 --------------------------------------------------------------------------------------------------------------


def _discovery(group_versions: Sequence[str], dialect: Dialect) -> Json:
    found: Json = {}
    for group_version in group_versions:
        found |= discovery_paths(group_version, dialect)
    return found


@cache
def _built_in_v2() -> Json:
    found = _discovery(tuple(_group_versions(BUILT_IN)), V2) | paths(KINDS, V2)
    answers = schemas_of((discovery_type(each) for each in (*_WITHOUT_KINDS, "apis/apps")), V2)
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": dict(sorted(found.items())),
        "definitions": dict(sorted((answers | schemas(KINDS, V2)).items())),
        "securityDefinitions": {"BearerToken": _SECURITY},
        "security": [{"BearerToken": []}],
    }


@lru_cache(maxsize=1)
def _v2(registry: Registry) -> Json:
    whole = _built_in_v2()
    added = tuple(each for each in registry.resources if isinstance(each, CustomResource))
    if not added:
        return whole
    more = tuple(each for each in _group_versions(registry) if each not in _group_versions(BUILT_IN))
    found = _discovery(more, V2) | paths(tuple(each.kind for each in added), V2)
    return {**whole, "paths": whole["paths"] | found, "definitions": whole["definitions"] | _custom_schemas(added, V2)}


@lru_cache(maxsize=_KEPT)
def openapi_v2(registry: Registry = BUILT_IN) -> bytes:
    """The whole API as one Swagger 2.0 document, JSON."""
    return encode(_v2(registry))


@lru_cache(maxsize=_KEPT)
def openapi_v2_protobuf(registry: Registry = BUILT_IN) -> bytes:
    """The same as gnostic's openapi.v2.Document, for clients that accept V2_PROTOBUF; Go's accept nothing else."""
    return encode_document(_v2(registry))


# Version 3 --------------------------------------------------------------------------------------------------------------


def openapi_v3(group_version: str, registry: Registry = BUILT_IN) -> bytes | None:
    """One group version ('api/v1', 'apis/apps/v1') as an OpenAPI 3.0 document, JSON; None when there is none."""
    published = _group_versions(registry).get(group_version)
    return None if published is None else _v3(group_version, published)


@lru_cache(maxsize=256)
def _v3(group_version: str, published: Published) -> bytes:
    """Made once for the same kinds and versions of definitions, whatever else is defined."""
    described = discovery_paths(group_version, V3) | paths(tuple(map(_kind, published)), V3)
    if not published:
        shown = schemas_of((discovery_type(group_version), "meta.v1.Status"), V3)
    else:
        built_in = tuple(each for each in published if isinstance(each, Kind))
        scaled = any("scale" in _kind(each).subresources for each in published)
        shown = schemas_of((*_EVERYWHERE, *[SCALE] * scaled), V3) | schemas(built_in, V3) | _custom_schemas(published, V3)
    return encode(
        {
            "openapi": "3.0.0",
            "info": _INFO,
            "paths": dict(sorted(described.items())),
            "components": {
                "schemas": dict(sorted(shown.items())),
                "securitySchemes": {"BearerToken": _SECURITY},
            },
            "security": [{"BearerToken": []}],
        }
    )


@lru_cache(maxsize=_KEPT)
def openapi_v3_index(registry: Registry = BUILT_IN) -> bytes:
    """Where each group version's document lies, with the hash of its content so that clients may keep it for ever."""
    found = _group_versions(registry)
    return encode({"paths": {each: {"serverRelativeURL": f"/{v3_location(each, registry)}"} for each in sorted(found)}})


def v3_location(group_version: str, registry: Registry) -> str:
    """The URL of a document as it is now."""
    return f"openapi/v3/{group_version}?hash={v3_hash(group_version, registry)}"


def v3_hash(group_version: str, registry: Registry) -> str:
    return _digest(group_version, _group_versions(registry)[group_version])


def _digest(group_version: str, published: Published) -> str:
    return _hash(_v3(group_version, published))


def _hash(document: bytes) -> str:
    return hashlib.sha512(document).hexdigest().upper()


_WHOLE = {"v2": openapi_v2, "v2+protobuf": openapi_v2_protobuf, "v3": openapi_v3_index}


@lru_cache(maxsize=_KEPT * len(_WHOLE))
def hash_of(name: str, registry: Registry) -> str:
    """What names the content of 'v2', 'v2+protobuf' or 'v3', the index."""
    return _hash(_WHOLE[name](registry))
