"""Is a password right? As htpasswd writes them: {SHA} and apr1; what the other forms of crypt(3) say is not known here."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from msgspec import Struct

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ROUNDS = 1000
_ORDER = ((0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5))


class Proof(Struct, frozen=True):
    """`name` '' when nobody is proven. `certain` False: only a proxy can tell whether the password is right."""

    name: str = ""
    certain: bool = True


NOBODY = Proof()


def proven(authorization: str, users: Iterable[tuple[str, str]]) -> Proof:
    """Whom an Authorization header proves (RFC 7617)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return NOBODY
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return NOBODY
    stored = next((each for user, each in users if user == name), None)
    right = is_right(password, stored) if colon and stored is not None else False
    return NOBODY if right is False else Proof(name, right is not None)


def is_right(password: str, stored: str) -> bool | None:
    """None for a form that is not known here."""
    if stored.startswith("{SHA}"):
        return hmac.compare_digest(stored[5:], base64.b64encode(hashlib.sha1(password.encode()).digest()).decode())
    if stored.startswith("$apr1$"):
        return hmac.compare_digest(stored, apr1(password, stored.split("$")[2]))
    return None


def apr1(password: str, salt: str) -> str:
    """Apache's variant of the MD5 crypt (apr_md5.c)."""
    secret, salted = password.encode(), salt[:8].encode()
    final = hashlib.md5(secret + salted + secret).digest()
    mixed = secret + b"$apr1$" + salted + (final * (len(secret) // 16 + 1))[: len(secret)]
    length = len(secret)
    while length:
        mixed += b"\0" if length & 1 else secret[:1]
        length >>= 1
    final = hashlib.md5(mixed).digest()
    for number in range(_ROUNDS):
        turn = secret if number & 1 else final
        turn += salted * bool(number % 3) + secret * bool(number % 7)
        final = hashlib.md5(turn + (final if number & 1 else secret)).digest()
    text = "".join(_letters(final[a] << 16 | final[b] << 8 | final[c], 4) for a, b, c in _ORDER)
    return f"$apr1${salt[:8]}${text}{_letters(final[11], 2)}"


def _letters(number: int, count: int) -> str:
    return "".join(_ALPHABET[number >> 6 * place & 0x3F] for place in range(count))
