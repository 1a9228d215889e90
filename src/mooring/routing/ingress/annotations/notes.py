"""What does an annotation's value say? Values in ingress-nginx's forms, and what there is to say about them.

Upstream checks each value against a list of characters that suits it (parser/validators.go): here the same lists apply, and
without exception no value with a control character, a quote or a semicolon is ever handed on. A value that is refused counts as
not given, and a Finding says what takes its place.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable

from mooring.model.ingress import Ingress
from mooring.routing.finding import Finding, Level, ObjectName
from mooring.routing.ingress.objects import Objects

PREFIX = "nginx.ingress.kubernetes.io/"

_PLAIN = r"\-._~a-zA-Z0-9/:"
BASIC = re.compile(f"[{_PLAIN}]*")
SPACED = re.compile(f"[{_PLAIN} ]*")
URL = re.compile(f"[{_PLAIN}?&=]*")
URL_WITH_VARIABLES = re.compile(f"[{_PLAIN}?&=%#${{}}]*")
PATH_WITH_GROUPS = re.compile(f"[{_PLAIN}$]*")
HEADERS = re.compile(r"[A-Za-z0-9\-_, ]*")
NAME = re.compile(r"[A-Za-z0-9\-_]+")
SERVER_NAMES = re.compile(r"[\-._~a-zA-Z0-9/:*, ]*")
REGEX = re.compile(r"[\-._~a-zA-Z0-9/:^$\[\](){}*+?|&=\\]*")
CIPHERS = re.compile(r"[A-Za-z0-9+:_\-!@=]*")
VARIABLES = re.compile(r"[A-Za-z0-9\-_${}]*")

_SIZE = re.compile(r"([0-9]+)([bkmg]?)", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))

LONGEST = 2048
"""Characters of a value, but for lists and snippets."""
MOST_NETWORKS = 5000
MOST_OCTETS = 2**53
MOST = 2**31 - 1


class Notes:
    """One reading of one Ingress: gives values, and collects the Findings and the reasons to close."""

    def __init__(self, ingress: Ingress, objects: Objects) -> None:
        self.ingress = ingress
        self.objects = objects
        self.about = ObjectName("Ingress", ingress.metadata.namespace, ingress.metadata.name)
        self.namespace = ingress.metadata.namespace
        self.values: dict[str, str] = {
            key.removeprefix(PREFIX): value
            for key, value in (ingress.metadata.annotations or {}).items()
            if key.startswith(PREFIX) and isinstance(value, str)
        }
        self.findings: list[Finding] = []
        self.closed: list[str] = []

    # --- What there is to say

    def tell(self, name: str, reason: str, message: str, effect: str = "", level: Level = Level.WARNING) -> None:
        shown = name if NAME.fullmatch(name) else ascii(name)[1:-1]
        self.findings.append(Finding(self.about, level, reason, f"metadata.annotations[{PREFIX}{shown[:63]}]", message, effect))

    def bad(self, name: str, message: str, effect: str) -> None:
        """The value is none that this annotation takes."""
        self.tell(name, "AnnotationInvalid", message, effect)

    def refuse(self, name: str, message: str, effect: str = "it is left out") -> None:
        """The value is understood, and not done."""
        self.tell(name, "AnnotationRefused", message, effect)

    def ignore(self, name: str, message: str) -> None:
        """Nothing is lost by it."""
        self.tell(name, "AnnotationIgnored", message, level=Level.NORMAL)

    def idle(self, names: Iterable[str], needed: str) -> None:
        """Those of `names` that are there do nothing, for want of another."""
        for name in names:
            if self.has(name):
                self.ignore(name, f"does nothing without {needed}")

    def close(self, name: str, message: str) -> None:
        """A rule of access cannot be done: nobody gets in."""
        self.tell(name, "AnnotationRefused", message, "the Ingress's rules answer 503")
        self.closed.append(f"{PREFIX}{name}: {message}")

    # --- Values

    def has(self, *names: str) -> bool:
        return any(name in self.values for name in names)

    def text(self, name: str, allowed: re.Pattern[str], instead: str = "it is left out") -> str:
        """'' for none, or one that is refused. Trimmed as upstream trims; never with a line's end in it."""
        value = self.values.get(name, "").strip(" \t\r\n")
        if self.is_refused(name, allowed):
            self.bad(name, f"has characters that do not belong into it, or more than {LONGEST}", instead)
            return ""
        return value

    def is_refused(self, name: str, allowed: re.Pattern[str]) -> bool:
        """Whether `text` would refuse it, as opposed to its not being given."""
        value = self.values.get(name, "").strip(" \t\r\n")
        return bool(value) and (len(value) > LONGEST or allowed.fullmatch(value) is None)

    def boolean(self, name: str, default: bool = False) -> bool:
        """Go's strconv.ParseBool: not trimmed, `yes` and `on` are none."""
        value = self.values.get(name, "")
        if value in TRUE:
            return True
        if value and value not in _FALSE:
            self.bad(name, "is neither true nor false", f"taken as {'true' if default else 'false'}")
            return default
        return False if value else default

    def integer(self, name: str, default: int, lowest: int = 0, highest: int = MOST) -> int:
        """Go's strconv.Atoi: not trimmed."""
        value = self.values.get(name, "")
        if not value:
            return default
        if len(value) > 20 or _INTEGER.fullmatch(value) is None:
            self.bad(name, "is not a whole number", f"{default} is used")
            return default
        number = int(value)
        if not lowest <= number <= highest:
            self.bad(name, f"is not from {lowest} to {highest}", f"{default} is used")
            return default
        return number

    def size(self, name: str, default: int) -> int:
        """In octets. Spaces do not count; 1k is 1024."""
        value = self.values.get(name, "").replace(" ", "")
        if not value:
            return default
        matched = _SIZE.fullmatch(value) if len(value) <= 20 else None
        octets = int(matched[1]) * _UNITS[matched[2].lower()] if matched else -1
        if not 0 <= octets <= MOST_OCTETS:
            self.bad(name, "is not a size such as 1000, 100k, 8m or 1g", f"{default} octets are used")
            return default
        return octets

    def choice(self, name: str, options: Collection[str], default: str) -> str:
        value = self.values.get(name, "").strip(" \t\r\n")
        if not value or value in options:
            return value or default
        self.bad(name, f"is none of {', '.join(sorted(options))}", f"taken as {default}" if default else "it is left out")
        return default

    def networks(self, name: str) -> tuple[str, ...] | None:
        """Comma-separated addresses and CIDRs, as CIDRs in order, each once. None: it has one that is none, or too many."""
        found = set()
        parts = self.values.get(name, "").split(",")
        if len(parts) > MOST_NETWORKS:
            return None
        for part in parts:
            try:
                found.add(ipaddress.ip_network(part.strip(), strict=False))
            except ValueError:
                return None
        if any("%" in str(network) for network in found):
            return None
        return tuple(map(str, sorted(found, key=lambda network: (network.version, network))))
