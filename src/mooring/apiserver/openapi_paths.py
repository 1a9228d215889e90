"""Which paths and operations do the OpenAPI documents name? Those of the table of kinds, as upstream names and words them.

An answer's declared codes are upstream's; what is refused is the `default`: a Status. Media types are those that are in fact
read and answered (negotiate.py), so neither CBOR nor answers in protobuf.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from mooring.apiserver import openapi_parameters as parameters
from mooring.apiserver.delete import RETURNED
from mooring.apiserver.discovery import subresource_of, verbs_of
from mooring.apiserver.negotiate import JSON, PROTOBUF, YAML
from mooring.apiserver.openapi_schemas import (
    API_GROUP,
    API_GROUP_LIST,
    API_RESOURCE_LIST,
    API_VERSIONS,
    PATCH,
    SUBRESOURCE_TYPES,
    V2,
    VERSION,
    Dialect,
    Json,
    definition_name,
    gvk,
    own_name,
)
from mooring.model.kinds import KINDS, Kind

STREAM = "application/json;stream=watch"
_READ, _ANSWERED, _WATCHED = (JSON, YAML, PROTOBUF), (JSON, YAML), (JSON, YAML, STREAM)
_ANYTHING = ("*/*",)
_PATCHES = ("application/json-patch+json", "application/merge-patch+json")
_STRATEGIC, _APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
_STATUS, _OPTIONS, _EVENT = (definition_name(f"meta.v1.{name}") for name in ("Status", "DeleteOptions", "WatchEvent"))
_STRING = "string"
"""Said in place of a type where the answer is text, or whatever another server says."""
_METHODS = {"create": "post", "get": "get", "update": "put", "patch": "patch", "delete": "delete"}
_VERB_WORDS = {"post": "create", "get": "read", "put": "replace", "patch": "patch", "delete": "delete"}
_CONNECTED = ("exec", "attach", "portforward", "proxy")
_PROXY_METHODS = ("get", "post", "put", "patch", "delete", "options", "head")
_OLD = "deprecated: use the 'watch' parameter with a list operation instead"
_BUILT_IN = frozenset(KINDS)


class _Operation(Struct, frozen=True):
    """`answers`: the type (or `string`) of each code. `body`: its type, or ''."""

    path: str
    method: str
    action: str
    identity: str
    words: str
    of: Json
    tag: str
    answers: tuple[tuple[str, str], ...]
    body: str = ""
    body_media: tuple[str, ...] = _READ
    produces: tuple[str, ...] = _ANSWERED
    query: tuple[str, ...] = ()
    shared: tuple[str, ...] = (parameters.PRETTY,)
    """Parameters of all methods of the path."""
    shared_of: str = ""
    named: str = ""
    """What `{name}` is the name of."""


def _codes(answer: str, *codes: str) -> tuple[tuple[str, str], ...]:
    return tuple((code, answer) for code in codes)


def _group_words(group: str, version: str) -> tuple[str, str]:
    """As operations' names and their tags have it: ('RbacAuthorizationV1', 'rbacAuthorization_v1')."""
    parts = [part for part in re.split(r"[^A-Za-z0-9]+", group.removesuffix(".k8s.io") or "core") if part]
    words = "".join(part[:1].upper() + part[1:] for part in parts)
    tag = words[:1].lower() + words[1:]
    return words + version[:1].upper() + version[1:], f"{tag}_{version}" if version else tag


class _Naming:
    """The names of one kind's operations."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.group, self.tag = _group_words(kind.group, kind.version)
        self.own = own_name(kind)
        self.gvk = gvk(kind.group, kind.version, kind.kind)
        self.scope = "Namespaced" if kind.namespaced else ""

    def name(self, verb: str, suffix: str = "", prefix: str = "", scoped: bool = True) -> str:
        return f"{verb}{self.group}{prefix}{self.scope if scoped else ''}{self.kind.kind}{suffix}"

    def operation(
        self,
        path: str,
        method: str,
        action: str,
        identity: str,
        words: str,
        answers: tuple[tuple[str, str], ...],
        body: str = "",
        **more: Any,
    ) -> _Operation:
        named = self.kind.kind
        return _Operation(path, method, action, identity, words, self.gvk, self.tag, answers, body, named=named, **more)


def _patch_types(kind: Kind) -> tuple[str, ...]:
    return (*_PATCHES, _STRATEGIC, _APPLY) if kind in _BUILT_IN else (*_PATCHES, _APPLY)


def _collection(kind: Kind) -> Iterator[_Operation]:
    names, verbs, word = _Naming(kind), verbs_of(kind), kind.kind
    own, path = names.own, kind.path("{namespace}" if kind.namespaced else "")
    lists = _codes(own + "List", "200")
    if "list" in verbs:
        said = f"list or watch objects of kind {word}"
        more: dict[str, Any] = {"query": parameters.LIST, "produces": _WATCHED}
        yield names.operation(path, "get", "list", names.name("list"), said, lists, **more)
        if kind.namespaced:
            name = names.name("list", "ForAllNamespaces", scoped=False)
            yield names.operation(kind.path(), "get", "list", name, said, lists, **more)
    if "create" in verbs:
        said = f"create a {word}"
        answers = _codes(own, "200", "201", "202")
        yield names.operation(path, "post", "post", names.name("create"), said, answers, own, query=parameters.WRITE)
    if "deletecollection" in verbs:
        said, query = f"delete collection of {word}", parameters.DELETE_COLLECTION
        name, answers = names.name("delete", prefix="Collection"), _codes(_STATUS, "200")
        yield names.operation(path, "delete", "deletecollection", name, said, answers, _OPTIONS, query=query)


def _object(kind: Kind) -> Iterator[_Operation]:
    names, word = _Naming(kind), kind.kind
    own, path = names.own, kind.path("{namespace}" if kind.namespaced else "", "{name}")
    yield names.operation(
        path, "get", "get", names.name("read"), f"read the specified {word}", _codes(own, "200"), query=parameters.GET
    )
    changed = _codes(own, "200", "201")
    said = f"replace the specified {word}"
    yield names.operation(path, "put", "put", names.name("replace"), said, changed, own, query=parameters.WRITE)
    said, media = f"partially update the specified {word}", _patch_types(kind)
    yield names.operation(
        path, "patch", "patch", names.name("patch"), said, changed, PATCH, query=parameters.PATCH, body_media=media
    )
    gone = _codes(own if kind in RETURNED else _STATUS, "200", "202")
    said = f"delete a {word}"
    yield names.operation(path, "delete", "delete", names.name("delete"), said, gone, _OPTIONS, query=parameters.DELETE)


def _watches(kind: Kind) -> Iterator[_Operation]:
    """The paths before `watch` was a parameter."""
    names, root = _Naming(kind), kind.path().removesuffix(kind.plural)
    inside = f"{root}watch/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}watch/{kind.plural}"
    events = _codes(_EVENT, "200")
    shared: dict[str, Any] = {"shared": (parameters.PRETTY, *parameters.LIST), "produces": (JSON, STREAM)}
    many = f"watch individual changes to a list of {kind.kind}. {_OLD}."
    one = (
        f"watch changes to an object of kind {kind.kind}. {_OLD}, filtered to a single item with the 'fieldSelector' parameter."
    )
    yield names.operation(inside, "get", "watchlist", names.name("watch", "List"), many, events, **shared)
    yield names.operation(inside + "/{name}", "get", "watch", names.name("watch"), one, events, **shared)
    if kind.namespaced:
        name = names.name("watch", "ListForAllNamespaces", scoped=False)
        yield names.operation(f"{root}watch/{kind.plural}", "get", "watchlist", name, many, events, **shared)


def _subresource(kind: Kind, name: str) -> Iterator[_Operation]:
    """Long because it says of each method what it is called, takes and answers."""
    names, word = _Naming(kind), kind.kind
    path = kind.path("{namespace}" if kind.namespaced else "", "{name}", name)
    own_kind, group, version, verbs = subresource_of(kind, name)
    of = gvk(group, version, own_kind) if own_kind else names.gvk
    suffix, shared = "".join(part.capitalize() for part in name.split("_")), parameters.OF_SUBRESOURCE.get(name, ())
    if name in _CONNECTED:
        methods = _PROXY_METHODS if name == "proxy" else tuple(_METHODS[verb] for verb in verbs)
        for below, end in (("", ""), ("/{path}", "WithPath"))[: 2 if name == "proxy" else 1]:
            for method in methods:
                identity = names.name("connect", suffix + end, method.capitalize())
                said = f"connect {method.upper()} requests to {name} of {word}"
                yield _Operation(
                    path + below, method, "connect", identity, said, of, names.tag, _codes(_STRING, "200"),
                    produces=_ANYTHING, shared=shared, shared_of=name, named=own_kind,
                )  # fmt: skip
        return
    if name == "log":
        said, answers = f"read log of the specified {word}", _codes(_STRING, "200")
        yield _Operation(
            path, "get", "get", names.name("read", "Log"), said, of, names.tag, answers,
            produces=("text/plain", *_ANSWERED), shared=shared, shared_of=name, named=word,
        )  # fmt: skip
        return
    other = SUBRESOURCE_TYPES.get(name)
    own = definition_name(other) if other else names.own
    for verb in verbs:
        method = _METHODS[verb]
        start = {"get": "read", "put": "replace", "patch": "partially update"}.get(method)
        said = f"{start} {name} of the specified {word}" if start else f"create {name} of a {word}"
        body = {"get": "", "patch": PATCH}.get(method, own)
        codes = {"get": ("200",), "post": ("200", "201", "202")}.get(method, ("200", "201"))
        yield _Operation(
            path, method, method, names.name(_VERB_WORDS[method], suffix), said, of, names.tag, _codes(own, *codes), body,
            _patch_types(kind) if method == "patch" else _READ, named=word if start or not own_kind else own_kind,
            query={"get": parameters.GET, "patch": parameters.PATCH}.get(method, parameters.WRITE),
        )  # fmt: skip


def _operations(kinds: Iterable[Kind]) -> Iterator[_Operation]:
    for kind in kinds:
        yield from _collection(kind)
        if not kind.stored:
            continue
        yield from _object(kind)
        if kind in _BUILT_IN:
            yield from _watches(kind)
        for name in kind.subresources:
            yield from _subresource(kind, name)


# In the words of a dialect ----------------------------------------------------------------------------------------------


def _response(words: str, answer: str, media: tuple[str, ...], dialect: Dialect) -> Json:
    schema = {"type": "string"} if answer == _STRING else dialect.reference(answer)
    shown: Json = {"schema": schema} if dialect is V2 else {"content": {each: {"schema": schema} for each in media}}
    return {"description": words, **shown}


_CODES = {"200": "OK", "201": "Created", "202": "Accepted"}


def _described(operation: _Operation, dialect: Dialect) -> Json:
    shown: Json = {"description": operation.words, "operationId": operation.identity, "tags": [operation.tag]}
    taken = parameters.in_query(operation.query, dialect)
    if operation.body:
        reference, required = dialect.reference(operation.body), operation.method != "delete"
        if dialect is V2:
            taken.append({"name": "body", "in": "body", "schema": reference} | ({"required": True} if required else {}))
            shown["consumes"] = list(operation.body_media)
        else:
            content = {each: {"schema": reference} for each in operation.body_media}
            shown["requestBody"] = {"content": content} | ({"required": True} if required else {})
    if dialect is V2:
        shown["produces"] = list(operation.produces)
    shown["parameters"] = taken
    responses = {code: _response(_CODES[code], answer, operation.produces, dialect) for code, answer in operation.answers}
    responses["401"] = {"description": "Unauthorized"}
    responses["default"] = _response("refused, and why", _STATUS, _ANSWERED, dialect)
    shown["responses"] = responses
    if operation.action:
        shown["x-kubernetes-action"] = operation.action
        shown["x-kubernetes-group-version-kind"] = operation.of
    return shown


def _item(operation: _Operation, dialect: Dialect) -> Json:
    shared = parameters.in_path(operation.path, operation.named, dialect)
    shared += parameters.in_query(operation.shared, dialect, operation.shared_of)
    return {"parameters": shared} if shared else {}


def _written(operations: Iterable[_Operation], dialect: Dialect) -> Json:
    found: Json = {}
    for operation in operations:
        item = found.setdefault(operation.path, None) or _item(operation, dialect)
        item[operation.method] = _described(operation, dialect)
        found[operation.path] = item
    return dict(sorted(found.items()))


def paths(kinds: Iterable[Kind], dialect: Dialect) -> Json:
    """Everything that can be asked of kinds."""
    return _written(_operations(kinds), dialect)


# Discovery --------------------------------------------------------------------------------------------------------------


def _discovery(path: str, identity: str, words: str, tag: str, answer: str) -> _Operation:
    answers = _codes(definition_name(answer), "200")
    return _Operation(path, "get", "", identity, words, {}, tag, answers, shared=())


def discovery_paths(group_version: str, dialect: Dialect) -> Json:
    """Of 'api', 'apis', 'version', 'apis/apps' or 'apis/apps/v1': what is asked before kinds are known."""
    _, group, version = (*group_version.split("/"), "", "")[:3]
    if group_version == "version":
        found = _discovery("/version/", "getCodeVersion", "get the version information for this server", "version", VERSION)
    elif group_version == "apis":
        found = _discovery("/apis/", "getAPIVersions", "get available API versions", "apis", API_GROUP_LIST)
    elif group_version == "api":
        found = _discovery("/api/", "getCoreAPIVersions", "get available API versions", "core", API_VERSIONS)
    elif version or group_version.startswith("api/"):
        words, tag = _group_words(group if version else "", version or group)
        said = "get available resources"
        found = _discovery(f"/{group_version}/", f"get{words}APIResources", said, tag, API_RESOURCE_LIST)
    else:
        words, tag = _group_words(group, "")
        found = _discovery(f"/{group_version}/", f"get{words}APIGroup", "get information of a group", tag, API_GROUP)
    return _written((found,), dialect)


def discovery_type(group_version: str) -> str:
    """The type of the answer where that document has no kinds."""
    return {"version": VERSION, "apis": API_GROUP_LIST, "api": API_VERSIONS}.get(group_version, API_GROUP)
