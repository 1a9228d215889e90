"""May somebody do something, and who am I? The reviews of authorization.k8s.io and authentication.k8s.io: asked, never stored.

https://kubernetes.io/docs/reference/kubernetes-api/authorization-resources/
"""

from typing import Any

from mooring.apiserver import access, errors, render
from mooring.apiserver.authorization import node, rbac, rules
from mooring.apiserver.authorization.attributes import Attributes
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Response, User
from mooring.apiserver.selectors import pinned
from mooring.apiserver.strategy import FieldError

Document = dict[str, Any]


def subject_access(call: Call) -> Response:
    """SubjectAccessReview, and LocalSubjectAccessReview for one namespace."""
    review, warnings = _received(call)
    spec = review.setdefault("spec", {})
    _check(call, review, spec, subject=True)
    user = User(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), _extra(spec))
    return _answered(call, review, user, spec, warnings)


def self_subject_access(call: Call) -> Response:
    review, warnings = _received(call)
    spec = review.setdefault("spec", {})
    _check(call, review, spec, subject=False)
    return _answered(call, review, call.request.user, spec, warnings)


def _received(call: Call) -> tuple[Document, tuple[str, ...]]:
    received = call.receive(call.kind, call.resource.shape)
    return received.document, received.warnings


def _extra(spec: Document) -> dict[str, tuple[str, ...]]:
    return {key: tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}


def _check(call: Call, review: Document, spec: Document, subject: bool) -> None:
    found: list[FieldError] = []
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    value = "Invalid value: null: "
    if resource is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        found.append(FieldError("FieldValueInvalid", "spec.nonResourceAttributes", value + why))
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        found.append(FieldError("FieldValueInvalid", "spec.resourceAttributes", value + why))
    if subject and not spec.get("user") and not spec.get("groups"):
        why = 'Invalid value: "": at least one of user or group must be specified'
        found.append(FieldError("FieldValueInvalid", "spec.user", why))
    if call.namespace and resource is not None and resource.get("namespace") != call.namespace:
        given = errors.quote(resource.get("namespace", ""))
        why = f"spec.resourceAttributes.namespace must match namespace: {given} in the path is {call.namespace}"
        raise errors.bad_request(why)
    if call.namespace and path is not None:
        why = f"{value}disallowed on this kind of request"
        found.append(FieldError("FieldValueInvalid", "spec.nonResourceAttributes", why))
    if found:
        raise errors.invalid(call.kind, "", found)


def _answered(call: Call, review: Document, user: User, spec: Document, warnings: tuple[str, ...]) -> Response:
    if (path := spec.get("nonResourceAttributes")) is not None:
        asked = Attributes(user, path.get("verb", "").lower(), path=path.get("path", ""))
    else:
        about = spec["resourceAttributes"]
        asked = Attributes(
            user, about.get("verb", ""), about.get("group", ""), about.get("version", ""), about.get("resource", "") or "",
            about.get("subresource", ""), about.get("namespace", ""), about.get("name", ""), fields=_fields(about),
        )  # fmt: skip
    verdict = access.authorize(asked, call.snapshot)
    status: Document = {"allowed": verdict.allowed}
    if verdict.reason:
        status["reason"] = verdict.reason
    review["status"] = status
    review["metadata"] = {"creationTimestamp": None} | ({"namespace": call.namespace} if call.namespace else {})
    return render.plain(call.request, review, 201, render.warning_headers(warnings))


def _fields(about: Document) -> tuple[tuple[str, str], ...]:
    """As far as a fieldSelector says that a field has one value."""
    selector = about.get("fieldSelector") or {}
    if selector.get("rawSelector"):
        return pinned(selector["rawSelector"])
    said = ((one.get("key", ""), one.get("operator"), one.get("values") or []) for one in selector.get("requirements") or ())
    return tuple((key, values[0]) for key, operator, values in said if operator == "In" and len(values) == 1)


def self_subject_rules(call: Call) -> Response:
    """Everything that the user may do in a namespace, as far as rules tell."""
    review, warnings = _received(call)
    namespace = (review.get("spec") or {}).get("namespace", "")
    if not namespace:
        raise errors.bad_request("no namespace on request")
    user = call.request.user
    held, failures = rbac.index(call.snapshot).rules(user, namespace)
    if access.MASTERS in user.groups:
        held = [rules.Rule(("*",), ("*",), ("*",)), rules.Rule(("*",), paths=("*",)), *held]
    if node.node_name(user):
        held, failures = [*node.RULES, *held], [*failures, "node authorizer does not support user rule resolution"]
    shown = [rules.document(each) for each in held]
    review["metadata"] = {"creationTimestamp": None}
    review["status"] = {
        "resourceRules": [each for each in shown if "resources" in each],
        "nonResourceRules": [each for each in shown if "nonResourceURLs" in each],
        "incomplete": bool(failures),
    }
    if failures:
        review["status"]["evaluationError"] = ", ".join(dict.fromkeys(failures))
    return render.plain(call.request, review, 201, render.warning_headers(warnings))


def self_subject(call: Call) -> Response:
    """Who the server takes the sender for: `kubectl auth whoami`."""
    review, warnings = _received(call)
    review["metadata"] = {"creationTimestamp": call.env.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    review["status"] = {"userInfo": user_info(call.request.user)}
    return render.plain(call.request, review, 201, render.warning_headers(warnings))


def token(call: Call) -> Response:
    """TokenReview: is this token good, for one of these audiences, and whose is it?"""
    review, warnings = _received(call)
    spec = review.get("spec") or {}
    if not spec.get("token"):
        raise errors.bad_request("token is required for TokenReview in authentication")
    review["metadata"] = {"creationTimestamp": None}
    verify = call.env.settings.token_verifier
    if verify is None:
        raise errors.internal("this server verifies no tokens")
    audiences = tuple(spec.get("audiences") or ())
    try:
        user, good_for = verify(spec["token"], call.snapshot, call.env.now, audiences)
    except ValueError as error:
        review["status"] = {"user": {}, "error": str(error)}
    else:
        review["status"] = {"authenticated": True, "user": user_info(user)}
        if good_for:
            review["status"]["audiences"] = list(good_for)
    return render.plain(call.request, review, 201, render.warning_headers(warnings))


def user_info(user: User) -> Document:
    """authentication.k8s.io/v1 UserInfo; admission reviews carry it too."""
    info: Document = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
