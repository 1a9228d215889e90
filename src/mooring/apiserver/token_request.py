"""May I have a token for this service account? POST serviceaccounts/<name>/token (authentication.k8s.io/v1 TokenRequest).

Claims: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
"""

from datetime import timedelta
from typing import Any

from mooring.apiserver import errors, metadata, read, render
from mooring.apiserver.admission import chain
from mooring.apiserver.admission.operation import CREATE
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Response
from mooring.apiserver.shape import built_in
from mooring.apiserver.strategy import Document, FieldError
from mooring.model import codec
from mooring.model.kinds import NODE, POD, SECRET, Kind

TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest", True)
_DEFAULT_SECONDS = 3600
_MIN_SECONDS = 600
_MAX_SECONDS = 1 << 32


def create(call: Call) -> Response:
    """A signed token, bound to a Pod, Secret or Node when `spec.boundObjectRef` names one. Nothing is stored."""
    received = call.receive(TOKEN_REQUEST, built_in(TOKEN_REQUEST))
    request = received.document
    account = call.resource.load(read.existing(call).value)
    given = request["metadata"].get("name")
    if given not in (None, "", call.name):
        raise errors.bad_request(f"serviceaccount name in URL ({call.name}) does not match the name in the request: {given}")
    request = chain.review(call, CREATE, request, None, TOKEN_REQUEST)
    spec = request.setdefault("spec", {})
    seconds = spec.setdefault("expirationSeconds", _DEFAULT_SECONDS)
    _check_seconds(call, seconds)
    audiences = spec.get("audiences") or [call.env.settings.issuer]
    spec["audiences"] = audiences
    bound = _bound(call, spec.get("boundObjectRef") or {})
    expires = call.env.now + timedelta(seconds=seconds)
    identity = {"name": call.name, "uid": account["metadata"]["uid"]}
    issued = int(call.env.now.timestamp())
    claims = {
        "iss": call.env.settings.issuer,
        "sub": f"system:serviceaccount:{call.namespace}:{call.name}",
        "aud": audiences,
        "iat": issued,
        "nbf": issued,
        "exp": issued + seconds,
        "jti": metadata.new_uid(call.env.rng),
        "kubernetes.io": {"namespace": call.namespace, "serviceaccount": identity} | bound,
    }
    sign = call.env.settings.token_signer
    if sign is None:
        raise errors.internal("this server has no key to sign service account tokens with")
    request["metadata"] = {
        "name": call.name, "namespace": call.namespace, "creationTimestamp": metadata.timestamp(call.env.now)
    }  # fmt: skip
    request["status"] = {"token": sign(claims), "expirationTimestamp": metadata.timestamp(expires)}
    return render.plain(call.request, request, 201, render.warning_headers((*received.warnings, *call.told)))


def _check_seconds(call: Call, seconds: int) -> None:
    why = ""
    if seconds < _MIN_SECONDS:
        why = "may not specify a duration less than 10 minutes"
    elif seconds > _MAX_SECONDS:
        why = "may not specify a duration larger than 2^32 seconds"
    if why:
        message = f"Invalid value: {seconds}: {why}"
        raise errors.invalid(TOKEN_REQUEST, call.name, [FieldError("FieldValueInvalid", "spec.expirationSeconds", message)])


def _bound(call: Call, reference: Document) -> dict[str, Any]:
    """The claims of the object the token lives and dies with. Raises StatusError 400, 404, 409."""
    if not reference:
        return {}
    kind = {("v1", "Pod"): POD, ("v1", "Secret"): SECRET, ("v1", "Node"): NODE}.get(
        (reference.get("apiVersion", ""), reference.get("kind", ""))
    )
    if kind is None:
        named = f"{reference.get('apiVersion', '')}, Kind={reference.get('kind', '')}"
        raise errors.bad_request(f"cannot bind token for serviceaccount {errors.quote(call.name)} to object of type {named}")
    name = reference.get("name", "")
    found = _document(call, kind, name)
    if found is None:
        raise errors.not_found(kind, name)
    uid = found["metadata"]["uid"]
    if reference.get("uid") not in (None, "", uid):
        why = (
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(kind, name, why, subject=kind.kind)
    claims: dict[str, Any] = {kind.singular: {"name": name, "uid": uid}}
    if kind == POD:
        spec = found.get("spec") or {}
        if spec.get("serviceAccountName") != call.name:
            account = errors.quote(call.name)
            why = f"cannot bind token for serviceaccount {account} to pod running with different serviceaccount name."
            raise errors.bad_request(why)
        if node := spec.get("nodeName"):
            known = _document(call, NODE, node)
            claims["node"] = {"name": node} | ({"uid": known["metadata"]["uid"]} if known else {})
    return claims


def _document(call: Call, kind: Kind, name: str) -> Document | None:
    record = call.snapshot.get(kind.key(call.namespace, name))
    document: Document | None = codec.decode(record.value) if record else None
    return document
