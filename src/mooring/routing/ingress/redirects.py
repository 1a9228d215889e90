"""When is a client sent elsewhere by how an Ingress is set up? To HTTPS, to a root, to the form with a slash, to www."""

from collections.abc import Collection, Sequence

from mooring.routing.ingress.paths import is_challenge
from mooring.routing.ingress.reading import EVERY_HOST, Candidate, Reading, counterpart
from mooring.routing.ingress.wishes import SslRedirect, Wishes
from mooring.routing.table import (
    ANY_PATH,
    Answer,
    ClientCertificates,
    Condition,
    How,
    Match,
    Part,
    PathKind,
    PathMatch,
    PathRewrite,
    Redirect,
    Route,
    Verify,
    VirtualHost,
)

ANNOTATION = "metadata.annotations[nginx.ingress.kubernetes.io/{}]"
_NOT_HTTPS_BEFORE = Condition(Part.HEADER, How.EXACT, "x-forwarded-proto", "https", invert=True)


def elsewhere(wishes: Wishes, host: str, candidate: Candidate) -> Redirect | None:
    """Where all requests of a rule are sent, and what no path of its host takes; never those of hosts that nobody names."""
    return None if host == EVERY_HOST and candidate.is_default else wishes.redirect


def wants_https(wishes: Wishes, host: str, clients: ClientCertificates | None, has_tls: bool, candidate: Candidate) -> bool:
    """Whether plain HTTP is redirected. Where clients must show certificates it always is: nobody could ask for one there."""
    if is_challenge(candidate.path):
        return False
    if are_required(clients):
        return True
    if elsewhere(wishes, host, candidate) is not None:
        return False
    return wishes.ssl_redirect is SslRedirect.ALWAYS or (wishes.ssl_redirect is SslRedirect.IF_TLS and has_tls)


def are_required(clients: ClientCertificates | None) -> bool:
    return clients is not None and clients.verify is Verify.REQUIRED


def https(match: PathMatch, name: str, source: str, believes: bool) -> Route:
    """`believes`: a proxy before this one may have taken the request by HTTPS, and says so."""
    conditions = (_NOT_HTTPS_BEFORE,) if believes else ()
    return Route(f"{name}/https", Match(match, conditions), Redirect(308, scheme="https", port=0), source=source)


def without_certificate(match: PathMatch, name: str, source: str) -> Route:
    """After `https`, where certificates are required: what a proxy that is believed has taken by HTTPS shows none."""
    answer = Answer(400, because="clients must show a certificate, and the proxy before this one has ended their TLS")
    return Route(f"{name}/uncertified", Match(match), answer, source=source)


def app_root(reading: Reading, host: str) -> Route:
    action = Redirect(302, path=PathRewrite(reading.wishes.app_root, whole=True))
    name = f"{reading.about.namespace}/{reading.about.name}/app-root/{host}"
    return Route(name, Match(PathMatch(PathKind.EXACT, "/")), action, source=f"{reading.about} {ANNOTATION.format('app-root')}")


def missing_slash(match: PathMatch, name: str, source: str, others: Collection[PathMatch]) -> list[Route]:
    """Where only `/foo/` is declared, literally, `/foo` is redirected there, as NGINX does. Of type Prefix both are the same
    and of type Exact only one is meant."""
    if match.kind is not PathKind.STRING_PREFIX or not match.value.endswith("/") or match.ignore_case:
        return []
    bare = match.value[:-1]
    if any(PathMatch(kind, bare) in others for kind in (PathKind.EXACT, PathKind.PREFIX, PathKind.STRING_PREFIX)):
        return []
    action = Redirect(301, path=PathRewrite(match.value, whole=True))
    return [Route(f"{name}/slash", Match(PathMatch(PathKind.EXACT, bare)), action, source=source)]


def other_name(host: str, primaries: Sequence[Reading]) -> VirtualHost | None:
    """With from-to-www-redirect, the host with or without `www.` that leads here, unless it has rules of its own."""
    owner = next((each for each in primaries if each.wishes.www_redirect), None)
    if owner is None or (other := counterpart(host)) is None:
        return None
    source = f"{owner.about} {ANNOTATION.format('from-to-www-redirect')}"
    name = f"{owner.about.namespace}/{owner.about.name}/{other}"
    route = Route(name, Match(ANY_PATH), Redirect(308, host=host), source=source)
    return VirtualHost(other, (other,), (route,), source=source)
