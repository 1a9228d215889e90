"""What happens to a request before it goes on? The filters that are directives of NGINX, and the locations that they need."""

import re
from collections.abc import Iterable
from ipaddress import ip_network

from mooring.routing.nginx.config import Bare, Call, Directive, Name, Value, Word, directive, printed, variable
from mooring.routing.nginx.emission import Emission, milliseconds, named, own_errors
from mooring.routing.nginx.leaves import Unservable, header_name, header_value, template, token
from mooring.routing.nginx.locations import INTERNAL
from mooring.routing.nginx.upstreams import MODULES, headers_for, upstream, upstream_tls
from mooring.routing.table import (
    Access,
    Cluster,
    ErrorPages,
    ExternalAuth,
    Forward,
    Mirror,
    RateLimit,
    Route,
    Speaks,
)

Places = dict[str, Directive]
"""The locations that a group of routes needs beside its own, by their names. What is in one is said by its name."""


def filters_of(emission: Emission, places: Places, route: Route, data: dict[str, object]) -> Iterable[Directive]:
    filters = route.filters
    if filters.access is not None:
        yield from _access(filters.access)
    if filters.rate is not None:
        yield from _rate(emission, filters.rate)
    if filters.satisfy_any:
        yield directive("satisfy", "any")
    if filters.basic_auth is not None:
        lines = "".join(
            f"{name}:{hashed}\n"
            for name, hashed in filters.basic_auth.users
            if name.isprintable() and hashed.isprintable() and ":" not in name
        )
        realm = filters.basic_auth.realm.replace('"', "'")
        # To NGINX `off` is no realm but no authentication.
        yield directive("auth_basic", header_value("off " if realm == "off" else realm))
        yield directive("auth_basic_user_file", Bare(emission.file(lines.encode(), ".users", route.name)))
    if filters.external_auth is not None:
        yield from _external_auth(emission, places, route, filters.external_auth, data)
    if isinstance(route.action, Forward):
        for index, mirror in enumerate(filters.mirrors, 1):
            yield from _mirror(emission, places, route, mirror, index)
        if filters.mirrors:
            data["mirrors"] = [
                {"percent": each.percent, "path": template(each.path) if each.path else None} for each in filters.mirrors
            ]
        if filters.error_pages is not None:
            yield from _error_pages(emission, places, route, filters.error_pages, data)
    if "pages" in data:
        # Where answers are taken away from backends, a page is only for what was asked.
        if 502 not in (filters.error_pages or ErrorPages((), "")).statuses:
            yield directive("error_page", "502", "=", Bare("@failed"))
    elif "sign_in" in data:
        # Of two for one status the first counts.
        yield from own_errors()


def _access(access: Access) -> Iterable[Directive]:
    for one in access.denied:
        yield directive("deny", str(ip_network(one, strict=False)))
    for one in access.allowed:
        yield directive("allow", str(ip_network(one, strict=False)))
    if access.allowed:
        yield directive("deny", "all")


def _rate(emission: Emission, rate: RateLimit) -> Iterable[Directive]:
    """Long because of two shapes of key. Zones are shared by routes of the same limits: the key begins with the route. Their
    names say all that is in them, for NGINX refuses to reload with a zone whose key has changed."""
    exempt = tuple(sorted(str(ip_network(one, strict=False)) for one in rate.exempt))
    group = named("|".join(exempt))
    key: tuple[str | Name, ...] = (Name("m_route"), " ", Name("binary_remote_addr"))
    if exempt:
        emission.zones.setdefault(
            f"exempt {group}",
            (
                directive(
                    "geo",
                    Bare(f"$m_exempt_{group}"),
                    block=(directive("default", "0"), *(directive(one, "1") for one in exempt)),
                ),
                directive(
                    "map",
                    variable(f"m_exempt_{group}"),
                    Bare(f"$m_client_{group}"),
                    block=(directive("1", ""), directive("default", Value(key))),
                ),
            ),
        )
        key = (Name(f"m_client_{group}"),)
    for amount, unit in ((rate.per_second, "s"), (rate.per_minute, "m")):
        if amount:
            zone = f"rate_{amount}{unit}_{group}"
            emission.zones.setdefault(
                zone, (directive("limit_req_zone", Value(key), f"zone={zone}:5m", f"rate={amount}r/{unit}"),)
            )
            burst = (f"burst={amount * rate.burst}", "nodelay") if rate.burst else ()
            yield directive("limit_req", f"zone={zone}", *burst)
    if rate.per_second or rate.per_minute:
        yield directive("limit_req_status", str(rate.status))
    if rate.connections:
        zone = f"connections_{group}"
        emission.zones.setdefault(zone, (directive("limit_conn_zone", Value(key), f"zone={zone}:5m"),))
        yield directive("limit_conn", zone, str(rate.connections))
        yield directive("limit_conn_status", str(rate.status))
    if rate.bytes_per_second:
        yield directive("limit_rate", str(rate.bytes_per_second))
        yield directive("limit_rate_after", str(rate.bytes_after))


def _external_auth(
    emission: Emission, places: Places, route: Route, auth: ExternalAuth, data: dict[str, object]
) -> Iterable[Directive]:
    cluster = emission.table.clusters.get(auth.cluster)
    if cluster is None or cluster.speaks is not Speaks.HTTP1:
        raise Unservable(f"the authentication server {auth.cluster!r} is not there or does not speak HTTP/1.1")
    data["question"] = template(auth.path)
    block = _question(emission, route.name, auth, cluster)
    path = f"{INTERNAL}auth/{_key(block)}"
    places[path] = directive("location", "=", Bare(path), block=block)
    yield directive("auth_request", Bare(path))
    if auth.sign_in is not None:
        data["sign_in"] = template(auth.sign_in)
        places["@sign-in"] = directive(
            "location", Bare("@sign-in"), block=(directive("content_by_lua_block", Call("sign_in")),)
        )
        yield directive("error_page", "401", "=", Bare("@sign-in"))
    for index, name in enumerate(auth.take):
        source = "upstream_http_" + re.sub(r"[^a-z0-9]", "_", header_name(name).lower())
        yield directive("auth_request_set", Bare(f"$m_take{index}"), variable(source))
    yield directive("auth_request_set", Bare("$m_auth_cookies"), variable("upstream_http_set_cookie"))
    data["auth_cookies"] = "always" if auth.always_set_cookie else "good"


def _key(block: Iterable[Directive]) -> str:
    """Says all that is in it. Raises ValueError for what cannot be written down."""
    return named(printed(block).text)


def _question(emission: Emission, name: str, auth: ExternalAuth, cluster: Cluster) -> tuple[Directive, ...]:
    headers: dict[str, Word] = {
        "Host": auth.host,
        "Content-Length": "",
        "X-Original-URL": Value((Name("m_forwarded_proto"), "://", Name("m_authority"), Name("request_uri"))),
        "X-Original-Method": variable("request_method"),
        "X-Sent-From": "mooring",
    }
    return (
        directive("internal"),
        directive("client_max_body_size", "0"),
        directive("rewrite_by_lua_block", Call("question")),
        directive("proxy_pass_request_body", "off"),
        *((directive("proxy_method", token(auth.method)),) if auth.method else ()),
        *headers_for(emission, "proxy", headers, auth.give, emission.headers),
        *(directive(f"proxy_{each}_timeout", milliseconds(auth.timeout)) for each in ("connect", "read", "send")),
        directive("proxy_pass", Bare(upstream(emission, cluster))),
        *upstream_tls(emission, "proxy", cluster.tls, name),
    )


def _mirror(emission: Emission, places: Places, route: Route, mirror: Mirror, index: int) -> Iterable[Directive]:
    cluster = emission.table.clusters.get(mirror.cluster)
    if cluster is None or cluster.speaks is not Speaks.HTTP1:
        return
    headers: dict[str, Word] = {"Host": mirror.host} if mirror.host else {}
    if not mirror.body:
        headers["Content-Length"] = ""
    to = upstream(emission, cluster)
    keeps = emission.table.front_door.keeps_encoded_slashes
    block = (
        directive("internal"),
        directive("client_max_body_size", "0"),
        directive("rewrite_by_lua_block", Call("mirror", (index,))),
        *headers_for(emission, "proxy", headers, (), emission.headers),
        *(() if mirror.body else (directive("proxy_pass_request_body", "off"),)),
        directive("proxy_pass", Value((to, Name("m_mirrored"))) if keeps else Bare(to)),
        *upstream_tls(emission, "proxy", cluster.tls, route.name),
    )
    path = f"{INTERNAL}mirror/{_key(block)}"
    places[path] = directive("location", "=", Bare(path), block=block)
    yield directive("mirror", Bare(path))
    if index == 1:
        yield directive("mirror_request_body", "on" if any(each.body for each in route.filters.mirrors) else "off")


def _error_pages(
    emission: Emission, places: Places, route: Route, pages: ErrorPages, data: dict[str, object]
) -> Iterable[Directive]:
    cluster = emission.table.clusters.get(pages.cluster)
    if cluster is None or cluster.speaks is not Speaks.HTTP1:
        return
    found: dict[int, str] = {}
    yield from (directive(f"{module}_intercept_errors", "on") for module in MODULES)
    for status in pages.statuses:
        headers: dict[str, Word] = {
            "X-Code": str(status),
            "X-Format": variable("http_accept"),
            "X-Original-URI": variable("request_uri"),
            "Content-Length": "",
            **{header_name(name): header_value(value) for name, value in pages.headers},
        }
        block = (
            directive("rewrite", Bare("^"), Bare("/?"), "break"),
            directive("proxy_method", "GET"),
            directive("proxy_pass_request_body", "off"),
            *headers_for(emission, "proxy", headers, (), emission.headers),
            directive("proxy_pass", Bare(upstream(emission, cluster))),
            *upstream_tls(emission, "proxy", cluster.tls, route.name),
            directive("log_by_lua_block", Call("done")),
        )
        page = found[status] = f"@page-{_key(block)}"
        places[page] = directive("location", Bare(page), block=block)
        yield directive("error_page", str(status), "=", Bare(page))
    data["pages"] = found
