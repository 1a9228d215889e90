"""Are cookies those of RFC 9018, and given to who asks for one?"""

import pytest
from chain_lab import query
from msgspec.structs import replace

from mooring.dns.cookies import OPTION, BadCookie, is_good, made, reply_option, siphash_2_4
from mooring.dns.records import Edns, Query

SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
COOKIE = bytes.fromhex("2464c4abcf10c957")
AT = 1559731985
CLIENT = "198.51.100.100"


def asked(cookie: bytes | None, client: str = CLIENT) -> Query:
    options = () if cookie is None else ((8, b"other"), (OPTION, cookie))
    return replace(query("web.example", client=client), edns=Edns(1232, options=options))


def test_the_hash_is_that_of_its_paper() -> None:
    assert "e545be4961ca29a1" == siphash_2_4(bytes(range(16)), bytes(range(15))).hex()


@pytest.mark.parametrize(
    ("cookie", "client", "secret", "at", "expected"),
    [
        pytest.param("2464c4abcf10c957", CLIENT, SECRET.hex(), AT, "010000005cf79f111f8130c3eee29480", id="A.1: a new one"),
        pytest.param(
            "22681ab97d52c298",
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            "445536bcd2513298075a5d379663c962",
            1559741961,
            "010000005cf7c609a6bb79d16625507a",
            id="A.4: another secret, IPv6",
        ),
    ],
)
def test_cookies_are_those_of_the_standard(cookie: str, client: str, secret: str, at: int, expected: str) -> None:
    assert expected == made(bytes.fromhex(cookie), client, bytes.fromhex(secret), at).hex()


def test_reserved_octets_of_others_count_as_they_came() -> None:
    """RFC 9018, A.3."""
    client, server = bytes.fromhex("fc93fc62807ddb86"), bytes.fromhex("01abcdef5cf78f71a314227b6679ebf5")
    assert is_good(client, server, "203.0.113.203", SECRET, 1559728000)
    assert not is_good(client, server.replace(b"\xab", b"\xac"), "203.0.113.203", SECRET, 1559728000)


def test_who_sends_none_gets_none() -> None:
    assert () == reply_option(asked(None), SECRET, AT) == reply_option(query("web.example"), SECRET, AT)


def test_a_client_cookie_is_answered_with_one_of_ours() -> None:
    assert ((OPTION, COOKIE + made(COOKIE, CLIENT, SECRET, AT)),) == reply_option(asked(COOKIE), SECRET, AT)


@pytest.mark.parametrize(
    ("later", "client", "given_back"),
    [
        pytest.param(60, CLIENT, True, id="a fresh one is given back"),
        pytest.param(1800, CLIENT, False, id="one of half an hour is made anew"),
        pytest.param(7200, CLIENT, False, id="an old one too"),
        pytest.param(60, "198.51.100.101", False, id="and one of another client"),
    ],
)
def test_a_whole_cookie_is_given_back_or_made_anew(later: int, client: str, given_back: bool) -> None:
    whole = COOKIE + made(COOKIE, CLIENT, SECRET, AT)
    expected = whole if given_back else COOKIE + made(COOKIE, client, SECRET, AT + later)
    assert ((OPTION, expected),) == reply_option(asked(whole, client), SECRET, AT + later)


@pytest.mark.parametrize(
    ("age", "good"),
    [
        pytest.param(0, True, id="now"),
        pytest.param(3600, True, id="an hour ago"),
        pytest.param(3601, False, id="longer ago"),
        pytest.param(-300, True, id="of a clock that is ahead"),
        pytest.param(-301, False, id="of the future"),
    ],
)
def test_a_cookie_is_good_for_an_hour(age: int, good: bool) -> None:
    assert good == is_good(COOKIE, made(COOKIE, CLIENT, SECRET, AT), CLIENT, SECRET, AT + age)


def test_the_clock_may_wrap() -> None:
    server = made(COOKIE, CLIENT, SECRET, (1 << 32) - 10)
    assert is_good(COOKIE, server, CLIENT, SECRET, (1 << 32) + 10)


@pytest.mark.parametrize("length", [0, 1, 7, 9, 15, 41, 200])
def test_a_cookie_of_another_length_is_a_format_error(length: int) -> None:
    with pytest.raises(BadCookie):
        reply_option(asked(bytes(length)), SECRET, AT)


@pytest.mark.parametrize("length", [16, 24, 40])
def test_a_cookie_of_others_is_no_error(length: int) -> None:
    assert 24 == len(reply_option(asked(bytes(length)), SECRET, AT)[0][1])
