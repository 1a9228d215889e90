"""Which other server is asked about a name that is not ours, and what if it is dead, slow or lying?

CoreDNS: plugin forward, with its numbers; several entries are its stub domains, the longest zone wins. What differs: the same
question that several clients wait for is asked once; a server that fails twice in a row, in questions or in probes, is down.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from mooring.alloc.rng import Rng
from mooring.dns.chain import Context, Effect, Exchange, Heard, Next, Pause, Sent, Steps, Upstream, beside, exchanged
from mooring.dns.names import ROOT, Name, below, to_text
from mooring.dns.records import Edns, Query, Question, Rcode, Reply, Transport, Type

TIMEOUT = 2.0
"""Seconds until the next server is tried."""
DEADLINE = 5.0
"""Seconds until there is no more trying: resolver libraries give up then."""
PROBE_EVERY = 0.5
"""Seconds between questions for `. NS` to a server that failed, until it answers."""
LEAST_TRIES = 3
_NO_EDNS = (Rcode.FORMERR, Rcode.NOTIMP, Rcode.BADVERS)
"""What servers say that do not know EDNS0, or another version of it."""


class Policy(Enum):
    RANDOM = "random"
    ROUND_ROBIN = "round_robin"
    SEQUENTIAL = "sequential"


class Route(Struct, frozen=True):
    """Names below `zone`, but not below `exceptions`, go to one of `upstreams`. `max_fails` 0: none is ever down.

    `max_concurrent`: questions that wait for an answer at once, 0 for any number. `failover`: rcodes that are no answer.
    """

    zone: Name
    upstreams: tuple[Upstream, ...]
    exceptions: tuple[Name, ...] = ()
    policy: Policy = Policy.RANDOM
    max_fails: int = 2
    max_concurrent: int = 1000
    force_tcp: bool = False
    prefer_udp: bool = False
    failover: tuple[int, ...] = ()


class Forward:
    """`failures` are consecutive ones by server. `counts` are of CoreDNS's metrics."""

    name = "forward"

    def __init__(self, routes: Sequence[Route], rng: Rng) -> None:
        self.routes = tuple(sorted(routes, key=lambda route: -len(route.zone)))
        self.failures: Counter[Upstream] = Counter()
        self.counts: Counter[tuple[str, str]] = Counter()
        """By what and whom: 'requests', 'probe_failures', 'all_down', 'rejects'."""
        self._rng = rng
        self._turns: Counter[Name] = Counter()
        self._waiting: Counter[Name] = Counter()
        self._probed: set[Upstream] = set()

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        name = query.question.name.lower()
        route = self.route(name)
        if route is None:
            return (yield from following(query, context))
        if route.max_concurrent and self._waiting[route.zone] >= route.max_concurrent:
            self.counts["rejects", to_text(route.zone)] += 1
            context.note(self.name, "refused", f"{route.max_concurrent} questions wait already (max-concurrent)")
            return Reply(Rcode.REFUSED)
        self._waiting[route.zone] += 1
        noted = len(context.notes)
        try:
            steps = self._ask(route, query, context)
            key = (name, query.question.type, query.question.klass, query.checking_disabled, _dnssec(query))
            reply = yield from beside(steps, context, ("forward", key))
        finally:
            self._waiting[route.zone] -= 1
        if reply is None:
            context.note(self.name, "failed", "the question broke or was given up")
        elif len(context.notes) == noted:
            context.note(self.name, "answered", "with the same question of another client")
        return reply or Reply(Rcode.SERVFAIL)

    def route(self, name: Name) -> Route | None:
        """That with the longest zone that the name (in lower case) is below."""
        for each in self.routes:
            if below(name, each.zone) and not any(below(name, exception) for exception in each.exceptions):
                return each
        return None

    def is_down(self, route: Route, upstream: Upstream) -> bool:
        return 0 < route.max_fails <= self.failures[upstream]

    def _ask(self, route: Route, query: Query, context: Context) -> Steps:
        """One server after the other until one answers, within the deadline."""
        deadline = context.now + DEADLINE
        asked = replace(query, edns=query.edns or Edns(0), client="", id=0)
        useless: set[Upstream] = set()
        last: Reply | None = None
        for upstream in self._order(route):
            if upstream in useless:
                continue
            if deadline - context.now < 0.001:
                break
            heard = yield from self._exchange(route, upstream, asked, min(TIMEOUT, deadline - context.now))
            if heard.reply is not None:
                self.failures[upstream] = 0
            if heard.reply is not None and heard.reply.rcode not in route.failover:
                context.note(self.name, "answered", f"by {upstream}, for zone {to_text(route.zone)}")
                return heard.reply
            last = heard.reply or last
            if heard.useless or heard.reply is not None:
                useless.add(upstream)
            context.note(self.name, "no answer", f"from {upstream}: {heard.error or 'an rcode of failover'}")
            if heard.ours:
                break
            if heard.reply is None:
                yield from self._failed(route, upstream, context)
        return last or Reply(Rcode.SERVFAIL)

    def _exchange(self, route: Route, upstream: Upstream, query: Query, timeout: float) -> Generator[Effect, Sent, Heard]:
        """A server that does not know EDNS0 is asked again without (RFC 6891 section 7)."""
        tcp = route.force_tcp or (query.transport is Transport.TCP and not route.prefer_udp)
        self.counts["requests", str(upstream)] += 1
        heard = yield from exchanged(Exchange(upstream, query, timeout, tcp))
        if heard.reply is not None and heard.reply.rcode in _NO_EDNS and timeout > heard.seconds:
            plain = replace(query, edns=None)
            heard = yield from exchanged(Exchange(upstream, plain, timeout - heard.seconds, tcp))
        return heard

    def _order(self, route: Route) -> list[Upstream]:
        """Whom to try, in turn: those that are not down, by the policy; again until it is worth it. All down: any one."""
        turn = self._turns[route.zone]
        self._turns[route.zone] += 1
        upstreams = list(route.upstreams)
        if route.policy is Policy.ROUND_ROBIN:
            upstreams = [*upstreams[turn % len(upstreams) :], *upstreams[: turn % len(upstreams)]]
        elif route.policy is Policy.RANDOM:
            upstreams = self._shuffled(upstreams)
        up = [each for each in upstreams if not self.is_down(route, each)]
        if not up:
            self.counts["all_down", to_text(route.zone)] += 1
            return [self._shuffled(upstreams)[0]]
        return up * -(-LEAST_TRIES // len(up))

    def _shuffled(self, upstreams: list[Upstream]) -> list[Upstream]:
        rest, found = list(upstreams), []
        while rest:
            found.append(rest.pop(self._rng.randrange(len(rest))))
        return found

    def _failed(self, route: Route, upstream: Upstream, context: Context) -> Generator[Effect, Sent, None]:
        self.failures[upstream] += 1
        if route.max_fails and upstream not in self._probed:
            self._probed.add(upstream)
            later = context.beside()
            yield from beside(self._probe(route, upstream), later, ("probe", upstream), 0, needed=True)

    def _probe(self, route: Route, upstream: Upstream) -> Steps:
        """Until the server answers anything at all. Ends with whoever drives it."""
        question = Query(0, Question(ROOT, Type.NS), edns=Edns(0))
        try:
            while True:
                heard = yield from exchanged(Exchange(upstream, question, TIMEOUT, route.force_tcp))
                if heard.reply is not None:
                    self.failures[upstream] = 0
                    return heard.reply
                self.failures[upstream] += 1
                self.counts["probe_failures", str(upstream)] += 1
                yield Pause(PROBE_EVERY)
        finally:
            self._probed.discard(upstream)


def _dnssec(query: Query) -> bool:
    return query.edns is not None and query.edns.dnssec_ok
