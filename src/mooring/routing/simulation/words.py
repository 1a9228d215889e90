"""How is each decision about a request told? What was decided, by which rule, and where that is written."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from mooring.routing.simulation.filters import Step
from mooring.routing.simulation.matching import Head, path_matches, told
from mooring.routing.table import (
    Answer,
    Chain,
    ClientCertificates,
    Forward,
    Listener,
    Match,
    Mirror,
    Passthrough,
    PathKind,
    Redirect,
    RegexRewrite,
    Route,
    RouteTable,
    Terminate,
    VirtualHost,
)

_SHOWN = 8
"""Names that a sentence lists before it says how many more there are."""


class _Share(Protocol):
    @property
    def cluster(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def member(self) -> object: ...


def nobody_listens(table: RouteTable, port: int) -> Step:
    ports = ", ".join(str(each.port) for each in table.listeners) or "none"
    return Step(f"no connection: nobody listens at port {port}", f"the ports are {ports}")


def listens(listener: Listener) -> Step:
    return Step(f"listener {listener.name} takes it", f"it has port {listener.port}")


def wrong_scheme(listener: Listener, scheme: str) -> Step:
    return Step(
        f"no answer: port {listener.port} does not speak {scheme}",
        f"listener {listener.name} {'asks for TLS' if listener.is_tls else 'knows no TLS'}",
    )


def no_chain(listener: Listener, name: str) -> Step:
    known = _some([each for chain in listener.chains for each in chain.server_names])
    return Step("no connection: TLS fails", f"{name or 'a client without SNI'} is none of {known}, and there is no default")


def chosen_chain(table: RouteTable, chain: Chain, name: str, by: str) -> Step:
    asked = f"the client asks for {name}" if name else "the client asks for no name"
    because = f"{asked}, {_by(name, by)}" if name else f"{asked}, this one is for all others"
    if isinstance(chain.tls, Terminate):
        certificate = table.certificates.get(chain.tls.certificate)
        source = certificate.source if certificate else ""
        return Step(f"TLS ends here, with the certificate of {source or chain.tls.certificate}", because, source)
    source = chain.tls.source if chain.tls else ""
    return Step("TLS is not ended here", because, source)


def passed_through(tls: Passthrough) -> Step:
    return Step(f"the connection goes on to {tls.cluster} as it is", "TLS is passed through: nobody here reads it", tls.source)


def certified(clients: ClientCertificates, *, shown: bool) -> Step:
    decision = "the client's certificate is taken" if shown else "the client shows no certificate"
    return Step(decision, f"client certificates are {clients.verify.value}", clients.source)


def found_host(host: VirtualHost, name: str, by: str) -> Step:
    return Step(f"virtual host {host.name}", f"the host is {name}: {_by(name, by)}", host.source)


def _by(name: str, by: str) -> str:
    if by == name:
        return "its very name"
    return "no other has it, and this one takes all" if by == "*" else f"{by} covers it"


def no_host(hosts: Sequence[VirtualHost], name: str) -> Step:
    known = _some([each for host in hosts for each in host.hosts])
    return Step("404: nobody serves this host", f"{name} is none of {known}" if hosts else "there is no virtual host")


def is_near(match: Match, head: Head) -> bool:
    """Whether a person may have expected this route: its path fits, or nearly does."""
    if path_matches(match.path, head.path):
        return True
    value = match.path.value
    if match.path.kind in (PathKind.REGEX, PathKind.REGEX_PREFIX):
        return False
    return value.strip("/").lower() == head.path.strip("/").lower() or (
        value != "/" and head.path.lower().startswith(value.lower())
    )


def passed_over(route: Route, reason: str) -> Step:
    return Step(f"not route {route.name}", reason, route.source)


def no_route(host: VirtualHost, head: Head) -> Step:
    known = _some([told(each.match) for each in host.routes], "; ")
    return Step(
        f"404: no route of {host.name} matches {head.method} {head.path}",
        f"it has {known}" if host.routes else "it has none",
        host.source,
    )


def found_route(route: Route) -> Step:
    return Step(f"route {route.name}", f"{told(route.match)}: the first that matches", route.source)


def answers(route: Route, answer: Answer) -> Step:
    return Step(f"{answer.status}: answered by the proxy", answer.because or "the route says so", route.source)


def redirects(route: Route, redirect: Redirect, place: str) -> Step:
    return Step(f"{redirect.status}: redirected to {place}", "the route is a redirect", route.source)


def changed(route: Route, head: Head, host: str, path: str) -> Iterator[Step]:
    filters = route.filters
    if filters.rewrite is not None:
        if isinstance(filters.rewrite, RegexRewrite):
            how = f"{filters.rewrite.pattern} becomes {filters.rewrite.substitution}"
        else:
            how = f"{'the whole path' if filters.rewrite.whole else 'the prefix'} becomes {filters.rewrite.value}"
        yield Step(f"the backend sees the path {path}", how, route.source)
    if host:
        yield Step(f"the backend sees the host {host}", "the route replaces it", route.source)
    for whose, changes in (("request", filters.request_headers), ("answer", filters.response_headers)):
        if changes:
            done = (
                *(f"without {name}" for name in changes.remove),
                *(f"{name} set" for name, _ in changes.set),
                *(f"{name} added" for name, _ in changes.add),
            )
            yield Step(f"the {whose}'s headers change: {', '.join(done)}", "the route says so", route.source)


def mirrored(route: Route, mirror: Mirror, path: str) -> Step:
    often = "a copy" if mirror.percent == 100 else f"a copy of {mirror.percent:g} %"
    return Step(f"{often} goes to {mirror.cluster}, as {path}", "its answer is thrown away", route.source)


def shared(table: RouteTable, route: Route, forward: Forward, shares: Sequence[_Share]) -> Iterator[Step]:
    total = sum(each.weight for each in forward.to)
    if not total:
        yield Step(
            "503: there is nobody to forward to", "no backend has a weight" if forward.to else "no backend", route.source
        )
        return
    for each in forward.to:
        cluster = table.clusters.get(each.cluster)
        source = cluster.source if cluster else ""
        if not each.weight:
            yield Step(f"never to {each.cluster}", "its weight is 0", route.source)
            continue
        count = sum(share.cluster == each.cluster and share.member is not None for share in shares)
        weight = "the only backend" if len(forward.to) == 1 else f"weight {each.weight} of {total}"
        if count:
            yield Step(f"to {each.cluster}, {_endpoints(count)}", weight, source or route.source)
        else:
            yield Step(f"503 for {each.cluster}: it has no endpoint that is ready", weight, source or route.source)
    if forward.affinity:
        yield Step(
            f"the answer sets the cookie {forward.affinity.name}",
            "requests that bring it go to the same endpoint while that lives",
            route.source,
        )
    if forward.hash_on:
        keys = ", ".join(f"{each.on.value} {each.name}".strip() for each in forward.hash_on)
        yield Step("one endpoint always", f"chosen by {keys}: requests that agree in it go to the same", route.source)


def _endpoints(count: int) -> str:
    return "its one endpoint" if count == 1 else f"one of its {count} endpoints"


def _some(names: Sequence[str], between: str = ", ") -> str:
    more = len(names) - _SHOWN
    return between.join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
