"""What is one xDS client told next? One delta stream: what it asked for, what it was sent, what it said of it; no I/O.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol (incremental variant). Of each type one response is on its
way at a time: what changes meanwhile is told by the next one, the last state only. Make before break: routes and listeners wait
until the clusters they may name have been taken together with their endpoints, and a cluster is taken away when listeners and
routes have been accepted without it and LINGER has passed, for requests that chose it before. While new clusters come faster
than the client takes them, it gets the routes of an earlier state, whose clusters it has.

A route configuration is large, and Envoy takes its time over it: each is sent alone, so that endpoints come in between, and
they take turns.

A rejected response of several resources is sent again in halves, until the one that is not taken stands alone: everything else
gets in. A resource that is wanted no more and was asked for by its name is not taken away: whoever still asks for it drains.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from msgspec import Struct, field

from mooring.routing.xds.wire import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, repeated

ORDER = (CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET)
NAMING = (LISTENER, ROUTES)
"""Those that name clusters."""
LISTED = frozenset({CLUSTER, LISTENER})
"""Who asks for these without naming any gets all."""
LINGER = 5.0
"""Seconds that a cluster stays after the last route to it."""
PATIENCE = 5.0
"""Seconds that routes wait for clusters and endpoints which the client was sent and does not take or ask for, once for each."""
EVERYTHING = "*"
ABSENT, DUE = "", "due"
"""The versions of what the client was told is not there, and of what it has but must be sent again."""


class Resource(Struct, frozen=True, gc=False):
    """`version` is a hash of `data`, the serialised message."""

    version: str
    data: bytes


class Snapshot(Struct, frozen=True):
    """All that is wished, by type URL and name; it stays as it is, for it may be told while the next waits for clusters.
    `assignments`: by cluster, the endpoints it needs before it can be used."""

    resources: Mapping[str, Mapping[str, Resource]]
    assignments: Mapping[str, str] = {}

    def is_within(self, other: "Snapshot") -> bool:
        """All its clusters are wished there too."""
        clusters, there = self.resources.get(CLUSTER, {}), other.resources.get(CLUSTER, {})
        return clusters.keys() <= there.keys() and self.assignments.items() <= other.assignments.items()


class Verdict(Struct, frozen=True):
    """What the client said of resources of one type, by name with version. `reason` '': accepted; a rejection is of one.
    `taken`: the data of what it accepted on this stream."""

    type_url: str
    versions: Mapping[str, str]
    reason: str = ""
    taken: Mapping[str, bytes] = {}


class Sent(Struct):
    """The response that the client has not answered yet."""

    nonce: str
    resources: Mapping[str, Resource]


class Talk(Struct):
    """What was said about one type. `sent`: by name the last version sent, in the order of sending, or that the client says it
    has."""

    everything: bool = False
    subscribed: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    """What the client has accepted in some version, and need not be waited for."""
    rejected: dict[str, str] = field(default_factory=dict)
    on_its_way: Sent | None = None
    suspects: deque[list[str]] = field(default_factory=deque)
    owes: bool = False
    """An answer is due even if there is nothing to tell."""


class Stream:
    """`receive` what the client says, then send `responses`; ask again at `again_at`, in the clock's seconds."""

    def __init__(self, linger: float = LINGER, patience: float = PATIENCE) -> None:
        self.again_at: float | None = None
        self._linger, self._patience = linger, patience
        self._talks: dict[str, Talk] = {}
        self._nonce = 0
        self._goal: Snapshot | None = None
        """The state whose listeners and routes come next."""
        self._waits_since: float | None = None
        self._given_up: set[str] = set()
        """Clusters that were waited for in vain."""
        self._gone: dict[str, float] = {}
        self._claims: list[Verdict] = []

    def receive(self, request: DeltaDiscoveryRequest) -> Verdict | None:
        """The client subscribes, accepts or rejects; what it thinks of the last response, if it says so."""
        url = request.type_url
        talk = self._talks.get(url)
        if talk is None:
            talk = self._talks[url] = Talk(sent=dict(request.initial_resource_versions))
            talk.everything = url in LISTED and not request.resource_names_subscribe
            talk.owes, talk.taken = not talk.sent, set(talk.sent)
            if talk.sent:
                self._claims.append(Verdict(url, dict(talk.sent)))
            if url == ENDPOINTS and CLUSTER not in self._talks:
                # It asks for clusters first, but for none while one that it has taken lacks its endpoints: those that it was
                # not sent before an earlier conversation ended, and does not ask for (_renew_endpoints).
                talk.sent = dict.fromkeys(talk.sent, DUE)
        else:
            # Asked again on the same stream: the client has forgotten it, whatever we remember.
            for name in request.resource_names_subscribe:
                talk.sent.pop(name, None)
        talk.subscribed.update(request.resource_names_subscribe)
        for name in request.resource_names_unsubscribe:
            talk.subscribed.discard(name)
            if name == EVERYTHING:
                talk.everything = False
            elif not talk.everything:
                talk.sent.pop(name, None)
                talk.taken.discard(name)
        if EVERYTHING in talk.subscribed:
            talk.subscribed.discard(EVERYTHING)
            talk.everything = True
        if talk.on_its_way is None or request.response_nonce != talk.on_its_way.nonce:
            return None
        return self._answered(url, talk, request.error_detail.message if request.HasField("error_detail") else None)

    def claims(self) -> list[Verdict]:
        """What the client says it has accepted in conversations before this one, once: its answer may have been lost with them,
        or whoever heard it is no more."""
        claims, self._claims = self._claims, []
        return claims

    def responses(self, snapshot: Snapshot, now: float) -> Iterator[bytes]:
        """What to send now, serialised, in order."""
        self.again_at = None
        for url in dict.fromkeys((*ORDER, *self._talks)):
            talk = self._talks.get(url)
            state = self._passable(snapshot, now) if url in NAMING else snapshot
            if talk is None or talk.on_its_way or state is None or (url == ROUTES and self._unsettled(LISTENER, state)):
                continue
            there = state.resources.get(url, {})
            names = self._next(talk, there)
            if url == ROUTES:
                names = self._told_longest_ago(talk, names, there)
            removed = list(self._removed(url, talk, state, now))
            if names or removed or talk.owes:
                yield self._response(url, talk, {name: there[name] for name in names}, removed)
                if url == CLUSTER:
                    self._renew_endpoints(names, snapshot)

    def _answered(self, url: str, talk: Talk, reason: str | None) -> Verdict | None:
        sent, talk.on_its_way = talk.on_its_way, None
        resources = sent.resources if sent else {}
        versions = {name: resource.version for name, resource in resources.items()}
        if reason is None:
            # It may have unsubscribed before it read the response.
            talk.taken.update(versions if talk.everything else versions.keys() & talk.subscribed)
            for name in versions:
                talk.rejected.pop(name, None)
            return Verdict(url, versions, taken={name: resource.data for name, resource in resources.items()})
        if len(versions) == 1:
            talk.rejected.update(versions)
            return Verdict(url, versions, reason or "rejected without a reason")
        names = list(versions)
        talk.sent.update(dict.fromkeys(names, DUE))
        middle = len(names) // 2
        talk.suspects.extendleft(half for half in (names[middle:], names[:middle]) if half)
        return None

    def _next(self, talk: Talk, there: Mapping[str, Resource]) -> list[str]:
        """Which resources the client must be sent: those that differ, of suspects one group alone."""
        different = self._different(talk, there)
        while talk.suspects and different:
            group = set(talk.suspects.popleft())
            if named := [name for name in different if name in group]:
                return named
        return different

    @staticmethod
    def _different(talk: Talk, there: Mapping[str, Resource]) -> list[str]:
        sent = talk.sent.get
        wanted: Iterable[str] = there if talk.everything else [name for name in talk.subscribed if name in there]
        return [name for name in wanted if sent(name) != there[name].version]

    @staticmethod
    def _told_longest_ago(talk: Talk, names: list[str], there: Mapping[str, Resource]) -> list[str]:
        """One of them, so that none waits for ever while others keep changing; of those never told the first of the table."""
        told = {name: place for place, name in enumerate(talk.sent)}
        wanted = frozenset(names)
        return sorted((name for name in there if name in wanted), key=lambda name: told.get(name, -1))[:1]

    def _removed(self, url: str, talk: Talk, snapshot: Snapshot, now: float) -> Iterator[str]:
        there = snapshot.resources.get(url, {})
        for name in talk.subscribed:
            if name not in there and name not in talk.sent:
                yield name
        if not talk.everything:
            return
        gone = [name for name, version in talk.sent.items() if name not in there and version != ABSENT]
        yield from self._ripe(gone, snapshot, now) if url == CLUSTER else gone

    def _ripe(self, gone: list[str], snapshot: Snapshot, now: float) -> Iterator[str]:
        """Clusters that nothing has named for long enough."""
        unsettled = any(self._unsettled(url, snapshot) for url in NAMING)
        self._gone = {name: now if unsettled else self._gone.get(name, now) for name in gone}
        for name, since in self._gone.items():
            if unsettled:
                continue
            if now - since >= self._linger:
                yield name
            else:
                self._ask_again(since + self._linger)

    def _passable(self, newest: Snapshot, now: float) -> Snapshot | None:
        """The state of which the client may be told listeners and routes: it has what they name, or was waited for in vain."""
        goal, lacking = newest, self._lacking(newest, newest)
        if lacking and self._goal is not None and self._goal is not newest:
            former = self._lacking(self._goal, newest)
            told = not any(self._unsettled(url, self._goal) for url in NAMING)
            if not told and self._goal.is_within(newest):
                goal, lacking = self._goal, former
        if goal is not self._goal or not lacking:
            self._goal, self._waits_since = goal, None
        if not lacking:
            return goal
        self._waits_since = now if self._waits_since is None else self._waits_since
        if now - self._waits_since < self._patience:
            self._ask_again(self._waits_since + self._patience)
            return None
        # Envoy answers for clusters, and asks for them, when those that it got are warm: what was not sent, it cannot have.
        if lacking - self._talks.get(CLUSTER, Talk()).sent.keys():
            return None
        self._given_up |= lacking
        return goal

    def _lacking(self, state: Snapshot, newest: Snapshot) -> Set[str]:
        """The clusters of a state that the client has not taken in any version, or whose endpoints it has not."""
        clusters, endpoints = self._talks.get(CLUSTER, Talk()), self._talks.get(ENDPOINTS, Talk())
        lacking = state.resources.get(CLUSTER, {}).keys() - clusters.taken
        taken, there = endpoints.taken, newest.resources.get(ENDPOINTS, {})
        lacking |= {cluster for cluster, name in state.assignments.items() if name not in taken and name in there}
        if not lacking:
            return lacking
        offered = newest.resources.get(CLUSTER, {})
        refused = {name for name, version in clusters.rejected.items() if name in offered and offered[name].version == version}
        return lacking - refused - self._given_up

    def _unsettled(self, url: str, snapshot: Snapshot) -> bool:
        """The client has not answered, or not been told, the last state of a type that it asked for."""
        talk = self._talks.get(url)
        if talk is None:
            return False
        return talk.on_its_way is not None or bool(self._different(talk, snapshot.resources.get(url, {})))

    def _renew_endpoints(self, clusters: list[str], snapshot: Snapshot) -> None:
        """A cluster that was changed waits for its endpoints, without asking for them: they are sent again, unchanged or not.

        https://github.com/envoyproxy/envoy/issues/13009
        """
        endpoints = self._talks.get(ENDPOINTS)
        if endpoints is not None:
            for cluster in clusters:
                name = snapshot.assignments.get(cluster, "")
                if endpoints.sent.get(name, ABSENT) != ABSENT:
                    endpoints.sent[name] = DUE

    def _response(self, url: str, talk: Talk, resources: Mapping[str, Resource], removed: list[str]) -> bytes:
        self._nonce += 1
        for name, resource in resources.items():
            talk.sent.pop(name, None)
            talk.sent[name] = resource.version
        for name in removed:
            if name in talk.subscribed:
                talk.sent[name] = ABSENT
            else:
                talk.sent.pop(name, None)
                talk.taken.discard(name)
                talk.rejected.pop(name, None)
                self._gone.pop(name, None)
                self._given_up.discard(name)
        talk.owes = False
        talk.on_its_way = Sent(str(self._nonce), resources)
        # DeltaDiscoveryResponse by hand, as the resources are serialised already: 4 type_url, 2 resources, 6 removed, 5 nonce.
        return b"".join(
            (
                repeated(4, (url.encode(),)),
                repeated(2, (_resource(url, name, resource) for name, resource in resources.items())),
                repeated(6, (name.encode() for name in removed)),
                repeated(5, (talk.on_its_way.nonce.encode(),)),
            )
        )

    def _ask_again(self, moment: float) -> None:
        self.again_at = moment if self.again_at is None else min(self.again_at, moment)


def _resource(url: str, name: str, resource: Resource) -> bytes:
    """discovery.v3.Resource: 3 name, 1 version, 2 resource (Any: 1 type_url, 2 value)."""
    value = repeated(1, (url.encode(),)) + repeated(2, (resource.data,))
    return repeated(3, (name.encode(),)) + repeated(1, (resource.version.encode(),)) + repeated(2, (value,))
