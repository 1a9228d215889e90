"""Who may say what holds for a whole host: its certificate, the redirect to https, which certificates clients show?

A host is its most senior Ingress's, and that one's namespace's. Others may add paths to it, with what they want for those; TLS
too where the owner has none, but that redirects their own paths only.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from mooring.routing.finding import Finding, Level, ObjectName
from mooring.routing.ingress.reading import EFFECT_503, Reading
from mooring.routing.table import ClientCertificates

Inherited = tuple[str, str]
"""(namespace, key of a certificate)"""
NOTHING: Inherited = "", ""


class Asked(Struct, frozen=True):
    """`clients` must be shown. `closed`: Ingresses whose rules are not served, as they ask for others, and why."""

    clients: ClientCertificates | None = None
    closed: Mapping[ObjectName, str] = {}
    findings: tuple[Finding, ...] = ()


def primaries(readings: Sequence[Reading]) -> list[Reading]:
    """All but canaries."""
    return [each for each in readings if each.wishes.canary is None]


def owners(readings: Sequence[Reading]) -> list[Reading]:
    """Of primaries, those of the most senior one's namespace."""
    return [each for each in readings if each.about.namespace == readings[0].about.namespace]


def tls(host: str, readings: Sequence[Reading], has_default: bool, inherited: Inherited = NOTHING) -> Mapping[str, str]:
    """By namespace that wants TLS for the host, the key of the certificate, '' for the default one; that of the first is shown.

    `inherited`: of the wildcard that the host is under. It counts within its namespace, where nobody says anything else.
    """
    found: dict[str, str] = {}
    for each in readings:
        key = each.tls.get(host)
        if key or (key == "" and has_default):
            found.setdefault(each.about.namespace, key)
    namespace, key = inherited
    if not any(host in each.tls for each in readings) and readings and readings[0].about.namespace == namespace:
        return {namespace: key}
    return found


def inherited(host: str, by_host: Mapping[str, Sequence[Reading]]) -> Inherited:
    """What the wildcard that `host` is under has to give."""
    wildcard = "*." + host.partition(".")[2]
    if wildcard == host or wildcard not in by_host:
        return NOTHING
    of_wildcard = tls(wildcard, primaries(by_host[wildcard]), has_default=False)
    return next(iter(of_wildcard.items()), NOTHING)


def asked(host: str, readings: Sequence[Reading]) -> Asked:
    """Client certificates are asked for before anything is known of the path: they are one thing for a host, and up to its
    owners. Rules of others that want different ones are closed."""
    wanted = [each for each in owners(readings) if each.wishes.clients is not None] if readings else []
    found = wanted[0].wishes.clients if wanted else None
    findings: list[Finding] = []
    closed: dict[ObjectName, str] = {}
    for each in wanted[1:]:
        if each.wishes.clients != found:
            message = f"client certificates of {host} are already as {wanted[0].about} says"
            findings.append(_conflict(each.about, message, "that one's hold"))
    for each in readings:
        if each.wishes.clients not in (None, found) and each not in wanted:
            message = f"which certificates clients of {host} show is for namespace {readings[0].about.namespace} to say"
            findings.append(_conflict(each.about, message, EFFECT_503))
            closed[each.about] = message
    return Asked(found, closed, tuple(findings))


def _conflict(about: ObjectName, message: str, effect: str) -> Finding:
    field = "metadata.annotations[nginx.ingress.kubernetes.io/auth-tls-secret]"
    return Finding(about, Level.WARNING, "Conflict", field, message, effect)
