"""What does a value point to? Secrets, ConfigMaps, and servers by URL."""

import re
from collections.abc import Mapping

from msgspec import Struct

from mooring.routing.ingress.annotations.notes import BASIC, Notes
from mooring.routing.ingress.annotations.variables import UnknownVariable, template
from mooring.routing.ingress.inward import is_inward, is_odd_address
from mooring.routing.ingress.objects import Name, Secret
from mooring.routing.table import Cluster, Fixed, Template, UpstreamTls

_URL = re.compile(r"(https?)://((?:\$\{?(?:http_)?host\}?(?![A-Za-z0-9_]))?[^/?#$]*)([^#]*)(?:#.*)?", re.ASCII)
_WHOLE_PATH = re.compile(r"/|\$(?:(?:request_)?uri(?![A-Za-z0-9_])|\{(?:request_)?uri\})")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9\-_]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-_]*[A-Za-z0-9])?)*", re.ASCII
)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_HOST_VARIABLE = re.compile(r"\$(?:\{(?:http_)?host\}|(?:http_)?host(?![A-Za-z0-9_]))")


class Unusable(ValueError):
    """`args[0]` is a sentence for people."""


class Server(Struct, frozen=True):
    """`path` is where to ask it, with the query."""

    cluster: Cluster
    host: str
    path: Template


def server(notes: Notes, url: str) -> Server:
    """The server of a URL in whose path variables may stand. Raises Unusable.

    `$host` as the whole host is that of the Ingress's rules, if they have one alone.
    """
    matched = _URL.fullmatch(url)
    if matched is None:
        raise Unusable("it is not an absolute http or https URL")
    scheme, authority, path = matched.groups()
    if path.startswith("$") and not _WHOLE_PATH.match(path):
        raise Unusable("its host is a variable; name the server's Service")
    host, port = _authority(_one_host(notes, authority), scheme)
    try:
        where = template(path if _WHOLE_PATH.match(path) else f"/{path}")
    except UnknownVariable as unknown:
        raise Unusable(str(unknown.args[0])) from None
    name = f"{scheme}://{host}:{port}"
    tls = UpstreamTls(name=host) if scheme == "https" else None
    return Server(Cluster(name, Fixed(host, port), tls=tls, source=str(notes.about)), host, where)


def _one_host(notes: Notes, authority: str) -> str:
    if "$" not in authority:
        return authority
    hosts = {rule.host for rule in notes.ingress.spec.rules or ()}
    if _HOST_VARIABLE.search(authority) and len(hosts) == 1 and (host := hosts.pop()) and not host.startswith("*"):
        authority = _HOST_VARIABLE.sub(host, authority)
    if "$" in authority:
        raise Unusable("its host is a variable, and the rules do not have one host alone; name the server's Service")
    return authority


def _authority(authority: str, scheme: str) -> tuple[str, int]:
    host, _, number = authority.partition(":")
    if _HOST.fullmatch(host) is None:
        raise Unusable("it has no host")
    if number and (_PORT.fullmatch(number) is None or not 0 < int(number) < 65536):
        raise Unusable("its port is none")
    host = host.lower()
    if is_odd_address(host):
        raise Unusable("its host is neither a name nor an address")
    if is_inward(host):
        raise Unusable("it points into the proxy's own pod or node")
    return host, int(number) if number else (443 if scheme == "https" else 80)


def name_of(notes: Notes, annotation: str, *, bare: bool = True) -> Name:
    """`name` or `namespace/name`, of the Ingress's own namespace alone. Raises Unusable."""
    value = notes.values.get(annotation, "").strip(" \t\r\n")
    if not 0 < len(value) <= 317 or BASIC.fullmatch(value) is None:
        raise Unusable("it names nothing")
    namespace, slash, name = value.rpartition("/")
    if "/" in namespace or not name or (slash and not namespace) or not (slash or bare):
        raise Unusable("it must be written namespace/name")
    if slash and namespace != notes.namespace:
        raise Unusable(f"it is of another namespace ({namespace}), and only {notes.namespace} may be read")
    return notes.namespace, name


def secret(notes: Notes, annotation: str, *, bare: bool = True) -> Secret:
    """Raises Unusable."""
    name = name_of(notes, annotation, bare=bare)
    if name not in notes.objects.secrets:
        raise Unusable(f"there is no Secret {'/'.join(name)}")
    return notes.objects.secrets[name]


def config_map(notes: Notes, annotation: str) -> Mapping[str, str]:
    """Raises Unusable."""
    name = name_of(notes, annotation)
    if name not in notes.objects.config_maps:
        raise Unusable(f"there is no ConfigMap {'/'.join(name)}")
    return notes.objects.config_maps[name]
