"""What does this server serve? The discovery documents, legacy and aggregated, all read from the one table of kinds.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

import base64
import hashlib
from functools import lru_cache
from typing import Any

from mooring.apiserver import render
from mooring.apiserver.contract import Request, Response
from mooring.apiserver.negotiate import accepted
from mooring.apiserver.registry import Registry
from mooring.model import codec
from mooring.model.kinds import NAMESPACE, Kind

Document = dict[str, Any]

VERSION = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+mooring",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "linux/amd64",
}

_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    # name: (kind, group, version, verbs); '' means the parent's own, {} stands for its name
    "status": ("", "", "", ("get", "patch", "update")),
    "ephemeralcontainers": ("", "", "", ("get", "patch", "update")),
    "resize": ("", "", "", ("get", "patch", "update")),
    "scale": ("Scale", "autoscaling", "v1", ("get", "patch", "update")),
    "log": ("", "", "", ("get",)),
    "exec": ("PodExecOptions", "", "v1", ("create", "get")),
    "attach": ("PodAttachOptions", "", "v1", ("create", "get")),
    "portforward": ("PodPortForwardOptions", "", "v1", ("create", "get")),
    "proxy": ("{}ProxyOptions", "", "v1", ("create", "delete", "get", "patch", "update")),
    "binding": ("Binding", "", "v1", ("create",)),
    "eviction": ("Eviction", "policy", "v1", ("create",)),
    "finalize": ("", "", "", ("update",)),
    "token": ("TokenRequest", "authentication.k8s.io", "v1", ("create",)),
}


def subresource_of(kind: Kind, name: str) -> tuple[str, str, str, tuple[str, ...]]:
    """Kind ('' for the parent's own), group, version and verbs."""
    own, group, version, verbs = _SUBRESOURCES[name]
    return own.format(kind.kind), group, version, verbs


def verbs_of(kind: Kind) -> list[str]:
    """Namespaces are deleted one by one only."""
    return [verb for verb in kind.verbs if not (kind == NAMESPACE and verb == "deletecollection")]


def respond(request: Request, registry: Registry) -> Response | None:
    """The answer to /api, /apis and below; None when nothing of that name is served."""
    path = request.path.rstrip("/")
    if path in ("/api", "/apis"):
        form = accepted(request.headers.get("accept", ""), discovery=True)
        if form.transform:
            return _aggregated(request, registry, path, form.version)
        return render.plain(request, _api_versions() if path == "/api" else _group_list(registry))
    match path.split("/")[1:]:
        case ["api", "v1"]:
            return render.plain(request, _resource_list(registry, "", "v1"))
        case ["apis", group] if group in groups(registry):
            return render.plain(request, {"kind": "APIGroup", "apiVersion": "v1"} | _group(registry, group))
        case ["apis", group, version] if version in groups(registry).get(group, ()):
            return render.plain(request, _resource_list(registry, group, version))
    return None


@lru_cache(maxsize=8)
def groups(registry: Registry) -> dict[str, tuple[str, ...]]:
    """Each named group and its versions."""
    found: dict[str, tuple[str, ...]] = {}
    for kind in registry.kinds:
        if kind.group and kind.version not in found.get(kind.group, ()):
            found[kind.group] = (*found.get(kind.group, ()), kind.version)
    return found


def _api_versions() -> Document:
    servers = [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": servers}


def _group(registry: Registry, group: str) -> Document:
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in groups(registry)[group]]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _group_list(registry: Registry) -> Document:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(registry, group) for group in groups(registry)]}


def _kinds_of(registry: Registry, group: str, version: str) -> list[Kind]:
    return [kind for kind in registry.kinds if (kind.group, kind.version) == (group, version)]


def _resource_list(registry: Registry, group: str, version: str) -> Document:
    resources: list[Document] = []
    for kind in _kinds_of(registry, group, version):
        entry: Document = {
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": verbs_of(kind),
        }
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        if kind.stored:
            entry["storageVersionHash"] = _storage_hash(kind)
        resources.append(entry)
        for name in kind.subresources:
            own_kind, own_group, own_version, verbs = subresource_of(kind, name)
            sub: Document = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
            if own_group:
                sub |= {"group": own_group, "version": own_version}
            resources.append(sub | {"kind": own_kind or kind.kind, "verbs": list(verbs)})
    group_version = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _storage_hash(kind: Kind) -> str:
    digest = hashlib.sha256(f"{kind.group}/{kind.version}/{kind.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


@lru_cache(maxsize=8)
def _aggregated_document(registry: Registry, path: str, version: str) -> bytes:
    found = {"": ("v1",)} if path == "/api" else groups(registry)
    items = []
    for group, versions in found.items():
        meta: Document = {"name": group} if group else {}
        entries = [
            {
                "version": one,
                "resources": [_aggregated_resource(kind) for kind in _kinds_of(registry, group, one)],
                "freshness": "Current",
            }
            for one in versions
        ]
        items.append({"metadata": meta | {"creationTimestamp": None}, "versions": entries})
    kind = {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}", "metadata": {}}
    return codec.encode(kind | {"items": items})


def _aggregated_resource(kind: Kind) -> Document:
    entry: Document = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": verbs_of(kind),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    subresources = []
    for name in kind.subresources:
        own_kind, group, version, verbs = subresource_of(kind, name)
        answer = {
            "group": group if own_kind else kind.group,
            "version": version if own_kind else kind.version,
            "kind": own_kind or kind.kind,
        }
        subresources.append({"subresource": name, "responseKind": answer, "verbs": list(verbs)})
    if subresources:
        entry["subresources"] = subresources
    return entry


def _aggregated(request: Request, registry: Registry, path: str, version: str) -> Response:
    """With an ETag, so that clients that know the document are spared it (304)."""
    body = _aggregated_document(registry, path, version)
    tag = f'"{hashlib.sha512(body).hexdigest()[:128].upper()}"'
    headers = (("ETag", tag), ("Vary", "Accept"), ("Cache-Control", "public"))
    media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", media, headers)
    return Response(200, body, media, headers)
