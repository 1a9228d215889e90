"""What does a URL path mean? A resource request, with the verb upstream would name, or one of the few other paths."""

from msgspec import Struct

from mooring.apiserver.registry import Registry
from mooring.apiserver.resources import Resource
from mooring.model.kinds import Kind

Query = tuple[tuple[str, str], ...]
PROXY = "proxy"
"""The subresource below which any path may follow."""
_REMEMBERED, _LONG = 1024, 1024
"""Paths: the same few are asked for again and again. Longer ones are not."""
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Target(Struct, frozen=True):
    """A collection (name ''), an object, or its subresource. `watch` is True for the legacy /watch/ paths.

    `path` is what follows the subresource `proxy`, as it stands there but decoded.
    """

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    watch: bool = False
    path: str = ""

    @property
    def kind(self) -> Kind:
        return self.resource.kind


def resource_target(path: str, registry: Registry) -> Target | None:
    """The target of /api/v1/... and /apis/<group>/<version>/...; None when no kind of the registry is named there."""
    known = registry.targets
    if path in known:
        kept: Target | None = known[path]
        return kept
    collection, _, name = path.rpartition("/")
    if name and (within := known.get(collection)) is not None and _is_collection(within):
        return Target(within.resource, within.namespace, name)
    found = _target(path, registry)
    if len(path) > _LONG:
        return found
    if len(known) >= _REMEMBERED:
        known.clear()
    if found is not None and found.name == name and found == Target(found.resource, found.namespace, name):
        known[collection] = Target(found.resource, found.namespace)  # objects are many, and differ in their names
    else:
        known[path] = found
    return found


def _is_collection(target: Target) -> bool:
    """One whose objects' paths end in their names."""
    return not (target.name or target.watch) and bool(target.namespace or not target.kind.namespaced)


def _target(path: str, registry: Registry) -> Target | None:
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    rest = rest[1:] if watch else rest
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and (inside := registry.find(group, version, rest[2])):
        namespace, rest = rest[1], rest[2:]
        if not inside.kind.namespaced:
            return None
    resource = registry.find(group, version, rest[0])
    onward = len(rest) > 2 and rest[2] == PROXY
    if resource is None or (len(rest) > 3 and not onward) or "" in rest[:3]:
        return None
    kind = resource.kind
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in kind.subresources:
        return None
    if kind.namespaced and name and not namespace:
        return None
    if onward:
        after = "/".join(rest[3:]) + ("/" if path.endswith("/") else "")
        return None if watch else Target(resource, namespace, name, subresource, path="/" + after if after else "")
    return Target(resource, namespace, name, subresource, watch)


def verb_of(method: str, target: Target, query: Query) -> str:
    """get, list, watch, create, update, patch, delete, deletecollection; '' for a method that is none of them."""
    verb = _VERBS.get(method, "")
    if verb == "get" and not target.name:
        return "watch" if target.watch or (query and _watching(query)) else "list"
    if verb == "get" and target.watch:
        return "watch"
    if verb == "delete" and not target.name:
        return "deletecollection"
    return verb


def _watching(query: Query) -> bool:
    return any(name == "watch" and value.lower() not in ("false", "0") for name, value in query)
