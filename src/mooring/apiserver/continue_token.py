"""Where does the next page of a list begin? An opaque token that pins the revision of the first page.

The form is upstream's (apiserver/pkg/storage/continue.go), plus `left`: how many items remain at the pinned revision.
"""

import base64
import binascii

import msgspec
from msgspec import Struct, field

from mooring.apiserver.errors import bad_request

INCONSISTENT = -1
"""The revision of a token that continues from whatever is true when it is used."""


class Token(Struct, frozen=True):
    """`start` is the last key already given, relative to the collection's prefix; `left` is -1 when unknown."""

    revision: int = field(name="rv")
    start: str
    left: int = -1
    version: str = field(name="v", default="meta.k8s.io/v1")


_decoder = msgspec.json.Decoder(Token)


def encode(token: Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def decode(text: str) -> Token:
    """Raises StatusError 400."""
    try:
        token = _decoder.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from None
    if token.version != "meta.k8s.io/v1":
        raise bad_request(f"continue key is not valid: server does not recognize this encoded version {token.version!r}")
    if not token.start or (token.revision <= 0 and token.revision != INCONSISTENT):
        raise bad_request("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    return token
