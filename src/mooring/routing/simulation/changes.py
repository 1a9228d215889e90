"""What is made of a request on its way? Rewritten paths, changed headers, filled templates, the exact place of a redirect."""

from urllib.parse import quote

from msgspec import Struct

from mooring.routing.simulation.matching import Head, pattern
from mooring.routing.simulation.paths import rejoined
from mooring.routing.table import (
    HeaderChanges,
    PathKind,
    PathMatch,
    PathRewrite,
    Redirect,
    RegexRewrite,
    Template,
    Variable,
)

DEFAULT_PORTS = {"http": 80, "https": 443}


class Setting(Struct, frozen=True):
    """What templates and redirects take from a request beside its head. `scheme` is the one that is believed, `client` the
    address; `port` is the one that the client named; `uri` path and query as they were sent."""

    scheme: str
    port: int
    uri: str
    client: str
    request_id: str


def filled(template: Template | str, head: Head, setting: Setting) -> str:
    if isinstance(template, str):
        return template
    return "".join(part if isinstance(part, str) else _value(part, head, setting) for part in template.parts)


def _value(variable: Variable, head: Head, setting: Setting) -> str:
    return {
        Variable.SCHEME: setting.scheme,
        Variable.HOST: head.host,
        Variable.REQUEST_URI: setting.uri,
        Variable.ESCAPED_REQUEST_URI: quote(setting.uri, safe=""),
        Variable.URI: head.path,
        Variable.ARGUMENTS: head.query,
        Variable.METHOD: head.method,
        Variable.CLIENT_ADDRESS: setting.client,
        Variable.REQUEST_ID: setting.request_id,
    }[variable]


def rewritten(rewrite: PathRewrite | RegexRewrite | None, match: PathMatch, path: str) -> str:
    """The path that goes on, without query."""
    if isinstance(rewrite, RegexRewrite):
        found = pattern(rewrite.pattern, rewrite.ignore_case).search(path)
        return path if found is None else _substituted(rewrite.substitution, found.groups())
    if rewrite is None:
        return path
    if rewrite.whole:
        return rewrite.value or "/"
    prefix = match.value.rstrip("/") if match.kind is PathKind.PREFIX else match.value
    return rejoined(rewrite.value, path[len(prefix) :])


def _substituted(substitution: str, groups: tuple[str | None, ...]) -> str:
    """`\\1` to `\\9` are groups, `\\\\` a backslash; a group that took no part is empty."""
    plain, rest = [], substitution
    while rest:
        before, backslash, rest = rest.partition("\\")
        plain.append(before)
        if backslash and rest[:1].isdigit():
            number = int(rest[0])
            plain.append((groups[number - 1] or "") if 0 < number <= len(groups) else "")
        elif backslash:
            plain.append(rest[:1])
        rest = rest[1:] if backslash else ""
    return "".join(plain)


def changed(
    headers: tuple[tuple[str, str], ...], changes: HeaderChanges, head: Head, setting: Setting
) -> tuple[tuple[str, str], ...]:
    """Removed, set, added; names in lower case."""
    gone = {*changes.remove, *(name for name, _ in changes.set)}
    kept = [each for each in headers if each[0] not in gone]
    return (*kept, *((name, filled(value, head, setting)) for name, value in (*changes.set, *changes.add)))


def location(redirect: Redirect, match: PathMatch, head: Head, setting: Setting) -> str:
    """The Location of a redirect, absolute unless `url` is not."""
    if redirect.url is not None:
        return filled(redirect.url, head, setting)
    scheme = redirect.scheme or setting.scheme
    port = setting.port if redirect.port is None else redirect.port
    if port in (0, DEFAULT_PORTS[scheme]) or (redirect.port is None and port == DEFAULT_PORTS[setting.scheme]):
        authority = redirect.host or head.host
    else:
        authority = f"{redirect.host or head.host}:{port}"
    path = rewritten(redirect.path, match, head.path)
    return f"{scheme}://{authority}{path}" + (f"?{head.query}" if head.query else "")
