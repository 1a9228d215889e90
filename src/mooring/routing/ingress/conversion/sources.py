"""Which Ingress, and which of its fields, does a source of the RouteTable name?"""

import re

from mooring.routing.ingress.objects import Name

SOURCE = re.compile(r"ingress ([^/ ]+)/([^/ ]+)(?: (.*))?")


def owner_of(source: str) -> Name:
    """Namespace and name; two empty ones when it is no Ingress's."""
    found = SOURCE.match(source)
    return (found[1], found[2]) if found else ("", "")


def namespace_of(source: str) -> str:
    return owner_of(source)[0]


def field_of(source: str) -> str:
    found = SOURCE.match(source)
    return (found[3] or "") if found else ""
