"""Who may come in by name and password? Basic authentication out of a Secret; what cannot be done closes."""

import base64
import hashlib
import re

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family
from mooring.routing.ingress.annotations.notes import SPACED, Notes
from mooring.routing.ingress.annotations.references import Unusable, secret
from mooring.routing.ingress.objects import Secret
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import BasicAuth

_ANNOTATIONS = (
    Annotation(
        "auth-type",
        "basic, digest",
        "The backend does not see the password. digest is refused: 503. Without auth-type the others do nothing, as upstream.",
    ),
    Annotation(
        "auth-secret",
        "a Secret of the same namespace",
        "Names and passwords. Missing, of another namespace, or without a usable line: 503.",
    ),
    Annotation(
        "auth-secret-type",
        "auth-file, auth-map",
        "auth-file (default): an htpasswd file under the key `auth`. auth-map: each key is a user. Hashes: crypt(3) forms, "
        "bcrypt, apr1, {SHA}, {PLAIN}; a user with any other, as {SSHA}, is told and left out.",
    ),
    Annotation(
        "auth-realm",
        "letters, digits, spaces and -._~/:",
        "Default empty. Other characters, or `off`, with which NGINX asks nobody: an empty realm, and still a password.",
    ),
)

_USER = re.compile(r"[^\x00-\x1f\x7f:\"'\\{};$`]{1,255}")
_HASH = re.compile(
    r"(?:\{SHA\}[A-Za-z0-9+/]{27}=|\$(?:1|5|6|apr1|2[abxy]|y|7)\$[A-Za-z0-9./$,=]{10,200}|[A-Za-z0-9./]{13})", re.ASCII
)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    kind = notes.values.get("auth-type", "").strip(" \t\r\n")
    if not kind:
        for name in ("auth-secret", "auth-secret-type", "auth-realm"):
            if notes.has(name):
                notes.bad(name, "needs auth-type", "no password is asked for, as upstream")
        return wishes
    if kind != "basic":
        notes.close(
            "auth-type", "digest is not done; use basic over TLS" if kind == "digest" else "is neither basic nor digest"
        )
        return wishes
    realm = notes.text("auth-realm", SPACED, "the realm is empty")
    if realm == "off":
        notes.bad("auth-realm", "would make NGINX ask for no password at all", "the realm is empty")
        realm = ""
    form = notes.values.get("auth-secret-type", "").strip(" \t\r\n") or "auth-file"
    if form not in ("auth-file", "auth-map"):
        notes.close("auth-secret-type", "is neither auth-file nor auth-map")
        return wishes
    try:
        users = _users(notes, secret(notes, "auth-secret"), form)
    except Unusable as why:
        notes.close("auth-secret", str(why.args[0]))
        return wishes
    return structs.replace(wishes, basic_auth=BasicAuth(realm, users))


def _users(notes: Notes, kept: Secret, form: str) -> tuple[tuple[str, str], ...]:
    """Raises Unusable if nobody would get in."""
    if form == "auth-map":
        lines = [f"{user}:".encode() + password for user, password in sorted(kept.data.items())]
    elif "auth" in kept.data:
        lines = kept.data["auth"].splitlines()
    else:
        raise Unusable("the Secret has no key auth")
    users: dict[str, str] = {}
    wrong = 0
    for line in lines:
        if not (line := line.strip()) or line.startswith(b"#"):
            continue
        pair = _user(line)
        if pair is None:
            wrong += 1
        else:
            users.setdefault(*pair)
    if wrong:
        notes.bad("auth-secret", f"{wrong} of the Secret's users cannot be used (form or hash)", "these users do not get in")
    if not users:
        raise Unusable("the Secret has no user who could get in")
    return tuple(users.items())


def _user(line: bytes) -> tuple[str, str] | None:
    try:
        name, colon, rest = line.decode().partition(":")
    except UnicodeDecodeError:
        return None
    password = rest.partition(":")[0]
    plain = password.removeprefix("{PLAIN}")
    if plain and plain != password:
        digest = hashlib.sha1(plain.encode(), usedforsecurity=False).digest()
        password = "{SHA}" + base64.b64encode(digest).decode()
    if not colon or _USER.fullmatch(name) is None or _HASH.fullmatch(password) is None:
        return None
    return name, password


PASSWORDS = Family(_ANNOTATIONS, _read)
