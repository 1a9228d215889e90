"""What does the API answer? One pure function from a request and the state to an outcome that the HTTP edge carries out."""

from collections.abc import Callable, Mapping

from msgspec import structs

from mooring.apiserver import (
    access,
    binding,
    delete,
    errors,
    eviction,
    kubelet,
    patch,
    plain_paths,
    proxying,
    read,
    render,
    scale,
    token_request,
    watch,
    write,
)
from mooring.apiserver.admission import connecting
from mooring.apiserver.authorization import reviews
from mooring.apiserver.authorization.impersonation import effective
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Ask, Env, Outcome, Request, Response, Unanswered
from mooring.apiserver.errors import StatusError
from mooring.apiserver.paths import resource_target, verb_of
from mooring.apiserver.registry import registry
from mooring.model.kinds import (
    BINDING,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    TOKEN_REVIEW,
    Kind,
)
from mooring.store.snapshot import Snapshot

Handler = Callable[[Call], Outcome]

_UNSTORED: Mapping[Kind, Handler] = {
    TOKEN_REVIEW: reviews.token,
    SELF_SUBJECT_REVIEW: reviews.self_subject,
    SUBJECT_ACCESS_REVIEW: reviews.subject_access,
    LOCAL_SUBJECT_ACCESS_REVIEW: reviews.subject_access,
    SELF_SUBJECT_ACCESS_REVIEW: reviews.self_subject_access,
    SELF_SUBJECT_RULES_REVIEW: reviews.self_subject_rules,
    BINDING: binding.create,
}

_COLLECTION: Mapping[str, Handler] = {
    "list": read.list_,
    "watch": watch.watch,
    "create": write.create,
    "deletecollection": delete.delete_collection,
}
_OBJECT: Mapping[str, Handler] = {
    "get": read.get,
    "watch": watch.watch,
    "update": write.update,
    "patch": patch.patch,
    "delete": delete.delete,
}
_SUBRESOURCES: Mapping[str, Mapping[str, Handler]] = {
    "status": {"get": read.get, "update": write.update, "patch": patch.patch},
    "ephemeralcontainers": {"get": read.get, "update": write.update, "patch": patch.patch},
    "resize": {"get": read.get, "update": write.update, "patch": patch.patch},
    "finalize": {"update": write.update},
    "scale": {"get": scale.get, "update": scale.update, "patch": scale.patch_},
    "log": {"get": kubelet.log},
    "exec": {"get": kubelet.execute, "create": kubelet.execute},
    "attach": {"get": kubelet.attach, "create": kubelet.attach},
    "portforward": {"get": kubelet.port_forward, "create": kubelet.port_forward},
    "proxy": dict.fromkeys(("get", "create", "update", "patch", "delete", ""), proxying.proxy),
    "binding": {"create": binding.bind},
    "eviction": {"create": eviction.evict},
    "token": {"create": token_request.create},
}


def handle(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
    """Decides the request from the snapshot. Pure: called again with a newer snapshot after a Write met a Conflict."""
    try:
        return _decide(request, snapshot, env)
    except StatusError as error:
        return render.failure(request, error)
    except Unanswered as unknown:
        return Ask(unknown.questions)


def _decide(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
    request = effective(request, snapshot)
    served = registry(snapshot)
    target = resource_target(request.path, served)
    if target is None:
        if refusal := access.denial(request, None, "", snapshot, env):
            raise refusal
        return plain_paths.respond(request, served, env.settings)
    verb = verb_of(request.method, target, request.query)
    if refusal := access.denial(request, target, verb, snapshot, env):
        raise refusal
    if len(request.body) > env.settings.max_body:
        raise errors.too_large(f"limit is {env.settings.max_body}")
    if target.subresource:
        handlers = _SUBRESOURCES[target.subresource]
    else:
        handlers = _OBJECT if target.name else _COLLECTION
    kind = target.kind
    if not kind.stored:
        handlers = {} if target.name else {"create": _UNSTORED[kind]}
    handler = handlers.get(verb)
    if handler is None:
        raise errors.method_not_allowed(kind, verb or request.method)
    if verb == "create" and not target.name and not target.namespace and kind.namespaced:
        raise errors.method_not_allowed(kind, verb)
    call = Call(request, target, verb, snapshot, env)
    try:
        if target.subresource in connecting.CONNECTED:
            connecting.admit(call)
        outcome = handler(call)
    except StatusError as error:
        error.warnings = (*call.complaints, *call.told)
        raise
    if verb in ("get", "list", "watch") and target.resource.deprecation and isinstance(outcome, Response):
        headers = (*outcome.headers, *render.warning_headers([target.resource.deprecation]))
        return structs.replace(outcome, headers=headers)
    return outcome


def refusal(request: Request, snapshot: Snapshot, env: Env) -> Response | None:
    """What a request is refused for whatever its body says; None when its body is worth reading. Pure."""
    try:
        acting = effective(request, snapshot)
        target = resource_target(request.path, registry(snapshot))
        verb = verb_of(request.method, target, request.query) if target else ""
        denied = access.denial(acting, target, verb, snapshot, env)
    except StatusError as error:
        denied = error
    return render.failure(request, denied) if denied else None
