"""Which routes may Envoy not get as they are? Those that it would reject whole, and those whose guard it cannot be."""

import re
from collections.abc import Iterable

from mooring.routing.table import HeaderChanges, Route
from mooring.routing.xds import context, matching, passwords, rewrites

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def faults(route: Route) -> Iterable[str]:
    """Why the route is answered 500: Envoy would refuse its whole listener's routes."""
    yield from matching.faults(route.match)
    if route.filters.rewrite is not None:
        yield from rewrites.faults(route.filters.rewrite, route.match.path)
    for changes in (route.filters.request_headers, route.filters.response_headers):
        yield from _header_faults(changes)
    if _CONTROL.search(route.filters.host):
        yield f"the host {route.filters.host!r} has a control character"


def closed(route: Route) -> str | None:
    """Why the route is answered 503: a rule of security that Envoy cannot keep."""
    auth = route.filters.basic_auth
    if auth is not None and auth.users and not passwords.users(auth):
        return "Envoy knows passwords in {SHA}, apr1 and $1$ form only, and no user has one"
    return None


def _header_faults(changes: HeaderChanges) -> Iterable[str]:
    for name in (*changes.remove, *(name for name, _ in (*changes.set, *changes.add))):
        if not _TOKEN.fullmatch(name) or name in ("host", "content-length", "transfer-encoding"):
            yield f"the header {name!r} cannot be changed"
    for name, value in (*changes.set, *changes.add):
        if _CONTROL.search(context.literal(value)):
            yield f"the value of header {name!r} has a control character"
