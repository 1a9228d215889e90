"""What is written down of a request? A policy says how much; an audit Event (audit.k8s.io/v1) holds it.

https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/ and https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from mooring.apiserver.authorization.attributes import Attributes, of_request
from mooring.apiserver.authorization.reviews import user_info
from mooring.apiserver.body import parse
from mooring.apiserver.contract import Request
from mooring.apiserver.errors import StatusError
from mooring.apiserver.negotiate import JSON, PROTOBUF, YAML
from mooring.apiserver.paths import resource_target, verb_of
from mooring.apiserver.pieces import Pieces
from mooring.apiserver.registry import registry
from mooring.model import codec
from mooring.store.snapshot import Snapshot

Document = dict[str, Any]

LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
RECEIVED, STARTED, COMPLETE, PANIC = STAGES


class BadPolicy(ValueError):
    """The policy file says something that is no policy: which field, and which rule."""


class Resources(Struct, frozen=True):
    group: str = ""
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Rule(Struct, frozen=True):
    """What it names must fit; what it leaves empty fits everything."""

    level: str
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[Resources, ...] = ()
    namespaces: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    omitted: frozenset[str] = frozenset()
    omits_managed_fields: bool = False

    def fits(self, asked: Attributes) -> bool:
        user = asked.user
        if (self.users and user.name not in self.users) or (self.groups and not set(self.groups) & set(user.groups)):
            return False
        if self.verbs and asked.verb not in self.verbs:
            return False
        if not self.resources and not self.namespaces and not self.paths:
            return True
        if not asked.resource:
            return any(_path_fits(pattern, asked.path) for pattern in self.paths)
        if not self.resources and not self.namespaces:
            return False
        if self.namespaces and asked.namespace not in self.namespaces:
            return False
        return not self.resources or any(_resource_fits(one, asked) for one in self.resources)


def _path_fits(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def _resource_fits(one: Resources, asked: Attributes) -> bool:
    if one.group != asked.group or (one.names and asked.name not in one.names):
        return False
    wanted = {asked.combined, "*"} | ({f"*/{asked.subresource}", f"{asked.resource}/*"} if asked.subresource else set())
    return not one.resources or bool(wanted & set(one.resources))


class Policy(Struct, frozen=True):
    """The first rule that fits decides; without one nothing is written."""

    rules: tuple[Rule, ...]

    def rule(self, asked: Attributes) -> Rule | None:
        found = next((rule for rule in self.rules if rule.fits(asked)), None)
        return found if found is not None and found.level != "None" else None


class _Resources(Struct, forbid_unknown_fields=True):
    group: str = ""
    resources: list[str] = []
    resourceNames: list[str] = []


class _Rule(Struct, forbid_unknown_fields=True, rename="camel"):
    level: str
    users: list[str] = []
    user_groups: list[str] = []
    verbs: list[str] = []
    resources: list[_Resources] = []
    namespaces: list[str] = []
    non_resource_urls: list[str] = msgspec.field(name="nonResourceURLs", default_factory=list)
    omit_stages: list[str] = []
    omit_managed_fields: bool | None = None


class _Policy(Struct, forbid_unknown_fields=True, rename="camel"):
    api_version: str
    kind: str
    rules: list[_Rule]
    metadata: dict[str, Any] = {}
    omit_stages: list[str] = []
    omit_managed_fields: bool = False


def policy(document: Any) -> Policy:
    """Of a Policy document (audit.k8s.io/v1). Raises BadPolicy."""
    try:
        given = msgspec.convert(document, _Policy)
    except msgspec.ValidationError as error:
        raise BadPolicy(str(error)) from None
    if (given.api_version, given.kind) != ("audit.k8s.io/v1", "Policy"):
        raise BadPolicy("apiVersion and kind must be audit.k8s.io/v1 and Policy")
    if not given.rules:
        raise BadPolicy("rules: Required value: at least one rule")
    return Policy(tuple(_rule(index, one, given) for index, one in enumerate(given.rules)))


def _rule(index: int, one: _Rule, whole: _Policy) -> Rule:
    where = f"rules[{index}]"
    if one.level not in LEVELS:
        raise BadPolicy(f"{where}.level: Unsupported value: {one.level!r}: supported values: {', '.join(LEVELS)}")
    omitted = frozenset((*one.omit_stages, *whole.omit_stages))
    if wrong := omitted - set(STAGES):
        raise BadPolicy(f"{where}.omitStages: Invalid value: {sorted(wrong)}: must be among {', '.join(STAGES)}")
    if one.non_resource_urls and (one.resources or one.namespaces):
        raise BadPolicy(f"{where}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
    resources = tuple(Resources(each.group, tuple(each.resources), tuple(each.resourceNames)) for each in one.resources)
    managed = whole.omit_managed_fields if one.omit_managed_fields is None else one.omit_managed_fields
    return Rule(
        one.level, tuple(one.users), tuple(one.user_groups), tuple(one.verbs), resources, tuple(one.namespaces),
        tuple(one.non_resource_urls), omitted, managed,
    )  # fmt: skip


class About(Struct, frozen=True):
    """What the Events of one request have in common."""

    asked: Attributes
    request: Request
    uri: str
    source: str
    audit_id: str
    received: str
    """RFC 3339 with microseconds."""


def asked_of(request: Request, snapshot: Snapshot) -> Attributes:
    target = resource_target(request.path, registry(snapshot))
    if target is None:
        return of_request(request, None, "")
    return of_request(request, target, verb_of(request.method, target, request.query))


def event(
    about: About,
    rule: Rule,
    stage: str,
    now: str,
    code: int = 0,
    body: bytes | Pieces = b"",
    notes: Mapping[str, str] | None = None,
    acting: Request | None = None,
) -> bytes:
    """One Event, JSON. `acting` is the request as that of the user it impersonates."""
    asked, request = about.asked, about.request
    found: Document = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": rule.level,
        "auditID": about.audit_id,
        "stage": stage,
        "requestURI": about.uri,
        "verb": asked.verb,
        "user": user_info(request.user) if request.user.name else {},
        "sourceIPs": [about.source] if about.source else [],
        "userAgent": request.headers.get("user-agent", ""),
        "requestReceivedTimestamp": about.received,
        "stageTimestamp": now,
    }
    if acting is not None and acting.user is not request.user:
        found["impersonatedUser"] = user_info(acting.user)
    if asked.resource:
        found["objectRef"] = _reference(asked)
    if code:
        found["responseStatus"] = _status(code, body)
    if stage != RECEIVED and rule.level in ("Request", "RequestResponse") and request.body and asked.resource:
        found["requestObject"] = _object(request.body, request.headers.get("content-type", ""), rule)
    if rule.level == "RequestResponse" and body and code:
        found["responseObject"] = _object(bytes(body), JSON, rule)
    if notes:
        found["annotations"] = dict(notes)
    return codec.encode(found)


def _reference(asked: Attributes) -> Document:
    fields = {
        "resource": asked.resource, "namespace": asked.namespace, "name": asked.name, "apiGroup": asked.group,
        "apiVersion": asked.version, "subresource": asked.subresource,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value}


def _status(code: int, body: bytes | Pieces) -> Document:
    status: Document = {"metadata": {}, "code": code}
    if code >= 400:
        try:
            said = codec.decode(bytes(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return status
        if isinstance(said, dict):
            status |= {name: said[name] for name in ("status", "message", "reason") if isinstance(said.get(name), str)}
    return status


def _object(body: bytes, content_type: str, rule: Rule) -> Any:
    """The document, or that it is none. Secrets stay out of the log by the policy's level alone, as upstream."""
    try:
        document = _document(body, content_type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, StatusError):
        return {"kind": "Unknown", "apiVersion": "", "metadata": {}}
    if rule.omits_managed_fields and isinstance(document, dict):
        for each in (document, *(one for one in document.get("items") or () if isinstance(one, dict))):
            if isinstance(each.get("metadata"), dict):
                each["metadata"].pop("managedFields", None)
    return document


def _document(body: bytes, content_type: str) -> Any:
    media = content_type.partition(";")[0].strip().lower()
    if media == PROTOBUF:
        return parse(body, PROTOBUF, "")[0]
    try:
        return codec.decode(body)
    except msgspec.DecodeError:  # what calls itself YAML is JSON mostly, which is quicker to read
        if not media.endswith("yaml"):
            raise
    return parse(body, YAML, "")[0]
