"""Has this client's address been seen to receive what we send? DNS cookies (RFC 7873), in the form that servers share.

A server cookie is made, not remembered: version 1, three reserved octets, the time, and SipHash-2-4 over the client's cookie,
those eight octets and the client's address (RFC 9018 section 4).
"""

from ipaddress import ip_address

from mooring.dns.records import Query

OPTION = 10
SECRET_SIZE = 16
"""Octets of the secret that all servers at one address share."""
CLIENT_SIZE, SERVER_SIZE = 8, 16
_SERVER_LEAST, _SERVER_MOST = 8, 32
_PAST, _FUTURE, _FRESH = 3600, 300, 1800
"""Seconds: how old a good cookie may be, how far ahead its clock, and until when it is given back as it is (section 4.3)."""
_MASK = (1 << 64) - 1


class BadCookie(Exception):
    """Of a length that no cookie has: FORMERR is due (RFC 7873 section 5.2.2)."""


def reply_option(query: Query, secret: bytes, now: int) -> tuple[tuple[int, bytes], ...]:
    """What goes back into the reply's OPT record: the client's cookie with one of ours. `now`: Unix seconds.

    A wrong or old server cookie changes nothing but that a new one is given. Raises BadCookie.
    """
    given = next((data for code, data in query.edns.options if code == OPTION), None) if query.edns else None
    if given is None:
        return ()
    if len(given) != CLIENT_SIZE and not CLIENT_SIZE + _SERVER_LEAST <= len(given) <= CLIENT_SIZE + _SERVER_MOST:
        raise BadCookie
    client, server = given[:CLIENT_SIZE], given[CLIENT_SIZE:]
    if is_good(client, server, query.client, secret, now) and 0 <= now - int.from_bytes(server[4:8], "big") < _FRESH:
        return ((OPTION, given),)
    return ((OPTION, client + made(client, query.client, secret, now)),)


def made(client_cookie: bytes, client: str, secret: bytes, at: int) -> bytes:
    """The server cookie of this time, for the client's address in text."""
    head = b"\1\0\0\0" + (at & 0xFFFFFFFF).to_bytes(4, "big")
    return head + _hash(client_cookie, head, client, secret)


def is_good(client_cookie: bytes, server_cookie: bytes, client: str, secret: bytes, now: int) -> bool:
    """Ours, for this client, and neither too old nor from the future."""
    if len(server_cookie) != SERVER_SIZE or server_cookie[0] != 1:
        return False
    at = int.from_bytes(server_cookie[4:8], "big")
    age = (now - at + (1 << 31)) % (1 << 32) - (1 << 31)
    return -_FUTURE <= age <= _PAST and _hash(client_cookie, server_cookie[:8], client, secret) == server_cookie[8:]


def _hash(client_cookie: bytes, head: bytes, client: str, secret: bytes) -> bytes:
    """Over the reserved octets too, as they came."""
    address = ip_address(client.partition("%")[0]).packed if client else b""
    return siphash_2_4(secret, client_cookie + head + address)


def siphash_2_4(key: bytes, data: bytes) -> bytes:
    """SipHash-2-4 with 64 bits of output, in the byte order of its paper (Aumasson and Bernstein, 2012)."""
    low, high = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:16], "little")
    state = [low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D, low ^ 0x6C7967656E657261, high ^ 0x7465646279746573]
    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    for word in (*words, int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56):
        state[3] ^= word
        _rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _rounds(state, 4)
    return (state[0] ^ state[1] ^ state[2] ^ state[3]).to_bytes(8, "little")


def _rounds(state: list[int], count: int) -> None:
    a, b, c, d = state
    for _ in range(count):
        a, c = (a + b) & _MASK, (c + d) & _MASK
        b, d = _turned(b, 13) ^ a, _turned(d, 16) ^ c
        a, c = (_turned(a, 32) + d) & _MASK, (c + b) & _MASK
        d, b = _turned(d, 21) ^ a, _turned(b, 17) ^ c
        c = _turned(c, 32)
    state[:] = a, b, c, d


def _turned(word: int, by: int) -> int:
    return (word << by | word >> 64 - by) & _MASK
