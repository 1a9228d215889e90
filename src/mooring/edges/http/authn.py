"""Who asks? From a client certificate (CN, O) or a service account's token, which a WebSocket may bring as a protocol.

Tokens are upstream's bound service-account tokens (KEP-1205): a JWT signed by the cluster's key, dead as soon as the
ServiceAccount, or the Pod, Secret or Node it is bound to, is gone or is another of the same name. Signatures are checked once a
token, the rest at every request.
"""

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key, load_pem_public_key
from jwt.algorithms import get_default_algorithms
from msgspec import Struct, field

from mooring.apiserver.contract import User
from mooring.model.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from mooring.model.meta import Meta
from mooring.store.snapshot import Snapshot

AUTHENTICATED = "system:authenticated"
DELETED_POD_LEEWAY = timedelta(seconds=60)
"""A deleted pod's token lives a little on, for what it says while it ends (upstream: serviceaccount/claims.go)."""

BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."
"""A WebSocket subprotocol that carries a token, for browsers, which can send no header with one."""
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")

Verify = Callable[[str, Snapshot, datetime], User]
"""Who holds this bearer token? Raises Rejected."""


class Rejected(ValueError):
    """The token is not good. The text says why, for the log; the client hears only 'Unauthorized'."""


def certificate_user(certificate: Mapping[str, Any]) -> User | None:
    """The user a verified client certificate names, in ssl.getpeercert()'s shape; None without a common name."""
    names: list[tuple[str, str]] = [pair for group in certificate.get("subject", ()) for pair in group]
    common = next((value for name, value in names if name == "commonName"), "")
    groups = tuple(value for name, value in names if name == "organizationName")
    return User(common, (*groups, AUTHENTICATED)) if common else None


def protocol_token(headers: Mapping[str, str]) -> str:
    """The token among the subprotocols of a WebSocket request, '' if there is none. Raises Rejected.

    As authentication/request/websocket: another protocol has to be there, for this one is never answered with.
    """
    if headers.get("upgrade", "").lower() != "websocket" or BEARER_PROTOCOL not in headers.get("sec-websocket-protocol", ""):
        return ""
    offered = [each.strip() for each in headers["sec-websocket-protocol"].split(",")]
    found = [each.removeprefix(BEARER_PROTOCOL) for each in offered if each.startswith(BEARER_PROTOCOL)]
    if len(found) > 1:
        raise Rejected("multiple base64.bearer.authorization tokens specified")
    token = "".join(map(_from_base64url, found))
    if token and len(offered) == 1:
        raise Rejected("missing additional subprotocol")
    return token


def _from_base64url(text: str) -> str:
    if not _BASE64URL.fullmatch(text):
        raise Rejected("invalid base64.bearer.authorization token encoding")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except binascii.Error:
        raise Rejected("invalid base64.bearer.authorization token encoding") from None
    except UnicodeDecodeError:
        raise Rejected("invalid base64.bearer.authorization token") from None


class _Reference(Struct, frozen=True):
    name: str
    uid: str = ""


class _Bound(Struct, frozen=True):
    namespace: str
    serviceaccount: _Reference
    pod: _Reference | None = None
    secret: _Reference | None = None
    node: _Reference | None = None


class _Claims(Struct, frozen=True):
    sub: str
    iss: str
    aud: str | list[str]
    exp: float
    iat: float
    nbf: float
    kubernetes: _Bound = field(name="kubernetes.io")
    jti: str = ""


class _Stored(Struct, frozen=True):
    metadata: Meta


_stored = msgspec.json.Decoder(_Stored)


PublicKey = EllipticCurvePublicKey | RSAPublicKey
_END = b"-----END PUBLIC KEY-----"


class ServiceAccountTokens:
    """Signs tokens with one key, verifies them with it and with those before it: ES256 by an EC key, RS256 by an RSA key.

    Which key it was is in a token's `kid`, a hash of the public one."""

    def __init__(
        self, private_pem: bytes, issuer: str, audiences: tuple[str, ...] = (), remembered: int = 4096, retired: bytes = b""
    ) -> None:
        """`audiences` are those the API server answers to, the issuer when empty. `remembered` bounds checked signatures.
        `retired` are public keys, PEM. Raises ValueError."""
        self._issuer = issuer
        self._audiences = frozenset(audiences or (issuer,))
        self._remembered = remembered
        self.use(private_pem, retired)

    def use(self, private_pem: bytes, retired: bytes = b"") -> None:
        """Other keys from now on. Raises ValueError, and all stays as it was."""
        key = load_pem_private_key(private_pem, None)
        if not isinstance(key, EllipticCurvePrivateKey | RSAPrivateKey):
            raise ValueError("a service-account key is an EC or an RSA key")
        public = [key.public_key(), *(_public(part + _END) for part in retired.split(_END) if part.strip())]
        self._private, self._algorithm, self._key_id = key, _algorithm(public[0]), _key_id(public[0])
        self._public = {_key_id(each): each for each in public}
        self._checked: OrderedDict[str, _Claims] = OrderedDict()

    def key_set(self) -> list[dict[str, Any]]:
        """The public keys as JSON Web Keys, that which signs first: Settings.token_keys."""
        return [_json_web_key(kid, key) for kid, key in self._public.items()]

    def sign(self, claims: dict[str, Any]) -> str:
        """A compact JWT of these claims, which are taken as they are: Settings.token_signer."""
        return jwt.encode(claims, self._private, self._algorithm, headers={"kid": self._key_id})

    def verify(self, token: str, snapshot: Snapshot, now: datetime) -> User:
        """Who holds the token. Raises Rejected: bad signature, issuer, audience or time; account or pod gone or another."""
        return self.review(token, snapshot, now)[0]

    def review(
        self, token: str, snapshot: Snapshot, now: datetime, audiences: tuple[str, ...] = ()
    ) -> tuple[User, tuple[str, ...]]:
        """Who holds the token, and for which of `audiences` (the server's own when empty) it is: Settings.token_verifier."""
        claims = self._checked.get(token) or self._check_signature(token)
        at = now.timestamp()
        given = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        good_for = tuple(each for each in given if each in (audiences or self._audiences))
        bound = claims.kubernetes
        if claims.iss != self._issuer or not good_for:
            raise Rejected("token is for another issuer or audience")
        if not claims.nbf <= at < claims.exp:
            raise Rejected("token has expired or is not valid yet")
        if claims.sub != f"system:serviceaccount:{bound.namespace}:{bound.serviceaccount.name}":
            raise Rejected("token's subject is not its service account")
        _must_live(snapshot, SERVICE_ACCOUNT, bound.namespace, bound.serviceaccount, now)
        if bound.pod:
            _must_live(snapshot, POD, bound.namespace, bound.pod, now)
        if bound.secret:
            _must_live(snapshot, SECRET, bound.namespace, bound.secret, now)
        if bound.node and not bound.pod:  # a Pod's token names its node; it is the Pod that it is bound to
            _must_live(snapshot, NODE, "", bound.node, now)
        return _user(claims), good_for

    def _check_signature(self, token: str) -> _Claims:
        # PyJWT checks the signature alone: times are ours to check, against the caller's clock and at every use.
        options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False, "verify_iss": False}
        try:
            key = self._public[jwt.get_unverified_header(token)["kid"]]
            claims = msgspec.convert(jwt.decode(token, key, [_algorithm(key)], options=options), _Claims)
        except KeyError as error:
            raise Rejected("token is not by one of our keys") from error
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError) as error:
            raise Rejected(f"token is not valid: {error}") from error
        self._checked[token] = claims
        if len(self._checked) > self._remembered:
            self._checked.popitem(last=False)
        return claims


def _public(pem: bytes) -> PublicKey:
    key = load_pem_public_key(pem.strip())
    if not isinstance(key, PublicKey):
        raise ValueError("a service-account key is an EC or an RSA key")
    return key


def _algorithm(key: PublicKey) -> str:
    return "RS256" if isinstance(key, RSAPublicKey) else "ES256"


def _key_id(key: PublicKey) -> str:
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[:32]


def _json_web_key(kid: str, key: PublicKey) -> dict[str, Any]:
    fields: dict[str, Any] = get_default_algorithms()[_algorithm(key)].to_jwk(key, as_dict=True)  # type: ignore[no-untyped-call]
    return {"use": "sig", "kty": fields["kty"], "kid": kid, "alg": _algorithm(key)} | {
        name: fields[name] for name in ("crv", "x", "y", "n", "e") if name in fields
    }


def _must_live(snapshot: Snapshot, kind: Kind, namespace: str, reference: _Reference, now: datetime) -> None:
    record = snapshot.get(kind.key(namespace, reference.name))
    named = f"{kind.singular} {namespace}/{reference.name}" if namespace else f"{kind.singular} {reference.name}"
    if record is None:
        raise Rejected(f"{named} is gone")
    metadata = _stored.decode(record.value).metadata
    if metadata.uid != reference.uid:
        raise Rejected(f"{named} is another of the same name")
    if metadata.deletion_timestamp and now > metadata.deletion_timestamp + DELETED_POD_LEEWAY:
        raise Rejected(f"{named} has been deleted")


def _user(claims: _Claims) -> User:
    bound = claims.kubernetes
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{bound.namespace}", AUTHENTICATED)
    extra: dict[str, tuple[str, ...]] = {}
    if claims.jti:
        extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims.jti}",)
    if bound.pod:
        extra["authentication.kubernetes.io/pod-name"] = (bound.pod.name,)
        extra["authentication.kubernetes.io/pod-uid"] = (bound.pod.uid,)
    if bound.node:
        extra["authentication.kubernetes.io/node-name"] = (bound.node.name,)
        if bound.node.uid:
            extra["authentication.kubernetes.io/node-uid"] = (bound.node.uid,)
    return User(claims.sub, groups, bound.serviceaccount.uid, extra)
