"""Does a token live as long as what it is bound to, for whom it was made, and can others verify it? With real signatures."""

import jwt
import msgspec
import pytest
from core_server import PODS, Server
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from mooring.apiserver.contract import ANONYMOUS, User
from mooring.edges.http.authn import Rejected, ServiceAccountTokens

SECRETS = "/api/v1/namespaces/default/secrets"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
ISSUER = "https://kubernetes.default.svc.cluster.local"
WEB = User("system:serviceaccount:default:web", ("system:serviceaccounts",))
KEY = ec.generate_private_key(ec.SECP256R1())


def pem(key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def server() -> Server:
    server = Server()
    server.add_default_roles()
    server.tokens = ServiceAccountTokens(pem(KEY), ISSUER)
    tokens = server.tokens
    server.settings = msgspec.structs.replace(
        server.settings, token_signer=tokens.sign, token_verifier=tokens.review, token_keys=tokens.key_set
    )
    assert server.create(ACCOUNTS, {"metadata": {"name": "web"}}).status == 201
    return server


def token(server: Server, kind: str = "", name: str = "", **spec) -> str:
    bound = {"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name}} if kind else {}
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec | bound}
    answer = server.create(f"{ACCOUNTS}/web/token", body)
    assert answer.status == 201, answer.message
    return answer.body["status"]["token"]


def holder(server: Server, token: str) -> User | None:
    """Who the API server takes the holder for; None: unauthorized."""
    try:
        return server.tokens.verify(token, server.state, server.now)
    except Rejected:
        return None


def reviewed(server: Server, token: str, *audiences: str) -> dict:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}}
    return server.create(f"{AUTHENTICATION}/tokenreviews", body).body["status"]


BOUND = {"Pod": (PODS, "web-1"), "Secret": (SECRETS, "key"), "Node": ("/api/v1/nodes", "a")}


def make(server: Server, kind: str) -> None:
    if kind == "Pod":
        assert server.pod("web-1", serviceAccountName="web").status == 201
    elif kind == "Secret":
        assert server.create(SECRETS, {"metadata": {"name": "key"}}).status == 201
    else:
        server.node("a")


@pytest.mark.parametrize("kind", BOUND)
def test_a_token_goes_with_what_it_is_bound_to_and_is_not_its_successors(server, kind):
    path, name = BOUND[kind]
    make(server, kind)
    bound, free = token(server, kind, name), token(server)
    assert holder(server, bound).name == "system:serviceaccount:default:web"
    server.delete(f"{path}/{name}", {"gracePeriodSeconds": 0})
    assert (holder(server, bound), holder(server, free).name) == (None, "system:serviceaccount:default:web")
    assert {"user": {}, "error": f"{kind.lower()} {where(kind)}{name} is gone"} == reviewed(server, bound)
    make(server, kind)
    assert holder(server, bound) is None
    assert "is another of the same name" in reviewed(server, bound)["error"]


def where(kind: str) -> str:
    return "" if kind == "Node" else "default/"


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("Pod", ["pod-name", "pod-uid"]),
        ("Node", ["node-name", "node-uid"]),
        ("Secret", []),
    ],
)
def test_what_a_token_is_bound_to_is_told_to_who_asks(server, kind, extra):
    make(server, kind)
    told = holder(server, token(server, kind, BOUND[kind][1])).extra
    assert set(told) == {f"authentication.kubernetes.io/{each}" for each in ["credential-id", *extra]}


def test_a_pods_token_names_its_node_and_outlives_that(server):
    make(server, "Node")
    make(server, "Pod")
    assert server.bind("web-1", "a").status == 201
    bound = token(server, "Pod", "web-1")
    assert holder(server, bound).extra["authentication.kubernetes.io/node-name"] == ("a",)
    server.delete("/api/v1/nodes/a")
    assert holder(server, bound) is not None


def test_a_token_goes_with_its_account(server):
    given = token(server)
    server.delete(f"{ACCOUNTS}/web")
    assert holder(server, given) is None
    server.create(ACCOUNTS, {"metadata": {"name": "web"}})
    assert holder(server, given) is None


def test_a_token_expires(server):
    given = token(server, expirationSeconds=600)
    server.pass_time(599)
    assert holder(server, given) is not None
    server.pass_time(1)
    assert holder(server, given) is None


@pytest.mark.parametrize(
    ("made_for", "asked", "answer"),
    [
        ([], [], [ISSUER]),
        ([], [ISSUER, "vault"], [ISSUER]),
        (["vault"], [], None),
        (["vault"], ["vault"], ["vault"]),
        (["vault", "bank"], ["bank", "mint"], ["bank"]),
        (["vault"], ["mint"], None),
        (["vault", ISSUER], [], [ISSUER]),
    ],
)
def test_a_token_is_good_for_its_audiences_alone(server, made_for, asked, answer):
    given = token(server, audiences=made_for)
    status = reviewed(server, given, *asked)
    assert status.get("audiences") == answer
    assert status.get("authenticated", False) is (answer is not None)
    assert (holder(server, given) is not None) is (not made_for or ISSUER in made_for)


# Keys ---------------------------------------------------------------------------------------------------------------


def discover(server: Server, user: User = WEB):
    about = server.get("/.well-known/openid-configuration", user=user)
    return about, server.get("/openid/v1/jwks", user=user)


def verified(server: Server, token: str, audience: str = ISSUER) -> dict:
    """By what is served alone, as somebody who never saw the cluster's keys does it."""
    about, keys = discover(server)
    key = jwt.PyJWKSet.from_dict(keys.body)[jwt.get_unverified_header(token)["kid"]]
    algorithms = about.body["id_token_signing_alg_values_supported"]
    return jwt.decode(token, key, algorithms, audience=audience, issuer=about.body["issuer"], options={"verify_exp": False})


def test_others_verify_tokens_by_what_is_served(server):
    about, keys = discover(server)
    assert about.body == {
        "issuer": ISSUER,
        "jwks_uri": f"{ISSUER}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    assert (about.response.content_type, keys.response.content_type) == ("application/json", "application/jwk-set+json")
    assert ("Cache-Control", "public, max-age=3600") in keys.headers
    assert [set(key) for key in keys.body["keys"]] == [{"use", "kty", "kid", "alg", "crv", "x", "y"}]
    server.now = server.now.replace(year=2020)  # PyJWT has a clock of its own
    assert verified(server, token(server, audiences=["vault"]), "vault")["sub"] == "system:serviceaccount:default:web"
    with pytest.raises(jwt.InvalidAudienceError):
        verified(server, token(server, audiences=["vault"]), "bank")


def test_keys_before_are_served_and_verify_whatever_their_type(server):
    server.now = server.now.replace(year=2020)
    older = rsa.generate_private_key(65537, 2048)
    server.tokens.use(pem(older))
    first = token(server)
    server.tokens.use(pem(KEY), public(older))
    second = token(server)
    assert [jwt.get_unverified_header(each)["alg"] for each in (first, second)] == ["RS256", "ES256"]
    for each in (first, second):
        assert verified(server, each)["iss"] == ISSUER
        assert holder(server, each) is not None
    about, keys = discover(server)
    assert about.body["id_token_signing_alg_values_supported"] == ["ES256", "RS256"]
    assert [key["kty"] for key in keys.body["keys"]] == ["EC", "RSA"]
    server.tokens.use(pem(KEY))
    assert (holder(server, first), holder(server, second) is not None) == (None, True)


def test_a_key_that_is_none_changes_nothing(server):
    given = token(server)
    for private, retired in ((b"nonsense", b""), (pem(KEY), b"-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n")):
        with pytest.raises(ValueError):
            server.tokens.use(private, retired)
    assert holder(server, given) is not None


def test_a_token_cannot_choose_its_algorithm_or_key(server):
    """The classic attacks: the public key as an HMAC secret, no signature, another's key under our kid, no kid."""
    claims, kid = jwt.decode(token(server), options={"verify_signature": False}), server.tokens.key_set()[0]["kid"]
    other = ec.generate_private_key(ec.SECP256R1())
    forged = [
        jwt.encode(claims, None, "none", headers={"kid": kid}),
        jwt.encode(claims, other, "ES256", headers={"kid": kid}),
        jwt.encode(claims, KEY, "ES256"),
        jwt.encode(claims, "x" * 64, "HS256", headers={"kid": kid}),
        jwt.encode(claims, KEY, "ES256", headers={"kid": "unknown"}),
    ]
    assert [holder(server, each) for each in forged] == [None] * len(forged)
    assert holder(server, jwt.encode(claims, KEY, "ES256", headers={"kid": kid})) is not None


def test_who_may_see_the_keys(server):
    """Service accounts, by upstream's binding; anonymous clients not, unless somebody binds the role to them."""
    for answer in discover(server, ANONYMOUS):
        assert answer.status == 403
    binding = {
        "metadata": {"name": "everybody"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:service-account-issuer-discovery"
        },
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:unauthenticated"}],
    }  # fmt: skip
    assert server.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).status == 201
    for answer in discover(server, ANONYMOUS):
        assert answer.status == 200
    assert [405, 405] == [server.create(path, {}).status for path in ("/openid/v1/jwks", "/.well-known/openid-configuration")]


def test_an_issuer_that_is_no_https_url_has_no_discovery(server):
    server.settings = msgspec.structs.replace(server.settings, issuer="kubernetes/serviceaccount")
    for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
        assert server.get(path).status == 404
