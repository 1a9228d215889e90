"""Which parameters does each operation take, and of which types?

Words are the official client's (schema_descriptions.py), as for fields.
"""

from collections.abc import Sequence
from functools import cache

from mooring.apiserver.openapi_schemas import V2, Dialect, Json
from mooring.apiserver.schema_descriptions import describe_parameters, snake

_INTEGERS = frozenset({"gracePeriodSeconds", "limit", "limitBytes", "sinceSeconds", "tailLines", "timeoutSeconds"})
_BOOLEANS = frozenset(
    {
        "allowWatchBookmarks", "follow", "force", "insecureSkipTLSVerifyBackend", "orphanDependents", "previous",
        "sendInitialEvents", "stderr", "stdin", "stdout", "timestamps", "tty", "watch",
    }
)  # fmt: skip
_LISTS = frozenset({"command"})

WRITE = ("dryRun", "fieldManager", "fieldValidation")
PATCH = (*WRITE, "force")
SELECTION = (
    "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch", "sendInitialEvents",
    "timeoutSeconds",
)  # fmt: skip
LIST = ("allowWatchBookmarks", *SELECTION, "watch")
DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
DELETE_COLLECTION = (*DELETE, *SELECTION)
GET = ("resourceVersion",)
PRETTY = "pretty"
_STREAMS = ("container", "stderr", "stdin", "stdout", "tty")
OF_SUBRESOURCE = {
    "log": (
        "container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", PRETTY, "previous", "sinceSeconds", "sinceTime",
        "stream", "tailLines", "timestamps",
    ),
    "exec": ("command", *_STREAMS),
    "attach": _STREAMS,
    "portforward": ("ports",),
    "proxy": ("path",),
}  # fmt: skip
"""Of all methods of a subresource that has no others."""
_EVERYWHERE = ("list_namespaced_pod", "patch_namespaced_pod", "delete_collection_namespaced_pod")
_DESCRIBED_AT = {
    "log": "read_namespaced_pod_log",
    "exec": "connect_get_namespaced_pod_exec",
    "attach": "connect_get_namespaced_pod_attach",
    "portforward": "connect_get_namespaced_pod_portforward",
    "proxy": "connect_get_namespaced_pod_proxy_with_path",
}


_spelt = cache(snake)


@cache
def _words(subresource: str) -> dict[str, str]:
    own = _DESCRIBED_AT.get(subresource)
    found = describe_parameters(*((own,) if own else _EVERYWHERE))
    if subresource == "proxy":
        return {"path": found.get("path2", "")}
    if subresource == "log":
        found["since_time"] = "An RFC 3339 time: only what was written after it. Not together with sinceSeconds."
    return found


def _schema(name: str, dialect: Dialect) -> Json:
    schema: Json = {"type": "string", "uniqueItems": True}
    if name in _INTEGERS:
        schema["type"] = "integer"
    elif name in _BOOLEANS:
        schema["type"] = "boolean"
    elif name in _LISTS:
        schema = {"type": "array", "items": {"type": "string"}}
        if dialect is V2:
            schema["collectionFormat"] = "multi"
    return schema


@cache
def _parameter(name: str, place: str, words: str, dialect: Dialect) -> Json:
    base: Json = {"name": name, "in": place}
    if words:
        base["description"] = words
    if place == "path":
        base["required"] = True
    schema = _schema(name, dialect)
    return base | (schema if dialect is V2 else {"schema": schema})


def in_query(names: Sequence[str], dialect: Dialect, subresource: str = "") -> list[Json]:
    words = _words(subresource)
    return [_parameter(name, "query", words.get(_spelt(name), ""), dialect) for name in names]


def in_path(path: str, kind: str, dialect: Dialect) -> list[Json]:
    """Those that stand in braces in the path of something of a kind."""
    words = {
        "name": f"name of the {kind}",
        "namespace": _words("").get("namespace", ""),
        "path": describe_parameters(_DESCRIBED_AT["proxy"]).get("path", ""),
    }
    return [_parameter(name, "path", said, dialect) for name, said in words.items() if f"{{{name}}}" in path]
