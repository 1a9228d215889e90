"""Who does the server take its clients for?"""

import asyncio
import base64
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from http_lab import Place

from mooring.apiserver.contract import Settings
from mooring.edges.http.authn import ServiceAccountTokens, certificate_user
from mooring.edges.pki import Pki
from mooring.store.records import Delete, Put, Txn

ISSUER = Settings().issuer


def claims(**changes: Any) -> dict[str, Any]:
    now = int(datetime.now(UTC).timestamp())
    bound = {"namespace": "prod", "serviceaccount": {"name": "web", "uid": "u1"}, "pod": {"name": "web-1", "uid": "p1"}}
    whole = {"iss": ISSUER, "aud": [ISSUER], "iat": now, "nbf": now, "exp": now + 3600, "jti": "t1"}
    whole |= {"sub": "system:serviceaccount:prod:web", "kubernetes.io": bound}
    return whole | changes


async def store_owners(place: Place, account: str = "u1", pod: str = "p1", deleted: str = "") -> None:
    ended = {"deletionTimestamp": deleted} if deleted else {}
    account_document = {"metadata": {"name": "web", "uid": account}}
    pod_document = {"metadata": {"name": "web-1", "uid": pod, **ended}}
    puts = (
        Put("/core/serviceaccounts/prod/web", json.dumps(account_document).encode()),
        Put("/core/pods/prod/web-1", json.dumps(pod_document).encode()),
    )
    await place.store.commit(Txn((), puts))


async def ask(place: Place, token: str, scheme: str = "Bearer") -> tuple[int, dict[str, Any]]:
    async with place.connect() as client:
        status, body = await client.ask("GET", "/whoami", b"", f"Authorization: {scheme} {token}")
    return status, json.loads(body)


async def test_without_credentials_a_client_is_anonymous(place: Place) -> None:
    async with place.connect() as client:
        _, body = await client.ask("GET", "/whoami")
    user = json.loads(body)
    assert (user["name"], user["groups"]) == ("system:anonymous", ["system:unauthenticated"])


async def test_a_client_certificate_names_its_user_and_groups(place: Place) -> None:
    async with place.connect(place.admin) as client:
        _, body = await client.ask("GET", "/whoami")
    user = json.loads(body)
    assert (user["name"], user["groups"]) == ("kubernetes-admin", ["system:masters", "system:authenticated"])


async def test_a_certificate_of_another_authority_ends_the_handshake(place: Place, tmp_path: Path) -> None:
    stranger = Pki(tmp_path / "other").admin()
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        async with place.connect(stranger) as client:
            await client.ask("GET", "/whoami")


def test_a_certificate_without_a_common_name_names_nobody() -> None:
    assert certificate_user({"subject": ((("organizationName", "system:masters"),),)}) is None


async def test_a_good_token_names_its_service_account(place: Place, tokens: ServiceAccountTokens) -> None:
    await store_owners(place)
    status, user = await ask(place, tokens.sign(claims()))
    assert (status, user) == (
        200,
        {
            "name": "system:serviceaccount:prod:web",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:prod", "system:authenticated"],
            "uid": "u1",
            "extra": {
                "authentication.kubernetes.io/credential-id": ["JTI=t1"],
                "authentication.kubernetes.io/pod-name": ["web-1"],
                "authentication.kubernetes.io/pod-uid": ["p1"],
            },
        },
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"nbf": 99999999999},
        {"iss": "https://elsewhere"},
        {"aud": ["vault"]},
        {"sub": "system:serviceaccount:prod:other"},
        {"kubernetes.io": {"namespace": "prod"}},
        {"kubernetes.io": None},
        {"exp": "soon"},
    ],
    ids=["expired", "not yet", "issuer", "audience", "subject", "no account", "no binding", "time of another type"],
)
async def test_a_token_with_a_wrong_claim_is_unauthorized(
    place: Place, tokens: ServiceAccountTokens, changes: dict[str, Any]
) -> None:
    await store_owners(place)
    status, body = await ask(place, tokens.sign(claims(**changes)))
    assert (status, body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized")


async def test_a_token_dies_with_its_account_and_its_pod(place: Place, tokens: ServiceAccountTokens) -> None:
    token = tokens.sign(claims())
    assert (await ask(place, token))[0] == 401
    await store_owners(place)
    assert (await ask(place, token))[0] == 200
    await store_owners(place, account="another")
    assert (await ask(place, token))[0] == 401
    await store_owners(place, pod="another")
    assert (await ask(place, token))[0] == 401
    await store_owners(place, deleted=(datetime.now(UTC) - timedelta(minutes=5)).isoformat())
    assert (await ask(place, token))[0] == 401
    await store_owners(place, deleted=datetime.now(UTC).isoformat())
    assert (await ask(place, token))[0] == 200
    await place.store.commit(Txn((), (Delete("/core/pods/prod/web-1"),)))
    assert (await ask(place, token))[0] == 401


async def test_signatures_of_other_keys_and_of_none_are_unauthorized(
    place: Place, tokens: ServiceAccountTokens, tmp_path: Path
) -> None:
    await store_owners(place)
    stranger = ServiceAccountTokens(Pki(tmp_path / "other").service_account_key().read_bytes(), ISSUER)
    header, body, signature = tokens.sign(claims()).split(".")
    forged = [
        stranger.sign(claims()),
        jwt.encode(claims(), None, "none"),
        f"{header}.{body}.{signature[::-1]}",
        "a.b.c",
        "",
        "é",
    ]
    assert [(await ask(place, token))[0] for token in forged] == [401] * len(forged)


async def test_a_websocket_may_bring_its_token_among_its_protocols(place: Place, tokens: ServiceAccountTokens) -> None:
    """As browsers do. Only a WebSocket may, beside another protocol, and with one token."""
    await store_owners(place)
    good, bad = (protocol(token.encode()) for token in (tokens.sign(claims()), tokens.sign(claims(exp=1))))
    socket, other = (f"Connection: keep-alive, Upgrade\r\nUpgrade: {each}" for each in ("WebSocket", "SPDY/3.1"))
    padded, not_utf_8 = f"{protocol(b'ab')}=", protocol(b"\xff")

    async def asked(upgrade: str, *lines: str) -> tuple[int, str]:
        async with place.connect() as client:
            protocols = [f"Sec-WebSocket-Protocol: {line}" for line in lines]
            status, body = await client.ask("GET", "/whoami", b"", *([upgrade] if upgrade else []), *protocols)
            return status, json.loads(body).get("name", "")

    web, nobody, refused = (200, "system:serviceaccount:prod:web"), (200, "system:anonymous"), (401, "")
    assert [web] * 3 == [await asked(socket, *each) for each in ([f"{good}, chat"], [f"chat,{good}"], ["chat", good])]
    assert [nobody] * 3 == [await asked(*each) for each in (("", f"{good}, chat"), (other, f"{good}, chat"), (socket, "chat"))]
    wrong = (good, f"{good}, {good}, chat", f"{bad}, chat", f"{padded}, chat", f"{not_utf_8}, chat", f"{protocol(b'x')}, chat")
    assert [refused] * len(wrong) == [await asked(socket, each) for each in wrong]
    assert [nobody] == [await asked(socket, f"{protocol(b'')}, chat")], "no token is none"
    assert web == await asked(f"{socket}\r\nAuthorization: Bearer x", f"{good}, chat"), "one credential that is good is enough"


def protocol(token: bytes) -> str:
    return f"base64url.bearer.authorization.k8s.io.{base64.urlsafe_b64encode(token).decode().rstrip('=')}"


async def test_other_schemes_are_unauthorized(place: Place) -> None:
    assert (await ask(place, "YTpi", "Basic"))[0] == 401


def test_an_rsa_key_signs_with_rs256() -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert jwt.get_unverified_header(ServiceAccountTokens(key, ISSUER).sign(claims()))["alg"] == "RS256"
