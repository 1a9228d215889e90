"""What does one Ingress ask for by itself? Its paths, backends and certificates, before it meets others of the same hosts."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from mooring.model.ingress import HttpIngressPath, Ingress, IngressBackend, IngressRule
from mooring.routing.finding import Finding, Level, ObjectName
from mooring.routing.ingress import annotations, certificates
from mooring.routing.ingress.annotations.notes import PREFIX
from mooring.routing.ingress.backends import Target, first_port, resolve
from mooring.routing.ingress.classes import Seniority, about, seniority
from mooring.routing.ingress.objects import Name, Objects
from mooring.routing.ingress.parameters import Defaults
from mooring.routing.ingress.wishes import PLAIN, Wishes
from mooring.routing.table import Certificate

EVERY_HOST = "*"
MOST_PATHS = 10_000
"""Of one Ingress, hosts of tls counted too: an object of the largest size that the API takes can hold some more."""
LONGEST_PATH = 2048
MOST_OCTETS = 4 * 1024 * 1024
"""Of what an Ingress's annotations ask for, over all its paths: proxies hold it for each, so that a long list and many paths
would come to gigabytes."""
_HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PATH = re.compile(r"/[^\x00-\x20\x7f]*")


def of_each_route(wishes: Wishes) -> tuple[object, ...]:
    """What each route holds of an Ingress's wishes."""
    headers = wishes.request_headers, wishes.response_headers
    asked = wishes.access, wishes.rate, wishes.basic_auth, wishes.external_auth, wishes.cors
    return *headers, *asked, wishes.rewrite, wishes.redirect, wishes.mirror, wishes.affinity


def counterpart(host: str) -> str | None:
    """The host with `www.` if it has none, without if it has; None if it is no single host."""
    if host == EVERY_HOST or host.startswith("*."):
        return None
    return host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"


EFFECT_503 = "the rule answers 503"
EFFECT_OFF = "the rule is off"
EFFECT_DEFAULT = "the default certificate is shown"


class Candidate(Struct, frozen=True, gc=False):
    """A path that wants requests of a host. `target` None: `broken` says why it has none. `is_default`: of the default backend.

    `field` is where it is written; `name` its route's.
    """

    field: str
    name: str
    path: str
    path_type: str
    target: Target | None
    broken: str = ""
    is_default: bool = False


class Reading(Struct, frozen=True, gc=False, eq=False):
    """`paths` by host, in lower case and `*` for all; a host without paths is there too. `tls`: by host, the key of the
    certificate to show, '' for the default one; hosts without TLS are not there. `until`: when it must be read again."""

    about: ObjectName
    seniority: Seniority
    wishes: Wishes
    paths: Mapping[str, tuple[Candidate, ...]]
    tls: Mapping[str, str]
    certificates: Mapping[str, Certificate]
    has_rules: bool
    fallback: Target | None
    findings: tuple[Finding, ...]
    until: datetime


def read(ingress: Ingress, objects: Objects, defaults: Defaults, now: datetime) -> Reading:
    """Everything that one Ingress means without regard to others. Asks `objects` only for what its fields name."""
    reader = _Reader(ingress, objects, now)
    wishes, told = annotations.read(defaults.given_to(ingress), objects)
    reader.findings += told
    if wishes.default_backend:
        found = first_port(ingress.metadata.namespace, wishes.default_backend, objects)
        if isinstance(found, Target):
            reader.fallback = found
        else:
            reader.tell(found.reason, f"metadata.annotations[{PREFIX}default-backend]", found.message, "it is left out")
    paths = reader.paths()
    wishes = reader.bounded(wishes, sum(map(len, paths.values())))
    names = [name for host in paths for name in (host, counterpart(host) if wishes.www_redirect else None) if name]
    tls = reader.tls([*names, *(alias.lower() for alias in wishes.aliases)])
    return Reading(
        reader.about,
        seniority(ingress),
        wishes,
        paths,
        tls,
        reader.certificates,
        bool(ingress.spec.rules),
        reader.fallback,
        tuple(reader.findings),
        reader.until,
    )


class _Reader:
    """Collects what is told on the way."""

    def __init__(self, ingress: Ingress, objects: Objects, now: datetime) -> None:
        self.ingress, self.objects, self.now = ingress, objects, now
        self.about = about(ingress)
        self.findings: list[Finding] = []
        self.fallback: Target | None = None
        self.certificates: dict[str, Certificate] = {}
        self.until = datetime.max.replace(tzinfo=UTC)
        self._read: dict[str, certificates.Pair | None] = {}

    def tell(self, reason: str, field: str, message: str, effect: str) -> None:
        self.findings.append(Finding(self.about, Level.WARNING, reason, field, message, effect))

    def bounded(self, wishes: Wishes, count: int) -> Wishes:
        """Closed, if it is too much for so many paths."""
        if wishes is PLAIN or count < 2:
            return wishes
        octets = count * len(msgspec.json.encode(of_each_route(wishes)))
        if octets <= MOST_OCTETS:
            return wishes
        message = f"what they ask for comes to {octets} octets over {count} paths, more than {MOST_OCTETS}"
        self.tell("TooLarge", "metadata.annotations", message, "the Ingress's rules answer 503")
        return msgspec.structs.replace(wishes, refused=message)

    # --- Rules

    def paths(self) -> dict[str, tuple[Candidate, ...]]:
        """By host, in the order written; the default backend's last."""
        spec = self.ingress.spec
        found: dict[str, list[Candidate]] = {}
        count = 0
        for number, rule in enumerate(spec.rules or ()):
            field = f"spec.rules[{number}]"
            host = self._host(rule, field)
            if host is None:
                continue
            candidates = found.setdefault(host, [])
            for place, path in enumerate(rule.http.paths if rule.http else ()):
                count += 1
                if count > MOST_PATHS:
                    self.tell("TooLarge", field, f"an Ingress may have {MOST_PATHS} paths", "the others are off")
                    return self._with_default(found)
                candidates += self._candidate(path, f"{field}.http.paths[{place}]", f"{number}.{place}")
        return self._with_default(found)

    def _with_default(self, found: dict[str, list[Candidate]]) -> dict[str, tuple[Candidate, ...]]:
        backend = self.ingress.spec.default_backend
        if backend is not None:
            field = "spec.defaultBackend"
            target, broken = self._target(backend, field)
            for host in {**found, EVERY_HOST: ()}:
                default = Candidate(field, self._name(f"default/{host}"), "/", "Prefix", target, broken, True)
                found.setdefault(host, []).append(default)
        return {host: tuple(candidates) for host, candidates in found.items()}

    def _host(self, rule: IngressRule, field: str) -> str | None:
        host = rule.host.lower()
        if not host:
            return EVERY_HOST
        if len(host) <= 253 and _HOST.fullmatch(host):
            return host
        self.tell("BadHost", f"{field}.host", "it is no DNS name, nor one after '*.'", EFFECT_OFF)
        return None

    def _candidate(self, path: HttpIngressPath, field: str, number: str) -> Iterator[Candidate]:
        text = path.path or "/"
        if len(text) > LONGEST_PATH:
            self.tell("TooLarge", f"{field}.path", f"a path may have {LONGEST_PATH} characters", EFFECT_OFF)
        elif not _PATH.fullmatch(text):
            self.tell("BadPath", f"{field}.path", "it does not begin with '/', or has blanks or control characters", EFFECT_OFF)
        else:
            target, broken = self._target(path.backend, f"{field}.backend")
            yield Candidate(field, self._name(number), text, path.path_type, target, broken)

    def _target(self, backend: IngressBackend, field: str) -> tuple[Target | None, str]:
        found = resolve(backend, self.ingress.metadata.namespace, self.objects)
        if isinstance(found, Target):
            return found, ""
        effect = f"its requests go to {self.fallback.namespace}/{self.fallback.service}" if self.fallback else EFFECT_503
        self.tell(found.reason, field, found.message, effect)
        return None, found.message

    def _name(self, number: str) -> str:
        return f"{self.about.namespace}/{self.about.name}/{number}"

    # --- TLS

    def tls(self, hosts: list[str]) -> dict[str, str]:
        """For each host that gets TLS by this Ingress the key of its certificate, '' for the default one.

        As ingress-nginx decides: the entry that lists the host; else one whose certificate covers it; else the default one.
        Listed hosts without a rule get theirs if a wildcard or catch-all rule serves them.
        """
        entries = self.ingress.spec.tls or ()
        listed: dict[str, tuple[str, str]] = {}
        for number, entry in enumerate(entries):
            for place, host in enumerate(entry.hosts or ()):
                field = f"spec.tls[{number}].hosts[{place}]"
                if len(listed) >= MOST_PATHS:
                    self.tell("TooLarge", field, f"an Ingress may list {MOST_PATHS} hosts", "the others are not looked at")
                    break
                listed.setdefault(host.lower(), (entry.secret_name, field))
        chosen: dict[str, str] = {}
        for host, (secret, field) in listed.items():
            if host in hosts or self._is_served(host, hosts):
                chosen[host] = self._certificate(host, secret, field)
            else:
                self.tell("NoRule", field, f"no rule of this Ingress is for {host}", "the entry is not looked at")
        if entries:
            for host in hosts:
                if host not in chosen and host != EVERY_HOST:
                    chosen[host] = self._covering(host)
        self._tell_unused(hosts)
        return chosen

    def _is_served(self, host: str, hosts: list[str]) -> bool:
        return bool(_HOST.fullmatch(host)) and (EVERY_HOST in hosts or "*." + host.partition(".")[2] in hosts)

    def _certificate(self, host: str, secret: str, field: str) -> str:
        if not secret:
            return ""
        pair = self._pair(secret, field.rpartition(".")[0])
        if pair is None:
            return ""
        if not pair.covers(host):
            names = ", ".join(pair.names[:5]) + (", ..." if len(pair.names) > 5 else "") or "no name"
            self.tell(
                "CertificateMismatch", field, f"the certificate of Secret {secret} is for {names}, not {host}", EFFECT_DEFAULT
            )
            return ""
        return self._use(secret, pair)

    def _covering(self, host: str) -> str:
        """Of a host that no entry lists."""
        for number, entry in enumerate(self.ingress.spec.tls or ()):
            if entry.secret_name:
                pair = self._pair(entry.secret_name, f"spec.tls[{number}]")
                if pair is not None and pair.covers(host):
                    return self._use(entry.secret_name, pair)
        return ""

    def _tell_unused(self, hosts: list[str]) -> None:
        """Entries without hosts whose certificate is for none of the rules'."""
        for number, entry in enumerate(self.ingress.spec.tls or ()):
            if not entry.hosts and entry.secret_name:
                field = f"spec.tls[{number}]"
                pair = self._pair(entry.secret_name, field)
                if pair is not None and not any(pair.covers(host) for host in hosts):
                    message = f"it lists no hosts, and the certificate of Secret {entry.secret_name} is for no host of a rule"
                    self.tell("CertificateMismatch", field, message, "it is not shown")

    def _use(self, secret: str, pair: certificates.Pair) -> str:
        key = f"{self.about.namespace}/{secret}"
        self.certificates[key] = pair.certificate
        return key

    def _pair(self, name: str, field: str) -> certificates.Pair | None:
        """The pair of a Secret; what is wrong with it is told once."""
        if name in self._read:
            return self._read[name]
        field = f"{field}.secretName"
        key: Name = self.about.namespace, name
        secret = self.objects.secrets.get(key)
        found: certificates.Pair | None = None
        if secret is None:
            self.tell("SecretNotFound", field, f"there is no Secret {key[0]}/{name}", EFFECT_DEFAULT)
        else:
            pair = certificates.read(secret, f"secret {key[0]}/{name}")
            if isinstance(pair, str):
                self.tell("BadCertificate", field, f"Secret {key[0]}/{name} cannot be used: {pair}", EFFECT_DEFAULT)
            else:
                found = pair
                self._tell_times(pair, name, field)
        self._read[name] = found
        return found

    def _tell_times(self, pair: certificates.Pair, name: str, field: str) -> None:
        effect = "it is shown all the same"
        if pair.odd:
            self.tell("UnusualCertificate", field, f"Secret {name}: {pair.odd}", effect)
        if self.now < pair.not_before:
            self.tell(
                "CertificateNotYetValid",
                field,
                f"the certificate of Secret {name} is not valid before {pair.not_before:%Y-%m-%d %H:%M} UTC",
                effect,
            )
        if self.now > pair.not_after:
            self.tell(
                "CertificateExpired",
                field,
                f"the certificate of Secret {name} expired on {pair.not_after:%Y-%m-%d %H:%M} UTC",
                effect,
            )
        self.until = min([self.until, *(time for time in (pair.not_before, pair.not_after) if time >= self.now)])
