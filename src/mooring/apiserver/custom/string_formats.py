"""Is a string of the format that its schema names? Those formats that upstream checks; any other name is only a note.

kube-openapi/pkg/validation/strfmt and apiextensions-apiserver/pkg/apiserver/validation/formats.go.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from urllib.parse import urlsplit

from mooring.apiserver.cel.values import duration
from mooring.apiserver.kinds import formats

_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?([0-9a-f])[0-9a-f]{3}-?([0-9a-f])[0-9a-f]{3}-?[0-9a-f]{12}")
_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"\\]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\"[^\"\\]+\"@[A-Za-z0-9.-]+")
_HOST_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_MAC = re.compile(
    r"(?i)(?:[0-9a-f]{2}(?P<mark>[:-])(?:[0-9a-f]{2}(?P=mark)){4}[0-9a-f]{2}"
    r"|[0-9a-f]{2}(?P<long>[:-])(?:[0-9a-f]{2}(?P=long)){6}[0-9a-f]{2}"
    r"|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}|(?:[0-9a-f]{4}\.){3}[0-9a-f]{4})"
)
_DATE_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,]\d+)?(?:[Zz]|[+-]\d\d:?\d\d)?")
_CARDS = re.compile(
    r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}"
    r"|(?:2131|1800|35[0-9]{3})[0-9]{11})"
)
_SIMPLE = {
    "bsonobjectid": re.compile(r"(?i)[0-9a-f]{24}"),
    "ssn": re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": re.compile(r"(?i)#?(?:[0-9a-f]{3}|[0-9a-f]{6})"),
    "rgbcolor": re.compile(r"rgb\(\s*(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\s*,\s*){2}(?:25[0-5]|2[0-4]\d|1?\d?\d)\s*\)"),
    "mac": _MAC,
    "email": _EMAIL,
}


def _fits(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except (ValueError, binascii.Error):
        return False
    return True


def _uri(text: str) -> bool:
    if re.search(r"[\x00-\x20\x7f]|%(?![0-9A-Fa-f]{2})", text):
        return False
    return text.startswith("/") or (
        _fits(lambda one: urlsplit(one).port, text) and bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text))
    )


def _hostname(text: str) -> bool:
    return len(text) <= 255 and all(_HOST_LABEL.fullmatch(part) for part in text.rstrip(".").split("."))


def _uuid(version: str) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        found = _UUID.fullmatch(text)
        return (
            found is not None and (not version or found[1] == version) and (version in ("", "3") or found[2].lower() in "89ab")
        )

    return check


def _isbn(length: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        digits = text.replace("-", "").replace(" ", "")
        if length in (0, 10) and re.fullmatch(r"\d{9}[\dX]", digits):
            return sum((10 - place) * (10 if one == "X" else int(one)) for place, one in enumerate(digits)) % 11 == 0
        if length in (0, 13) and re.fullmatch(r"\d{13}", digits):
            return sum((3 if place % 2 else 1) * int(one) for place, one in enumerate(digits)) % 10 == 0
        return False

    return check


def _credit_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    if not _CARDS.fullmatch(digits):
        return False
    doubled = [int(one) * (2 if place % 2 else 1) for place, one in enumerate(reversed(digits))]
    return sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def date_time(text: str) -> bool:
    found = _DATE_TIME.fullmatch(text)
    return found is not None and _fits(lambda _: datetime.fromisoformat(f"{found[1]}T{found[2]}"), text)


FORMATS: Mapping[str, Callable[[str], bool]] = {
    **{name: (lambda text, pattern=pattern: pattern.fullmatch(text) is not None) for name, pattern in _SIMPLE.items()},  # type: ignore[misc]
    "uri": _uri,
    "hostname": _hostname,
    "ipv4": lambda text: _fits(ipaddress.IPv4Address, text),
    "ipv6": lambda text: ":" in text and _fits(ipaddress.IPv6Address, text),
    "cidr": lambda text: "/" in text and _fits(lambda one: ipaddress.ip_network(one, strict=False), text),
    "uuid": _uuid(""),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
    "isbn": _isbn(0),
    "isbn10": _isbn(10),
    "isbn13": _isbn(13),
    "creditcard": _credit_card,
    "byte": lambda text: _fits(lambda one: base64.b64decode(one, validate=True), text),
    "password": lambda text: True,
    "date": lambda text: re.fullmatch(r"\d{4}-\d\d-\d\d", text) is not None and _fits(date.fromisoformat, text),
    "duration": lambda text: _fits(duration, text),
    "datetime": date_time,
    "date-time": date_time,
    "k8s-short-name": lambda text: not formats.label(text),
    "k8s-long-name": lambda text: not formats.subdomain(text),
}
