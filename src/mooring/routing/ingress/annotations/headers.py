"""Which headers does a list or a ConfigMap name, and with which values?"""

import re
from collections.abc import Mapping

from mooring.routing.ingress.annotations.notes import NAME, Notes
from mooring.routing.ingress.annotations.references import Unusable
from mooring.routing.ingress.annotations.variables import UnknownVariable, template
from mooring.routing.table import Template

VALUE = re.compile(r"[\x20-\x5b\x5d-\x5f\x61-\x7a|~]*")
"""What may stand in a header's value: printable ASCII without braces, backslash and backquote. Emitters quote it."""

FRAMING = frozenset(
    ("connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
"""Headers that delimit messages or lead them; nobody but the proxy sets them."""


def names(text: str) -> tuple[str, ...]:
    """Comma-separated, in lower case, each once. Raises Unusable."""
    found = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not all(NAME.fullmatch(name) for name in found):
        raise Unusable("it is no list of header names")
    if framing := FRAMING.intersection(found):
        raise Unusable(f"it lists {min(framing)}, which only the proxy sets")
    return found


def settings(notes: Notes, annotation: str, data: Mapping[str, str]) -> tuple[tuple[str, str | Template], ...]:
    """Headers of a ConfigMap, names in lower case; those that cannot be set are told and left out. Raises Unusable as upstream
    denies: when a key is no header's name."""
    found: list[tuple[str, str | Template]] = []
    for name, value in sorted(data.items()):
        if NAME.fullmatch(name) is None:
            raise Unusable("the ConfigMap has a key that is no header's name")
        try:
            found.append((name.lower(), setting(name, value)))
        except Unusable as why:
            notes.refuse(annotation, f"the header {name} is not set: {why.args[0]}", "the other headers are set")
    return tuple(found)


def setting(name: str, value: str) -> str | Template:
    """Raises Unusable."""
    if name.lower() in FRAMING:
        raise Unusable("it delimits messages")
    if VALUE.fullmatch(value) is None:
        raise Unusable("its value has characters that do not belong into it")
    if "$" not in value:
        return value
    try:
        made = template(value)
    except UnknownVariable as unknown:
        raise Unusable(str(unknown.args[0])) from None
    return made
