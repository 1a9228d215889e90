"""What does a route tell the Lua filter? A context (script.py reads it), None where the filter is not needed."""

from collections.abc import Iterable, Mapping

from google.protobuf.struct_pb2 import Struct

from mooring.routing.table import (
    ErrorPages,
    ExternalAuth,
    HeaderChanges,
    PathKind,
    PathMatch,
    Redirect,
    Route,
    Template,
)
from mooring.routing.xds import passwords

Text = str | Template


def context(route: Route, body: int) -> Struct | None:
    """`body`: octets that a declared length may not exceed, 0 for any."""
    filters = route.filters
    out: dict[str, object] = {}
    if body:
        out["body"] = body
    if not route.policy.access_log:
        out["silent"] = True
    if filters.cors is not None:
        out["cors"] = True
    if filters.external_auth is not None:
        out["auth"] = _auth(filters.external_auth, filters.satisfy_any and bool(filters.access and filters.access.allowed))
    if filters.basic_auth is not None:
        out["realm"] = filters.basic_auth.realm.replace("\\", "").replace('"', "")
        if passwords.is_by_script(filters.basic_auth):
            out["users"] = dict(passwords.users(filters.basic_auth))
    if isinstance(route.action, Redirect) and not is_native(route.action):
        out["redirect"] = _redirect(route.action, route.match.path)
    if not is_literal(filters.request_headers):
        out["request"] = _changes(filters.request_headers)
    if not is_literal(filters.response_headers):
        out["response"] = _changes(filters.response_headers)
    if filters.error_pages is not None:
        out["pages"] = _pages(filters.error_pages)
    if not out:
        return None
    struct = Struct()
    struct.update(out)
    return struct


def is_literal(changes: HeaderChanges) -> bool:
    """Envoy's own header changes do; all of a route's are left to Lua otherwise, to keep their order."""
    return all(isinstance(value, str) or value.is_literal for _, value in (*changes.set, *changes.add))


def is_native(redirect: Redirect) -> bool:
    """Envoy's own redirect says exactly this. It keeps an odd port when only the scheme changes, and takes no templates."""
    return redirect.url is None and redirect.port != 0 and redirect.status in (301, 302, 303, 307, 308)


def literal(value: Text) -> str:
    """Of a text without variables."""
    return value if isinstance(value, str) else "".join(part for part in value.parts if isinstance(part, str))


def _parts(text: Text) -> list[object]:
    parts: Iterable[object] = (text,) if isinstance(text, str) else text.parts
    return [part if type(part) is str else {"variable": str(getattr(part, "value", part))} for part in parts]


def _pairs(pairs: Iterable[tuple[str, Text]]) -> list[object]:
    return [{"name": name, "parts": _parts(value)} for name, value in pairs]


def _changes(changes: HeaderChanges) -> Mapping[str, object]:
    return {"remove": list(changes.remove), "set": _pairs(changes.set), "add": _pairs(changes.add)}


def _auth(auth: ExternalAuth, satisfy_any: bool) -> Mapping[str, object]:
    out: dict[str, object] = {
        "cluster": auth.cluster,
        "host": auth.host,
        "path": _parts(auth.path),
        "method": auth.method,
        "take": list(auth.take),
        "give": _pairs(auth.give),
        "always_set_cookie": auth.always_set_cookie,
        "timeout": max(1, round(auth.timeout * 1000)),
        "satisfy_any": satisfy_any,
    }
    if auth.sign_in is not None:
        out["sign_in"] = _parts(auth.sign_in)
    return out


def _redirect(redirect: Redirect, matched: PathMatch) -> Mapping[str, object]:
    out: dict[str, object] = {"status": str(redirect.status), "scheme": redirect.scheme, "host": redirect.host}
    if redirect.port is not None:
        out["port"] = str(redirect.port or "")
    if redirect.url is not None:
        out["url"] = _parts(redirect.url)
    if redirect.path is not None:
        out["path"] = redirect.path.value
        prefix = matched.value.rstrip("/") if matched.kind is PathKind.PREFIX else matched.value
        is_known = matched.kind in (PathKind.PREFIX, PathKind.STRING_PREFIX) and not redirect.path.whole
        out["octets"] = len(prefix.encode()) if is_known else -1
    return out


def _pages(pages: ErrorPages) -> Mapping[str, object]:
    return {
        "statuses": {str(status): True for status in pages.statuses},
        "cluster": pages.cluster,
        "headers": [{"name": name, "text": value} for name, value in pages.headers],
    }
