"""What is served for one host? The paths of all Ingresses that name it, merged, and what holds for the host as a whole.

A path that several claim is the most senior Ingress's; the others are told. Where an Ingress has a default backend, that gets
what no path of the host matches, and of hosts that nobody names what no rule without a host matches: before others that of an
Ingress without rules. Else it is 404: a request never falls through to a less specific host.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from mooring.routing.finding import Finding, Level
from mooring.routing.ingress import actions, canary, ownership
from mooring.routing.ingress.backends import Target, cluster_of
from mooring.routing.ingress.objects import SetOf
from mooring.routing.ingress.ownership import NOTHING, Inherited
from mooring.routing.ingress.paths import (
    MOST_INSTRUCTIONS_OF_HOST,
    BadPattern,
    asks_for_patterns,
    compiled,
    guarded,
    has_patterns,
    path_match,
)
from mooring.routing.ingress.precedence import precedence
from mooring.routing.ingress.reading import EFFECT_OFF, EVERY_HOST, Candidate, Reading
from mooring.routing.ingress.redirects import (
    app_root,
    are_required,
    elsewhere,
    https,
    missing_slash,
    other_name,
    wants_https,
    without_certificate,
)
from mooring.routing.ingress.wishes import PLAIN, Canary, Wishes
from mooring.routing.table import (
    ANY_PATH,
    NO_FILTERS,
    Action,
    Answer,
    ClientCertificates,
    Cluster,
    Filters,
    Forward,
    Match,
    PathKind,
    PathMatch,
    Route,
    Speaks,
    VirtualHost,
    WeightedCluster,
)


class HostOptions(Struct, frozen=True, gc=False):
    """`default_certificate`: whether there is one. `believes`: whether some X-Forwarded-Proto is believed. `hsts`:
    VirtualHost.hsts of those with a certificate of their own. `inherited`: as in ownership.tls."""

    default_certificate: bool
    believes: bool
    hsts: str = ""
    inherited: Inherited = NOTHING


class HostView(Struct, frozen=True, gc=False, eq=False):
    """`plain` and `secure` are the same object where TLS makes no difference. `certificate` is the key of its own, '' for the
    default one. `aliases` are wanted: whether they are free is not known here. `www`: the host that redirects here.
    `is_served`: whether anybody but canaries names it."""

    plain: VirtualHost
    secure: VirtualHost
    certificate: str = ""
    clients: ClientCertificates | None = None
    ciphers: str = ""
    passthrough: str = ""
    aliases: tuple[tuple[str, Reading], ...] = ()
    www: VirtualHost | None = None
    source: str = ""
    is_served: bool = True
    findings: tuple[Finding, ...] = ()
    clusters: Mapping[str, Cluster] = {}
    sets: Mapping[str, SetOf] = {}


class _Claim(Struct):
    """A path with its owner."""

    reading: Reading
    candidate: Candidate
    match: PathMatch
    broken: str = ""
    canary: tuple[Wishes, Target, Canary] | None = None
    canary_source: str = ""

    @property
    def wishes(self) -> Wishes:
        return self.reading.wishes

    @property
    def source(self) -> str:
        return f"{self.reading.about} {self.candidate.field}".rstrip()


def merge(host: str, readings: Sequence[Reading], options: HostOptions) -> HostView:
    """`readings` are of all Ingresses that name the host, the most senior first."""
    return _Merger(host, readings, options).view()


class _Merger:
    """Collects findings, clusters and endpoint sets on the way."""

    def __init__(self, host: str, readings: Sequence[Reading], options: HostOptions) -> None:
        self.host, self.options = host, options
        self.primaries = ownership.primaries(readings)
        self.tls = ownership.tls(host, self.primaries, options.default_certificate, options.inherited)
        self.asked = ownership.asked(host, self.primaries)
        self.canaries = [each for each in readings if each.wishes.canary is not None]
        self.patterns = has_patterns(self.primaries, host)
        self._instructions = 0
        self.findings: list[Finding] = list(self.asked.findings)
        self.clusters: dict[str, Cluster] = {}
        self.sets: dict[str, SetOf] = {}
        self.claims: dict[PathMatch, _Claim] = {}
        self.default: _Claim | None = None

    @property
    def owner(self) -> str:
        return self.primaries[0].about.namespace if self.primaries else ""

    def tell(self, reading: Reading, reason: str, field: str, message: str, effect: str) -> None:
        self.findings.append(Finding(reading.about, Level.WARNING, reason, field, message, effect))

    def view(self) -> HostView:
        for reading in self.primaries:
            for candidate in reading.paths.get(self.host, ()):
                if not candidate.is_default:
                    self._claim(reading, candidate)
        self._tell_shadowed()
        self._choose_default()
        for reading in self.canaries:
            for candidate in reading.paths.get(self.host, ()):
                self._attach(reading, candidate)
        return self._view()

    # --- Whose a path is

    def _claim(self, reading: Reading, candidate: Candidate) -> None:
        match, broken = self._match(reading, candidate)
        if match is None:
            return
        winner = self.claims.setdefault(match, _Claim(reading, candidate, match, broken))
        if winner.candidate is not candidate:
            self._tell_conflict(reading, candidate, winner, f"{candidate.field}.path", EFFECT_OFF)

    def _match(self, reading: Reading, candidate: Candidate) -> tuple[PathMatch | None, str]:
        try:
            return self._bounded(path_match(candidate, self.patterns)), ""
        except BadPattern as error:
            if not asks_for_patterns(reading.wishes, candidate.path):
                # Another Ingress made an expression of what was written as a plain path.
                return PathMatch(PathKind.STRING_PREFIX, candidate.path, ignore_case=True), ""
            broken = f"the regular expression cannot be used: {error}"
            match = guarded(candidate.path)
            effect = (
                f"everything that begins with {match.value} and matches nothing longer answers 503" if match else EFFECT_OFF
            )
            self.tell(reading, "BadPattern", f"{candidate.field}.path", broken, effect)
            return match, broken

    def _bounded(self, match: PathMatch) -> PathMatch:
        """Raises BadPattern once the host has more regular expressions than a proxy should hold."""
        if match.kind is PathKind.REGEX_PREFIX:
            self._instructions += compiled(match.value)[1]
            if self._instructions > MOST_INSTRUCTIONS_OF_HOST:
                raise BadPattern(f"those of {self.host} have more than {MOST_INSTRUCTIONS_OF_HOST} instructions in all")
        return match

    def _tell_conflict(self, reading: Reading, candidate: Candidate, winner: _Claim, field: str, effect: str) -> None:
        where = "hosts that no rule names" if self.host == EVERY_HOST else self.host
        message = f"{candidate.path} of {where} is already {winner.source}"
        if winner.candidate.path != candidate.path or winner.candidate.path_type != candidate.path_type:
            message += f", whose {winner.candidate.path} ({winner.candidate.path_type}) is the same"
        self.tell(reading, "Conflict", field, message, effect)

    def _tell_shadowed(self) -> None:
        """The only way in which others that are not the same leave nothing of a path."""
        for match, claim in self.claims.items():
            exact = self.claims.get(PathMatch(PathKind.EXACT, match.value))
            below = self.claims.get(PathMatch(PathKind.STRING_PREFIX, match.value + "/"))
            if match.kind is PathKind.PREFIX and exact and below:
                message = f"{exact.source} and {below.source} leave nothing of {match.value} of {self.host}"
                self.tell(claim.reading, "Shadowed", f"{claim.candidate.field}.path", message, "it gets no requests")

    def _choose_default(self) -> None:
        found = [
            _Claim(reading, candidate, ANY_PATH)
            for reading in self.primaries
            for candidate in reading.paths.get(self.host, ())
            if candidate.is_default
        ]
        if self.host == EVERY_HOST:
            found.sort(key=lambda claim: claim.reading.has_rules)
        if not found:
            return
        self.default, *others = found
        for other in others:
            quiet = self.host == EVERY_HOST and other.reading.has_rules
            if not quiet and other.candidate.target != self.default.candidate.target:
                where = "hosts that no rule names" if self.host == EVERY_HOST else self.host
                message = f"what matches no path of {where} already goes to that of {self.default.reading.about}"
                self.tell(other.reading, "Conflict", other.candidate.field, message, "it gets none of that")

    def _attach(self, reading: Reading, candidate: Candidate) -> None:
        match, _ = self._match(reading, candidate)
        claim = self.default if candidate.is_default else self.claims.get(match) if match else None
        field, wish = candidate.field, reading.wishes.canary
        if claim is None:
            alone = self.host == EVERY_HOST and not reading.has_rules
            if match is not None and (alone or not candidate.is_default):
                path = f"{candidate.path} ({candidate.path_type}) of {self.host}"
                message = f"no other Ingress has {path}, of which it would be the canary"
                self.tell(reading, "NoPrimary", field, message, EFFECT_OFF)
        elif claim.reading.about.namespace != reading.about.namespace:
            message = (
                f"{claim.source} is of another namespace, whose requests a canary of {reading.about.namespace} may not take"
            )
            self.tell(reading, "Conflict", field, message, EFFECT_OFF)
        elif claim.canary is not None:
            message = f"{claim.source} already has a canary: {claim.canary_source}"
            self.tell(reading, "Conflict", field, message, EFFECT_OFF)
        elif candidate.target is not None and wish is not None:
            claim.canary = reading.wishes, candidate.target, wish
            claim.canary_source = f"{reading.about} {field}"

    # --- Routes

    def _view(self) -> HostView:
        claims = sorted(self.claims.values(), key=lambda claim: precedence(claim.match, False))
        if self.default is not None:
            claims.append(self.default)
        plain: list[Route] = []
        secure: list[Route] = []
        for root in self._app_roots():
            plain.append(root)
            secure.append(root)
        for claim in claims:
            routes = self._routes(claim)
            slash = missing_slash(claim.match, claim.candidate.name, claim.source, self.claims)
            secure += routes + slash
            if self._wants_https(claim.reading, claim.candidate):
                plain += self._after_https(claim, routes)
            else:
                plain += routes
            plain += slash
        unmatched, over_tls = self._unmatched()
        plain, secure = plain + unmatched, secure + over_tls
        return self._finished(tuple(plain), tuple(secure))

    def _after_https(self, claim: _Claim, routes: Sequence[Route]) -> list[Route]:
        """The redirect, and what is served of requests that have come by HTTPS to a proxy that is believed."""
        where = claim.match, claim.candidate.name, claim.source
        redirect = https(*where, self.options.believes)
        if not self.options.believes:
            return [redirect]
        return [redirect, *([without_certificate(*where)] if are_required(self.asked.clients) else routes)]

    def _wants_https(self, reading: Reading, candidate: Candidate) -> bool:
        has_tls = self.host != EVERY_HOST and not self.tls.keys().isdisjoint((self.owner, reading.about.namespace))
        return wants_https(reading.wishes, self.host, self.asked.clients, has_tls, candidate)

    def _unmatched(self) -> tuple[list[Route], list[Route]]:
        """What no path takes is redirected as well, before it is 404: as the most senior Ingress says. Plain, and over TLS."""
        if not self.primaries or self.default is not None or ANY_PATH in self.claims or self.host == EVERY_HOST:
            return [], []
        first = self.primaries[0]
        name = f"{first.about.namespace}/{first.about.name}/unmatched/{self.host}"
        claim = _Claim(first, Candidate("", name, "/", "Prefix", None, is_default=True), ANY_PATH)
        routes = self._routes(claim) if first.wishes.redirect is not None else []
        if not self._wants_https(first, claim.candidate):
            return routes, routes
        upgrade = https(ANY_PATH, name, claim.source, self.options.believes)
        return self._after_https(claim, routes) if routes else [upgrade], routes

    def _finished(self, plain: tuple[Route, ...], secure: tuple[Route, ...]) -> HostView:
        source = str(self.primaries[0].about) if self.primaries else ""
        namespace, certificate = next(iter(self.tls.items()), NOTHING)
        hsts = self.options.hsts if certificate and namespace == self.owner else ""
        over_tls = VirtualHost(self.host, (self.host,), secure, hsts=hsts, source=source)
        alike = not hsts and len(plain) == len(secure)
        same = alike and all(one is other for one, other in zip(plain, secure, strict=True))
        return HostView(
            over_tls if same else VirtualHost(self.host, (self.host,), plain, source=source),
            over_tls,
            certificate,
            self.asked.clients,
            next((each.wishes.ssl_ciphers for each in ownership.owners(self.primaries) if each.wishes.ssl_ciphers), ""),
            self._passthrough(),
            tuple((alias.lower(), each) for each in self.primaries for alias in each.wishes.aliases),
            other_name(self.host, self.primaries),
            source,
            bool(self.primaries),
            tuple(self.findings),
            self.clusters,
            self.sets,
        )

    def _routes(self, claim: _Claim) -> list[Route]:
        """In order: those that a canary's conditions decide, then the one for all."""
        action = self._action(claim)
        through = self._filters(claim) if isinstance(action, Forward) else self._answer_filters(claim, action)
        last = Route(claim.candidate.name, Match(claim.match), action, through, claim.wishes.policy, claim.source)
        if claim.canary is None or not isinstance(action, Forward):
            return [last]
        own, target, wish = claim.canary
        wishes = canary.wishes(claim.wishes, own)
        (primary,) = action.to
        # While the canary has no endpoint its share is the main backend's, as upstream.
        mains = [each for each in (claim.candidate.target, claim.reading.fallback) if each is not None]
        other = self._keep(*cluster_of(target, wishes, *mains))
        to_other = self._forward(wishes, claim, WeightedCluster(other))
        branches = [
            structs.replace(
                last,
                name=f"{last.name}/canary-{word}",
                match=Match(claim.match, (condition,)),
                action=to_other if to_canary else action,
                source=claim.canary_source,
            )
            for word, condition, to_canary in canary.branches(wish)
        ]
        shared = self._forward(claim.wishes, claim, *canary.shares(wish, primary.cluster, other))
        return [*branches, structs.replace(last, action=shared)]

    def _action(self, claim: _Claim) -> Action:
        wishes, candidate = claim.wishes, claim.candidate
        if closed := wishes.refused or self.asked.closed.get(claim.reading.about, ""):
            return Answer(503, because=closed)
        if claim.broken:
            return Answer(503, because=claim.broken)
        if (redirect := elsewhere(wishes, self.host, candidate)) is not None:
            return redirect
        if candidate.target is not None:
            return self._forward(wishes, claim, WeightedCluster(self._cluster(candidate.target, claim)))
        if claim.reading.fallback is not None:
            return self._forward(wishes, claim, WeightedCluster(self._page_cluster(claim.reading.fallback)))
        return Answer(503, because=candidate.broken)

    def _forward(self, wishes: Wishes, claim: _Claim, *to: WeightedCluster) -> Forward:
        return actions.forward(wishes, claim.candidate.path, self.patterns, *to)

    def _filters(self, claim: _Claim) -> Filters:
        pages = claim.reading.fallback if claim.wishes.error_statuses else None
        cluster = self._page_cluster(pages) if pages else ""
        return actions.filters(claim.wishes, claim.candidate, claim.reading.about, cluster)

    def _answer_filters(self, claim: _Claim, action: Action) -> Filters:
        """A redirect or a broken rule is answered before anything is asked, as ingress-nginx does; error pages apply."""
        if isinstance(action, Answer) and claim.wishes.error_statuses:
            return Filters(error_pages=self._filters(claim).error_pages)
        return NO_FILTERS

    def _cluster(self, target: Target, claim: _Claim) -> str:
        fallback = claim.reading.fallback
        return self._keep(*cluster_of(target, claim.wishes, *([fallback] if fallback else ())))

    def _page_cluster(self, target: Target) -> str:
        return self._keep(*cluster_of(target, PLAIN))

    def _keep(self, cluster: Cluster, members: SetOf | None) -> str:
        self.clusters[cluster.name] = cluster
        if members is not None:
            self.sets[cluster.where.set] = members  # type: ignore[union-attr]
        return cluster.name

    def _app_roots(self) -> list[Route]:
        """Of the Ingress that has the host's `/`, or of the first one if nobody has."""
        owner = self.claims.get(PathMatch(PathKind.EXACT, "/")) or self.claims.get(ANY_PATH)
        wanted = [owner.reading] if owner else self.primaries
        first = next((each for each in wanted if each.wishes.app_root), None)
        return [app_root(first, self.host)] if first else []

    def _passthrough(self) -> str:
        first = self.primaries[0] if self.primaries else None
        if first is None or not first.wishes.passthrough:
            return ""
        root = self.claims.get(ANY_PATH) or self.default
        field = "metadata.annotations[nginx.ingress.kubernetes.io/ssl-passthrough]"
        if self.host == EVERY_HOST or root is None or root.candidate.target is None:
            self.tell(first, "NoPassthrough", field, f"no working rule for / of {self.host} says where to", "TLS ends here")
            return ""
        opaque = Wishes(speaks=Speaks.OPAQUE, policy=root.wishes.policy, service_upstream=root.wishes.service_upstream)
        return self._keep(*cluster_of(root.candidate.target, opaque))
