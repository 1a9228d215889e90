"""What is there to say of one Ingress? Its class and proxies, what its hosts and paths lead to, and what is wrong: one value.

Pure: a Case in, an Explanation out. `mooring explain ingress/NAME` prints it, as a page or as data.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cryptography import x509
from msgspec import Struct

from mooring.app.ingress_fixes import fix
from mooring.app.requesting import LACKS, Cluster, Front, front
from mooring.control.gateway import REJECTED
from mooring.model.ingress import PROXIES, Ingress
from mooring.model.kinds import INGRESS
from mooring.routing.finding import Finding, Level, ObjectName
from mooring.routing.ingress.classes import class_of
from mooring.routing.ingress.members import members
from mooring.routing.ingress.wishes import PLAIN
from mooring.routing.simulation.matching import told as match_text
from mooring.routing.table import Certificate, Endpoints, Forward, Members, Passthrough, Route, RouteTable, Terminate
from mooring.routing.table_text import action_text, settings

Document = dict[str, Any]


class Case(Struct, frozen=True):
    """`events` are those of the namespace."""

    cluster: Cluster
    ingress: Ingress
    now: datetime
    events: tuple[Document, ...] = ()


class Backend(Struct, frozen=True):
    """A cluster that a route leads to. `endpoints`: `ADDRESS:PORT` and the pod, those that are ready now."""

    cluster: str
    weight: int
    endpoints: tuple[str, ...]


class Rule(Struct, frozen=True):
    """One thing that the Ingress makes the proxies do. `listeners` where; `settings` what is not as always."""

    host: str
    listeners: tuple[str, ...]
    request: str
    action: str
    backends: tuple[Backend, ...]
    settings: tuple[str, ...]
    source: str


class Shown(Struct, frozen=True):
    """The certificate that these hosts show. `subject` '' for one that only the proxies know; `expires` as YYYY-MM-DD."""

    hosts: tuple[str, ...]
    certificate: str
    subject: str = ""
    names: tuple[str, ...] = ()
    expires: str = ""
    days: int = 0
    """Until then; negative when it is over."""


class Problem(Struct, frozen=True):
    """A Finding with its fix, or what a proxy has told in an Event."""

    level: Level
    reason: str
    field: str
    message: str
    effect: str = ""
    fix: str = ""


class Explanation(Struct, frozen=True):
    namespace: str
    name: str
    is_served: bool
    facts: Mapping[str, str]
    """What it is, in words, by title."""
    rules: tuple[Rule, ...] = ()
    certificates: tuple[Shown, ...] = ()
    problems: tuple[Problem, ...] = ()
    lacks: tuple[str, ...] = ()
    """What the proxy of its class cannot do of it."""
    unread: tuple[str, ...] = ()


def explain(case: Case) -> Explanation:
    metadata = case.ingress.metadata
    about = ObjectName(INGRESS.kind, metadata.namespace, metadata.name)
    ingress_class = case.cluster.routing.classes.get(class_of(case.ingress))
    ours = ingress_class is not None and ingress_class.spec.controller in PROXIES
    found = front(case.cluster, ingress_class, case.now) if ingress_class is not None and ours else None
    if found is None:
        return Explanation(metadata.namespace, metadata.name, False, dict(_facts(case, None)), problems=tuple(_unserved(case)))
    own = Own(str(about), found.translation.table)
    return Explanation(
        metadata.namespace,
        metadata.name,
        True,
        dict(_facts(case, found)),
        tuple(own.rules(members(found.translation.sets, case.cluster.objects.slices))),
        tuple(own.certificates(case.now)),
        tuple(_problems(case, found, about)),
        tuple(own.lacks(found.proxy)),
        case.cluster.unread,
    )


# What it is -----------------------------------------------------------------------------------------------------------------


def _facts(case: Case, found: Front | None) -> Iterator[tuple[str, str]]:
    name = class_of(case.ingress)
    known = case.cluster.routing.classes.get(name)
    if known is None:
        yield "Class", f"{name}: there is no such IngressClass" if name else "none"
    else:
        yield "Class", f"{name}{', the default' if found and found.is_default else ''}"
        yield "Controller", known.spec.controller + ("" if found else ": not ours")
    if found is not None:
        yield "Proxies", f"{found.proxy}, service {found.service}"
        yield "Address", ", ".join(found.addresses) or "none yet"
    status = [each.ip or each.hostname for each in case.ingress.status.load_balancer.ingress or ()]
    yield "Status", ", ".join(status) or "no address"


def _unserved(case: Case) -> Iterator[Problem]:
    name = class_of(case.ingress)
    ours = sorted(each.metadata.name for each in case.cluster.routing.classes.values() if each.spec.controller in PROXIES)
    say = (
        f"set spec.ingressClassName to one of {', '.join(ours)}"
        if ours
        else f"make an IngressClass of controller {next(iter(PROXIES))}"
    )
    if not name:
        message = "it names no class, and none was the default when it was made"
        yield Problem(Level.WARNING, "NoClass", "spec.ingressClassName", message, "nobody serves it", say)
    elif name not in case.cluster.routing.classes:
        message = f"there is no IngressClass {name}"
        yield Problem(Level.WARNING, "NoSuchClass", "spec.ingressClassName", message, "nobody serves it", say)


# What it makes the proxies do -----------------------------------------------------------------------------------------------


class Own:
    """What of a table comes from one Ingress: everything whose source begins with its name."""

    def __init__(self, about: str, table: RouteTable) -> None:
        self.about, self.table = about, table

    def _is_own(self, source: str) -> bool:
        return source == self.about or source.startswith(f"{self.about} ")

    def _routes(self) -> Iterator[tuple[str, str, Route]]:
        """(listener, hosts, route). Virtual hosts that chains share are looked at once."""
        for listener in self.table.listeners:
            seen: set[int] = set()
            for chain in listener.chains:
                for host in chain.virtual_hosts:
                    if id(host) not in seen:
                        seen.add(id(host))
                        yield from (
                            (listener.name, " ".join(host.hosts), each) for each in host.routes if self._is_own(each.source)
                        )

    def rules(self, known: Members) -> Iterator[Rule]:
        """In the order of the table; what is the same on both listeners is told once."""
        merged: dict[tuple[str, str, str, tuple[str, ...], str], list[str]] = {}
        routes: dict[tuple[str, str, str, tuple[str, ...], str], Route] = {}
        for listener, hosts, route in self._routes():
            key = (hosts, match_text(route.match), action_text(route), tuple(settings(route, PLAIN.policy)), route.source)
            listeners = merged.setdefault(key, [])
            if listener not in listeners:
                listeners.append(listener)
            routes.setdefault(key, route)
        for key, listeners in merged.items():
            hosts, request, action, changed, source = key
            yield Rule(hosts, tuple(listeners), request, action, tuple(self._backends(routes[key], known)), changed, source)
        yield from self._passed(known)

    def _passed(self, known: Members) -> Iterator[Rule]:
        for listener in self.table.listeners:
            for chain in listener.chains:
                if isinstance(chain.tls, Passthrough) and self._is_own(chain.tls.source):
                    backend = self._backend(chain.tls.cluster, 1, known)
                    hosts = " ".join(chain.server_names)
                    yield Rule(hosts, (listener.name,), "TLS, unread", "passed through", (backend,), (), chain.tls.source)

    def _backends(self, route: Route, known: Members) -> Iterator[Backend]:
        if isinstance(route.action, Forward):
            yield from (self._backend(each.cluster, each.weight, known) for each in route.action.to)

    def _backend(self, name: str, weight: int, known: Members) -> Backend:
        where = self.table.clusters[name].where
        if not isinstance(where, Endpoints):
            return Backend(name, weight, (f"{where.host}:{where.port}",))
        found = known.get(where.set, ())
        places = (f"[{each.address}]:{each.port}" if ":" in each.address else f"{each.address}:{each.port}" for each in found)
        return Backend(name, weight, tuple(f"{place} {each.name}".strip() for place, each in zip(places, found, strict=True)))

    def hosts(self) -> set[str]:
        return {name for _, hosts, _ in self._routes() for name in hosts.split(" ")}

    def certificates(self, now: datetime) -> Iterator[Shown]:
        """Of each chain that is for hosts of this Ingress; those that no chain names get what is shown to all others."""
        hosts = self.hosts() - {"*"}
        secure = {name for listener, each, _ in self._routes() if listener == "https" for name in each.split(" ")} - {"*"}
        for listener in self.table.listeners:
            rest = secure - {name for chain in listener.chains for name in chain.server_names}
            for chain in listener.chains:
                if isinstance(chain.tls, Terminate):
                    mine = (hosts & {*chain.server_names}) | (rest if "*" in chain.server_names else set())
                    if mine:
                        found = self.table.certificates[chain.tls.certificate]
                        yield _shown(tuple(sorted(mine)), chain.tls.certificate, found, now)

    def lacks(self, proxy: str) -> Iterator[str]:
        """Of its routes, and of what they lead to. What a proxy lacks whatever is asked of it has no source."""
        used = {
            self.table.clusters[each.cluster].source
            for _, _, route in self._routes()
            if isinstance(route.action, Forward)
            for each in route.action.to
        }
        for source, sentence in LACKS[proxy](self.table):
            if self._is_own(source) or source in used:
                yield f"{source.removeprefix(self.about).strip() or source}: {sentence}"


def _shown(hosts: tuple[str, ...], name: str, certificate: Certificate, now: datetime) -> Shown:
    try:
        found = x509.load_pem_x509_certificates(certificate.chain)[0]
        subject = found.subject.rfc4514_string()
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    except ValueError:
        return Shown(hosts, certificate.source or name)
    ends = found.not_valid_after_utc
    return Shown(hosts, certificate.source or name, subject, tuple(names), f"{ends:%Y-%m-%d}", (ends - now).days)


# What is wrong --------------------------------------------------------------------------------------------------------------


def _problems(case: Case, found: Front, about: ObjectName) -> Iterator[Problem]:
    """Worst first: what was found of it, of its class, and what proxies said."""
    concerned = (about, ObjectName("IngressClass", "", found.class_name))
    mine = [each for each in found.translation.findings if each.about in concerned]
    problems = [_problem(each) for each in mine]
    problems += _told_by_proxies(case)
    if not found.addresses:
        message = f"service {found.service} has no address"
        say = f"`mooring describe service -n {found.service.replace('/', ' ')}` tells why"
        problems.append(Problem(Level.WARNING, "NoAddress", "status.loadBalancer", message, "nobody outside reaches it", say))
    yield from sorted(problems, key=lambda each: each.level is not Level.WARNING)


def _problem(finding: Finding) -> Problem:
    return Problem(finding.level, finding.reason, finding.field, finding.message, finding.effect, fix(finding))


def _told_by_proxies(case: Case) -> Iterator[Problem]:
    """What a proxy did not take, as its Events say."""
    seen: set[tuple[str, str]] = set()
    for each in case.events:
        concerned = each.get("involvedObject") or {}
        mine = (concerned.get("kind"), concerned.get("uid")) == (INGRESS.kind, case.ingress.metadata.uid)
        reason, message = str(each.get("reason", "")), str(each.get("message", ""))
        if mine and each.get("type") == "Warning" and reason == REJECTED and (reason, message) not in seen:
            seen.add((reason, message))
            yield Problem(Level.WARNING, reason, "as a proxy told in an Event", message)
