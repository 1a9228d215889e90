"""What does Lua do for a route? Its data, as request.lua, answer.lua and balance.lua read them."""

import re

from mooring.routing.nginx.emission import Emission
from mooring.routing.nginx.patterns import checked, of_path, substitution
from mooring.routing.table import (
    Answer,
    CookieAffinity,
    Cors,
    Forward,
    HashKey,
    HashOn,
    HeaderChanges,
    PathRewrite,
    Redirect,
    RegexRewrite,
    Route,
    Template,
    Variable,
)

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class Unservable(ValueError):
    """This route cannot be served as it is written."""


def template(text: Template | str) -> list[object]:
    """As template.lua reads it."""
    if isinstance(text, str):
        return [header_value(text)]
    return [[part.value] if isinstance(part, Variable) else header_value(part) for part in text.parts]


def header_value(text: str) -> str:
    if any((character < " " and character != "\t") or character == "\x7f" for character in text):
        raise Unservable("a control character in a header or target")
    return text


def header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise Unservable(f"{name!r} is not a header's name")
    return name


def replaced(route: Route, rewrite: PathRewrite) -> dict[str, object]:
    return {"value": rewrite.value, "whole": rewrite.whole, "prefix": route.match.path.value}


def leaf_data(emission: Emission, route: Route, action: Forward | Redirect | Answer) -> dict[str, object]:
    filters, data = route.filters, dict[str, object]()
    if filters.cors is not None:
        data["cors"] = _cors(filters.cors)
    if filters.request_headers.add and isinstance(action, Forward):
        data["add"] = [[header_name(name), template(value)] for name, value in filters.request_headers.add]
    if filters.response_headers:
        data["response"] = _changes(filters.response_headers)
    if filters.rewrite is not None and isinstance(action, Forward):
        data["rewrite"] = _rewrite(emission, route, filters.rewrite)
    if isinstance(action, Forward):
        if action.affinity is not None:
            data["affinity"] = _affinity(action.affinity)
        if action.hash_on:
            data["hash"] = [_hash_variable(key) for key in action.hash_on]
    return data


def _rewrite(emission: Emission, route: Route, rewrite: PathRewrite | RegexRewrite) -> dict[str, object]:
    if isinstance(rewrite, PathRewrite):
        if rewrite.whole or not _is_pattern(route):
            return replaced(route, rewrite)
        pattern = emission.pattern(of_path(route.match.path), route.match.path.ignore_case, route.name)
        return {"pattern": pattern, "ignore_case": route.match.path.ignore_case, "substitution": [rewrite.value]}
    pattern = emission.pattern(checked(rewrite.pattern), rewrite.ignore_case, route.name)
    return {"pattern": pattern, "ignore_case": rewrite.ignore_case, "substitution": substitution(rewrite.substitution)}


def _is_pattern(route: Route) -> bool:
    return "regex" in route.match.path.kind.value


def _cors(cors: Cors) -> dict[str, object]:
    lists = {"origins": cors.origins, "methods": cors.methods, "headers": cors.headers, "expose": cors.expose}
    for values in lists.values():
        for value in values:
            header_value(value)
    return lists | {"credentials": cors.credentials, "max_age": cors.max_age}


def _changes(changes: HeaderChanges) -> dict[str, object]:
    return {
        "remove": [header_name(name) for name in changes.remove],
        "set": [[header_name(name), template(value)] for name, value in changes.set],
        "add": [[header_name(name), template(value)] for name, value in changes.add],
    }


def _affinity(cookie: CookieAffinity) -> dict[str, object]:
    for text in (cookie.path, cookie.domain, cookie.same_site):
        if ";" in header_value(text):
            raise Unservable("a semicolon in a cookie's attribute")
    return {
        "name": header_name(cookie.name),
        "seconds": cookie.seconds,
        "path": cookie.path,
        "domain": cookie.domain,
        "same_site": cookie.same_site,
        "secure": cookie.secure,
        "change_on_failure": cookie.change_on_failure,
    }


def _hash_variable(key: HashKey) -> str:
    match key.on:
        case HashOn.SOURCE_ADDRESS:
            return "remote_addr"
        case HashOn.HEADER:
            return "http_" + header_name(key.name).lower().replace("-", "_")
        case HashOn.COOKIE:
            return "cookie_" + header_name(key.name)
        case HashOn.QUERY:
            return "arg_" + key.name
        case HashOn.PATH:
            return "request_uri"
        case HashOn.HOST:
            return "host"


def token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise Unservable(f"{text!r} is not a method")
    return text
