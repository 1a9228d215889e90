"""What do all Ingresses of a class mean together? API objects in, a RouteTable out, and everything there is to say about them.

Three steps: each Ingress is read by itself (reading.py), the readings of each host are merged (hosts.py), and the hosts are
hung on the listeners (listeners.py). Each step's results are kept in a Memo, so that a change costs what it touches.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from msgspec import structs

from mooring.routing.finding import Finding, Level, ObjectName
from mooring.routing.ingress import parameters
from mooring.routing.ingress.classes import of_class
from mooring.routing.ingress.hosts import HostOptions, HostView
from mooring.routing.ingress.listeners import DEFAULT_CERTIFICATE, Served, plain_listener, tls_listener
from mooring.routing.ingress.memo import Memo
from mooring.routing.ingress.objects import Objects, SetOf, Translation
from mooring.routing.ingress.ownership import inherited
from mooring.routing.ingress.reading import Reading
from mooring.routing.table import Certificate, Cluster, Listener, RouteTable, VirtualHost

MOST_FINDINGS = 50
"""Of one object."""


def build(objects: Objects, class_name: str, now: datetime, memo: Memo | None = None) -> Translation:
    """The translation of all Ingresses of the IngressClass. `now`, with a time zone, is what certificates are held against.

    With a `memo` of earlier calls for the same class it is the same, sooner.
    """
    memo = memo or Memo()
    found = parameters.read(class_name, objects)
    readings = [memo.read(each, objects, found.defaults, now) for each in of_class(objects, class_name)]
    by_host: dict[str, list[Reading]] = {}
    for reading in readings:
        for host in reading.paths:
            by_host.setdefault(host, []).append(reading)
    door, default = found.front_door, found.certificate or objects.default_certificate
    believes = bool(door.trusted_hops or door.trusted_proxies)
    options = HostOptions(default is not None, believes, found.hsts)
    views = {
        host: memo.merge(host, by_host[host], structs.replace(options, inherited=inherited(host, by_host)))
        for host in sorted(by_host)
    }
    assembly = _Assembly({host: view for host, view in views.items() if view.is_served}, readings, memo)
    served = frozenset((each.about.namespace, each.about.name) for each in readings)
    memo.forget(served, frozenset(views))
    table = RouteTable(
        assembly.listeners(default is not None),
        assembly.clusters(),
        assembly.certificates(default),
        door,
    )
    told = (*found.findings, *(finding for each in readings for finding in each.findings))
    told = (*told, *(finding for view in views.values() for finding in view.findings), *assembly.findings)
    return Translation(table, served, tuple(_bounded(dict.fromkeys(told))), assembly.sets())


def _bounded(told: Iterable[Finding]) -> Iterator[Finding]:
    """Nobody reads, and no API server should have to keep, more than so many of one object."""
    count: dict[ObjectName, int] = {}
    for each in told:
        count[each.about] = number = count.get(each.about, 0) + 1
        if number <= MOST_FINDINGS:
            yield each
    for about, number in count.items():
        if number > MOST_FINDINGS:
            message = f"{number - MOST_FINDINGS} more things are wrong than are told"
            yield Finding(about, Level.WARNING, "TooMany", "metadata.name", message)


class _Assembly:
    """All hosts together: who has which name, and what is shown for it."""

    def __init__(self, views: Mapping[str, HostView], readings: Sequence[Reading], memo: Memo) -> None:
        self.views, self.readings, self.memo = views, readings, memo
        self.findings: list[Finding] = []
        self.alias_of: dict[str, Reading] = {}
        aliases = self._aliases()
        self.served = [self._served(host, view, aliases.get(host, ())) for host, view in views.items()]
        self.names = {name for each in self.served for name in each.secure.hosts}
        self.redirecting: dict[str, VirtualHost] = {}
        for view in views.values():
            if view.www is not None and view.www.name not in self.names:
                self.redirecting.setdefault(view.www.name, view.www)
        self.shown = self._shown()

    def _aliases(self) -> dict[str, tuple[str, ...]]:
        """By host. A name that has rules of its own is nobody's alias; of several that want it the most senior has it."""
        wanted = [
            (reading.seniority, host, alias, reading) for host, view in self.views.items() for alias, reading in view.aliases
        ]
        owner: dict[str, tuple[str, Reading]] = {}
        found: dict[str, list[str]] = {}
        for _, host, alias, reading in sorted(wanted, key=lambda each: each[:3]):
            if alias == host or (alias in owner and owner[alias][0] == host):
                continue
            if alias in self.views or alias in owner:
                whose = (
                    f"an alias of {owner[alias][0]} by {owner[alias][1].about}"
                    if alias in owner
                    else "a host with rules of its own"
                )
                field = "metadata.annotations[nginx.ingress.kubernetes.io/server-alias]"
                message = f"{alias} is already {whose}"
                self.findings.append(
                    Finding(reading.about, Level.WARNING, "Conflict", field, message, f"it is no alias of {host}")
                )
                continue
            owner[alias] = host, reading
            self.alias_of[alias] = reading
            found.setdefault(host, []).append(alias)
        return {host: tuple(names) for host, names in found.items()}

    def _served(self, host: str, view: HostView, aliases: tuple[str, ...]) -> Served:
        kept = self.memo.served(host, view, aliases, None)
        if kept is not None:
            return kept
        plain, secure = view.plain, view.secure
        if aliases:
            names = (host, *aliases)
            secure = structs.replace(view.secure, hosts=names)
            plain = secure if view.plain is view.secure else structs.replace(view.plain, hosts=names)
        made = Served(view, plain, secure)
        self.memo.served(host, view, aliases, made)
        return made

    def _shown(self) -> dict[str, str]:
        """By server name, the key of its certificate, '' for the default one."""
        found = {name: each.view.certificate for each in self.served for name in each.secure.hosts}
        for reading in self.readings:
            for name, key in reading.tls.items() if reading.wishes.canary is None else ():
                if name in self.alias_of:
                    if key and self.alias_of[name] is reading:
                        found[name] = key
                elif name not in self.views:
                    found.setdefault(name, key)
        return found

    def listeners(self, has_default: bool) -> tuple[Listener, ...]:
        others = list(self.redirecting.values())
        plain = plain_listener(self.served, others)
        secure = tls_listener(self.served, others, self.shown, has_default, plain.chains[0].virtual_hosts)
        return (plain, secure) if secure else (plain,)

    def clusters(self) -> dict[str, Cluster]:
        found: dict[str, Cluster] = {}
        for view in self.views.values():
            found.update(view.clusters)
        for reading in self.readings:
            found.update((each.name, each) for each in reading.wishes.clusters)
        return found

    def certificates(self, default: Certificate | None) -> dict[str, Certificate]:
        found: dict[str, Certificate] = {} if default is None else {DEFAULT_CERTIFICATE: default}
        used = set(self.shown.values())
        for reading in self.readings:
            found.update((key, each) for key, each in reading.certificates.items() if key in used)
            found.update(reading.wishes.certificates)
        return found

    def sets(self) -> dict[str, SetOf]:
        found: dict[str, SetOf] = {}
        for view in self.views.values():
            found.update(view.sets)
        return found
