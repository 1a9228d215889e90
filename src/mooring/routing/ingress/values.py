"""What does a value of a ConfigMap say? In the forms of ingress-nginx's own: `true`, `4 8k`, `TLSv1.2 TLSv1.3`."""

import ipaddress
import re
from collections.abc import Callable

_SIZE = re.compile(r"([0-9]{1,9})([bkm]?)", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024 * 1024}
_CIPHERS = re.compile(r"[A-Za-z0-9+:_\-!@=]{1,2048}")
_HEADER = re.compile(r"[ -!#-\[\]-~]{1,128}")
_PROTOCOLS = {"SSLv2": "", "SSLv3": "", "TLSv1": "", "TLSv1.1": "", "TLSv1.2": "1.2", "TLSv1.3": "1.3"}
LEAST_HEADER, MOST_HEADER = 1024, 8 * 1024 * 1024


class BadValue(ValueError):
    """The message is a sentence without a subject."""


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise BadValue("is neither true nor false")
    return text.lower() == "true"


def keeps(text: str) -> bool:
    if text not in ("keep", "reject"):
        raise BadValue("is neither keep nor reject")
    return text == "keep"


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise BadValue(f"is no whole number from {lowest} to {highest}")
        return int(text)

    return read


def seconds(text: str) -> float:
    """Bare or with `s`. Never 0, which would be no limit."""
    found = re.fullmatch("([0-9]{1,6})s?", text, re.ASCII)
    if not found or not 1 <= int(found.group(1)) <= 86400:
        raise BadValue("is no number of seconds from 1 to 86400")
    return float(found.group(1))


def buffers(text: str) -> int:
    """`4 8k`: so many, each so large. The octets of all."""
    number, _, size = text.partition(" ")
    found = _SIZE.fullmatch(size.strip())
    if not re.fullmatch("[0-9]{1,4}", number, re.ASCII) or not found:
        raise BadValue("is no number and size, such as 4 8k")
    octets = int(number) * int(found.group(1)) * _UNITS[found.group(2).lower()]
    if not LEAST_HEADER <= octets <= MOST_HEADER:
        raise BadValue(f"is not from {LEAST_HEADER} to {MOST_HEADER} octets in all")
    return octets


def cidrs(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(each.strip(), strict=False)) for each in text.split(",") if each.strip())
    except ValueError as error:
        raise BadValue(f"is no list of CIDRs ({error})") from None


def ciphers(text: str) -> str:
    if not _CIPHERS.fullmatch(text):
        raise BadValue("has characters that no list of ciphers has")
    return text


def header_value(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise BadValue("is no header value of at most 128 characters, without quotes and backslashes")
    return text


def oldest_protocol(text: str) -> str:
    """Of a list, the oldest that is ever spoken; those before TLS 1.2 are not (RFC 8996)."""
    named = text.split()
    if unknown := [each for each in named if each not in _PROTOCOLS]:
        raise BadValue(f"names {unknown[0]}, which is no protocol")
    if old := [each for each in named if not _PROTOCOLS[each]]:
        raise BadValue(f"names {old[0]}, which is not spoken (RFC 8996)")
    return min(_PROTOCOLS[each] for each in named)
